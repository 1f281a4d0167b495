/*
 * What readers and writers of messages share: names, and what is UTF-8.
 */
#include "mem/message.h"

static const char *const status_names[MSG_STATUS_N] = {
    [MSG_OK] = "ok",
    [MSG_TRUNCATED] = "truncated",
    [MSG_SIZE_PREFIX] = "size-prefix",
    [MSG_CYCLIC] = "cyclic",
    [MSG_OFFSET_RANGE] = "offset-range",
    [MSG_MISALIGNED] = "misaligned",
    [MSG_VTABLE_RANGE] = "vtable-range",
    [MSG_REQUIRED_MISSING] = "required-missing",
    [MSG_STRING_RANGE] = "string-range",
    [MSG_STRING_TERMINATOR] = "string-terminator",
    [MSG_VECTOR_RANGE] = "vector-range",
    [MSG_LENGTH_OVERFLOW] = "length-overflow",
    [MSG_CALL_TYPE] = "call-type",
    [MSG_RETURN_TYPE] = "return-type",
    [MSG_PARAM_TYPE] = "param-type",
    [MSG_UNION_TYPE] = "union-type",
    [MSG_UTF8] = "utf-8",
    [MSG_LOG_LEVEL] = "log-level",
    [MSG_LOG_STRING] = "log-string-missing",
    [MSG_LIMIT] = "limit",
};

static const char *const type_names[MSG_TYPES_N] = {
    [MSG_INT] = "int",     [MSG_UINT] = "uint",     [MSG_LONG] = "long",     [MSG_ULONG] = "ulong",
    [MSG_FLOAT] = "float", [MSG_DOUBLE] = "double", [MSG_STRING] = "string", [MSG_BOOL] = "bool",
    [MSG_BYTES] = "bytes", [MSG_VOID] = "void",
};

const char *msg_status_name(enum msg_status status)
{
    return (unsigned)status < MSG_STATUS_N ? status_names[status] : "unknown";
}

const char *msg_type_name(enum msg_type type)
{
    return (unsigned)type < MSG_TYPES_N ? type_names[type] : "unknown";
}

/* How many bytes the character at b takes, of which `left` are there; 0 when it is none (Unicode, table 3-7).
 */
static unsigned utf8_char_len(const uint8_t *b, uint64_t left)
{
    unsigned n = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4, i;

    if (b[0] < 0x80)
        return 1;
    if (b[0] < 0xc2 || b[0] > 0xf4 || left < n)
        return 0;
    for (i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong, a surrogate, above 10FFFF. */
    if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f) || (b[0] == 0xf0 && b[1] < 0x90) ||
        (b[0] == 0xf4 && b[1] > 0x8f))
        return 0;
    return n;
}

bool msg_is_utf8(const uint8_t *bytes, uint64_t len)
{
    uint64_t i;
    unsigned n;

    for (i = 0; i < len; i += n) {
        n = utf8_char_len(bytes + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}
