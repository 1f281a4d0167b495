/*
 * A guest that was captured is the guest that it was: what its functions say
 * after a capture and a restore is what they would have said without, in a new
 * VM, in the same one again and again whatever its last run came to, and five
 * generations on.
 */
#include "tests/kvm/captured.h"

#define WARM_ROUNDS (scale_is_lab() ? 5u : 20u)
#define GENERATIONS 5

/* Start a sample, do what comes before the capture. False with nothing to close. */
static bool open_and_set_up(struct calling *c, int kvm_fd, const struct kvm_case *kc)
{
    const struct script *s = &scripts[kc->n];
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    char said[TRANSCRIPT_LEN] = "";

    if (!calling_open(c, kvm_fd, s->sample, kc->kind, &io, false))
        return false;
    if (calling_start(c)) {
        captured_calls(c, s->setup, said);
        if (CHECK(c->vm.ready))
            return true;
        printf("# %s\n", said);
    }
    calling_close(c);
    return false;
}

/* What the probe says where nothing was captured. */
static bool ask_original(int kvm_fd, const struct kvm_case *kc, char *said)
{
    struct calling c;

    said[0] = '\0';
    if (!open_and_set_up(&c, kvm_fd, kc))
        return false;
    captured_calls(&c, scripts[kc->n].probe, said);
    calling_close(&c);
    return CHECK(said[0] != '\0');
}

/* Capture, and see that the captured guest goes on as if nothing had been. */
static bool capture_after_setup(int kvm_fd, const struct kvm_case *kc, const char *wanted,
                                struct snapshot *out)
{
    struct calling c;
    bool made = false;

    if (!open_and_set_up(&c, kvm_fd, kc))
        return false;
    made = captured_make(&c, out);
    CHECK(c.vm.ready);
    captured_says(&c, scripts[kc->n].probe, wanted);
    calling_close(&c);
    return made;
}

static void same_segment(const struct cpu_segment *a, const struct cpu_segment *b)
{
    CHECK_EQ(a->base, b->base);
    CHECK_EQ(a->limit, b->limit);
    CHECK_EQ(a->selector, b->selector);
    CHECK(a->type == b->type && a->dpl == b->dpl && a->s == b->s && a->present == b->present &&
          a->db == b->db && a->l == b->l && a->g == b->g && a->avl == b->avl);
}

static void same_sregs(const struct cpu_sregs *a, const struct cpu_sregs *b)
{
    same_segment(&a->cs, &b->cs);
    same_segment(&a->ds, &b->ds);
    same_segment(&a->es, &b->es);
    same_segment(&a->fs, &b->fs);
    same_segment(&a->gs, &b->gs);
    same_segment(&a->ss, &b->ss);
    same_segment(&a->tr, &b->tr);
    same_segment(&a->ldt, &b->ldt);
    CHECK(a->gdt.base == b->gdt.base && a->gdt.limit == b->gdt.limit);
    CHECK(a->idt.base == b->idt.base && a->idt.limit == b->idt.limit);
    CHECK_EQ(a->cr0, b->cr0);
    CHECK_EQ(a->cr2, b->cr2);
    CHECK_EQ(a->cr3, b->cr3);
    CHECK_EQ(a->cr4, b->cr4);
    CHECK_EQ(a->cr8, b->cr8);
    CHECK_EQ(a->efer, b->efer);
    CHECK_EQ(a->apic_base, b->apic_base);
}

/* All that a snapshot keeps of memory, the tables among it, and the registers. */
static bool is_same(const struct snapshot *a, const struct snapshot *b)
{
    unsigned i;

    CHECK_EQ(a->dispatch, b->dispatch);
    CHECK_EQ(a->call_sp, b->call_sp);
    same_sregs(&a->sregs, &b->sregs);
    CHECK_EQ(a->root_active, b->root_active);
    if (CHECK_EQ(a->roots_n, b->roots_n))
        for (i = 0; i < a->roots_n; i++)
            CHECK_EQ(a->roots[i].v, b->roots[i].v);
    CHECK_EQ(a->plan.free_off, b->plan.free_off);
    return captured_same_bytes(&a->memory, &b->memory) && captured_same_bytes(&a->tables, &b->tables) &&
           captured_same_bytes(&a->placed, &b->placed);
}

