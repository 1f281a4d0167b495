/*
 * How KVM tells which pages a guest has written to: by an entry in a ring for
 * each page it makes writable, or by a bitmap for each memory slot. Both are
 * used without ever protecting a page again: it is told once in its life, and
 * costs nothing from then on. By second-level tables, or by those that KVM
 * shadows: nothing a guest does to tables of its own hides a write.
 *
 * A KVM that shadows tables or emulates the guest puts a page into the ring
 * many times, and more of them than fit before it stops the guest: the bitmap
 * is for those.
 */
#ifndef HV_KVM_DIRTY_H
#define HV_KVM_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"

struct machine;
struct kvm_dirty_gfn;

enum dirty_by { DIRTY_NOT, DIRTY_BY_LOG, DIRTY_BY_RING };

/* Page `page` of slot `slot` was written. May be told more than once, also of slots that are gone. */
typedef void dirty_see(void *ctx, uint32_t slot, uint64_t page);

struct dirty {
    enum dirty_by by;
    struct kvm_dirty_gfn *ring;
    uint32_t entries_n;   /* a power of two */
    uint32_t next, taken; /* the next entry to be read; how many were since pages were protected */
    dirty_see *see;
    void *ctx;
};

/*
 * Have `m`, which has no vCPU yet, tell of the writes to all writable slots it
 * will get, some `pages_n` pages, in the way `by` or, where this KVM cannot,
 * in the next lower one: m->dirty.by.
 */
void dirty_prepare(struct machine *m, enum dirty_by by, uint64_t pages_n);

/*
 * Whether KVM may shadow the guest's page tables instead of having the CPU
 * walk them. Where nothing tells, it is taken to: that costs time, the other
 * mistake would cost a stale translation.
 */
bool kvm_shadows_tables(int kvm_fd);

/* The other half, with the vCPU made; dirty_close is harmless without it. */
int dirty_open(struct machine *m, struct err *e);
void dirty_close(struct machine *m);

/*
 * Call m->dirty.see for what is new in the ring; nothing where there is none.
 * The vCPU does not run meanwhile. STATUS_HOST when the ring ran over: nobody
 * knows what was written, and the machine is done for.
 */
int dirty_take(struct machine *m, struct err *e);

/*
 * After KVM_RUN returned 0, make room in a ring that is half full: 1 if KVM_RUN
 * returned for a full one. Every page that was told of may be told of again.
 */
int dirty_relieve(struct machine *m, struct err *e);

/* Protect what was told of by the ring: it will be told of again when it is written. Takes first. */
int dirty_protect_ring(struct machine *m, struct err *e);

/* The bitmap of a slot; or protect those of its `pages_n` pages whose bit is set, and clear their bits in it. */
int dirty_read_log(struct machine *m, uint32_t slot, uint64_t *bits, struct err *e);
int dirty_protect_log(struct machine *m, uint32_t slot, uint64_t pages_n, uint64_t *bits, struct err *e);

#endif
