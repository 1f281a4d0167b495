/*
 * A guest that takes calls, with everything a run of it needs: opened, started
 * as often as a test likes, called, closed. Its output goes to /dev/null.
 */
#ifndef TESTS_KVM_CALLING_H
#define TESTS_KVM_CALLING_H

#include <linux/kvm.h>

#include "hv/call.h"
#include "hv/host.h"
#include "mem/bytes.h"
#include "tests/kvm/guests.h"
#include "tests/kvm/scale.h"
#include "tests/kvm/seam.h"

#define MS ((uint64_t)1000000)

/* How the restores of the machines that are opened find out what to put back: vm_options.track. */
static int calling_track;

/* ... and who copies what a paged guest writes to: vm_options.cow_host. */
static bool calling_cow_host;

/* ... and whether a machine of captured_open may take other snapshots: vm_options.pool. */
static bool calling_pool;

/* Must not move while it is open: its parts point at each other. */
struct calling {
    struct snapshot snap;
    struct vm vm;
    struct stop stop;
    struct console console, log;
    struct host_functions host;
    struct service service;
    struct run_env env; /* limit_ns is the test's to change for a call */

    /* Of the last call. */
    struct outcome out;
    struct msg_result result;
    struct err e;
};

static inline struct msg_value calling_int(int32_t v)
{
    return (struct msg_value){.type = MSG_INT, .bits = (uint64_t)(int64_t)v};
}

static inline struct msg_value calling_uint(uint32_t v)
{
    return (struct msg_value){.type = MSG_UINT, .bits = v};
}

static inline struct msg_value calling_bytes(enum msg_type type, const void *data, uint32_t len)
{
    return (struct msg_value){.type = type, .data = data, .len = len};
}

/* A VM of `snap` in *c, which is zero but for c->snap, and what a run needs. False with nothing to close. */
static inline bool calling_open_vm(struct calling *c, int kvm_fd, const struct snapshot *snap,
                                   const struct vm_options *opt)
{
    struct err e = {.text = ""};
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (!CHECK(fd >= 0) || !guest_check(stop_open(&c->stop, &e), &e))
        goto fail;
    if (!guest_check(vm_open(&c->vm, kvm_fd, snap, opt, &e), &e)) {
        stop_close(&c->stop);
        goto fail;
    }
    console_init(&c->console, fd, &c->stop);
    console_init(&c->log, fd, &c->stop);
    c->host.console = &c->console;
    c->host.stop = &c->stop;
    c->service = (struct service){.host = &c->host, .log = &c->log, .log_filter = 5};
    c->env = (struct run_env){
        .vm = &c->vm,
        .stop = &c->stop,
        .console = &c->console,
        .service = &c->service,
        .limit_ns = GUEST_LIMIT_NS,
    };
    return true;
fail:
    if (fd >= 0)
        close(fd);
    return false;
}

/* The machine with the sample in it, not yet restored. False with nothing to close. */
static inline bool calling_open(struct calling *c, int kvm_fd, const char *sample, const char *kind,
                                const struct image_options *io, bool irqchip)
{
    const struct vm_options opt = {
        .irqchip = irqchip, .warm = true, .cow_host = calling_cow_host, .track = calling_track};

    memset(c, 0, sizeof(*c));
    if (!guest_build_sample(sample, kind, io, &c->snap))
        return false;
    if (calling_open_vm(c, kvm_fd, &c->snap, &opt))
        return true;
    snapshot_free(&c->snap);
    return false;
}

static inline void calling_close(struct calling *c)
{
    vm_close(&c->vm);
    stop_close(&c->stop);
    close(c->console.fd);
    snapshot_free(&c->snap);
}

/* Restore and run init; c->out tells how it ended. False when the host failed. */
static inline bool calling_init(struct calling *c)
{
    uint64_t limit = c->env.limit_ns;
    int result;

    c->e = (struct err){.text = ""};
    c->env.limit_ns = GUEST_LIMIT_NS;
    run_outcome(&c->vm, &c->out);
    result = vm_restore(&c->vm, &c->e);
    if (result == 0) {
        run_outcome(&c->vm, &c->out);
        result = run_init(&c->env, &c->out, &c->e);
    }
    c->env.limit_ns = limit;
    return guest_check(result, &c->e);
}

