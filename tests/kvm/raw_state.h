/*
 * All of a machine's state as KVM tells it, by raw ioctls and with a list of
 * its own: read, compared, and dirtied as a hostile guest could. Shares nothing
 * with the table in hv/state that it judges.
 */
#ifndef TESTS_KVM_RAW_STATE_H
#define TESTS_KVM_RAW_STATE_H

#include <cpuid.h>
#include <stddef.h>
#include <time.h>

#include "tests/kvm/seam.h"

#define RAW_MSRS_MAX  600
#define RAW_PARTS_MAX 16
#define RAW_LEN_MAX   4096

struct raw_part {
    const char *name;
    bool vm;      /* of the machine, not of the vCPU */
    bool irqchip; /* there only with interrupt controllers */
    uint32_t get;
    size_t len;
    uint32_t chip; /* of KVM_GET_IRQCHIP */
};

/* General registers are set when the guest is entered: they come last, and are compared then. */
static const struct raw_part raw_parts[] = {
    {"KVM_GET_SREGS", false, false, (uint32_t)KVM_GET_SREGS, sizeof(struct kvm_sregs), 0},
    {"KVM_GET_SREGS2", false, false, (uint32_t)KVM_GET_SREGS2, sizeof(struct kvm_sregs2), 0},
    {"KVM_GET_FPU", false, false, (uint32_t)KVM_GET_FPU, sizeof(struct kvm_fpu), 0},
    {"KVM_GET_XSAVE", false, false, (uint32_t)KVM_GET_XSAVE, sizeof(struct kvm_xsave), 0},
    {"KVM_GET_XCRS", false, false, (uint32_t)KVM_GET_XCRS, sizeof(struct kvm_xcrs), 0},
    {"KVM_GET_DEBUGREGS", false, false, (uint32_t)KVM_GET_DEBUGREGS, sizeof(struct kvm_debugregs), 0},
    {"KVM_GET_VCPU_EVENTS", false, false, (uint32_t)KVM_GET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events), 0},
    {"KVM_GET_MP_STATE", false, false, (uint32_t)KVM_GET_MP_STATE, sizeof(struct kvm_mp_state), 0},
    {"KVM_GET_LAPIC", false, true, (uint32_t)KVM_GET_LAPIC, sizeof(struct kvm_lapic_state), 0},
    {"KVM_GET_IRQCHIP of the master PIC", true, true, (uint32_t)KVM_GET_IRQCHIP, sizeof(struct kvm_irqchip),
     KVM_IRQCHIP_PIC_MASTER},
    {"KVM_GET_IRQCHIP of the slave PIC", true, true, (uint32_t)KVM_GET_IRQCHIP, sizeof(struct kvm_irqchip),
     KVM_IRQCHIP_PIC_SLAVE},
    {"KVM_GET_IRQCHIP of the IOAPIC", true, true, (uint32_t)KVM_GET_IRQCHIP, sizeof(struct kvm_irqchip),
     KVM_IRQCHIP_IOAPIC},
    {"KVM_GET_REGS", false, false, (uint32_t)KVM_GET_REGS, sizeof(struct kvm_regs), 0},
};

#define RAW_PARTS_N (sizeof(raw_parts) / sizeof(raw_parts[0]))
#define RAW_REGS    (RAW_PARTS_N - 1)

struct raw_msr {
    uint32_t index;
    bool readable;
    bool moves;  /* by itself, as a clock does */
    bool denied; /* to the guest: nothing changes it */
    bool dirtied;
    uint64_t value;
};

struct raw_state {
    bool there[RAW_PARTS_N]; /* this KVM has the part */
    uint8_t part[RAW_PARTS_N][RAW_LEN_MAX] __attribute__((aligned(8)));
    struct raw_msr msrs[RAW_MSRS_MAX];
    unsigned msrs_n;
};

_Static_assert(sizeof(struct kvm_xsave) <= RAW_LEN_MAX && sizeof(struct kvm_lapic_state) <= RAW_LEN_MAX,
               "each part fits");

/* --- MSRs ------------------------------------------------------------------------------------------------ */

static inline bool raw_get_msr(const struct machine *m, uint32_t index, uint64_t *value)
{
    union {
        struct kvm_msrs k;
        uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } u = {.k = {.nmsrs = 1}};

    u.k.entries[0].index = index;
    if (__real_ioctl(m->vcpu_fd, (uint32_t)KVM_GET_MSRS, &u) != 1)
        return false;
    *value = u.k.entries[0].data;
    return true;
}

