/* The table of state. See state.h. */
#include "hv/state.h"

#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "boot/msrs.h"
#include "boot/x86.h"
#include "hv/kvm_state.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/num.h"

#define MSR_TSC          0x10u
#define FAR_TSC          ((uint64_t)1 << 48)
#define TSS_BUSY         2u     /* of a type, SDM 3A, "TSS Descriptor" */
#define RECORD_LEN       8      /* of a record's head */
#define APIC_BASE_X2APIC 0x400u /* SDM 3A, "x2APIC State Transitions" */

/* Room for all parts and the MSRs that guests change, which are a few dozen. */
_Static_assert(sizeof(struct cpu_msr) == 16, "an MSR in a file is 16 bytes");
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

/* --- the bytes of a bare kernel's state: records ----------------------------------------------------- */

#define MSRS_ID 0 /* of the last record */

/* A bare kernel's machine that ran; NULL for everything else. */
static const struct bare_machine *saved_machine(const struct snapshot *s)
{
    return s->bare != NULL && s->bare->state_len != 0 ? s->bare : NULL;
}

static bool is_saved(const struct kvm_part *p, const struct bare_machine *m)
{
    return p->part_of == PART_OF_SAVED || p->part_of <= (m->start.irqchip ? PART_OF_PIT : PART_OF_ALL);
}

static uint64_t padded(uint64_t len)
{
    return (len + 7) & ~(uint64_t)7;
}

/* A new record behind the others, `len` bytes of zeros. */
static uint8_t *add_record(struct bare_machine *m, uint32_t id, uint64_t len)
{
    uint8_t *at = m->state + m->state_len;

    assert(RECORD_LEN + padded(len) <= sizeof(m->state) - m->state_len);
    store_le32(at, id);
    store_le32(at + 4, (uint32_t)len);
    m->state_len += RECORD_LEN + padded(len);
    return at + RECORD_LEN;
}

/* The record of that number; its bytes. The state has been checked. */
static const uint8_t *find_record(const struct bare_machine *m, uint32_t id, uint32_t *len)
{
    const uint8_t *at = m->state;

    while (load_le32(at) != id)
        at += RECORD_LEN + padded(load_le32(at + 4));
    *len = load_le32(at + 4);
    return at + RECORD_LEN;
}

static int check_record(const struct bare_machine *m, uint64_t *at, const char *name, uint32_t id,
                        const uint64_t *len, struct err *e)
{
    const uint8_t *r = m->state + *at;
    uint64_t rest = m->state_len - *at, is;

    if (rest < RECORD_LEN || load_le32(r) != id)
        return err_image(e, "section STATE: there is no %s where it should be (0x%" PRIx64 ")", name, *at);
    is = load_le32(r + 4);
    if (padded(is) > rest - RECORD_LEN || (len != NULL && is != *len) ||
        (len == NULL && (is % sizeof(struct cpu_msr) != 0 || padded(is) != rest - RECORD_LEN)))
        return err_image(e, "section STATE: %s of a wrong length (%" PRIu64 ")", name, is);
    *at += RECORD_LEN + padded(is);
    return 0;
}

int state_check(const struct bare_machine *m, struct err *e)
{
    const struct kvm_part *p;
    uint64_t at = 0;

    for (p = kvm_parts; p->name != NULL; p++) {
        uint64_t len = p->len;

        if (!is_saved(p, m))
            continue;
        if (check_record(m, &at, p->name, p->id, &len, e) != 0)
            return -1;
        if (!kvm_part_is_sane(p, m->state + at - padded(len)))
            return err_image(e, "section STATE: %s cannot be a guest's", p->name);
    }
    return check_record(m, &at, "list of MSRs", MSRS_ID, NULL, e);
}

/* --- system registers: captured --------------------------------------------------------------------- */

static int capture_sregs(struct machine *m, const struct state_baseline *b, struct snapshot *s, struct err *e)
{
    (void)b;
    if (machine_get_sregs(m, &s->sregs, e) != 0)
        return -1;
    if ((s->sregs.apic_base & APIC_BASE_X2APIC) != 0)
        return err_image(e, "snapshot: the guest has turned x2APIC on (APIC base 0x%" PRIx64 ")",
                         s->sregs.apic_base);
    return 0;
}

