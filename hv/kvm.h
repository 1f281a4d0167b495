/*
 * The only user of <linux/kvm.h>: one virtual machine with one vCPU, as plain
 * data in and out. Nothing here knows what a guest is.
 *
 * Every ioctl's result is checked and its name is in the message. Failures
 * are STATUS_HOST, and STATUS_UNSUPPORTED where this host can never do it.
 */
#ifndef HV_KVM_H
#define HV_KVM_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/cpu.h"
#include "hv/exit.h"
#include "hv/kvm_dirty.h"
#include "mem/addr.h"
#include "mem/error.h"

struct kvm_run;

struct machine {
    int vm_fd, vcpu_fd; /* -1 when closed */
    struct kvm_run *run;
    uint64_t run_len;
    uint32_t slots_max; /* memory slots this KVM offers */
    bool hidden_apic;   /* as asked for, and this KVM can do it */
    uint32_t sync;      /* registers that KVM takes from the run page, KVM_SYNC_X86_... */
    bool after_out;     /* the last run ended with an OUT, of which KVM has at most to step over it; */
    bool out_is_plain;  /* ... to leave that undone leaves nothing behind but RIP; RIP and CS base then: */
    uint64_t out_rip, out_base;
    bool no_keys;       /* this KVM has no register of protection keys, as was found out */
    bool ran;           /* once at least */
    bool broken;        /* KVM failed to run it: nobody knows what it is in the middle of */
    struct dirty dirty; /* tells of writes to every slot that is not read-only */
};

struct machine_options {
    unsigned phys_bits;  /* MAXPHYADDR in the guest's CPUID */
    bool plain_cpu;      /* CPUID offers what every CPU for amd64 has, instead of all that this KVM does */
    bool hidden_apic;    /* see machine_open; not with irqchip */
    bool irqchip;        /* in-kernel PIC, IOAPIC and local APIC */
    bool pit;            /* in-kernel PIT, and port 0x61 with it; needs irqchip */
    bool real_mode;      /* may run without protection; takes REAL_MODE_MAP and REAL_MODE_TSS */
    enum dirty_by dirty; /* how to tell which pages the guest writes, as far as this KVM can */
    uint64_t pages_n;    /* ... of about so many */
};

/* Where a CPU without a real mode of its own for guests keeps what it emulates one with: KVM's, not RAM. */
#define REAL_MODE_MAP 0xfeffc000u /* a page table, 1 page */
#define REAL_MODE_TSS 0xfeffd000u /* 3 pages */

/*
 * Open /dev/kvm and check its version and capabilities; *fd is the caller's.
 * STATUS_UNSUPPORTED with one hint says what is missing.
 */
int kvm_open(int *fd, struct err *e);

/* Whether a parameter of KVM's modules, a path in /sys, is on; -1 when it is not there to tell. */
int kvm_module_has(const char *parameter);

/*
 * Create a machine; `kvm_fd` from kvm_open stays the caller's. Its memory comes
 * next, and then machine_add_cpu makes its vCPU and what interrupts it: a slot
 * that is set later than that waits milliseconds for KVM, which by then has
 * readers of the list of devices to wait for. machine_close releases it,
 * harmless on one that was closed or never opened (initialise with MACHINE_CLOSED).
 *
 * `hidden_apic`: the vCPU gets a local APIC in the kernel that is turned off as
 * long as its APIC base says so, which the guest must not be able to change. A
 * guest cannot find it, and KVM need not rewrite its own code for the first and
 * last vCPU without one, which takes longer than all else. But a HLT is KVM's
 * then, which sleeps: machine_run notices at the next signal and makes an EXIT_HLT of it.
 * Left out where KVM cannot, or would have to put a page of its own into the guest.
 */
#define MACHINE_CLOSED ((struct machine){.vm_fd = -1, .vcpu_fd = -1})
int machine_open(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e);

/*
 * The vCPU of a machine that has none yet. 0; -1; or MACHINE_SHOWS_APIC: the
 * hidden APIC cannot be hidden on this host, so open another machine, which will have none.
 */
#define MACHINE_SHOWS_APIC 1
int machine_add_cpu(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e);
void machine_close(struct machine *m);

/* Back [at, at + len) of the guest by `host`; all page aligned. len 0 removes the slot. */
int machine_set_slot(struct machine *m, uint32_t slot, struct gpa at, uint64_t len, const void *host,
                     bool readonly, struct err *e);

/*
 * Registers. What is set takes effect with the next run, or before something is
 * got; where KVM shares them, that costs no call of its own.
 *
 * machine_set_sregs reads back: KVM may take a CR0 or EFER that it cannot run
 * and keep the old one. STATUS_UNSUPPORTED then, and STATUS_IMAGE when it
 * refuses the values (EINVAL). machine_put_sregs is for values that it took
 * from this machine's owner before, but for an address in CR3; so is
 * machine_apply_sregs, which sets them now and not with the next run.
 */
int machine_set_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e);
int machine_put_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e);
bool machine_defers_sregs(
    const struct machine *m); /* whether machine_put_sregs leaves them to the next run */
int machine_apply_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e);
int machine_get_sregs(struct machine *m, struct cpu_sregs *s, struct err *e);
int machine_set_regs(struct machine *m, const struct cpu_regs *r, struct err *e);
int machine_get_regs(struct machine *m, struct cpu_regs *r, struct err *e);

/* Whether a guest can turn XSAVE on, and change XCR0 then. Before the first run. */
bool machine_takes_xsave(struct machine *m);

/* x87, SSE and more as after reset: FCW 0x37F, MXCSR 0x1F80, all else zero. */
int machine_reset_fpu(struct machine *m, struct err *e);

/* Have what is set take effect now. Clears a kick. */
int machine_settle(struct machine *m, struct err *e);

/*
 * Run until an exit. A signal gives EXIT_INTERRUPTED (or EXIT_HLT, see machine_open); so does the next run
 * after machine_kick. Before that next run the caller calls machine_unkick
 * and then looks at why it was kicked, in this order, and no kick is lost.
 */
int machine_run(struct machine *m, struct exit *x, struct err *e);

/*
 * Let KVM finish the instruction that the last exit interrupted, if it did:
 * else it would do so in the next run, whatever registers that starts with.
 * What comes of it is for nobody: registers and memory are set afterwards, by
 * machine_set_regs, which has an OUT finished where that has to be. Clears a kick.
 */
int machine_finish(struct machine *m, struct err *e);

/* machine_set_regs's own: finish an OUT that KVM would take for the instruction at `rip` otherwise. */
int machine_leave_out(struct machine *m, uint64_t rip, struct err *e);

/* Set interrupt line 0 to 15 of the in-kernel controllers; a machine with irqchip only. */
int machine_set_irq(struct machine *m, unsigned line, bool level, struct err *e);

/* One edge on line 0. */
int machine_pulse_irq0(struct machine *m, struct err *e);

/* Physical address behind a linear one in the vCPU's present mode. False when there is none. */
bool machine_translate(struct machine *m, struct gva va, struct gpa *pa);

/* Make the current or the next machine_run return at once. Async-signal-safe. */
void machine_kick(struct machine *m);
void machine_unkick(struct machine *m);

#endif