static inline bool raw_set_msr(const struct machine *m, uint32_t index, uint64_t value)
{
    union {
        struct kvm_msrs k;
        uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } u = {.k = {.nmsrs = 1}};

    u.k.entries[0].index = index;
    u.k.entries[0].data = value;
    return __real_ioctl(m->vcpu_fd, (uint32_t)KVM_SET_MSRS, &u) == 1;
}

/* What no list has, or not that of every KVM: memory types, two banks of machine checks, DEBUGCTL; and below others. */
static inline bool raw_is_unlisted(uint32_t index)
{
    return (index >= 0x200 && index < 0x210) || index == 0x250 || index == 0x258 || index == 0x259 ||
           (index >= 0x268 && index < 0x270) || index == 0x2ff || (index >= 0x400 && index < 0x408) ||
           index == 0x1d9;
}

/* Every index that KVM lists, plus those. */
static inline bool raw_list_msrs(int kvm_fd, struct raw_state *s)
{
    struct kvm_msr_list *list = calloc(1, sizeof(*list) + RAW_MSRS_MAX * sizeof(list->indices[0]));
    uint32_t index;
    unsigned i;
    bool listed;

    if (!CHECK(list != NULL))
        return false;
    list->nmsrs = RAW_MSRS_MAX - 64;
    listed = CHECK(__real_ioctl(kvm_fd, (uint32_t)KVM_GET_MSR_INDEX_LIST, list) == 0);
    s->msrs_n = listed ? list->nmsrs : 0;
    for (i = 0; i < s->msrs_n; i++)
        s->msrs[i] = (struct raw_msr){.index = list->indices[i]};
    free(list);
    if (!listed || !CHECK(s->msrs_n > 10))
        return false;
    for (index = 0; index < 0x500; index++)
        if (raw_is_unlisted(index))
            s->msrs[s->msrs_n++] = (struct raw_msr){.index = index};
    s->msrs[s->msrs_n++] = (struct raw_msr){.index = 0xc0010114};
    s->msrs[s->msrs_n++] = (struct raw_msr){.index = 0xc0011029};
    return true;
}

/* --- reading and comparing ------------------------------------------------------------------------------- */

/*
 * What is set on the run page is the vCPU's with its next KVM_RUN: have one
 * that runs nothing. It may leave its mark on XSTATE_BV, so what is compared
 * has to have been read after one as well.
 */
static inline void raw_settle(const struct machine *m)
{
    m->run->immediate_exit = 1;
    CHECK(__real_ioctl(m->vcpu_fd, (uint32_t)KVM_RUN, 0) != 0 && errno == EINTR);
    m->run->immediate_exit = 0;
    CHECK(m->run->kvm_dirty_regs == 0);
}

static inline bool raw_read_part(const struct machine *m, unsigned i, uint8_t *out)
{
    const struct raw_part *p = &raw_parts[i];

    if (m->run->kvm_dirty_regs != 0)
        raw_settle(m);
    memset(out, 0, RAW_LEN_MAX);
    if (p->get == (uint32_t)KVM_GET_IRQCHIP)
        ((struct kvm_irqchip *)(void *)out)->chip_id = p->chip;
    if (__real_ioctl(p->vm ? m->vm_fd : m->vcpu_fd, p->get, out) != 0)
        return false;
    /* MXCSR_MASK is no state, and what is there depends on whether the host has switched threads meanwhile. */
    if (p->get == (uint32_t)KVM_GET_XSAVE)
        memset(out + 28, 0, 4);
    return true;
}

/* All but the general registers; s->msrs lists what to read. */
static inline void raw_read(const struct machine *m, bool irqchip, struct raw_state *s)
{
    unsigned i;

    raw_settle(m);
    for (i = 0; i < RAW_REGS; i++)
        s->there[i] = (!raw_parts[i].irqchip || irqchip) && raw_read_part(m, i, s->part[i]);
    for (i = 0; i < s->msrs_n; i++)
        s->msrs[i].readable = raw_get_msr(m, s->msrs[i].index, &s->msrs[i].value);
}

static inline bool raw_compare_part(unsigned i, const uint8_t *a, const uint8_t *b)
{
    size_t at;

    for (at = 0; at < raw_parts[i].len; at++) {
        if (a[at] == b[at])
            continue;
        printf("# %s: byte %zu is 0x%02x, wanted 0x%02x\n", raw_parts[i].name, at, a[at], b[at]);
        return CHECK(false);
    }
    return CHECK(true);
}