/*
 * KVM on AMD shows TR as busy whatever the CPU has, which is: not busy (its svm_get_segment says so).
 * QEMU's emulated AMD CPU gives up when it gets one back that is.
 */
static void fix_task_register(struct cpu_segment *tr)
{
    static int is_amd = -1; /* asking the CPU is slow in a virtual machine: once */
    unsigned a, b, c, d;

    if (is_amd < 0) {
        __cpuid(0, a, b, c, d);
        is_amd = c == signature_AMD_ecx;
    }
    if (is_amd != 0 && tr->present)
        tr->type &= (uint8_t)~TSS_BUSY;
}

/*
 * KVM drops translations when CR3 or EFER changes, and after a restore both
 * usually have the values they had before. So one of them passes through
 * another: CR3 by a call of its own; or EFER with the MSRs, which are set
 * anyway, if KVM_RUN takes the right one from the run page after that. Also
 * for guests that start with paging off: they may have had it on meanwhile.
 */
static bool drops_by_efer(const struct machine *m, const struct state_baseline *b)
{
    return b->drops == DROP_BY_EFER && !b->untried && machine_defers_sregs(m);
}

static int pass_through_cr3(struct machine *m, const struct snapshot *s, struct err *e)
{
    struct cpu_sregs other = s->sregs;

    other.cr3 ^= PAGE_LEN;
    return machine_apply_sregs(m, &other, e);
}

/* Values that were taken once need no look at whether they were. */
static int restore_sregs(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                         struct err *e)
{
    struct cpu_sregs wanted = s->sregs;
    int result = 0;

    if (saved_machine(s) != NULL)
        fix_task_register(&wanted.tr);
    if (b != NULL && b->drops != DROP_NOT && !drops_by_efer(m, b))
        result = pass_through_cr3(m, s, e);
    if (result == 0)
        result = (b != NULL && !b->untried ? machine_put_sregs : machine_set_sregs)(m, &wanted, e);
    return result == 0 ? 0 : blame(s->from_file, e);
}

/* --- MSRs: the guest's are captured, all others reset --------------------------------------------------- */

/* Of a bare kernel those that are not as in a new machine, and the TSC, which never is: it comes first. */
static void capture_all_msrs(struct machine *m, const struct state_baseline *b, struct bare_machine *out)
{
    struct err refused;
    unsigned i, pass, n = 0;
    uint8_t *at = add_record(out, MSRS_ID, 0);

    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < b->msrs_n; i++) {
            struct cpu_msr now = {.index = b->msrs[i].index};

            if ((now.index == MSR_TSC) != (pass == 0) || machine_get_msrs(m, &now, 1, &refused) != 0 ||
                (now.value == b->msrs[i].value && pass != 0))
                continue;
            memcpy(at + n++ * sizeof(now), &now, sizeof(now));
        }
    }
    store_le32(at - 4, n * (uint32_t)sizeof(struct cpu_msr));
    out->state_len += n * sizeof(struct cpu_msr);
}

