/* A machine that was made: slots, registers, runs. See kvm.h for the contract. */
#include "hv/kvm.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/x86.h"
#include "hv/kvm_failed.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/layout.h"
#include "mem/num.h"

/* KVM re-enters the guest after 1,024 rounds of a string instruction, each of which may take a few exits. */
#define FINISH_MAX 16384

int kvm_failed(const char *name, int errnum, struct err *e)
{
    return err_set_errno(e, STATUS_HOST, errnum, "kvm: %s failed", name);
}

int kvm_call(int fd, unsigned long request, void *arg, const char *name, struct err *e)
{
    int result = ioctl(fd, (int)request, arg);

    return result >= 0 ? result : kvm_failed(name, errno, e);
}

void machine_close(struct machine *m)
{
    dirty_close(m);
    if (m->run != NULL)
        munmap(m->run, m->run_len);
    if (m->vcpu_fd >= 0)
        close(m->vcpu_fd);
    if (m->vm_fd >= 0)
        close(m->vm_fd);
    *m = MACHINE_CLOSED;
}

int machine_set_slot(struct machine *m, uint32_t slot, struct gpa at, uint64_t len, const void *host,
                     bool readonly, struct err *e)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = len == 0                   ? 0
                 : readonly                 ? KVM_MEM_READONLY
                 : m->dirty.by != DIRTY_NOT ? KVM_MEM_LOG_DIRTY_PAGES
                                            : 0,
        .guest_phys_addr = at.v,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };

    assert(num_is_page_aligned(at.v) && num_is_page_aligned(len));
    if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) != 0) {
        /* KVM may have a slot of its own there, which the number alone does not tell anybody. */
        bool over_apic = errno == EEXIST && num_overlap(at.v, len, APIC_ACCESS_PAGE, PAGE_LEN);

        _Static_assert(APIC_ACCESS_PAGE == 0xfee00000u, "the number in the message");
        err_host(
            e, "kvm: KVM_SET_USER_MEMORY_REGION failed for slot %" PRIu32 " at 0x%" PRIx64 "-0x%" PRIx64 "%s",
            slot, at.v, at.v + len, over_apic ? ", over the APIC page 0xfee00000" : "");
        return -1;
    }
    return 0;
}

static void decode_io(struct machine *m, struct exit *x)
{
    struct kvm_run *r = m->run;
    uint8_t *data = (uint8_t *)r + r->io.data_offset;

    x->kind = r->io.direction == KVM_EXIT_IO_OUT ? EXIT_OUT : EXIT_IN;
    x->port = r->io.port;
    x->width = r->io.size;
    x->count = r->io.count;
    x->data = data;
    /*
     * KVM has stepped over an OUT that it emulated, and steps over any other, if RIP is still there. With TF set
     * a step leaves its mark in DR6: that has to come before debug registers are put back. With IF set an STI may
     * be just before, and its shadow ends with the step only: with IF clear, as in the next call, Intel's CPUs
     * enter no guest in one (SDM 3C, "Checks on Guest Non-Register State").
     */
    m->after_out = x->kind == EXIT_OUT;
    m->out_is_plain = r->kvm_valid_regs != 0 && (r->s.regs.regs.rflags & (RFLAGS_TF | RFLAGS_IF)) == 0;
    m->out_rip = r->s.regs.regs.rip;
    m->out_base = r->s.regs.sregs.cs.base;
    if (x->kind == EXIT_OUT)
        x->value = x->width == 1 ? data[0] : x->width == 2 ? load_le16(data) : load_le32(data);
}

static void decode_mmio(struct kvm_run *r, struct exit *x)
{
    x->kind = r->mmio.is_write ? EXIT_MMIO_WRITE : EXIT_MMIO_READ;
    x->gpa = r->mmio.phys_addr;
    x->width = (uint8_t)r->mmio.len;
    x->data = r->mmio.data;
    if (r->mmio.is_write)
        x->value = load_le32(r->mmio.data);
}

