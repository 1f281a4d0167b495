/*
 * A machine that takes one snapshot after the other is, after each switch, what
 * a new machine of that snapshot is: in memory, in all state that KVM can tell
 * of, and in what the guest says; whatever guest and host did in between. One
 * of another shape it leaves alone, and a failure leaves nothing behind.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/kvm/memory.h"
#include "tests/kvm/raw_state.h"

#define ROUNDS    (scale_is_lab() ? 6u : 16u)
#define DATA_LEN  ((uint64_t)2 << 20) /* more than a VM copies */
#define LARGE     ((uint64_t)1 << 16) /* kvm_case.n: memory is a mapping of the file */
#define SHARED    ((uint64_t)1 << 17) /* ... : a guest with pages that several leaves share writably */
#define CALLS_MAX 200

#define LSTAR     0xc0000082

static const struct script_call says_all[] = {
    {"page_sum", 1, {3}}, {"sum", 0, {0}}, {"add", 2, {5, 9}}, {"sum", 0, {0}}, {NULL, 0, {0}}};

static const struct script_call says_shared[] = {
    {"read_a", 0, {0}}, {"read_b", 0, {0}}, {"read_r", 0, {0}}, {"same", 0, {0}}, {NULL, 0, {0}}};

/* What a new machine of each snapshot is. */
struct pair {
    struct snapshot snap[2];
    struct memory memory[2];
    struct raw_state state[2];
    char said[2][TRANSCRIPT_LEN];
};

static struct pair pair;

/* --- two snapshots ------------------------------------------------------------------------------------------ */

static struct kvm_case of_case(const struct kvm_case *kc)
{
    struct kvm_case c = *kc;

    c.n &= LARGE - 1; /* what choose_track knows of */
    return c;
}

/* Of one guest, at two times, with other memory, other MSRs and other system registers. */
static bool capture_two(int kvm_fd, const struct kvm_case *kc, const char *sample, const char *change)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    const struct kvm_case plain = of_case(kc);
    uint64_t *data = calloc(1, DATA_LEN), seed = 5, i;
    struct calling c;
    unsigned made = 0;

    choose_track(&plain);
    if (!CHECK(data != NULL))
        return false;
    for (i = 0; i < DATA_LEN / sizeof(*data); i += 7)
        data[i] = tap_random(&seed);
    if ((kc->n & LARGE) != 0) {
        io.init_data = (const uint8_t *)data;
        io.init_data_len = DATA_LEN;
    }
    if (calling_open(&c, kvm_fd, sample, kc->kind, &io, false)) {
        for (i = 0; i < 2 && tap_ok && (i != 0 || calling_start(&c)); i++) {
            if (change != NULL)
                CHECK_EQ(calling_call1(&c, change, 7 + (uint32_t)i), STATUS_OK);
            if (strcmp(kc->kind, "amd64") == 0)
                CHECK(raw_set_msr(&c.vm.machine, LSTAR, 0xffff800000345000 + i));
            if (captured_make(&c, &pair.snap[i]))
                made++;
        }
        calling_close(&c);
    }
    free(data);
    for (i = 0; i < made && captured_through_file(&pair.snap[i]); i++) {
        struct err e = {.text = ""};

        if (calling_cow_host)
            guest_check(vm_prepare(&pair.snap[i], &e), &e);
    }
    if (made == 2 && tap_ok)
        return true;
    while (made != 0)
        snapshot_free(&pair.snap[--made]);
    return false;
}

/* Have a new machine of each say and show what it is. */
static void look_at_both(int kvm_fd, const struct script_call *calls)
{
    struct calling c;
    unsigned i;

    calling_pool = false;
    for (i = 0; i < 2 && tap_ok && captured_open(&c, kvm_fd, &pair.snap[i]); i++) {
        memset(&pair.state[i], 0, sizeof(pair.state[i]));
        pair.said[i][0] = '\0';
        if (raw_list_msrs(kvm_fd, &pair.state[i]) && captured_restore(&c)) {
            raw_read(&c.vm.machine, false, &pair.state[i]);
            find_clocks(&c.vm.machine, &pair.state[i]);
            if (is_filtered(&c))
                deny_others(&pair.state[i]);
            take_memory(&pair.memory[i]);
            captured_calls(&c, calls, pair.said[i]);
        }
        calling_close(&c);
    }
}

static void free_both(void)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        free_memory(&pair.memory[i]);
        snapshot_free(&pair.snap[i]);
    }
}

static bool open_pool(struct calling *c, int kvm_fd, const struct snapshot *snap)
{
    calling_pool = true;
    if (!captured_open(c, kvm_fd, snap))
        return false;
    c->vm.track.period = 5;
    return true;
}

