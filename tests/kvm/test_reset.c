/*
 * Nothing that one run wrote can be read by the next. All state that KVM can
 * tell of, found by a list of this test's own, and all of the guest's memory
 * are after each restore what they were after the first, whatever a guest did
 * in between; and the process that does this a thousand times does not grow.
 *
 * RESET_ROUNDS: how many restores in a case, 1,000 by default and in the lab
 * LAB_ROUNDS, times TEST_SCALE.
 */
#include <time.h>

#include "tests/kvm/memory.h"
#include "tests/kvm/raw_state.h"

#define ROUNDS         1000
#define LAB_ROUNDS     20

#define PAGES_CAPTURED 2 /* that the guest has dirtied when it is captured */

#define TSC_CAPTURED   ((uint64_t)1 << 50)
#define TSC_LATER_MAX  ((uint64_t)1 << 44) /* hours of it */

static unsigned rounds(void)
{
    const char *text = getenv("RESET_ROUNDS");
    unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 0;

    if (n != 0)
        return (unsigned)n;
    return (scale_is_lab() ? LAB_ROUNDS : ROUNDS) * scale_factor();
}

/* --- growth ----------------------------------------------------------------------------------------------- */

struct held {
    uint64_t rss_pages; /* 0 where there is no /proc */
    unsigned fds, slots;
};

static struct held look_at_process(void)
{
    struct held h = {.fds = seam_count_fds(), .slots = seam.slots_n};
    FILE *f = fopen("/proc/self/statm", "re");
    char line[128], *end;

    if (f != NULL) {
        if (fgets(line, sizeof(line), f) != NULL) {
            strtoul(line, &end, 10);
            h.rss_pages = strtoul(end, NULL, 10);
        }
        fclose(f);
    }
    return h;
}

/* --- a captured guest that owns something of everything ---------------------------------------------------- */

/* A software KVM may have no TSC but the host's. */
static bool has_own_tsc;

static void set_guests_own(struct calling *c)
{
    uint64_t now;
    unsigned i;

    for (i = 0; i < GUESTS_OWN_N; i++)
        CHECK(raw_set_msr(&c->vm.machine, guests_own[i].index, guests_own[i].value));
    CHECK(raw_set_msr(&c->vm.machine, MSR_TSC, TSC_CAPTURED));
    has_own_tsc = raw_get_msr(&c->vm.machine, MSR_TSC, &now) && now >= TSC_CAPTURED;
    if (!has_own_tsc)
        printf("# this KVM does not set the TSC\n");
}

static bool capture_dirty(int kvm_fd, const struct kvm_case *kc, struct snapshot *out)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;
    bool made = false;

    io.sizes.apic = has_irqchip(kc);
    if (!calling_open(&c, kvm_fd, "dirty", kc->kind, &io, has_irqchip(kc)))
        return false;
    if (calling_start(&c) && CHECK_EQ(calling_call1(&c, "dirty", PAGES_CAPTURED), STATUS_OK)) {
        set_guests_own(&c);
        made = captured_make(&c, out);
    }
    calling_close(&c);
    return made;
}

/* The captured MSRs are the guest's again, by their own values. */
static void check_guests_own(const struct machine *m)
{
    uint64_t value;
    unsigned i;

    for (i = 0; i < GUESTS_OWN_N; i++) {
        if (!CHECK(raw_get_msr(m, guests_own[i].index, &value) && value == guests_own[i].value))
            printf("# MSR 0x%" PRIx32 " is 0x%" PRIx64 ", captured 0x%" PRIx64 "\n", guests_own[i].index,
                   value, guests_own[i].value);
    }
    if (has_own_tsc && !CHECK(raw_get_msr(m, MSR_TSC, &value) && value >= TSC_CAPTURED &&
                              value < TSC_CAPTURED + TSC_LATER_MAX))
        printf("# the TSC is 0x%" PRIx64 ", captured 0x%" PRIx64 "\n", value, TSC_CAPTURED);
}