/* Whether the machine is in state `wanted`, general registers aside; says what differs. */
static inline bool raw_is(const struct machine *m, bool irqchip, const struct raw_state *wanted)
{
    static uint8_t now[RAW_LEN_MAX] __attribute__((aligned(8)));
    bool same = true;
    unsigned i;

    raw_settle(m);
    for (i = 0; i < RAW_REGS; i++)
        if (wanted->there[i])
            same = CHECK(raw_read_part(m, i, now)) && raw_compare_part(i, now, wanted->part[i]) && same;
    (void)irqchip;
    for (i = 0; i < wanted->msrs_n; i++) {
        const struct raw_msr *w = &wanted->msrs[i];
        uint64_t value;

        if (!w->readable || w->moves)
            continue;
        if (!raw_get_msr(m, w->index, &value) || value != w->value) {
            printf("# MSR 0x%" PRIx32 " is 0x%" PRIx64 ", wanted 0x%" PRIx64 "\n", w->index, value, w->value);
            same = CHECK(false);
        }
    }
    return same;
}

/* --- dirtying -------------------------------------------------------------------------------------------- */

/* What was really changed since the test began, so that a test that changes nothing does not pass. */
struct raw_dirt {
    bool parts[RAW_PARTS_N];
    unsigned msrs_n;
};

/*
 * Hyper-V's are the host's alone while CPUID does not offer them: a guest's
 * access is a #GP. KVM lists them all the same, and some stay as they are set.
 */
static inline bool raw_is_hyperv(uint32_t index)
{
    return index >= 0x40000000 && index < 0x40000200;
}

/* Try values until KVM takes one that is not the old. */
static inline void raw_dirty_msr(const struct machine *m, struct raw_msr *msr, uint64_t seed)
{
    const uint64_t tries[] = {
        msr->value ^ 1,
        0x0007040600070406,                    /* a PAT */
        0xffff800000001000 + (seed & 0xff000), /* a canonical address */
        (seed & 0x7ffff000) | 1,
        msr->value ^ (seed & 0xff),
        msr->value + 0x100,
        msr->value ^ 0x800,
        0x1000,
        6,
        0,
        ~msr->value,
    };
    uint64_t now;
    unsigned i;

    for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        if (tries[i] == msr->value || !raw_set_msr(m, msr->index, tries[i]) ||
            !raw_get_msr(m, msr->index, &now) || now == msr->value)
            continue;
        msr->dirtied = true;
        return;
    }
}

static inline bool raw_set(const struct machine *m, bool vm, uint32_t request, const void *data)
{
    return __real_ioctl(vm ? m->vm_fd : m->vcpu_fd, request, data) == 0;
}

static inline void raw_dirty_fpu(const struct machine *m, uint64_t seed)
{
    /* x87 and SSE, with AVX, with protection keys. */
    static const uint64_t features[] = {0x207, 0x203, 7, 3};
    struct kvm_xsave x;
    uint8_t *area = (uint8_t *)x.region;
    unsigned i, f, keys_len = 0, keys_at = 0, c, d;

    /* Where the protection keys are, SDM 1, "Standard Format of XSAVE Area". */
    __cpuid_count(0xd, 9, keys_len, keys_at, c, d);
    for (f = 0; f < 4; f++) {
        if (f < 2 && (keys_len < 4 || keys_at > sizeof(x) - 4))
            continue;
        memset(&x, 0, sizeof(x));
        if (f < 2)
            memcpy(area + keys_at, &(uint32_t){(uint32_t)seed | 0x40}, 4);
        /* SDM 1, "Legacy Region of an XSAVE Area": FCW, tags, MXCSR, ST0-7, XMM0-15; YMM_Hi128 from 576 on. */
        area[0] = 0x7f;
        area[1] = 2;
        area[4] = 0xff;
        area[24] = 0xc0;
        area[25] = 0x9f;
        for (i = 32; i < 416; i++)
            area[i] = (i - 32) % 16 < 10 || i >= 160 ? (uint8_t)(seed >> (i % 8)) | 1 : 0;
        for (i = 576; i < 832 && (features[f] & 4) != 0; i++)
            area[i] = (uint8_t)(seed >> (i % 16)) | 1;
        memcpy(area + 512, &features[f], 8);
        if (raw_set(m, false, (uint32_t)KVM_SET_XSAVE, &x))
            return;
    }
}

