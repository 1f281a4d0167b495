/*
 * vmm serve with thousands of requests, as a client sees it through pipes:
 * each is answered, in order, with what it asked for, whatever those before it
 * did to the guest; and the process that does this does not grow.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "hv/cmd.h"
#include "tests/kvm/captured.h"
#include "tests/kvm/proc.h"

#define REQUESTS   500   /* times TEST_SCALE; tests/cli asks for more */
#define LAB_PAGED  10000 /* of the kind that only the lab runs */
#define WARM_UP    100   /* requests before its size is taken */
#define GROWTH_KIB 128
#define LINE_LEN   256

/* What number `i` asks for, and how the answer begins. */
static void make_lines(unsigned i, char request[LINE_LEN], char answer[LINE_LEN])
{
    static const char *const failures[][2] = {
        {"\"call\":\"fail\"", "call-error"},
        {"\"call\":\"give_up\",\"restore\":false", "aborted"},
        {"\"call\":\"halt\",\"restore\":false", "faulted"},
        {"\"call\":\"count\",\"what\":1", "bad-request"},
    };
    const char *const *f = failures[i % 4];
    int width = snprintf(NULL, 0, "%u", i);

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

/* The child that serves, and the one that asks. */
static pid_t start_server(const char *path, const int to[2], const int from[2])
{
    struct options o = options_default();
    enum status status = STATUS_HOST;
    struct err e = {.text = ""};
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Nothing else of the pipes, or it would be its own client. */
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    close(to[0]);
    close(to[1]);
    close(from[0]);
    close(from[1]);
    o.image = path;
    o.log_fd = STDERR_FILENO;
    signal(SIGPIPE, SIG_IGN);
    if (cmd_serve(&o, &status, &e) != 0) {
        dprintf(STDERR_FILENO, "# serve: %s\n", e.text);
        _exit(e.status);
    }
    _exit(status);
}

static pid_t start_client(unsigned n, int to)
{
    char request[LINE_LEN], answer[LINE_LEN];
    pid_t pid = fork();
    FILE *f;
    unsigned i;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    f = fdopen(to, "w");
    for (i = 0; f != NULL && i < n; i++) {
        make_lines(i, request, answer);
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

/* Read the answers to `n` requests; its size is taken while it has more to do. */
static void read_answers(pid_t server, unsigned n, FILE *from)
{
    char request[LINE_LEN], wanted[LINE_LEN], answer[1024];
    uint64_t rss_before = 0, rss = 0;
    unsigned i, fds_before = 0, fds = 0;

    for (i = 0; i < n && CHECK(fgets(answer, sizeof(answer), from) != NULL); i++) {
        make_lines(i, request, wanted);
        if (!CHECK(strncmp(answer, wanted, strlen(wanted)) == 0)) {
            printf("# %s# answered %s# wanted %s...\n", request, answer, wanted);
            break;
        }
        if (i == WARM_UP)
            look_at(server, &rss_before, &fds_before);
        else if (i == n - 100)
            look_at(server, &rss, &fds);
    }
    CHECK_EQ(fds, fds_before);
    CHECK(rss <= rss_before + GROWTH_KIB);
    printf("# %u requests, %" PRIu64 " KiB and %u descriptors, %" PRIu64 " and %u after %u\n", i, rss, fds,
           rss_before, fds_before, WARM_UP);
}

static void serve_many(const char *path, unsigned n)
{
    int to[2], from[2], status = -1;
    pid_t server, client;
    char byte;
    FILE *f;

    if (!CHECK(pipe2(to, O_CLOEXEC) == 0) || !CHECK(pipe2(from, O_CLOEXEC) == 0))
        return;
    server = start_server(path, to, from);
    client = start_client(n, to[1]);
    close(to[0]);
    close(to[1]);
    close(from[1]);
    f = fdopen(from[0], "r");
    if (CHECK(f != NULL && server > 0 && client > 0)) {
        read_answers(server, n, f);
        CHECK(fread(&byte, 1, 1, f) == 0);
    }
    if (f != NULL)
        fclose(f);
    CHECK(waitpid(client, &status, 0) == client && status == 0);
    CHECK(waitpid(server, &status, 0) == server && status == 0);
}

static void many(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    char path[] = "/tmp/serving-XXXXXX";
    struct err e = {.text = ""};
    struct snapshot snap;
    struct calling c;
    unsigned n = kc->paging32 ? LAB_PAGED : REQUESTS * calling_scale();
    int fd = mkstemp(path);
    bool made = false;

    if (!CHECK(fd >= 0))
        return;
    close(fd);
    if (calling_open(&c, kvm_fd, "calls", kc->kind, &io, false)) {
        made = calling_start(&c) && captured_make(&c, &snap);
        calling_close(&c);
    }
    if (made) {
        made = guest_check(snapfile_write(&snap, path, &e), &e);
        snapshot_free(&snap);
    }
    if (made && proc_open()) {
        serve_many(path, n);
        proc_close();
    }
    CHECK(unlink(path) == 0);
}

static const struct kvm_case cases[] = {
    {"amd64: thousands of requests are answered in order, without growth", .run = many, .kind = "amd64"},
    {"i686-identity: thousands of requests are answered in order, without growth", .run = many,
     .kind = "i686-identity"},
    {"i686: thousands of requests are answered in order, without growth", .run = many, .paging32 = true,
     .kind = "i686"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
