/* The table of state. See state.h. */
#include "hv/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "boot/msrs.h"
#include "boot/x86.h"
#include "hv/kvm_state.h"
#include "mem/num.h"

#define APIC_BASE_X2APIC 0x400u /* SDM 3A, "x2APIC State Transitions" */

_Static_assert(GUEST_MSRS_N <= KVM_FILTER_MAX, "the filter holds them all");

/* What KVM refuses is the fault of the file that it came from; other values are vmm's own. */
static int blame(bool from_file, struct err *e)
{
    if (e->status != STATUS_IMAGE)
        return -1;
    if (from_file)
        return err_wrap(e, "snapshot");
    e->status = STATUS_HOST;
    return -1;
}

/* --- system registers: captured --------------------------------------------------------------------- */

static int capture_sregs(struct machine *m, struct snapshot *s, struct err *e)
{
    if (machine_get_sregs(m, &s->sregs, e) != 0)
        return -1;
    if ((s->sregs.apic_base & APIC_BASE_X2APIC) != 0)
        return err_set(e, STATUS_IMAGE, "snapshot: the guest has turned x2APIC on (APIC base 0x%" PRIx64 ")",
                       s->sregs.apic_base);
    return 0;
}

/*
 * KVM flushes translations when CR3 changes, and after a restore it usually
 * has the value it had before: pass through another one.
 */
static int restore_sregs(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                         struct err *e)
{
    struct cpu_sregs other = s->sregs;

    if (b != NULL && (other.cr0 & CR0_PG) != 0) {
        other.cr3 ^= PAGE_LEN;
        if (machine_set_sregs(m, &other, e) != 0)
            return blame(s->from_file, e);
    }
    return machine_set_sregs(m, &s->sregs, e) == 0 ? 0 : blame(s->from_file, e);
}

/* --- MSRs: the guest's are captured, all others reset --------------------------------------------------- */

static int capture_msrs(struct machine *m, struct snapshot *s, struct err *e)
{
    struct err refused;
    unsigned i, n = 0;

    for (i = 0; i < GUEST_MSRS_N; i++) {
        struct cpu_msr msr = {.index = guest_msrs[i]};

        /* One that this KVM does not have has not been written either. */
        if (guest_msr_is_captured(msr.index) && machine_get_msrs(m, &msr, 1, &refused) == 0)
            s->msrs[n++] = msr;
    }
    s->msrs_n = n;
    (void)e;
    return 0;
}

static int restore_msrs(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                        struct err *e)
{
    if (b != NULL && machine_set_msrs(m, b->msrs, b->msrs_n, e) != 0)
        return blame(false, e);
    if (s->msrs_n != 0 && machine_set_msrs(m, s->msrs, s->msrs_n, e) != 0)
        return blame(s->from_file, e);
    return 0;
}

/* --- everything else: reset --------------------------------------------------------------------------------- */

/*
 * A run that was ended in the middle of things leaves a vCPU asleep in HLT,
 * which would sleep on in the next; an interrupt half delivered; or one in
 * service, behind which no other is let through.
 */
static int reset_parts(struct machine *m, const struct state_baseline *b, struct err *e)
{
    unsigned i;

    if (b == NULL)
        return 0;
    for (i = 0; kvm_parts[i].name != NULL; i++)
        if (b->parts[i] != NULL && kvm_parts[i].set(m, b->parts[i], e) != 0)
            return -1;
    return 0;
}

static int restore_parts(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                         struct err *e)
{
    (void)s;
    return reset_parts(m, b, e);
}

/* x87 and SSE as the ABI has them at entry, whatever KVM makes a new vCPU with. */
static int restore_fpu(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                       struct err *e)
{
    (void)s;
    (void)b;
    return machine_reset_fpu(m, e);
}

/* In the order of a restore. `capture` NULL: not part of a snapshot, reset in every memory model. */
static const struct {
    const char *name;
    int (*capture)(struct machine *m, struct snapshot *s, struct err *e);
    int (*restore)(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                   struct err *e);
} rows[] = {
    /* A local APIC's reset takes CR8 with it, so system registers come later. */
    {"XCR0, debug registers, interrupt controllers, events, run state", NULL, restore_parts},
    {"system registers", capture_sregs, restore_sregs},
    {"MSRs", capture_msrs, restore_msrs},
    {"x87, SSE and what else XCR0 has", NULL, restore_fpu},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

int state_capture(struct machine *m, struct snapshot *out, struct err *e)
{
    unsigned i;

    for (i = 0; i < ROWS_N; i++)
        if (rows[i].capture != NULL && rows[i].capture(m, out, e) != 0)
            return -1;
    return 0;
}

int state_restore(struct machine *m, const struct snapshot *s, const struct state_baseline *b, struct err *e)
{
    unsigned i;

    for (i = 0; i < ROWS_N; i++)
        if (rows[i].restore(m, s, b, e) != 0)
            return -1;
    return 0;
}

int state_reset(struct machine *m, const struct state_baseline *b, const struct cpu_sregs *s, struct err *e)
{
    if (reset_parts(m, b, e) != 0 || machine_set_sregs(m, s, e) != 0)
        return -1;
    if (b != NULL && machine_set_msrs(m, b->msrs, b->msrs_n, e) != 0)
        return -1;
    return machine_reset_fpu(m, e);
}

int state_take_baseline(struct state_baseline *out, int kvm_fd, struct machine *m, enum part_of has,
                        struct err *e)
{
    struct state_baseline b = {.msrs_n = 0};
    unsigned i;

    if (kvm_list_msrs(kvm_fd, m, &b.msrs, &b.msrs_n, e) != 0)
        return -1;
    for (i = 0; kvm_parts[i].name != NULL; i++) {
        if (kvm_parts[i].part_of > has)
            continue;
        b.parts[i] = calloc(1, kvm_parts[i].len);
        if (b.parts[i] == NULL) {
            err_set_errno(e, STATUS_HOST, ENOMEM, "host memory: %s", kvm_parts[i].name);
            goto fail;
        }
        if (kvm_parts[i].get(m, b.parts[i], e) != 0)
            goto fail;
    }
    *out = b;
    return 0;
fail:
    state_free_baseline(&b);
    return -1;
}

void state_free_baseline(struct state_baseline *b)
{
    unsigned i;

    for (i = 0; i < STATE_PARTS_MAX; i++)
        free(b->parts[i]);
    free(b->msrs);
    *b = (struct state_baseline){.msrs_n = 0};
}

int state_filter_msrs(struct machine *m, const struct guest_kind *kind, struct err *e)
{
    if (!kind->filter_msrs)
        return 0;
    return machine_filter_msrs(m, guest_msrs, GUEST_MSRS_N, e);
}
