/* Time limits and signals. See stop.h for why none is lost and none comes late. */
#include "hv/stop.h"

#include <errno.h>
#include <stddef.h>

#include "hv/host.h"
#include "hv/ktimer.h"
#include "mem/assert.h"

#define TICK_NS   (15 * 1000 * 1000)
#define REPEAT_NS (20 * 1000 * 1000)

static const int signals[STOP_SIGNALS_N] = {SIGALRM, SIGINT, SIGTERM, SIGHUP, SIGUSR1};

#define ASKING (STOP_SIGNALS_N - 1) /* taken only if somebody wants it */

/* The handler's way to the one struct stop there is. */
static struct stop *volatile current;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    struct stop *s = current;
    int saved = errno;

    (void)context;
    if (s != NULL) {
        if (sig == SIGALRM && info->si_timerid == s->timers[STOP_TICK])
            s->tick_armed = 0;
        if (sig == SIGUSR1) {
            s->asked = 1;
        } else if (sig != SIGALRM) {
            s->caught = sig;
            /* From here on kick again and again: a wait that is entered just now must end as well. */
            ktimer_set(s->timers[STOP_TICK], REPEAT_NS, REPEAT_NS);
        }
        if (s->machine != NULL)
            machine_kick(s->machine);
    }
    errno = saved;
}

/* One that is there already is kept. */
static int make_timer(int *timer, struct err *e)
{
    if (*timer < 0 && ktimer_create(SIGALRM, timer) != 0)
        return err_host(e, "host: cannot create a timer");
    return 0;
}

static void take(int sig, struct sigaction *old)
{
    struct sigaction sa = {.sa_flags = SA_SIGINFO};

    sa.sa_sigaction = on_signal;
    sigemptyset(&sa.sa_mask);
    sigaction(sig, &sa, old);
}

static void mask_asking(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(how, &set, NULL);
}

void stop_expect_asking(void)
{
    signal(SIGUSR1, SIG_IGN);
    mask_asking(SIG_BLOCK);
}

int stop_open(struct stop *s, struct err *e)
{
    unsigned i;

    assert(current == NULL);
    *s = (struct stop){.timers = {-1, -1, -1}};
    /* The handler needs it, and can make none. */
    if (make_timer(&s->timers[STOP_TICK], e) != 0)
        return -1;
    current = s;
    for (i = 0; i < ASKING; i++) {
        sigaction(signals[i], NULL, &s->old[i]);
        if (s->old[i].sa_handler != SIG_IGN || signals[i] == SIGALRM || signals[i] == SIGTERM)
            take(signals[i], NULL);
    }
    return 0;
}

void stop_take_asking(struct stop *s)
{
    s->takes_asking = true;
    take(SIGUSR1, &s->old[ASKING]);
    mask_asking(SIG_UNBLOCK);
}

void stop_close(struct stop *s)
{
    unsigned i;

    /* Timers first: a signal of theirs that is still on its way finds the handler in place. */
    for (i = 0; i < STOP_TIMERS_N; i++)
        if (s->timers[i] >= 0)
            ktimer_delete(s->timers[i]);
    s->machine = NULL;
    for (i = 0; i < ASKING + (unsigned)s->takes_asking; i++)
        sigaction(signals[i], &s->old[i], NULL);
    current = NULL;
}

void stop_watch(struct stop *s, struct machine *m)
{
    s->machine = m;
}

int stop_arm(struct stop *s, uint64_t ns, struct err *e)
{
    if (ns == 0) {
        stop_disarm(s);
        return 0;
    }
    if (make_timer(&s->timers[STOP_LIMIT], e) != 0)
        return -1;
    s->limit_at = host_monotonic() + ns;
    ktimer_set(s->timers[STOP_LIMIT], ns, REPEAT_NS);
    return 0;
}

void stop_disarm(struct stop *s)
{
    if (s->limit_at == 0)
        return;
    s->limit_at = 0;
    ktimer_set(s->timers[STOP_LIMIT], 0, 0);
}

enum stop_cause stop_why(const struct stop *s)
{
    if (s->caught != 0)
        return s->caught == SIGINT ? STOP_SIGINT : STOP_SIGTERM;
    if (s->limit_at != 0 && host_monotonic() >= s->limit_at)
        return STOP_TIMEOUT;
    return STOP_NONE;
}

void stop_tick(struct stop *s)
{
    if (s->tick_armed || s->caught != 0)
        return;
    s->tick_armed = 1;
    ktimer_set(s->timers[STOP_TICK], TICK_NS, 0);
    /* A signal that came since the check above wanted more than this one kick. */
    if (s->caught != 0)
        ktimer_set(s->timers[STOP_TICK], REPEAT_NS, REPEAT_NS);
}

int stop_set_timer(struct stop *s, uint64_t period_ns, struct err *e)
{
    if (period_ns == 0 && s->due_ns == 0)
        return 0;
    if (make_timer(&s->timers[STOP_GUEST], e) != 0)
        return -1;
    s->due_ns = period_ns;
    s->due_at = host_monotonic() + period_ns;
    ktimer_set(s->timers[STOP_GUEST], period_ns, period_ns);
    return 0;
}

bool stop_timer_due(struct stop *s)
{
    uint64_t now = host_monotonic();

    if (s->due_ns == 0 || now < s->due_at)
        return false;
    s->due_at += s->due_ns * ((now - s->due_at) / s->due_ns + 1);
    return true;
}
