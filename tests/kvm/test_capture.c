/*
 * A capture takes what it should and refuses the rest by name: guests that are
 * not at rest, and lists of page-table roots that are none. The guest goes on
 * unharmed either way.
 */
#include "hv/capture.h"

#include <pthread.h>

#include "tests/kvm/captured.h"

/* A capture that must be refused, in one line that says `what`. */
static void check_refused(struct calling *c, const char *what)
{
    struct snapshot s = {.generation = 4711};
    struct err e = {.text = ""};

    CHECK_EQ(capture_make(&c->vm, &s, &e), -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK(strchr(e.text, '\n') == NULL);
    if (!CHECK_HAS(e.text, what))
        printf("# %s\n", e.text);
    CHECK_EQ(s.generation, 4711);
}

static bool open_sample(struct calling *c, int kvm_fd, const char *sample, const char *kind)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);

    return calling_open(c, kvm_fd, sample, kind, &io, false);
}

/* --- only between calls ------------------------------------------------------------------------------- */

static void not_at_rest(int kvm_fd, const struct kvm_case *kc)
{
    struct snapshot snap;
    struct calling c;

    if (!open_sample(&c, kvm_fd, "calls", kc->kind))
        return;
    check_refused(&c, "not between calls");
    if (guest_check(vm_restore(&c.vm, &c.e), &c.e))
        check_refused(&c, "not between calls");
    if (calling_start(&c) && CHECK_EQ(calling_call0(&c, "undefined"), STATUS_ABORTED))
        check_refused(&c, "not between calls");
    if (calling_start(&c) && CHECK_EQ(calling_call0(&c, "give_up"), STATUS_ABORTED))
        check_refused(&c, "not between calls");
    c.env.limit_ns = 5 * MS;
    if (calling_start(&c) && CHECK_EQ(calling_call0(&c, "spin"), STATUS_TIMEOUT))
        check_refused(&c, "not between calls");
    c.env.limit_ns = GUEST_LIMIT_NS;
    if (calling_start(&c) && CHECK_EQ(calling_call0(&c, "halt"), STATUS_FAULTED))
        check_refused(&c, "not between calls");
    /* An error of a function is none of the guest's. */
    if (calling_start(&c) && CHECK_EQ(calling_call0(&c, "fail"), STATUS_CALL_ERROR) &&
        captured_make(&c, &snap)) {
        calling_adds(&c);
        snapshot_free(&snap);
    }
    calling_close(&c);
}

/* --- lists of roots: ABI 2.5 --------------------------------------------------------------------------- */

/* The host page of the running guest, and the places of the list in it. */
static uint8_t *host_page(struct calling *c)
{
    return vm_scratch_rw(&c->vm, c->vm.snap->plan.sizes.scratch_len - 0x3000, 0x1000);
}

#define LIST_N      0x40
#define LIST_ACTIVE 0x44
#define LIST_MARK   0x48
#define LIST_ROOTS  0x50
#define MARK        0x53544f4f524d4d56u

#define NONE        0xabcdef00u

/* What a hostile guest may have put there. */
struct bad_list {
    const char *name, *what;
    uint32_t n; /* 0: as it was, NONE: none */
    uint32_t active;
    int root; /* the place that gets `to`, -1: none */
    enum { TO_SAME_AS_0, TO_VALUE, TO_INPUT_STACK, TO_WORDS, TO_HOST_PAGE, TO_FREE_OF_OTHERS } to;
    uint64_t value;
};

static const struct bad_list bad_lists[] = {
    {"no roots", "no roots", .n = NONE, .root = -1},
    {"257 roots", "too many roots", .n = 257, .root = -1},
    {"2^31 roots", "too many roots", .n = 0x80000000u, .root = -1},
    {"2^32 - 1 roots", "too many roots", .n = UINT32_MAX, .root = -1},
    {"one root more than there are", "root", .n = 5, .root = -1},
    {"a root twice", "twice", .root = 3, .to = TO_SAME_AS_0},
    {"a root that is not aligned", "not page aligned", .root = 1, .to = TO_VALUE, .value = 0xfedb8800},
    {"a root with bits of CR3", "not page aligned", .root = 1, .to = TO_VALUE, .value = 0x1008},
    {"a root in the null page", "not in the guest's memory", .root = 1, .to = TO_VALUE, .value = 0},
    {"a root between the regions", "not in the guest's memory", .root = 1, .to = TO_VALUE,
     .value = 0x70000000},
    {"a root past the end of scratch", "not in the guest's memory", .root = 1, .to = TO_VALUE,
     .value = 0x1000000000},
    {"a root at the end of everything", "not in the guest's memory", .root = 1, .to = TO_VALUE,
     .value = 0xfffffffffffff000},
    {"a root in the input stack", "the host's", .root = 1, .to = TO_INPUT_STACK},
    {"a root in the page of the words", "the host's", .root = 1, .to = TO_WORDS},
    {"a root in the host page", "the host's", .root = 1, .to = TO_HOST_PAGE},
    {"an active root that is not in the list", "active root is not in it", .active = 4, .root = -1},
    {"an active root far outside the list", "active root is not in it", .active = UINT32_MAX, .root = -1},
    {"an active root that is not CR3", "active root is not CR3", .active = 1, .root = -1},
    {"a list without CR3", "CR3 is not in it", .root = 0, .to = TO_FREE_OF_OTHERS},
};