/*
 * Restore `old`, do `between`, capture; and the probe says what it should, of
 * the guest as it was restored or, where `between` changed nothing, as it is.
 */
static bool next_generation(int kvm_fd, const struct snapshot *old, const struct script_call *between,
                            const struct script_call *probe, const char *wanted, struct snapshot *out)
{
    char said[TRANSCRIPT_LEN] = "";
    struct calling c;
    bool made = false;

    if (!captured_open(&c, kvm_fd, old))
        return false;
    if (captured_restore(&c)) {
        captured_calls(&c, between, said);
        made = CHECK(c.vm.ready) && captured_make(&c, out);
        if (made && captured_says(&c, probe, wanted) && captured_restore(&c))
            captured_says(&c, probe, wanted);
    }
    calling_close(&c);
    return made && CHECK_EQ(out->generation, old->generation + 1);
}

/*
 * A restored guest that has not run yet is captured as what it was made from,
 * byte by byte; one that has run says what it always said, and takes no more
 * room. The setup once more writes where it wrote before.
 */
static void generations(int kvm_fd, const struct script *s, const char *wanted, const struct snapshot *first)
{
    static const struct script_call nothing[] = {{.name = NULL}};
    struct snapshot old = {.generation = 0}, new;
    const struct snapshot *from = first;
    uint64_t memory = 0, tables = 0, placed = 0;
    unsigned i;

    for (i = 1; i < GENERATIONS && tap_ok && next_generation(kvm_fd, from, nothing, s->probe, wanted, &new);
         i++) {
        is_same(from, &new);
        snapshot_free(&old);
        old = new;
        from = &old;
    }
    for (i = 1; i < GENERATIONS && tap_ok && s->repeats &&
                next_generation(kvm_fd, from, s->setup, s->probe, wanted, &new);
         i++) {
        snapshot_free(&old);
        old = new;
        from = &old;
        if (i == 1) {
            memory = old.memory.len;
            tables = old.tables.len;
            placed = old.placed.len;
        }
        CHECK_EQ(old.memory.len, memory);
        CHECK_EQ(old.tables.len, tables);
        CHECK_EQ(old.placed.len, placed);
    }
    if (!tap_ok)
        printf("# in generation %" PRIu64 "\n", from->generation + 1);
    snapshot_free(&old);
}

static void keeps_saying(int kvm_fd, const struct kvm_case *kc)
{
    static char wanted[TRANSCRIPT_LEN];
    const struct script *s = &scripts[kc->n];
    struct snapshot snap;
    struct calling c;
    unsigned i;

    if (!ask_original(kvm_fd, kc, wanted) || !capture_after_setup(kvm_fd, kc, wanted, &snap))
        return;
    CHECK_EQ(snap.generation, 1);
    CHECK(snap.takes_calls);
    if (captured_open(&c, kvm_fd, &snap)) {
        for (i = 0; i < 1 + WARM_ROUNDS && tap_ok; i++)
            if (!captured_restore(&c) || !captured_says(&c, s->probe, wanted))
                printf("# in round %u\n", i);
        calling_close(&c);
    }
    if (tap_ok)
        generations(kvm_fd, s, wanted, &snap);
    snapshot_free(&snap);
}

/* --- what is new with each restore ------------------------------------------------------------------- */

static uint64_t ask(struct calling *c, const char *name)
{
    CHECK_EQ(calling_call0(c, name), STATUS_OK);
    return c->result.value.bits;
}

/* The words of ABI 2.1 and the host page as a restored guest of that generation sees them. */
static void check_lineage(struct calling *c, uint64_t generation, uint64_t not_before, uint64_t *seed,
                          uint8_t random[32])
{
    uint64_t word, started;

    CHECK_EQ(ask(c, "generation"), generation);
    started = ask(c, "started");
    CHECK(started >= not_before && started <= host_wall_clock());
    word = ask(c, "rng");
    CHECK_EQ(word >> 32, generation == 0 ? 0 : 1);
    CHECK_EQ(calling_call0(c, "reseed"), generation == 0 ? STATUS_CALL_ERROR : STATUS_OK);
    if (generation != 0)
        CHECK_EQ(c->result.value.bits, (uint32_t)word);
    CHECK_EQ(ask(c, "rng"), 0);
    *seed = word;
    if (CHECK_EQ(calling_call0(c, "random"), STATUS_OK) && CHECK_EQ(c->result.value.len, 32))
        memcpy(random, c->result.value.data, 32);
}