static bool switch_to(struct calling *c, const struct snapshot *snap)
{
    c->e = (struct err){.text = ""};
    return guest_check(vm_switch(&c->vm, snap, &c->e), &c->e) && CHECK(c->vm.usable && c->vm.ready);
}

static void is_as_new(struct calling *c, unsigned which)
{
    seam.vm_fd = c->vm.machine.vm_fd; /* a fault has one made to find out about it */
    memory_is(&pair.memory[which], pair.snap[which].plan.scratch_gpa.v);
    raw_is(&c->vm.machine, false, &pair.state[which]);
}

/* --- back and forth ----------------------------------------------------------------------------------------- */

static void back_and_forth(int kvm_fd, const struct kvm_case *kc)
{
    const bool shared = (kc->n & SHARED) != 0;
    const struct script_call *says = shared ? says_shared : says_all;
    const char *change = shared ? "write_a" : "fill";
    struct raw_dirt dirt = {.msrs_n = 0};
    uint64_t seed = 23;
    struct calling c;
    unsigned round, which = 0, fds;

    if (!capture_two(kvm_fd, kc, shared ? "shared" : "cow", change))
        return;
    look_at_both(kvm_fd, says);
    /* Or a machine that never switched would pass. */
    CHECK(strcmp(pair.said[0], pair.said[1]) != 0);
    if (tap_ok && open_pool(&c, kvm_fd, &pair.snap[0])) {
        /* Not only after a run: the first switch is of a machine that has never run. */
        fds = seam_count_fds();
        for (round = 0; round < ROUNDS && tap_ok; round++) {
            uint64_t word = tap_random(&seed);

            which = round < 2 ? 1 - round : (unsigned)(word >> 20) % 2;
            if (!switch_to(&c, &pair.snap[which]))
                break;
            is_as_new(&c, which);
            captured_says(&c, says, pair.said[which]);
            if (round % 3 == 0 && captured_restore(&c)) {
                is_as_new(&c, which);
                captured_says(&c, says, pair.said[which]);
            }
            /* What was written once is put back from then on: at first it is not. */
            if (round >= 2 &&
                (!c.vm.ready || !CHECK_EQ(calling_call1(&c, change, (uint32_t)word), STATUS_OK)))
                break;
            if (round % 2 != 0)
                raw_dirty_all(&c.vm.machine, false, &pair.state[which], word, &dirt);
            if (round >= ROUNDS / 2)
                dirty_memory(&c.vm, word);
        }
        if (!tap_ok)
            printf("# in round %u, after a switch to %u\n", round, which);
        CHECK_EQ(seam_count_fds(), fds);
        calling_close(&c);
    }
    free_both();
}

/* --- after attacks ------------------------------------------------------------------------------------------ */

static const struct {
    const char *function;
    uint32_t first, last;
} attacks[] = {{"scratch_fill", 0, 0},
               {"scratch_fill", 255, 255},
               {"tables", 0, 8},
               {"cpu", 0, 9},
               {"words_fill", 0, 0}};

/* Whatever the guest did, to its own tables and to the CPU too, the next one is as in a new machine. */
static void after_attacks(int kvm_fd, const struct kvm_case *kc)
{
    const struct script_call none[] = {{NULL, 0, {0}}};
    struct calling c;
    unsigned i, n = 0;
    uint32_t first;

    if (!capture_two(kvm_fd, kc, "hostile", NULL))
        return;
    look_at_both(kvm_fd, none);
    if (tap_ok && open_pool(&c, kvm_fd, &pair.snap[0])) {
        for (i = 0; i < sizeof(attacks) / sizeof(attacks[0]) && tap_ok; i++) {
            for (first = attacks[i].first; first <= attacks[i].last && tap_ok;
                 first += scale_is_lab() ? 3 : 1, n++) {
                if (!switch_to(&c, &pair.snap[n % 2]))
                    break;
                c.env.limit_ns = scale_is_lab() ? 200 * MS : 100 * MS;
                calling_call1(&c, attacks[i].function, first);
                CHECK_STR(c.e.text, "");
                c.env.limit_ns = GUEST_LIMIT_NS;
                if (!switch_to(&c, &pair.snap[(n + 1) % 2]))
                    break;
                is_as_new(&c, (n + 1) % 2);
                if (c.vm.ready)
                    CHECK(calling_adds(&c));
                if (!tap_ok)
                    printf("# after %s(%" PRIu32 ")\n", attacks[i].function, first);
            }
        }
        calling_close(&c);
    }
    free_both();
}

/* --- what the last one had more of ------------------------------------------------------------------------- */

