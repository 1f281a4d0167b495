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
    const struct run_env *env;
    struct outcome *out;
    struct abort_bytes abort; /* new for each run: what one leaves unfinished is not the next one's */
    struct exit last;
};

static int take_registers(struct run *r, struct err *e)
{
    struct outcome *o = r->out;

    if (machine_get_regs(&r->env->vm->machine, &o->regs, e) != 0 ||
        machine_get_sregs(&r->env->vm->machine, &o->sregs, e) != 0)
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

    if (!vm_translate(r->env->vm, &o->sregs, ip, &pa) || !gmem_read(r->env->vm->mem, pa, code, 1)) {
        err_set(&o->why, STATUS_FAULTED, "guest: faulted: jump to 0x%0*" PRIx64 ", where there is no memory",
                w, ip.v);
        return;
    }
    if (!gmem_read(r->env->vm->mem, pa, code, sizeof(code)))
        memset(code, 0, sizeof(code));
    err_set(&o->why, software_kvm ? STATUS_UNSUPPORTED : STATUS_FAULTED,
            "guest: KVM cannot emulate the instruction at 0x%0*" PRIx64 " (bytes %02x %02x %02x %02x)", w,
            ip.v, code[0], code[1], code[2], code[3]);
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
        int paging32 = probe_paging32(r->env->vm->kvm_fd, e);

        if (paging32 < 0)
            return -1;
        explain_emulation(r, paging32 == 0);
    }
    if (o->why.status == STATUS_UNSUPPORTED)
        o->reason = REASON_UNSUPPORTED;
    o->status = o->why.status;
    return 0;
}

static int end_stopped(struct run *r, enum stop_cause cause, struct err *e)
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
                r->env->limit_ns / 1000000, w, o->regs.rip);
    o->status = o->why.status;
    if (cause == STOP_TIMEOUT && vm_find_writable_snapshot_leaf(r->env->vm, &o->sregs, &va, &pa))
        err_hint(&o->why,
                 "the guest's page tables make the read-only snapshot page 0x%0*" PRIx64
                 " writable at 0x%0*" PRIx64
                 ": KVM retries a write of the CPU's own there for ever; map it copy-on-write",
                 w, pa.v, w, va.v);
    return 0;
}

/* The guest broke a rule of the ABI; `why` is what it did. */
static int end_broken(struct run *r, const struct err *why, struct err *e)
{
    if (take_registers(r, e) != 0)
        return -1;
    r->out->reason = REASON_FAULTED;
    r->out->why = *why;
    r->out->status = why->status;
    return 0;
}

static int take_served(struct run *r, enum served served, const struct err *why, struct err *e)
{
    switch (served) {
    case SERVED_ON:
    case SERVED_STOPPED: return 1; /* the stop has kicked the machine: the next run sees it */
    case SERVED_BROKEN: return end_broken(r, why, e);
    case SERVED_FAILED: break;
    }
    *e = *why;
    return -1;
}

/* What a guest's timer period in us may be, ABI 3.8; 0 stops it. */
#define TIMER_MIN_US 100u
#define TIMER_MAX_US 10000000u

static void set_timer(struct run *r, uint32_t us)
{
    if (us != 0)
        us = us < TIMER_MIN_US ? TIMER_MIN_US : us > TIMER_MAX_US ? TIMER_MAX_US : us;
    stop_set_timer(r->env->stop, (uint64_t)us * 1000);
}

/* A signal came, for whatever reason: find out which. */
static int look(struct run *r, struct err *e)
{
    enum stop_cause cause;

    /* Clear the kick before looking: one that comes in between stops the next run at once. */
    machine_unkick(&r->env->vm->machine);
    cause = stop_why(r->env->stop);
    if (cause != STOP_NONE)
        return end_stopped(r, cause, e);
    if (stop_timer_due(r->env->stop) && machine_pulse_irq0(&r->env->vm->machine, e) != 0)
        return -1;
    return console_flush(r->env->console, e) < 0 ? -1 : 1;
}

