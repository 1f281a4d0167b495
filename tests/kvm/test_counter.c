/*
 * The guest counter and its canary: where they are, byte by byte and in the
 * ABI's numbers, that they are nowhere when nobody asked, and that a guest
 * sees the counter change while it runs.
 */
#include "hv/counter.h"

#include <signal.h>
#include <time.h>

#include "mem/bytes.h"
#include "tests/kvm/guests.h"
#include "tests/kvm/seam.h"

/* Distances below the end of scratch. */
#define COUNTER 0x1008u
#define CANARY  0x1000u

#define SCRATCH 0x48000u

/* A restored guest; false when there is none, with nothing to close. */
static bool open_guest(int kvm_fd, const char *kind, struct snapshot *snap, struct vm *vm)
{
    struct image_options io = guest_options(SCRATCH);
    const struct vm_options opt = {.irqchip = false, .warm = true};
    struct err e = {.text = ""};

    if (!guest_build_sample("counter", kind, &io, snap))
        return false;
    if (guest_check(vm_open(vm, kvm_fd, snap, &opt, &e), &e)) {
        if (guest_check(vm_restore(vm, &e), &e))
            return true;
        vm_close(vm);
    }
    snapshot_free(snap);
    return false;
}

static void close_guest(struct snapshot *snap, struct vm *vm)
{
    vm_close(vm);
    snapshot_free(snap);
}

static struct options counter_of(uint64_t value)
{
    struct options o = options_default();

    o.counter = value;
    o.counter_given = true;
    return o;
}

static uint64_t word(struct vm *vm, unsigned distance)
{
    return load_le64(vm_scratch(vm, SCRATCH - distance));
}

static void is_in_place(int kvm_fd, const struct kvm_case *c)
{
    const struct options o = counter_of(c->n);
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    unsigned i;

    if (!open_guest(kvm_fd, c->kind, &snap, &vm))
        return;
    guest_check(counter_publish(&vm, &o, &e), &e);
    CHECK_EQ(word(&vm, COUNTER), c->n);
    CHECK_EQ((uintptr_t)vm_scratch(&vm, SCRATCH - COUNTER) % 8, 0);
    CHECK(word(&vm, CANARY) != 0);
    CHECK_EQ(word(&vm, COUNTER + 8), 0);
    CHECK_EQ(word(&vm, CANARY - 8), 0);
    CHECK(counter_is_intact(&vm, &o, &e));
    /* Each byte of the canary counts, and no byte beside it. */
    for (i = 0; i < 24; i++) {
        vm_scratch_rw(&vm, SCRATCH - COUNTER, 24)[i] ^= 0x40;
        CHECK_EQ(counter_is_intact(&vm, &o, &e), i < 8 || i >= 16);
        vm_scratch_rw(&vm, SCRATCH - COUNTER, 24)[i] ^= 0x40;
    }
    CHECK(counter_is_intact(&vm, &o, &e));
    close_guest(&snap, &vm);
}

static void is_absent(int kvm_fd, const struct kvm_case *c)
{
    const struct options o = options_default();
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    unsigned d;

    if (!open_guest(kvm_fd, c->kind, &snap, &vm))
        return;
    guest_check(counter_publish(&vm, &o, &e), &e);
    /* The whole page of the counter, and the boot stack above it up to the words. */
    for (d = 0x2000; d > 0x28; d -= 8)
        if (!CHECK_EQ(word(&vm, d), 0))
            break;
    vm_scratch_rw(&vm, SCRATCH - CANARY, 8)[0] = 1;
    CHECK(counter_is_intact(&vm, &o, &e));
    close_guest(&snap, &vm);
}

static void is_cleared_by_restore(int kvm_fd, const struct kvm_case *c)
{
    const struct options o = counter_of(7);
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;

    if (!open_guest(kvm_fd, c->kind, &snap, &vm))
        return;
    guest_check(counter_publish(&vm, &o, &e), &e);
    guest_check(vm_restore(&vm, &e), &e);
    CHECK_EQ(word(&vm, COUNTER), 0);
    CHECK_EQ(word(&vm, CANARY), 0);
    guest_check(counter_publish(&vm, &o, &e), &e);
    CHECK_EQ(word(&vm, COUNTER), 7);
    CHECK(counter_is_intact(&vm, &o, &e));
    close_guest(&snap, &vm);
}

