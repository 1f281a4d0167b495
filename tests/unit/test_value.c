/*
 * hv/value: what is a value of each type and what is not, at both ends of its
 * range; that what is printed reads back as the same bits; and the JSON form,
 * judged by hand-written text.
 */
#include "hv/value.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/tap.h"

#define ROUNDS 100000

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");
    unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 1;

    return n == 0 ? 1 : n > 1000 ? 1000 : (unsigned)n;
}

/* Parse; on failure check that nothing but *e was touched. */
static bool parse(const char *spec, struct msg_value *v, struct text *storage, struct err *e)
{
    const struct msg_value before = {.type = MSG_LOG_LEVEL_LAST, .bits = 77, .len = 5};
    int result;

    *v = before;
    *e = (struct err){.text = "untouched"};
    result = value_parse("arg", spec, v, storage, e);
    if (result == 0) {
        CHECK_STR(e->text, "untouched");
        return true;
    }
    CHECK_EQ(result, -1);
    CHECK(v->type == before.type && v->bits == before.bits && v->len == before.len && v->data == NULL);
    return false;
}

static void check_bits(const char *spec, enum msg_type type, uint64_t bits)
{
    struct text storage = TEXT_EMPTY;
    struct msg_value v;
    struct err e;

    if (CHECK(parse(spec, &v, &storage, &e))) {
        CHECK_EQ(v.type, type);
        if (!CHECK_EQ(v.bits, bits))
            printf("# %s\n", spec);
    } else {
        printf("# %s: %s\n", spec, e.text);
    }
    text_free(&storage);
}

static void check_refused(const char *spec)
{
    struct text storage = TEXT_EMPTY;
    struct msg_value v;
    struct err e;

    if (CHECK(!parse(spec, &v, &storage, &e))) {
        CHECK_EQ(e.status, 64);
        CHECK_HAS(e.text, "--arg: not ");
    } else {
        printf("# %s was taken\n", spec);
    }
    text_free(&storage);
}

static const struct {
    const char *spec;
    enum msg_type type;
    uint64_t bits;
} good[] = {
    {"int:0", MSG_INT, 0},
    {"int:-0", MSG_INT, 0},
    {"int:-1", MSG_INT, UINT64_MAX},
    {"int:2147483647", MSG_INT, 0x7fffffff},
    {"int:-2147483648", MSG_INT, 0xffffffff80000000},
    {"int:0x7fffffff", MSG_INT, 0x7fffffff},
    {"int:-0x80000000", MSG_INT, 0xffffffff80000000},
    {"int:007", MSG_INT, 7},
    {"uint:0", MSG_UINT, 0},
    {"uint:4294967295", MSG_UINT, 0xffffffff},
    {"uint:0xFFFFFFFF", MSG_UINT, 0xffffffff},
    {"long:9223372036854775807", MSG_LONG, INT64_MAX},
    {"long:-9223372036854775808", MSG_LONG, 0x8000000000000000},
    {"ulong:18446744073709551615", MSG_ULONG, UINT64_MAX},
    {"ulong:0Xffffffffffffffff", MSG_ULONG, UINT64_MAX},
    {"ulong:0", MSG_ULONG, 0},
    {"bool:true", MSG_BOOL, 1},
    {"bool:1", MSG_BOOL, 1},
    {"bool:false", MSG_BOOL, 0},
    {"bool:0", MSG_BOOL, 0},
    {"float:0", MSG_FLOAT, 0},
    {"float:-0", MSG_FLOAT, 0x80000000},
    {"float:-0.0", MSG_FLOAT, 0x80000000},
    {"float:1", MSG_FLOAT, 0x3f800000},
    {"float:-1.5e0", MSG_FLOAT, 0xbfc00000},
    {"float:.5", MSG_FLOAT, 0x3f000000},
    {"float:3.4028235e38", MSG_FLOAT, 0x7f7fffff},
    {"float:-3.4028235e38", MSG_FLOAT, 0xff7fffff},
    {"float:1.17549435e-38", MSG_FLOAT, 0x00800000},
    {"float:1e-45", MSG_FLOAT, 1},
    {"float:-1e-45", MSG_FLOAT, 0x80000001},
    {"float:1e-60", MSG_FLOAT, 0}, /* too small is not wrong, only small */
    {"float:inf", MSG_FLOAT, 0x7f800000},
    {"float:-inf", MSG_FLOAT, 0xff800000},
    {"float:nan", MSG_FLOAT, 0x7fc00000},
    {"float:nan(0x7f800001)", MSG_FLOAT, 0x7f800001},
    {"float:nan(0xffffffff)", MSG_FLOAT, 0xffffffff},
    {"double:0.1", MSG_DOUBLE, 0x3fb999999999999a},
    {"double:-0", MSG_DOUBLE, 0x8000000000000000},
    {"double:1.7976931348623157e308", MSG_DOUBLE, 0x7fefffffffffffff},
    {"double:2.2250738585072014e-308", MSG_DOUBLE, 0x0010000000000000},
    {"double:5e-324", MSG_DOUBLE, 1},
    {"double:inf", MSG_DOUBLE, 0x7ff0000000000000},
    {"double:-inf", MSG_DOUBLE, 0xfff0000000000000},
    {"double:nan", MSG_DOUBLE, 0x7ff8000000000000},
    {"double:nan(0x7ff0000000000001)", MSG_DOUBLE, 0x7ff0000000000001},
    {"double:nan(0xffffffffffffffff)", MSG_DOUBLE, 0xffffffffffffffff},
};

