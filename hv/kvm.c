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

void machine_close(struct machine *m)
{
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
        .flags = readonly && len != 0 ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = at.v,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };

    assert(num_is_page_aligned(at.v) && num_is_page_aligned(len));
    if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) != 0) {
        int errnum = errno;

        /* KVM may have a slot of its own there, which the number alone does not tell anybody. */
        if (errnum == EEXIST && num_overlap(at.v, len, APIC_ACCESS_PAGE, PAGE_LEN))
            return err_set_errno(e, STATUS_HOST, errnum,
                                 "kvm: KVM_SET_USER_MEMORY_REGION failed for slot %" PRIu32 " at 0x%" PRIx64
                                 "-0x%" PRIx64 ", over the APIC page 0x%x",
                                 slot, at.v, at.v + len, APIC_ACCESS_PAGE);
        return err_set_errno(e, STATUS_HOST, errnum,
                             "kvm: KVM_SET_USER_MEMORY_REGION failed for slot %" PRIu32 " at 0x%" PRIx64
                             "-0x%" PRIx64,
                             slot, at.v, at.v + len);
    }
    return 0;
}

static struct kvm_segment to_kvm_segment(const struct cpu_segment *s)
{
    return (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->type,
        .present = s->present,
        .dpl = s->dpl,
        .db = s->db,
        .s = s->s,
        .l = s->l,
        .g = s->g,
        .avl = s->avl,
    };
}

static struct cpu_segment from_kvm_segment(const struct kvm_segment *s)
{
    return (struct cpu_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->type,
        .dpl = s->dpl,
        .s = s->s != 0,
        .present = s->present != 0 && s->unusable == 0,
        .db = s->db != 0,
        .l = s->l != 0,
        .g = s->g != 0,
        .avl = s->avl != 0,
    };
}

int machine_set_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    struct kvm_sregs k = {
        .cs = to_kvm_segment(&s->cs),
        .ds = to_kvm_segment(&s->ds),
        .es = to_kvm_segment(&s->es),
        .fs = to_kvm_segment(&s->fs),
        .gs = to_kvm_segment(&s->gs),
        .ss = to_kvm_segment(&s->ss),
        .tr = to_kvm_segment(&s->tr),
        .ldt = to_kvm_segment(&s->ldt),
        .gdt = {.base = s->gdt.base, .limit = s->gdt.limit},
        .idt = {.base = s->idt.base, .limit = s->idt.limit},
        .cr0 = s->cr0,
        .cr2 = s->cr2,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .cr8 = s->cr8,
        .efer = s->efer,
        .apic_base = s->apic_base,
    };
    struct cpu_sregs back = {.cr0 = 0};

    if (ioctl(m->vcpu_fd, KVM_SET_SREGS, &k) != 0) {
        int errnum = errno;

        return err_set_errno(e, errnum == EINVAL ? STATUS_IMAGE : STATUS_HOST, errnum,
                             "kvm: KVM_SET_SREGS failed");
    }
    /* Without a local APIC, KVM_RUN takes CR8 from here, where the last run left its own. */
    m->run->cr8 = s->cr8;
    if (machine_get_sregs(m, &back, e) != 0)
        return -1;
    if ((s->cr0 & CR0_PG) != 0 && (s->efer & EFER_LME) == 0 && (back.cr0 & CR0_PG) == 0) {
        err_set(e, STATUS_UNSUPPORTED,
                "kvm: this host's KVM does not do 32-bit paging (CR0 0x%" PRIx64 " written, 0x%" PRIx64
                " read back)",
                s->cr0, back.cr0);
        return err_hint(e, "run it on a host with VT-x or AMD-V, or under QEMU with nested virtualisation");
    }
    if (back.cr0 != s->cr0 || back.efer != s->efer)
        return err_set(e, STATUS_UNSUPPORTED,
                       "kvm: this host's KVM refuses the guest's mode (CR0 0x%" PRIx64 " and EFER 0x%" PRIx64
                       " written, 0x%" PRIx64 " and 0x%" PRIx64 " read back)",
                       s->cr0, s->efer, back.cr0, back.efer);
    return 0;
}