static void decode_internal(const struct kvm_run *r, struct exit *x)
{
    x->reason = r->internal.suberror;
    x->kind = r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? EXIT_EMULATION : EXIT_INTERNAL;
    /* data[0] holds the flags when ndata says there are any; instruction bytes follow their length. */
    if (x->kind == EXIT_EMULATION && r->emulation_failure.ndata >= 3 &&
        (r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
        x->insn_len = r->emulation_failure.insn_size;
        if (x->insn_len > EXIT_INSN_MAX)
            x->insn_len = EXIT_INSN_MAX;
        memcpy(x->insn, r->emulation_failure.insn_bytes, x->insn_len);
    }
}

/* Whether the vCPU sleeps in a HLT that KVM took for itself; it is awake then. */
static bool wake_halted(struct machine *m)
{
    struct kvm_mp_state state;

    if (!m->hidden_apic || ioctl(m->vcpu_fd, KVM_GET_MP_STATE, &state) != 0 ||
        state.mp_state != KVM_MP_STATE_HALTED)
        return false;
    state.mp_state = KVM_MP_STATE_RUNNABLE;
    return ioctl(m->vcpu_fd, KVM_SET_MP_STATE, &state) == 0;
}

int machine_run(struct machine *m, struct exit *out, struct err *e)
{
    struct kvm_run *r = m->run;
    struct exit x = {.count = 1};
    int result, relieved = 0;

    m->after_out = false;
    m->ran = true;
    do
        result = ioctl(m->vcpu_fd, KVM_RUN, 0);
    while (result != 0 ? errno == EAGAIN : (relieved = dirty_relieve(m, e)) == 1);
    m->broken = relieved < 0 || (result != 0 && errno != EINTR);
    if (relieved < 0)
        return -1;
    if (result != 0) {
        if (m->broken)
            return kvm_failed("KVM_RUN", errno, e);
        x.kind = wake_halted(m) ? EXIT_HLT : EXIT_INTERRUPTED;
        *out = x;
        return 0;
    }
    switch (r->exit_reason) {
    case KVM_EXIT_IO: decode_io(m, &x); break;
    case KVM_EXIT_MMIO: decode_mmio(r, &x); break;
    case KVM_EXIT_HLT: x.kind = EXIT_HLT; break;
    case KVM_EXIT_SHUTDOWN: x.kind = EXIT_SHUTDOWN; break;
    case KVM_EXIT_INTR: x.kind = EXIT_INTERRUPTED; break;
    case KVM_EXIT_FAIL_ENTRY:
        x.kind = EXIT_FAIL_ENTRY;
        x.reason = r->fail_entry.hardware_entry_failure_reason;
        break;
    case KVM_EXIT_INTERNAL_ERROR: decode_internal(r, &x); break;
    default:
        x.kind = EXIT_OTHER;
        x.reason = r->exit_reason;
        break;
    }
    *out = x;
    return 0;
}

/* Have KVM do what is left to do of the last exit. */
static int finish(struct machine *m, struct err *e)
{
    unsigned i;
    int result = 0, errnum = 0;

    m->after_out = false;
    machine_kick(m);
    for (i = 0; i < FINISH_MAX && result == 0; i++) {
        do
            result = ioctl(m->vcpu_fd, KVM_RUN, 0);
        while (result != 0 && errno == EAGAIN);
        errnum = errno;
        /* Such a run does not stop for a full ring. */
        if (result == 0 && m->dirty.ring != NULL && dirty_protect_ring(m, e) != 0) {
            machine_unkick(m);
            return -1;
        }
    }
    machine_unkick(m);
    if (result == 0)
        return err_set(e, STATUS_HOST, "kvm: an instruction of the guest cannot be finished (%u exits)", i);
    return errnum == EINTR ? 0 : kvm_failed("KVM_RUN", errnum, e);
}

int machine_finish(struct machine *m, struct err *e)
{
    if (!m->after_out || !m->out_is_plain)
        return finish(m, e);
    machine_unkick(m);
    return 0;
}

int machine_leave_out(struct machine *m, uint64_t rip, struct err *e)
{
    bool elsewhere = m->out_is_plain && m->out_base == 0 && m->run->s.regs.sregs.cs.base == 0 &&
                     (uint32_t)rip != (uint32_t)m->out_rip;

    return !m->after_out || elsewhere ? 0 : finish(m, e);
}

int machine_set_irq(struct machine *m, unsigned line, bool level, struct err *e)
{
    struct kvm_irq_level l = {.irq = line, .level = level};

    return KVM_CALL(m->vm_fd, KVM_IRQ_LINE, &l, e);
}

int machine_pulse_irq0(struct machine *m, struct err *e)
{
    if (machine_set_irq(m, 0, true, e) != 0)
        return -1;
    return machine_set_irq(m, 0, false, e);
}

bool machine_translate(struct machine *m, struct gva va, struct gpa *pa)
{
    struct kvm_translation t = {.linear_address = va.v};

    if (ioctl(m->vcpu_fd, KVM_TRANSLATE, &t) != 0 || t.valid == 0)
        return false;
    *pa = gpa_make(t.physical_address);
    return true;
}

void machine_kick(struct machine *m)
{
    ((volatile struct kvm_run *)m->run)->immediate_exit = 1;
}

void machine_unkick(struct machine *m)
{
    ((volatile struct kvm_run *)m->run)->immediate_exit = 0;
}
