/*
 * Guests that never end are ended from outside, at random times: by their time
 * limit and by signals, while they spin, while the host serves them, and while
 * their vCPU sleeps in the kernel. Each is ended in time, for the right
 * reason, and the next call of a restored guest knows nothing of it.
 *
 * 2,000 cancellations on a host with a clock worth the name, times TEST_SCALE;
 * in the lab, where everything is slow, LAB_N of each kind, times that as well.
 */
#include <signal.h>
#include <time.h>

#include "tests/kvm/calling.h"

#define LAB_N   20

#define SOON_NS ((uint64_t)10 * MS)
#define LATE_NS ((uint64_t)1000 * MS)

/* A guest that does not end: which sample's function, and whether it needs an irqchip. */
struct endless {
    const char *sample, *function;
    bool irqchip;
};

static const struct endless spins = {"calls", "spin", false};
static const struct endless storms = {"calls", "storm", false};
static const struct endless sleeps = {"timer", "sleep", true};
static const struct endless pulsed = {"timer", "leave_by_limit", true};

/* How late the ends of a series were. */
struct lateness {
    unsigned n, late_n, too_late_n;
    uint64_t worst;
};

static void note(struct lateness *l, uint64_t wanted, uint64_t seen)
{
    uint64_t late = seen > wanted ? seen - wanted : 0;

    l->n++;
    l->late_n += late > SOON_NS;
    l->too_late_n += late > LATE_NS;
    if (late > l->worst)
        l->worst = late;
}

static volatile sig_atomic_t rung;

static void ring(int sig)
{
    (void)sig;
    rung = 1;
}

/*
 * The host by itself: a timer of this program's own ends a loop of its own.
 * What that is late by, no guest can be ended earlier than.
 */
static void measure_host(uint64_t ns, struct lateness *l)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec when = {.it_value = {.tv_nsec = (long)ns}};
    const struct sigaction on_ring = {.sa_handler = ring};
    struct sigaction before;
    uint64_t start;
    timer_t timer;

    rung = 0;
    sigaction(SIGUSR1, &on_ring, &before);
    if (CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)) {
        start = host_monotonic();
        timer_settime(timer, 0, &when, NULL);
        while (rung == 0)
            ;
        note(l, start + ns, host_monotonic());
        timer_delete(timer);
    }
    sigaction(SIGUSR1, &before, NULL);
}

/*
 * 99 of 100 in time. On a host so busy that its own loops are late as well,
 * three times as often as they are: half of the runs are compared. In the lab
 * time means nothing.
 */
static bool in_time(const struct lateness *l, const struct lateness *host)
{
    printf("# %u cancellations: %u later than 10 ms, worst %" PRIu64
           " us; the host alone: %u of %u, worst %" PRIu64 " us\n",
           l->n, l->late_n, l->worst / 1000, host->late_n, host->n, host->worst / 1000);
    CHECK_EQ(l->too_late_n, 0);
    return scale_is_lab() || l->late_n <= l->n / 100 + 3 * 2 * host->late_n;
}

static enum status call_endless(struct calling *c, const struct endless *g)
{
    if (g == &storms)
        return calling_call1(c, g->function, UINT32_MAX);
    if (g == &pulsed)
        return calling_call1(c, g->function, 300);
    return calling_call0(c, g->function);
}

/* End one by its limit. */
static void end_by_limit(struct calling *c, const struct endless *g, uint64_t ns, struct lateness *l)
{
    uint64_t start = host_monotonic();

    c->env.limit_ns = ns;
    CHECK_EQ(call_endless(c, g), STATUS_TIMEOUT);
    note(l, start + ns, host_monotonic());
    CHECK_EQ(c->out.reason, REASON_TIMEOUT);
}

/* End one by a signal that a timer raises. */
static void end_by_signal(struct calling *c, const struct endless *g, int sig, uint64_t ns,
                          struct lateness *l)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
    uint64_t at = host_monotonic() + ns;
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)},
    };
    timer_t timer;

    c->env.limit_ns = GUEST_LIMIT_NS;
    if (!CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0))
        return;
    timer_settime(timer, TIMER_ABSTIME, &when, NULL);
    CHECK_EQ(call_endless(c, g), sig == SIGINT ? STATUS_INTERRUPTED : STATUS_TERMINATED);
    note(l, at, host_monotonic());
    CHECK_EQ(c->out.reason, REASON_SIGNAL);
    timer_delete(timer);
}