/*
 * Fill the registers of every unit. The lab's CPU is QEMU's, which may forget between XSETBV and the next
 * instruction that AVX is on when an interrupt of the host comes in there (seen with 7.2, in KVM's trace: entry,
 * exit for an interrupt, entry, #UD, all at that instruction). Then the round starts over.
 */
enum filled { FILLED, FILL_AGAIN, FILL_FAILED };

static enum filled fill_fpu(struct calling *c)
{
    enum status status = calling_call0(c, "fpu");

    calling_say_abort("fpu", &c->out);
    if (status == STATUS_ABORTED && c->out.abort.has_exception && c->out.abort.exception == 6)
        return FILL_AGAIN;
    return CHECK_EQ(status, STATUS_OK) && CHECK((c->result.value.bits & 3) == 3) ? FILLED : FILL_FAILED;
}

/* What a run may do: write pages, and registers where this KVM has them; not for long. */
static enum filled run_once(struct calling *c, unsigned round)
{
    if (!CHECK_EQ(calling_call0(c, "count"), STATUS_OK) || !CHECK_EQ(c->result.value.bits, PAGES_CAPTURED))
        return FILL_FAILED;
    if (!CHECK_EQ(calling_call1(c, "dirty", 1 + round % 4), STATUS_OK))
        return FILL_FAILED;
    if (!scale_is_lab())
        return FILLED;
    if (!CHECK_EQ(calling_call0(c, "fpu_found"), STATUS_OK) || !CHECK_EQ(c->result.value.bits, 0))
        return FILL_FAILED;
    return fill_fpu(c);
}

static bool run_guest(struct calling *c, unsigned round)
{
    enum filled filled = run_once(c, round);
    unsigned tries;

    for (tries = 0; filled == FILL_AGAIN && tries < 3 && captured_restore(c); tries++)
        filled = run_once(c, round);
    return CHECK_EQ(filled, FILLED);
}

/* The parts that have to have been different at least once for the test to be one. */
static void check_dirt(const struct raw_dirt *dirt, const struct raw_state *clean, bool irqchip,
                       bool filtered)
{
    unsigned i;

    for (i = 0; i < RAW_REGS; i++) {
        if (!clean->there[i] || dirt->parts[i])
            continue;
        /* Without a local APIC a vCPU has one run state. Where KVM offers the guest nothing, XCR0 has one value. */
        if (raw_parts[i].get == (uint32_t)KVM_GET_MP_STATE && !irqchip)
            continue;
        printf("# %s was never changed\n", raw_parts[i].name);
        CHECK(false);
    }
    printf("# %u MSRs listed, %u dirtied\n", clean->msrs_n, dirt->msrs_n);
    CHECK(filtered ? dirt->msrs_n == GUESTS_OWN_N : dirt->msrs_n > GUESTS_OWN_N);
}

