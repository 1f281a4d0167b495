/* Forking copies and waiting for them. See copies.h. */
#include "hv/copies.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/progress.h"

#define STOP_SIGNALS_N 3

static const int stop_signals[STOP_SIGNALS_N] = {SIGINT, SIGTERM, SIGHUP};

static void note(struct copies *c, int wstatus)
{
    int status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);

    c->done_n++;
    c->failed_n += status != 0;
    if (status > c->worst)
        c->worst = status;
}

/* Wait for a copy, or for a signal to pass on. `pids` has a slot for each of `jobs`, 0 = free. */
static void wait_one(struct copies *c, pid_t *pids, uint64_t jobs, const sigset_t *stops, int *stopped)
{
    struct timespec soon = {.tv_nsec = 20 * 1000 * 1000};
    uint64_t i;
    pid_t pid;
    int wstatus, sig;

    /* SIGCHLD is among the signals waited for, so the end of a copy is seen at once; the time is for safety. */
    sig = sigtimedwait(stops, NULL, &soon);
    if (sig > 0 && sig != SIGCHLD) {
        *stopped = sig;
        for (i = 0; i < jobs; i++)
            if (pids[i] != 0)
                kill(pids[i], sig);
    }
    while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
        for (i = 0; i < jobs; i++) {
            if (pids[i] == pid) {
                pids[i] = 0;
                note(c, wstatus);
            }
        }
    }
}

static bool any(const pid_t *pids, uint64_t jobs)
{
    uint64_t i;

    for (i = 0; i < jobs; i++)
        if (pids[i] != 0)
            return true;
    return false;
}

static pid_t *free_slot(pid_t *pids, uint64_t jobs)
{
    uint64_t i;

    for (i = 0; i < jobs; i++)
        if (pids[i] == 0)
            return &pids[i];
    return NULL;
}

/* In the copy: its own signals again, and an end with the parent. */
static void become_copy(const sigset_t *old)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigprocmask(SIG_SETMASK, old, NULL);
}

int copies_run(uint64_t n, uint64_t jobs, struct copies *out, struct err *e)
{
    struct copies c = {.worst = 0};
    pid_t *pids = calloc(jobs, sizeof(*pids)), *slot;
    sigset_t stops, old;
    uint64_t begun = 0;
    int stopped = 0, result = 0;
    unsigned i;

    if (pids == NULL)
        return err_memory(e, "copies");
    sigemptyset(&stops);
    sigaddset(&stops, SIGCHLD);
    for (i = 0; i < STOP_SIGNALS_N; i++)
        sigaddset(&stops, stop_signals[i]);
    sigprocmask(SIG_BLOCK, &stops, &old);
    progress_begin("copies", n);
    while ((begun < n && stopped == 0 && result == 0) || any(pids, jobs)) {
        slot = begun < n && stopped == 0 && result == 0 ? free_slot(pids, jobs) : NULL;
        if (slot == NULL) {
            wait_one(&c, pids, jobs, &stops, &stopped);
            progress_step(c.done_n);
            continue;
        }
        *slot = _Fork(); /* there are no threads, whose locks fork would look after */
        if (*slot < 0) {
            int errnum = errno;

            *slot = 0;
            result = err_set_errno(e, STATUS_HOST, errnum, "copies: cannot start number %" PRIu64, begun + 1);
        } else if (*slot == 0) {
            become_copy(&old);
            progress_copied();
            free(pids);
            out->child = true;
            return 0;
        }
        begun++;
    }
    if (stopped != 0 && 128 + stopped > c.worst)
        c.worst = stopped == SIGINT ? STATUS_INTERRUPTED : STATUS_TERMINATED;
    sigprocmask(SIG_SETMASK, &old, NULL);
    free(pids);
    if (result == 0)
        *out = c;
    return result;
}