static void lineage(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    uint8_t random[32], before[32];
    uint64_t seed, seed_before, now;
    struct snapshot snap, next;
    struct calling c;
    unsigned i;
    bool have;

    if (!calling_open(&c, kvm_fd, "lineage", kc->kind, &io, false))
        return;
    now = host_wall_clock();
    have = calling_start(&c);
    if (have) {
        check_lineage(&c, 0, now, &seed_before, before);
        have = captured_make(&c, &snap);
        /* The running guest keeps its number. */
        CHECK_EQ(ask(&c, "generation"), 0);
    }
    calling_close(&c);
    for (i = 1; have && i <= 3; i++) {
        unsigned round;

        have = captured_open(&c, kvm_fd, &snap);
        if (!have)
            break;
        for (round = 0; round < 3 && tap_ok; round++) {
            now = host_wall_clock();
            if (!captured_restore(&c))
                break;
            check_lineage(&c, i, now, &seed, random);
            CHECK(seed != seed_before);
            CHECK(memcmp(random, before, sizeof(random)) != 0);
            seed_before = seed;
            memcpy(before, random, sizeof(before));
        }
        have = tap_ok && captured_make(&c, &next);
        calling_close(&c);
        if (have) {
            snapshot_free(&snap);
            snap = next;
        }
    }
    if (snap.memory.base != NULL)
        snapshot_free(&snap);
}

/* Pages that a guest made read-only are the snapshot's own in every VM, and hold. */
static void rodata_is_shared(int kvm_fd, const struct kvm_case *kc)
{
    const struct kvm_case with_script = {.kind = kc->kind, .n = 3};
    struct snapshot snap;
    struct calling c;
    unsigned i;

    CHECK_STR(scripts[with_script.n].sample, "rodata");
    if (!open_and_set_up(&c, kvm_fd, &with_script))
        return;
    CHECK_EQ(ask(&c, "stored"), 0);
    if (!captured_make(&c, &snap)) {
        calling_close(&c);
        return;
    }
    calling_close(&c);
    if (captured_open(&c, kvm_fd, &snap)) {
        for (i = 0; i < 3 && captured_restore(&c); i++) {
            ask(&c, "count");
            CHECK_EQ(ask(&c, "stored"), 4);
            CHECK_EQ(ask(&c, "flags"), 0);
            CHECK_EQ(calling_call1(&c, "write", i * 1024), STATUS_ABORTED);
        }
        calling_close(&c);
    }
    snapshot_free(&snap);
}

static bool capture_cow(int kvm_fd, const char *kind, bool irqchip, struct snapshot *out)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);

    io.sizes.apic = irqchip;
    return captured_new(kvm_fd, "cow", kind, &io, 0, out);
}

/* --- a call fails amid a restore ---------------------------------------------------------------------- */

#define CALLS_MAX 100

/*
 * Each call into KVM in turn, while a VM that has run is restored: one line,
 * 125, and the VM says of itself that it is of no use.
 */