/* A snapshot places a page behind its tables where the next one has none: it is zero then, used or not. */
static void placed_before(int kvm_fd, const struct kvm_case *kc)
{
    struct err e = {.text = ""};
    struct snapshot longer;
    struct calling c;
    unsigned ran;

    if (!capture_two(kvm_fd, kc, "cow", "fill"))
        return;
    look_at_both(kvm_fd, says_all);
    longer = pair.snap[1];
    CHECK_EQ(longer.plan.placed_len, 0);
    if (guest_check(region_map(&longer.placed, PAGE_LEN, &e), &e)) {
        memset(longer.placed.base, 0x5a, PAGE_LEN);
        longer.plan.placed_len = PAGE_LEN;
        longer.plan.free_off += PAGE_LEN;
        for (ran = 0; ran < 3 && tap_ok && open_pool(&c, kvm_fd, &longer); ran++) {
            if (ran != 0)
                captured_restore(&c);
            if (ran == 2)
                captured_says(&c, says_all, pair.said[1]);
            if (tap_ok && switch_to(&c, &pair.snap[0]))
                is_as_new(&c, 0);
            if (!tap_ok)
                printf("# ran %u\n", ran);
            calling_close(&c);
        }
        region_unmap(&longer.placed);
    }
    free_both();
}

/* --- other shapes ------------------------------------------------------------------------------------------- */

static void takes_not(struct calling *c, const char *what, const struct snapshot *other)
{
    struct err e = {.text = ""};

    if (!CHECK_EQ(vm_switch(&c->vm, other, &e), VM_OTHER_SHAPE) || !CHECK(c->vm.ready))
        printf("# %s\n", what);
}

static void other_shapes(int kvm_fd, const struct kvm_case *kc)
{
    struct snapshot other;
    struct calling c;
    unsigned which;

    if (!capture_two(kvm_fd, kc, "cow", "fill"))
        return;
    look_at_both(kvm_fd, says_all);
    if (tap_ok && open_pool(&c, kvm_fd, &pair.snap[0])) {
        if (captured_restore(&c)) {
#define TAKES_NOT(change) (other = pair.snap[1], (void)(change), takes_not(&c, #change, &other))
            TAKES_NOT(other.kind = NULL);
            TAKES_NOT(other.promises ^= 1);
            TAKES_NOT(other.sregs.apic_base ^= 0x800);
            TAKES_NOT(other.plan.base.v += 4096);
            TAKES_NOT(other.plan.snapshot_len += 4096);
            TAKES_NOT(other.plan.scratch_gpa.v -= 4096);
            TAKES_NOT(other.plan.sizes.scratch_len += 4096);
            TAKES_NOT(other.plan.sizes.input_len += 4096);
            TAKES_NOT(other.plan.sizes.output_len += 4096);
            TAKES_NOT(other.plan.sizes.apic = true);
            if ((kc->n & LARGE) != 0)
                TAKES_NOT(other.has_fd = false);
            if (other.msrs_n != 0) {
                TAKES_NOT(other.msrs_n--);
                TAKES_NOT(other.msrs[other.msrs_n - 1].index++);
            }
            if (calling_cow_host) {
                TAKES_NOT(other.cow.extra_n++);
                TAKES_NOT(other.cow.tables.len = 0);
            }
#undef TAKES_NOT
            /* The guest that was there is there, and one that fits can still be taken. */
            for (which = 0; which < 2 && tap_ok; which++) {
                captured_says(&c, says_all, pair.said[which]);
                if (which == 0)
                    switch_to(&c, &pair.snap[1]);
            }
        }
        calling_close(&c);
    }
    free_both();
}

/* --- failures ----------------------------------------------------------------------------------------------- */

struct held {
    unsigned fds, run_pages;
    uint64_t mapped;
};

static struct held look(void)
{
    struct held h = {.fds = seam_count_fds()};

    h.mapped = seam_count_mapped(&h.run_pages);
    return h;
}

static void is_closed(struct calling *c, struct held before)
{
    struct held now = look();

    CHECK(c->vm.machine.vm_fd < 0 && c->vm.machine.vcpu_fd < 0 && !c->vm.usable && !c->vm.ready);
    CHECK_EQ(now.fds, before.fds);
    CHECK_EQ(now.run_pages, before.run_pages);
    if (!CHECK(now.mapped <= before.mapped + 0x10000))
        printf("# 0x%" PRIx64 " bytes mapped, 0x%" PRIx64 " before\n", now.mapped, before.mapped);
}

