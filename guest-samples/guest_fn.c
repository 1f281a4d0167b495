/* Calls in both directions. See guest_fn.h. */
#include "guest-samples/guest_fn.h"

#include "guest-samples/guest.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "mem/iostack.h"

#define WORD 8u

/* The next free byte of the heap, as an offset; where it goes back to after a call. */
static uintptr_t heap_used;

/* The answer to the last call of the host still lies on the input stack. */
static bool answer_pending;

static uint8_t *peb_pointer(unsigned at)
{
    return (uint8_t *)(uintptr_t)load_le64(guest_peb() + at);
}

static size_t peb_size(unsigned at)
{
    return (size_t)load_le64(guest_peb() + at);
}

static size_t text_len(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0')
        n++;
    return n;
}

/* --- the stacks, in place ---------------------------------------------------------------------- */

/* The message on top of `stack`; what lies there is the host's, but a broken stack ends the guest here. */
static const uint8_t *top_message(const uint8_t *stack, size_t size, struct iostack_top *top)
{
    uint64_t sp = load_le64(stack), back, len;

    if (sp < IOSTACK_OVERHEAD || sp > size)
        guest_abort(GUEST_ERROR_GENERAL, "stack pointer of an I/O stack");
    back = load_le64(stack + (uintptr_t)sp - WORD);
    if (back < IOSTACK_EMPTY || back > sp - IOSTACK_OVERHEAD)
        guest_abort(GUEST_ERROR_GENERAL, "back pointer of an I/O stack");
    len = (uint64_t)load_le32(stack + (uintptr_t)back) + 4;
    if (len > sp - WORD - back)
        guest_abort(GUEST_ERROR_GENERAL, "size of a message");
    *top = (struct iostack_top){.sp = sp, .back = back, .len = len};
    return stack + (uintptr_t)back;
}

/* Where the next message of `stack` goes, and how much of it fits. */
static uint8_t *push_start(uint8_t *stack, size_t size, size_t *room)
{
    uint64_t sp = load_le64(stack);

    if (sp < IOSTACK_EMPTY || sp > size)
        guest_abort(GUEST_ERROR_GENERAL, "stack pointer of an I/O stack");
    *room = size - (size_t)sp > WORD ? size - (size_t)sp - WORD : 0;
    return stack + (uintptr_t)sp;
}

static void push_end(uint8_t *stack, const uint8_t *start, size_t len)
{
    uint64_t sp = load_le64(stack);

    store_le64((uint8_t *)(uintptr_t)start + len, sp);
    store_le64(stack, sp + len + WORD);
}

/* --- results ----------------------------------------------------------------------------------- */

void guest_return_bits(struct msg_result *r, enum msg_type type, uint64_t bits)
{
    *r = (struct msg_result){.value = {.type = type, .bits = bits}};
}

void guest_return_int(struct msg_result *r, int32_t v)
{
    guest_return_bits(r, MSG_INT, (uint64_t)(int64_t)v);
}

void guest_return_void(struct msg_result *r)
{
    guest_return_bits(r, MSG_VOID, 0);
}

void guest_return_bytes(struct msg_result *r, enum msg_type type, const void *data, uint32_t len)
{
    *r = (struct msg_result){.value = {.type = type, .data = data, .len = len}};
}

void guest_return_error(struct msg_result *r, uint64_t code, const char *text)
{
    *r = (struct msg_result){
        .is_error = true,
        .code = code,
        .text = (const uint8_t *)text,
        .text_len = (uint32_t)text_len(text),
    };
}

/* --- guest to host ----------------------------------------------------------------------------- */

void guest_call_host(const char *name, enum msg_type returns, const struct msg_value *args, unsigned args_n,
                     struct msg_result *result)
{
    uint8_t *out = peb_pointer(PEB_OUTPUT_PTR), *in = peb_pointer(PEB_INPUT_PTR), *start;
    struct msg_call call = {
        .name = (const uint8_t *)name,
        .name_len = (uint32_t)text_len(name),
        .to_host = true,
        .returns = returns,
        .params_n = args_n,
    };
    struct iostack_top top;
    const uint8_t *message;
    size_t room, len;
    unsigned i;

