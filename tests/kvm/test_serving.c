/*
 * vmm serve with thousands of requests, as a client sees it through pipes:
 * each is answered, in order, with what it asked for, whatever those before it
 * did to the guest, or to that of another snapshot; and the process that does
 * this does not grow.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "hv/cmd.h"
#include "tests/kvm/captured.h"
#include "tests/kvm/proc.h"
#include "tests/kvm/server_child.h"

#define REQUESTS   500   /* times TEST_SCALE; tests/cli asks for more */
#define SEVERAL    300   /* the same, of several snapshots */
#define LAB_PAGED  10000 /* of the kind that only the lab runs */
#define WARM_UP    100   /* requests before its size is taken */
#define GROWTH_KIB 128
#define LINE_LEN   256
#define FILES_N    3

/* What is asked of which snapshots. */
struct talk {
    char *files[FILES_N];
    int files_n;
    /* What number `i` asks for, and how the answer begins. In order, from 0. */
    void (*make_lines)(const struct talk *t, unsigned i, char request[LINE_LEN], char answer[LINE_LEN]);
    unsigned n;
};

static void lines_of_one(const struct talk *t, unsigned i, char request[LINE_LEN], char answer[LINE_LEN])
{
    static const char *const failures[][2] = {
        {"\"call\":\"fail\"", "call-error"},
        {"\"call\":\"give_up\",\"restore\":false", "aborted"},
        {"\"call\":\"halt\",\"restore\":false", "faulted"},
        {"\"call\":\"count\",\"what\":1", "bad-request"},
    };
    const char *const *f = failures[i % 4];
    int width = snprintf(NULL, 0, "%u", i);

    (void)t;
    if (i % 8 >= 4) {
        snprintf(request, LINE_LEN, "{\"id\":%u,%s}\n", i, f[0]);
        snprintf(answer, LINE_LEN, "{\"id\":%u,\"ok\":false,\"error\":{\"reason\":\"%s\",", i, f[1]);
    } else if (i % 8 == 3) {
        snprintf(request, LINE_LEN,
                 "{\"id\":%u,\"call\":\"print\",\"restore\":false,\"args\":[{\"type\":\"string\",\"value\":"
                 "\"%u\"}]}\n",
                 i, i);
        snprintf(
            answer, LINE_LEN,
            "{\"id\":%u,\"ok\":true,\"result\":{\"type\":\"int\",\"value\":%d},\"output\":\"%u\",\"us\":", i,
            width, i);
    } else if (i % 8 == 2) {
        snprintf(request, LINE_LEN,
                 "{\"id\":%u,\"call\":\"add\",\"restore\":false,\"args\":[{\"type\":\"int\",\"value\":%u},"
                 "{\"type\":\"int\",\"value\":1}]}\n",
                 i, i);
        snprintf(answer, LINE_LEN,
                 "{\"id\":%u,\"ok\":true,\"result\":{\"type\":\"int\",\"value\":%u},\"us\":", i, i + 1);
    } else {
        /* A fresh guest, and the same again. */
        snprintf(request, LINE_LEN, "{\"id\":%u,\"call\":\"count\",\"restore\":%s}\n", i,
                 i % 8 == 0 ? "true" : "false");
        snprintf(answer, LINE_LEN,
                 "{\"id\":%u,\"ok\":true,\"result\":{\"type\":\"uint\",\"value\":%u},\"us\":", i, i % 8 + 1);
    }
}

/* How many calls of count each file's guest has seen; the last one's memory is larger, too. */
static const unsigned counted[FILES_N] = {1, 3, 0};

static void lines_of_several(const struct talk *t, unsigned i, char request[LINE_LEN], char answer[LINE_LEN])
{
    static unsigned loaded, count;
    static bool ended;
    unsigned which = (i * 2654435761u >> 20) % 4, what = (i * 2654435761u >> 10) % 8;
    char name[64] = "";

    if (i == 0)
        ended = true;
    if (what == 7)
        snprintf(name, sizeof(name), ",\"snapshot\":\"%s.\"", t->files[0]);
    else if (which < FILES_N)
        snprintf(name, sizeof(name), ",\"snapshot\":\"%s\"", t->files[which]);
    else
        which = 0;
    snprintf(request, LINE_LEN, "{\"id\":%u,\"call\":\"%s\",\"restore\":%s%s}\n", i,
             what == 6 ? "halt" : "count", what < 3 ? "true" : "false", name);
    if (what == 7) {
        snprintf(answer, LINE_LEN, "{\"id\":%u,\"ok\":false,\"error\":{\"reason\":\"bad-request\",", i);
        return;
    }
    if (what < 3 || ended || which != loaded)
        count = counted[which];
    count++;
    loaded = which;
    ended = what == 6;
    if (ended)
        snprintf(answer, LINE_LEN, "{\"id\":%u,\"ok\":false,\"error\":{\"reason\":\"faulted\",", i);
    else
        snprintf(answer, LINE_LEN, "{\"id\":%u,\"ok\":true,\"result\":{\"type\":\"uint\",\"value\":%u},", i,
                 count);
}

/* The child that serves, and the one that asks. */
static pid_t start_server(struct talk *t, const int to[2], const int from[2])
{
    enum status status = STATUS_HOST;
    struct err e = {.text = ""};
    struct options o;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid != 0)
        return pid;
    o = server_child(t->files, t->files_n, to, from);
    if (cmd_serve(&o, &status, &e) != 0) {
        dprintf(STDERR_FILENO, "# serve: %s\n", e.text);
        _exit(e.status);
    }
    _exit(status);
}

