/*
 * The guest's timer: that it ticks, what periods it takes, that it ends with
 * the run however that ends, and that the interrupt controllers are there for
 * guests that asked, and as new after a restore. The timer itself is real; the
 * calls that set it pass through this program, which writes them down.
 */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "hv/ktimer.h"
#include "tests/kvm/calling.h"

#define PERIOD_US    300
#define SETTINGS_MAX 64

/* Periods that the timer `watched` was set to, in ns, 0 = stopped. */
static bool watching;
static const int *watched;
static uint64_t settings[SETTINGS_MAX];
static unsigned settings_n;
static bool kick_at_stop; /* a last signal arrives while the timer is being stopped */
static bool none_left;    /* the host has no more timers */

void ktimer_set(int id, uint64_t first_ns, uint64_t repeat_ns)
{
    const struct itimerspec t = {
        .it_value = {.tv_sec = (time_t)(first_ns / 1000000000), .tv_nsec = (long)(first_ns % 1000000000)},
        .it_interval = {.tv_sec = (time_t)(repeat_ns / 1000000000),
                        .tv_nsec = (long)(repeat_ns % 1000000000)},
    };

    CHECK(syscall(SYS_timer_settime, id, 0, &t, NULL) == 0);
    if (watching && id == *watched) {
        CHECK_EQ(first_ns, repeat_ns);
        if (settings_n < SETTINGS_MAX)
            settings[settings_n++] = repeat_ns;
        if (repeat_ns == 0 && kick_at_stop)
            raise(SIGALRM);
    }
}

/* The rest of hv/ktimer, which is in one object with what is above. */
int ktimer_create(int sig, int *id)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};

    if (none_left) {
        errno = EAGAIN;
        return -1;
    }
    return (int)syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, id);
}

void ktimer_delete(int id)
{
    syscall(SYS_timer_delete, id);
}

static void watch(struct calling *c)
{
    watched = &c->stop.timers[STOP_GUEST];
    watching = true;
    settings_n = 0;
}

static bool open_timer(struct calling *c, int kvm_fd, const char *kind)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);

    watching = kick_at_stop = false;
    if (!calling_open(c, kvm_fd, "timer", kind, &io, true))
        return false;
    if (calling_start(c))
        return true;
    calling_close(c);
    return false;
}

static void ticks(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;
    uint64_t start;

    if (!open_timer(&c, kvm_fd, kc->kind))
        return;
    start = host_monotonic();
    CHECK_EQ(calling_call2(&c, "ticks", 10, 2000), STATUS_OK);
    CHECK(c.result.value.bits >= 10);
    CHECK(host_monotonic() - start >= 20 * MS);
    calling_close(&c);
}

static void clamps(int kvm_fd, const struct kvm_case *kc)
{
    static const struct {
        uint32_t us;
        uint64_t ns;
    } periods[] = {
        {1, 100000},
        {99, 100000},
        {100, 100000},
        {101, 101000},
        {9999999, 9999999000},
        {10000000, 10000000000},
        {10000001, 10000000000},
        {UINT32_MAX, 10000000000},
    };
    struct calling c;
    unsigned i;

    if (!open_timer(&c, kvm_fd, kc->kind))
        return;
    for (i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
        watch(&c);
        CHECK_EQ(calling_call2(&c, "set", periods[i].us, 4), STATUS_OK);
        /* What was asked for, and the stop at the end of the call. */
        CHECK_EQ(settings_n, 2);
        CHECK_EQ(settings[0], periods[i].ns);
        CHECK_EQ(settings[1], 0);
    }
    /* A timer that does not run needs no setting to be stopped. */
    watch(&c);
    CHECK_EQ(calling_call2(&c, "set", 0, 4), STATUS_OK);
    CHECK_EQ(settings_n, 0);
    calling_close(&c);
}

static void ignores_narrow(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;
    unsigned width;

    if (!open_timer(&c, kvm_fd, kc->kind))
        return;
    for (width = 1; width <= 2; width++) {
        watch(&c);
        CHECK_EQ(calling_call2(&c, "set", 200, width), STATUS_OK);
        CHECK_EQ(settings_n, 0);
    }
    calling_close(&c);
}

