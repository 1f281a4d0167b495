/*
 * mem/message: the worked examples byte by byte, every type with extreme
 * values there and back, and what cannot be written.
 */
#include "tests/tap.h"

#include <stdlib.h>

#include "mem/bytes.h"
#include "mem/message.h"
#include "tests/fuzz/ref_message.h"
#include "tests/unit/messages.h"

#define BIG (64 * 1024)

static uint8_t big[BIG];

/* m as text is what both readers make of its bytes. */
static void check_round_trip(enum kind kind, const struct any *m)
{
    static struct text meant;
    size_t len;
    uint8_t *bytes;

    any_text(kind, m, &meant);
    bytes = write_checked(kind, m, &len);
    if (bytes == NULL)
        return;
    CHECK(readers_agree(kind, bytes, len));
    CHECK_STR(ref_said.s, meant.s);
    free(bytes);
}

/* The same as our writer lays it out: every field there, nothing shared, everything ahead. */
static const uint8_t add_written[] = {
    0x7c, 0x00, 0x00, 0x00,                         /* prefix */
    0x10, 0x00, 0x00, 0x00,                         /* root at 14 */
    0x0c, 0x00, 0x10, 0x00,                         /* 08: vtable */
    0x04, 0x00, 0x08, 0x00, 0x0c, 0x00, 0x0d, 0x00, /* name, parameters, type, return type */
    0x0c, 0x00, 0x00, 0x00,                         /* 14: the call */
    0x0c, 0x00, 0x00, 0x00,                         /* name at 24 */
    0x10, 0x00, 0x00, 0x00,                         /* parameters at 2c */
    0x01, 0x00, 0x00, 0x00,                         /* to the guest, int */
    0x03, 0x00, 0x00, 0x00, 'A',  'd',  'd',  0x00, /* 24 */
    0x02, 0x00, 0x00, 0x00,                         /* 2c: two */
    0x10, 0x00, 0x00, 0x00,                         /* the first at 40 */
    0x30, 0x00, 0x00, 0x00,                         /* the second at 64 */
    0x08, 0x00, 0x0c, 0x00, 0x04, 0x00, 0x08, 0x00, /* 38: vtable */
    0x08, 0x00, 0x00, 0x00,                         /* 40: the first parameter */
    0x01, 0x00, 0x00, 0x00,                         /* int */
    0x0c, 0x00, 0x00, 0x00,                         /* value at 54 */
    0x06, 0x00, 0x08, 0x00, 0x04, 0x00, 0x00, 0x00, /* 4c: vtable, and 2 bytes to align */
    0x08, 0x00, 0x00, 0x00,                         /* 54 */
    0x01, 0x00, 0x00, 0x00,                         /* 1 */
    0x08, 0x00, 0x0c, 0x00, 0x04, 0x00, 0x08, 0x00, /* 5c: vtable */
    0x08, 0x00, 0x00, 0x00,                         /* 64: the second parameter */
    0x01, 0x00, 0x00, 0x00,                         /* int */
    0x0c, 0x00, 0x00, 0x00,                         /* value at 78 */
    0x06, 0x00, 0x08, 0x00, 0x04, 0x00, 0x00, 0x00, /* 70: vtable */
    0x08, 0x00, 0x00, 0x00,                         /* 78 */
    0x29, 0x00, 0x00, 0x00,                         /* 41 */
};