/* A VM that ran; `before` is what there was without it, but for what calling_close takes. */
static bool open_and_run(struct calling *c, int kvm_fd, struct held *before)
{
    if (!open_pool(c, kvm_fd, &pair.snap[0]))
        return false;
    vm_close(&c->vm);
    *before = look();
    calling_close(c);
    if (!open_pool(c, kvm_fd, &pair.snap[0]))
        return false;
    if (captured_restore(c) && CHECK_EQ(calling_call1(c, "fill", 3), STATUS_OK))
        return true;
    calling_close(c);
    return false;
}

static void fails(int kvm_fd, const struct kvm_case *kc)
{
    struct err e = {.text = ""};
    struct snapshot other;
    struct held before;
    struct calling c;
    unsigned n, failed = 0;
    bool more = true;

    if (!capture_two(kvm_fd, kc, "cow", "fill"))
        return;
    other = pair.snap[1];
    other.file_fd = -1;
    if (open_and_run(&c, kvm_fd, &before)) {
        CHECK_EQ(vm_switch(&c.vm, &other, &e), -1);
        CHECK_EQ(e.status, STATUS_HOST);
        CHECK_HAS(e.text, "host memory: cannot map");
        is_closed(&c, before);
        calling_close(&c);
    }
    /* Each call into KVM in turn. */
    for (n = 1; n < CALLS_MAX && more && tap_ok && open_and_run(&c, kvm_fd, &before); n++) {
        int result;

        seam_fail(0, n, EIO);
        result = vm_switch(&c.vm, &pair.snap[1], &e);
        more = seam.failed_request != 0;
        seam_fail(0, 0, 0);
        if (result != 0) {
            failed++;
            CHECK_EQ(result, -1);
            CHECK(more);
            is_closed(&c, before);
        }
        calling_close(&c);
    }
    CHECK(!more && failed > 3);
    free_both();
}

/* --- the file goes ------------------------------------------------------------------------------------------ */

/*
 * Child: switch to a snapshot whose file is cut then, and have the host or the guest look at its pages. Ends with
 * what the call came to, 98 if there was nothing to notice, 99 if it came not so far.
 */
static void look_at_lost(int kvm_fd, const char *path, bool by_host, int said)
{
    struct err e = {.text = ""};
    struct snapshot snap;
    struct calling c;
    uint8_t byte;
    int cut;

    dup2(said, STDERR_FILENO);
    signal(SIGBUS, SIG_DFL);
    cut = open(path, O_RDWR | O_CLOEXEC);
    if (cut < 0 || !guest_check(snapfile_read(path, false, &snap, NULL, &e), &e) ||
        (calling_cow_host && !guest_check(vm_prepare(&snap, &e), &e)) ||
        !guest_check(snapfile_guard(&pair.snap[0], "another file", &e), &e) ||
        !open_pool(&c, kvm_fd, &pair.snap[0]) || !captured_restore(&c) ||
        !guest_check(snapfile_guard(&snap, "the file", &e), &e) || !switch_to(&c, &snap) ||
        ftruncate(cut, (off_t)snap.memory_off) != 0) {
        fflush(stdout);
        _exit(99);
    }
    if (by_host)
        _exit(gmem_read(c.vm.mem, gpa_make(snap.plan.base.v + snap.plan.snapshot_len - 1), &byte, 1) ? 98
                                                                                                     : 99);
    _exit((int)calling_call1(&c, "page_sum", 3));
}

static void loses_its_file(int kvm_fd, const struct kvm_case *kc)
{
    char path[] = "/tmp/switched-XXXXXX", said[200];
    struct err e = {.text = ""};
    int fd = mkstemp(path), by_host;

    if (CHECK(fd >= 0) && capture_two(kvm_fd, kc, "cow", "fill")) {
        for (by_host = 0; by_host < 2 && guest_check(snapfile_write(&pair.snap[1], path, &e), &e);
             by_host++) {
            int fds[2], status = -1;
            ssize_t n;
            pid_t pid;

            if (!CHECK(chmod(path, 0600) == 0 && pipe2(fds, O_CLOEXEC) == 0))
                break;
            fflush(stdout);
            pid = fork();
            if (pid == 0)
                look_at_lost(kvm_fd, path, by_host != 0, fds[1]);
            close(fds[1]);
            n = read(fds[0], said, sizeof(said) - 1);
            said[n > 0 ? n : 0] = '\0';
            close(fds[0]);
            CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
            CHECK_EQ(WEXITSTATUS(status), STATUS_HOST);
            if (by_host != 0)
                CHECK_STR(said, "vmm: the file: shrank while it was in use\n");
        }
        free_both();
    }
    close(fd);
    unlink(path);
}

