/*
 * What becomes of every part of a vCPU's and a machine's state when a guest is
 * captured and when it is restored: one table, which both go through, so that
 * they cannot differ. General registers are set by whoever enters the guest.
 */
#ifndef HV_STATE_H
#define HV_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/cpu.h"
#include "boot/snapshot.h"
#include "hv/kvm.h"
#include "hv/kvm_state.h"
#include "mem/error.h"

#define STATE_PARTS_MAX 12

/* How KVM is made to drop translations when a guest is restored. NOT: whoever restores it renews the slots. */
enum state_drop { DROP_BY_CR3, DROP_BY_EFER, DROP_NOT };

/* What a machine's state was before its guest ran: what a restore resets to. */
struct state_baseline {
    uint8_t *parts[STATE_PARTS_MAX]; /* by number in kvm_parts; NULL where the machine has no such part */
    struct cpu_msr *msrs;
    unsigned msrs_n;
    enum state_drop drops;
    bool untried; /* system registers of the snapshot, but for CR3, are such as KVM has not taken here yet */
};

/*
 * Take the state of a machine that has not run yet. Needed for a machine that
 * is to be restored after its guest ran; `has` is the last thing of enum part_of
 * that the machine has, and `kind` its guest's if it is of the ABI: it tells which MSRs are filtered. The
 * caller frees it.
 */
int state_take_baseline(struct state_baseline *b, int kvm_fd, struct machine *m,
                        const struct guest_kind *kind, enum part_of has, struct err *e);
void state_free_baseline(struct state_baseline *b);

/*
 * Make it what a guest of `s` is reset to: with the MSRs of its snapshot, and
 * without what it cannot change (no XSAVE in CPUID), or has one of only.
 * Before the first run.
 */
int state_fit_baseline(struct state_baseline *b, struct machine *m, const struct snapshot *s, bool irqchip,
                       struct err *e);

/* Find out, before the first run, how translations are dropped: `drops`. `shadows`: kvm_shadows_tables. */
void state_choose_drop(struct state_baseline *b, struct machine *m, bool shadows);

/*
 * Make it what a guest of `s` is reset to, instead of one of `old`, whose MSRs
 * have the same numbers in the same order.
 */
void state_refit_baseline(struct state_baseline *b, const struct snapshot *old, const struct snapshot *s);

/* Let the guest change only the MSRs that the table knows, where its kind is filtered; else spare it most of those
 * for machine checks, which all would have to be reset. Before the first run. */
int state_filter_msrs(struct machine *m, const struct guest_kind *kind, struct err *e);

/*
 * Fill in what of the state is part of a snapshot: sregs, and msrs; of a bare
 * kernel, whose out->bare is there with start.irqchip as the machine has it,
 * start.regs and `state`. Then the instruction that the guest is at must be
 * finished, and `b` the machine's baseline.
 */
int state_capture(struct machine *m, const struct state_baseline *b, struct snapshot *out, struct err *e);

/* Whether `state` has the records of such a machine, and no others; what is in them KVM looks at. STATUS_IMAGE. */
int state_check(const struct bare_machine *m, struct err *e);

/*
 * Put the machine into the state of `s`: captured parts as they were, all
 * others as in `b` (state_fit_baseline), and translations dropped; or, with b
 * NULL, left alone because they have not changed since the machine was made.
 * STATUS_IMAGE when KVM refuses values that came from a file.
 */
int state_restore(struct machine *m, const struct snapshot *s, const struct state_baseline *b, struct err *e);

#endif