static inline void raw_dirty_xcrs(const struct machine *m)
{
    static const uint64_t tries[] = {0x2e7, 0xe7, 0x1f, 7, 3};
    unsigned i;

    for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        const struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = tries[i]}}};

        if (raw_set(m, false, (uint32_t)KVM_SET_XCRS, &x))
            return;
    }
}

static inline void raw_dirty_sregs(const struct machine *m, bool irqchip, const struct raw_state *clean,
                                   uint64_t seed)
{
    struct kvm_sregs k;
    unsigned n;

    /* Less and less, until KVM takes it. */
    for (n = 0; n < 4; n++) {
        memcpy(&k, clean->part[0], sizeof(k));
        k.fs.base = seed & 0x7ffff000;
        k.gs.base = (seed >> 8) & 0x7ffff000;
        k.fs.selector = 0x10;
        k.gdt.base = seed & 0xffff0;
        k.gdt.limit = 0x77;
        k.idt.base = (seed >> 4) & 0xffff0;
        k.idt.limit = 0x177;
        k.cr2 = seed & 0xfffff000;
        k.tr.base ^= 0x1000;
        k.ldt =
            (struct kvm_segment){.base = 0x2000, .limit = 0xff, .selector = 0x28, .type = 2, .present = 1};
        if (n < 3)
            k.cr8 = 1 + seed % 15;
        if (n < 2) {
            k.cr0 ^= 8;    /* TS */
            k.cr4 ^= 0x84; /* PGE, TSD */
        }
        if (n < 1)
            k.interrupt_bitmap[0] |= (uint64_t)1 << 0x33;
        /* The local APIC off, SDM 3A, "IA32_APIC_BASE". */
        if (n < 1 && irqchip && seed % 4 == 0)
            k.apic_base ^= 0x800;
        if (raw_set(m, false, (uint32_t)KVM_SET_SREGS, &k))
            return;
    }
}

static inline void raw_dirty_events(const struct machine *m, bool irqchip, uint64_t seed)
{
    unsigned n;

    for (n = 0; n < 3; n++) {
        struct kvm_vcpu_events e = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};

        e.exception.injected = 1;
        e.exception.nr = 13;
        e.exception.has_error_code = 1;
        e.exception.error_code = (uint32_t)seed & 0xfff8;
        e.nmi.pending = 1;
        e.nmi.masked = 1;
        e.interrupt.shadow = 1;
        if (n < 2 && seed % 2 == 0) {
            e.exception.injected = 0;
            e.interrupt.injected = 1;
            e.interrupt.nr = 0x31;
        }
        if (n < 1 && irqchip) {
            e.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
            e.sipi_vector = 0x12;
        }
        if (raw_set(m, false, (uint32_t)KVM_SET_VCPU_EVENTS, &e))
            return;
    }
}

static inline void raw_dirty_chips(const struct machine *m, const struct raw_state *clean, uint64_t seed)
{
    struct kvm_lapic_state lapic;
    struct kvm_irqchip chip;
    unsigned i;

    for (i = 0; i < RAW_REGS; i++) {
        if (raw_parts[i].get != (uint32_t)KVM_GET_IRQCHIP)
            continue;
        memcpy(&chip, clean->part[i], sizeof(chip));
        if (raw_parts[i].chip == KVM_IRQCHIP_IOAPIC) {
            chip.chip.ioapic.redirtbl[seed % 24].bits = 0x0f00000000010030 | (seed & 0x8000);
            chip.chip.ioapic.irr |= 1u << seed % 24;
        } else {
            chip.chip.pic.imr ^= 0x5a;
            chip.chip.pic.isr |= 1u << seed % 8;
            chip.chip.pic.irq_base ^= 0x28;
            chip.chip.pic.elcr ^= 0x20;
        }
        raw_set(m, true, (uint32_t)KVM_SET_IRQCHIP, &chip);
    }
    for (i = 0; i < RAW_REGS; i++) {
        if (raw_parts[i].get != (uint32_t)KVM_GET_LAPIC)
            continue;
        /* SDM 3A, "Local APIC Register Address Map": TPR, LDR, SVR, ISR, IRR, LVT, initial count, divide. */
        memcpy(&lapic, clean->part[i], sizeof(lapic));
        lapic.regs[0x80] = 0x20;
        lapic.regs[0xd3] = 2;
        lapic.regs[0xf1] |= 1;
        lapic.regs[0x110] |= 4;
        lapic.regs[0x210 + 0x10] |= 8;
        lapic.regs[0x320] = 0x40;
        lapic.regs[0x350] = 0x41;
        lapic.regs[0x3e0] = 3;
        lapic.regs[0x383] = 0x7f;
        raw_set(m, false, (uint32_t)KVM_SET_LAPIC, &lapic);
    }
}

