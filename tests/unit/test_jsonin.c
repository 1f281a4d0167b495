/*
 * hv/jsonin: what is JSON and what is not, by a table and by the grammar in
 * json_valid.h for random texts; what strings decode to; the limits.
 */
#include "hv/jsonin.h"

#include <stdlib.h>

#include "tests/tap.h"
#include "tests/unit/json_valid.h"

static struct jsonin j;
static size_t at;

/* A copy of its own and of exactly that size, so that a sanitizer sees a byte too far. */
static char *text;

static enum jsonin_status read_bytes(const char *s, size_t len)
{
    free(text);
    text = malloc(len + 1);
    if (text == NULL)
        abort();
    memcpy(text, s, len);
    text[len] = '\0';
    return jsonin_read(text, len, &j, &at);
}

static enum jsonin_status read_text(const char *s)
{
    return read_bytes(s, strlen(s));
}

static void check_refused(const char *s, enum jsonin_status status, size_t where)
{
    enum jsonin_status got = read_text(s);

    if (got != status || at != where || j.n != 0)
        printf("# %s: status %d at %zu, wanted %d at %zu\n", s, (int)got, at, (int)status, where);
    CHECK(got == status && at == where && j.n == 0);
}

static void check_string(const char *s, const char *want, size_t len)
{
    if (CHECK_EQ(read_text(s), JSONIN_OK) && CHECK_EQ(j.n, 1) && CHECK_EQ(j.values[0].type, JSONIN_STRING)) {
        CHECK_EQ(j.values[0].len, len);
        CHECK(memcmp(j.values[0].s, want, len + 1) == 0);
    }
}

static void check_number(const char *s)
{
    if (CHECK_EQ(read_text(s), JSONIN_OK) && CHECK_EQ(j.values[0].type, JSONIN_NUMBER)) {
        CHECK_STR(j.values[0].s, s);
        CHECK_EQ(j.values[0].len, strlen(s));
    }
}

static void test_scalars(void)
{
    static const char *const not_numbers[] = {"01",  "-",   "+1",  ".5",       "1.",  "1e",   "1e+", "0x10",
                                              "- 1", "1 2", "NaN", "Infinity", "-01", "1.e1", "--1", "1_0"};
    static const char *const not_json[] = {"",    " ", "nul", "nulll", "True", "falsetrue",     "'a'",
                                           "\"a", "a", "\v1", "1,",    "//1",  "\xef\xbb\xbf[]"};
    unsigned i;

    tap_case("null, false and true are values of their own, blanks around them do not matter");
    CHECK_EQ(read_text(" null\t"), JSONIN_OK);
    CHECK(j.n == 1 && j.values[0].type == JSONIN_NULL && j.values[0].end == 1 && j.values[0].key == NULL);
    CHECK_EQ(read_text("\r\nfalse"), JSONIN_OK);
    CHECK_EQ(j.values[0].type, JSONIN_FALSE);
    CHECK_EQ(read_text("true"), JSONIN_OK);
    CHECK_EQ(j.values[0].type, JSONIN_TRUE);

    tap_case("a number is kept as it was written");
    check_number("0");
    check_number("-0");
    check_number("18446744073709551616");
    check_number("-1.50e+007");
    check_number("1E-2");

    tap_case("what only resembles a number is refused");
    for (i = 0; i < sizeof(not_numbers) / sizeof(not_numbers[0]); i++)
        CHECK_EQ(read_text(not_numbers[i]), JSONIN_SYNTAX);

    tap_case("what is no value, or more than one, is refused");
    for (i = 0; i < sizeof(not_json) / sizeof(not_json[0]); i++)
        CHECK_EQ(read_text(not_json[i]), JSONIN_SYNTAX);
    CHECK_EQ(read_bytes("1\0", 2), JSONIN_SYNTAX);
    CHECK_EQ(read_bytes("\0", 1), JSONIN_SYNTAX);
    CHECK_EQ(read_bytes("1\0002", 3), JSONIN_SYNTAX);
}