static pid_t start_client(const struct talk *t, int to)
{
    char request[LINE_LEN], answer[LINE_LEN];
    pid_t pid = fork();
    FILE *f;
    unsigned i;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    f = fdopen(to, "w");
    for (i = 0; f != NULL && i < t->n; i++) {
        t->make_lines(t, i, request, answer);
        fputs(request, f);
    }
    _exit(f != NULL && fclose(f) == 0 ? 0 : 1);
}

/* Memory and descriptors of the server. */
static void look_at(pid_t pid, uint64_t *rss, unsigned *fds)
{
    CHECK(proc_kib(pid, "status", "VmRSS:", rss));
    *fds = proc_fds(pid);
    CHECK(*fds > 3);
}

/*
 * Read the answers. The server's size is taken while it has more to do, and
 * never makes a machine.
 */
static void read_answers(const struct talk *t, pid_t server, FILE *from)
{
    char request[LINE_LEN], wanted[LINE_LEN], answer[1024];
    uint64_t rss_before = 0, rss = 0;
    unsigned i, fds_before = 0, fds = 0;

    for (i = 0; i < t->n && CHECK(fgets(answer, sizeof(answer), from) != NULL); i++) {
        t->make_lines(t, i, request, wanted);
        if (!CHECK(strncmp(answer, wanted, strlen(wanted)) == 0)) {
            printf("# %s# answered %s# wanted %s...\n", request, answer, wanted);
            break;
        }
        if (t->files_n > 1)
            continue;
        if (i == WARM_UP)
            look_at(server, &rss_before, &fds_before);
        else if (i == t->n - 100)
            look_at(server, &rss, &fds);
    }
    CHECK_EQ(fds, fds_before);
    CHECK(rss <= rss_before + GROWTH_KIB);
    printf("# %u requests, %" PRIu64 " KiB and %u descriptors, %" PRIu64 " and %u after %u\n", i, rss, fds,
           rss_before, fds_before, WARM_UP);
}

static void serve_many(struct talk *t)
{
    int to[2], from[2], status = -1;
    pid_t server, client;
    char byte;
    FILE *f;

    if (!CHECK(pipe2(to, O_CLOEXEC) == 0) || !CHECK(pipe2(from, O_CLOEXEC) == 0))
        return;
    server = start_server(t, to, from);
    client = start_client(t, to[1]);
    close(to[0]);
    close(to[1]);
    close(from[1]);
    f = fdopen(from[0], "r");
    if (CHECK(f != NULL && server > 0 && client > 0)) {
        read_answers(t, server, f);
        CHECK(fread(&byte, 1, 1, f) == 0);
    }
    if (f != NULL)
        fclose(f);
    CHECK(waitpid(client, &status, 0) == client && status == 0);
    CHECK(waitpid(server, &status, 0) == server && status == 0);
}

/* Save a guest that has counted `n` calls; false with no file. */
static bool make_file(int kvm_fd, const char *kind, uint64_t scratch_len, unsigned n, char *path)
{
    const struct image_options io = guest_options(scratch_len);
    struct err e = {.text = ""};
    struct snapshot snap;
    int fd = mkstemp(path);
    bool made;

    if (!CHECK(fd >= 0))
        return false;
    close(fd);
    made = captured_new(kvm_fd, "calls", kind, &io, n, &snap);
    if (made) {
        made = guest_check(snapfile_write(&snap, path, &e), &e);
        snapshot_free(&snap);
    }
    if (!made)
        unlink(path);
    return made;
}

static void serve_files(int kvm_fd, const struct kvm_case *kc, struct talk *t, int files_n)
{
    char paths[FILES_N][24];

    while (t->files_n < files_n) {
        int i = t->files_n;

        strcpy(paths[i], "/tmp/serving-XXXXXX");
        if (!make_file(kvm_fd, kc->kind, SCRATCH_LEN_DEFAULT << (i == 2), files_n > 1 ? counted[i] : 0,
                       paths[i]))
            break;
        t->files[t->files_n++] = paths[i];
    }
    if (t->files_n == files_n && proc_open()) {
        serve_many(t);
        proc_close();
    }
    while (t->files_n != 0)
        CHECK(unlink(t->files[--t->files_n]) == 0);
}

static void many(int kvm_fd, const struct kvm_case *kc)
{
    struct talk t = {.make_lines = lines_of_one, .n = kc->paging32 ? LAB_PAGED : REQUESTS * scale_factor()};

    serve_files(kvm_fd, kc, &t, 1);
}

static void several(int kvm_fd, const struct kvm_case *kc)
{
    struct talk t = {.make_lines = lines_of_several, .n = SEVERAL * scale_factor()};

    serve_files(kvm_fd, kc, &t, FILES_N);
}

static const struct kvm_case cases[] = {
    {"amd64: thousands of requests are answered in order, without growth", .run = many, .kind = "amd64"},
    {"i686-identity: thousands of requests are answered in order, without growth", .run = many,
     .kind = "i686-identity"},
    {"i686: thousands of requests are answered in order, without growth", .run = many, .paging32 = true,
     .kind = "i686"},
    {"amd64: requests for several snapshots are answered each by its own", .run = several, .kind = "amd64"},
    {"i686-identity: requests for several snapshots are answered each by its own", .run = several,
     .kind = "i686-identity"},
    {"i686: requests for several snapshots are answered each by its own", .run = several, .paging32 = true,
     .kind = "i686"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
