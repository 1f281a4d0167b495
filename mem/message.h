/*
 * The messages that travel over the I/O stacks: calls, results, log records,
 * and the list of host functions. Host and guests compile the same codec, so
 * it is freestanding: no libc, no 64-bit division, floats only as their bits.
 *
 * A message is a size-prefixed FlatBuffer without file identifier: a u32 that
 * counts the bytes after it, and then those bytes. The readers take a message
 * as it came from the other side, private and whole, and believe nothing:
 * offsets are checked before they are followed, and strings are UTF-8. What
 * the writers make, every reader of this format accepts.
 */
#ifndef MEM_MESSAGE_H
#define MEM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSG_PARAMS_MAX     32          /* of one call or one host function */
#define MSG_FUNCTIONS_MAX  256         /* of one list of host functions */
#define MSG_LEN_MAX        0x7ffffffcu /* of any message: offsets are signed 32-bit numbers to many readers */
#define MSG_LOG_LEVEL_LAST 6 /* 0 trace, 1 debug, 2 information, 3 warning, 4 error, 5 critical, 6 none */

/* The order is that of parameters on the wire; return types have codes of their own there. */
enum msg_type {
    MSG_INT,
    MSG_UINT,
    MSG_LONG,
    MSG_ULONG,
    MSG_FLOAT,
    MSG_DOUBLE,
    MSG_STRING,
    MSG_BOOL,
    MSG_BYTES,
    MSG_VOID /* only as the type of a result */
};

#define MSG_TYPES_N (MSG_VOID + 1)

/*
 * Why a message was refused. The first failed check counts, and nothing of the
 * message is to be used. From MSG_CALL_TYPE on the structure is sound as far
 * as it was read, but what it says has no meaning.
 */
enum msg_status {
    MSG_OK,
    MSG_TRUNCATED,         /* shorter than any message, or than its sound-looking prefix says */
    MSG_SIZE_PREFIX,       /* the prefix is not the number of bytes after it, or that is above MSG_LEN_MAX */
    MSG_CYCLIC,            /* an offset that is 0 or that wraps back: it must point ahead */
    MSG_OFFSET_RANGE,      /* an offset or a field leaves the message, or a field hides in its table's head */
    MSG_MISALIGNED,        /* something does not lie on a multiple of its size */
    MSG_VTABLE_RANGE,      /* a vtable is not inside the message, or has an impossible length */
    MSG_REQUIRED_MISSING,  /* a field without which the table means nothing is absent */
    MSG_STRING_RANGE,      /* a string reaches past the end */
    MSG_STRING_TERMINATOR, /* the byte after a string is not 0 */
    MSG_VECTOR_RANGE,      /* a vector reaches past the end */
    MSG_LENGTH_OVERFLOW,   /* a length so large that a sum with it overflows a signed 32-bit number */
    MSG_CALL_TYPE,         /* a call is neither to the guest nor to the host */
    MSG_RETURN_TYPE,       /* no such return type */
    MSG_PARAM_TYPE,        /* no such parameter type, in a list of host functions */
    MSG_UNION_TYPE,        /* no such kind of value or result */
    MSG_UTF8,              /* a string is not UTF-8 */
    MSG_LOG_LEVEL,         /* no such log level */
    MSG_LOG_STRING,        /* a log record without one of its four strings */
    MSG_LIMIT              /* sound, but with more than MSG_PARAMS_MAX or MSG_FUNCTIONS_MAX */
};

#define MSG_STATUS_N (MSG_LIMIT + 1)

/*
 * bits: int sign-extended to 64 bits; uint zero-extended; long and ulong as
 * they are; bool 0 or 1; float (in the low 32 bits) and double as IEEE bits;
 * else 0. Writers look only at as many low bits as the type has, and take any
 * bool but 0 for true. data, len: a string or bytes, not copied; the 0 that
 * follows a string on the wire does not count, and a string may contain 0.
 */
struct msg_value {
    enum msg_type type;
    uint64_t bits;
    const uint8_t *data;
    uint32_t len;
};

struct msg_call {
    const uint8_t *name;
    uint32_t name_len;
    bool to_host; /* else to the guest */
    enum msg_type returns;
    unsigned params_n;
    struct msg_value params[MSG_PARAMS_MAX];
};

/* Either a value, or an error: a code and a text that may be empty. */
struct msg_result {
    bool is_error;
    struct msg_value value;
    uint64_t code;
    const uint8_t *text;
    uint32_t text_len;
};

struct msg_log {
    const uint8_t *message, *source, *caller, *source_file;
    uint32_t message_len, source_len, caller_len, source_file_len;
    uint8_t level;
    uint32_t line;
};

/* The signature of a host function. */
struct msg_function {
    const uint8_t *name;
    uint32_t name_len;
    enum msg_type returns;
    unsigned params_n;
    enum msg_type params[MSG_PARAMS_MAX];
};

/* A list of host functions that was read: msg_details_get hands them out. */
struct msg_details {
    const uint8_t *bytes;
    size_t len;
    uint64_t functions_at;
    uint32_t functions_n;
};

/* In lower case and without blanks, such as "offset-range". */
const char *msg_status_name(enum msg_status status);
/* "int", "uint", "long", "ulong", "float", "double", "string", "bool", "bytes", "void". */
const char *msg_type_name(enum msg_type type);

/* Whether the bytes are UTF-8 without overlong forms, surrogates and what lies above 10FFFF. */
bool msg_is_utf8(const uint8_t *bytes, uint64_t len);

/*
 * Read a message of the kind the name says. `bytes` is a private copy that
 * nobody changes, of exactly `len` bytes, which the prefix must agree with; it
 * need not be aligned. What *out points to lies in it: keep it as long.
 *
 * Returns MSG_OK, or why the message is refused; *out is untouched then. An
 * error's code is handed on whatever it is.
 */
enum msg_status msg_read_call(const uint8_t *bytes, size_t len, struct msg_call *out);
enum msg_status msg_read_result(const uint8_t *bytes, size_t len, struct msg_result *out);
enum msg_status msg_read_log(const uint8_t *bytes, size_t len, struct msg_log *out);
enum msg_status msg_read_details(const uint8_t *bytes, size_t len, struct msg_details *out);

/* Function number i, below functions_n, of a list that was read and whose bytes are as they were. */
void msg_details_get(const struct msg_details *details, uint32_t i, struct msg_function *out);

/*
 * How long the message will be, or 0 when there is no such message: a string
 * that is not UTF-8, too many parameters or functions, a type or level that
 * does not exist, a parameter of type void, more than MSG_LEN_MAX bytes.
 */
size_t msg_call_len(const struct msg_call *call);
size_t msg_result_len(const struct msg_result *result);
size_t msg_log_len(const struct msg_log *log);
size_t msg_details_len(const struct msg_function *functions, uint32_t n);

/*
 * Write the message, prefix included, to `out`, which need not be aligned.
 * Returns its length, a multiple of 4; or 0, and nothing is written, when it
 * is longer than `cap` or there is no such message. Every field is written,
 * also one that has its default value.
 */
size_t msg_write_call(const struct msg_call *call, uint8_t *out, size_t cap);
size_t msg_write_result(const struct msg_result *result, uint8_t *out, size_t cap);
size_t msg_write_log(const struct msg_log *log, uint8_t *out, size_t cap);
size_t msg_write_details(const struct msg_function *functions, uint32_t n, uint8_t *out, size_t cap);

#endif
