/*
 * Translations of one run are gone in the next. Code in ring 3 runs on the
 * real CPU even where KVM emulates the kernel, so it sees what the CPU, or
 * KVM's shadow of the guest's tables, still remembers of them.
 *
 * Scratch is given back to the host by a restore, and with its pages goes all
 * that led to them. What stays is translations to pages of the snapshot: a
 * guest that swaps two of those is what a missing flush shows in.
 */
#include "tests/kvm/captured.h"

#define ROUNDS 20

/* What makes the guest flush its TLB at the first call after a restore. */
enum { ZF_KEPT, ZF_HIDDEN };

/* A VM of the captured sample. False with nothing to close. */
static bool open_captured(struct calling *c, struct snapshot *snap, int kvm_fd, const char *kind)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    bool made;

    if (!calling_open(c, kvm_fd, "ring3", kind, &io, false))
        return false;
    made = calling_start(c) && CHECK_EQ(calling_call0(c, "read_kept"), STATUS_OK) &&
           CHECK_EQ(c->result.value.bits, 1) && captured_make(c, snap);
    calling_close(c);
    if (!made)
        return false;
    if (captured_open(c, kvm_fd, snap))
        return true;
    snapshot_free(snap);
    return false;
}

static bool restore(struct calling *c, uint64_t zf)
{
    if (!captured_restore(c))
        return false;
    if (zf == ZF_HIDDEN)
        c->vm.flush_tlb = false;
    return true;
}

static bool reads(struct calling *c, const char *function, uint32_t wanted)
{
    return CHECK_EQ(calling_call0(c, function), STATUS_OK) && CHECK_EQ(c->result.value.bits, wanted);
}

/* The guest is restored and runs, again and again. */
static void each_round(int kvm_fd, const struct kvm_case *kc,
                       void (*run)(struct calling *c, uint32_t i, uint64_t zf))
{
    struct snapshot snap;
    struct calling c;
    uint32_t i;

    if (!open_captured(&c, &snap, kvm_fd, kc->kind))
        return;
    for (i = 0; i < ROUNDS && tap_ok && restore(&c, kc->n); i++)
        run(&c, i, kc->n);
    if (!tap_ok)
        printf("# after %u rounds\n", i);
    calling_close(&c);
    snapshot_free(&snap);
}

/* Two addresses that the snapshot maps are swapped in each run: the next sees them in their places. */
static void swap(struct calling *c, uint32_t i, uint64_t zf)
{
    (void)i, (void)zf;
    reads(c, "read_kept", 1);
    reads(c, "read_other", 2);
    CHECK_EQ(calling_call0(c, "swap"), STATUS_OK);
    reads(c, "read_kept", 2);
    reads(c, "read_other", 1);
}

static void swapped(int kvm_fd, const struct kvm_case *kc)
{
    each_round(kvm_fd, kc, swap);
}

/* An address that the snapshot maps is mapped elsewhere in each run: the next sees the snapshot's page again. */
static void map_kept(struct calling *c, uint32_t i, uint64_t zf)
{
    (void)zf;
    reads(c, "read_kept", 1);
    reads(c, "peek_kept", 1);
    CHECK_EQ(calling_call2(c, "map_kept", 1000 + i, i % 5), STATUS_OK);
    reads(c, "read_kept", 1000 + i);
    reads(c, "peek_kept", 1000 + i);
}

static void kept(int kvm_fd, const struct kvm_case *kc)
{
    each_round(kvm_fd, kc, map_kept);
}

/* One that it does not map: each run maps a page of its own there, and has no reason to flush. */
static void map_fresh(struct calling *c, uint32_t i, uint64_t zf)
{
    (void)zf;
    CHECK_EQ(calling_call2(c, "map_fresh", 2000 + i, i % 5), STATUS_OK);
    reads(c, "read_fresh", 2000 + i);
}

static void fresh(int kvm_fd, const struct kvm_case *kc)
{
    each_round(kvm_fd, kc, map_fresh);
}

/* And where the next run maps nothing, there is nothing. */
static void map_once(struct calling *c, uint32_t i, uint64_t zf)
{
    (void)i;
    CHECK_EQ(calling_call0(c, "alias"), STATUS_OK);
    reads(c, "read_fresh", 2);
    if (!restore(c, zf))
        return;
    CHECK_EQ(calling_call0(c, "read_fresh"), STATUS_ABORTED);
    CHECK_EQ(c->out.abort.exception, 14);
}

static void gone(int kvm_fd, const struct kvm_case *kc)
{
    each_round(kvm_fd, kc, map_once);
}

/* A fresh start in a VM that was used is a restore like any other. */
static void started_again(int kvm_fd, const struct kvm_case *kc)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct calling c;
    uint32_t i;

    if (!calling_open(&c, kvm_fd, "ring3", kc->kind, &io, false))
        return;
    for (i = 0; i < ROUNDS && tap_ok && calling_start(&c); i++) {
        reads(&c, "read_kept", 1);
        CHECK_EQ(calling_call2(&c, "map_kept", 4000 + i, i % 5), STATUS_OK);
        reads(&c, "read_kept", 4000 + i);
        CHECK_EQ(calling_call2(&c, "map_fresh", 5000 + i, i % 3), STATUS_OK);
        reads(&c, "read_fresh", 5000 + i);
    }
    if (!tap_ok)
        printf("# after %u rounds\n", i);
    calling_close(&c);
}

static const struct kvm_case cases[] = {
    {"amd64: ring 3 sees pages of the snapshot in their places, though the last run swapped them",
     .run = swapped, .kind = "amd64", .n = ZF_KEPT},
    {"amd64: it sees them there in a guest that ignores ZF", .run = swapped, .kind = "amd64", .n = ZF_HIDDEN},
    {"i686: ring 3 sees pages of the snapshot in their places, though the last run swapped them",
     .run = swapped, .paging32 = true, .kind = "i686", .n = ZF_KEPT},
    {"amd64: ring 3 sees the snapshot's page and not the last run's", .run = kept, .kind = "amd64",
     .n = ZF_KEPT},
    {"amd64: so it does in a guest that ignores ZF", .run = kept, .kind = "amd64", .n = ZF_HIDDEN},
    {"i686: ring 3 sees the snapshot's page and not the last run's", .run = kept, .paging32 = true,
     .kind = "i686", .n = ZF_KEPT},
    {"amd64: ring 3 sees a page where the last run had another", .run = fresh, .kind = "amd64", .n = ZF_KEPT},
    {"amd64: it sees that in a guest that ignores ZF", .run = fresh, .kind = "amd64", .n = ZF_HIDDEN},
    {"i686: ring 3 sees a page where the last run had another", .run = fresh, .paging32 = true,
     .kind = "i686", .n = ZF_KEPT},
    {"amd64: ring 3 sees nothing where the last run had a page", .run = gone, .kind = "amd64", .n = ZF_KEPT},
    {"amd64: it sees nothing there in a guest that ignores ZF", .run = gone, .kind = "amd64", .n = ZF_HIDDEN},
    {"i686: ring 3 sees nothing where the last run had a page", .run = gone, .paging32 = true, .kind = "i686",
     .n = ZF_KEPT},
    {"amd64: a guest that is started again sees nothing of its last life", .run = started_again,
     .kind = "amd64"},
    {"i686: a guest that is started again sees nothing of its last life", .run = started_again,
     .paging32 = true, .kind = "i686"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
