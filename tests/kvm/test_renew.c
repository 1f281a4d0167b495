/*
 * A machine that KVM fails to run, or to restore, ends one call and no more:
 * the next guest has a new one, and nothing is left of the old. And a server
 * whose machine failed serves on, unless a new one fails as well.
 */
#include <sys/wait.h>

#include "hv/cmd.h"
#include "hv/session.h"
#include "tests/kvm/captured.h"
#include "tests/kvm/server_child.h"

#define KVM_CALLS_MAX 200
#define REQUESTS      4
#define RUNS          12 /* of each of which one fails, in turn */

/* A guest that counts its calls, after `calls_n` of them, in a file. */
static bool make_snapshot(int kvm_fd, const char *kind, unsigned calls_n, struct snapshot *out)
{
    const struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);

    if (!captured_new(kvm_fd, "lineage", kind, &io, calls_n, out))
        return false;
    if (captured_through_file(out))
        return true;
    snapshot_free(out);
    return false;
}

/* Call it: the number of the call since it was restored, from 1. -1: the host failed. */
static int count(struct session *s, uint64_t *n, struct err *e)
{
    const struct msg_call call = {.name = (const uint8_t *)"count", .name_len = 5};
    struct msg_result result = {.is_error = true};
    struct outcome out;

    run_outcome(&s->vm, &out);
    if (session_call(s, &call, &result, &out, e) != 0)
        return -1;
    CHECK_EQ(out.reason, REASON_ENDED);
    CHECK(!result.is_error);
    *n = result.value.bits;
    return 0;
}

static bool starts_and_counts(struct session *s, uint64_t wanted)
{
    struct outcome out;
    struct err e = {.text = ""};
    uint64_t n = 0;

    return guest_check(session_start(s, &out, &e), &e) && guest_check(count(s, &n, &e), &e) &&
           CHECK_EQ(n, wanted);
}

/* The first number that it says. */
static bool open_session(struct session *s, const struct options *o, const struct snapshot *snap,
                         uint64_t *first)
{
    struct outcome out;
    struct err e = {.text = ""};

    if (!guest_check(session_open(s, o, snap, true, &e), &e))
        return false;
    if (guest_check(session_start(s, &out, &e), &e) && guest_check(count(s, first, &e), &e))
        return true;
    session_close(s);
    return false;
}

static void replaced(int kvm_fd, const struct kvm_case *kc)
{
    struct options o = options_default();
    struct snapshot snap;
    struct session s;
    struct err e = {.text = ""};
    struct outcome out;
    uint64_t first = 0, n = 0;
    unsigned i, fds, renewed = 0;
    bool more = true;

    if (!make_snapshot(kvm_fd, kc->kind, 0, &snap))
        return;
    if (open_session(&s, &o, &snap, &first)) {
        fds = seam_count_fds();
        /* A run that fails is the end of its call. */
        for (i = 0; i < 2 && tap_ok; i++) {
            seam_fail(KVM_RUN, 1, EIO);
            CHECK_EQ(count(&s, &n, &e), -1);
            CHECK_EQ(e.status, STATUS_HOST);
            seam_fail(KVM_CREATE_VM, 0, 0);
            starts_and_counts(&s, first);
            CHECK_EQ(seam.calls_n, 1);
        }
        /* A restore that fails is the end of nothing. */
        for (i = 1; i < KVM_CALLS_MAX && more && tap_ok; i++) {
            seam.vm_fd = -1;
            seam_fail(0, i, EIO);
            if (guest_check(session_start(&s, &out, &e), &e)) {
                more = seam.failed_request != 0;
                seam_fail(0, 0, 0);
                renewed += seam.vm_fd >= 0;
                CHECK(guest_check(count(&s, &n, &e), &e) && n == first);
            }
        }
        CHECK(!more && renewed > 1);
        CHECK_EQ(seam_count_fds(), fds);
        /* There is none to be had: that is a failure of the host. */
        seam_fail(KVM_RUN, 1, EIO);
        CHECK_EQ(count(&s, &n, &e), -1);
        seam_fail(KVM_CREATE_VM, 1, ENOMEM);
        CHECK_EQ(session_start(&s, &out, &e), -1);
        CHECK_HAS(e.text, "KVM_CREATE_VM");
        session_close(&s);
    }
    snapshot_free(&snap);
}

