/*
 * hv/copies: every copy is made once, by as many workers as there may be, and
 * what it came to is counted once, whatever becomes of the worker.
 */
#include "hv/copies.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tap.h"

#define COPIES_MAX 1000

/* What the workers did, in memory that they share with the test. */
static struct {
    uint64_t begun, live, most;
    pid_t made_by[COPIES_MAX];
} * seen;

/* Copy number `i`, in the order in which they begin, from 0: its status, or none. NULL: killed before. */
typedef int copy_made(uint64_t i, struct copies *c);

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static void work(struct copies *c, copy_made *make)
{
    while (copies_next(c)) {
        uint64_t i = __atomic_fetch_add(&seen->begun, 1, __ATOMIC_SEQ_CST);
        uint64_t live = __atomic_add_fetch(&seen->live, 1, __ATOMIC_SEQ_CST);

        if (live > seen->most)
            seen->most = live;
        if (i < COPIES_MAX)
            seen->made_by[i] = getpid();
        sleep_ms(1);
        __atomic_sub_fetch(&seen->live, 1, __ATOMIC_SEQ_CST);
        copies_ended(c, make(i, c));
    }
    _exit(0);
}

static struct copies run(uint64_t n, uint64_t jobs, bool many, copy_made *make)
{
    struct err e = {.text = ""};
    struct copies c = {.child = false};

    memset(seen, 0, sizeof(*seen));
    fflush(stdout);
    if (!CHECK(copies_run(n, jobs, many, &c, &e) == 0))
        printf("# %s\n", e.text);
    if (c.child && make == NULL)
        raise(SIGKILL);
    if (c.child)
        work(&c, make);
    return c;
}

static unsigned count_workers(uint64_t n)
{
    unsigned workers_n = 0;
    uint64_t i, j;

    for (i = 0; i < n; i++) {
        for (j = 0; j < i && seen->made_by[j] != seen->made_by[i]; j++)
            ;
        workers_n += j == i;
    }
    return workers_n;
}

static void ended(struct copies c, uint64_t done, uint64_t failed, int worst)
{
    CHECK_EQ(c.done_n, done);
    CHECK_EQ(c.failed_n, failed);
    CHECK_EQ(c.worst, worst);
    /* None is left, not even as a zombie. */
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

/* --- copies --------------------------------------------------------------------------------------- */

static int well(uint64_t i, struct copies *c)
{
    (void)i;
    (void)c;
    return 0;
}

static int some_badly(uint64_t i, struct copies *c)
{
    (void)c;
    return i == 4 ? 139 : i == 7 ? 124 : 0;
}

static int one_killed(uint64_t i, struct copies *c)
{
    (void)c;
    if (i == 5)
        raise(SIGKILL);
    return i == 9 ? 122 : 0;
}

static int one_exits(uint64_t i, struct copies *c)
{
    (void)c;
    if (i == 3)
        _exit(125);
    return 0;
}

static int killed_after(uint64_t i, struct copies *c)
{
    copies_ended(c, i == 2 ? 1 : 0);
    raise(SIGKILL);
    return 0;
}

/* The second word is the number of the next copy: taken, and never begun. */
static int killed_with_number(uint64_t i, struct copies *c)
{
    if (i == 6) {
        copies_ended(c, 0);
        __atomic_fetch_add((uint64_t *)c->work + 1, 1, __ATOMIC_SEQ_CST);
        raise(SIGKILL);
    }
    return 0;
}

static int stuck(uint64_t i, struct copies *c)
{
    (void)c;
    if (i >= 2)
        for (;;)
            pause();
    return 0;
}

static int hangs_up(uint64_t i, struct copies *c)
{
    (void)c;
    if (i == 1)
        kill(getppid(), SIGHUP);
    sleep_ms(5);
    return 0;
}

/* --- cases ---------------------------------------------------------------------------------------- */

static void many_in_few(void)
{
    tap_case("each copy is made once, by few workers");
    ended(run(60, 3, true, well), 60, 0, 0);
    CHECK_EQ(seen->begun, 60);
    CHECK(count_workers(60) <= 3 && seen->most <= 3 && seen->most > 0);
    tap_case("no worker is idle: there are no more than copies");
    ended(run(2, 50, true, well), 2, 0, 0);
    CHECK_EQ(seen->begun, 2);
    tap_case("or by a worker of its own, with as many at a time");
    ended(run(9, 2, false, well), 9, 0, 0);
    CHECK_EQ(seen->begun, 9);
    CHECK(count_workers(9) == 9 && seen->most <= 2);
}

static void statuses(void)
{
    tap_case("those that fail are counted, and the worst is told");
    ended(run(20, 2, true, some_badly), 20, 2, 139);
    tap_case("so they are with a worker each");
    ended(run(20, 2, false, some_badly), 20, 2, 139);
    tap_case("a worker that is killed takes its copy along and no other");
    ended(run(20, 2, true, one_killed), 20, 2, 137);
    CHECK_EQ(seen->begun, 20);
    CHECK(count_workers(20) <= 3);
    tap_case("so does one that ends, with its status");
    ended(run(20, 1, true, one_exits), 20, 1, 125);
    CHECK_EQ(count_workers(20), 2);
    tap_case("one that is killed between two copies takes none along");
    ended(run(12, 3, true, killed_after), 12, 1, 1);
    CHECK_EQ(seen->begun, 12);
    tap_case("those that are killed whenever they start do not go on for ever");
    ended(run(20, 2, true, NULL), 20, 20, 137);
    ended(run(20, 2, false, NULL), 20, 20, 137);
    tap_case("a copy that was taken by one that was killed before it began is made by another");
    ended(run(12, 1, true, killed_with_number), 12, 0, 0);
    CHECK_EQ(seen->begun, 12);
}

/* As whoever started vmm may have left them. */
static void ignored(void)
{
    tap_case("workers are waited for where SIGCHLD was ignored");
    signal(SIGCHLD, SIG_IGN);
    ended(run(9, 2, true, well), 9, 0, 0);
    signal(SIGCHLD, SIG_DFL);
    tap_case("SIGHUP that is ignored, as under nohup, ends nothing");
    signal(SIGHUP, SIG_IGN);
    ended(run(9, 2, true, hangs_up), 9, 0, 0);
    signal(SIGHUP, SIG_DFL);
}

static void stopped(int sig, int worst)
{
    int status = -1;
    pid_t pid;

    memset(seen, 0, sizeof(*seen));
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct err e = {.text = ""};
        struct copies c = {.child = false};

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(sig, SIG_DFL);
        if (copies_run(30, 3, true, &c, &e) != 0)
            _exit(99);
        if (c.child)
            work(&c, stuck);
        _exit(c.done_n == 5 && c.failed_n == 3 ? c.worst : 98);
    }
    while (__atomic_load_n(&seen->begun, __ATOMIC_SEQ_CST) < 5)
        sleep_ms(5);
    kill(pid, sig);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), worst);
    CHECK_EQ(seen->begun, 5);
}

int main(void)
{
    void *shared = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return 1;
    seen = shared;
    alarm(300); /* where somebody waits for ever */
    many_in_few();
    statuses();
    ignored();
    tap_case("SIGTERM is passed on, and no copy begins afterwards");
    stopped(SIGTERM, 143);
    tap_case("so is SIGINT");
    stopped(SIGINT, 130);
    tap_case("and SIGHUP");
    stopped(SIGHUP, 129);
    return tap_done();
}