/* Spoil the list of a ready multiroot guest, whose directory 0 is active. */
static void spoil(struct calling *c, const struct bad_list *b)
{
    const struct layout *l = &c->vm.snap->plan;
    uint64_t end = l->scratch_gpa.v + l->sizes.scratch_len, to = b->value;
    uint8_t *page = host_page(c);

    if (b->n != 0)
        store_le32(page + LIST_N, b->n == NONE ? 0 : b->n);
    if (b->active != 0)
        store_le32(page + LIST_ACTIVE, b->active);
    switch (b->to) {
    case TO_VALUE: break;
    case TO_SAME_AS_0: to = load_le64(page + LIST_ROOTS); break;
    case TO_INPUT_STACK: to = l->scratch_gpa.v; break;
    case TO_WORDS: to = end - 0x1000; break;
    case TO_HOST_PAGE: to = end - 0x3000; break;
    case TO_FREE_OF_OTHERS: to = end - 0x4000; break; /* an empty page of the guest's */
    }
    if (b->root >= 0)
        store_le64(page + LIST_ROOTS + 8u * (unsigned)b->root, to);
}

static const struct script_call goes_on[] = {
    {"roots", 0, {0}},           {"active", 0, {0}}, {"read_private", 1, {3}}, {"write_common", 2, {1, 5}},
    {"read_common", 1, {2}},     {"enter", 1, {3}},  {"read_kernel", 1, {0}},  {"enter", 1, {0}},
    {"write_common", 2, {0, 0}}, {NULL, 0, {0}}};

static void hostile_lists(int kvm_fd, const struct kvm_case *kc)
{
    static char wanted[TRANSCRIPT_LEN];
    uint8_t before[4096];
    struct calling c;
    unsigned i;

    if (!open_sample(&c, kvm_fd, "multiroot", kc->kind))
        return;
    wanted[0] = '\0';
    if (calling_start(&c)) {
        captured_calls(&c, goes_on, wanted);
        CHECK_EQ(load_le64(host_page(&c) + LIST_MARK), MARK);
        CHECK_EQ(load_le32(host_page(&c) + LIST_N), 4);
        for (i = 0; i < sizeof(bad_lists) / sizeof(bad_lists[0]); i++) {
            memcpy(before, host_page(&c), sizeof(before));
            spoil(&c, &bad_lists[i]);
            check_refused(&c, bad_lists[i].what);
            memcpy(host_page(&c), before, sizeof(before));
            CHECK(c.vm.ready);
            captured_says(&c, goes_on, wanted);
            if (!tap_ok) {
                printf("# %s\n", bad_lists[i].name);
                break;
            }
        }
    }
    calling_close(&c);
}

/* --- a list that changes while it is read ----------------------------------------------------------------- */

static struct {
    uint8_t *page;
    uint64_t good;
    volatile bool end;
} flipping;

/* Another vCPU could do that: number and roots become good and bad in turn, as fast as it goes. */
static void *flip(void *unused)
{
    volatile uint32_t *n = (volatile uint32_t *)(void *)(flipping.page + LIST_N);
    volatile uint64_t *root = (volatile uint64_t *)(void *)(flipping.page + LIST_ROOTS + 8);

    (void)unused;
    while (!flipping.end) {
        *n = UINT32_MAX;
        *n = 4;
        *root = 0xfffffffffffff000;
        *root = flipping.good;
    }
    return NULL;
}