static int capture_msrs(struct machine *m, const struct state_baseline *b, struct snapshot *s, struct err *e)
{
    struct err refused;
    unsigned i, n = 0;

    if (s->bare != NULL) {
        capture_all_msrs(m, b, s->bare);
        return 0;
    }
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

/*
 * A TSC written within a second of what it would be anyway KVM takes for an attempt to synchronise it with
 * other CPUs, and keeps it going: back, in a machine that is younger than the guest. So write one far away first.
 */
static int restore_all_msrs(struct machine *m, const struct bare_machine *from, struct err *e)
{
    const uint8_t *msrs;
    struct cpu_msr tsc;
    uint32_t len;

    msrs = find_record(from, MSRS_ID, &len);
    if (len == 0)
        return 0;
    memcpy(&tsc, msrs, sizeof(tsc));
    tsc.value ^= FAR_TSC;
    if ((tsc.index == MSR_TSC && machine_set_msrs(m, &tsc, 1, e) != 0) ||
        machine_set_msrs(m, (const struct cpu_msr *)(const void *)msrs, len / sizeof(tsc), e) != 0)
        return blame(true, e);
    return 0;
}

static int restore_msrs(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                        struct err *e)
{
    const struct cpu_msr *msrs = b != NULL ? b->msrs : s->msrs;
    unsigned n = b != NULL ? b->msrs_n + drops_by_efer(m, b) : s->msrs_n;

    if (n != 0 && machine_set_msrs(m, msrs, n, e) != 0)
        return blame(s->from_file, e);
    return saved_machine(s) != NULL ? restore_all_msrs(m, saved_machine(s), e) : 0;
}

static bool is_one_of(const struct cpu_msr *msrs, unsigned n, uint32_t index)
{
    while (n != 0)
        if (msrs[--n].index == index)
            return true;
    return false;
}

static bool is_filtered(const struct machine *m, const struct guest_kind *kind)
{
    /* The APIC's base is among those that the table does not know. */
    return kind->filter_msrs || m->hidden_apic;
}

/* Behind the others, not counted. */
static void add_efer(struct state_baseline *b, const struct snapshot *s)
{
    b->msrs[b->msrs_n] = (struct cpu_msr){.index = MSR_EFER, .value = s->sregs.efer ^ EFER_NXE};
}

int state_fit_baseline(struct state_baseline *b, struct machine *m, const struct snapshot *s, bool irqchip,
                       struct err *e)
{
    struct cpu_msr *msrs = calloc(b->msrs_n + SNAPSHOT_MSRS_MAX, sizeof(*msrs));
    bool apic = irqchip || m->hidden_apic;
    unsigned i, n = s->msrs_n;

    if (msrs == NULL)
        return err_memory(e, "MSRs");
    memcpy(msrs, s->msrs, n * sizeof(*msrs));
    for (i = 0; i < b->msrs_n; i++)
        if (!is_one_of(s->msrs, s->msrs_n, b->msrs[i].index))
            msrs[n++] = b->msrs[i];
    free(b->msrs);
    assert(n < b->msrs_n + SNAPSHOT_MSRS_MAX);
    b->msrs = msrs;
    b->msrs_n = n;
    add_efer(b, s);
    for (i = 0; kvm_parts[i].name != NULL; i++) {
        if (!(kvm_parts[i].id == KVM_PART_RUN && !apic) &&
            !(kvm_parts[i].id == KVM_PART_XCR0 && !machine_takes_xsave(m)))
            continue;
        free(b->parts[i]);
        b->parts[i] = NULL;
    }
    return 0;
}

void state_refit_baseline(struct state_baseline *b, const struct snapshot *old, const struct snapshot *s)
{
    struct cpu_sregs sregs = s->sregs;

    sregs.cr3 = old->sregs.cr3;
    b->untried = b->untried || memcmp(&sregs, &old->sregs, sizeof(sregs)) != 0;
    /* They come first, see above. */
    if (s->msrs_n != 0)
        memcpy(b->msrs, s->msrs, s->msrs_n * sizeof(*b->msrs));
    add_efer(b, s);
}

void state_choose_drop(struct state_baseline *b, struct machine *m, bool shadows)
{
    static const struct cpu_msr efer[] = {{.index = MSR_EFER, .value = EFER_NXE}, {.index = MSR_EFER}};
    struct err refused;

    if (shadows)
        b->drops = DROP_NOT;
    else /* Refused where the CPU has no NX, or it was turned off. */
        b->drops = machine_set_msrs(m, efer, 2, &refused) == 0 ? DROP_BY_EFER : DROP_BY_CR3;
}

/* --- general registers: a bare kernel's -------------------------------------------------------------- */

static int capture_regs(struct machine *m, const struct state_baseline *b, struct snapshot *s, struct err *e)
{
    (void)b;
    return s->bare != NULL ? machine_get_regs(m, &s->bare->start.regs, e) : 0;
}

static int restore_regs(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                        struct err *e)
{
    (void)b;
    return s->bare != NULL ? machine_set_regs(m, &s->bare->start.regs, e) : 0;
}

/* --- everything else: captured of a bare kernel, else reset ------------------------------------------ */

static int capture_parts(struct machine *m, const struct state_baseline *b, struct snapshot *s, struct err *e)
{
    const struct kvm_part *p;

    (void)b;
    for (p = kvm_parts; s->bare != NULL && p->name != NULL; p++)
        if (is_saved(p, s->bare) && p->get(m, add_record(s->bare, p->id, p->len), e) != 0)
            return -1;
    return 0;
}

/*
 * A run that was ended in the middle of things leaves a vCPU asleep in HLT,
 * which would sleep on in the next; an interrupt half delivered; or one in
 * service, behind which no other is let through.
 */
static int restore_some(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                        bool late, struct err *e)
{
    const struct bare_machine *saved = saved_machine(s);
    unsigned i;

    for (i = 0; kvm_parts[i].name != NULL; i++) {
        const struct kvm_part *p = &kvm_parts[i];
        const uint8_t *from = b != NULL ? b->parts[i] : NULL;
        uint32_t len;

        if (p->late != late)
            continue;
        if (saved != NULL && is_saved(p, saved))
            from = find_record(saved, p->id, &len);
        if (from == NULL || p->set(m, from, e) == 0)
            continue;
        if (saved == NULL)
            return -1;
        e->status = STATUS_IMAGE;
        return err_wrap(e, "snapshot: %s", p->name);
    }
    return 0;
}

static int restore_parts(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                         struct err *e)
{
    return restore_some(m, s, b, false, e);
}

static int restore_late(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                        struct err *e)
{
    return restore_some(m, s, b, true, e);
}

/* x87 and SSE as the ABI has them at entry, whatever KVM makes a new vCPU with; a saved machine's are a part. */
static int restore_fpu(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                       struct err *e)
{
    (void)b;
    return saved_machine(s) == NULL ? machine_reset_fpu(m, e) : 0;
}

/* In the order of a restore. `capture` NULL: not part of a snapshot, or part of what another row captures. */
static const struct {
    const char *name;
    int (*capture)(struct machine *m, const struct state_baseline *b, struct snapshot *s, struct err *e);
    int (*restore)(struct machine *m, const struct snapshot *s, const struct state_baseline *b,
                   struct err *e);
} rows[] = {
    /* A local APIC's reset takes CR8 with it, so system registers come later. */
    {"XCR0, debug registers, FPU, interrupt controllers", capture_parts, restore_parts},
    {"system registers", capture_sregs, restore_sregs},
    {"general registers", capture_regs, restore_regs},
    {"MSRs", capture_msrs, restore_msrs},
    {"FPU as after reset", NULL, restore_fpu},
    /* General registers take a pending exception with them; the clock has stood still until the end. */
    {"events, run state, kvmclock", NULL, restore_late},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

int state_capture(struct machine *m, const struct state_baseline *b, struct snapshot *out, struct err *e)
{
    unsigned i;

    for (i = 0; i < ROWS_N; i++)
        if (rows[i].capture != NULL && rows[i].capture(m, b, out, e) != 0)
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

/* Those of the table that do not go with the system registers. */
static int list_guest_msrs(struct machine *m, struct cpu_msr **out, unsigned *n, struct err *e)
{
    struct cpu_msr *msrs = calloc(GUEST_MSRS_N, sizeof(*msrs));
    unsigned i;

    if (msrs == NULL)
        return err_memory(e, "MSRs");
    *out = msrs;
    for (*n = i = 0; i < GUEST_MSRS_N; i++)
        if (guest_msr_is_captured(guest_msrs[i]))
            msrs[(*n)++].index = guest_msrs[i];
    return kvm_keep_msrs(m, msrs, n, e);
}

int state_take_baseline(struct state_baseline *out, int kvm_fd, struct machine *m,
                        const struct guest_kind *kind, enum part_of has, struct err *e)
{
    struct state_baseline b = {.msrs_n = 0};
    unsigned i;

    if ((kind != NULL && is_filtered(m, kind) ? list_guest_msrs(m, &b.msrs, &b.msrs_n, e)
                                              : kvm_list_msrs(kvm_fd, m, &b.msrs, &b.msrs_n, e)) != 0)
        goto fail;
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
    if (is_filtered(m, kind))
        return machine_filter_msrs(m, guest_msrs, GUEST_MSRS_N, e);
    machine_spare_banks(m);
    return 0;
}
