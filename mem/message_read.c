/*
 * Reads messages from the other side. A position counts from the first byte of
 * the prefix, which is what alignment refers to, and is a 64-bit number, so
 * that no sum of the 32-bit numbers in a message can wrap.
 *
 * The first failed check is kept in the reader, and from then on every field
 * looks absent: a decoder runs to its end without asking after each step, and
 * its answer is used only if nothing failed. 0 is the position of nothing: the
 * prefix lies there.
 */
#include "mem/message.h"

#include "mem/bytes.h"
#include "mem/message_wire.h"

#define LEN_MIN 16 /* prefix, root, a table's one word, the head of a vtable */

struct reader {
    const uint8_t *bytes;
    uint64_t len;
    enum msg_status status;
};

struct table {
    uint64_t at;
    uint64_t vtable;
    unsigned vtable_len;
};

static void refuse(struct reader *r, enum msg_status why)
{
    if (r->status == MSG_OK)
        r->status = why;
}

/*
 * Where the offset at p points; 0 when it is refused. The caller checked that p
 * is aligned and inside. All targets start with an aligned 32-bit word, a
 * table as well as a string or a vector, so that it is checked here once.
 */
static uint64_t follow(struct reader *r, uint64_t p)
{
    uint32_t offset = load_le32(r->bytes + p);

    /* Readers of 32 bits would go back by such an offset. */
    if (offset == 0 || p + offset >= (uint64_t)1 << 32)
        refuse(r, MSG_CYCLIC);
    else if (p + offset + 4 > r->len)
        refuse(r, MSG_OFFSET_RANGE);
    else if (offset % 4 != 0)
        refuse(r, MSG_MISALIGNED);
    else
        return p + offset;
    return 0;
}

/*
 * The table at t, an answer of follow(); one without fields after a refusal,
 * when there need not even be anything at t. The table length in the vtable is
 * not looked at: honest writers let tables of different lengths share a vtable.
 */
static struct table open_table(struct reader *r, uint64_t t)
{
    struct table table = {.at = t};
    int64_t v;

    if (r->status != MSG_OK)
        return table;
    v = (int64_t)t - (int32_t)load_le32(r->bytes + t);
    if (v < 0 || (uint64_t)v + 4 > r->len) {
        refuse(r, MSG_VTABLE_RANGE);
    } else if (v % 2 != 0) {
        refuse(r, MSG_MISALIGNED);
    } else {
        table.vtable = (uint64_t)v;
        table.vtable_len = load_le16(r->bytes + v);
        /* With an odd length the last slot would be half outside. */
        if (table.vtable_len < 4 || table.vtable_len % 2 != 0 || table.vtable + table.vtable_len > r->len)
            refuse(r, MSG_VTABLE_RANGE);
    }
    return table;
}

/* Where the field of that many bytes is; 0 when it is absent or refused. */
static uint64_t find_field(struct reader *r, const struct table *t, unsigned slot, unsigned size)
{
    unsigned entry_at = 4 + 2 * slot, entry;

    if (r->status != MSG_OK || entry_at + 2 > t->vtable_len)
        return 0;
    entry = load_le16(r->bytes + t->vtable + entry_at);
    if (entry == 0)
        return 0;
    if (((t->at + entry) & (size - 1)) != 0)
        refuse(r, MSG_MISALIGNED);
    else if (entry < 4 || t->at + entry + size > r->len)
        refuse(r, MSG_OFFSET_RANGE);
    else
        return t->at + entry;
    return 0;
}

static uint8_t read_u8(struct reader *r, const struct table *t, unsigned slot)
{
    uint64_t at = find_field(r, t, slot, 1);

    return at == 0 ? 0 : r->bytes[at];
}

static uint32_t read_u32(struct reader *r, const struct table *t, unsigned slot)
{
    uint64_t at = find_field(r, t, slot, 4);

    return at == 0 ? 0 : load_le32(r->bytes + at);
}

static uint64_t read_u64(struct reader *r, const struct table *t, unsigned slot)
{
    uint64_t at = find_field(r, t, slot, 8);

    return at == 0 ? 0 : load_le64(r->bytes + at);
}

/* What the offset in that field points to; 0 when it is absent or refused. */
static uint64_t read_target(struct reader *r, const struct table *t, unsigned slot)
{
    uint64_t at = find_field(r, t, slot, 4);

    return at == 0 ? 0 : follow(r, at);
}

/* `end`, where something of an untrusted length ends, is inside; else refused, as `why` if it is not absurd.
 */
static bool is_inside(struct reader *r, uint64_t end, enum msg_status why)
{
    if (end <= r->len)
        return true;
    refuse(r, end > INT32_MAX ? MSG_LENGTH_OVERFLOW : why);
    return false;
}

/* A vector of elements of 1 or 4 bytes: where the first is, and how many; 0 and none when absent or refused.
 */