static void test_examples(void)
{
    static struct any m;
    uint8_t *copy, *bytes;
    size_t len;

    tap_case("the worked example is read as Add(1, 41)");
    copy = copy_of(add_example, sizeof(add_example));
    CHECK_EQ(sizeof(add_example), 0x78);
    if (CHECK_EQ(msg_read_call(copy, sizeof(add_example), &m.call), MSG_OK)) {
        CHECK(m.call.name == copy + 0x74 && m.call.name_len == 3 && memcmp(m.call.name, "Add", 3) == 0);
        CHECK(!m.call.to_host);
        CHECK_EQ(m.call.returns, MSG_INT);
        CHECK_EQ(m.call.params_n, 2);
        CHECK(m.call.params[0].type == MSG_INT && m.call.params[0].bits == 1);
        CHECK(m.call.params[1].type == MSG_INT && m.call.params[1].bits == 41);
        CHECK(m.call.params[2].type == 0 && m.call.params[2].bits == 0 && m.call.params[2].data == NULL);
    }
    free(copy);

    tap_case("Add(1, 41) is written as the recommended layouts say");
    set_add(&m);
    bytes = write_checked(KIND_CALL, &m, &len);
    CHECK_EQ(len, sizeof(add_written));
    CHECK(bytes != NULL && len == sizeof(add_written) && memcmp(bytes, add_written, len) == 0);
    free(bytes);

    tap_case("a result of int 42 takes 64 bytes, a void one 56, a call without parameters 52");
    m.result = (struct msg_result){.value = scalar(MSG_INT, 42)};
    CHECK_EQ(msg_result_len(&m.result), 64);
    m.result.value.type = MSG_VOID;
    CHECK_EQ(msg_result_len(&m.result), 56);
    m.call = (struct msg_call){.name = bytes_of("Shutdown"), .name_len = 8};
    CHECK_EQ(msg_call_len(&m.call), 52);

    tap_case("a message with an 8-byte number in it is padded to 8, another to 4");
    m.result = (struct msg_result){.is_error = true, .text = bytes_of("text"), .text_len = 4};
    CHECK_EQ(msg_result_len(&m.result), 72);
    set_add(&m);
    CHECK_EQ(msg_call_len(&m.call), 128);
    m.call.params[0].type = MSG_LONG;
    CHECK_EQ(msg_call_len(&m.call), 136);
    m.call.name_len = 0;
    m.call.params[1].type = MSG_STRING;
    CHECK_EQ(msg_call_len(&m.call), 144);

    tap_case("a result of bytes carries their length twice");
    m.result = (struct msg_result){.value = blob(MSG_BYTES, "abc", 3)};
    bytes = write_checked(KIND_RESULT, &m, &len);
    CHECK(bytes != NULL && len == 76 && load_le32(bytes + 60) == 3 && load_le32(bytes + 68) == 3);
    free(bytes);
}