static void is_reset(int kvm_fd, const struct kvm_case *kc)
{
    static struct raw_state clean;
    static uint8_t regs[RAW_LEN_MAX], now[RAW_LEN_MAX];
    struct raw_dirt dirt = {.msrs_n = 0};
    struct memory memory = {.n = 0};
    struct held before = {.fds = 0}, after;
    bool irqchip = has_irqchip(kc);
    uint64_t seed = 11;
    struct snapshot snap;
    struct calling c;
    /* One way to learn of writes has them all; the others differ in nothing else. */
    unsigned round, all = rounds(), n = (kc->n & TRACK(~0)) != 0 && all >= 100 ? all / 4 : all;

    memset(&clean, 0, sizeof(clean));
    if (!tracked_open(&c, kvm_fd, kc, capture_dirty, &snap))
        return;
    if (raw_list_msrs(kvm_fd, &clean) && captured_restore(&c)) {
        raw_read(&c.vm.machine, irqchip, &clean);
        find_clocks(&c.vm.machine, &clean);
        if (is_filtered(&c))
            deny_others(&clean);
        check_guests_own(&c.vm.machine);
        take_memory(&memory);
        guest_check(vm_enter_call(&c.vm, &c.e), &c.e);
        CHECK(raw_read_part(&c.vm.machine, RAW_REGS, regs));
    }
    for (round = 0; round < n && tap_ok; round++) {
        uint64_t word = tap_random(&seed);

        if (!run_guest(&c, round))
            break;
        raw_dirty_all(&c.vm.machine, irqchip, &clean, word, &dirt);
        if (!captured_restore(&c))
            break;
        raw_is(&c.vm.machine, irqchip, &clean);
        check_guests_own(&c.vm.machine);
        memory_is(&memory, snap.plan.scratch_gpa.v);
        guest_check(vm_enter_call(&c.vm, &c.e), &c.e);
        if (CHECK(raw_read_part(&c.vm.machine, RAW_REGS, now)))
            raw_compare_part(RAW_REGS, now, regs);
        /*
         * The same with memory that no guest of ours would write, the tables included; in the second half, for
         * what was touched once is put back from then on, and what guests touch has to be noticed.
         */
        if (round >= n / 2)
            dirty_memory(&c.vm, word);
        if (!captured_restore(&c))
            break;
        memory_is(&memory, snap.plan.scratch_gpa.v);
        if (round == n * 3 / 4)
            before = look_at_process();
    }
    if (tap_ok) {
        check_dirt(&dirt, &clean, irqchip, is_filtered(&c));
        after = look_at_process();
        CHECK_EQ(after.fds, before.fds);
        CHECK_EQ(after.slots, before.slots);
        if (!CHECK(after.rss_pages <= before.rss_pages + 64))
            printf("# %" PRIu64 " pages resident, %" PRIu64 " before\n", after.rss_pages, before.rss_pages);
        printf("# %u rounds, %" PRIu64 " pages resident\n", round, after.rss_pages);
    } else {
        printf("# in round %u\n", round);
    }
    calling_close(&c);
    free_memory(&memory);
    snapshot_free(&snap);
}

/* --- runs that end in the middle of something ---------------------------------------------------------------- */

/* Each way, and then a restored guest that knows nothing of it: what KVM had yet to finish is finished before. */
static void half_done(int kvm_fd, const struct kvm_case *kc)
{
    static const char *const ends[] = {"bad_read", "bad_write", "bad_in", "bad_out",
                                       "bad_ins",  "bad_copy",  "msr"};
    static struct raw_state clean;
    struct memory memory = {.n = 0};
    bool irqchip = has_irqchip(kc);
    struct snapshot snap;
    struct calling c;
    unsigned i = 0, round;

    memset(&clean, 0, sizeof(clean));
    choose_track(kc);
    if (!capture_dirty(kvm_fd, kc, &snap))
        return;
    if (!captured_open(&c, kvm_fd, &snap)) {
        snapshot_free(&snap);
        return;
    }
    if (raw_list_msrs(kvm_fd, &clean) && captured_restore(&c)) {
        raw_read(&c.vm.machine, irqchip, &clean);
        find_clocks(&c.vm.machine, &clean);
        take_memory(&memory);
    }
    for (round = 0; round < 3 * sizeof(ends) / sizeof(ends[0]) && tap_ok; round++) {
        enum status status;

        i = round % (sizeof(ends) / sizeof(ends[0]));
        status = strcmp(ends[i], "msr") == 0 ? calling_call1(&c, "msr", 0xdead) : calling_call0(&c, ends[i]);
        CHECK(status == STATUS_FAULTED || status == STATUS_ABORTED || status == STATUS_OK);
        if (!captured_restore(&c))
            break;
        raw_is(&c.vm.machine, irqchip, &clean);
        memory_is(&memory, snap.plan.scratch_gpa.v);
        if (!CHECK_EQ(calling_call0(&c, "count"), STATUS_OK) ||
            !CHECK_EQ(c.result.value.bits, PAGES_CAPTURED))
            printf("# %s%s\n", c.out.why.text, c.e.text);
        if (!c.vm.ready || !CHECK_EQ(calling_call1(&c, "dirty", 7), STATUS_OK) || !captured_restore(&c))
            break;
        memory_is(&memory, snap.plan.scratch_gpa.v);
    }
    if (!tap_ok)
        printf("# after %s\n", ends[i]);
    calling_close(&c);
    free_memory(&memory);
    snapshot_free(&snap);
}

