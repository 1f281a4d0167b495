/*
 * mem/message_read: each rule to the byte, and whatever changes a sound message
 * against the second reader of tests/fuzz/ref_message.h.
 */
#include "tests/tap.h"

#include <stdlib.h>

#include "mem/bytes.h"
#include "mem/message.h"
#include "tests/fuzz/ref_message.h"
#include "tests/unit/messages.h"

/* What the readers make of a word of a message when it has that value. */
static void check_changed(const char *what, uint32_t at, uint32_t size, uint32_t value,
                          enum msg_status wanted)
{
    uint8_t *bytes = copy_of(add_example, sizeof(add_example));
    struct msg_call call;

    if (size == 1)
        bytes[at] = (uint8_t)value;
    else if (size == 2)
        store_le16(bytes + at, (uint16_t)value);
    else
        store_le32(bytes + at, value);
    if (!CHECK_STR(msg_status_name(msg_read_call(bytes, sizeof(add_example), &call)),
                   msg_status_name(wanted)))
        printf("# %s\n", what);
    CHECK(readers_agree(KIND_CALL, bytes, sizeof(add_example)));
    free(bytes);
}

static void test_rules(void)
{
    static struct any m;
    uint8_t *bytes, *longer;
    size_t len, i;

    tap_case("each rule of the structure is kept to the byte");
    check_changed("a prefix that is too small", 0, 4, 0x70, MSG_SIZE_PREFIX);
    check_changed("a prefix that is one too large", 0, 4, 0x75, MSG_SIZE_PREFIX);
    check_changed("a prefix that announces more", 0, 4, 0x78, MSG_TRUNCATED);
    check_changed("the largest prefix that a writer makes", 0, 4, 0x7ffffff8, MSG_TRUNCATED);
    check_changed("a prefix beyond that", 0, 4, 0x7ffffffc, MSG_SIZE_PREFIX);
    check_changed("an offset to itself", 4, 4, 0, MSG_CYCLIC);
    check_changed("an offset that wraps to itself less one", 4, 4, 0xffffffff, MSG_CYCLIC);
    check_changed("an offset that wraps to the first byte", 4, 4, 0xfffffffc, MSG_CYCLIC);
    check_changed("an offset that just does not wrap", 4, 4, 0xfffffffb, MSG_OFFSET_RANGE);
    check_changed("the largest offset", 4, 4, 0x7fffffff, MSG_OFFSET_RANGE);
    check_changed("an offset to the end", 4, 4, 0x74, MSG_OFFSET_RANGE);
    check_changed("an offset to 3 bytes before it", 4, 4, 0x71, MSG_OFFSET_RANGE);
    check_changed("an offset to the last word, which is no table", 4, 4, 0x70, MSG_VTABLE_RANGE);
    check_changed("an offset to an odd place", 4, 4, 0x12, MSG_MISALIGNED);
    check_changed("a vtable at -2", 0x14, 4, 0x16, MSG_VTABLE_RANGE);
    check_changed("a vtable of which only 2 bytes are inside", 0x14, 4, (uint32_t)(0x14 - 0x76),
                  MSG_VTABLE_RANGE);
    check_changed("a vtable in the last 4 bytes, of absurd length", 0x14, 4, (uint32_t)(0x14 - 0x74),
                  MSG_VTABLE_RANGE);
    check_changed("an odd vtable", 0x14, 4, 0x0b, MSG_MISALIGNED);
    check_changed("a vtable without its head", 0x0a, 2, 2, MSG_VTABLE_RANGE);
    check_changed("an empty vtable", 0x0a, 2, 4, MSG_REQUIRED_MISSING);
    check_changed("an odd vtable length", 0x0a, 2, 9, MSG_VTABLE_RANGE);
    check_changed("a vtable to the end, with slots nobody knows", 0x0a, 2, 0x6e, MSG_OK);
    check_changed("a vtable past the end", 0x0a, 2, 0x70, MSG_VTABLE_RANGE);
    check_changed("a table length that lies", 0x0c, 2, 0xffff, MSG_OK);
    check_changed("a field on the table's head", 0x12, 2, 3, MSG_OFFSET_RANGE);
    check_changed("a field behind the table's head", 0x12, 2, 4, MSG_CALL_TYPE);
    check_changed("a byte at the very end", 0x12, 2, 0x78 - 0x14 - 1, MSG_CALL_TYPE);
    check_changed("a byte behind the end", 0x12, 2, 0x78 - 0x14, MSG_OFFSET_RANGE);
    check_changed("a word at the very end", 0x10, 2, 0x78 - 0x14 - 4, MSG_OFFSET_RANGE);
    check_changed("a word behind the end", 0x10, 2, 0x78 - 0x14, MSG_OFFSET_RANGE);
    check_changed("a word at an odd place", 0x10, 2, 13, MSG_MISALIGNED);
    check_changed("no parameters", 0x10, 2, 0, MSG_OK);
    check_changed("no name", 0x0e, 2, 0, MSG_REQUIRED_MISSING);
    check_changed("no value", 0x36, 2, 0, MSG_REQUIRED_MISSING);
    check_changed("no value's type", 0x34, 2, 0, MSG_UNION_TYPE);
    check_changed("a vector of none", 0x24, 4, 0, MSG_OK);
    check_changed("a vector of three, the third of which is a vtable", 0x24, 4, 3, MSG_OFFSET_RANGE);
    check_changed("a vector to the end", 0x24, 4, 20, MSG_OFFSET_RANGE);
    check_changed("a vector past the end", 0x24, 4, 21, MSG_VECTOR_RANGE);
    check_changed("the longest vector that does not overflow", 0x24, 4, (0x7fffffff - 0x28) / 4,
                  MSG_VECTOR_RANGE);
    check_changed("a vector that overflows", 0x24, 4, (0x7fffffff - 0x28) / 4 + 1, MSG_LENGTH_OVERFLOW);
    check_changed("a string with its terminator in it", 0x70, 4, 4, MSG_STRING_RANGE);
    check_changed("a string without", 0x70, 4, 2, MSG_STRING_TERMINATOR);
    check_changed("a string that is not ended", 0x77, 1, 1, MSG_STRING_TERMINATOR);
    check_changed("the longest string that does not overflow", 0x70, 4, 0x7fffffff - 0x75, MSG_STRING_RANGE);
    check_changed("a string that overflows", 0x70, 4, 0x7fffffff - 0x74, MSG_LENGTH_OVERFLOW);
    check_changed("a name that is not UTF-8", 0x74, 1, 0x80, MSG_UTF8);
    check_changed("a call to nobody", 0x1b, 1, 0, MSG_CALL_TYPE);
    check_changed("a call to the host", 0x1b, 1, 2, MSG_OK);
    check_changed("a call to the moon", 0x1b, 1, 3, MSG_CALL_TYPE);
    check_changed("a value of no type", 0x3f, 1, 0, MSG_UNION_TYPE);
    check_changed("a value of an unknown type", 0x3f, 1, 10, MSG_UNION_TYPE);

    tap_case("a call with 33 parameters is refused as too much, one with 32 is not");
    m.call = (struct msg_call){.params_n = MSG_PARAMS_MAX};
    bytes = write_checked(KIND_CALL, &m, &len);
    CHECK(bytes != NULL && readers_agree(KIND_CALL, bytes, len) && got.call.params_n == MSG_PARAMS_MAX);
    store_le32(bytes + 0x2c, MSG_PARAMS_MAX + 1);
    CHECK_STR(msg_status_name(msg_read_call(bytes, len, &got.call)), "limit");
    free(bytes);

    tap_case("a list of 257 functions, or a function with 33 parameters, is refused as too much");
    memset(m.functions, 0, sizeof(m.functions));
    m.details.functions_n = MSG_FUNCTIONS_MAX;
    bytes = write_checked(KIND_DETAILS, &m, &len);
    CHECK(bytes != NULL && readers_agree(KIND_DETAILS, bytes, len));
    store_le32(bytes + 0x18, MSG_FUNCTIONS_MAX + 1);
    CHECK_STR(msg_status_name(msg_read_details(bytes, len, &got.details)), "limit");
    free(bytes);
    m.details.functions_n = 1;
    m.functions[0].params_n = MSG_PARAMS_MAX;
    bytes = write_checked(KIND_DETAILS, &m, &len);
    CHECK(bytes != NULL && readers_agree(KIND_DETAILS, bytes, len));
    store_le32(bytes + len - MSG_PARAMS_MAX - 4, MSG_PARAMS_MAX + 1);
    CHECK_STR(msg_status_name(msg_read_details(bytes, len, &got.details)), "vector-range");
    longer = calloc(1, len + 4);
    memcpy(longer, bytes, len);
    store_le32(longer, (uint32_t)len);
    CHECK_STR(msg_status_name(msg_read_details(longer, len + 4, &got.details)), "limit");
    free(longer);
    store_le32(bytes + len - MSG_PARAMS_MAX - 4, MSG_PARAMS_MAX);
    bytes[len - 1] = MSG_VOID;
    CHECK_STR(msg_status_name(msg_read_details(bytes, len, &got.details)), "param-type");
    bytes[len - 1] = MSG_BYTES;
    CHECK_STR(msg_status_name(msg_read_details(bytes, len, &got.details)), "ok");
    store_le32(bytes + 0x18, (uint32_t)(len - 0x1c) / 4);
    CHECK(msg_read_details(bytes, len, &got.details) != MSG_VECTOR_RANGE);
    store_le32(bytes + 0x18, (uint32_t)(len - 0x1c) / 4 + 1);
    CHECK_STR(msg_status_name(msg_read_details(bytes, len, &got.details)), "vector-range");
    free(bytes);

    tap_case("a vtable may take the last 4 bytes");
    m.result = (struct msg_result){.value = scalar(MSG_VOID, 0)};
    bytes = write_checked(KIND_RESULT, &m, &len);
    longer = calloc(1, len + 4);
    memcpy(longer, bytes, len);
    store_le32(longer, (uint32_t)len);
    store_le32(longer + len - 4, (uint32_t)-4);
    store_le16(longer + len, 4);
    CHECK(readers_agree(KIND_RESULT, longer, len + 4));
    CHECK_STR(msg_status_name(msg_read_result(longer, len + 4, &got.result)), "ok");
    free(longer);
    free(bytes);

    /* Nothing in it lies beyond its 120 bytes, so that the rest need not be there. */
    tap_case("a message of MSG_LEN_MAX is read, a longer one is refused");
    bytes = copy_of(add_example, sizeof(add_example));
    store_le32(bytes, MSG_LEN_MAX - 4);
    CHECK_STR(msg_status_name(msg_read_call(bytes, MSG_LEN_MAX, &got.call)), "ok");
    store_le32(bytes, MSG_LEN_MAX);
    CHECK_STR(msg_status_name(msg_read_call(bytes, (size_t)MSG_LEN_MAX + 4, &got.call)), "size-prefix");
    free(bytes);

    tap_case("a refused message leaves the answer as it was");
    memset(&m, 0x5a, sizeof(m));
    CHECK(msg_read_call(add_example, 15, &m.call) == MSG_TRUNCATED);
    CHECK(msg_read_result(add_example, sizeof(add_example), &m.result) != MSG_OK);
    CHECK(msg_read_log(add_example, sizeof(add_example), &m.log) != MSG_OK);
    CHECK(msg_read_call(NULL, 0, &m.call) == MSG_TRUNCATED);
    CHECK(msg_read_result(NULL, 0, &m.result) == MSG_TRUNCATED);
    CHECK(msg_read_log(NULL, 0, &m.log) == MSG_TRUNCATED);
    CHECK(msg_read_details(NULL, 0, &m.details) == MSG_TRUNCATED);
    for (i = 0; i < sizeof(m) && ((const uint8_t *)&m)[i] == 0x5a; i++)
        ;
    CHECK_EQ(i, sizeof(m));
}

