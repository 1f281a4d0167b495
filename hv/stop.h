/*
 * Everything that comes from outside while a guest runs: a time limit, SIGINT,
 * SIGTERM, SIGHUP; the tick that lets unflushed output out; the guest's
 * periodic timer. One handler, which only marks what came and kicks the
 * machine; the run loop asks stop_why() and stop_timer_due().
 *
 * No stop is lost: the handler kicks the next run too, and timers fire again
 * until they are disarmed. None hits a later run: a limit that passed is
 * judged by the clock against the limit that is armed now, not by the signal.
 */
#ifndef HV_STOP_H
#define HV_STOP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/kvm.h"
#include "mem/error.h"

enum stop_cause { STOP_NONE, STOP_TIMEOUT, STOP_SIGINT, STOP_SIGTERM };

#define STOP_SIGNALS_N 5

enum { STOP_LIMIT, STOP_TICK, STOP_GUEST, STOP_TIMERS_N };

struct stop {
    struct machine *machine;      /* kicked by the handler; NULL = none */
    int timers[STOP_TIMERS_N];    /* hv/ktimer.h; made when first needed, -1 before */
    uint64_t limit_at;            /* CLOCK_MONOTONIC ns, 0 = none */
    uint64_t due_at, due_ns;      /* the guest timer's next expiry and its period, 0 = stopped */
    volatile sig_atomic_t caught; /* a terminating signal, or 0 */
    volatile sig_atomic_t asked;  /* SIGUSR1 came */
    bool takes_asking;
    volatile sig_atomic_t tick_armed;
    struct sigaction old[STOP_SIGNALS_N];
};

/*
 * Install the handlers; one struct stop at a time in a process.
 * SIGINT and SIGHUP stay ignored when they were (as under nohup). The struct
 * must not move until stop_close, which puts everything back.
 */
int stop_open(struct stop *s, struct err *e);
void stop_close(struct stop *s);

/* From now on SIGUSR1 does no harm: one that comes early waits for stop_take_asking, after stop_close it is ignored. */
void stop_expect_asking(void);

/* From now on SIGUSR1 sets s->asked and kicks, too. */
void stop_take_asking(struct stop *s);

/* The machine to kick from now on; NULL before it goes away. */
void stop_watch(struct stop *s, struct machine *m);

/* Start a time limit of `ns` from now; 0 = none. Replaces the one before; -1 where the host has no timer for it. */
int stop_arm(struct stop *s, uint64_t ns, struct err *e);
void stop_disarm(struct stop *s);

/* Why the guest has to stop now, if it has. */
enum stop_cause stop_why(const struct stop *s);

/* Ask for one kick within 20 ms; cheap when one is on its way, which comes also if nobody needs it any more. */
void stop_tick(struct stop *s);

/* The guest's timer: start it with a period, or stop it with 0, which never fails. A running one is replaced. */
int stop_set_timer(struct stop *s, uint64_t period_ns, struct err *e);

/* Whether an expiry has come since the last one that was told of; those missed meanwhile count as one. */
bool stop_timer_due(struct stop *s);

#endif
