/* The run loop. See run.h. */
#include "hv/run.h"

#include <inttypes.h>
#include <string.h>

#include "boot/x86.h"
#include "hv/host.h"
#include "hv/probe.h"
#include "mem/num.h"

/* One run in progress. */
struct run {
    struct vm *vm;
    struct stop *stop;
    struct console *console;
    struct outcome *out;
    struct abort_bytes abort;
    struct exit last;
};

static int take_registers(struct run *r, struct err *e)
{
    struct outcome *o = r->out;

    if (machine_get_regs(&r->vm->machine, &o->regs, e) != 0 || machine_get_sregs(&r->vm->machine, &o->sregs, e) != 0)
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
static void explain_emulation(struct run *r, bool software_kvm)
{
    struct outcome *o = r->out;
    struct gva ip = gva_make(o->sregs.cs.base + o->regs.rip);
    struct gpa pa;
    uint8_t code[4];
    int w = (int)o->addr_digits;

    if (!vm_translate(r->vm, &o->sregs, ip, &pa) || !gmem_read(r->vm->mem, pa, code, 1)) {
        err_set(&o->why, STATUS_FAULTED, "guest: faulted: jump to 0x%0*" PRIx64 ", where there is no memory", w, ip.v);
        return;
    }
    if (!gmem_read(r->vm->mem, pa, code, sizeof(code)))
        memset(code, 0, sizeof(code));
    err_set(&o->why, software_kvm ? STATUS_UNSUPPORTED : STATUS_FAULTED,
            "guest: KVM cannot emulate the instruction at 0x%0*" PRIx64 " (bytes %02x %02x %02x %02x)", w, ip.v, code[0],
            code[1], code[2], code[3]);
    if (software_kvm)
        err_hint(&o->why, "this KVM emulates kernel-mode code without SSE and x87: compile the guest with "
                          "-mgeneral-regs-only, or run it on a host with VT-x or AMD-V");
}

static int end_faulted(struct run *r, const struct exit *x, struct err *e)
{
    struct outcome *o = r->out;
    char what[sizeof(o->last_exit)];

    o->reason = REASON_FAULTED;
    if (take_registers(r, e) != 0)
        return -1;
    exit_describe(x, o->addr_digits, what, sizeof(what));
    err_set(&o->why, STATUS_FAULTED, "guest: faulted: %s", what);
    if (x->kind == EXIT_EMULATION) {
        int paging32 = probe_paging32(r->vm->kvm_fd, e);

        if (paging32 < 0)
            return -1;
        explain_emulation(r, paging32 == 0);
    }
    if (o->why.status == STATUS_UNSUPPORTED)
        o->reason = REASON_UNSUPPORTED;
    o->status = o->why.status;
    return 0;
}

static int end_stopped(struct run *r, enum stop_cause cause, uint64_t limit_ns, struct err *e)
{
    struct outcome *o = r->out;
    struct gva va;
    struct gpa pa;
    int w = (int)o->addr_digits;

    if (take_registers(r, e) != 0)
        return -1;
    o->reason = cause == STOP_TIMEOUT ? REASON_TIMEOUT : REASON_SIGNAL;
    if (cause == STOP_SIGINT)
        err_set(&o->why, STATUS_INTERRUPTED, "guest: stopped by SIGINT (at 0x%0*" PRIx64 ")", w, o->regs.rip);
    else if (cause == STOP_SIGTERM)
        err_set(&o->why, STATUS_TERMINATED, "guest: stopped by SIGTERM (at 0x%0*" PRIx64 ")", w, o->regs.rip);
    else
        err_set(&o->why, STATUS_TIMEOUT, "guest: time limit of %" PRIu64 " ms reached (at 0x%0*" PRIx64 ")",
                limit_ns / 1000000, w, o->regs.rip);
    o->status = o->why.status;
    if (cause == STOP_TIMEOUT && vm_find_writable_snapshot_leaf(r->vm, &o->sregs, &va, &pa))
        err_hint(&o->why,
                 "the guest's page tables make the read-only snapshot page 0x%0*" PRIx64 " writable at 0x%0*" PRIx64
                 ": KVM retries a write of the CPU's own there for ever; map it copy-on-write",
                 w, pa.v, w, va.v);
    return 0;
}

/* Init ended by itself: it owes a stack pointer for calls. */
static int end_halted(struct run *r, struct err *e)
{
    struct outcome *o = r->out;

    if (take_registers(r, e) != 0)
        return -1;
    if (o->regs.rsp % 16 != 0) {
        o->reason = REASON_FAULTED;
        err_set(&o->why, STATUS_FAULTED,
                "guest: init ended with a misaligned stack pointer (0x%0*" PRIx64 ", a multiple of 16 wanted)",
                (int)o->addr_digits, o->regs.rsp);
        o->status = o->why.status;
        return 0;
    }
    o->registers = REGISTERS_NONE;
    return 0;
}

/* One exit. 1: run on, 0: the run ended as the outcome tells, -1: the host failed. */
static int take_exit(struct run *r, const struct exit *x, uint64_t limit_ns, struct err *e)
{
    enum stop_cause cause;

    switch (exit_judge(x, r->vm->irqchip)) {
    case ACTION_RESUME: return 1;
    case ACTION_PRINT:
        /* A stop while it waits for the reader has kicked the machine: the next run sees it. */
        return console_put(r->console, x->value, e) < 0 ? -1 : 1;
    case ACTION_ABORT:
        if (!abort_take(&r->abort, x->value))
            return 1;
        abort_decode(&r->abort, &r->out->abort);
        r->out->reason = REASON_ABORTED;
        r->out->status = STATUS_ABORTED;
        return 0;
    case ACTION_HALT: return end_halted(r, e);
    case ACTION_LOOK:
        /* Clear the kick before looking: one that comes in between stops the next run at once. */
        machine_unkick(&r->vm->machine);
        cause = stop_why(r->stop);
        if (cause != STOP_NONE)
            return end_stopped(r, cause, limit_ns, e);
        return console_flush(r->console, e) < 0 ? -1 : 1;
    case ACTION_FAULT: return end_faulted(r, x, e);
    }
    return err_set(e, STATUS_HOST, "bug: exit %d has no action", (int)x->kind);
}

static int loop(struct run *r, uint64_t limit_ns, struct err *e)
{
    struct exit x;
    int on;

    do {
        if (machine_run(&r->vm->machine, &x, e) != 0)
            return -1;
        if (x.kind != EXIT_INTERRUPTED) {
            r->out->exits_n++;
            r->last = x;
        }
        on = take_exit(r, &x, limit_ns, e);
    } while (on == 1);
    return on;
}

int run_init(struct vm *vm, struct stop *stop, struct console *console, uint64_t limit_ns, struct outcome *out,
             struct err *e)
{
    struct outcome o = {
        .reason = REASON_ENDED,
        .kind = vm->snap->kind->name,
        .addr_digits = vm->snap->kind->addr_digits,
    };
    struct run r = {.vm = vm, .stop = stop, .console = console, .out = &o};
    struct err late;
    uint64_t start;
    int result, flushed;

    if (vm_enter_init(vm, e) != 0)
        return -1;
    stop_watch(stop, &vm->machine);
    stop_arm(stop, limit_ns);
    start = host_monotonic();
    result = loop(&r, limit_ns, e);
    o.ran_ns = host_monotonic() - start;
    /*
     * What the guest said before it ended is written while the limit still
     * holds: a reader that does not take it in time is a guest not done in time.
     */
    flushed = console_flush(console, result == 0 ? e : &late);
    if (flushed < 0)
        result = -1;
    else if (flushed == CONSOLE_STOPPED && result == 0 && o.reason != REASON_TIMEOUT && o.reason != REASON_SIGNAL)
        result = end_stopped(&r, stop_why(stop), limit_ns, e);
    stop_disarm(stop);
    stop_watch(stop, NULL);
    if (result != 0)
        return -1;
    if (o.exits_n != 0)
        exit_describe(&r.last, o.addr_digits, o.last_exit, sizeof(o.last_exit));
    *out = o;
    return 0;
}