/* KVM steps over an OUT when it runs on at the same address: there the next run starts, with another instruction. */
static void ended_at_entry(int kvm_fd, const struct kvm_case *kc)
{
    /* push $0x102; popf: the OUT is then a step of its own, with a mark in DR6, if RIP is there once more. */
    static const uint8_t step[] = {0x68, 0x02, 0x01, 0x00, 0x00, 0x9d}, out_halt[] = {0xe6, PORT_HALT};
    static uint8_t wanted[RAW_LEN_MAX], now[RAW_LEN_MAX];
    struct raw_state clean = {.msrs_n = 0};
    struct snapshot snap;
    struct calling c;
    unsigned round;

    if (!tracked_open(&c, kvm_fd, kc, capture_dirty, &snap))
        return;
    for (round = 0; round < 3 && captured_restore(&c); round++) {
        guest_check(vm_enter_call(&c.vm, &c.e), &c.e);
        if (!CHECK(raw_read_part(&c.vm.machine, RAW_REGS, now)))
            break;
        if (round == 0)
            memcpy(wanted, now, sizeof(wanted));
        raw_compare_part(RAW_REGS, now, wanted);
        if (round == 0)
            raw_read(&c.vm.machine, false, &clean);
        raw_is(&c.vm.machine, false, &clean);
        if (!CHECK(gmem_write(c.vm.mem, gpa_make(c.vm.dispatch), out_halt, sizeof(out_halt))))
            break;
        /* From the second round on the run starts before it, with TF. */
        if (round != 0) {
            CHECK(gmem_write(c.vm.mem, gpa_make(c.vm.dispatch - sizeof(step)), step, sizeof(step)));
            c.vm.dispatch -= sizeof(step);
        }
        CHECK_EQ(calling_call0(&c, "count"), STATUS_FAULTED);
    }
    CHECK_EQ(round, 3);
    if (captured_restore(&c))
        CHECK_EQ(calling_call0(&c, "count"), STATUS_OK);
    calling_close(&c);
    snapshot_free(&snap);
}

/* Pages that are watched again and not written again are put back no more. */
static void dropped(int kvm_fd, const struct kvm_case *kc)
{
    /* The snapshot's pages are what is tracked first. */
    const struct touched *touched;
    struct snapshot snap;
    struct calling c;
    unsigned usual;
    uint32_t all;

    if (!tracked_open(&c, kvm_fd, kc, capture_dirty, &snap))
        return;
    usual = c.vm.track.period;
    touched = &c.vm.track.area[0].touched;
    if (captured_restore(&c) && CHECK_EQ(calling_call1(&c, "dirty", 7), STATUS_OK) && captured_restore(&c)) {
        all = touched->n;
        c.vm.track.period = 1;
        CHECK(captured_restore(&c));
        c.vm.track.period = usual;
        /* This looks at no page of data: KVM may tell of one that is read for the first time as well. */
        CHECK_EQ(calling_call1(&c, "cr8", 5), STATUS_OK);
        CHECK(captured_restore(&c));
        if (!CHECK(all >= 4 && touched->n < all))
            printf("# %u of %u pages\n", touched->n, all);
    }
    calling_close(&c);
    snapshot_free(&snap);
}

