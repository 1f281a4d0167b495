/*
 * Writes messages, front to back: whatever an offset points to comes after it,
 * so that a table is made with zeroes for offsets and patched when the target's
 * place is known. Each message is laid out twice by the same code, first
 * without a buffer: that gives its length, and whether there is such a message
 * at all, before a byte is written.
 */
#include "mem/message.h"

#include "mem/bytes.h"
#include "mem/message_wire.h"

struct writer {
    uint8_t *out; /* NULL: only count; else zeroes so far */
    uint64_t len;
    unsigned align; /* of its largest scalar */
    bool bad;       /* no reader would accept it */
};

/*
 * A vtable and so the shape of a table: both lengths in bytes, then where each
 * slot's field is. Every field is present, also one with its default value:
 * writers that compare before they leave it out lose the sign of -0.0.
 */
static const uint16_t shape_call[] = {12, 16, 4, 8, 12, 13};
static const uint16_t shape_call_no_params[] = {12, 16, 4, 0, 12, 13};
static const uint16_t shape_union[] = {8, 12, 4, 8};
static const uint16_t shape_1[] = {6, 5, 4};
static const uint16_t shape_4[] = {6, 8, 4};
static const uint16_t shape_8[] = {6, 12, 4};
static const uint16_t shape_returned_bytes[] = {8, 12, 4, 8};
static const uint16_t shape_void[] = {4, 4};
static const uint16_t shape_error[] = {8, 16, 8, 4};
static const uint16_t shape_log[] = {16, 28, 4, 8, 24, 12, 16, 20};
static const uint16_t shape_details[] = {6, 8, 4};
static const uint16_t shape_function[] = {10, 16, 4, 8, 12};

static void set_u8(struct writer *w, uint64_t at, uint8_t value)
{
    if (w->out != NULL)
        w->out[at] = value;
}

static void set_u32(struct writer *w, uint64_t at, uint32_t value)
{
    if (w->out != NULL)
        store_le32(w->out + at, value);
}

static void set_u64(struct writer *w, uint64_t at, uint64_t value)
{
    if (w->out != NULL)
        store_le64(w->out + at, value);
}

/* The offset at `at` points to what comes next. */
static void set_offset_here(struct writer *w, uint64_t at)
{
    set_u32(w, at, (uint32_t)(w->len - at));
}

static void put_zeroes(struct writer *w, uint64_t n)
{
    w->len += n;
}

static void put_u32(struct writer *w, uint32_t value)
{
    set_u32(w, w->len, value);
    w->len += 4;
}

static void put_data(struct writer *w, const uint8_t *data, uint32_t len)
{
    if (w->out != NULL && len != 0)
        __builtin_memcpy(w->out + w->len, data, len);
    w->len += len;
}

/* Until a length of `rest` above a multiple of `size`, a power of two. */
static void pad(struct writer *w, unsigned size, unsigned rest)
{
    put_zeroes(w, (rest - w->len) & (size - 1));
}

static void put_string(struct writer *w, const uint8_t *data, uint32_t len)
{
    if (w->out == NULL && !msg_is_utf8(data, len))
        w->bad = true;
    put_u32(w, len);
    put_data(w, data, len);
    put_zeroes(w, 1);
    pad(w, 4, 0);
}

static void put_bytes(struct writer *w, const uint8_t *data, uint32_t len)
{
    put_u32(w, len);
    put_data(w, data, len);
    pad(w, 4, 0);
}

/*
 * A vtable and its table, all zeroes, to which the offset at offset_at will
 * point. The table starts `rest` bytes above a multiple of `size`, the size of
 * its largest field, but at least 4. Returns where it is; what comes next is
 * aligned to 4.
 */
static uint64_t put_table_aligned(struct writer *w, uint64_t offset_at, const uint16_t *shape, unsigned size,
                                  unsigned rest)
{
    uint64_t vtable = w->len, at;

    put_data(w, (const uint8_t *)shape, shape[0]);
    pad(w, size, rest);
    if (size > w->align)
        w->align = size;
    at = w->len;
    set_offset_here(w, offset_at);
    put_u32(w, (uint32_t)(at - vtable));
    put_zeroes(w, shape[1] - 4u);
    pad(w, 4, 0);
    return at;
}