static uint64_t read_vector(struct reader *r, const struct table *t, unsigned slot, unsigned size,
                            uint32_t *n)
{
    uint64_t at = read_target(r, t, slot);
    uint32_t count;

    *n = 0;
    if (at == 0)
        return 0;
    count = load_le32(r->bytes + at);
    /* 32-bit numbers, multiplied in 64 bits. */
    if (!is_inside(r, at + 4 + (uint64_t)count * size, MSG_VECTOR_RANGE))
        return 0;
    *n = count;
    return at + 4;
}

static void read_bytes(struct reader *r, const struct table *t, unsigned slot, const uint8_t **data,
                       uint32_t *len)
{
    uint64_t at = read_vector(r, t, slot, 1, len);

    *data = r->bytes + at;
}

/* Absent is refused as `absent`, MSG_OK refusing nothing. *data and *len stay as they are then. */
static void read_string(struct reader *r, const struct table *t, unsigned slot, enum msg_status absent,
                        const uint8_t **data, uint32_t *len)
{
    uint64_t at = read_target(r, t, slot);
    uint32_t n;

    if (at == 0) {
        refuse(r, absent);
        return;
    }
    n = load_le32(r->bytes + at);
    if (!is_inside(r, at + 4 + n + 1, MSG_STRING_RANGE))
        return;
    *data = r->bytes + at + 4;
    *len = n;
    if ((*data)[n] != 0)
        refuse(r, MSG_STRING_TERMINATOR);
    else if (!msg_is_utf8(*data, n))
        refuse(r, MSG_UTF8);
}

/* The table in which the message's value is; `type` is the code that the union gives it, 1 to `last`. */
static struct table read_union(struct reader *r, const struct table *t, unsigned last, unsigned *type)
{
    uint64_t at;

    *type = read_u8(r, t, UNION_TYPE);
    at = read_target(r, t, UNION_VALUE);
    if (at == 0)
        refuse(r, MSG_REQUIRED_MISSING);
    if (*type == 0 || *type > last)
        refuse(r, MSG_UNION_TYPE);
    return open_table(r, at);
}

static struct msg_value read_value(struct reader *r, const struct table *t, enum msg_type type, bool returned)
{
    struct msg_value v = {.type = type, .data = r->bytes};

    switch (type) {
    case MSG_INT: v.bits = (uint64_t)(int32_t)read_u32(r, t, VALUE); break;
    case MSG_UINT:
    case MSG_FLOAT: v.bits = read_u32(r, t, VALUE); break;
    case MSG_LONG:
    case MSG_ULONG:
    case MSG_DOUBLE: v.bits = read_u64(r, t, VALUE); break;
    case MSG_STRING: read_string(r, t, VALUE, MSG_OK, &v.data, &v.len); break;
    case MSG_BOOL: v.bits = read_u8(r, t, VALUE) != 0; break;
    case MSG_BYTES:
        /* A result carries the length twice. The vector's counts; the other has to be a field all the same.
         */
        if (returned)
            (void)read_u32(r, t, RETURNED_BYTES_LEN);
        read_bytes(r, t, returned ? RETURNED_BYTES : VALUE, &v.data, &v.len);
        break;
    case MSG_VOID: break;
    }
    return v;
}

static enum msg_type read_return_type(struct reader *r, const struct table *t, unsigned slot)
{
    unsigned code = read_u8(r, t, slot);

    if (code > WIRE_RETURN_LAST)
        refuse(r, MSG_RETURN_TYPE);
    return (enum msg_type)wire_exchange_return(code);
}

/* The length of bytes and prefix, and the root table. */
static struct table open_message(struct reader *r, const uint8_t *bytes, size_t len)
{
    uint64_t announced;

    *r = (struct reader){.bytes = bytes, .len = len};
    if (len < LEN_MIN) {
        refuse(r, MSG_TRUNCATED);
        return (struct table){.at = 0};
    }
    announced = (uint64_t)load_le32(bytes) + 4;
    /* Messages are padded to 4: a length that no writer makes is broken, not the rest of the message missing.
     */
    if (announced > r->len && announced <= MSG_LEN_MAX && announced % 4 == 0)
        refuse(r, MSG_TRUNCATED);
    else if (announced != r->len || announced > MSG_LEN_MAX)
        refuse(r, MSG_SIZE_PREFIX);
    return open_table(r, follow(r, ROOT_AT));
}

enum msg_status msg_read_call(const uint8_t *bytes, size_t len, struct msg_call *out)
{
    struct reader r;
    struct table root = open_message(&r, bytes, len), param, value;
    struct msg_call call = {.name = bytes};
    uint64_t params_at;
    uint32_t params_n, i;
    unsigned type;