/* One message of each kind with everything in it. */
static uint8_t *make_rich(enum kind kind, size_t *len)
{
    static struct any m;
    unsigned i;

    switch (kind) {
    case KIND_CALL:
        m.call =
            (struct msg_call){.name = bytes_of("All"), .name_len = 3, .to_host = true, .returns = MSG_BYTES};
        for (i = 0; i < MSG_VOID; i++)
            m.call.params[i] = scalar((enum msg_type)i, 0x1234567890abcdefu);
        m.call.params[MSG_STRING] = blob(MSG_STRING, "d\xc3\xa9j\xc3\xa0", 6);
        m.call.params[MSG_BYTES] = blob(MSG_BYTES, "\x01\x02\x03\x04\x05", 5);
        m.call.params_n = MSG_VOID;
        break;
    case KIND_RESULT: m.result = (struct msg_result){.value = blob(MSG_BYTES, "\xff\x00\x7f", 3)}; break;
    case KIND_LOG:
        m.log = (struct msg_log){.message = bytes_of("mess"),
                                 .message_len = 4,
                                 .source = bytes_of("src"),
                                 .source_len = 3,
                                 .caller = bytes_of("main"),
                                 .caller_len = 4,
                                 .source_file = bytes_of("a.c"),
                                 .source_file_len = 3,
                                 .level = 4,
                                 .line = 99};
        break;
    default:
        m.details.functions_n = 2;
        m.functions[0] = (struct msg_function){.name = bytes_of("HostPrint"),
                                               .name_len = 9,
                                               .returns = MSG_INT,
                                               .params_n = 1,
                                               .params = {MSG_STRING}};
        m.functions[1] = (struct msg_function){.name = bytes_of("Void"), .name_len = 4, .returns = MSG_VOID};
    }
    return write_checked(kind, &m, len);
}