static const struct {
    const char *how;
    struct kvm_case kc;
} ways[] = {
    {", the host copying", {.kind = "amd64", .n = LARGE | COW_HOST}},
    {"", {.kind = "amd64", .n = LARGE}},
    {", by the ring", {.kind = "amd64", .n = LARGE | COW_HOST | TRACK(TRACK_RING), .walking = true}},
    {", copying all", {.kind = "amd64", .n = LARGE | COW_HOST | TRACK(TRACK_COPY)}},
    {"", {.kind = "i686-identity", .n = LARGE}},
    {", by the log", {.kind = "i686-identity", .n = LARGE | TRACK(TRACK_LOG)}},
    {", small", {.kind = "i686-identity"}},
    {", the host copying", {.kind = "i686", .n = LARGE | COW_HOST, .paging32 = true}},
    {", by the log", {.kind = "i686", .n = LARGE | COW_HOST | TRACK(TRACK_LOG), .paging32 = true}},
    {"", {.kind = "i686", .n = LARGE, .paging32 = true}},
};

static const struct {
    const char *what;
    void (*run)(int kvm_fd, const struct kvm_case *kc);
} tests[] = {
    {"switched back and forth, each is as in a new machine", back_and_forth},
    {"so it is after attacks", after_attacks},
    {"other shapes are not taken", other_shapes},
};

#define WAYS_N  (sizeof(ways) / sizeof(ways[0]))
#define TESTS_N (sizeof(tests) / sizeof(tests[0]))

static const struct kvm_case more[] = {
    {"amd64, pages shared: switched back and forth, each is as in a new machine", .run = back_and_forth,
     .kind = "amd64", .n = LARGE | SHARED},
    {"amd64, pages shared, the host copying: switched back and forth, each is as in a new machine",
     .run = back_and_forth, .kind = "amd64", .n = LARGE | SHARED | COW_HOST},
    {"i686, pages shared: switched back and forth, each is as in a new machine", .run = back_and_forth,
     .paging32 = true, .kind = "i686", .n = LARGE | SHARED},
    {"i686, pages shared, the host copying: switched back and forth, each is as in a new machine",
     .run = back_and_forth, .paging32 = true, .kind = "i686", .n = LARGE | SHARED | COW_HOST},
    {"amd64: what the last one had more of is gone", .run = placed_before, .kind = "amd64", .n = LARGE},
    {"amd64, copying all: what the last one had more of is gone", .run = placed_before, .kind = "amd64",
     .n = LARGE | TRACK(TRACK_COPY)},
    {"i686-identity: what the last one had more of is gone", .run = placed_before, .kind = "i686-identity"},
    {"i686, the host copying: what the last one had more of is gone", .run = placed_before, .paging32 = true,
     .kind = "i686", .n = LARGE | COW_HOST},
    {"amd64: the loss of the file that it was switched to is told", .run = loses_its_file, .kind = "amd64",
     .n = LARGE},
    {"amd64, the host copying: the loss of the file that it was switched to is told", .run = loses_its_file,
     .kind = "amd64", .n = LARGE | COW_HOST},
    {"i686-identity: the loss of the file that it was switched to is told", .run = loses_its_file,
     .kind = "i686-identity", .n = LARGE},
    {"i686: the loss of the file that it was switched to is told", .run = loses_its_file, .paging32 = true,
     .kind = "i686", .n = LARGE},
    {"amd64: a switch that fails leaves nothing behind", .run = fails, .kind = "amd64", .n = LARGE},
    {"amd64, the host copying: a switch that fails leaves nothing behind", .run = fails, .kind = "amd64",
     .n = LARGE | COW_HOST},
    {"i686-identity: a switch that fails leaves nothing behind", .run = fails, .kind = "i686-identity",
     .n = LARGE},
    {"i686, the host copying: a switch that fails leaves nothing behind", .run = fails, .paging32 = true,
     .kind = "i686", .n = LARGE | COW_HOST},
};

#define MORE_N (sizeof(more) / sizeof(more[0]))

int main(void)
{
    static char names[WAYS_N * TESTS_N][120];
    struct kvm_case cases[WAYS_N * TESTS_N + MORE_N];
    unsigned i, n = 0;

    for (; n < WAYS_N * TESTS_N; n++) {
        cases[n] = ways[n / TESTS_N].kc;
        cases[n].run = tests[n % TESTS_N].run;
        snprintf(names[n], sizeof(names[n]), "%s%s: %s", cases[n].kind, ways[n / TESTS_N].how,
                 tests[n % TESTS_N].what);
        cases[n].name = names[n];
    }
    for (i = 0; i < MORE_N; i++)
        cases[n++] = more[i];
    return seam_run_cases(cases, n);
}