static void test_values(void)
{
    static const struct {
        enum msg_type type;
        uint64_t bits;
    } scalars[] = {
        {MSG_INT, 0},
        {MSG_INT, 1},
        {MSG_INT, UINT64_MAX},
        {MSG_INT, INT32_MAX},
        {MSG_INT, (uint64_t)INT32_MIN},
        {MSG_UINT, 0},
        {MSG_UINT, 0x80000000u},
        {MSG_UINT, UINT32_MAX},
        {MSG_LONG, 0},
        {MSG_LONG, UINT64_MAX},
        {MSG_LONG, INT64_MAX},
        {MSG_LONG, (uint64_t)1 << 63},
        {MSG_LONG, ((uint64_t)1 << 53) + 1},
        {MSG_ULONG, 0},
        {MSG_ULONG, UINT64_MAX},
        {MSG_ULONG, 0x0102030405060708u},
        {MSG_FLOAT, 0},
        {MSG_FLOAT, 0x80000000u}, /* -0.0 */
        {MSG_FLOAT, 1},           /* denormal */
        {MSG_FLOAT, 0x7f800000u}, /* infinity */
        {MSG_FLOAT, 0x7f812345u}, /* signalling NaN */
        {MSG_FLOAT, 0xffc54321u}, /* quiet NaN with a sign */
        {MSG_DOUBLE, 0},
        {MSG_DOUBLE, (uint64_t)1 << 63}, /* -0.0 */
        {MSG_DOUBLE, 1},
        {MSG_DOUBLE, 0x7ff0000000000000u},
        {MSG_DOUBLE, 0x7ff0000012345678u}, /* signalling NaN */
        {MSG_DOUBLE, 0xfff8000000054321u},
        {MSG_BOOL, 0},
        {MSG_BOOL, 1},
    };
    static const struct {
        enum msg_type type;
        const char *data;
        uint32_t len;
    } blobs[] = {
        {MSG_STRING, NULL, 0},
        {MSG_STRING, "", 0},
        {MSG_STRING, "a", 1},
        {MSG_STRING, "a\0b", 3},
        {MSG_STRING, "\0\0\0\0", 4},
        {MSG_STRING, "h\xc3\xa9\xe4\xb8\x96\xf0\x9f\x99\x82", 10},
        {MSG_BYTES, NULL, 0},
        {MSG_BYTES, "\xff", 1},
        {MSG_BYTES, "\0\x80\xff", 3},
        {MSG_BYTES, "abcd", 4},
        {MSG_BYTES, (const char *)big, BIG - 1},
        {MSG_BYTES, (const char *)big, BIG},
    };
    static struct any m;
    struct msg_value values[64];
    unsigned values_n = 0, i, j;

    for (i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++)
        values[values_n++] = scalar(scalars[i].type, scalars[i].bits);
    for (i = 0; i < sizeof(blobs) / sizeof(blobs[0]); i++)
        values[values_n++] = blob(blobs[i].type, blobs[i].data, blobs[i].len);

    tap_case("every type with extreme values is read as it was written, as a parameter");
    for (i = 0; i < values_n; i++) {
        set_add(&m);
        m.call.params[1] = values[i];
        m.call.to_host = i % 2;
        check_round_trip(KIND_CALL, &m);
    }

    tap_case("every type with extreme values is read as it was written, as a result");
    values[values_n++] = scalar(MSG_VOID, 0);
    for (i = 0; i < values_n; i++) {
        m.result = (struct msg_result){.value = values[i]};
        check_round_trip(KIND_RESULT, &m);
    }

    tap_case("32 parameters of all types in any order are read as they were written");
    for (j = 0; j + MSG_PARAMS_MAX < values_n; j++) {
        m.call = (struct msg_call){.name = bytes_of(""), .params_n = MSG_PARAMS_MAX, .returns = MSG_VOID};
        for (i = 0; i < MSG_PARAMS_MAX; i++)
            m.call.params[i] = values[(i * 7 + j) % (values_n - 1)];
        check_round_trip(KIND_CALL, &m);
    }

    tap_case("every return type is read as it was written, to host and guest, with and without parameters");
    for (i = 0; i < MSG_TYPES_N * 4; i++) {
        set_add(&m);
        m.call.returns = (enum msg_type)(i / 4);
        m.call.to_host = i & 1;
        m.call.params_n = i & 2;
        check_round_trip(KIND_CALL, &m);
    }

    tap_case("a writer looks at the low bits of a value only, and takes any bool but 0 for true");
    set_add(&m);
    m.call.params[0] = scalar(MSG_INT, 0xdeadbeeffffffff9u);
    m.call.params[1] = scalar(MSG_BOOL, 0x100);
    {
        size_t len;
        uint8_t *bytes = write_checked(KIND_CALL, &m, &len);

        CHECK(bytes != NULL && readers_agree(KIND_CALL, bytes, len));
        CHECK_EQ(got.call.params[0].bits, (uint64_t)-7);
        CHECK_EQ(got.call.params[1].bits, 1);
        free(bytes);
    }

    tap_case("errors with any code and text are read as they were written");
    for (i = 0; i < 4; i++) {
        m.result = (struct msg_result){.is_error = true,
                                       .code = (uint64_t[]){0, 17, ((uint64_t)1 << 32) + 4, UINT64_MAX}[i]};
        m.result.text = bytes_of("inner\0text");
        m.result.text_len = (uint32_t[]){0, 10, 3, 4}[i];
        check_round_trip(KIND_RESULT, &m);
    }

    tap_case("log records of every level are read as they were written");
    for (i = 0; i <= MSG_LOG_LEVEL_LAST; i++) {
        m.log = (struct msg_log){.message = bytes_of("message"),
                                 .message_len = i,
                                 .source = bytes_of("a source"),
                                 .source_len = 8 - i,
                                 .caller = bytes_of("caller"),
                                 .caller_len = 6,
                                 .source_file = bytes_of("src/file.c"),
                                 .source_file_len = i + 1,
                                 .level = (uint8_t)i,
                                 .line = (uint32_t[]){0, 1, UINT32_MAX, 77}[i % 4]};
        check_round_trip(KIND_LOG, &m);
    }

    tap_case("lists of host functions of any length are read as they were written");
    for (i = 0; i <= MSG_FUNCTIONS_MAX; i = i < 4 ? i + 1 : i * 4) {
        m.details.functions_n = i;
        for (j = 0; j < i; j++) {
            unsigned k;

            m.functions[j] = (struct msg_function){.name = bytes_of("HostFunction"),
                                                   .name_len = j % 13,
                                                   .returns = (enum msg_type)(j % MSG_TYPES_N),
                                                   .params_n = j % (MSG_PARAMS_MAX + 1)};
            /* What is behind the last parameter is nobody's business. */
            for (k = 0; k < MSG_PARAMS_MAX; k++)
                m.functions[j].params[k] =
                    k < m.functions[j].params_n ? (enum msg_type)((j + k) % MSG_VOID) : 77;
        }
        check_round_trip(KIND_DETAILS, &m);
    }
}

/* Both ways: the writer has no length for it and writes nothing. */
static void check_no_message(enum kind kind, const struct any *m)
{
    uint8_t out[512] = {0};
    size_t i;

    CHECK_EQ(any_len(kind, m), 0);
    CHECK_EQ(any_write(kind, m, out, sizeof(out)), 0);
    for (i = 0; i < sizeof(out) && out[i] == 0; i++)
        ;
    CHECK_EQ(i, sizeof(out));
}

