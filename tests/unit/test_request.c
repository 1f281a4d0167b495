/* hv/request: what a line asks for, bit by bit, and every way in which it is no request. */
#include "hv/request.h"

#include <stdlib.h>

#include "tests/tap.h"

static struct request r;
static struct err e;
static char *line;

static int read_bytes(const char *s, size_t len)
{
    free(line);
    line = malloc(len + 1);
    if (line == NULL)
        abort();
    memcpy(line, s, len);
    line[len] = '\0';
    return request_read(line, len, &r, &e);
}

static int read_line(const char *s)
{
    return read_bytes(s, strlen(s));
}

static void check_id(const char *want)
{
    struct text t = TEXT_EMPTY;

    request_add_id(&r, &t);
    CHECK_STR(t.s, want);
    text_free(&t);
}

static void check_refused(const char *s, const char *why)
{
    e.text[0] = '\0';
    if (!CHECK(read_line(s) == -1) || !CHECK_EQ(e.status, STATUS_USAGE) || !CHECK_STR(e.text, why))
        printf("# %s\n", s);
}

/* A call with one argument. */
static int read_arg(const char *type, const char *value)
{
    char s[4096];

    snprintf(s, sizeof(s), "{\"call\":\"f\",\"args\":[{\"type\":\"%s\",\"value\":%s}]}", type, value);
    return read_line(s);
}

static void check_bits(const char *type, const char *value, enum msg_type want, uint64_t bits)
{
    if (!CHECK_EQ(read_arg(type, value), 0) || !CHECK_EQ(r.call.params_n, 1))
        printf("# %s %s: %s\n", type, value, e.text);
    CHECK_EQ(r.call.params[0].type, want);
    CHECK_EQ(r.call.params[0].bits, bits);
}

static void check_no_value(const char *type, const char *value)
{
    char why[100];

    snprintf(why, sizeof(why), "request: args[0]: not a value of type %s", type);
    if (!CHECK(read_arg(type, value) == -1) || !CHECK_STR(e.text, why))
        printf("# %s %s\n", type, value);
}

static void check_data(const char *type, const char *value, enum msg_type want, const char *data,
                       uint32_t len)
{
    CHECK_EQ(read_arg(type, value), 0);
    CHECK_EQ(r.call.params[0].type, want);
    if (CHECK_EQ(r.call.params[0].len, len))
        CHECK(len == 0 || memcmp(r.call.params[0].data, data, len) == 0);
}