/* More results: an error and an 8-byte value, which the one above has not. */
static uint8_t *make_result(bool is_error, size_t *len)
{
    static struct any m;

    m.result = (struct msg_result){.is_error = is_error, .code = 15, .text = bytes_of("why"), .text_len = 3};
    m.result.value = scalar(MSG_DOUBLE, (uint64_t)1 << 63);
    return write_checked(KIND_RESULT, &m, len);
}

static bool change_each_place(enum kind kind, uint8_t *bytes, size_t len)
{
    static const uint32_t words[] = {
        0, 1, 2, 3, 4, 5, 8, 16, 9, 0x7fffffff, 0x80000000, 0x80000004, 0xfffffffc, 0xffffffff, 0xfffffff0};
    unsigned value, w;
    size_t at;
    uint8_t byte;
    uint32_t word;
    bool good = true;

    for (at = 0; at < len; at++) {
        byte = bytes[at];
        for (value = 0; value < 256; value++) {
            bytes[at] = (uint8_t)value;
            good = readers_agree(kind, bytes, len) && good;
        }
        bytes[at] = byte;
    }
    for (at = 0; at + 4 <= len; at += 2) {
        word = load_le32(bytes + at);
        for (w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
            store_le32(bytes + at, words[w]);
            good = readers_agree(kind, bytes, len) && good;
        }
        /* To each place of the message, behind and ahead. */
        for (w = 0; w <= len + 4; w++) {
            store_le32(bytes + at, w - (uint32_t)at);
            good = readers_agree(kind, bytes, len) && good;
        }
        store_le32(bytes + at, word);
    }
    return good;
}