int machine_get_sregs(struct machine *m, struct cpu_sregs *s, struct err *e)
{
    struct kvm_sregs k;

    if (ioctl(m->vcpu_fd, KVM_GET_SREGS, &k) != 0)
        return kvm_failed("KVM_GET_SREGS", errno, e);
    *s = (struct cpu_sregs){
        .cs = from_kvm_segment(&k.cs),
        .ds = from_kvm_segment(&k.ds),
        .es = from_kvm_segment(&k.es),
        .fs = from_kvm_segment(&k.fs),
        .gs = from_kvm_segment(&k.gs),
        .ss = from_kvm_segment(&k.ss),
        .tr = from_kvm_segment(&k.tr),
        .ldt = from_kvm_segment(&k.ldt),
        .gdt = {.base = k.gdt.base, .limit = k.gdt.limit},
        .idt = {.base = k.idt.base, .limit = k.idt.limit},
        .cr0 = k.cr0,
        .cr2 = k.cr2,
        .cr3 = k.cr3,
        .cr4 = k.cr4,
        .cr8 = k.cr8,
        .efer = k.efer,
        .apic_base = k.apic_base,
    };
    return 0;
}

int machine_set_regs(struct machine *m, const struct cpu_regs *r, struct err *e)
{
    struct kvm_regs k = {
        .rax = r->rax,
        .rbx = r->rbx,
        .rcx = r->rcx,
        .rdx = r->rdx,
        .rsi = r->rsi,
        .rdi = r->rdi,
        .rsp = r->rsp,
        .rbp = r->rbp,
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .rip = r->rip,
        .rflags = r->rflags,
    };

    if (ioctl(m->vcpu_fd, KVM_SET_REGS, &k) != 0)
        return kvm_failed("KVM_SET_REGS", errno, e);
    return 0;
}

int machine_get_regs(struct machine *m, struct cpu_regs *r, struct err *e)
{
    struct kvm_regs k;

    if (ioctl(m->vcpu_fd, KVM_GET_REGS, &k) != 0)
        return kvm_failed("KVM_GET_REGS", errno, e);
    *r = (struct cpu_regs){
        .rax = k.rax,
        .rbx = k.rbx,
        .rcx = k.rcx,
        .rdx = k.rdx,
        .rsi = k.rsi,
        .rdi = k.rdi,
        .rsp = k.rsp,
        .rbp = k.rbp,
        .r8 = k.r8,
        .r9 = k.r9,
        .r10 = k.r10,
        .r11 = k.r11,
        .r12 = k.r12,
        .r13 = k.r13,
        .r14 = k.r14,
        .r15 = k.r15,
        .rip = k.rip,
        .rflags = k.rflags,
    };
    return 0;
}

int machine_reset_fpu(struct machine *m, struct err *e)
{
    /* The XSAVE area, SDM 1, "XSAVE-Managed State": FCW at 0, MXCSR at 24, XSTATE_BV at 512. */
    struct kvm_xsave x = {0};
    uint8_t *area = (uint8_t *)x.region;

    store_le16(area, 0x37f);
    store_le32(area + 24, 0x1f80);
    store_le64(area + 512, 3);
    if (ioctl(m->vcpu_fd, KVM_SET_XSAVE, &x) != 0)
        return kvm_failed("KVM_SET_XSAVE", errno, e);
    return 0;
}

static void decode_io(struct kvm_run *r, struct exit *x)
{
    uint8_t *data = (uint8_t *)r + r->io.data_offset;

    x->kind = r->io.direction == KVM_EXIT_IO_OUT ? EXIT_OUT : EXIT_IN;
    x->port = r->io.port;
    x->width = r->io.size;
    x->count = r->io.count;
    x->data = data;
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
    int result;

    do
        result = ioctl(m->vcpu_fd, KVM_RUN, 0);
    while (result != 0 && errno == EAGAIN);
    if (result != 0) {
        int errnum = errno;

        if (errnum != EINTR)
            return kvm_failed("KVM_RUN", errnum, e);
        x.kind = wake_halted(m) ? EXIT_HLT : EXIT_INTERRUPTED;
        *out = x;
        return 0;
    }
    switch (r->exit_reason) {
    case KVM_EXIT_IO: decode_io(r, &x); break;
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

int machine_finish(struct machine *m, struct err *e)
{
    unsigned i;
    int result = 0, errnum = 0;

    machine_kick(m);
    for (i = 0; i < FINISH_MAX && result == 0; i++) {
        do
            result = ioctl(m->vcpu_fd, KVM_RUN, 0);
        while (result != 0 && errno == EAGAIN);
        errnum = errno;
    }
    machine_unkick(m);
    if (result == 0)
        return err_set(e, STATUS_HOST, "kvm: an instruction of the guest cannot be finished (%u exits)", i);
    return errnum == EINTR ? 0 : kvm_failed("KVM_RUN", errnum, e);
}

int machine_set_irq(struct machine *m, unsigned line, bool level, struct err *e)
{
    struct kvm_irq_level l = {.irq = line, .level = level};

    if (ioctl(m->vm_fd, KVM_IRQ_LINE, &l) != 0)
        return kvm_failed("KVM_IRQ_LINE", errno, e);
    return 0;
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