/* One exit. 1: run on, 0: the run ended as the outcome tells, -1: the host failed. */
static int take_exit(struct run *r, const struct exit *x, struct err *e)
{
    struct vm *vm = r->env->vm;
    enum served served;
    struct err why;

    switch (exit_judge(x, vm->irqchip)) {
    case ACTION_RESUME: return 1;
    case ACTION_PRINT:
        /* A stop while it waits for the reader has kicked the machine: the next run sees it. */
        return console_put(r->env->console, x->value, e) < 0 ? -1 : 1;
    case ACTION_ABORT:
        if (!abort_take(&r->abort, x->value))
            return 1;
        abort_decode(&r->abort, &r->out->abort);
        if (take_registers(r, e) != 0)
            return -1;
        r->out->reason = REASON_ABORTED;
        r->out->status = STATUS_ABORTED;
        return 0;
    case ACTION_LOG: served = serve_log(vm, r->env->service, &why); return take_served(r, served, &why, e);
    case ACTION_HOST: served = serve_call(vm, r->env->service, &why); return take_served(r, served, &why, e);
    case ACTION_TIMER: set_timer(r, x->value); return 1;
    case ACTION_HALT: return 0;
    case ACTION_LOOK: return look(r, e);
    case ACTION_FAULT: return end_faulted(r, x, e);
    }
    return err_set(e, STATUS_HOST, "bug: exit %d has no action", (int)x->kind);
}

static int loop(struct run *r, struct err *e)
{
    struct exit x;
    int on;

    do {
        if (machine_run(&r->env->vm->machine, &x, e) != 0)
            return -1;
        if (x.kind != EXIT_INTERRUPTED) {
            r->env->vm->flush_tlb = false;
            r->out->exits_n++;
            r->last = x;
        }
        on = take_exit(r, &x, e);
    } while (on == 1);
    return on;
}

struct outcome run_outcome(const struct vm *vm)
{
    return (struct outcome){
        .reason = REASON_ENDED,
        .kind = vm->snap->kind->name,
        .addr_digits = vm->snap->kind->addr_digits,
    };
}

int run_until_halt(const struct run_env *env, struct outcome *out, struct err *e)
{
    struct run r = {.env = env, .out = out};
    uint64_t before = out->exits_n, start = host_monotonic();
    struct err late;
    int result, flushed;

    env->vm->ran = true;
    stop_watch(env->stop, &env->vm->machine);
    stop_arm(env->stop, env->limit_ns);
    result = loop(&r, e);
    stop_set_timer(env->stop, 0);
    out->ran_ns += host_monotonic() - start;
    /*
     * What the guest said before it ended is written while the limit still
     * holds: a reader that does not take it in time is a guest not done in time.
     */
    flushed = console_flush(env->console, result == 0 ? e : &late);
    if (flushed < 0)
        result = -1;
    else if (flushed == CONSOLE_STOPPED && result == 0 && out->reason != REASON_TIMEOUT &&
             out->reason != REASON_SIGNAL)
        result = end_stopped(&r, stop_why(env->stop), e);
    stop_disarm(env->stop);
    stop_watch(env->stop, NULL);
    /* A kick that came after the last look is not the next run's; the signals that must not be lost are
     * noted. */
    machine_unkick(&env->vm->machine);
    if (out->exits_n != before)
        exit_describe(&r.last, out->addr_digits, out->last_exit, sizeof(out->last_exit));
    if (result != 0 || out->reason != REASON_ENDED)
        env->vm->ready = false;
    return result;
}

int run_init(const struct run_env *env, struct outcome *out, struct err *e)
{
    struct vm *vm = env->vm;
    struct run r = {.env = env, .out = out};
    struct cpu_regs regs;
    struct err why;

    if (vm_enter_init(vm, env->service->log_filter, e) != 0 || run_until_halt(env, out, e) != 0)
        return -1;
    if (out->reason != REASON_ENDED)
        return 0;
    if (machine_get_regs(&vm->machine, &regs, e) != 0)
        return -1;
    if (regs.rsp % 16 != 0) {
        err_set(&why, STATUS_FAULTED,
                "guest: init ended with a misaligned stack pointer (0x%0*" PRIx64
                ", a multiple of 16 wanted)",
                (int)out->addr_digits, regs.rsp);
        return end_broken(&r, &why, e);
    }
    vm->dispatch = regs.rax;
    vm->call_sp = regs.rsp;
    vm->ready = true;
    serve_reset_stacks(vm);
    return 0;
}