static void test_strings(void)
{
    tap_case("every escape is undone");
    check_string("\"\"", "", 0);
    check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    check_string("\"a\\u0041\\u00e9\\u20AC\\u20ac\"", "aA\xc3\xa9\xe2\x82\xac\xe2\x82\xac", 10);
    check_string("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf",
                 11);
    check_string("\"\\ud83d\\ude00!\"", "\xf0\x9f\x98\x80!", 5);
    check_string("\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8);
    check_string("\"a\\u0000b\"", "a\0b", 3);

    tap_case("characters beyond ASCII may stand for themselves");
    check_string("\"Gr\xc3\xbc\xc3\x9f \xe4\xb8\x96 \xf0\x9f\x98\x80 \x7f\"",
                 "Gr\xc3\xbc\xc3\x9f \xe4\xb8\x96 \xf0\x9f\x98\x80 \x7f", 17);
    check_string("\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf",
                 10);

    tap_case("half of a surrogate pair is refused");
    check_refused("\"\\ud800\"", JSONIN_SURROGATE, 7);
    check_refused("\"\\udc00\"", JSONIN_SURROGATE, 7);
    check_refused("\"\\udfff\\ud800\"", JSONIN_SURROGATE, 7);
    check_refused("\"\\ud800\\ud800\"", JSONIN_SURROGATE, 13);
    check_refused("\"\\ud800\\n\"", JSONIN_SURROGATE, 7);
    check_refused("\"\\udbffx\"", JSONIN_SURROGATE, 7);
    check_refused("\"\\ud800\\ue000\"", JSONIN_SURROGATE, 13);
    check_refused("\"\\ud800\\u00\"", JSONIN_SYNTAX, 11);

    tap_case("an escape that JSON does not have is refused");
    check_refused("\"\\a\"", JSONIN_SYNTAX, 2);
    check_refused("\"\\x41\"", JSONIN_SYNTAX, 2);
    check_refused("\"\\u12g4\"", JSONIN_SYNTAX, 5);
    check_refused("\"\\u@000\"", JSONIN_SYNTAX, 3);
    check_refused("\"\\u`000\"", JSONIN_SYNTAX, 3);
    check_refused("\"\\U0041\"", JSONIN_SYNTAX, 2);
    check_refused("\"\\", JSONIN_SYNTAX, 2);
    check_refused("\"\\u004", JSONIN_SYNTAX, 6);
    CHECK_EQ(read_bytes("\"\\\0\"", 4), JSONIN_SYNTAX);

    tap_case("control characters have to be escaped");
    check_refused("\"\n\"", JSONIN_SYNTAX, 1);
    check_refused("\"a\x1f\"", JSONIN_SYNTAX, 2);
    CHECK_EQ(read_bytes("\"\0\"", 3), JSONIN_SYNTAX);

    tap_case("bytes that are not UTF-8 are refused");
    check_refused("\"\x80\"", JSONIN_UTF8, 1);
    check_refused("\"\xc0\x80\"", JSONIN_UTF8, 1);
    check_refused("\"\xc1\xbf\"", JSONIN_UTF8, 1);
    check_refused("\"\xc3\"", JSONIN_UTF8, 1);
    check_refused("\"\xe0\x9f\xbf\"", JSONIN_UTF8, 1);
    check_refused("\"\xed\xa0\x80\"", JSONIN_UTF8, 1);
    check_refused("\"\xf0\x8f\xbf\xbf\"", JSONIN_UTF8, 1);
    check_refused("\"\xf4\x90\x80\x80\"", JSONIN_UTF8, 1);
    check_refused("\"\xf5\x80\x80\x80\"", JSONIN_UTF8, 1);
    check_refused("\"\xe2\x82", JSONIN_UTF8, 1);
    check_refused("{\"\xff\":1}", JSONIN_UTF8, 2);
}

static void test_structure(void)
{
    static const char *const wrong[] = {"[",         "]",     "{",          "}",         "[1",
                                        "[1,]",      "[,1]",  "[1 2]",      "[1}",       "{\"a\"}",
                                        "{\"a\":}",  "{a:1}", "{\"a\":1,}", "{1:2}",     "{,}",
                                        "{\"a\":1]", "[]]",   "[[]",        "{\"a\" 1}", "{\"a\":1 \"b\":2}",
                                        "[[],]",     "[1]1"};
    const struct jsonin_value *v, *w;
    unsigned i;

    tap_case("values follow what they are in, and end says where they stop");
    CHECK_EQ(read_text(" { \"a\" : [ 1 , [ ] , { } ] , \"b\" : \"x\" } "), JSONIN_OK);
    if (CHECK_EQ(j.n, 6)) {
        CHECK(j.values[0].type == JSONIN_OBJECT && j.values[0].end == 6);
        CHECK(j.values[1].type == JSONIN_ARRAY && j.values[1].end == 5);
        CHECK_STR(j.values[1].key, "a");
        CHECK_STR(j.values[2].s, "1");
        CHECK(j.values[2].key == NULL);
        CHECK(j.values[3].type == JSONIN_ARRAY && j.values[3].end == 4);
        CHECK(j.values[4].type == JSONIN_OBJECT && j.values[4].end == 5);
        CHECK_STR(j.values[5].key, "b");
        CHECK_STR(j.values[5].s, "x");

        v = jsonin_next(&j, &j.values[0], NULL);
        CHECK(v == &j.values[1]);
        v = jsonin_next(&j, &j.values[0], v);
        CHECK(v == &j.values[5]);
        CHECK(jsonin_next(&j, &j.values[0], v) == NULL);
        w = jsonin_next(&j, &j.values[1], &j.values[3]);
        CHECK(w == &j.values[4]);
        CHECK(jsonin_next(&j, &j.values[1], w) == NULL);
        CHECK(jsonin_next(&j, &j.values[3], NULL) == NULL);
        CHECK(jsonin_member(&j, &j.values[0], "b") == &j.values[5]);
        CHECK(jsonin_member(&j, &j.values[0], "c") == NULL);
        CHECK(jsonin_member(&j, &j.values[4], "a") == NULL);
    }

    tap_case("the key of a member is decoded, and compared with all its bytes");
    CHECK_EQ(read_text("{\"\\u0061\":1,\"a\\u0000\":2,\"\":3}"), JSONIN_OK);
    CHECK(jsonin_member(&j, j.values, "a") == &j.values[1]);
    CHECK(jsonin_member(&j, j.values, "") == &j.values[3]);
    CHECK(j.values[2].key_len == 2 && !jsonin_is_key(&j.values[2], "a"));
    CHECK(!jsonin_is_key(&j.values[0], ""));

    tap_case("a member given twice is refused, in one object only");
    check_refused("{\"a\":1,\"b\":{\"a\":2},\"\\u0061\":3}", JSONIN_TWICE, 19);
    check_refused("[{\"a\":1,\"a\":1}]", JSONIN_TWICE, 8);
    check_refused("{\"a\":[1,2],\"a\":1}", JSONIN_TWICE, 11);
    CHECK_EQ(read_text("{\"b\":{\"a\":1},\"c\":[1,2],\"a\":2}"), JSONIN_OK);
    CHECK_EQ(read_text("[{\"a\":1},{\"a\":1,\"b\":{\"a\":1,\"b\":1},\"c\":1}]"), JSONIN_OK);

    tap_case("brackets, commas and colons have to be where they belong");
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (!CHECK_EQ(read_text(wrong[i]), JSONIN_SYNTAX))
            printf("# %s\n", wrong[i]);
}

static void nest(char *s, unsigned depth)
{
    memset(s, '[', depth);
    memset(s + depth, ']', depth);
    s[2 * depth] = '\0';
}

/* "[0,0,...]": n values with the array. */
static void list(char *s, unsigned n)
{
    unsigned i;

    s[0] = '[';
    for (i = 0; i + 1 < n; i++) {
        s[1 + 2 * i] = '0';
        s[2 + 2 * i] = ',';
    }
    s[2 * i] = ']';
    s[2 * i + 1] = '\0';
}

static void test_limits(void)
{
    char s[4 * JSONIN_VALUES_MAX];

    tap_case("as deep as can be is read, one deeper is refused");
    nest(s, JSONIN_DEPTH_MAX);
    CHECK_EQ(read_text(s), JSONIN_OK);
    CHECK_EQ(j.n, JSONIN_DEPTH_MAX);
    CHECK_EQ(j.values[0].end, JSONIN_DEPTH_MAX);
    nest(s, JSONIN_DEPTH_MAX + 1);
    check_refused(s, JSONIN_TOO_DEEP, JSONIN_DEPTH_MAX);

    tap_case("as many values as can be are read, one more is refused");
    list(s, JSONIN_VALUES_MAX);
    CHECK_EQ(read_text(s), JSONIN_OK);
    CHECK_EQ(j.n, JSONIN_VALUES_MAX);
    list(s, JSONIN_VALUES_MAX + 1);
    CHECK_EQ(read_text(s), JSONIN_TOO_MANY);

    tap_case("every status has a text");
    {
        unsigned i;

        for (i = 0; i < JSONIN_STATUS_N; i++)
            CHECK(jsonin_status_text((enum jsonin_status)i)[0] != '\0');
        CHECK_STR(jsonin_status_text((enum jsonin_status)JSONIN_STATUS_N), "unknown");
        CHECK_STR(jsonin_status_text(JSONIN_SYNTAX), "not JSON");
    }
}

/* Texts that are nearly JSON: pieces of it in random order, or a good text with a byte changed. */
static size_t make_text(uint64_t *seed, char *s, size_t cap)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"a\"",
                                         "\"b\"",
                                         "1",
                                         "-0.5e3",
                                         "true",
                                         "false",
                                         "null",
                                         " ",
                                         "\"\\n\"",
                                         "\"\\u00e9\"",
                                         "\"\\ud83d\\ude00\"",
                                         "\"\\ud83d\"",
                                         "\"\xc3\xa9\"",
                                         "\"\xc3\""};
    static const char good[] = "{\"a\":[1,-2.5e-3,\"x\\u0041\\n\xc3\xa9\",true],\"b\":{\"c\":null,\"d\":[]}}";
    size_t len = 0;

    if (tap_random(seed) % 2 == 0) {
        memcpy(s, good, sizeof(good) - 1);
        s[tap_random(seed) % (sizeof(good) - 1)] = (char)(tap_random(seed) % 256);
        return sizeof(good) - 1;
    }
    while (tap_random(seed) % 8 != 0) {
        const char *piece = pieces[tap_random(seed) % (sizeof(pieces) / sizeof(pieces[0]))];

        if (len + strlen(piece) > cap)
            break;
        memcpy(s + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return len;
}

static void test_random(void)
{
    static const unsigned rounds = 300000;
    uint64_t seed = 1;
    unsigned i, good = 0, bad = 0;
    char s[200];

    tap_case("whether a random text is JSON is what the grammar says");
    for (i = 0; i < rounds; i++) {
        size_t len = make_text(&seed, s, sizeof(s));
        bool valid = json_valid(s, len);
        enum jsonin_status status = read_bytes(s, len);
        /* Refused although it is JSON. */
        bool ours = status == JSONIN_TWICE || status == JSONIN_SURROGATE || status == JSONIN_TOO_DEEP ||
                    status == JSONIN_TOO_MANY;

        good += status == JSONIN_OK;
        bad += !valid;
        if (!ours && (status == JSONIN_OK) != valid) {
            printf("# %.*s: %s\n", (int)len, s, jsonin_status_text(status));
            CHECK((status == JSONIN_OK) == valid);
            return;
        }
    }
    CHECK(good > rounds / 20);
    CHECK(bad > rounds / 20);
}

int main(void)
{
    test_scalars();
    test_strings();
    test_structure();
    test_limits();
    test_random();
    free(text);
    return tap_done();
}