static void every_call_fails(int kvm_fd, const struct kvm_case *kc)
{
    static const int errors[] = {EIO, ENOMEM, EINTR, EEXIST};
    struct snapshot snap;
    struct calling c;
    unsigned i, total = 0, slots = 0;

    if (!capture_cow(kvm_fd, kc->kind, kc->n != 0, &snap))
        return;
    for (i = 1; i <= CALLS_MAX && tap_ok; i++) {
        struct err e = {.text = ""};

        if (!captured_open(&c, kvm_fd, &snap))
            break;
        if (captured_restore(&c) && CHECK_EQ(calling_call1(&c, "fill", 3), STATUS_OK)) {
            int errnum = errors[i % (sizeof(errors) / sizeof(errors[0]))], result;
            uint32_t failed;

            seam_fail(0, i, errnum);
            result = vm_restore(&c.vm, &e);
            total = seam.calls_n;
            failed = seam.failed_request;
            seam_fail(0, 0, 0);
            if (failed == 0 && result == 0) {
                CHECK(c.vm.usable && c.vm.ready);
                calling_close(&c);
                break;
            }
            CHECK_EQ(result, -1);
            CHECK_EQ(e.status, STATUS_HOST);
            CHECK(e.text[0] != '\0' && strchr(e.text, '\n') == NULL);
            if (!CHECK_HAS(e.text, strerror(errnum)))
                printf("# %s\n", e.text);
            CHECK(!c.vm.usable && !c.vm.ready);
            slots += failed == (uint32_t)KVM_SET_USER_MEMORY_REGION;
            if (!tap_ok)
                printf("# call %u: %s\n", i, e.text);
        }
        calling_close(&c);
    }
    printf("# %u calls, %u of them for slots\n", i - 1, slots);
    CHECK(i - 1 == total && total > 3);
    snapshot_free(&snap);
}

/* --- translations ---------------------------------------------------------------------------------------- */

/*
 * Restore; whether KVM drops translations between that and the next run. No machine that this is tested on shows one
 * that is left, so it is seen by what KVM is told: it drops them when CR3, EFER and the like change, or a slot goes.
 * What it finds in the run page counts as well.
 */
static bool restore_drops(struct calling *c)
{
    const struct kvm_run *run = c->vm.machine.run;

    seam.drops_n = 0;
    return captured_restore(c) &&
           (seam.drops_n != 0 || ((run->kvm_dirty_regs & KVM_SYNC_X86_SREGS) != 0 &&
                                  seam_paging_differs(c->vm.machine.vcpu_fd, &run->s.regs.sregs)));
}

enum { SYNCED, NOT_SYNCED, NO_NX, WAYS_N };

static void translations_drop(int kvm_fd, const struct kvm_case *kc)
{
    static const int tracks[] = {TRACK_BEST, TRACK_LOG, TRACK_COPY};
    struct snapshot snap;
    struct calling c;
    unsigned i, way, round;

    if (!capture_cow(kvm_fd, kc->kind, false, &snap))
        return;
    for (i = 0; i < 2 * sizeof(tracks) / sizeof(tracks[0]) && tap_ok; i++) {
        calling_track = tracks[i / 2];
        calling_cow_host = i % 2 != 0;
        /* How registers get there does not depend on how writes are noted. */
        for (way = 0; way < (i < 2 ? WAYS_N : 1) && tap_ok; way++) {
            if (!captured_open(&c, kvm_fd, &snap))
                break;
            if (way == NOT_SYNCED)
                c.vm.machine.sync = 0;
            if (way == NO_NX && c.vm.baseline.drops == DROP_BY_EFER)
                c.vm.baseline.drops = DROP_BY_CR3;
            for (round = 0; round < 4 && tap_ok; round++) {
                CHECK(restore_drops(&c) || round == 0);
                CHECK_EQ(calling_call1(&c, "fill", round), STATUS_OK);
            }
            if (!tap_ok)
                printf("# way %u, tracked by %u, cow %s, round %u\n", way, (unsigned)calling_track,
                       calling_cow_host ? "host" : "guest", round - 1);
            calling_close(&c);
        }
    }
    calling_track = TRACK_BEST;
    calling_cow_host = false;
    snapshot_free(&snap);
}

/* --- values that KVM refuses --------------------------------------------------------------------------- */

/* The status of a restore of `snap`; its text is one line. */
static enum status restore_status(int kvm_fd, const struct snapshot *snap, uint32_t request, int errnum,
                                  const char *what)
{
    struct err e = {.text = "", .status = STATUS_OK};
    struct calling c;

    if (!captured_open(&c, kvm_fd, snap))
        return STATUS_OK;
    seam_fail(request, request == 0 ? 0 : 1, errnum);
    CHECK_EQ(vm_restore(&c.vm, &e), -1);
    CHECK(request == 0 || seam.failed_request == request);
    seam_fail(0, 0, 0);
    CHECK(!c.vm.usable && !c.vm.ready);
    CHECK(strchr(e.text, '\n') == NULL);
    if (!CHECK_HAS(e.text, what))
        printf("# %s\n", e.text);
    calling_close(&c);
    return e.status;
}

