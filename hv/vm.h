/*
 * A virtual machine that runs one snapshot's guest: its memory, its slots and
 * the state it is put back into. Who runs it and why it stops is hv/run's.
 */
#ifndef HV_VM_H
#define HV_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/snapshot.h"
#include "hv/kvm.h"
#include "hv/slots.h"
#include "hv/state.h"
#include "hv/track.h"
#include "mem/error.h"
#include "mem/gmem.h"
#include "mem/pristine.h"
#include "mem/region.h"
#include "paging/hostcow.h"
#include "paging/pte.h"

struct vm {
    const struct snapshot *snap;
    struct machine machine;
    struct slots slots;
    struct region scratch;
    struct region copy;   /* identity guests and cow_host: the VM's own copy of the snapshot's memory */
    bool copy_of_file;    /* ... of which only what is written is a copy */
    struct pristine base; /* ... an identity guest's, which a capture may take; or closed */
    bool base_open;       /* ... and has not: `copy` is shared with it, and has no pages of its own */
    uint64_t placed_end;  /* how far into scratch an earlier snapshot of this VM placed something, or 0 */
    struct region view;   /* of a VM for several snapshots: a paged guest's memory, to be read */
    bool cow_host;        /* the host copies what a paged guest writes to: */
    struct hostcow made;  /* the tables of such a guest, unless its snapshot has them, */
    const struct hostcow *own;
    struct region extra; /* and behind the snapshot region the pages that its leaves would share */
    struct gmem
        *mem; /* view of all of the guest's memory; notes what the host writes where that is tracked */
    struct track track; /* of a warm machine whose KVM tells of writes */
    bool used;          /* memory is not as it was mapped */
    bool filled;        /* memory has been in the snapshot's state once: what differs was written since */
    bool irqchip;
    bool warm;                      /* may be restored after its guest ran */
    bool shadows;                   /* KVM shadows page tables here: it may keep a translation that is gone */
    struct state_baseline baseline; /* of a warm machine */
    int kvm_fd;                     /* the caller's, open as long as this */
    bool usable;                    /* false from a failed restore on */
    bool ran;                       /* the guest has run since the machine was made */
    bool fpu_reset;                 /* the guest has not run yet since its FPU was reset */
    bool flush_tlb;                 /* the guest has not run yet since its tables were replaced under it */

    /* What init left, for calls. */
    bool ready; /* init has ended, and nothing has gone wrong since: the guest takes calls */
    uint64_t dispatch, call_sp;
    struct region messages; /* private copies of messages: the one read last, and behind it one to write */
    uint64_t message_len;   /* of the one read last */
};

/* What vm_close does nothing to. */
#define VM_CLOSED ((struct vm){.machine = MACHINE_CLOSED, .base = PRISTINE_CLOSED})

struct vm_options {
    bool irqchip;
    bool warm; /* vm_restore may be called again after the guest ran */
    bool pool; /* vm_switch may be called: warm too */

    /*
     * A paged guest finds its copy-on-write pages writable and needs no page
     * fault handler: the host copies them, each leaf's page by itself. Others run so anyway.
     */
    bool cow_host;

    /* How such restores find out what to put back. What this KVM cannot do is done by the next of them. */
    enum { TRACK_BEST, TRACK_RING, TRACK_LOG, TRACK_COPY } track;
};

/*
 * Once for all VMs with cow_host that run `snap` from here on: make it ready
 * for them. Without, each does it for itself; vm_switch takes such snapshots only. Nothing to do for other kinds.
 */
int vm_prepare(struct snapshot *snap, struct err *e);

/*
 * Create the machine and map the memory of `snap`, which must outlive *vm, as
 * kvm_fd must, and is shared, not copied, by paged guests. Nothing is left
 * behind on failure.
 */
int vm_open(struct vm *vm, int kvm_fd, const struct snapshot *snap, const struct vm_options *opt,
            struct err *e);
void vm_close(struct vm *vm);

/*
 * Put the guest into its snapshot's state: memory, tables, words, host page
 * (with the present time and fresh random bytes), system registers, FPU, no
 * pending event, interrupt controllers as new. A failure half-way leaves the VM unusable.
 */
int vm_restore(struct vm *vm, struct err *e);

/*
 * Have the VM run another snapshot, or the same anew, and restore it: no part
 * of the machine is made again, the memory of a file is mapped over that of the
 * one before, and of what was written nothing is kept. The snapshot before may
 * be freed afterwards; `snap` must outlive *vm or the next switch. 0; -1: the VM is closed; or
 *
 * VM_OTHER_SHAPE: a machine of this one's making cannot be made that guest's, because
 * kind, promises, sizes of memory, number of MSRs or kind of backing differ.
 * Nothing has happened to the VM: close it and open another one.
 */
#define VM_OTHER_SHAPE 1
int vm_switch(struct vm *vm, const struct snapshot *snap, struct err *e);

/* Set the general registers for the first instruction of init; `log_filter` as ABI 3.2: 0 off, 1 error .. 5
 * trace. */
int vm_enter_init(struct vm *vm, unsigned log_filter, struct err *e);

/*
 * Set the registers for a call of a ready guest: dispatch address, the stack
 * pointer of init's end, and ZF if the guest has to flush its TLB.
 */
int vm_enter_call(struct vm *vm, struct err *e);

/*
 * Host address of scratch byte `off`; the bytes up to the end of scratch
 * follow. To be read, or to be written from `off` to off + len.
 */
const uint8_t *vm_scratch(const struct vm *vm, uint64_t off);
uint8_t *vm_scratch_rw(struct vm *vm, uint64_t off, uint64_t len);

/* How the guest's page tables are to be read, by the system registers in `s`. */
struct pt_mode vm_paging_mode(const struct guest_kind *kind, const struct cpu_sregs *s);

/*
 * Physical address behind a guest-virtual one, by the guest's own tables and
 * the CR3 in `s`. False when there is none.
 */
bool vm_translate(const struct vm *vm, const struct cpu_sregs *s, struct gva va, struct gpa *pa);

/*
 * Look for a leaf that makes a page of the read-only snapshot region writable:
 * a CPU that writes through it by itself (accessed bits, descriptors) is
 * retried by KVM for ever. True with the first such address; paged kinds only.
 */
bool vm_find_writable_snapshot_leaf(const struct vm *vm, const struct cpu_sregs *s, struct gva *va,
                                    struct gpa *pa);

#endif