    read_string(&r, &root, CALL_NAME, MSG_REQUIRED_MISSING, &call.name, &call.name_len);
    params_at = read_vector(&r, &root, CALL_PARAMS, 4, &params_n);
    if (params_n > MSG_PARAMS_MAX)
        refuse(&r, MSG_LIMIT);
    for (i = 0; i < params_n && r.status == MSG_OK; i++) {
        param = open_table(&r, follow(&r, params_at + (uint64_t)4 * i));
        value = read_union(&r, &param, WIRE_PARAM_LAST + WIRE_UNION, &type);
        if (r.status == MSG_OK)
            call.params[i] = read_value(&r, &value, (enum msg_type)(type - WIRE_UNION), false);
    }
    call.params_n = params_n;
    type = read_u8(&r, &root, CALL_TYPE);
    if (type != WIRE_CALL_GUEST && type != WIRE_CALL_HOST)
        refuse(&r, MSG_CALL_TYPE);
    call.to_host = type == WIRE_CALL_HOST;
    call.returns = read_return_type(&r, &root, CALL_RETURNS);
    if (r.status == MSG_OK)
        *out = call;
    return r.status;
}

enum msg_status msg_read_result(const uint8_t *bytes, size_t len, struct msg_result *out)
{
    struct reader r;
    struct table root = open_message(&r, bytes, len), box, value;
    struct msg_result result = {.text = bytes, .value = {.type = MSG_VOID, .data = bytes}};
    unsigned type;

    box = read_union(&r, &root, WIRE_RESULT_ERROR, &type);
    result.is_error = type == WIRE_RESULT_ERROR;
    if (result.is_error) {
        result.code = read_u64(&r, &box, ERROR_CODE);
        read_string(&r, &box, ERROR_TEXT, MSG_OK, &result.text, &result.text_len);
    } else {
        value = read_union(&r, &box, WIRE_RETURN_LAST + WIRE_UNION, &type);
        if (r.status == MSG_OK)
            result.value =
                read_value(&r, &value, (enum msg_type)wire_exchange_return(type - WIRE_UNION), true);
    }
    if (r.status == MSG_OK)
        *out = result;
    return r.status;
}

enum msg_status msg_read_log(const uint8_t *bytes, size_t len, struct msg_log *out)
{
    struct reader r;
    struct table root = open_message(&r, bytes, len);
    struct msg_log log = {.message = bytes};

    read_string(&r, &root, LOG_MESSAGE, MSG_LOG_STRING, &log.message, &log.message_len);
    read_string(&r, &root, LOG_SOURCE, MSG_LOG_STRING, &log.source, &log.source_len);
    read_string(&r, &root, LOG_CALLER, MSG_LOG_STRING, &log.caller, &log.caller_len);
    read_string(&r, &root, LOG_SOURCE_FILE, MSG_LOG_STRING, &log.source_file, &log.source_file_len);
    log.level = read_u8(&r, &root, LOG_LEVEL);
    if (log.level > MSG_LOG_LEVEL_LAST)
        refuse(&r, MSG_LOG_LEVEL);
    log.line = read_u32(&r, &root, LOG_LINE);
    if (r.status == MSG_OK)
        *out = log;
    return r.status;
}

static struct msg_function read_function(struct reader *r, uint64_t offset_at)
{
    struct table t = open_table(r, follow(r, offset_at));
    struct msg_function f = {.name = r->bytes};
    const uint8_t *codes;
    uint32_t n, i;

    read_string(r, &t, FUNCTION_NAME, MSG_REQUIRED_MISSING, &f.name, &f.name_len);
    read_bytes(r, &t, FUNCTION_PARAMS, &codes, &n);
    if (n > MSG_PARAMS_MAX)
        refuse(r, MSG_LIMIT);
    for (i = 0; i < n && r->status == MSG_OK; i++) {
        if (codes[i] > WIRE_PARAM_LAST)
            refuse(r, MSG_PARAM_TYPE);
        f.params[i] = (enum msg_type)codes[i];
    }
    f.params_n = n;
    f.returns = read_return_type(r, &t, FUNCTION_RETURNS);
    return f;
}

enum msg_status msg_read_details(const uint8_t *bytes, size_t len, struct msg_details *out)
{
    struct reader r;
    struct table root = open_message(&r, bytes, len);
    struct msg_details details = {.bytes = bytes, .len = len};
    uint32_t i;

    details.functions_at = read_vector(&r, &root, DETAILS_FUNCTIONS, 4, &details.functions_n);
    if (details.functions_n > MSG_FUNCTIONS_MAX)
        refuse(&r, MSG_LIMIT);
    for (i = 0; i < details.functions_n && r.status == MSG_OK; i++)
        (void)read_function(&r, details.functions_at + (uint64_t)4 * i);
    if (r.status == MSG_OK)
        *out = details;
    return r.status;
}

void msg_details_get(const struct msg_details *details, uint32_t i, struct msg_function *out)
{
    struct reader r = {.bytes = details->bytes, .len = details->len};

    *out = read_function(&r, details->functions_at + (uint64_t)4 * i);
}
