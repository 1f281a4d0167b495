/* Registers of a vCPU, in and out of KVM. See kvm.h for the contract. */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "boot/x86.h"
#include "hv/kvm.h"
#include "hv/kvm_failed.h"
#include "mem/bytes.h"

#define SAME(type, member)                                                                                   \
    _Static_assert(offsetof(struct kvm_##type, member) == offsetof(struct cpu_##type, member) &&             \
                       sizeof(((struct kvm_##type *)0)->member) == sizeof(((struct cpu_##type *)0)->member), \
                   "registers are copied as they are")

SAME(regs, rax);
SAME(regs, rsp);
SAME(regs, r15);
SAME(regs, rflags);
SAME(segment, limit);
SAME(segment, selector);
SAME(segment, type);
SAME(segment, present);
SAME(segment, dpl);
SAME(segment, db);
SAME(segment, s);
SAME(segment, l);
SAME(segment, g);
SAME(segment, avl);
SAME(sregs, cs);
SAME(sregs, ds);
SAME(sregs, es);
SAME(sregs, fs);
SAME(sregs, gs);
SAME(sregs, ss);
SAME(sregs, tr);
SAME(sregs, ldt);
SAME(sregs, gdt.limit);
SAME(sregs, idt.limit);
SAME(sregs, cr0);
SAME(sregs, cr2);
SAME(sregs, cr3);
SAME(sregs, cr4);
SAME(sregs, cr8);
SAME(sregs, efer);
SAME(sregs, apic_base);
_Static_assert(sizeof(struct cpu_regs) == sizeof(struct kvm_regs), "registers are copied as they are");

/* The segments, which both structs start with. */
#define SEGMENTS_N (offsetof(struct cpu_sregs, gdt) / sizeof(struct cpu_segment))

static void to_kvm_sregs(const struct cpu_sregs *s, struct kvm_sregs *k)
{
    struct kvm_segment *segments = (struct kvm_segment *)(void *)k;
    unsigned i;

    *k = (struct kvm_sregs){.cr0 = 0};
    memcpy(k, s, sizeof(*s));
    for (i = 0; i < SEGMENTS_N; i++)
        segments[i].unusable = 0;
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

/* In the run page: KVM_RUN takes them from there, and machine_leave_out looks there at what the CPU has. */
static struct kvm_sregs *write_sregs(struct machine *m, const struct cpu_sregs *s)
{
    to_kvm_sregs(s, &m->run->s.regs.sregs);
    /* Without a local APIC, KVM_RUN takes CR8 from here, where the last run left its own. */
    m->run->cr8 = s->cr8;
    return &m->run->s.regs.sregs;
}

int machine_apply_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    struct kvm_sregs *k = write_sregs(m, s);

    m->run->kvm_dirty_regs &= ~(uint64_t)KVM_SYNC_X86_SREGS;
    if (KVM_CALL(m->vcpu_fd, KVM_SET_SREGS, k, e) == 0)
        return 0;
    if (errno == EINVAL)
        e->status = STATUS_IMAGE;
    return -1;
}

bool machine_defers_sregs(const struct machine *m)
{
    return (m->sync & KVM_SYNC_X86_SREGS) != 0;
}

int machine_put_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    if (!machine_defers_sregs(m))
        return machine_apply_sregs(m, s, e);
    write_sregs(m, s);
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
    struct kvm_segment *segments = (struct kvm_segment *)(void *)&k;
    unsigned i;

    if (machine_settle(m, e) != 0 || KVM_CALL(m->vcpu_fd, KVM_GET_SREGS, &k, e) != 0)
        return -1;
    for (i = 0; i < SEGMENTS_N; i++)
        segments[i].present = segments[i].present != 0 && segments[i].unusable == 0;
    memcpy(s, &k, sizeof(*s));
    return 0;
}

int machine_set_regs(struct machine *m, const struct cpu_regs *r, struct err *e)
{
    if (machine_leave_out(m, r->rip, e) != 0)
        return -1;
    if ((m->sync & KVM_SYNC_X86_REGS) == 0)
        return KVM_CALL(m->vcpu_fd, KVM_SET_REGS, unconst(r), e);
    memcpy(&m->run->s.regs.regs, r, sizeof(*r));
    m->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
    return 0;
}

int machine_get_regs(struct machine *m, struct cpu_regs *r, struct err *e)
{
    struct cpu_regs now;

    if (machine_settle(m, e) != 0)
        return -1;
    /* A run leaves them in the run page where that is asked for. */
    if (m->ran && (m->run->kvm_valid_regs & KVM_SYNC_X86_REGS) != 0)
        memcpy(&now, &m->run->s.regs.regs, sizeof(now));
    else if (KVM_CALL(m->vcpu_fd, KVM_GET_REGS, &now, e) != 0)
        return -1;
    *r = now;
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
    /*
     * The XSAVE area, SDM 1, "XSAVE-Managed State": FCW at 0, MXCSR at 24, XSTATE_BV at 512. What is not in
     * that becomes as after reset, but for protection keys (bit 9): they KVM leaves as they are.
     */
    static _Alignas(128) struct kvm_xsave x;
    uint8_t *area = (uint8_t *)x.region;

    store_le16(area, 0x37f);
    store_le32(area + 24, 0x1f80);
    store_le64(area + 512, m->no_keys ? 3 : 0x203);
    if (ioctl(m->vcpu_fd, KVM_SET_XSAVE, &x) == 0)
        return 0;
    if (errno != EINVAL || m->no_keys)
        return kvm_failed("KVM_SET_XSAVE", errno, e);
    m->no_keys = true;
    return machine_reset_fpu(m, e);
}
