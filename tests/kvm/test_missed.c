/*
 * No write of a guest is missed by what a restore goes by: memory is what it
 * was after each of many runs that write in every way the sample `scribble`
 * knows, and was not before the restore.
 */
#include "tests/kvm/memory.h"

#define ROUNDS     150u
#define LAB_ROUNDS 25u
#define HEAP_LEN   (100 * PAGE_LEN)

/* guest-samples/scribble.c. What a KVM that emulates and shadows cannot do is done where the CPU walks tables. */
static const struct way {
    const char *name;
    bool paged_only, identity_only, walking;
} ways[] = {
    {"plain", .walking = false},
    {"cpu", .walking = true},
    {"alone", .walking = true},
    {"alias", .paged_only = true},
    {"large", .paged_only = true, .walking = true},
    {"hidden", .paged_only = true},
    {"paging", .identity_only = true, .walking = true},
};

#define WAYS_N (sizeof(ways) / sizeof(ways[0]))

/* How many pages differ from what they were. */
static unsigned count_changed(const struct memory *wanted)
{
    struct memory now;
    unsigned i, n = 0;
    uint64_t off;

    if (!look_at_slots(&now) || !CHECK_EQ(now.n, wanted->n))
        return 0;
    for (i = 0; i < now.n; i++)
        for (off = 0; off < now.slot[i].len; off += 4096)
            n += memcmp(now.slot[i].host + off, wanted->slot[i].bytes + off, 4096) != 0;
    return n;
}

static bool capture_scribble(int kvm_fd, const struct kvm_case *kc, struct snapshot *out)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;
    bool made = false;

    io.sizes.heap_len = HEAP_LEN; /* more than the 64 pages that a word of a bitmap has */
    if (!calling_open(&c, kvm_fd, "scribble", kc->kind, &io, false))
        return false;
    made = calling_start(&c) && CHECK_EQ(calling_call1(&c, "plain", 5), STATUS_OK) && captured_make(&c, out);
    calling_close(&c);
    return made;
}

/* Whether that way is one for this guest, here. */
static bool is_for(const struct way *w, const struct calling *c)
{
    bool paged = c->vm.snap->kind->geom != NULL;

    if ((w->paged_only && !paged) || (w->identity_only && paged) || (w->walking && c->vm.shadows))
        return false;
    /* Alone, a guest can write only where it needs not copy. */
    return strcmp(w->name, "alone") != 0 || c->vm.cow_host || !paged;
}

static void finds_all(int kvm_fd, const struct kvm_case *kc)
{
    struct memory memory = {.n = 0};
    uint64_t seed = 3, fewest = UINT64_MAX;
    unsigned n = (scale_is_lab() ? LAB_ROUNDS : ROUNDS) * scale_factor(), done = 0;
    struct snapshot snap;
    struct calling c;

    if (!tracked_open(&c, kvm_fd, kc, capture_scribble, &snap))
        return;
    if (captured_restore(&c))
        take_memory(&memory);
    while (done < n && tap_ok) {
        const struct way *w = &ways[tap_random(&seed) % WAYS_N];
        uint32_t word = (uint32_t)tap_random(&seed);
        unsigned changed;

        if (!is_for(w, &c))
            continue;
        if (!CHECK_EQ(calling_call1(&c, w->name, word), STATUS_OK) || !CHECK_EQ(c.result.value.bits, 1)) {
            calling_say_abort(w->name, &c.out);
            printf("# %s(0x%" PRIx32 "): %s\n", w->name, word, c.out.why.text);
            break;
        }
        changed = count_changed(&memory);
        fewest = changed < fewest ? changed : fewest;
        if (!captured_restore(&c) || !memory_is(&memory, snap.plan.scratch_gpa.v))
            printf("# after %s(0x%" PRIx32 ")\n", w->name, word);
        done++;
    }
    /* The heap page, and the top of scratch at least. */
    CHECK(fewest >= 2 && fewest != UINT64_MAX);
    printf("# %u rounds, at least %" PRIu64 " pages changed in each\n", done, fewest);
    calling_close(&c);
    free_memory(&memory);
    snapshot_free(&snap);
}

static const struct kvm_case cases[] = {
    {"amd64, restored by the ring: no write is missed, however it is made", .run = finds_all, .walking = true,
     .kind = "amd64", .n = TRACK(TRACK_RING)},
    {"amd64, copied by the host, restored by the ring: no write is missed, however it is made",
     .run = finds_all, .walking = true, .kind = "amd64", .n = TRACK(TRACK_RING) | COW_HOST},
    {"amd64, restored by the log: no write is missed, however it is made", .run = finds_all, .kind = "amd64",
     .n = TRACK(TRACK_LOG)},
    {"amd64, copied by the host, restored by the log: no write is missed, however it is made",
     .run = finds_all, .kind = "amd64", .n = TRACK(TRACK_LOG) | COW_HOST},
    {"amd64, restored by copying all: no write is missed, however it is made", .run = finds_all,
     .kind = "amd64", .n = TRACK(TRACK_COPY)},
    {"amd64, copied by the host, restored by copying all: no write is missed, however it is made",
     .run = finds_all, .kind = "amd64", .n = TRACK(TRACK_COPY) | COW_HOST},
    {"i686-identity, restored by the ring: no write is missed, however it is made", .run = finds_all,
     .walking = true, .kind = "i686-identity", .n = TRACK(TRACK_RING)},
    {"i686-identity, restored by the log: no write is missed, however it is made", .run = finds_all,
     .kind = "i686-identity", .n = TRACK(TRACK_LOG)},
    {"i686-identity, restored by copying all: no write is missed, however it is made", .run = finds_all,
     .kind = "i686-identity", .n = TRACK(TRACK_COPY)},
    {"i686, restored by the ring: no write is missed, however it is made", .run = finds_all, .walking = true,
     .paging32 = true, .kind = "i686", .n = TRACK(TRACK_RING)},
    {"i686, copied by the host, restored by the ring: no write is missed, however it is made",
     .run = finds_all, .walking = true, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_RING) | COW_HOST},
    {"i686, restored by the log: no write is missed, however it is made", .run = finds_all, .paging32 = true,
     .kind = "i686", .n = TRACK(TRACK_LOG)},
    {"i686, copied by the host, restored by the log: no write is missed, however it is made",
     .run = finds_all, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_LOG) | COW_HOST},
    {"i686, restored by copying all: no write is missed, however it is made", .run = finds_all,
     .paging32 = true, .kind = "i686", .n = TRACK(TRACK_COPY)},
    {"i686, copied by the host, restored by copying all: no write is missed, however it is made",
     .run = finds_all, .paging32 = true, .kind = "i686", .n = TRACK(TRACK_COPY) | COW_HOST},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