static void replaces(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;
    uint64_t start;

    if (!open_timer(&c, kvm_fd, kc->kind))
        return;
    watch(&c);
    start = host_monotonic();
    CHECK_EQ(calling_call2(&c, "twice", 10000000, 1000), STATUS_OK);
    CHECK(host_monotonic() - start < 9000 * MS);
    /* Both, and the guest's own stop. */
    CHECK_EQ(settings_n, 3);
    CHECK_EQ(settings[0], 10000000000);
    CHECK_EQ(settings[1], 1000000);
    CHECK_EQ(settings[2], 0);
    calling_close(&c);
}

static const struct {
    const char *function;
    enum status status;
} ways_out[] = {
    {"leave_by_return", STATUS_OK},        {"leave_by_abort", STATUS_ABORTED},
    {"leave_in_handler", STATUS_ABORTED},  {"leave_by_fault", STATUS_FAULTED},
    {"leave_by_halt", STATUS_FAULTED},     {"leave_by_limit", STATUS_TIMEOUT},
    {"leave_by_limit", STATUS_TERMINATED},
};

#define WAYS_OUT_N (sizeof(ways_out) / sizeof(ways_out[0]))

/* Leave with the timer running, by a limit or a signal where nothing else ends the guest. */
static void leave(struct calling *c, unsigned way)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
    const struct itimerspec soon = {.it_value = {.tv_nsec = 30000000}};
    bool by_signal = ways_out[way].status == STATUS_TERMINATED;
    enum status status;
    timer_t timer;

    c->env.limit_ns = ways_out[way].status == STATUS_TIMEOUT ? 30 * MS : GUEST_LIMIT_NS;
    if (by_signal && CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0))
        timer_settime(timer, 0, &soon, NULL);
    status = calling_call1(c, ways_out[way].function, PERIOD_US);
    if (!CHECK_EQ(status, ways_out[way].status))
        printf("# %s: %s\n", ways_out[way].function, c->out.why.text);
    if (by_signal)
        timer_delete(timer);
    c->env.limit_ns = GUEST_LIMIT_NS;
}

static bool reopen_stop(struct calling *c)
{
    struct err e = {.text = ""};

    stop_close(&c->stop);
    return guest_check(stop_open(&c->stop, &e), &e);
}

/* The timer is stopped, in the kernel and in our books, and nothing is left for the next run. */
static void check_stopped(struct calling *c)
{
    struct itimerspec now;

    CHECK(syscall(SYS_timer_gettime, c->stop.timers[STOP_GUEST], &now) == 0);
    CHECK_EQ(now.it_value.tv_sec, 0);
    CHECK_EQ(now.it_value.tv_nsec, 0);
    CHECK(!stop_timer_due(&c->stop));
    CHECK_EQ(c->stop.due_ns, 0);
    CHECK(!calling_is_kicked(c));
}

/* The console's tick, armed by what init printed, may still be on its way. */
static void let_ticks_pass(void)
{
    uint64_t until = host_monotonic() + 40 * MS;
    const struct timespec t = {.tv_nsec = 5000000};

    while (host_monotonic() < until)
        nanosleep(&t, NULL);
}

/* Run another guest for 20 ms. Each KVM_RUN ends with an exit of its own, and no line is pulsed. */
static void check_undisturbed(struct calling *c, struct vm *other)
{
    static const uint32_t requests[] = {KVM_RUN, KVM_IRQ_LINE};
    struct vm *timer_vm = c->env.vm;
    unsigned i;

    let_ticks_pass();
    c->env.vm = other;
    for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct msg_call call = {.name = (const uint8_t *)"count", .name_len = 5};
        uint64_t until = host_monotonic() + 20 * MS;
        struct err e = {.text = ""};
        struct outcome out;

        run_outcome(other, &out);
        seam_fail(requests[i], 0, 0);
        while (host_monotonic() < until && out.reason == REASON_ENDED)
            if (!guest_check(call_guest(&c->env, &call, &c->result, &out, &e), &e))
                break;
        CHECK_EQ(out.reason, REASON_ENDED);
        if (!CHECK_EQ(seam.calls_n, requests[i] == KVM_RUN ? out.exits_n : 0))
            printf("# exit %d\n", (int)out.last_exit.kind);
        seam_fail(0, 0, 0);
    }
    c->env.vm = timer_vm;
}