static void test_writer_refuses(void)
{
    static struct any m;
    static const struct msg_function many[MSG_FUNCTIONS_MAX + 1];
    uint32_t i;

    tap_case("there is no call with more than 32 parameters, an unknown type or a void parameter");
    set_add(&m);
    m.call.params_n = MSG_PARAMS_MAX + 1;
    check_no_message(KIND_CALL, &m);
    set_add(&m);
    m.call.returns = (enum msg_type)MSG_TYPES_N;
    check_no_message(KIND_CALL, &m);
    set_add(&m);
    m.call.params[1].type = MSG_VOID;
    check_no_message(KIND_CALL, &m);
    m.call.params[1].type = (enum msg_type)77;
    check_no_message(KIND_CALL, &m);
    m.result = (struct msg_result){.value = scalar((enum msg_type)MSG_TYPES_N, 0)};
    check_no_message(KIND_RESULT, &m);

    tap_case("there is no message with a string that is not UTF-8");
    set_add(&m);
    m.call.name = bytes_of("\xff");
    m.call.name_len = 1;
    check_no_message(KIND_CALL, &m);
    set_add(&m);
    m.call.params[1] = blob(MSG_STRING, "a\x80", 2);
    check_no_message(KIND_CALL, &m);
    m.result = (struct msg_result){.is_error = true, .text = bytes_of("\xc3"), .text_len = 1};
    check_no_message(KIND_RESULT, &m);
    for (i = 0; i < 4; i++) {
        const uint8_t *good = bytes_of("x"), *bad = bytes_of("\xed\xa0\x80");

        m.log = (struct msg_log){.message = i == 0 ? bad : good,
                                 .message_len = i == 0 ? 3 : 1,
                                 .source = i == 1 ? bad : good,
                                 .source_len = i == 1 ? 3 : 1,
                                 .caller = i == 2 ? bad : good,
                                 .caller_len = i == 2 ? 3 : 1,
                                 .source_file = i == 3 ? bad : good,
                                 .source_file_len = i == 3 ? 3 : 1};
        check_no_message(KIND_LOG, &m);
    }

    tap_case("there is no log record above level 6");
    m.log = (struct msg_log){.level = MSG_LOG_LEVEL_LAST + 1};
    check_no_message(KIND_LOG, &m);

    tap_case("there is no list of more than 256 functions, or with a type that does not exist");
    memset(m.functions, 0, sizeof(m.functions));
    m.details.functions_n = 1;
    m.functions[0] = (struct msg_function){.returns = (enum msg_type)MSG_TYPES_N};
    check_no_message(KIND_DETAILS, &m);
    m.functions[0] = (struct msg_function){.params_n = 1, .params = {MSG_VOID}};
    check_no_message(KIND_DETAILS, &m);
    m.functions[0] = (struct msg_function){.params_n = MSG_PARAMS_MAX + 1};
    check_no_message(KIND_DETAILS, &m);
    m.functions[0] = (struct msg_function){.name = bytes_of("\x80"), .name_len = 1};
    check_no_message(KIND_DETAILS, &m);
    CHECK_EQ(msg_details_len(many, MSG_FUNCTIONS_MAX + 1), 0);
    CHECK(msg_details_len(many, MSG_FUNCTIONS_MAX) != 0);

    /* Only counted, so the bytes need not exist. The rest of this message is 72 bytes; the end is padded
     * to 4.
     */
    tap_case("there is no message longer than MSG_LEN_MAX, however its parts add up");
    m.result = (struct msg_result){.value = blob(MSG_BYTES, big, 8)};
    CHECK_EQ(msg_result_len(&m.result), 80);
    m.result.value.len = MSG_LEN_MAX - 72;
    CHECK_EQ(msg_result_len(&m.result), MSG_LEN_MAX);
    m.result.value.len++;
    CHECK_EQ(msg_result_len(&m.result), 0);
    m.result.value.len = UINT32_MAX;
    CHECK_EQ(msg_result_len(&m.result), 0);
    m.call = (struct msg_call){.params_n = MSG_PARAMS_MAX};
    for (i = 0; i < MSG_PARAMS_MAX; i++)
        m.call.params[i] = blob(MSG_BYTES, big, UINT32_MAX - 7);
    check_no_message(KIND_CALL, &m);
}

static void test_names(void)
{
    unsigned i, j;

    tap_case("every status and type has a name of its own");
    for (i = 0; i < MSG_STATUS_N; i++)
        for (j = 0; j < i; j++)
            CHECK(strcmp(msg_status_name((enum msg_status)i), msg_status_name((enum msg_status)j)) != 0);
    CHECK_STR(msg_status_name((enum msg_status)MSG_STATUS_N), "unknown");
    for (i = 0; i < MSG_TYPES_N; i++)
        CHECK_STR(msg_type_name((enum msg_type)i), text_types[i]);
    CHECK_STR(msg_type_name((enum msg_type)MSG_TYPES_N), "unknown");
}

int main(void)
{
    unsigned i;

    for (i = 0; i < BIG; i++)
        big[i] = (uint8_t)(31 * i + 7 * (i >> 8));
    test_names();
    test_examples();
    test_values();
    test_writer_refuses();
    return tap_done();
}
