/*
 * What a process leaves behind that is about to end: one that holds the
 * machine and nothing else, and is soon gone. Who looks on is the reaper of
 * both, so it sees the end of either.
 */
#include "hv/teardown.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hv/host.h"
#include "hv/session.h"
#include "tests/kvm/guests.h"
#include "tests/kvm/seam.h"

#define SECOND ((uint64_t)1000000000)
#define STATUS 7

static pid_t *shared; /* with a process that this one forks: its heir */

static bool open_machine(int kvm_fd, struct machine *m)
{
    const struct machine_options opt = {.phys_bits = 36};
    struct err e = {.text = ""};

    return machine_open(m, kvm_fd, &opt, &e) == 0 && machine_add_cpu(m, kvm_fd, &opt, &e) == 0;
}

/* Whether the process, a child of this one's by birth or by inheritance, has ended; it is not reaped. */
static bool has_ended(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid == pid;
}

/* Wait for its end, as long as told; reaps it. */
static bool ends_within(pid_t pid, uint64_t ns)
{
    uint64_t until = host_monotonic() + ns;

    while (!has_ended(pid)) {
        if (host_monotonic() > until)
            return false;
        usleep(1000);
    }
    return waitpid(pid, NULL, __WALL) == pid;
}

/* A process that leaves a machine behind and ends with STATUS; 'stays': not before it is killed. */
static pid_t begin(int kvm_fd, bool stays, int end_too)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct machine m = MACHINE_CLOSED;

        *shared = open_machine(kvm_fd, &m) ? teardown_leave(&m) : -1;
        if (end_too >= 0) {
            /* The two share their descriptors until the heir runs. */
            usleep(100000);
            close(end_too);
        }
        if (stays)
            for (;;)
                pause();
        _exit(STATUS);
    }
    return pid;
}

static void wait_for_heir(void)
{
    while (*(volatile pid_t *)shared == 0)
        usleep(1000);
}

/* Whether any process has ended after so long, reaped or not. */
static bool is_over(int pidfd, int ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, ms) != 0;
}

/* Whether the end of a pipe comes while the heir lives and is to live on for almost a second. */
static bool frees_pipe(int kvm_fd)
{
    bool freed = false;
    int fds[2], pidfd;
    char byte;
    pid_t pid;

    *shared = 0;
    if (!CHECK(pipe2(fds, O_CLOEXEC) == 0))
        return false;
    pid = begin(kvm_fd, true, fds[1]);
    close(fds[1]);
    wait_for_heir();
    if (CHECK(pid > 0) && CHECK(*shared > 0)) {
        pidfd = (int)syscall(SYS_pidfd_open, *shared, 0);
        CHECK_EQ(read(fds[0], &byte, 1), 0);
        freed = CHECK(pidfd >= 0) && !is_over(pidfd, 100);
        close(pidfd);
        kill(pid, SIGKILL);
        CHECK(ends_within(pid, 60 * SECOND));
        CHECK(ends_within(*shared, 60 * SECOND));
    }
    close(fds[0]);
    return freed;
}

static void holds_the_machine_only(int kvm_fd, const struct kvm_case *c)
{
    unsigned tries;

    (void)c;
    /* On a busy host an end that came at once may be seen late. */
    for (tries = 1; tries < 10 && !frees_pipe(kvm_fd); tries++)
        ;
    CHECK(tries < 10);
}

static void is_soon_gone(int kvm_fd, const struct kvm_case *c)
{
    int status = -1;
    pid_t pid;

    (void)c;
    *shared = 0;
    pid = begin(kvm_fd, false, -1);
    if (CHECK(pid > 0) && CHECK_EQ(waitpid(pid, &status, 0), pid)) {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
        if (CHECK(*shared > 0))
            CHECK(ends_within(*shared, SECOND));
    }
}

/* One that does not end keeps its machine, and is left alone. */
static void does_not_wait_for_ever(int kvm_fd, const struct kvm_case *c)
{
    pid_t pid;

    (void)c;
    *shared = 0;
    pid = begin(kvm_fd, true, -1);
    wait_for_heir();
    if (CHECK(pid > 0) && CHECK(*shared > 0)) {
        int pidfd = (int)syscall(SYS_pidfd_open, *shared, 0);

        CHECK(pidfd >= 0 && is_over(pidfd, 60000));
        close(pidfd);
        CHECK(!has_ended(pid));
        kill(pid, SIGKILL);
        CHECK(ends_within(pid, 60 * SECOND));
        CHECK(ends_within(*shared, SECOND));
    }
}

/* With the first process of a namespace all others end, so nothing is gained. */
static void not_the_first(int kvm_fd, const struct kvm_case *c)
{
    int status = -1;
    pid_t pid;

    (void)c;
    *shared = -1;
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWPID) != 0)
            _exit(1);
        pid = begin(kvm_fd, false, -1);
        _exit(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == STATUS ? 0 : 2);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_EQ(*shared, 0);
}

/* Whether a guest's memory is there yet after its session has been ended that way. */
static bool is_kept(void (*end)(struct session *s))
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
        const struct options o = options_default();
        static struct snapshot snap;
        static struct session s;
        struct region scratch;
        unsigned char page;
        struct err e;

        if (!guest_build_sample("hello", "amd64", &io, &snap) || session_open(&s, &o, &snap, false, &e) != 0)
            _exit(2);
        scratch = s.vm.scratch;
        end(&s);
        _exit(mincore(scratch.base, PAGE_LEN, &page) == 0 ? 1 : 0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
}

static void leaves_memory(int kvm_fd, const struct kvm_case *c)
{
    (void)kvm_fd;
    (void)c;
    CHECK(is_kept(session_leave));
    CHECK(!is_kept(session_close));
}

static bool can_be_first(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(unshare(CLONE_NEWPID) == 0 ? 0 : 1);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

#define FIRST "the first process of a machine leaves nothing behind"

static const struct kvm_case cases[] = {
    {"what is left behind holds the machine and nothing else", .run = holds_the_machine_only},
    {"it is gone within a second and changes no status", .run = is_soon_gone},
    {"it does not wait for ever for the process that left it", .run = does_not_wait_for_ever},
    {"a session that is left gives no memory back, one that is closed does", .run = leaves_memory},
    {FIRST, .run = not_the_first},
};

#define CASES_N (sizeof(cases) / sizeof(cases[0]))

int main(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return 1;
    if (can_be_first())
        return seam_run_cases(cases, CASES_N);
    tap_skip(FIRST, "this user may not make one (lab)");
    return seam_run_cases(cases, CASES_N - 1);
}