static void ends_with_the_run(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    const struct vm_options opt = {.irqchip = true, .warm = true};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct calling c;
    struct vm other;
    unsigned way;

    if (!guest_build_sample("calls", kc->kind, &io, &snap))
        return;
    if (guest_check(vm_open(&other, kvm_fd, &snap, &opt, &e), &e)) {
        if (open_timer(&c, kvm_fd, kc->kind)) {
            struct run_env env = c.env;
            struct outcome out;

            run_outcome(&other, &out);
            env.vm = &other;
            guest_check(vm_restore(&other, &e), &e);
            guest_check(run_init(&env, &out, &e), &e);
            for (way = 0; way < WAYS_OUT_N && tap_ok; way++) {
                leave(&c, way);
                check_stopped(&c);
                if (c.stop.caught != 0 && !reopen_stop(&c))
                    break;
                check_undisturbed(&c, &other);
                if (!tap_ok)
                    printf("# after %s\n", ways_out[way].function);
                if (!calling_start(&c))
                    break;
            }
            calling_close(&c);
        }
        vm_close(&other);
    }
    snapshot_free(&snap);
}

/* The timer's last signal comes when the run is over but for its end. */
static void last_signal(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;

    if (!open_timer(&c, kvm_fd, kc->kind))
        return;
    let_ticks_pass();
    watch(&c);
    kick_at_stop = true;
    CHECK_EQ(calling_call2(&c, "set", 1000, 4), STATUS_OK);
    kick_at_stop = false;
    check_stopped(&c);
    seam_fail(KVM_RUN, 0, 0);
    CHECK_EQ(calling_call2(&c, "set", 0, 1), STATUS_OK);
    CHECK_EQ(seam.calls_n, c.out.exits_n);
    seam_fail(0, 0, 0);
    calling_close(&c);
}

/* What a guest leaves in the vCPU and its interrupt controllers is gone after a restore. */
static void restored_anew(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;
    unsigned way, i;

    if (!open_timer(&c, kvm_fd, kc->kind))
        return;
    for (way = 0; way < WAYS_OUT_N && tap_ok; way++) {
        for (i = 0; i < 3 && tap_ok; i++) {
            leave(&c, way);
            if (c.stop.caught != 0 && !reopen_stop(&c))
                break;
            /* init waits for ticks of its own. */
            if (!calling_start(&c))
                break;
            CHECK_EQ(calling_call1(&c, "listen", 1000), STATUS_OK);
            CHECK_EQ(c.result.value.bits, 0);
            CHECK_EQ(calling_call2(&c, "ticks", 2, 200), STATUS_OK);
        }
    }
    calling_close(&c);
}

static void check_init_fails(struct calling *c, uint64_t limit_ns)
{
    struct err e = {.text = ""};

    c->env.limit_ns = limit_ns;
    run_outcome(&c->vm, &c->out);
    none_left = true;
    CHECK(guest_check(vm_restore(&c->vm, &e), &e) && run_init(&c->env, &c->out, &e) == -1);
    none_left = false;
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "host: cannot create a timer: ");
    CHECK(!c->vm.ready);
}

/* Neither a run without its limit nor a guest without its timer. */
static void needs_timers(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;

    if (!calling_open(&c, kvm_fd, "timer", kc->kind, &io, true))
        return;
    seam_fail(KVM_RUN, 0, 0);
    check_init_fails(&c, GUEST_LIMIT_NS);
    CHECK_EQ(seam.calls_n, 0);
    check_init_fails(&c, 0);
    CHECK(seam.calls_n > 0);
    seam_fail(0, 0, 0);
    c.env.limit_ns = GUEST_LIMIT_NS;
    if (calling_start(&c))
        CHECK_EQ(calling_call2(&c, "ticks", 2, 200), STATUS_OK);
    calling_close(&c);
}