/* Everything a guest can reach, as far as KVM takes it; `clean` is what it was, `dirt` learns what was changed. */
static inline void raw_dirty_all(const struct machine *m, bool irqchip, struct raw_state *clean,
                                 uint64_t seed, struct raw_dirt *dirt)
{
    static uint8_t now[RAW_LEN_MAX] __attribute__((aligned(8)));
    const struct kvm_mp_state halted = {.mp_state = KVM_MP_STATE_HALTED};
    struct kvm_debugregs d = {
        .db = {seed & 0xffff0, 0x2000, 0x3000, 0x4000}, .dr6 = 0xffff0ff1, .dr7 = 0x455};
    struct kvm_regs r;
    unsigned i;

    memset(&r, 0x5a, sizeof(r));
    r.rip = 0x4000;
    r.rflags = 0x40cd7;
    dirt->msrs_n = 0;
    for (i = 0; i < clean->msrs_n; i++) {
        if (clean->msrs[i].readable && !clean->msrs[i].moves && !clean->msrs[i].denied &&
            !raw_is_hyperv(clean->msrs[i].index))
            raw_dirty_msr(m, &clean->msrs[i], seed);
        dirt->msrs_n += clean->msrs[i].dirtied;
    }
    raw_dirty_xcrs(m);
    raw_dirty_fpu(m, seed);
    raw_set(m, false, (uint32_t)KVM_SET_DEBUGREGS, &d);
    if (irqchip)
        raw_dirty_chips(m, clean, seed);
    raw_set(m, false, (uint32_t)KVM_SET_REGS, &r);
    raw_dirty_sregs(m, irqchip, clean, seed);
    raw_dirty_events(m, irqchip, seed);
    raw_set(m, false, (uint32_t)KVM_SET_MP_STATE, &halted);
    for (i = 0; i < RAW_REGS; i++)
        if (clean->there[i] && raw_read_part(m, i, now) && memcmp(now, clean->part[i], raw_parts[i].len) != 0)
            dirt->parts[i] = true;
}

/* --- what tells a reset from none ------------------------------------------------------------------- */

/* MSRs that a guest has for itself, ABI 9; the values are put there before the capture. */
static const struct {
    uint32_t index;
    uint64_t value;
} guests_own[] = {
    {0x00000174, 0x38},               /* SYSENTER_CS */
    {0x00000175, 0x12345000},         /* SYSENTER_ESP */
    {0x00000176, 0x23456000},         /* SYSENTER_EIP */
    {0xc0000081, 0x0013000800000000}, /* STAR */
    {0xc0000082, 0xffff800000345000}, /* LSTAR */
    {0xc0000083, 0xffff800000456000}, /* CSTAR */
    {0xc0000084, 0x0000000000047700}, /* SFMASK */
    {0xc0000102, 0xffff800000567000}, /* KERNEL_GS_BASE */
};

#define GUESTS_OWN_N (sizeof(guests_own) / sizeof(guests_own[0]))

#define MSR_TSC      0x10

/* Those that move although nothing runs are clocks. */
static inline void find_clocks(const struct machine *m, struct raw_state *s)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    unsigned i;

    nanosleep(&pause, NULL);
    for (i = 0; i < s->msrs_n; i++) {
        uint64_t value;

        /* This one only as the process takes CPU time, which it hardly does meanwhile. */
        if (s->msrs[i].index == 0x40000010)
            s->msrs[i].moves = true;
        if (!s->msrs[i].readable || !raw_get_msr(m, s->msrs[i].index, &value) || value == s->msrs[i].value)
            continue;
        s->msrs[i].moves = true;
        printf("# MSR 0x%" PRIx32 " moves by itself\n", s->msrs[i].index);
        /* TSC; Hyper-V's vCPU run time and reference counter */
        CHECK(s->msrs[i].index == MSR_TSC || s->msrs[i].index == 0x40000010 ||
              s->msrs[i].index == 0x40000020);
    }
}

/* Guests of a kind that is filtered may change the MSRs of that list: only_these_msrs. */
static inline void deny_others(struct raw_state *s)
{
    unsigned i, j;

    for (i = 0; i < s->msrs_n; i++) {
        s->msrs[i].denied = true;
        for (j = 0; j < GUESTS_OWN_N; j++)
            if (guests_own[j].index == s->msrs[i].index)
                s->msrs[i].denied = false;
    }
}

#endif