static uint64_t put_table(struct writer *w, uint64_t offset_at, const uint16_t *shape)
{
    return put_table_aligned(w, offset_at, shape, 4, 0);
}

/* A table that is a union of that type code, to which the offset at offset_at points; returns the value's
 * offset. */
static uint64_t put_union(struct writer *w, uint64_t offset_at, unsigned type)
{
    uint64_t at = put_table(w, offset_at, shape_union);

    set_u8(w, at + 4, (uint8_t)type);
    return at + 8;
}

static void put_value(struct writer *w, uint64_t offset_at, const struct msg_value *v, bool returned)
{
    uint64_t at;

    switch (v->type) {
    case MSG_INT:
    case MSG_UINT:
    case MSG_FLOAT:
        at = put_table(w, offset_at, shape_4);
        set_u32(w, at + 4, (uint32_t)v->bits);
        break;
    case MSG_LONG:
    case MSG_ULONG:
    case MSG_DOUBLE:
        at = put_table_aligned(w, offset_at, shape_8, 8, 4);
        set_u64(w, at + 4, v->bits);
        break;
    case MSG_BOOL:
        at = put_table(w, offset_at, shape_1);
        set_u8(w, at + 4, v->bits != 0);
        break;
    case MSG_STRING:
        at = put_table(w, offset_at, shape_4);
        set_offset_here(w, at + 4);
        put_string(w, v->data, v->len);
        break;
    case MSG_BYTES:
        at = put_table(w, offset_at, returned ? shape_returned_bytes : shape_4);
        if (returned)
            set_u32(w, at + 4, v->len);
        set_offset_here(w, at + (returned ? 8 : 4));
        put_bytes(w, v->data, v->len);
        break;
    case MSG_VOID: (void)put_table(w, offset_at, shape_void); break;
    }
}

/* In front of every message: the prefix, which is not known yet, and the root's offset. */
static struct writer start(uint8_t *out)
{
    struct writer w = {.out = out, .align = 4};

    put_zeroes(&w, ROOT_AT + 4);
    return w;
}

/* The length of the message, 0 when there is none. */
static size_t finish(struct writer *w)
{
    pad(w, w->align, 0);
    set_u32(w, 0, (uint32_t)(w->len - 4));
    return w->bad || w->len > MSG_LEN_MAX ? 0 : (size_t)w->len;
}

static bool is_type(enum msg_type type, enum msg_type last)
{
    return (unsigned)type <= (unsigned)last;
}

static size_t lay_call(const struct msg_call *call, uint8_t *out)
{
    struct writer w = start(out);
    uint64_t root, vector, value;
    unsigned i;

    if (call->params_n > MSG_PARAMS_MAX || !is_type(call->returns, MSG_VOID))
        return 0;
    root = put_table(&w, ROOT_AT, call->params_n == 0 ? shape_call_no_params : shape_call);
    set_u8(&w, root + 12, call->to_host ? WIRE_CALL_HOST : WIRE_CALL_GUEST);
    set_u8(&w, root + 13, (uint8_t)wire_exchange_return(call->returns));
    set_offset_here(&w, root + 4);
    put_string(&w, call->name, call->name_len);
    if (call->params_n == 0)
        return finish(&w);

    set_offset_here(&w, root + 8);
    put_u32(&w, call->params_n);
    vector = w.len;
    put_zeroes(&w, (uint64_t)4 * call->params_n);
    for (i = 0; i < call->params_n; i++) {
        if (!is_type(call->params[i].type, MSG_BYTES))
            return 0;
        value = put_union(&w, vector + (uint64_t)4 * i, call->params[i].type + WIRE_UNION);
        put_value(&w, value, &call->params[i], false);
    }
    return finish(&w);
}