/* From one guest to the next the signals stay taken: they are no end of the process. */
static void is_hidden(int kvm_fd, const struct kvm_case *c)
{
    const struct options o = counter_of(7);
    struct err e = {.text = ""};
    struct sigaction sa;
    struct snapshot snap;
    struct vm vm;
    unsigned i;

    counter_close();
    if (!open_guest(kvm_fd, c->kind, &snap, &vm))
        return;
    for (i = 0; i < 2; i++) {
        guest_check(counter_publish(&vm, &o, &e), &e);
        raise(SIGUSR1);
        CHECK_EQ(word(&vm, COUNTER), 8);
        counter_hide();
        raise(SIGUSR1);
        raise(SIGUSR2);
        raise(SIGUSR2);
        CHECK_EQ(word(&vm, COUNTER), 8);
    }
    counter_close();
    CHECK(sigaction(SIGUSR1, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
    CHECK(sigaction(SIGUSR2, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
    close_guest(&snap, &vm);
}

/* An i686 guest reads half of it, so more than that is refused with nothing written. */
static void is_refused(int kvm_fd, const struct kvm_case *c)
{
    static const uint64_t too_large[] = {0x100000000, 0x100000007, UINT64_MAX};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    unsigned i;

    if (!open_guest(kvm_fd, c->kind, &snap, &vm))
        return;
    for (i = 0; i < sizeof(too_large) / sizeof(too_large[0]); i++) {
        const struct options o = counter_of(too_large[i]);

        CHECK_EQ(counter_publish(&vm, &o, &e), -1);
        CHECK_EQ(e.status, 64);
        CHECK_HAS(e.text, "4294967295");
        CHECK_EQ(word(&vm, COUNTER), 0);
        CHECK_EQ(word(&vm, CANARY), 0);
    }
    close_guest(&snap, &vm);
}

/* What the signal publishes while the guest polls. */
static struct vm *running;
static uint64_t next_value;

static void publish_now(int signo)
{
    const struct options o = counter_of(next_value);
    struct err e;

    (void)signo;
    counter_publish(running, &o, &e);
}

static void changes_under_way(int kvm_fd, const struct kvm_case *c)
{
    const struct sigaction on_timer = {.sa_handler = publish_now};
    const struct itimerspec soon = {.it_value = {.tv_nsec = 200000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct options zero = counter_of(0);
    struct err e = {.text = ""};
    struct sigaction before;
    struct snapshot snap;
    struct outcome out;
    struct vm vm;
    timer_t timer;
    char text[256], wanted[64];

    if (!open_guest(kvm_fd, c->kind, &snap, &vm))
        return;
    guest_check(counter_publish(&vm, &zero, &e), &e);
    running = &vm;
    next_value = c->n;
    sigaction(SIGUSR1, &on_timer, &before);
    if (CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)) {
        timer_settime(timer, 0, &soon, NULL);
        if (guest_run(&vm, text, sizeof(text), &out)) {
            CHECK_EQ(out.reason, REASON_ENDED);
            CHECK(out.ran_ns > 10000000);
            snprintf(wanted, sizeof(wanted), "polling\ncounter %" PRIu64 "\n", c->n);
            CHECK_STR(text, wanted);
            CHECK(counter_is_intact(&vm, &zero, &e));
        }
        timer_delete(timer);
    }
    sigaction(SIGUSR1, &before, NULL);
    close_guest(&snap, &vm);
}

static const struct kvm_case cases[] = {
    {"amd64: counter and canary are where the ABI has them", .run = is_in_place, .kind = "amd64",
     .n = 0xfedcba9876543210},
    {"i686: counter and canary are where the ABI has them", .run = is_in_place, .paging32 = true,
     .kind = "i686", .n = UINT32_MAX},
    {"i686-identity: counter and canary are where the ABI has them", .run = is_in_place,
     .kind = "i686-identity", .n = UINT32_MAX},
    {"amd64: without a counter nothing is written", .run = is_absent, .kind = "amd64"},
    {"i686-identity: without a counter nothing is written", .run = is_absent, .kind = "i686-identity"},
    {"amd64: a restore clears the counter until it is published again", .run = is_cleared_by_restore,
     .kind = "amd64"},
    {"amd64: between two guests signals are taken and count nothing", .run = is_hidden, .kind = "amd64"},
    {"i686: a counter above 2^32 - 1 is refused", .run = is_refused, .paging32 = true, .kind = "i686"},
    {"i686-identity: a counter above 2^32 - 1 is refused", .run = is_refused, .kind = "i686-identity"},
    {"amd64: a guest that polls sees the counter change", .run = changes_under_way, .kind = "amd64",
     .n = 0x123456789abc},
    {"i686: a guest that polls sees the counter change", .run = changes_under_way, .paging32 = true,
     .kind = "i686", .n = 41},
    {"i686-identity: a guest that polls sees the counter change", .run = changes_under_way,
     .kind = "i686-identity", .n = UINT32_MAX},
};

int main(void)
{
    unsigned i;

    if (counter_option_rows[0].name != NULL)
        return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        tap_skip(cases[i].name, "built without GUEST_COUNTER=1");
    return tap_done();
}
