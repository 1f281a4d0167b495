/* KVM's dirty ring and dirty log. See kvm_dirty.h. */
#include "hv/kvm_dirty.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hv/kvm.h"
#include "hv/kvm_failed.h"
#include "mem/num.h"

/*
 * Of the entries KVM keeps some free, the CPU's own buffer of 512 among them,
 * and stops the guest for a full ring when only those are left; they are no
 * more than ENTRIES_KEPT. The most it takes (virt/kvm/dirty_ring.c,
 * KVM_DIRTY_RING_MAX_ENTRIES). One emulated string instruction, amid which it
 * does not stop, may write 1,024 times.
 */
#define ENTRIES_KEPT    576u
#define ENTRIES_BURST   1024u
#define ENTRIES_MIN     4096u
#define ENTRIES_MAX     65536u

#define ENTRIES_OF_PAGE ((uint32_t)(PAGE_LEN / sizeof(struct kvm_dirty_gfn)))

static bool enable(const struct machine *m, uint32_t cap, uint64_t arg)
{
    struct kvm_enable_cap c = {.cap = cap, .args = {arg}};

    return ioctl(m->vm_fd, KVM_CHECK_EXTENSION, cap) > 0 && ioctl(m->vm_fd, (int)KVM_ENABLE_CAP, &c) == 0;
}

void dirty_prepare(struct machine *m, enum dirty_by by, uint64_t pages_n)
{
    uint32_t n = ENTRIES_MIN;

    while (n < ENTRIES_MAX && n < pages_n + ENTRIES_KEPT + ENTRIES_BURST)
        n *= 2;
    if (by == DIRTY_BY_RING && enable(m, KVM_CAP_DIRTY_LOG_RING, n * sizeof(struct kvm_dirty_gfn))) {
        m->dirty.by = DIRTY_BY_RING;
        m->dirty.entries_n = n;
    } else if (by != DIRTY_NOT &&
               enable(m, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)) {
        m->dirty.by = DIRTY_BY_LOG;
    }
}

/*
 * KVM offers guests fewer address bits than the host has where it shadows, and
 * on AMD there only; on Intel also where it is asked to. A KVM that has the
 * ring knows that capability.
 */
bool kvm_shadows_tables(int kvm_fd)
{
    return ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) <= 0 ||
           ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SMALLER_MAXPHYADDR) != 0;
}

int dirty_open(struct machine *m, struct err *e)
{
    void *ring;

    if (m->dirty.by != DIRTY_BY_RING)
        return 0;
    ring = mmap(NULL, m->dirty.entries_n * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED,
                m->vcpu_fd, (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_LEN));
    if (ring == MAP_FAILED)
        return kvm_failed("mapping the dirty ring", errno, e);
    m->dirty.ring = (struct kvm_dirty_gfn *)ring;
    return 0;
}

void dirty_close(struct machine *m)
{
    if (m->dirty.ring != NULL)
        munmap(m->dirty.ring, m->dirty.entries_n * sizeof(struct kvm_dirty_gfn));
    m->dirty.ring = NULL;
}

int dirty_take(struct machine *m, struct err *e)
{
    struct dirty *d = &m->dirty;

    while (d->by == DIRTY_BY_RING) {
        struct kvm_dirty_gfn *g = &d->ring[d->next & (d->entries_n - 1)];

        if ((__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY) == 0)
            break;
        /* KVM writes on over entries that nobody has given back, and their flags do not tell. */
        if (d->taken == d->entries_n)
            return err_set(e, STATUS_HOST, "kvm: the dirty ring ran over (%u entries)", (unsigned)d->taken);
        d->see(d->ctx, g->slot, g->offset);
        d->next++;
        d->taken++;
    }
    return 0;
}

int dirty_protect_ring(struct machine *m, struct err *e)
{
    struct dirty *d = &m->dirty;
    sigset_t all, old;
    uint32_t n;
    int done;

    if (dirty_take(m, e) != 0)
        return -1;
    for (n = d->taken; d->taken != 0; d->taken--)
        __atomic_store_n(&d->ring[(d->next - d->taken) & (d->entries_n - 1)].flags, KVM_DIRTY_GFN_F_RESET,
                         __ATOMIC_RELEASE);
    /*
     * For a signal KVM stops in the middle since Linux 6.16, says how many entries it took, and forgets to
     * protect the pages of the last of them: those would never be told of again.
     */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    done = KVM_CALL(m->vm_fd, KVM_RESET_DIRTY_RINGS, NULL, e);
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (done < 0 || (uint32_t)done == n)
        return done < 0 ? -1 : 0;
    /* Nobody can block that the process is stopped. */
    return kvm_failed("KVM_RESET_DIRTY_RINGS", EINTR, e);
}

/* Whether there are more than `n` entries that were not given back: they come one after the other. */
static bool has_more_than(const struct dirty *d, uint32_t n)
{
    return (d->ring[(d->next - d->taken + n) & (d->entries_n - 1)].flags & KVM_DIRTY_GFN_F_DIRTY) != 0;
}

int dirty_relieve(struct machine *m, struct err *e)
{
    const struct dirty *d = &m->dirty;
    bool full = m->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL;

    /*
     * What KVM emulates it may put there many times over, more than it keeps room for: see that there is some.
     * Of the ring's pages most guests need the first one only.
     */
    if (d->ring == NULL ||
        (!full && !(has_more_than(d, ENTRIES_OF_PAGE - 1) && has_more_than(d, d->entries_n / 2))))
        return 0;
    return dirty_protect_ring(m, e) != 0 ? -1 : full;
}

int dirty_read_log(struct machine *m, uint32_t slot, uint64_t *bits, struct err *e)
{
    struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bits};

    return KVM_CALL(m->vm_fd, KVM_GET_DIRTY_LOG, &log, e);
}

int dirty_protect_log(struct machine *m, uint32_t slot, uint64_t pages_n, uint64_t *bits, struct err *e)
{
    struct kvm_clear_dirty_log log = {.slot = slot, .num_pages = (uint32_t)pages_n, .dirty_bitmap = bits};

    return KVM_CALL(m->vm_fd, KVM_CLEAR_DIRTY_LOG, &log, e);
}