static void test_changed(void)
{
    uint64_t seed = 20;
    unsigned i, n, changes;
    size_t len, cut;
    uint8_t *bytes, *copy, *kept[KINDS_N] = {NULL};
    size_t kept_len[KINDS_N];
    enum kind kind;
    bool good = true;

    tap_case("every message cut short is refused, whether its prefix is made to fit or not");
    for (i = 0; i < KINDS_N; i++) {
        kind = (enum kind)i;
        bytes = make_rich(kind, &len);
        for (cut = 0; cut < len; cut++) {
            copy = copy_of(bytes, cut);
            CHECK(any_read(kind, copy, cut, &got) != MSG_OK);
            if (cut >= 4) {
                store_le32(copy, (uint32_t)(cut - 4));
                good = readers_agree(kind, copy, cut) && good;
            }
            free(copy);
        }
        free(bytes);
    }
    CHECK(good);

    tap_case("both readers agree on a message with any one byte or word changed");
    for (i = 0; i < KINDS_N + 2; i++) {
        kind = i < KINDS_N ? (enum kind)i : KIND_RESULT;
        bytes = i < KINDS_N ? make_rich(kind, &len) : make_result(i == KINDS_N, &len);
        CHECK(change_each_place(kind, bytes, len));
        free(bytes);
    }
    copy = copy_of(add_example, sizeof(add_example));
    CHECK(change_each_place(KIND_CALL, copy, sizeof(add_example)));
    free(copy);

    tap_case("both readers agree on 100,000 messages with a few bytes changed at random");
    good = true;
    for (n = 0; n < 100000; n++) {
        kind = (enum kind)(n % KINDS_N);
        if (kept[kind] == NULL)
            kept[kind] = make_rich(kind, &kept_len[kind]);
        len = kept_len[kind];
        copy = copy_of(kept[kind], len);
        changes = 1 + (unsigned)(tap_random(&seed) % 4);
        while (changes-- != 0)
            copy[4 + tap_random(&seed) % (len - 4)] ^= (uint8_t)(1u << tap_random(&seed) % 8);
        good = readers_agree(kind, copy, len) && good;
        free(copy);
    }
    CHECK(good);
    for (i = 0; i < KINDS_N; i++)
        free(kept[i]);
}

