/* The run loop. See run.h. */
#include "hv/run.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "hv/ending.h"
#include "hv/expect.h"
#include "hv/host.h"

/* One run in progress. */
struct run {
    const struct run_env *env;
    struct runner runner;
    struct outcome *out;
    struct exit last;
    struct abort_bytes abort; /* new for each run: what one leaves unfinished is not the next one's */
};

static bool fetch_code(void *ctx, const struct cpu_sregs *s, struct gva at, uint8_t *code, size_t n)
{
    const struct vm *vm = (const struct vm *)ctx;
    struct gpa pa;

    return vm_translate(vm, s, at, &pa) && gmem_read(vm->mem, pa, code, n);
}

static int end_stopped(struct run *r, enum stop_cause cause, struct err *e)
{
    struct outcome *o = r->out;
    struct gva va;
    struct gpa pa;
    int w = (int)o->addr_digits;

    if (ending_stopped(&r->runner, cause, o, e) != 0)
        return -1;
    if (cause == STOP_TIMEOUT && vm_find_writable_snapshot_leaf(r->env->vm, &o->sregs, &va, &pa))
        err_hint(&o->why,
                 "the guest's page tables make the read-only snapshot page 0x%0*" PRIx64
                 " writable at 0x%0*" PRIx64
                 ": KVM retries a write of the CPU's own there for ever; map it copy-on-write",
                 w, pa.v, w, va.v);
    return 0;
}

/* What was wrong is in the outcome. */
static int take_served(struct run *r, enum served served, struct err *e)
{
    switch (served) {
    case SERVED_ON:
    case SERVED_STOPPED: return 1; /* the stop has kicked the machine: the next run sees it */
    case SERVED_BROKEN: return ending_broken(&r->runner, r->out, e);
    case SERVED_FAILED: break;
    }
    *e = r->out->why;
    return -1;
}

/* What a guest's timer period in us may be, ABI 3.8; 0 stops it. */
#define TIMER_MIN_US 100u
#define TIMER_MAX_US 10000000u

static int set_timer(struct run *r, uint32_t us, struct err *e)
{
    if (us != 0)
        us = us < TIMER_MIN_US ? TIMER_MIN_US : us > TIMER_MAX_US ? TIMER_MAX_US : us;
    return stop_set_timer(r->env->stop, (uint64_t)us * 1000, e) == 0 ? 1 : -1;
}

/* A guest that sleeps in spite of its word is noticed when a signal comes: see to it that one does. */
static void watch_sleep(const struct run_env *env)
{
    if (env->vm->machine.hidden_apic)
        stop_tick(env->stop);
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
    if (console_flush(r->env->console, e) < 0)
        return -1;
    watch_sleep(r->env);
    return 1;
}

/* One exit. 1: run on, 0: the run ended as the outcome tells, -1: the host failed. */
static int take_exit(struct run *r, const struct exit *x, struct err *e)
{
    struct vm *vm = r->env->vm;

    switch (exit_judge(x, vm->irqchip)) {
    case ACTION_RESUME: return 1;
    case ACTION_PRINT:
        /* A stop while it waits for the reader has kicked the machine: the next run sees it. */
        return console_put(r->env->console, x->value, e) < 0 ? -1 : 1;
    case ACTION_ABORT:
        if (!abort_take(&r->abort, x->value))
            return 1;
        abort_decode(&r->abort, &r->out->abort);
        if (ending_take_registers(&r->runner, r->out, e) != 0)
            return -1;
        r->out->reason = REASON_ABORTED;
        r->out->status = STATUS_ABORTED;
        return 0;
    case ACTION_LOG: return take_served(r, serve_log(vm, r->env->service, &r->out->why), e);
    case ACTION_HOST: return take_served(r, serve_call(vm, r->env->service, &r->out->why), e);
    case ACTION_TIMER: return set_timer(r, x->value, e);
    case ACTION_HALT: return 0;
    case ACTION_LOOK: return look(r, e);
    case ACTION_FAULT: return ending_faulted(&r->runner, x, r->out, e);
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
        if (on == 1 && r->env->console->expect != NULL && expect_is_decided(r->env->console->expect)) {
            r->out->reason = REASON_EXPECTED;
            return 0;
        }
    } while (on == 1);
    return on;
}

static void begin(struct run *r, const struct run_env *env, struct outcome *out)
{
    memset(r, 0, offsetof(struct run, abort.bytes));
    r->env = env;
    r->runner = (struct runner){.machine = &env->vm->machine,
                                .kvm_fd = env->vm->kvm_fd,
                                .limit_ns = env->limit_ns,
                                .fetch = fetch_code,
                                .ctx = env->vm};
    r->out = out;
}

void run_outcome(const struct vm *vm, struct outcome *out)
{
    memset(out, 0, offsetof(struct outcome, why));
    out->why.text[0] = out->why.hint[0] = out->no_core.text[0] = '\0';
    out->kind = vm->snap->kind->name;
    out->addr_digits = vm->snap->kind->addr_digits;
}

int run_until_halt(const struct run_env *env, struct outcome *out, struct err *e)
{
    uint64_t before = out->exits_n, start = host_monotonic();
    struct run r;
    int result;

    if (stop_arm(env->stop, env->limit_ns, e) != 0)
        return -1;
    begin(&r, env, out);
    env->vm->ran = true;
    env->vm->fpu_reset = false;
    stop_watch(env->stop, &env->vm->machine);
    watch_sleep(env);
    result = loop(&r, e);
    (void)stop_set_timer(env->stop, 0, e);
    out->ran_ns += host_monotonic() - start;
    result = ending_flush(&r.runner, env->console, env->stop, result, out, e);
    if (out->exits_n != before)
        out->last_exit = r.last;
    if (result != 0 || out->reason != REASON_ENDED)
        env->vm->ready = false;
    return result;
}

int run_init(const struct run_env *env, struct outcome *out, struct err *e)
{
    struct vm *vm = env->vm;
    struct cpu_regs regs;

    if (vm_enter_init(vm, env->service->log_filter, e) != 0 || run_until_halt(env, out, e) != 0)
        return -1;
    if (out->reason != REASON_ENDED)
        return 0;
    if (machine_get_regs(&vm->machine, &regs, e) != 0)
        return -1;
    if (regs.rsp % 16 != 0) {
        err_set(&out->why, STATUS_FAULTED,
                "guest: init ended with a misaligned stack pointer (0x%0*" PRIx64
                ", a multiple of 16 wanted)",
                (int)out->addr_digits, regs.rsp);
        return ending_broken(&(struct runner){.machine = &vm->machine}, out, e);
    }
    vm->dispatch = regs.rax;
    vm->call_sp = regs.rsp;
    vm->ready = true;
    serve_reset_stacks(vm);
    return 0;
}