/* Of the two settings of --irqchip, only one makes a controller. */
static void only_when_asked(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;

    seam_fail(KVM_CREATE_IRQCHIP, 0, 0);
    if (!calling_open(&c, kvm_fd, "timer", kc->kind, &io, false))
        return;
    if (calling_init(&c)) {
        CHECK_EQ(c.out.status, STATUS_FAULTED);
        CHECK_HAS(c.out.why.text, "out port 0x6b (107), 4 bytes");
        CHECK(!c.vm.ready);
    }
    calling_close(&c);
    CHECK_EQ(seam.calls_n, 0);
    if (calling_open(&c, kvm_fd, "calls", kc->kind, &io, false)) {
        if (calling_start(&c))
            calling_adds(&c);
        calling_close(&c);
    }
    CHECK_EQ(seam.calls_n, 0);
    if (calling_open(&c, kvm_fd, "calls", kc->kind, &io, true)) {
        CHECK_EQ(seam.calls_n, 1);
        if (calling_start(&c))
            calling_adds(&c);
        calling_close(&c);
    }
    seam_fail(0, 0, 0);
}

static const struct kvm_case cases[] = {
    {"amd64: a guest gets the ticks of its timer, and none early", .run = ticks, .kind = "amd64"},
    {"i686: a guest gets the ticks of its timer, and none early", .run = ticks, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: a guest gets the ticks of its timer, and none early", .run = ticks, .paging32 = true,
     .kind = "i686-identity"},
    {"amd64: a period is between 100 us and 10 s, and 0 stops the timer", .run = clamps, .kind = "amd64"},
    {"i686: a period is between 100 us and 10 s, and 0 stops the timer", .run = clamps, .paging32 = true,
     .kind = "i686"},
    {"amd64: a period of fewer than four bytes is ignored", .run = ignores_narrow, .kind = "amd64"},
    {"i686: a period of fewer than four bytes is ignored", .run = ignores_narrow, .paging32 = true,
     .kind = "i686"},
    {"amd64: a second period replaces the first", .run = replaces, .kind = "amd64"},
    {"i686: a second period replaces the first", .run = replaces, .paging32 = true, .kind = "i686"},
    {"amd64: the timer ends with the run, however that ends", .run = ends_with_the_run, .kind = "amd64"},
    {"i686: the timer ends with the run, however that ends", .run = ends_with_the_run, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: the timer ends with the run, however that ends", .run = ends_with_the_run,
     .paging32 = true, .kind = "i686-identity"},
    {"amd64: a signal of the timer that comes last does not hit the next call", .run = last_signal,
     .kind = "amd64"},
    {"amd64: a restore takes back what a guest left in vCPU and PIC", .run = restored_anew, .kind = "amd64"},
    {"i686: a restore takes back what a guest left in vCPU and PIC", .run = restored_anew, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: a restore takes back what a guest left in vCPU and PIC", .run = restored_anew,
     .paging32 = true, .kind = "i686-identity"},
    {"amd64: without a timer to be had no limit is left out, and no guest's timer", .run = needs_timers,
     .kind = "amd64"},
    {"i686: without a timer to be had no limit is left out, and no guest's timer", .run = needs_timers,
     .paging32 = true, .kind = "i686"},
    {"amd64: interrupt controllers are made for guests that ask, and for no others", .run = only_when_asked,
     .kind = "amd64"},
    {"i686: interrupt controllers are made for guests that ask, and for no others", .run = only_when_asked,
     .paging32 = true, .kind = "i686"},
    {"i686-identity: interrupt controllers are made for guests that ask, and for no others",
     .run = only_when_asked, .kind = "i686-identity"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