/* KVM may stop for a signal when it protects pages again: none may come then, and less than all is a failure. */
static void watched_again(int kvm_fd, const struct kvm_case *kc)
{
    static const int some[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    struct snapshot snap;
    struct calling c;
    unsigned i;

    if (!tracked_open(&c, kvm_fd, kc, capture_dirty, &snap))
        return;
    c.vm.track.period = 1;
    seam.mask_request = (uint32_t)KVM_RESET_DIRTY_RINGS;
    for (i = 0; i < 2 && captured_restore(&c); i++)
        CHECK_EQ(calling_call1(&c, "dirty", 7), STATUS_OK);
    CHECK(seam.masks_n != 0);
    for (i = 0; i < sizeof(some) / sizeof(some[0]); i++)
        CHECK(sigismember(&seam.mask, some[i]) == 1);
    sigprocmask(SIG_BLOCK, NULL, &seam.mask);
    CHECK(sigismember(&seam.mask, SIGALRM) == 0);
    seam.grant_request = (uint32_t)KVM_RESET_DIRTY_RINGS;
    CHECK(vm_restore(&c.vm, &c.e) != 0);
    CHECK_EQ(c.e.status, STATUS_HOST);
    CHECK_HAS(c.e.text, "KVM_RESET_DIRTY_RINGS");
    CHECK(!c.vm.usable);
    calling_close(&c);
    snapshot_free(&snap);
}

/* An OUT right behind STI: a call that follows without a restore starts out of its shadow, in which no CPU may enter. */
static void ended_behind_sti(int kvm_fd, const struct kvm_case *kc)
{
    static const uint8_t sti_out_halt[] = {0xfb, 0xe6, PORT_HALT};
    struct kvm_vcpu_events events;
    struct snapshot snap;
    struct calling c;

    if (!tracked_open(&c, kvm_fd, kc, capture_dirty, &snap))
        return;
    if (captured_restore(&c) &&
        CHECK(gmem_write(c.vm.mem, gpa_make(c.vm.dispatch), sti_out_halt, sizeof(sti_out_halt)))) {
        CHECK_EQ(calling_call0(&c, "count"), STATUS_FAULTED);
        guest_check(vm_enter_call(&c.vm, &c.e), &c.e);
        raw_settle(&c.vm.machine);
        CHECK(__real_ioctl(c.vm.machine.vcpu_fd, (uint32_t)KVM_GET_VCPU_EVENTS, &events) == 0);
        CHECK_EQ(events.interrupt.shadow, 0);
    }
    calling_close(&c);
    snapshot_free(&snap);
}

/* CR8 is what it was when the guest was captured, in a new VM and in one whose guest changed it. */
static void cr8_comes_back(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct snapshot snap;
    struct calling c;
    unsigned i;
    bool made;

    io.sizes.apic = has_irqchip(kc);
    if (!calling_open(&c, kvm_fd, "dirty", kc->kind, &io, has_irqchip(kc)))
        return;
    made = calling_start(&c) && CHECK_EQ(calling_call1(&c, "cr8", 3), STATUS_OK) &&
           CHECK_EQ(c.result.value.bits, 0) && CHECK_EQ(calling_call1(&c, "cr8", 5), STATUS_OK) &&
           CHECK_EQ(c.result.value.bits, 3) && captured_make(&c, &snap);
    /* Started again, it is 0. */
    if (made && calling_start(&c) && CHECK_EQ(calling_call1(&c, "cr8", 3), STATUS_OK))
        CHECK_EQ(c.result.value.bits, 0);
    calling_close(&c);
    if (!made)
        return;
    if (captured_open(&c, kvm_fd, &snap)) {
        for (i = 0; i < 5 && captured_restore(&c); i++) {
            CHECK_EQ(calling_call1(&c, "cr8", 9 + i), STATUS_OK);
            CHECK_EQ(c.result.value.bits, 5);
        }
        calling_close(&c);
    }
    snapshot_free(&snap);
}

/* The guest may use the MSRs that a snapshot keeps, and no other: a #GP. */
static void only_these_msrs(int kvm_fd, const struct kvm_case *kc)
{
    static const uint32_t allowed[] = {MSR_TSC, 0xc0000080, 0xc0000100, 0xc0000101};
    static struct raw_state all;
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;
    unsigned i, j, denied = 0, tried = 0;

    memset(&all, 0, sizeof(all));
    if (!calling_open(&c, kvm_fd, "dirty", kc->kind, &io, false))
        return;
    if (raw_list_msrs(kvm_fd, &all) && calling_start(&c)) {
        for (i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && c.vm.ready; i++)
            if (!CHECK_EQ(calling_call1(&c, "msr", allowed[i]), STATUS_OK))
                printf("# MSR 0x%" PRIx32 "\n", allowed[i]);
        for (i = 0; i < GUESTS_OWN_N && c.vm.ready; i++)
            if (!CHECK_EQ(calling_call1(&c, "msr", guests_own[i].index), STATUS_OK))
                printf("# MSR 0x%" PRIx32 "\n", guests_own[i].index);
        for (i = 0; i < all.msrs_n && tap_ok && c.vm.ready; i += scale_is_lab() ? 5 : 1) {
            bool mine = false;

            for (j = 0; j < sizeof(allowed) / sizeof(allowed[0]); j++)
                mine = mine || allowed[j] == all.msrs[i].index;
            for (j = 0; j < GUESTS_OWN_N; j++)
                mine = mine || guests_own[j].index == all.msrs[i].index;
            if (mine)
                continue;
            tried++;
            if (CHECK_EQ(calling_call1(&c, "msr", all.msrs[i].index), STATUS_ABORTED) &&
                CHECK_EQ(c.out.abort.exception, 13))
                denied++;
            else
                printf("# MSR 0x%" PRIx32 "\n", all.msrs[i].index);
            if (!calling_start(&c))
                break;
        }
        printf("# %u MSRs denied\n", denied);
        CHECK(denied == tried && tried > 2);
    }
    calling_close(&c);
}

/* What raw_is_hyperv says of a guest whose MSRs nobody filters. */
static void no_hyperv(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;
    uint32_t i;

    if (!calling_open(&c, kvm_fd, "dirty", kc->kind, &io, false))
        return;
    if (is_filtered(&c)) {
        calling_close(&c);
        only_these_msrs(kvm_fd, kc);
        return;
    }
    for (i = 0x40000000; i < 0x40000100 && tap_ok && calling_start(&c); i += 1 + i % 16) {
        CHECK(raw_is_hyperv(i));
        CHECK_EQ(calling_call1(&c, "msr", i), STATUS_ABORTED);
        CHECK_EQ(c.out.abort.exception, 13);
    }
    calling_close(&c);
}

static const struct kvm_case cases[] = {
    {"amd64: whatever a run changed, the next finds the captured state", .run = is_reset, .kind = "amd64"},
    {"amd64 with irqchip: whatever a run changed, the next finds the captured state", .run = is_reset,
     .kind = "amd64", .n = IRQCHIP},
    {"i686-identity: whatever a run changed, the next finds the captured state", .run = is_reset,
     .kind = "i686-identity"},
    {"i686-identity with irqchip: whatever a run changed, the next finds the captured state", .run = is_reset,
     .kind = "i686-identity", .n = IRQCHIP},
    {"i686: whatever a run changed, the next finds the captured state", .run = is_reset, .paging32 = true,
     .kind = "i686"},
    {"i686 with irqchip: whatever a run changed, the next finds the captured state", .run = is_reset,
     .paging32 = true, .kind = "i686", .n = IRQCHIP},
    {"amd64, restored by the ring: whatever a run changed, the next finds the captured state",
     .run = is_reset, .walking = true, .kind = "amd64", .n = TRACK(TRACK_RING)},
    {"amd64, restored by the ring: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .walking = true, .kind = "amd64", .n = TRACK(TRACK_RING)},
    {"amd64, restored by the log: whatever a run changed, the next finds the captured state", .run = is_reset,
     .kind = "amd64", .n = TRACK(TRACK_LOG)},
    {"amd64, restored by the log: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .kind = "amd64", .n = TRACK(TRACK_LOG)},
    {"amd64, restored by copying all: whatever a run changed, the next finds the captured state",
     .run = is_reset, .kind = "amd64", .n = TRACK(TRACK_COPY)},
    {"amd64, restored by copying all: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .kind = "amd64", .n = TRACK(TRACK_COPY)},
    {"i686-identity, restored by the ring: whatever a run changed, the next finds the captured state",
     .run = is_reset, .walking = true, .kind = "i686-identity", .n = TRACK(TRACK_RING)},
    {"i686-identity, restored by the ring: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .walking = true, .kind = "i686-identity", .n = TRACK(TRACK_RING)},
    {"i686-identity, restored by the log: whatever a run changed, the next finds the captured state",
     .run = is_reset, .kind = "i686-identity", .n = TRACK(TRACK_LOG)},
    {"i686-identity, restored by the log: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .kind = "i686-identity", .n = TRACK(TRACK_LOG)},
    {"i686-identity, restored by copying all: whatever a run changed, the next finds the captured state",
     .run = is_reset, .kind = "i686-identity", .n = TRACK(TRACK_COPY)},
    {"i686-identity, restored by copying all: a run that ended amid an instruction leaves nothing to the "
     "next",
     .run = half_done, .kind = "i686-identity", .n = TRACK(TRACK_COPY)},
    {"i686, restored by the ring: whatever a run changed, the next finds the captured state", .run = is_reset,
     .walking = true, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_RING)},
    {"i686, restored by the ring: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .walking = true, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_RING)},
    {"i686, restored by the log: whatever a run changed, the next finds the captured state", .run = is_reset,
     .paging32 = true, .kind = "i686", .n = TRACK(TRACK_LOG)},
    {"i686, restored by the log: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_LOG)},
    {"i686, restored by copying all: whatever a run changed, the next finds the captured state",
     .run = is_reset, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_COPY)},
    {"i686, restored by copying all: a run that ended amid an instruction leaves nothing to the next",
     .run = half_done, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_COPY)},
    {"amd64, copied by the host, restored by the ring: whatever a run changed, the next finds the captured "
     "state",
     .run = is_reset, .walking = true, .kind = "amd64", .n = TRACK(TRACK_RING) | COW_HOST},
    {"amd64, copied by the host, restored by the log: whatever a run changed, the next finds the captured "
     "state",
     .run = is_reset, .kind = "amd64", .n = TRACK(TRACK_LOG) | COW_HOST},
    {"amd64, copied by the host, restored by copying all: whatever a run changed, the next finds the "
     "captured state",
     .run = is_reset, .kind = "amd64", .n = TRACK(TRACK_COPY) | COW_HOST},
    {"i686, copied by the host, restored by the ring: whatever a run changed, the next finds the captured "
     "state",
     .run = is_reset, .walking = true, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_RING) | COW_HOST},
    {"i686, copied by the host, restored by the log: whatever a run changed, the next finds the captured "
     "state",
     .run = is_reset, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_LOG) | COW_HOST},
    {"i686, copied by the host, restored by copying all: whatever a run changed, the next finds the captured "
     "state",
     .run = is_reset, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_COPY) | COW_HOST},
    {"i686-identity: a run that ended by an OUT at the entry takes nothing from the next",
     .run = ended_at_entry, .kind = "i686-identity"},
    {"i686-identity, restored by the ring: no signal comes while pages are protected again",
     .run = watched_again, .walking = true, .kind = "i686-identity", .n = TRACK(TRACK_RING)},
    {"i686-identity: a call behind one that ended by an OUT behind STI starts as any other",
     .run = ended_behind_sti, .walking = true, .kind = "i686-identity"},
    {"amd64, copied by the host, restored by the log: pages that nobody writes to any more are dropped",
     .run = dropped, .kind = "amd64", .n = TRACK(TRACK_LOG) | COW_HOST},
    {"i686-identity: MSRs that nothing puts back are no guest's", .run = no_hyperv, .kind = "i686-identity"},
    {"i686: MSRs that nothing puts back are no guest's", .run = no_hyperv, .paging32 = true, .kind = "i686"},
    {"amd64: a run that ended amid an instruction leaves nothing to the next", .run = half_done,
     .kind = "amd64"},
    {"amd64 with irqchip: a run that ended amid an instruction leaves nothing to the next", .run = half_done,
     .kind = "amd64", .n = IRQCHIP},
    {"i686-identity: a run that ended amid an instruction leaves nothing to the next", .run = half_done,
     .kind = "i686-identity"},
    {"i686: a run that ended amid an instruction leaves nothing to the next", .run = half_done,
     .paging32 = true, .kind = "i686"},
    {"amd64: CR8 is captured and comes back", .run = cr8_comes_back, .kind = "amd64"},
    {"amd64 with irqchip: CR8 is captured and comes back", .run = cr8_comes_back, .kind = "amd64",
     .n = IRQCHIP},
    {"amd64: a guest may use the MSRs that are kept and no others", .run = only_these_msrs, .kind = "amd64"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
