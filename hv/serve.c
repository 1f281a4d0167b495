/* Requests of a running guest. See serve.h. */
#include "hv/serve.h"

#include <string.h>

#include "hv/text.h"
#include "mem/bytes.h"
#include "mem/iostack.h"
#include "mem/message.h"
#include "mem/num.h"

#define GUEST_ERROR_TOO_LARGE GUEST_ERROR_HOST_FUNCTION

/*
 * Of a stack the first word is written, and zeros where the guest wrote, or
 * nobody: what was noted as written already, or is as it was.
 */
static uint8_t *input_stack(struct vm *vm)
{
    return vm_scratch_rw(vm, 0, 8);
}

static uint8_t *output_stack(struct vm *vm)
{
    return vm_scratch_rw(vm, vm->snap->plan.output_off, 8);
}

uint8_t *serve_buffer(struct vm *vm, uint64_t *cap)
{
    *cap = vm->snap->plan.sizes.input_len;
    return vm->messages.base + ((vm->message_len + 7) & ~(uint64_t)7);
}

void serve_reset_stacks(struct vm *vm)
{
    iostack_reset(input_stack(vm), vm->snap->plan.sizes.input_len);
    iostack_reset(output_stack(vm), vm->snap->plan.sizes.output_len);
}

enum served serve_push(struct vm *vm, const uint8_t *message, uint64_t len, bool *fits, struct err *e)
{
    uint64_t size = vm->snap->plan.sizes.input_len, sp = load_le64(vm_scratch(vm, 0));
    enum iostack_status st;

    /* The element that a push adds, and the word behind it. */
    if (num_fits(sp, len + 8, size))
        vm_scratch_rw(vm, sp, len + 8);
    st = iostack_push(input_stack(vm), size, message, len);
    if (st != IOSTACK_OK && st != IOSTACK_FULL) {
        err_set(e, STATUS_FAULTED, "guest: broken protocol: input stack: %s", iostack_status_name(st));
        return SERVED_BROKEN;
    }
    *fits = st == IOSTACK_OK;
    return SERVED_ON;
}

/* A private copy of the top element of the output stack. */
static enum served copy_top(struct vm *vm, struct iostack_top *top, struct err *e)
{
    uint64_t size = vm->snap->plan.sizes.output_len;
    const uint8_t *stack = vm_scratch(vm, vm->snap->plan.output_off);
    enum iostack_status st = iostack_peek(stack, size, vm->messages.base, size, top);

    if (st == IOSTACK_OK) {
        vm->message_len = top->len;
        return SERVED_ON;
    }
    err_set(e, STATUS_FAULTED, "guest: broken protocol: output stack: %s", iostack_status_name(st));
    return SERVED_BROKEN;
}

static enum served bad_message(const char *what, enum msg_status st, struct err *e)
{
    err_set(e, STATUS_FAULTED, "guest: broken protocol: %s: %s", what, msg_status_name(st));
    return SERVED_BROKEN;
}

/* Encode and push; what does not fit becomes an error that does, or the protocol is broken. */
static enum served push_result(struct vm *vm, const struct msg_result *result, struct err *e)
{
    static const char too_large[] = "result too large";
    const struct msg_result error = {
        .is_error = true,
        .code = GUEST_ERROR_TOO_LARGE,
        .text = (const uint8_t *)too_large,
        .text_len = sizeof(too_large) - 1,
    };
    enum served served = SERVED_ON;
    bool fits = false;
    uint64_t cap;
    uint8_t *buffer = serve_buffer(vm, &cap);
    size_t len = msg_write_result(result, buffer, cap);

    if (len != 0)
        served = serve_push(vm, buffer, len, &fits, e);
    if (served == SERVED_ON && !fits) {
        len = msg_write_result(&error, buffer, cap);
        served = serve_push(vm, buffer, len, &fits, e);
    }
    if (served == SERVED_ON && !fits) {
        err_set(e, STATUS_FAULTED, "guest: broken protocol: no room for a result on the input stack");
        return SERVED_BROKEN;
    }
    return served;
}

enum served serve_call(struct vm *vm, const struct service *s, struct err *e)
{
    struct text storage = TEXT_EMPTY;
    struct msg_result result;
    struct iostack_top top;
    struct msg_call call;
    enum msg_status st;
    enum served served;
    int answered;

    served = copy_top(vm, &top, e);
    if (served != SERVED_ON)
        return served;
    st = msg_read_call(vm->messages.base, top.len, &call);
    if (st != MSG_OK)
        return bad_message("call of a host function", st, e);
    if (!call.to_host) {
        err_set(e, STATUS_FAULTED,
                "guest: broken protocol: a call of a host function is marked as one of a guest function");
        return SERVED_BROKEN;
    }
    iostack_drop(output_stack(vm), &top);
    answered = hostfn_call(s->host, &call, &result, &storage, e);
    if (answered < 0)
        served = SERVED_FAILED;
    else if (answered == HOSTFN_STOPPED)
        served = SERVED_STOPPED;
    else
        served = push_result(vm, &result, e);
    text_free(&storage);
    return served;
}

/* Record levels 0 trace .. 5 critical, 6 none, as the filter counts: 1 error .. 5 trace. */
static unsigned filter_level(uint8_t level)
{
    static const uint8_t levels[] = {5, 4, 3, 2, 1, 1, 5};

    return level < sizeof(levels) ? levels[level] : 5;
}

static void add_field(struct text *t, const char *before, const uint8_t *s, uint32_t len)
{
    if (len == 0)
        return;
    text_add(t, "%s", before);
    text_add_escaped(t, (const char *)s, len);
}

static enum served write_log(const struct service *s, const struct msg_log *r, struct err *e)
{
    static const char *const names[] = {"trace", "debug", "info", "warning", "error", "critical", "trace"};
    struct text t = TEXT_EMPTY;
    int result;

    text_add(&t, "guest: %s", names[r->level]);
    add_field(&t, ": ", r->source, r->source_len);
    add_field(&t, ": ", r->message, r->message_len);
    if (r->source_file_len != 0) {
        add_field(&t, " (", r->source_file, r->source_file_len);
        text_add(&t, ":%u)", (unsigned)r->line);
    }
    text_add(&t, "\n");
    result = console_write(s->log, (const uint8_t *)t.s, t.len, e);
    text_free(&t);
    return result < 0 ? SERVED_FAILED : result == CONSOLE_STOPPED ? SERVED_STOPPED : SERVED_ON;
}

enum served serve_log(struct vm *vm, const struct service *s, struct err *e)
{
    struct iostack_top top;
    struct msg_log record;
    enum msg_status st;
    enum served served = copy_top(vm, &top, e);

    if (served != SERVED_ON)
        return served;
    st = msg_read_log(vm->messages.base, top.len, &record);
    if (st != MSG_OK)
        return bad_message("log record", st, e);
    iostack_drop(output_stack(vm), &top);
    if (filter_level(record.level) > s->log_filter)
        return SERVED_ON;
    return write_log(s, &record, e);
}

enum served serve_result(struct vm *vm, struct msg_result *out, struct err *e)
{
    struct iostack_top top;
    enum msg_status st;
    enum served served = copy_top(vm, &top, e);

    if (served != SERVED_ON)
        return served;
    st = msg_read_result(vm->messages.base, top.len, out);
    if (st != MSG_OK)
        return bad_message("result of a call", st, e);
    return SERVED_ON;
}