static const char *const bad[] = {
    "",
    ":",
    "int",
    "int:",
    "Int:1",
    "integer:1",
    "in:1",
    "void:",
    "void:1",
    "kind:1",
    " int:1",
    "1",
    "int:2147483648",
    "int:-2147483649",
    "int:0x80000000",
    "int:-0x80000001",
    "int: 1",
    "int:1 ",
    "int:+1",
    "int:--1",
    "int:1.0",
    "int:1e3",
    "int:0x",
    "int:0x-1",
    "int:99999999999999999999999999",
    "int:-",
    "int:x",
    "uint:-1",
    "uint:-0",
    "uint:4294967296",
    "uint:0x100000000",
    "uint:+1",
    "uint:",
    "long:9223372036854775808",
    "long:-9223372036854775809",
    "long:1L",
    "ulong:18446744073709551616",
    "ulong:-1",
    "ulong:1u",
    "bool:",
    "bool:2",
    "bool:yes",
    "bool:True",
    "bool:01",
    "bool:true ",
    "float:",
    "float:x",
    "float: 1",
    "float:+1",
    "float:1 ",
    "float:1f",
    "float:1e39",
    "float:-1e39",
    "float:1,5",
    "float:nan()",
    "float:nan(1)",
    "float:nan(0x7f800000)",
    "float:nan(0x7f7fffff)",
    "float:nan(0x17f800001)",
    "float:nan(0x7fc00000",
    "float:nan(0x7fc00000) ",
    "float:nan(0x)",
    "float:-nan(0x7fc00000)",
    "float:nan(0x-1)",
    "double:",
    "double:x",
    "double:\t1",
    "double:1e309",
    "double:-1e309",
    "double:nan(0x7ff0000000000000)",
    "double:nan(0x7fc00001)",
    "double:nan(0x1ffffffffffffffff)",
    "double:1.0.0",
    "bytes:0",
    "bytes:000",
    "bytes:0x00",
    "bytes:gg",
    "bytes: 00",
    "bytes:00 ff",
    "bytes:-1",
    "string:\xff",
    "string:\xc0\x80",
    "string:\xed\xa0\x80",
    "string:\xf4\x90\x80\x80",
};

static void test_parsing(void)
{
    unsigned i;

    tap_case("numbers are taken up to both ends of their type, bit by bit");
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        check_bits(good[i].spec, good[i].type, good[i].bits);

    tap_case("what is no value of its type is a mistake, and the value stays untouched");
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check_refused(bad[i]);
}

static void check_data(const char *spec, enum msg_type type, const char *bytes, uint32_t len)
{
    struct text storage = TEXT_EMPTY;
    struct msg_value v;
    struct err e;

    if (CHECK(parse(spec, &v, &storage, &e))) {
        CHECK_EQ(v.type, type);
        CHECK_EQ(v.bits, 0);
        CHECK_EQ(v.len, len);
        CHECK(v.len == len && (len == 0 || memcmp(v.data, bytes, len) == 0));
    }
    text_free(&storage);
}