/* Of a file they are reason to refuse the file; of a guest of this process they are an error of ours. */
static void refused_values(int kvm_fd, const struct kvm_case *kc)
{
    static const uint32_t requests[] = {(uint32_t)KVM_SET_SREGS, (uint32_t)KVM_SET_MSRS};
    struct snapshot snap;
    uint32_t index;
    unsigned i;

    if (!capture_cow(kvm_fd, kc->kind, false, &snap))
        return;
    CHECK(snap.msrs_n > 1);
    index = snap.msrs[snap.msrs_n - 1].index;
    for (i = 0; i < 2; i++)
        CHECK_EQ(restore_status(kvm_fd, &snap, requests[i], EINVAL, "kvm: KVM_SET_"), STATUS_HOST);
    /* Not by the seam: an MSR that no KVM has. */
    snap.msrs[snap.msrs_n - 1].index = 0xdead;
    CHECK_EQ(restore_status(kvm_fd, &snap, 0, 0, "kvm: KVM_SET_MSRS refuses MSR 0xdead"), STATUS_HOST);
    snap.msrs[snap.msrs_n - 1].index = index;
    if (captured_through_file(&snap)) {
        for (i = 0; i < 2; i++) {
            CHECK_EQ(restore_status(kvm_fd, &snap, requests[i], EINVAL, "snapshot: kvm: KVM_SET_"),
                     STATUS_IMAGE);
            CHECK_EQ(restore_status(kvm_fd, &snap, requests[i], EIO, "kvm: KVM_SET_"), STATUS_HOST);
        }
        snap.msrs[snap.msrs_n - 1].index = 0xdead;
        CHECK_EQ(restore_status(kvm_fd, &snap, 0, 0, "snapshot: kvm: KVM_SET_MSRS refuses MSR 0xdead"),
                 STATUS_IMAGE);
    }
    snapshot_free(&snap);
}

static const struct kvm_case more[] = {
    {"amd64: values that KVM refuses are the fault of the file they came from", .run = refused_values,
     .kind = "amd64"},
    {"i686-identity: values that KVM refuses are the fault of the file they came from", .run = refused_values,
     .kind = "i686-identity"},
    {"i686: values that KVM refuses are the fault of the file they came from", .run = refused_values,
     .paging32 = true, .kind = "i686"},
    {"amd64: a restore has KVM drop translations", .run = translations_drop, .kind = "amd64"},
    {"i686-identity: a restore has KVM drop translations", .run = translations_drop, .kind = "i686-identity"},
    {"i686: a restore has KVM drop translations", .run = translations_drop, .paging32 = true, .kind = "i686"},
    {"amd64: words, clock and random bytes are new with each restore", .run = lineage, .kind = "amd64"},
    {"i686-identity: words, clock and random bytes are new with each restore", .run = lineage,
     .kind = "i686-identity"},
    {"i686: words, clock and random bytes are new with each restore", .run = lineage, .paging32 = true,
     .kind = "i686"},
    {"amd64: pages that are read-only for good are shared and not copied", .run = rodata_is_shared,
     .kind = "amd64"},
    {"i686: pages that are read-only for good are shared and not copied", .run = rodata_is_shared,
     .paging32 = true, .kind = "i686"},
    {"amd64: each call into KVM that fails amid a restore is told", .run = every_call_fails, .kind = "amd64"},
    {"amd64 with irqchip: each call into KVM that fails amid a restore is told", .run = every_call_fails,
     .kind = "amd64", .n = 1},
    {"i686-identity: each call into KVM that fails amid a restore is told", .run = every_call_fails,
     .kind = "i686-identity"},
    {"i686 with irqchip: each call into KVM that fails amid a restore is told", .run = every_call_fails,
     .paging32 = true, .kind = "i686", .n = 1},
};

int main(void)
{
    const struct kvm_case *cases;
    unsigned cases_n;

    cases = captured_cases(keeps_saying, "restored, it says what it would have said, for five generations",
                           more, sizeof(more) / sizeof(more[0]), &cases_n);
    return seam_run_cases(cases, cases_n);
}