static void test_whole(void)
{
    char s[8192];
    unsigned i, n;

    tap_case("a request says what to call with what, as whom, and whether on a fresh guest");
    CHECK_EQ(read_line("{\"call\":\"a\\u0000b\",\"args\":[{\"type\":\"int\",\"value\":2},"
                       "{\"value\":\"x\",\"type\":\"string\"}],\"id\":7,\"restore\":false}"),
             0);
    CHECK(r.call.name_len == 3 && memcmp(r.call.name, "a\0b", 3) == 0 && !r.call.to_host);
    CHECK_EQ(r.call.params_n, 2);
    CHECK_EQ(r.call.params[0].bits, 2);
    CHECK_EQ(r.call.params[1].type, MSG_STRING);
    CHECK(!r.restore);
    check_id("7");

    tap_case("the name of a snapshot is any string");
    CHECK_EQ(read_line("{\"call\":\"f\",\"snapshot\":\"\\u00e9.snap\"}"), 0);
    CHECK(r.snapshot != NULL && r.snapshot->len == 7);
    CHECK_STR(r.snapshot->s, "\xc3\xa9.snap");
    CHECK_EQ(read_line("{\"call\":\"f\",\"snapshot\":\"\"}"), 0);
    CHECK(r.snapshot != NULL && r.snapshot->len == 0);

    tap_case("only the call has to be there");
    CHECK_EQ(read_line("{\"call\":\"f\"}"), 0);
    CHECK(r.call.params_n == 0 && r.restore && r.id == NULL && r.snapshot == NULL);
    check_id("null");
    CHECK_EQ(read_line("{\"call\":\"\",\"args\":[],\"restore\":true}"), 0);
    CHECK(r.call.params_n == 0 && r.call.name_len == 0 && r.restore);

    tap_case("an id comes back as the value it was");
    CHECK_EQ(read_line("{\"call\":\"f\",\"id\":-1.50e+400}"), 0);
    check_id("-1.50e+400");
    CHECK_EQ(read_line("{\"call\":\"f\",\"id\":\"\\u00e9\\n\\u0000\\\"\"}"), 0);
    check_id("\"\xc3\xa9\\u000a\\u0000\\\"\"");
    CHECK_EQ(read_line("{\"call\":\"f\",\"id\":true}"), 0);
    check_id("true");
    CHECK_EQ(read_line("{\"call\":\"f\",\"id\":false}"), 0);
    check_id("false");
    CHECK_EQ(read_line("{\"call\":\"f\",\"id\":null}"), 0);
    check_id("null");

    tap_case("an id is there for the answer to a bad request too");
    CHECK(read_line("{\"what\":1,\"call\":2,\"id\":\"x\"}") == -1);
    check_id("\"x\"");
    CHECK(read_line("{\"call\":\"f\",\"id\":[1]}") == -1);
    check_id("null");
    CHECK(read_line("{\"id\":7") == -1);
    check_id("null");

    tap_case("32 arguments are taken, 33 refused");
    for (n = MSG_PARAMS_MAX; n <= MSG_PARAMS_MAX + 1; n++) {
        size_t len = (size_t)snprintf(s, sizeof(s), "{\"call\":\"f\",\"args\":[");

        for (i = 0; i < n; i++)
            len += (size_t)snprintf(s + len, sizeof(s) - len, "%s{\"type\":\"uint\",\"value\":%u}",
                                    i != 0 ? "," : "", i);
        snprintf(s + len, sizeof(s) - len, "]}");
        CHECK_EQ(read_line(s), n == MSG_PARAMS_MAX ? 0 : -1);
    }
    CHECK_STR(e.text, "request: args: too many (at most 32)");
}

static void test_refused(void)
{
    tap_case("what is no request says why");
    check_refused("", "request: not JSON (byte 1)");
    check_refused("{\"call\":\"f\"} x", "request: not JSON (byte 14)");
    check_refused("{\"call\":\"\\udc00\"}", "request: half of a surrogate pair (byte 16)");
    check_refused("{\"call\":\"\xff\"}", "request: not UTF-8 (byte 10)");
    check_refused("{\"call\":\"f\",\"call\":\"f\"}", "request: member given twice (byte 13)");
    check_refused("[]", "request: not an object");
    check_refused("{}", "request: no call");
    check_refused("{\"call\":1}", "request: call: not a string");
    check_refused("{\"call\":\"f\",\"Restore\":false}", "request: unknown member Restore");
    check_refused("{\"call\":\"f\",\"restore\":0}", "request: restore: not true or false");
    check_refused("{\"call\":\"f\",\"restore\":null}", "request: restore: not true or false");
    check_refused("{\"call\":\"f\",\"snapshot\":0}", "request: snapshot: not a string");
    check_refused("{\"call\":\"f\",\"snapshot\":null}", "request: snapshot: not a string");
    check_refused("{\"call\":\"f\",\"id\":{}}", "request: id: not a scalar");
    check_refused("{\"call\":\"f\",\"args\":{}}", "request: args: not an array");
    check_refused("{\"call\":\"f\",\"args\":[1]}", "request: args[0]: not an object");
    check_refused("{\"call\":\"f\",\"args\":[{\"type\":\"int\"}]}", "request: args[0]: no value");
    check_refused("{\"call\":\"f\",\"args\":[{\"value\":1}]}", "request: args[0]: no type that there is");
    check_refused(
        "{\"call\":\"f\",\"args\":[{\"type\":\"int\",\"value\":1},{\"type\":\"void\",\"value\":1}]}",
        "request: args[1]: no type that there is");
    check_refused("{\"call\":\"f\",\"args\":[{\"type\":1,\"value\":1}]}",
                  "request: args[0]: no type that there is");
    check_refused("{\"call\":\"f\",\"args\":[{\"type\":\"int\\u0000\",\"value\":1}]}",
                  "request: args[0]: no type that there is");
    check_refused("{\"call\":\"f\",\"args\":[{\"type\":\"int\",\"value\":1,\"x\":2}]}",
                  "request: unknown member x");
}