/* The same, for an init that has to end well. */
static inline bool calling_start(struct calling *c)
{
    if (!calling_init(c))
        return false;
    if (c->out.why.text[0] != '\0')
        printf("# init: %s\n", c->out.why.text);
    return CHECK_EQ(c->out.reason, REASON_ENDED) && CHECK(c->vm.ready);
}

/* An abort as a diagnostic: one that no test expects is hard to meet twice. */
static inline void calling_say_abort(const char *name, const struct outcome *out)
{
    if (out->reason != REASON_ABORTED)
        return;
    printf("# %s: aborted with code %u", name, out->abort.code);
    if (out->abort.has_exception)
        printf(", exception %u", out->abort.exception);
    printf(" (%s) at 0x%" PRIx64 ", cr0 0x%" PRIx64 ", cr4 0x%" PRIx64 ": %.*s\n", out->abort.code_name,
           out->regs.rip, out->sregs.cr0, out->sregs.cr4, (int)out->abort.text_len, out->abort.text);
}

/* Call a ready guest. Returns what vmm would end with: 0, 122 for an error of the guest's, or the outcome's status. */
static inline enum status calling_call(struct calling *c, const char *name, const struct msg_value *params,
                                       unsigned params_n)
{
    struct msg_call call = {
        .name = (const uint8_t *)name, .name_len = (uint32_t)strlen(name), .params_n = params_n};
    unsigned i;

    for (i = 0; i < params_n; i++)
        call.params[i] = params[i];
    run_outcome(&c->vm, &c->out);
    c->e = (struct err){.text = ""};
    c->result = (struct msg_result){.is_error = false};
    if (call_guest(&c->env, &call, &c->result, &c->out, &c->e) != 0)
        return c->e.status;
    return c->out.reason == REASON_ENDED && c->result.is_error ? STATUS_CALL_ERROR : c->out.status;
}

static inline enum status calling_call0(struct calling *c, const char *name)
{
    return calling_call(c, name, NULL, 0);
}

static inline enum status calling_call1(struct calling *c, const char *name, uint32_t a)
{
    const struct msg_value v[] = {calling_uint(a)};

    return calling_call(c, name, v, 1);
}

static inline enum status calling_call2(struct calling *c, const char *name, uint32_t a, uint32_t b)
{
    const struct msg_value v[] = {calling_uint(a), calling_uint(b)};

    return calling_call(c, name, v, 2);
}

/* Whether both stack pointers say empty: all that is promised where a guest was stopped amid a push. */
static inline bool calling_stacks_reset(struct calling *c)
{
    return load_le64(vm_scratch(&c->vm, 0)) == 8 &&
           load_le64(vm_scratch(&c->vm, c->vm.snap->plan.output_off)) == 8;
}

/* Both I/O stacks as the ABI wants them between calls: 8, and zeroes behind it. */
static inline bool calling_stacks_empty(struct calling *c)
{
    const struct layout *l = &c->vm.snap->plan;
    const uint64_t at[] = {0, l->output_off}, len[] = {l->sizes.input_len, l->sizes.output_len};
    uint64_t i;
    unsigned s;

    if (!calling_stacks_reset(c))
        return false;
    for (s = 0; s < 2; s++) {
        const uint8_t *stack = vm_scratch(&c->vm, at[s]);

        for (i = 8; i < len[s]; i++)
            if (stack[i] != 0)
                return false;
    }
    return true;
}

/* Whether the next KVM_RUN would return at once. */
static inline bool calling_is_kicked(struct calling *c)
{
    return ((volatile struct kvm_run *)c->vm.machine.run)->immediate_exit != 0;
}

/* A ready guest with a function add: it still adds. */
static inline bool calling_adds(struct calling *c)
{
    const struct msg_value v[] = {calling_int(2), calling_int(40)};
    enum status status = calling_call(c, "add", v, 2);

    if (c->out.why.text[0] != '\0' || c->e.text[0] != '\0')
        printf("# add: %s%s\n", c->out.why.text, c->e.text);
    return CHECK_EQ(status, STATUS_OK) && CHECK_EQ(c->result.value.type, MSG_INT) &&
           CHECK_EQ(c->result.value.bits, 42);
}

#endif