/* A caught signal is for good: what follows needs a new struct stop. */
static bool reopen_stop(struct calling *c)
{
    struct err e = {.text = ""};

    stop_close(&c->stop);
    return guest_check(stop_open(&c->stop, &e), &e);
}

/* The guest was ended: it is of no use any more, and a restored one is as good as new. */
static bool check_next(struct calling *c, const struct endless *g)
{
    const struct msg_value one_tick[] = {calling_uint(1), calling_uint(100)};

    CHECK(!c->vm.ready);
    CHECK(calling_stacks_reset(c));
    CHECK(!calling_is_kicked(c));
    if (c->stop.caught != 0 && !reopen_stop(c))
        return false;
    c->env.limit_ns = GUEST_LIMIT_NS;
    if (!calling_start(c))
        return false;
    if (strcmp(g->sample, "timer") == 0)
        return CHECK_EQ(calling_call(c, "ticks", one_tick, 2), STATUS_OK) &&
               CHECK(c->result.value.bits >= 1) && CHECK(c->result.value.bits < 1000);
    return calling_adds(c);
}

/* End `n` of them. False when there is no point in going on. */
static bool cancel_series(struct calling *c, const struct endless *g, uint64_t n, uint64_t *seed,
                          struct lateness *late, struct lateness *host)
{
    static const int signals[] = {SIGTERM, SIGINT};
    uint64_t i;

    for (i = 0; i < n; i++) {
        uint64_t ns = 500000 + tap_random(seed) % 4500000;

        if (i % 2 == 0)
            end_by_limit(c, g, ns, late);
        else
            end_by_signal(c, g, signals[i / 2 % 2], ns, late);
        if (!check_next(c, g) || !tap_ok)
            return false;
        if (i % 2 == 0)
            measure_host(ns, host);
    }
    return true;
}

/* A moment in which the host has other things to do may spoil a series, not three of them. */
static void cancel(int kvm_fd, const struct kvm_case *kc, const struct endless *g)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    uint64_t seed = 5, n = (scale_is_lab() ? LAB_N : kc->n) * scale_factor();
    bool enough = false;
    struct calling c;
    unsigned tries;

    if (!calling_open(&c, kvm_fd, g->sample, kc->kind, &io, g->irqchip))
        return;
    if (calling_start(&c)) {
        for (tries = 0; tries < 3 && !enough; tries++) {
            struct lateness late = {0}, host = {0};

            if (!cancel_series(&c, g, n, &seed, &late, &host))
                break;
            enough = in_time(&late, &host);
        }
        CHECK(enough);
    }
    calling_close(&c);
}

static void cancel_spin(int kvm_fd, const struct kvm_case *c)
{
    cancel(kvm_fd, c, &spins);
}

static void cancel_storm(int kvm_fd, const struct kvm_case *c)
{
    cancel(kvm_fd, c, &storms);
}

static void cancel_sleep(int kvm_fd, const struct kvm_case *c)
{
    cancel(kvm_fd, c, &sleeps);
}

static void cancel_pulsed(int kvm_fd, const struct kvm_case *c)
{
    cancel(kvm_fd, c, &pulsed);
}

/* The kill comes when nothing runs yet. */
static void cancel_before(int kvm_fd, const struct kvm_case *kc)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct lateness late = {0};
    struct calling c;
    unsigned i;

    if (!calling_open(&c, kvm_fd, spins.sample, kc->kind, &io, false))
        return;
    for (i = 0; i < 9 && calling_start(&c); i++) {
        uint64_t start = host_monotonic();

        c.env.limit_ns = GUEST_LIMIT_NS;
        raise(signals[i % 3]);
        CHECK_EQ(call_endless(&c, i % 2 == 0 ? &spins : &storms),
                 signals[i % 3] == SIGINT ? STATUS_INTERRUPTED : STATUS_TERMINATED);
        /* It may take the handler's repeated kick. */
        note(&late, start + 20 * MS, host_monotonic());
        CHECK(!c.vm.ready);
        if (!reopen_stop(&c))
            break;
    }
    /* A limit that is over before the guest runs. */
    if (calling_start(&c)) {
        uint64_t start = host_monotonic();

        c.env.limit_ns = 1;
        CHECK_EQ(call_endless(&c, &spins), STATUS_TIMEOUT);
        note(&late, start + 20 * MS, host_monotonic());
        check_next(&c, &spins);
    }
    CHECK_EQ(late.n, 10);
    CHECK_EQ(late.too_late_n, 0);
    calling_close(&c);
}