static void test_numbers(void)
{
    tap_case("integers are exact to the last bit and checked against their type");
    check_bits("int", "-2147483648", MSG_INT, (uint64_t)INT32_MIN);
    check_bits("int", "2147483647", MSG_INT, INT32_MAX);
    check_no_value("int", "2147483648");
    check_no_value("int", "-2147483649");
    check_bits("uint", "4294967295", MSG_UINT, UINT32_MAX);
    check_no_value("uint", "4294967296");
    check_no_value("uint", "-1");
    check_bits("long", "-9223372036854775808", MSG_LONG, (uint64_t)INT64_MIN);
    check_bits("long", "9007199254740993", MSG_LONG, 9007199254740993);
    check_no_value("long", "9223372036854775808");
    check_bits("ulong", "18446744073709551615", MSG_ULONG, UINT64_MAX);
    check_no_value("ulong", "18446744073709551616");

    tap_case("a long may be a string, an int may not");
    check_bits("long", "\"-9223372036854775808\"", MSG_LONG, (uint64_t)INT64_MIN);
    check_bits("ulong", "\"18446744073709551615\"", MSG_ULONG, UINT64_MAX);
    check_no_value("long", "\"1\\u0000\"");
    check_no_value("long", "\"\"");
    check_no_value("long", "\" 1\"");
    check_no_value("int", "\"1\"");
    check_no_value("uint", "\"1\"");

    tap_case("an integer has no fraction and no exponent, and nothing else is one");
    check_no_value("int", "1.0");
    check_no_value("long", "1e3");
    check_no_value("int", "true");
    check_no_value("long", "null");
    check_no_value("ulong", "[]");

    tap_case("floats are what the number is nearest to, or what a string says");
    check_bits("float", "1.5", MSG_FLOAT, 0x3fc00000);
    check_bits("float", "-0", MSG_FLOAT, 0x80000000);
    check_bits("float", "16777217", MSG_FLOAT, 0x4b800000);
    check_bits("double", "0.1", MSG_DOUBLE, 0x3fb999999999999a);
    check_bits("double", "5e-324", MSG_DOUBLE, 1);
    check_bits("float", "\"nan(0xffc12345)\"", MSG_FLOAT, 0xffc12345);
    check_bits("double", "\"-inf\"", MSG_DOUBLE, 0xfff0000000000000);
    check_bits("double", "\"0.1\"", MSG_DOUBLE, 0x3fb999999999999a);
    check_no_value("float", "1e39");
    check_no_value("double", "1e309");
    check_no_value("double", "\"nan(0x1)\"");
    check_no_value("double", "null");

    tap_case("a bool is true or false");
    check_bits("bool", "true", MSG_BOOL, 1);
    check_bits("bool", "false", MSG_BOOL, 0);
    check_no_value("bool", "1");
    check_no_value("bool", "\"true\"");
}

static void test_data(void)
{
    tap_case("a string is what it decodes to");
    check_data("string", "\"\"", MSG_STRING, "", 0);
    check_data("string", "\"a\\u0000\\ud83d\\ude00\"", MSG_STRING, "a\0\xf0\x9f\x98\x80", 6);
    check_data("string", "\"@/etc/passwd\"", MSG_STRING, "@/etc/passwd", 12);
    check_no_value("string", "1");
    check_no_value("string", "null");

    tap_case("bytes are hex digits, and no file of the host");
    check_data("bytes", "\"\"", MSG_BYTES, "", 0);
    check_data("bytes", "\"00fFaB7f\"", MSG_BYTES, "\0\xff\xab\x7f", 4);
    check_no_value("bytes", "\"0\"");
    check_no_value("bytes", "\"0g\"");
    check_no_value("bytes", "\"00g0\"");
    check_no_value("bytes", "\"@/etc/passwd\"");
    check_no_value("bytes", "\"@/\"");
    check_no_value("bytes", "\"\\u0000\\u0000\"");
    check_no_value("bytes", "12");
}

int main(void)
{
    test_whole();
    test_refused();
    test_numbers();
    test_data();
    free(line);
    return tap_done();
}
