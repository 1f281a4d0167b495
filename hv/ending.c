/* Outcomes of runs. See ending.h. */
#include "hv/ending.h"

#include <inttypes.h>
#include <string.h>

#include "boot/x86.h"
#include "hv/probe.h"

int ending_take_registers(const struct runner *r, struct outcome *o, struct err *e)
{
    if (machine_get_regs(r->machine, &o->regs, e) != 0 || machine_get_sregs(r->machine, &o->sregs, e) != 0)
        return -1;
    /* KVM on AMD resets the vCPU after a triple fault: what is there now says nothing about the guest. */
    o->registers = o->regs.rip == RESET_RIP && o->sregs.cs.base == RESET_CS_BASE &&
                           (o->sregs.cr0 & (CR0_PG | CR0_PE)) == 0
                       ? REGISTERS_RESET_BY_KVM
                       : REGISTERS_SHOWN;
    return 0;
}

/*
 * An instruction that KVM cannot emulate. Where there are no bytes to fetch
 * the guest jumped into the void. Else real hardware would have run most of
 * them: on a KVM that emulates all kernel-mode code it is the host's limit.
 */
static void explain_emulation(const struct runner *r, bool software_kvm, struct outcome *o)
{
    struct gva ip = gva_make(o->sregs.cs.base + o->regs.rip);
    uint8_t code[4];
    int w = (int)o->addr_digits;

    if (!r->fetch(r->ctx, &o->sregs, ip, code, 1)) {
        err_set(&o->why, STATUS_FAULTED, "guest: faulted: jump to 0x%0*" PRIx64 ", where there is no memory",
                w, ip.v);
        return;
    }
    if (!r->fetch(r->ctx, &o->sregs, ip, code, sizeof(code)))
        memset(code, 0, sizeof(code));
    err_set(&o->why, software_kvm ? STATUS_UNSUPPORTED : STATUS_FAULTED,
            "guest: KVM cannot emulate the instruction at 0x%0*" PRIx64 " (bytes %02x %02x %02x %02x)", w,
            ip.v, code[0], code[1], code[2], code[3]);
    if (software_kvm)
        err_hint(&o->why, "this KVM emulates kernel-mode code without SSE and x87: compile the guest with "
                          "-mgeneral-regs-only, or run it on a host with VT-x or AMD-V");
}

int ending_faulted(const struct runner *r, const struct exit *x, struct outcome *o, struct err *e)
{
    char what[EXIT_TEXT_MAX];

    o->reason = REASON_FAULTED;
    if (ending_take_registers(r, o, e) != 0)
        return -1;
    exit_describe(x, o->addr_digits, what, sizeof(what));
    err_set(&o->why, STATUS_FAULTED, "guest: faulted: %s", what);
    if (x->kind == EXIT_EMULATION) {
        static int paging32 = -1; /* a fact of this host: found out once, since it takes a machine to do so */

        if (paging32 < 0)
            paging32 = probe_paging32(r->kvm_fd, e);
        if (paging32 < 0)
            return -1;
        explain_emulation(r, paging32 == 0, o);
    }
    if (o->why.status == STATUS_UNSUPPORTED)
        o->reason = REASON_UNSUPPORTED;
    o->status = o->why.status;
    return 0;
}

int ending_stopped(const struct runner *r, enum stop_cause cause, struct outcome *o, struct err *e)
{
    int w = (int)o->addr_digits;

    if (ending_take_registers(r, o, e) != 0)
        return -1;
    o->reason = cause == STOP_TIMEOUT ? REASON_TIMEOUT : REASON_SIGNAL;
    if (cause == STOP_SIGINT)
        err_set(&o->why, STATUS_INTERRUPTED, "guest: stopped by SIGINT (at 0x%0*" PRIx64 ")", w, o->regs.rip);
    else if (cause == STOP_SIGTERM)
        err_set(&o->why, STATUS_TERMINATED, "guest: stopped by SIGTERM (at 0x%0*" PRIx64 ")", w, o->regs.rip);
    else
        err_set(&o->why, STATUS_TIMEOUT, "guest: time limit of %" PRIu64 " ms reached (at 0x%0*" PRIx64 ")",
                r->limit_ns / 1000000, w, o->regs.rip);
    o->status = o->why.status;
    return 0;
}

int ending_broken(const struct runner *r, struct outcome *o, struct err *e)
{
    if (ending_take_registers(r, o, e) != 0)
        return -1;
    o->reason = REASON_FAULTED;
    o->status = o->why.status;
    return 0;
}

int ending_flush(const struct runner *r, struct console *c, struct stop *stop, int result,
                 struct outcome *out, struct err *e)
{
    /* Of two failures the first counts, and with it nothing that the outcome says. */
    int flushed = console_flush(c, result == 0 ? e : &out->why);

    if (flushed < 0)
        result = -1;
    else if (flushed == CONSOLE_STOPPED && result == 0 && out->reason != REASON_TIMEOUT &&
             out->reason != REASON_SIGNAL)
        result = ending_stopped(r, stop_why(stop), out, e);
    stop_disarm(stop);
    stop_watch(stop, NULL);
    /* A kick that came after the last look is not the next run's; signals that must not be lost are noted. */
    machine_unkick(r->machine);
    return result;
}
