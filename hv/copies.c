/* Workers, and what they have in common. See copies.h. */
#include "hv/copies.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/progress.h"

#define STOP_SIGNALS_N 3

static const int stop_signals[STOP_SIGNALS_N] = {SIGINT, SIGTERM, SIGHUP};

/* A worker writes to its own, and nobody else while it lives. */
struct worker {
    pid_t pid; /* the parent's; 0: there is none */
    int worst;
    uint64_t before; /* the parent's: `begun` when it was started */
    /* Copies, of all the workers that were here one after the other. */
    uint64_t begun, ended; /* `ended` also has those that failed, times FAILED: both change at once */
};

#define FAILED   ((uint64_t)1 << 32)
#define LOST_MAX 16

/* Memory that all processes share. */
struct copies_work {
    uint64_t n;    /* copies that are wanted */
    uint64_t next; /* the number of the next one, from 0: who takes it makes it */
    uint64_t workers_n;
    unsigned lost; /* workers, one after the other, that were killed before they began a copy */
    struct worker worker[];
};

static void note(struct worker *w, int status)
{
    if (status > w->worst)
        w->worst = status;
    __atomic_store_n(&w->ended, w->ended + 1 + (status != 0 ? FAILED : 0), __ATOMIC_RELAXED);
}

bool copies_next(struct copies *c)
{
    if ((c->begun_n != 0 && !c->many) ||
        __atomic_fetch_add(&c->work->next, 1, __ATOMIC_RELAXED) >= c->work->n)
        return false;
    c->begun_n++;
    c->work->worker[c->slot].begun++;
    return true;
}

void copies_ended(struct copies *c, int status)
{
    note(&c->work->worker[c->slot], status);
}

/* From now on nobody takes another one. */
static void end_all(struct copies_work *w)
{
    __atomic_store_n(&w->next, w->n, __ATOMIC_RELAXED);
}

/* What the workers say. The number of those that live. */
static uint64_t sum_up(const struct copies_work *w, struct copies *c)
{
    uint64_t i, live = 0;

    c->done_n = c->failed_n = 0;
    for (i = 0; i < w->workers_n; i++) {
        const struct worker *of = &w->worker[i];
        uint64_t ended = __atomic_load_n(&of->ended, __ATOMIC_RELAXED);

        live += of->pid != 0;
        c->done_n += ended % FAILED;
        c->failed_n += ended / FAILED;
        if (of->worst > c->worst)
            c->worst = of->worst;
    }
    return live;
}

/* Wait for the end of a worker, for a signal to pass on, or for a moment. */
static void wait_for_workers(struct copies_work *w, const sigset_t *stops, int *stopped)
{
    /* SIGCHLD is among the signals waited for, so the end of a worker is seen at once. */
    struct timespec soon = {.tv_nsec = 20 * 1000 * 1000};
    int sig = sigtimedwait(stops, NULL, &soon), wstatus;
    uint64_t i;
    pid_t pid;

    if (sig > 0 && sig != SIGCHLD) {
        *stopped = sig;
        end_all(w);
        for (i = 0; i < w->workers_n; i++)
            if (w->worker[i].pid != 0)
                kill(w->worker[i].pid, sig);
    }
    while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
        for (i = 0; i < w->workers_n; i++) {
            struct worker *of = &w->worker[i];

            if (of->pid != pid)
                continue;
            of->pid = 0;
            /* Whoever kills it before it begins may kill the next as well: some time that costs copies. */
            w->lost = WIFSIGNALED(wstatus) && of->begun == of->before ? w->lost + 1 : 0;
            if (w->lost > LOST_MAX && __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED) < w->n)
                of->begun++;
            /* It died amid a copy. */
            if (of->begun != of->ended % FAILED)
                note(of, WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus));
        }
    }
}

/* The place of a worker that is not there, if it has something to do. */
static struct worker *free_place(struct copies_work *w)
{
    uint64_t i;

    for (i = 0; i < w->workers_n && __atomic_load_n(&w->next, __ATOMIC_RELAXED) < w->n; i++)
        if (w->worker[i].pid == 0)
            return &w->worker[i];
    return NULL;
}

/* In the worker: its own signals again, and an end with the parent. */
static void become_worker(const sigset_t *old, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        kill(getpid(), SIGKILL);
    sigprocmask(SIG_SETMASK, old, NULL);
    progress_copied();
}

/* Returns 1 in a worker, whose place is *out; 0 in the parent, or -1. */
static int start_workers(struct copies_work *w, struct worker **out, struct err *e)
{
    struct worker *of;
    pid_t pid;

    while ((of = free_place(w)) != NULL) {
        of->before = of->begun;
        pid = _Fork(); /* there are no threads, whose locks fork would look after */
        if (pid < 0) {
            int errnum = errno;

            err_set_errno(e, STATUS_HOST, errnum, "copies: cannot start number %" PRIu64, w->next + 1);
            end_all(w);
            return -1;
        }
        if (pid == 0) {
            *out = of;
            return 1;
        }
        of->pid = pid;
    }
    return 0;
}

int copies_run(uint64_t n, uint64_t jobs, bool many, struct copies *out, struct err *e)
{
    struct copies c = {.many = many};
    struct worker *place = NULL;
    sigset_t stops, old;
    uint64_t workers_n = jobs < n ? jobs : n;
    size_t len = sizeof(*c.work) + workers_n * sizeof(c.work->worker[0]);
    void *work = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int stopped = 0, result = 0, started;
    pid_t parent = getpid();
    unsigned i;

    if (work == MAP_FAILED)
        return err_memory(e, "copies");
    c.work = (struct copies_work *)work;
    c.work->n = n;
    c.work->workers_n = workers_n;
    sigemptyset(&stops);
    sigaddset(&stops, SIGCHLD);
    for (i = 0; i < STOP_SIGNALS_N; i++) {
        struct sigaction is;

        if (sigaction(stop_signals[i], NULL, &is) == 0 && is.sa_handler != SIG_IGN)
            sigaddset(&stops, stop_signals[i]);
    }
    /* With this one ignored, as it may be by whoever started vmm, nobody could wait for a worker. */
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &stops, &old);
    progress_begin("copies", n);
    for (;;) {
        started = start_workers(c.work, &place, e);
        if (started == 1) {
            become_worker(&old, parent);
            c.child = true;
            c.slot = (uint64_t)(place - c.work->worker);
            *out = c;
            return 0;
        }
        result = started < 0 ? started : result;
        if (sum_up(c.work, &c) == 0) {
            if (c.done_n == n || stopped != 0 || result != 0)
                break;
            /* One was killed when it had just taken a number. */
            c.work->next = c.done_n;
            continue;
        }
        progress_step(c.done_n);
        wait_for_workers(c.work, &stops, &stopped);
    }
    if (stopped != 0 && 128 + stopped > c.worst)
        c.worst = stopped == SIGINT ? STATUS_INTERRUPTED : STATUS_TERMINATED;
    sigprocmask(SIG_SETMASK, &old, NULL);
    munmap(work, len);
    if (result == 0)
        *out = c;
    return result;
}
