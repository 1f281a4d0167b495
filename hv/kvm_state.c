/* State beside the registers. See kvm_state.h. */
#include "hv/kvm_state.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm_failed.h"
#include "mem/assert.h"

#define PIC_MASTER   0
#define PIC_SLAVE    1
#define IOAPIC       2

#define MSRS_AT_ONCE 255u /* KVM takes less than 256 */

/* SDM 3B, "Machine-Check MSRs" */
#define MSR_MCG_CAP  0x179u /* its low byte: how many banks */
#define MSR_BANKS    0x400u
#define MSRS_OF_BANK 4

#define VCPU_PART(part, GET, SET)                                           \
    static int get_##part(struct machine *m, void *out, struct err *e)      \
    {                                                                       \
        return kvm_call(m->vcpu_fd, GET, out, #GET, e);                     \
    }                                                                       \
    static int set_##part(struct machine *m, const void *in, struct err *e) \
    {                                                                       \
        return kvm_call(m->vcpu_fd, SET, unconst(in), #SET, e);             \
    }

VCPU_PART(xcrs, KVM_GET_XCRS, KVM_SET_XCRS)
VCPU_PART(debugregs, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS)
VCPU_PART(mp_state, KVM_GET_MP_STATE, KVM_SET_MP_STATE)
VCPU_PART(lapic, KVM_GET_LAPIC, KVM_SET_LAPIC)
VCPU_PART(xsave, KVM_GET_XSAVE, KVM_SET_XSAVE)

static int get_events(struct machine *m, void *out, struct err *e)
{
    return machine_settle(m, e) == 0 ? KVM_CALL(m->vcpu_fd, KVM_GET_VCPU_EVENTS, out, e) : -1;
}

static int set_events(struct machine *m, const void *in, struct err *e)
{
    if ((m->sync & KVM_SYNC_X86_EVENTS) == 0)
        return KVM_CALL(m->vcpu_fd, KVM_SET_VCPU_EVENTS, unconst(in), e);
    memcpy(&m->run->s.regs.events, in, sizeof(struct kvm_vcpu_events));
    m->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
    return 0;
}

static int get_chip(struct machine *m, uint32_t id, void *out, struct err *e)
{
    struct kvm_irqchip *chip = (struct kvm_irqchip *)out;

    memset(chip, 0, sizeof(*chip));
    chip->chip_id = id;
    return KVM_CALL(m->vm_fd, KVM_GET_IRQCHIP, chip, e);
}

static int set_chip(struct machine *m, const void *in, struct err *e)
{
    return KVM_CALL(m->vm_fd, KVM_SET_IRQCHIP, unconst(in), e);
}

static int get_pic_master(struct machine *m, void *out, struct err *e)
{
    return get_chip(m, PIC_MASTER, out, e);
}

static int get_pic_slave(struct machine *m, void *out, struct err *e)
{
    return get_chip(m, PIC_SLAVE, out, e);
}

static int get_ioapic(struct machine *m, void *out, struct err *e)
{
    return get_chip(m, IOAPIC, out, e);
}

static int get_pit(struct machine *m, void *out, struct err *e)
{
    return KVM_CALL(m->vm_fd, KVM_GET_PIT2, out, e);
}

static int set_pit(struct machine *m, const void *in, struct err *e)
{
    return KVM_CALL(m->vm_fd, KVM_SET_PIT2, unconst(in), e);
}

/* Of kvmclock only the time: it goes on from there, however long the guest was away. */
static int get_clock(struct machine *m, void *out, struct err *e)
{
    struct kvm_clock_data now;

    if (KVM_CALL(m->vm_fd, KVM_GET_CLOCK, &now, e) != 0)
        return -1;
    memcpy(out, &now.clock, sizeof(now.clock));
    return 0;
}

static int set_clock(struct machine *m, const void *in, struct err *e)
{
    struct kvm_clock_data then = {.flags = 0};

    memcpy(&then.clock, in, sizeof(then.clock));
    return KVM_CALL(m->vm_fd, KVM_SET_CLOCK, &then, e);
}

bool machine_sleeps(struct machine *m)
{
    struct kvm_mp_state state;
    struct err ignored;

    return get_mp_state(m, &state, &ignored) == 0 && state.mp_state == KVM_MP_STATE_HALTED;
}

bool kvm_part_is_sane(const struct kvm_part *p, const uint8_t *bytes)
{
    struct kvm_mp_state state;

    /* Waiting for another processor's word, the only one would wait for ever. */
    if (p->set != set_mp_state)
        return true;
    memcpy(&state, bytes, sizeof(state));
    return state.mp_state == KVM_MP_STATE_RUNNABLE || state.mp_state == KVM_MP_STATE_HALTED;
}

const struct kvm_part kvm_parts[] = {
    {"XCR0", sizeof(struct kvm_xcrs), PART_OF_ALL, KVM_PART_XCR0, false, get_xcrs, set_xcrs},
    {"debug registers", sizeof(struct kvm_debugregs), PART_OF_ALL, 2, false, get_debugregs, set_debugregs},
    {"x87, SSE and more", sizeof(struct kvm_xsave), PART_OF_SAVED, 3, false, get_xsave, set_xsave},
    {"local APIC", sizeof(struct kvm_lapic_state), PART_OF_IRQCHIP, 4, false, get_lapic, set_lapic},
    {"master PIC", sizeof(struct kvm_irqchip), PART_OF_IRQCHIP, 5, false, get_pic_master, set_chip},
    {"slave PIC", sizeof(struct kvm_irqchip), PART_OF_IRQCHIP, 6, false, get_pic_slave, set_chip},
    {"IOAPIC", sizeof(struct kvm_irqchip), PART_OF_IRQCHIP, 7, false, get_ioapic, set_chip},
    {"PIT", sizeof(struct kvm_pit_state2), PART_OF_PIT, 8, false, get_pit, set_pit},
    {"pending events", sizeof(struct kvm_vcpu_events), PART_OF_ALL, 9, true, get_events, set_events},
    {"run state", sizeof(struct kvm_mp_state), PART_OF_ALL, KVM_PART_RUN, true, get_mp_state, set_mp_state},
    {"kvmclock", sizeof(uint64_t), PART_OF_SAVED, 11, true, get_clock, set_clock},
    {NULL, 0, PART_OF_ALL, 0, false, NULL, NULL},
};

/* KVM's form of a list of MSRs, NULL without memory. */
static struct kvm_msrs *make_msrs(const struct cpu_msr *msrs, unsigned n)
{
    struct kvm_msrs *k = calloc(1, sizeof(*k) + n * sizeof(k->entries[0]));
    unsigned i;

    if (k == NULL)
        return NULL;
    k->nmsrs = n;
    for (i = 0; i < n; i++) {
        k->entries[i].index = msrs[i].index;
        k->entries[i].data = msrs[i].value;
    }
    return k;
}

/* KVM_GET_MSRS and KVM_SET_MSRS stop at the first they refuse and return how many they did. */
static int move_msrs(struct machine *m, struct kvm_msrs *k, unsigned long request, const char *name,
                     struct err *e)
{
    unsigned n = k->nmsrs;
    int done = kvm_call(m->vcpu_fd, request, k, name, e);

    if (done < 0) {
        if (errno == EINVAL)
            e->status = STATUS_IMAGE;
        return -1;
    }
    if ((unsigned)done != n)
        return err_image(e, "kvm: %s refuses MSR 0x%" PRIx32, name, k->entries[done].index);
    return 0;
}

int machine_get_msrs(struct machine *m, struct cpu_msr *msrs, unsigned n, struct err *e)
{
    struct kvm_msrs *k = make_msrs(msrs, n);
    int result;
    unsigned i;

    if (k == NULL)
        return err_memory(e, "MSRs");
    result = move_msrs(m, k, KVM_GET_MSRS, "KVM_GET_MSRS", e);
    for (i = 0; result == 0 && i < n; i++)
        msrs[i].value = k->entries[i].data;
    free(k);
    return result;
}

int machine_set_msrs(struct machine *m, const struct cpu_msr *msrs, unsigned n, struct err *e)
{
    int result = 0;

    while (n != 0 && result == 0) {
        unsigned now = n < MSRS_AT_ONCE ? n : MSRS_AT_ONCE;
        struct kvm_msrs *k = make_msrs(msrs, now);

        result = k == NULL ? err_memory(e, "MSRs") : move_msrs(m, k, KVM_SET_MSRS, "KVM_SET_MSRS", e);
        free(k);
        msrs += now;
        n -= now;
    }
    return result;
}

void machine_spare_banks(struct machine *m)
{
    uint64_t one = 1;

    ioctl(m->vcpu_fd, (int)KVM_X86_SETUP_MCE, &one);
}

/* One or the other, as many at a time as KVM takes: it stops at one it refuses, which is dropped. */
static int keep_msrs(struct machine *m, struct cpu_msr *msrs, unsigned *n, unsigned long request,
                     const char *name, struct err *e)
{
    unsigned at = 0, i;

    while (at < *n) {
        unsigned asked = *n - at < MSRS_AT_ONCE ? *n - at : MSRS_AT_ONCE;
        struct kvm_msrs *k = make_msrs(msrs + at, asked);
        int done;

        if (k == NULL)
            return err_memory(e, "MSRs");
        done = kvm_call(m->vcpu_fd, request, k, name, e);
        for (i = 0; (int)i < done; i++)
            msrs[at++].value = k->entries[i].data;
        free(k);
        if (done < 0)
            return -1;
        if (i != asked)
            memmove(&msrs[at], &msrs[at + 1], (--*n - at) * sizeof(*msrs));
    }
    return 0;
}

int kvm_keep_msrs(struct machine *m, struct cpu_msr *msrs, unsigned *n, struct err *e)
{
    return keep_msrs(m, msrs, n, KVM_GET_MSRS, "KVM_GET_MSRS", e) != 0
               ? -1
               : keep_msrs(m, msrs, n, KVM_SET_MSRS, "KVM_SET_MSRS", e);
}

/* Those that a guest can write to although KVM lists them nowhere, or not in every version. */
static unsigned add_unlisted(struct machine *m, struct cpu_msr *msrs, unsigned n)
{
    static const struct {
        uint32_t first, n;
    } ranges[] = {
        {0x200, 16},     {0x250, 1},      {0x258, 2}, {0x268, 8}, {0x2ff, 1}, /* memory types */
        {0x1d9, 1},                                                           /* DEBUGCTL */
        {0x8c, 4},                                                            /* keys of SGX */
        {0xc0010114, 1}, {0xc0011029, 1},                                     /* VM_CR, DE_CFG */
        {MSR_BANKS, 0},
    };
    struct cpu_msr banks = {.index = MSR_MCG_CAP};
    struct err refused;
    unsigned i, j;

    if (machine_get_msrs(m, &banks, 1, &refused) != 0)
        banks.value = 0;
    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        uint64_t of = ranges[i].n != 0 ? ranges[i].n : MSRS_OF_BANK * (banks.value & 0xff);

        for (j = 0; j < of && n < KVM_MSRS_MAX; j++)
            msrs[n++].index = ranges[i].first + j;
    }
    return n;
}

int kvm_list_msrs(int kvm_fd, struct machine *m, struct cpu_msr **out, unsigned *n, struct err *e)
{
    struct kvm_msr_list *list = calloc(1, sizeof(*list) + KVM_MSRS_MAX * sizeof(list->indices[0]));
    struct cpu_msr *msrs = calloc(KVM_MSRS_MAX, sizeof(*msrs));
    unsigned i;
    int result = -1;

    if (list == NULL || msrs == NULL) {
        err_memory(e, "MSRs");
        goto out;
    }
    list->nmsrs = KVM_MSRS_MAX;
    if (KVM_CALL(kvm_fd, KVM_GET_MSR_INDEX_LIST, list, e) != 0)
        goto out;
    for (i = 0; i < list->nmsrs; i++)
        msrs[i].index = list->indices[i];
    i = add_unlisted(m, msrs, i);
    if (kvm_keep_msrs(m, msrs, &i, e) != 0)
        goto out;
    *out = msrs;
    *n = i;
    msrs = NULL;
    result = 0;
out:
    free(list);
    free(msrs);
    return result;
}

#define RANGE_MSRS 512

int machine_filter_msrs(struct machine *m, const uint32_t *allowed, unsigned n, struct err *e)
{
    uint8_t bits[KVM_FILTER_MAX + 1][RANGE_MSRS / 8] = {{0}};
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
    /* KVM copies each range by itself, so as many as go are in one. It wants one, also if that allows none. */
    struct kvm_msr_filter_range next = {.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, .nmsrs = 1},
                                *r = filter.ranges;
    unsigned i;

    assert(n <= KVM_FILTER_MAX && KVM_FILTER_MAX < KVM_MSR_FILTER_MAX_RANGES);
    if (ioctl(m->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) <= 0) {
        err_set(e, STATUS_UNSUPPORTED, "kvm: missing capability KVM_CAP_X86_MSR_FILTER");
        return err_hint(e, "use a newer kernel (Linux 5.10 or later)");
    }
    next.bitmap = bits[0];
    *r = next;
    for (i = 0; i < n; i++) {
        uint32_t at = allowed[i] - r->base;

        if (at >= RANGE_MSRS) {
            next.base = allowed[i];
            next.bitmap += sizeof(bits[0]);
            *++r = next;
            at = 0;
        }
        r->nmsrs = at + 1;
        r->bitmap[at / 8] |= (uint8_t)(1u << at % 8);
    }
    return KVM_CALL(m->vm_fd, KVM_X86_SET_MSR_FILTER, &filter, e);
}
