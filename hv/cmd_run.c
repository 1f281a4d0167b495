/* vmm run: image to outcome, init and then the calls. The stages of the design, in their order. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "boot/image.h"
#include "hv/call.h"
#include "hv/cmd.h"
#include "hv/console.h"
#include "hv/core.h"
#include "hv/counter.h"
#include "hv/load.h"
#include "hv/run.h"
#include "hv/stop.h"
#include "hv/value.h"
#include "hv/vm.h"

/* A result goes where the guest's output goes, on a line of its own. */
static int print_result(const struct run_env *env, const struct msg_result *r, struct err *e)
{
    struct text t = TEXT_EMPTY;
    int result;

    if (r->value.type == MSG_VOID)
        return 0;
    value_print(&r->value, &t);
    text_add(&t, "\n");
    result = console_write(env->console, (const uint8_t *)t.s, t.len, e);
    text_free(&t);
    return result < 0 ? -1 : 0;
}

static void end_call_error(const char *name, const struct msg_result *r, struct outcome *out)
{
    char text[200];
    uint32_t n = r->text_len < sizeof(text) - 1 ? r->text_len : (uint32_t)sizeof(text) - 1;

    memcpy(text, r->text_len != 0 ? (const char *)r->text : "", n);
    text[n] = '\0';
    out->reason = REASON_CALL_ERROR;
    err_set(&out->why, STATUS_CALL_ERROR, "call %s: guest error %" PRIu64 " (%s)%s%s", name, r->code,
            abort_code_name(r->code), n != 0 ? ": " : "", text);
    out->status = out->why.status;
}

/* A counter that is not intact says more than whatever else the guest came to. */
static void check_counter(struct vm *vm, const struct options *o, struct outcome *out)
{
    struct err why;

    if (counter_is_intact(vm, o, &why))
        return;
    out->reason = why.status == STATUS_FAULTED ? REASON_FAULTED : REASON_ERROR;
    out->why = why;
    out->status = why.status;
}

/* Make the calls in order; the first that does not return a value is the last. */
static int make_calls(const struct run_env *env, const struct options *o, struct outcome *out,
                      struct text *calls, struct err *e)
{
    unsigned i;

    for (i = 0; i < o->calls_n && out->reason == REASON_ENDED; i++) {
        const struct call_spec *spec = &o->calls[i];
        struct msg_call call = {
            .name = (const uint8_t *)spec->name,
            .name_len = (uint32_t)strlen(spec->name),
            .params_n = spec->params_n,
        };
        struct msg_result result;

        memcpy(call.params, spec->params, spec->params_n * sizeof(spec->params[0]));
        if (call_guest(env, &call, &result, out, e) != 0)
            return -1;
        check_counter(env->vm, o, out);
        if (out->reason != REASON_ENDED)
            return 0;
        text_add(calls, "%s", i != 0 ? "," : "");
        report_call(spec->name, &result, calls);
        if (result.is_error)
            end_call_error(spec->name, &result, out);
        else if (print_result(env, &result, e) != 0)
            return -1;
    }
    return 0;
}

static int run_guest(const struct run_env *env, const struct options *o, struct outcome *out,
                     struct text *calls, struct err *e)
{
    struct vm *vm = env->vm;

    if (vm_restore(vm, e) != 0 || counter_publish(vm, o, e) != 0 || run_init(env, out, e) != 0)
        return -1;
    check_counter(vm, o, out);
    if (out->reason == REASON_ENDED && make_calls(env, o, out, calls, e) != 0)
        return -1;
    /* A core that cannot be written takes nothing from what the guest came to. */
    if (o->core != NULL && out->registers != REGISTERS_NONE &&
        (out->reason == REASON_FAULTED || out->reason == REASON_ABORTED) &&
        core_write(vm, &out->regs, &out->sregs, o->core, &out->no_core) != 0)
        out->status = out->no_core.status;
    return 0;
}

/* The guest is built and KVM is open: run it. */
static int run_snapshot(const struct options *o, int kvm_fd, const struct snapshot *snap, struct outcome *out,
                        struct text *calls, struct err *e)
{
    const struct vm_options vo = {.irqchip = o->irqchip == IRQCHIP_ON};
    struct host_functions host = o->host;
    struct console console, log;
    const struct service service = {.host = &host, .log = &log, .log_filter = o->quiet ? 0 : o->log_filter};
    struct stop stop;
    struct vm vm;
    const struct run_env env = {
        .vm = &vm,
        .stop = &stop,
        .console = &console,
        .service = &service,
        .limit_ns = o->timeout_ns,
    };
    int result;

    if (stop_open(&stop, e) != 0)
        return -1;
    console_init(&console, STDOUT_FILENO, &stop);
    console_init(&log, o->log_fd, &stop);
    host.console = &console;
    host.stop = &stop;
    result = vm_open(&vm, kvm_fd, snap, &vo, e);
    if (result == 0) {
        *out = run_outcome(&vm);
        result = run_guest(&env, o, out, calls, e);
        counter_close();
        vm_close(&vm);
    }
    stop_close(&stop);
    return result;
}

int cmd_run(const struct options *o, struct outcome *out, struct text *calls, struct err *e)
{
    struct snapshot snap;
    int kvm_fd, result;

    if (o->core != NULL && core_check_path(o->core, e) != 0)
        return -1;
    if (load_snapshot(o, &snap, e) != 0)
        return -1;
    result = counter_check(o, snap.kind, e);
    if (result == 0)
        result = kvm_open(&kvm_fd, e);
    if (result == 0) {
        result = run_snapshot(o, kvm_fd, &snap, out, calls, e);
        close(kvm_fd);
    }
    snapshot_free(&snap);
    return result;
}