/* Whenever it changes, the list is refused for what is bad in it, or taken as it was checked. */
static void changing_list(int kvm_fd, const struct kvm_case *kc)
{
    unsigned i, rounds = scale_is_lab() ? 40 : 1000, taken = 0;
    struct snapshot snap;
    struct calling c;
    pthread_t thread;

    if (!open_sample(&c, kvm_fd, "multiroot", kc->kind))
        return;
    if (calling_start(&c)) {
        flipping.page = host_page(&c);
        flipping.good = load_le64(flipping.page + LIST_ROOTS + 8);
        flipping.end = false;
        if (CHECK(pthread_create(&thread, NULL, flip, NULL) == 0)) {
            for (i = 0; i < rounds && tap_ok; i++) {
                struct err e = {.text = ""};

                if (capture_make(&c.vm, &snap, &e) == 0) {
                    taken++;
                    CHECK_EQ(snap.roots_n, 4);
                    snapshot_free(&snap);
                } else if (!CHECK(strstr(e.text, "too many roots (0xffffffff)") != NULL ||
                                  strstr(e.text, "memory (0xfffffffffffff000)") != NULL)) {
                    printf("# %s\n", e.text);
                }
            }
            flipping.end = true;
            CHECK(pthread_join(thread, NULL) == 0);
            printf("# %u of %u taken\n", taken, i);
        }
    }
    calling_close(&c);
}

/* Without its mark the list is no list: ABI 2.5. */
static void no_list(int kvm_fd, const struct kvm_case *kc)
{
    static const struct {
        uint64_t mark;
        uint32_t n;
    } lists[] = {{0, 4}, {MARK + 1, 4}, {0, 0}, {MARK + 1, UINT32_MAX}};
    struct snapshot snap;
    struct calling c;
    unsigned i;

    if (!open_sample(&c, kvm_fd, "multiroot", kc->kind))
        return;
    for (i = 0; i < sizeof(lists) / sizeof(lists[0]) && calling_start(&c); i++) {
        store_le64(host_page(&c) + LIST_MARK, lists[i].mark);
        store_le32(host_page(&c) + LIST_N, lists[i].n);
        if (captured_make(&c, &snap)) {
            struct calling d;

            CHECK_EQ(snap.roots_n, 0);
            CHECK_EQ(calling_call1(&c, "read_private", 0), STATUS_OK);
            CHECK_EQ(c.result.value.bits, 100);
            calling_close(&c);
            if (captured_open(&d, kvm_fd, &snap)) {
                if (captured_restore(&d)) {
                    CHECK_EQ(load_le64(host_page(&d) + LIST_MARK), 0);
                    CHECK_EQ(calling_call0(&d, "roots"), STATUS_CALL_ERROR);
                }
                calling_close(&d);
            }
            snapshot_free(&snap);
            if (!open_sample(&c, kvm_fd, "multiroot", kc->kind))
                return;
        }
    }
    CHECK_EQ(i, sizeof(lists) / sizeof(lists[0]));
    calling_close(&c);
}

/* The order is the guest's, whichever directory is active. */
static void active_root(int kvm_fd, const struct kvm_case *kc)
{
    struct snapshot snap;
    struct calling c, d;
    uint32_t active, i;

    for (active = 0; active < 4 && tap_ok; active++) {
        if (!open_sample(&c, kvm_fd, "multiroot", kc->kind))
            return;
        if (!calling_start(&c) || !CHECK_EQ(calling_call1(&c, "enter", active), STATUS_OK) ||
            !captured_make(&c, &snap)) {
            calling_close(&c);
            return;
        }
        calling_close(&c);
        CHECK_EQ(snap.roots_n, 4);
        CHECK_EQ(snap.root_active, active);
        if (captured_open(&d, kvm_fd, &snap)) {
            if (captured_restore(&d)) {
                struct cpu_sregs sregs;
                struct err e = {.text = ""};

                guest_check(machine_get_sregs(&d.vm.machine, &sregs, &e), &e);
                CHECK_EQ(sregs.cr3, load_le64(host_page(&d) + LIST_ROOTS + (size_t)8 * active));
                CHECK_EQ(load_le32(host_page(&d) + LIST_ACTIVE), active);
                CHECK_EQ(calling_call0(&d, "active"), STATUS_OK);
                CHECK_EQ(d.result.value.bits, active);
                for (i = 0; i < 4; i++) {
                    CHECK_EQ(calling_call1(&d, "read_private", i), STATUS_OK);
                    CHECK_EQ(d.result.value.bits, 100 + i);
                }
            }
            calling_close(&d);
        }
        snapshot_free(&snap);
    }
}

/* --- what is in a snapshot ------------------------------------------------------------------------------- */