static void test_data(void)
{
    static const char binary[] = {0, 1, (char)0xff, '\n', 0};
    char path[] = "/tmp/vmm-value.XXXXXX", spec[64];
    struct text storage = TEXT_EMPTY;
    struct msg_value v;
    struct err e;
    int fd;

    tap_case("strings and bytes are taken as they are, empty ones too");
    check_data("string:", MSG_STRING, "", 0);
    check_data("string:a:b=c ", MSG_STRING, "a:b=c ", 6);
    check_data("string:gr\xc3\xbc\xc3\x9f \xf4\x8f\xbf\xbf", MSG_STRING,
               "gr\xc3\xbc\xc3\x9f \xf4\x8f\xbf\xbf", 11);
    check_data("string:@file", MSG_STRING, "@file", 5);
    check_data("bytes:", MSG_BYTES, "", 0);
    check_data("bytes:00fFFf0a", MSG_BYTES, "\0\xff\xff\n", 4);

    tap_case("bytes come from a file, every one of them, and an empty file is no bytes");
    fd = mkstemp(path);
    if (!CHECK(fd >= 0))
        return;
    snprintf(spec, sizeof(spec), "bytes:@%s", path);
    check_data(spec, MSG_BYTES, "", 0);
    CHECK(write(fd, binary, sizeof(binary)) == sizeof(binary));
    check_data(spec, MSG_BYTES, binary, sizeof(binary));
    close(fd);
    unlink(path);

    tap_case("a file that is not there keeps its own status");
    CHECK(!parse(spec, &v, &storage, &e));
    CHECK_EQ(e.status, 127);
    CHECK_HAS(e.text, path);
    CHECK(!parse("bytes:@/", &v, &storage, &e));
    CHECK_EQ(e.status, 126);
    CHECK(!parse("bytes:@", &v, &storage, &e));
    text_free(&storage);
}

static void check_printed(struct msg_value v, const char *plain, const char *json)
{
    struct text t = TEXT_EMPTY;

    value_print(&v, &t);
    CHECK_STR(t.s != NULL ? t.s : "", plain);
    text_free(&t);
    t = TEXT_EMPTY;
    value_json(&v, &t);
    CHECK_STR(t.s, json);
    text_free(&t);
}

#define NUMBER(t, b)  ((struct msg_value){.type = (t), .bits = (b)})
#define DATA(t, s, n) ((struct msg_value){.type = (t), .data = (const uint8_t *)(s), .len = (n)})

static void test_printing(void)
{
    tap_case("a value is printed plainly, and as JSON that keeps what JSON has no number for");
    check_printed(NUMBER(MSG_INT, (uint64_t)-1), "-1", "{\"type\":\"int\",\"value\":-1}");
    check_printed(NUMBER(MSG_INT, 0xffffffff80000000), "-2147483648",
                  "{\"type\":\"int\",\"value\":-2147483648}");
    check_printed(NUMBER(MSG_UINT, 0xffffffff), "4294967295", "{\"type\":\"uint\",\"value\":4294967295}");
    check_printed(NUMBER(MSG_LONG, 0x8000000000000000), "-9223372036854775808",
                  "{\"type\":\"long\",\"value\":-9223372036854775808}");
    check_printed(NUMBER(MSG_ULONG, UINT64_MAX), "18446744073709551615",
                  "{\"type\":\"ulong\",\"value\":18446744073709551615}");
    check_printed(NUMBER(MSG_BOOL, 1), "true", "{\"type\":\"bool\",\"value\":true}");
    check_printed(NUMBER(MSG_BOOL, 0), "false", "{\"type\":\"bool\",\"value\":false}");
    check_printed(NUMBER(MSG_FLOAT, 0x80000000), "-0",
                  "{\"type\":\"float\",\"value\":-0,\"bits\":\"0x80000000\"}");
    check_printed(NUMBER(MSG_FLOAT, 0x3dcccccd), "0.1",
                  "{\"type\":\"float\",\"value\":0.1,\"bits\":\"0x3dcccccd\"}");
    check_printed(NUMBER(MSG_FLOAT, 0x7f800000), "inf",
                  "{\"type\":\"float\",\"value\":null,\"bits\":\"0x7f800000\"}");
    check_printed(NUMBER(MSG_FLOAT, 0xffc12345), "nan(0xffc12345)",
                  "{\"type\":\"float\",\"value\":null,\"bits\":\"0xffc12345\"}");
    check_printed(NUMBER(MSG_DOUBLE, 0x3fb999999999999a), "0.1",
                  "{\"type\":\"double\",\"value\":0.1,\"bits\":\"0x3fb999999999999a\"}");
    check_printed(NUMBER(MSG_DOUBLE, 0xfff0000000000000), "-inf",
                  "{\"type\":\"double\",\"value\":null,\"bits\":\"0xfff0000000000000\"}");
    check_printed(NUMBER(MSG_DOUBLE, 0x7ff8000000000001), "nan(0x7ff8000000000001)",
                  "{\"type\":\"double\",\"value\":null,\"bits\":\"0x7ff8000000000001\"}");
    check_printed(DATA(MSG_STRING, "a\"\n", 3), "a\"\n", "{\"type\":\"string\",\"value\":\"a\\\"\\u000a\"}");
    check_printed(DATA(MSG_STRING, NULL, 0), "", "{\"type\":\"string\",\"value\":\"\"}");
    check_printed(DATA(MSG_BYTES, "\0\xff", 2), "00ff", "{\"type\":\"bytes\",\"value\":\"00ff\"}");
    check_printed(DATA(MSG_BYTES, NULL, 0), "", "{\"type\":\"bytes\",\"value\":\"\"}");
    check_printed(NUMBER(MSG_VOID, 0), "", "{\"type\":\"void\"}");
}