static size_t lay_result(const struct msg_result *result, uint8_t *out)
{
    struct writer w = start(out);
    uint64_t value, at;

    value = put_union(&w, ROOT_AT, result->is_error ? WIRE_RESULT_ERROR : WIRE_RESULT_VALUE);
    if (result->is_error) {
        at = put_table_aligned(&w, value, shape_error, 8, 0);
        set_u64(&w, at + 8, result->code);
        set_offset_here(&w, at + 4);
        put_string(&w, result->text, result->text_len);
    } else {
        if (!is_type(result->value.type, MSG_VOID))
            return 0;
        value = put_union(&w, value, wire_exchange_return(result->value.type) + WIRE_UNION);
        put_value(&w, value, &result->value, true);
    }
    return finish(&w);
}

static size_t lay_log(const struct msg_log *log, uint8_t *out)
{
    struct writer w = start(out);
    uint64_t root = put_table(&w, ROOT_AT, shape_log);

    if (log->level > MSG_LOG_LEVEL_LAST)
        return 0;
    set_u32(&w, root + 20, log->line);
    set_u8(&w, root + 24, log->level);
    set_offset_here(&w, root + 4);
    put_string(&w, log->message, log->message_len);
    set_offset_here(&w, root + 8);
    put_string(&w, log->source, log->source_len);
    set_offset_here(&w, root + 12);
    put_string(&w, log->caller, log->caller_len);
    set_offset_here(&w, root + 16);
    put_string(&w, log->source_file, log->source_file_len);
    return finish(&w);
}

static bool put_function(struct writer *w, uint64_t offset_at, const struct msg_function *f)
{
    uint64_t at = put_table(w, offset_at, shape_function);
    unsigned i;

    if (f->params_n > MSG_PARAMS_MAX || !is_type(f->returns, MSG_VOID))
        return false;
    set_u8(w, at + 12, (uint8_t)wire_exchange_return(f->returns));
    set_offset_here(w, at + 4);
    put_string(w, f->name, f->name_len);
    set_offset_here(w, at + 8);
    put_u32(w, f->params_n);
    for (i = 0; i < f->params_n; i++) {
        if (!is_type(f->params[i], MSG_BYTES))
            return false;
        set_u8(w, w->len + i, (uint8_t)f->params[i]);
    }
    w->len += f->params_n;
    pad(w, 4, 0);
    return true;
}

static size_t lay_details(const struct msg_function *functions, uint32_t n, uint8_t *out)
{
    struct writer w = start(out);
    uint64_t root = put_table(&w, ROOT_AT, shape_details), vector;
    uint32_t i;

    if (n > MSG_FUNCTIONS_MAX)
        return 0;
    set_offset_here(&w, root + 4);
    put_u32(&w, n);
    vector = w.len;
    put_zeroes(&w, (uint64_t)4 * n);
    for (i = 0; i < n; i++)
        if (!put_function(&w, vector + (uint64_t)4 * i, &functions[i]))
            return 0;
    return finish(&w);
}

size_t msg_call_len(const struct msg_call *call)
{
    return lay_call(call, NULL);
}

size_t msg_result_len(const struct msg_result *result)
{
    return lay_result(result, NULL);
}

size_t msg_log_len(const struct msg_log *log)
{
    return lay_log(log, NULL);
}

size_t msg_details_len(const struct msg_function *functions, uint32_t n)
{
    return lay_details(functions, n, NULL);
}

/* Whether there is such a message and room for it, which is cleared then. */
static bool make_room(size_t len, uint8_t *out, size_t cap)
{
    if (len == 0 || len > cap)
        return false;
    __builtin_memset(out, 0, len);
    return true;
}

size_t msg_write_call(const struct msg_call *call, uint8_t *out, size_t cap)
{
    size_t len = msg_call_len(call);

    return make_room(len, out, cap) ? lay_call(call, out) : 0;
}

size_t msg_write_result(const struct msg_result *result, uint8_t *out, size_t cap)
{
    size_t len = msg_result_len(result);

    return make_room(len, out, cap) ? lay_result(result, out) : 0;
}

size_t msg_write_log(const struct msg_log *log, uint8_t *out, size_t cap)
{
    size_t len = msg_log_len(log);

    return make_room(len, out, cap) ? lay_log(log, out) : 0;
}

size_t msg_write_details(const struct msg_function *functions, uint32_t n, uint8_t *out, size_t cap)
{
    size_t len = msg_details_len(functions, n);

    return make_room(len, out, cap) ? lay_details(functions, n, out) : 0;
}