/* Two captures of one guest at rest: the same, and the guest notices nothing. */
static void twice(int kvm_fd, const struct kvm_case *kc)
{
    const struct script *s = &scripts[kc->n];
    struct snapshot first, second;
    char said[TRANSCRIPT_LEN] = "";
    struct calling c;
    uint8_t *before;

    if (!open_sample(&c, kvm_fd, s->sample, kc->kind))
        return;
    before = malloc(SCRATCH_LEN_DEFAULT);
    if (CHECK(before != NULL) && calling_start(&c)) {
        captured_calls(&c, s->setup, said);
        memcpy(before, vm_scratch(&c.vm, 0), SCRATCH_LEN_DEFAULT);
        if (captured_make(&c, &first)) {
            if (captured_make(&c, &second)) {
                captured_same_bytes(&first.memory, &second.memory);
                captured_same_bytes(&first.tables, &second.tables);
                captured_same_bytes(&first.placed, &second.placed);
                CHECK_EQ(second.generation, 1);
                CHECK_EQ(second.promises, c.vm.snap->promises);
                snapshot_free(&second);
            }
            CHECK(memcmp(before, vm_scratch(&c.vm, 0), SCRATCH_LEN_DEFAULT) == 0);
            snapshot_free(&first);
        }
        CHECK(c.vm.ready);
    }
    free(before);
    calling_close(&c);
}

/* An identity guest's memory is what it wrote, and nothing of its scratch. */
static void identity_as_it_is(int kvm_fd, const struct kvm_case *kc)
{
    struct snapshot snap;
    struct calling c;

    if (!open_sample(&c, kvm_fd, "dirty", kc->kind))
        return;
    if (calling_start(&c) && CHECK_EQ(calling_call1(&c, "dirty", 5), STATUS_OK) && captured_make(&c, &snap)) {
        CHECK_EQ(snap.memory.len, c.vm.snap->plan.snapshot_len);
        CHECK(memcmp(snap.memory.base, c.vm.copy.base, snap.memory.len) == 0);
        CHECK_EQ(snap.memory.base[snap.plan.heap_off + 4u * 4096], 1);
        CHECK_EQ(snap.memory.base[snap.plan.heap_off + 5u * 4096], 0);
        CHECK_EQ(snap.tables.len, 0);
        CHECK_EQ(snap.placed.len, 0);
        snapshot_free(&snap);
    }
    calling_close(&c);
}

/* The page of `shared` is placed in scratch, once; that of multiroot's directories likewise. */
static void placed_once(int kvm_fd, const struct kvm_case *kc)
{
    static const char *const samples[] = {"shared", "multiroot"};
    struct snapshot snap;
    struct calling c;
    unsigned i;

    for (i = 0; i < 2; i++) {
        if (!open_sample(&c, kvm_fd, samples[i], kc->kind))
            return;
        if (calling_start(&c) && captured_make(&c, &snap)) {
            CHECK_EQ(snap.placed.len, 4096);
            CHECK_EQ(snap.plan.placed_len, 4096);
            CHECK_EQ(snap.plan.free_off, snap.plan.pt_off + snap.plan.pt_len + 4096);
            snapshot_free(&snap);
        }
        calling_close(&c);
    }
}

static const struct kvm_case more[] = {
    {"amd64: a guest that is not between calls is refused", .run = not_at_rest, .kind = "amd64"},
    {"i686-identity: a guest that is not between calls is refused", .run = not_at_rest,
     .kind = "i686-identity"},
    {"i686: a guest that is not between calls is refused", .run = not_at_rest, .paging32 = true,
     .kind = "i686"},
    {"amd64: a list of roots that is none is refused and does no harm", .run = hostile_lists,
     .kind = "amd64"},
    {"i686: a list of roots that is none is refused and does no harm", .run = hostile_lists, .paging32 = true,
     .kind = "i686"},
    {"amd64: a list of roots that changes while it is read is checked as it is used", .run = changing_list,
     .kind = "amd64"},
    {"i686: a list of roots that changes while it is read is checked as it is used", .run = changing_list,
     .paging32 = true, .kind = "i686"},
    {"amd64: without a mark there is CR3 alone", .run = no_list, .kind = "amd64"},
    {"i686: without a mark there is CR3 alone", .run = no_list, .paging32 = true, .kind = "i686"},
    {"amd64: the root that was active is active again, and the order is kept", .run = active_root,
     .kind = "amd64"},
    {"i686: the root that was active is active again, and the order is kept", .run = active_root,
     .paging32 = true, .kind = "i686"},
    {"i686-identity: a snapshot holds the memory as it is and nothing of scratch", .run = identity_as_it_is,
     .kind = "i686-identity"},
    {"amd64: a page that several writable leaves map is placed once", .run = placed_once, .kind = "amd64"},
    {"i686: a page that several writable leaves map is placed once", .run = placed_once, .paging32 = true,
     .kind = "i686"},
};

int main(void)
{
    const struct kvm_case *cases;
    unsigned cases_n;

    cases = captured_cases(twice, "captured twice, it is the same and notices nothing", more,
                           sizeof(more) / sizeof(more[0]), &cases_n);
    return seam_run_cases(cases, cases_n);
}
