/* A guest from start to end. See session.h. */
#include "hv/session.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "hv/core.h"
#include "hv/counter.h"
#include "hv/teardown.h"
#include "hv/value.h"

/* One that can be switched where there are several files to switch between. */
static int open_vm(struct session *s, const struct snapshot *snap, struct err *e)
{
    const struct vm_options vo = {.irqchip = snap->plan.sizes.apic,
                                  .warm = s->warm,
                                  .pool = s->warm && s->o->operands_n > 1,
                                  .cow_host = s->o->cow_host};

    return vm_open(&s->vm, s->kvm_fd, snap, &vo, e);
}

int session_open(struct session *s, const struct options *o, const struct snapshot *snap, bool warm,
                 struct err *e)
{
    memset(s, 0, offsetof(struct session, console));
    s->o = o;
    s->host = o->host;
    s->kvm_fd = -1;
    s->warm = warm;
    if (counter_check(o, snap->kind, e) != 0 || kvm_open(&s->kvm_fd, e) != 0)
        return -1;
    if (stop_open(&s->stop, e) != 0)
        goto fail_kvm;
    if (open_vm(s, snap, e) != 0)
        goto fail_stop;
    console_init(&s->console, o->console_fd, &s->stop);
    s->expect = o->expect;
    s->console.expect = &s->expect;
    console_init(&s->log, o->log_fd, &s->stop);
    s->host.console = &s->console;
    s->host.stop = &s->stop;
    s->service = (struct service){
        .host = &s->host,
        .log = &s->log,
        .log_filter = o->quiet ? 0 : o->log_filter,
    };
    s->env = (struct run_env){
        .vm = &s->vm,
        .stop = &s->stop,
        .console = &s->console,
        .service = &s->service,
        .limit_ns = o->timeout_ns,
    };
    return 0;
fail_stop:
    stop_close(&s->stop);
fail_kvm:
    close(s->kvm_fd);
    return -1;
}

void session_close(struct session *s)
{
    counter_close();
    vm_close(&s->vm);
    stop_close(&s->stop);
    close(s->kvm_fd);
}

void session_leave(struct session *s)
{
    counter_close();
    stop_close(&s->stop);
    /* From here on there are two of this process: a signal's handler is for one. */
    if (teardown_leave(&s->vm.machine) > 0) {
        s->vm.machine = MACHINE_CLOSED;
        region_keep_mapped();
    } else {
        close(s->kvm_fd);
    }
    vm_close(&s->vm);
}

/* A counter that is not intact says more than whatever else the guest came to. */
static void check_counter(struct session *s, struct outcome *out)
{
    struct err why;

    if (counter_is_intact(&s->vm, s->o, &why))
        return;
    out->reason = why.status == STATUS_FAULTED ? REASON_FAULTED : REASON_ERROR;
    out->why = why;
    out->status = why.status;
}

static int restore(struct session *s, const struct snapshot *snap, struct err *e)
{
    struct vm *vm = &s->vm;
    bool same = snap == vm->snap, used = vm->ran;
    struct err why;

    counter_hide(); /* it is in memory that may go */
    if (!vm->machine.broken) {
        if ((same ? vm_restore(vm, &why) : vm_switch(vm, snap, &why)) == 0)
            return 0;
        if (same && !used) {
            *e = why;
            return -1;
        }
    }
    vm_close(vm);
    return open_vm(s, snap, e) != 0 ? -1 : vm_restore(vm, e);
}

int session_switch(struct session *s, const struct snapshot *snap, struct outcome *out, struct err *e)
{
    expect_reset(&s->expect);
    if (restore(s, snap, e) != 0 || counter_publish(&s->vm, s->o, e) != 0)
        return -1;
    run_outcome(&s->vm, out);
    if (!s->vm.ready) {
        if (run_init(&s->env, out, e) != 0)
            return -1;
        check_counter(s, out);
    }
    return 0;
}

int session_start(struct session *s, struct outcome *out, struct err *e)
{
    return session_switch(s, s->vm.snap, out, e);
}

int session_call(struct session *s, const struct msg_call *call, struct msg_result *result,
                 struct outcome *out, struct err *e)
{
    if (call_guest(&s->env, call, result, out, e) != 0)
        return -1;
    check_counter(s, out);
    return 0;
}

/* A result goes where the guest's output goes, on a line of its own. */
static int print_result(struct session *s, const struct msg_result *r, struct err *e)
{
    struct text t = TEXT_EMPTY;
    int result;

    if (r->value.type == MSG_VOID)
        return 0;
    if (s->console.amid_line)
        text_add(&t, "\n");
    value_print(&r->value, &t);
    text_add(&t, "\n");
    result = console_write(&s->console, (const uint8_t *)t.s, t.len, e);
    if (result == 0)
        result = console_flush(&s->console, e);
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

static int call_one(struct session *s, const struct call_spec *spec, struct outcome *out, struct text *calls,
                    struct err *e)
{
    struct msg_call call = {
        .name = (const uint8_t *)spec->name,
        .name_len = (uint32_t)strlen(spec->name),
        .params_n = spec->params_n,
    };
    struct msg_result result;

    memcpy(call.params, spec->params, spec->params_n * sizeof(spec->params[0]));
    if (session_call(s, &call, &result, out, e) != 0)
        return -1;
    if (out->reason != REASON_ENDED)
        return 0;
    text_add(calls, "%s", calls->len != 0 ? "," : "");
    report_call(spec->name, &result, calls);
    if (result.is_error) {
        end_call_error(spec->name, &result, out);
        return 0;
    }
    return print_result(s, &result, e);
}

int session_call_all(struct session *s, struct outcome *out, struct text *calls, struct err *e)
{
    const struct options *o = s->o;
    unsigned i;

    for (i = 0; i < o->calls_n && out->reason == REASON_ENDED && !expect_is_decided(&s->expect); i++)
        if (call_one(s, &o->calls[i], out, calls, e) != 0)
            return -1;
    expect_judge(&s->expect, out);
    out->amid_line = s->console.amid_line;
    /* A core that cannot be written takes nothing from what the guest came to. */
    if (o->core != NULL && out->registers != REGISTERS_NONE &&
        (out->reason == REASON_FAULTED || out->reason == REASON_ABORTED) &&
        core_write(&s->vm, &out->regs, &out->sregs, o->core, &out->no_core) != 0)
        out->status = out->no_core.status;
    return 0;
}