static void test_utf8(void)
{
    static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                    0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                    0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
    uint8_t b[4];
    unsigned i, j, k, l, n = sizeof(edges), wrong = 0;

    tap_case("what is UTF-8 is a matter of the characters' values, for all sequences of edge bytes");
    for (i = 0; i < 256; i++)
        for (j = 0; j < 256; j++) {
            b[0] = (uint8_t)i;
            b[1] = (uint8_t)j;
            wrong += msg_is_utf8(b, 1) != ref_is_utf8(b, 1);
            wrong += msg_is_utf8(b, 2) != ref_is_utf8(b, 2);
        }
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++)
            for (k = 0; k < n; k++)
                for (l = 0; l < n; l++) {
                    b[0] = edges[i];
                    b[1] = edges[j];
                    b[2] = edges[k];
                    b[3] = edges[l];
                    wrong += msg_is_utf8(b, 3) != ref_is_utf8(b, 3);
                    wrong += msg_is_utf8(b, 4) != ref_is_utf8(b, 4);
                }
    CHECK_EQ(wrong, 0);
    CHECK(msg_is_utf8(NULL, 0));
    CHECK(msg_is_utf8(bytes_of("\xc3\xa9"
                               "a\xe4\xb8\x96"
                               "b\xf0\x9f\x99\x82"
                               "c"),
                      12));
    CHECK(!msg_is_utf8(bytes_of("\xc3\xa9\x80"), 3) && !msg_is_utf8(bytes_of("\xe4\xb8\x96\x80"), 4));
    CHECK(!msg_is_utf8(bytes_of("\xf0\x9f\x99\x82\x80"), 5));
    CHECK(msg_is_utf8(bytes_of("\xf4\x8f\xbf\xbf"), 4) && !msg_is_utf8(bytes_of("\xf4\x90\x80\x80"), 4));
}

int main(void)
{
    test_rules();
    test_changed();
    test_utf8();
    return tap_done();
}
