/* Registers of a vCPU, in and out of KVM. See kvm.h for the contract. */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "boot/x86.h"
#include "hv/kvm.h"
#include "hv/kvm_failed.h"
#include "mem/bytes.h"

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

/* Both structs start with their eight segments, in the same order. */
#define SEGMENTS_N 8

_Static_assert(offsetof(struct kvm_sregs, ldt) == (SEGMENTS_N - 1) * sizeof(struct kvm_segment) &&
                   offsetof(struct cpu_sregs, ldt) == (SEGMENTS_N - 1) * sizeof(struct cpu_segment) &&
                   offsetof(struct kvm_sregs, tr) == (SEGMENTS_N - 2) * sizeof(struct kvm_segment) &&
                   offsetof(struct cpu_sregs, tr) == (SEGMENTS_N - 2) * sizeof(struct cpu_segment),
               "segments are an array");

static void to_kvm_sregs(const struct cpu_sregs *s, struct kvm_sregs *k)
{
    const struct cpu_segment *from = (const struct cpu_segment *)(const void *)s;
    struct kvm_segment *to = (struct kvm_segment *)(void *)k;
    unsigned i;

    *k = (struct kvm_sregs){
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
    for (i = 0; i < SEGMENTS_N; i++)
        to[i] = to_kvm_segment(&from[i]);
}

int machine_settle(struct machine *m, struct err *e)
{
    int result;

    if (m->run->kvm_dirty_regs == 0)
        return 0;
    machine_kick(m);
    result = ioctl(m->vcpu_fd, KVM_RUN, 0);
    if (result != 0 && errno == EINTR)
        result = 0;
    else
        kvm_failed("KVM_RUN", errno, e);
    machine_unkick(m);
    return result != 0 || m->run->kvm_dirty_regs != 0 ? -1 : 0;
}

int machine_apply_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    struct kvm_sregs k;

    to_kvm_sregs(s, &k);
    /* Without a local APIC, KVM_RUN takes CR8 from here, where the last run left its own. */
    m->run->cr8 = s->cr8;
    m->run->kvm_dirty_regs &= ~(uint64_t)KVM_SYNC_X86_SREGS;
    if (ioctl(m->vcpu_fd, KVM_SET_SREGS, &k) != 0) {
        int errnum = errno;

        return err_set_errno(e, errnum == EINVAL ? STATUS_IMAGE : STATUS_HOST, errnum,
                             "kvm: KVM_SET_SREGS failed");
    }
    return 0;
}

int machine_put_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    if ((m->sync & KVM_SYNC_X86_SREGS) == 0)
        return machine_apply_sregs(m, s, e);
    to_kvm_sregs(s, &m->run->s.regs.sregs);
    m->run->cr8 = s->cr8;
    m->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
    return 0;
}

int machine_set_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    struct cpu_sregs back = {.cr0 = 0};

    if (machine_apply_sregs(m, s, e) != 0 || machine_get_sregs(m, &back, e) != 0)
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
    const struct kvm_segment *from = (const struct kvm_segment *)(const void *)&k;
    struct cpu_segment *to = (struct cpu_segment *)(void *)s;
    unsigned i;

    if (machine_settle(m, e) != 0)
        return -1;
    if (ioctl(m->vcpu_fd, KVM_GET_SREGS, &k) != 0)
        return kvm_failed("KVM_GET_SREGS", errno, e);
    *s = (struct cpu_sregs){
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
    for (i = 0; i < SEGMENTS_N; i++)
        to[i] = from_kvm_segment(&from[i]);
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

    if (machine_leave_out(m, r->rip, e) != 0)
        return -1;
    if ((m->sync & KVM_SYNC_X86_REGS) != 0) {
        m->run->s.regs.regs = k;
        m->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
        return 0;
    }
    if (ioctl(m->vcpu_fd, KVM_SET_REGS, &k) != 0)
        return kvm_failed("KVM_SET_REGS", errno, e);
    return 0;
}

int machine_get_regs(struct machine *m, struct cpu_regs *r, struct err *e)
{
    struct kvm_regs k;

    if (machine_settle(m, e) != 0)
        return -1;
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

bool machine_takes_xsave(struct machine *m)
{
    struct kvm_sregs k;
    bool takes;

    /* Refused has to be the one bit, and nothing else of what is there. */
    if (ioctl(m->vcpu_fd, KVM_GET_SREGS, &k) != 0 || ioctl(m->vcpu_fd, KVM_SET_SREGS, &k) != 0)
        return true;
    k.cr4 |= CR4_OSXSAVE;
    takes = ioctl(m->vcpu_fd, KVM_SET_SREGS, &k) == 0;
    k.cr4 &= ~(uint64_t)CR4_OSXSAVE;
    if (takes)
        ioctl(m->vcpu_fd, KVM_SET_SREGS, &k);
    return takes;
}

int machine_reset_fpu(struct machine *m, struct err *e)
{
    /* The XSAVE area, SDM 1, "XSAVE-Managed State": FCW at 0, MXCSR at 24, XSTATE_BV at 512. */
    static struct kvm_xsave x;
    uint8_t *area = (uint8_t *)x.region;

    store_le16(area, 0x37f);
    store_le32(area + 24, 0x1f80);
    store_le64(area + 512, 3);
    if (ioctl(m->vcpu_fd, KVM_SET_XSAVE, &x) != 0)
        return kvm_failed("KVM_SET_XSAVE", errno, e);
    return 0;
}