/* Calls that end by themselves just when their limit does end either way, and the guest is ready or not to match. */
static void cancel_at_the_end(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    const struct msg_value v[] = {calling_int(2), calling_int(40)};
    uint64_t seed = 7, usual, n = (scale_is_lab() ? LAB_N : kc->n) * scale_factor(), i;
    unsigned ended_n = 0;
    struct calling c;

    if (!calling_open(&c, kvm_fd, "calls", kc->kind, &io, false))
        return;
    if (calling_start(&c)) {
        usual = host_monotonic();
        for (i = 0; i < 10; i++)
            calling_adds(&c);
        usual = (host_monotonic() - usual) / 10;
        for (i = 0; i < n && tap_ok; i++) {
            enum status status;

            c.env.limit_ns = usual / 4 + tap_random(&seed) % (usual + 1);
            status = calling_call(&c, "add", v, 2);
            CHECK(status == STATUS_OK || status == STATUS_TIMEOUT);
            CHECK_EQ(c.vm.ready, status == STATUS_OK);
            CHECK(calling_stacks_reset(&c));
            if (status == STATUS_OK) {
                CHECK_EQ(c.result.value.bits, 42);
                ended_n++;
            }
            c.env.limit_ns = GUEST_LIMIT_NS;
            if ((c.vm.ready || calling_start(&c)) && !calling_adds(&c))
                break;
        }
        printf("# %u of %" PRIu64 " ended by themselves\n", ended_n, n);
    }
    calling_close(&c);
}

static const struct kvm_case cases[] = {
    {"amd64: a guest that spins is ended in time and leaves nothing behind", .run = cancel_spin,
     .kind = "amd64", .n = 400},
    {"amd64: a storm of host calls is ended in time and leaves nothing behind", .run = cancel_storm,
     .kind = "amd64", .n = 400},
    {"amd64: a vCPU asleep in the kernel is ended in time and leaves nothing behind", .run = cancel_sleep,
     .kind = "amd64", .n = 300},
    {"amd64: a guest with a fast timer is ended in time and leaves nothing behind", .run = cancel_pulsed,
     .kind = "amd64", .n = 100},
    {"i686-identity: a guest that spins is ended in time and leaves nothing behind", .run = cancel_spin,
     .kind = "i686-identity", .n = 400},
    {"i686-identity: a storm of host calls is ended in time and leaves nothing behind", .run = cancel_storm,
     .kind = "i686-identity", .n = 400},
    {"i686-identity: a vCPU asleep in the kernel is ended in time and leaves nothing behind",
     .run = cancel_sleep, .paging32 = true, .kind = "i686-identity", .n = 200},
    {"i686: a guest that spins is ended in time and leaves nothing behind", .run = cancel_spin,
     .paging32 = true, .kind = "i686", .n = 200},
    {"i686: a storm of host calls is ended in time and leaves nothing behind", .run = cancel_storm,
     .paging32 = true, .kind = "i686", .n = 200},
    {"i686: a vCPU asleep in the kernel is ended in time and leaves nothing behind", .run = cancel_sleep,
     .paging32 = true, .kind = "i686", .n = 200},
    {"i686: a guest with a fast timer is ended in time and leaves nothing behind", .run = cancel_pulsed,
     .paging32 = true, .kind = "i686", .n = 100},
    {"amd64: a kill before the guest runs is not lost", .run = cancel_before, .kind = "amd64"},
    {"i686-identity: a kill before the guest runs is not lost", .run = cancel_before,
     .kind = "i686-identity"},
    {"i686: a kill before the guest runs is not lost", .run = cancel_before, .paging32 = true,
     .kind = "i686"},
    {"amd64: a limit that meets the end of a call leaves a guest that is ready or poisoned",
     .run = cancel_at_the_end, .kind = "amd64", .n = 200},
    {"i686-identity: a limit that meets the end of a call leaves a guest that is ready or poisoned",
     .run = cancel_at_the_end, .kind = "i686-identity", .n = 200},
};

int main(void)
{
    /* A shell starts what is to run beside it with SIGINT ignored, and then it stays ignored. */
    signal(SIGINT, SIG_DFL);
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