    if (answer_pending) {
        top_message(in, peb_size(PEB_INPUT_SIZE), &top);
        iostack_drop(in, &top);
        answer_pending = false;
    }
    for (i = 0; i < args_n; i++)
        call.params[i] = args[i];
    start = push_start(out, peb_size(PEB_OUTPUT_SIZE), &room);
    len = msg_write_call(&call, start, room);
    if (len == 0)
        guest_abort(GUEST_ERROR_GENERAL, "call of the host is too large");
    push_end(out, start, len);
    guest_out(PORT_CALL_HOST, 0);
    message = top_message(in, peb_size(PEB_INPUT_SIZE), &top);
    if (msg_read_result(message, (size_t)top.len, result) != MSG_OK)
        guest_abort(GUEST_ERROR_GENERAL, "result from the host");
    answer_pending = true;
}

void guest_log(unsigned level, const char *message)
{
    /* The filter counts 1 error .. 5 trace, records 0 trace .. 5 critical. */
    static const uint8_t needed[] = {5, 4, 3, 2, 1, 1};
    static const char source[] = "guest";
    uint8_t *out = peb_pointer(PEB_OUTPUT_PTR), *start;
    const struct msg_log record = {
        .message = (const uint8_t *)message,
        .message_len = (uint32_t)text_len(message),
        .source = (const uint8_t *)source,
        .source_len = sizeof(source) - 1,
        .caller = (const uint8_t *)"",
        .source_file = (const uint8_t *)"",
        .level = (uint8_t)level,
    };
    size_t room, len;

    if (level >= sizeof(needed) || needed[level] > guest_log_filter())
        return;
    start = push_start(out, peb_size(PEB_OUTPUT_SIZE), &room);
    len = msg_write_log(&record, start, room);
    if (len == 0)
        return;
    push_end(out, start, len);
    guest_out(PORT_LOG, 0);
}

/* --- host to guest ----------------------------------------------------------------------------- */

static bool names_equal(const char *name, const uint8_t *bytes, uint32_t len)
{
    uint32_t i;

    for (i = 0; i < len; i++)
        if (name[i] == '\0' || (uint8_t)name[i] != bytes[i])
            return false;
    return name[len] == '\0';
}

static void run_function(const struct msg_call *call, struct msg_result *r)
{
    const struct guest_function *f = guest_functions;
    unsigned i;

    while (f->name != NULL && !names_equal(f->name, call->name, call->name_len))
        f++;
    if (f->name == NULL) {
        guest_return_error(r, GUEST_ERROR_NOT_FOUND, "no such function");
        return;
    }
    if (call->params_n != f->params_n) {
        guest_return_error(r, GUEST_ERROR_PARAMS_N, "wrong number of parameters");
        return;
    }
    for (i = 0; i < f->params_n; i++) {
        if (call->params[i].type != f->params[i]) {
            guest_return_error(r, GUEST_ERROR_PARAM_TYPE, "wrong type of a parameter");
            return;
        }
    }
    f->fn(call->params, r);
}

/* A call: the function's message stays on the input stack, under what the host answers, until it is done. */
void guest_serve_call(void)
{
    uint8_t *in = peb_pointer(PEB_INPUT_PTR), *out = peb_pointer(PEB_OUTPUT_PTR), *start;
    uintptr_t heap_before = heap_used;
    struct msg_result result;
    struct iostack_top top;
    struct msg_call call;
    const uint8_t *message = top_message(in, peb_size(PEB_INPUT_SIZE), &top);
    size_t room, len;

    answer_pending = false;
    if (msg_read_call(message, (size_t)top.len, &call) != MSG_OK)
        guest_abort(GUEST_ERROR_GENERAL, "call from the host");
    if (call.to_host)
        guest_return_error(&result, GUEST_ERROR_GENERAL, "not a call of a guest function");
    else
        run_function(&call, &result);
    start = push_start(out, peb_size(PEB_OUTPUT_SIZE), &room);
    len = msg_write_result(&result, start, room);
    if (len == 0) {
        guest_return_error(&result, GUEST_ERROR_GENERAL, "the result does not fit the output stack");
        len = msg_write_result(&result, start, room);
    }
    if (len == 0)
        guest_abort(GUEST_ERROR_GENERAL, "no room for a result");
    push_end(out, start, len);
    /* The call, and whatever the host's answers left above it. */
    iostack_reset(in, peb_size(PEB_INPUT_SIZE));
    answer_pending = false;
    heap_used = heap_before;
}

void *guest_alloc(size_t len)
{
    uintptr_t at = heap_used;

    len = (len + 15) & ~(size_t)15;
    if (len > peb_size(PEB_HEAP_SIZE) - at)
        guest_abort(13, "out of heap");
    heap_used += len;
    return peb_pointer(PEB_HEAP_PTR) + at;
}