/* Print it, put its type in front, and read it. */
static bool comes_back(enum msg_type type, uint64_t bits)
{
    struct msg_value v = {.type = type, .bits = bits}, back;
    struct text t = TEXT_EMPTY, storage = TEXT_EMPTY;
    struct err e = {.text = ""};
    bool ok;

    text_add(&t, "%s:", msg_type_name(type));
    value_print(&v, &t);
    ok = value_parse("arg", t.s, &back, &storage, &e) == 0 && back.type == type && back.bits == bits;
    if (!ok)
        printf("# 0x%" PRIx64 " is printed as %s %s\n", bits, t.s, e.text);
    text_free(&t);
    text_free(&storage);
    return ok;
}

static void test_round_trip(void)
{
    static const enum msg_type types[] = {MSG_INT, MSG_UINT, MSG_LONG, MSG_ULONG, MSG_BOOL};
    uint64_t seed = 1, n = (uint64_t)ROUNDS * scale(), i;
    unsigned t;

    tap_case("any float reads back as the bits it was printed from, NaN payloads and subnormals too");
    for (i = 0; i < n && tap_ok; i++) {
        uint32_t bits = (uint32_t)tap_random(&seed);

        /* A quarter subnormal, a quarter NaN or infinite. */
        if (i % 4 == 0)
            bits &= 0x807fffff;
        else if (i % 4 == 1)
            bits |= 0x7f800000;
        CHECK(comes_back(MSG_FLOAT, bits));
    }
    CHECK(comes_back(MSG_FLOAT, 0x7f800000) && comes_back(MSG_FLOAT, 0xff800000) && comes_back(MSG_FLOAT, 1));

    tap_case("any double reads back as the bits it was printed from, NaN payloads and subnormals too");
    for (i = 0; i < n && tap_ok; i++) {
        uint64_t bits = tap_random(&seed);

        if (i % 4 == 0)
            bits &= 0x800fffffffffffff;
        else if (i % 4 == 1)
            bits |= 0x7ff0000000000000;
        CHECK(comes_back(MSG_DOUBLE, bits));
    }
    CHECK(comes_back(MSG_DOUBLE, 0x7ff0000000000000) && comes_back(MSG_DOUBLE, 0xfff0000000000000));

    tap_case("any whole number reads back as it was");
    for (i = 0; i < 10000; i++) {
        uint64_t bits = tap_random(&seed) >> i % 64;

        for (t = 0; t < sizeof(types) / sizeof(types[0]) && tap_ok; t++) {
            switch (types[t]) {
            case MSG_INT: CHECK(comes_back(MSG_INT, (uint64_t)(int64_t)(int32_t)(uint32_t)bits)); break;
            case MSG_UINT: CHECK(comes_back(MSG_UINT, (uint32_t)bits)); break;
            case MSG_BOOL: CHECK(comes_back(MSG_BOOL, bits & 1)); break;
            default: CHECK(comes_back(types[t], bits)); break;
            }
        }
    }
}

int main(void)
{
    test_parsing();
    test_data();
    test_printing();
    test_round_trip();
    return tap_done();
}