/* A switch that fails half-way is made up for by a new machine, of the snapshot that was asked for. */
static void switched(int kvm_fd, const struct kvm_case *kc)
{
    struct options o = options_default();
    struct snapshot snap[2];
    struct session s;
    struct err e = {.text = ""};
    struct outcome out;
    uint64_t first[2] = {0, 0}, n = 0;
    unsigned i, fds, made = 0, renewed = 0, kept = 0;
    bool more = true;

    o.operands_n = 2;
    while (made < 2 && make_snapshot(kvm_fd, kc->kind, 1 + made, &snap[made]))
        made++;
    if (made == 2 && open_session(&s, &o, &snap[0], &first[0])) {
        fds = seam_count_fds();
        first[1] = first[0] + 1;
        for (i = 1; i < KVM_CALLS_MAX && more && tap_ok; i++) {
            seam.vm_fd = -1;
            seam_fail(0, i, EIO);
            if (guest_check(session_switch(&s, &snap[i % 2], &out, &e), &e)) {
                more = seam.failed_request != 0;
                seam_fail(0, 0, 0);
                renewed += seam.vm_fd >= 0;
                kept += seam.vm_fd < 0;
                CHECK(guest_check(count(&s, &n, &e), &e) && n == first[i % 2]);
                starts_and_counts(&s, first[i % 2]);
            }
            seam_fail(0, 0, 0);
        }
        CHECK(!more && renewed > 1 && kept != 0);
        CHECK_EQ(seam_count_fds(), fds);
        session_close(&s);
    }
    while (made != 0)
        snapshot_free(&snap[--made]);
}

/* --- a server ----------------------------------------------------------------------------------------------- */

static void be_server(char *path, unsigned fail_at, const int to[2], const int from[2])
{
    struct options o = server_child(&path, 1, to, from);
    enum status status = STATUS_HOST;
    struct err e = {.text = ""};

    seam_fail(KVM_RUN, fail_at, EIO);
    _exit(cmd_serve(&o, &status, &e) != 0 ? e.status : status);
}

/* Ask a server in which one run fails; which answers are errors, as bits. */
static unsigned ask(char *path, unsigned fail_at, unsigned *answers_n, int *status)
{
    static const char request[] = "{\"call\":\"count\"}\n";
    int to[2], from[2], wstatus = -1;
    unsigned i, bad = 0;
    char answer[1024];
    pid_t pid;
    FILE *f;

    *answers_n = 0;
    if (!CHECK(pipe2(to, O_CLOEXEC) == 0) || !CHECK(pipe2(from, O_CLOEXEC) == 0))
        return 0;
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        be_server(path, fail_at, to, from);
    close(to[0]);
    close(from[1]);
    for (i = 0; i < REQUESTS; i++)
        CHECK(write(to[1], request, sizeof(request) - 1) == (ssize_t)sizeof(request) - 1);
    close(to[1]);
    f = fdopen(from[0], "r");
    for (; CHECK(f != NULL) && fgets(answer, sizeof(answer), f) != NULL; ++*answers_n) {
        if (strstr(answer, "\"ok\":true") != NULL)
            continue;
        bad |= 1u << *answers_n;
        CHECK_HAS(answer, "\"reason\":\"error\"");
        CHECK_HAS(answer, "KVM_RUN");
    }
    if (f != NULL)
        fclose(f);
    CHECK(waitpid(pid, &wstatus, 0) == pid && WIFEXITED(wstatus));
    *status = WEXITSTATUS(wstatus);
    return bad;
}

static void serves_on(int kvm_fd, const struct kvm_case *kc)
{
    char path[] = "/tmp/renew-XXXXXX";
    struct err e = {.text = ""};
    struct snapshot snap;
    unsigned fail_at, answers_n, amid = 0;
    int fd = mkstemp(path), status;

    if (!CHECK(fd >= 0))
        return;
    close(fd);
    if (make_snapshot(kvm_fd, kc->kind, 0, &snap)) {
        bool saved = guest_check(snapfile_write(&snap, path, &e), &e);

        snapshot_free(&snap);
        for (fail_at = 1; fail_at <= RUNS && saved && tap_ok; fail_at++) {
            unsigned bad = ask(path, fail_at, &answers_n, &status);

            /* The first machine has shown nothing yet: it may be the host. */
            if ((bad & 1) != 0) {
                CHECK_EQ(answers_n, 1);
                CHECK_EQ(status, STATUS_HOST);
                continue;
            }
            CHECK_EQ(answers_n, REQUESTS);
            CHECK_EQ(status, STATUS_OK);
            CHECK((bad & (bad - 1)) == 0);
            amid += bad != 0;
            if (!tap_ok)
                printf("# run %u failed: %u answers, bad 0x%x, status %d\n", fail_at, answers_n, bad, status);
        }
        CHECK(amid != 0);
    }
    CHECK(unlink(path) == 0);
}

static const struct kvm_case cases[] = {
    {"amd64: a machine that failed is replaced", .run = replaced, .kind = "amd64"},
    {"i686-identity: a machine that failed is replaced", .run = replaced, .kind = "i686-identity"},
    {"i686: a machine that failed is replaced", .run = replaced, .paging32 = true, .kind = "i686"},
    {"amd64: a switch that fails ends in a new machine", .run = switched, .kind = "amd64"},
    {"i686-identity: a switch that fails ends in a new machine", .run = switched, .kind = "i686-identity"},
    {"i686: a switch that fails ends in a new machine", .run = switched, .paging32 = true, .kind = "i686"},
    {"amd64: a server whose machine failed serves on", .run = serves_on, .kind = "amd64"},
    {"i686-identity: a server whose machine failed serves on", .run = serves_on, .kind = "i686-identity"},
    {"i686: a server whose machine failed serves on", .run = serves_on, .paging32 = true, .kind = "i686"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
