/* hv/text: texts of any bytes, printable and as JSON strings that a parser written from the RFC accepts. */
#include "hv/text.h"

#include <stdint.h>
#include <stdlib.h>

#include "tests/plan_check.h"
#include "tests/tap.h"
#include "tests/unit/json_valid.h"

/* With a sanitizer too the host refuses what it has no memory for, and the program goes on. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static const char *json_of(struct text *t, const char *s, size_t len)
{
    text_free(t);
    text_add_json(t, s, len);
    return t->s;
}

static const char *escaped(struct text *t, const char *s, size_t len)
{
    text_free(t);
    text_add(t, "%s", "");
    text_add_escaped(t, s, len);
    return t->s;
}

static void test_growing(void)
{
    struct text t = TEXT_EMPTY;
    char wanted[9001] = "";
    unsigned i;

    tap_case("a text grows by what is added, of any length, and stays terminated");
    CHECK(t.s == NULL && t.len == 0);
    for (i = 0; i < 1000; i++) {
        text_add(&t, "%03u,", i);
        text_add_bytes(&t, "abcde", 5);
        snprintf(wanted + strlen(wanted), 10, "%03u,abcde", i);
        if (t.len != 9 * (i + 1) || strlen(t.s) != t.len || t.cap <= t.len)
            break;
    }
    CHECK_EQ(i, 1000);
    CHECK_STR(t.s, wanted);
    CHECK(!t.failed);
    text_free(&t);
    CHECK(t.s == NULL && t.len == 0 && t.cap == 0 && !t.failed);
    text_free(&t);

    tap_case("lengths around the first and the next allocation come out whole");
    for (i = 200; i < 1100; i++) {
        char line[1200];

        memset(line, 'x', i);
        line[i] = '\0';
        text_add(&t, "%s", line);
        if (t.len != i || strcmp(t.s, line) != 0)
            break;
        text_free(&t);
        text_add_bytes(&t, line, i);
        if (t.len != i || strcmp(t.s, line) != 0)
            break;
        text_free(&t);
    }
    CHECK_EQ(i, 1100);

    tap_case("bytes are added as they are, zero bytes too");
    text_add_bytes(&t, "a\0b", 3);
    text_add_bytes(&t, "", 0);
    CHECK_EQ(t.len, 3);
    CHECK(memcmp(t.s, "a\0b", 4) == 0);
    text_free(&t);

    tap_case("when the host has no memory the text is cut short and says so, now and later");
    text_add(&t, "kept");
    text_add_bytes(&t, "x", (size_t)1 << 62);
    CHECK(t.failed);
    CHECK_STR(t.s, "kept");
    text_add(&t, "more");
    text_add_bytes(&t, "more", 4);
    CHECK_STR(t.s, "kept");
    CHECK_EQ(t.len, 4);
    text_free(&t);
    CHECK(!t.failed);
}

static void test_escaping(void)
{
    struct text t = TEXT_EMPTY;
    unsigned i, wrong = 0;

    tap_case("printable ASCII stays, backslash is doubled, all else is \\xNN");
    for (i = 0; i < 256; i++) {
        char c = (char)i, wanted[8];

        if (i == '\\')
            snprintf(wanted, sizeof(wanted), "\\\\");
        else if (i >= ' ' && i <= '~')
            snprintf(wanted, sizeof(wanted), "%c", c);
        else
            snprintf(wanted, sizeof(wanted), "\\x%02x", i);
        wrong += strcmp(escaped(&t, &c, 1), wanted) != 0;
    }
    CHECK_EQ(wrong, 0);
    CHECK_STR(escaped(&t, "a\033[2J\n\xff\\x00", 11), "a\\x1b[2J\\x0a\\xff\\\\x00");
    CHECK_STR(escaped(&t, "", 0), "");
    text_free(&t);
}

static void test_json(void)
{
    static const struct {
        const char *in;
        const char *out;
    } row[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\n\t\x01\x1f\x7f", "\"\\u000a\\u0009\\u0001\\u001f\\u007f\""},
        {"\xc2\x80\xdf\xbf", "\"\xc2\x80\xdf\xbf\""},
        {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
         "\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\""},
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""},
        {"\x80", "\"\\ufffd\""},
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
        {"\xc1\xbf", "\"\\ufffd\\ufffd\""},
        {"\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf0\x8f\xbf\xbf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xf5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xfe\xff", "\"\\ufffd\\ufffd\""},
        {"\xc3", "\"\\ufffd\""},
        {"\xe2\x82", "\"\\ufffd\\ufffd\""},
        {"\xf0\x9f\x98", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xc3(", "\"\\ufffd(\""},
        {"\xe2\x82\"", "\"\\ufffd\\ufffd\\\"\""},
    };
    struct text t = TEXT_EMPTY;
    unsigned long n, wrong = 0;
    uint64_t seed = 5;
    size_t i;

    tap_case("a JSON string keeps valid UTF-8, escapes controls and replaces the rest byte by byte");
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        CHECK_STR(json_of(&t, row[i].in, strlen(row[i].in)), row[i].out);
        CHECK(json_valid(t.s, t.len));
    }
    CHECK_STR(json_of(&t, "a\0b", 3), "\"a\\u0000b\"");
    CHECK_STR(json_of(&t, "\xe2\x82\xac", 2), "\"\\ufffd\\ufffd\"");

    tap_case("every pair of bytes, and random bytes of every length, make a valid JSON string");
    for (n = 0; n < 65536; n++) {
        char pair[2] = {(char)(n >> 8), (char)n};

        json_of(&t, pair, 2);
        wrong += !json_valid(t.s, t.len) || t.s[0] != '"' || strlen(t.s) != t.len;
    }
    for (n = 0; n < 20000 * test_scale(); n++) {
        char bytes[64];
        size_t len = tap_random(&seed) % sizeof(bytes);

        for (i = 0; i < len; i++) {
            static const unsigned char hostile[] = {0xe0, 0xed, 0xf0, 0xf4, 0x80, 0x90,
                                                    0x9f, 0xa0, 0xbf, 0xc3, '"',  '\\'};
            uint64_t r = tap_random(&seed);

            bytes[i] = (char)(r % 3 != 0 ? hostile[(r >> 8) % sizeof(hostile)] : r >> 8);
        }
        json_of(&t, bytes, len);
        wrong += !json_valid(t.s, t.len);
    }
    CHECK_EQ(wrong, 0);
    text_free(&t);

    tap_case("the judge of all that accepts what is JSON and refuses what is not");
    {
        static const char *const good[] = {"0", "-0.5e+3", " [ ] ",
                                           "{\"a\":[1,{\"b\":null}],\"c\":\"\\u00e9\\n\"}", "true"};
        static const char *const bad[] = {"",
                                          "01",
                                          "+1",
                                          "1.",
                                          ".5",
                                          "[1,]",
                                          "{\"a\":1,}",
                                          "{a:1}",
                                          "\"\n\"",
                                          "\"\\x41\"",
                                          "\"\x80\"",
                                          "\"\xed\xa0\x80\"",
                                          "\"\xc0\x80\"",
                                          "tru",
                                          "1 2",
                                          "\"a",
                                          "{\"a\" 1}",
                                          "[1}",
                                          "\"\\u12g4\"",
                                          "nul"};

        for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
            CHECK(json_valid(good[i], strlen(good[i])));
        for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
            if (!CHECK(!json_valid(bad[i], strlen(bad[i]))))
                printf("# %s\n", bad[i]);
    }
}

int main(void)
{
    test_growing();
    test_escaping();
    test_json();
    return tap_done();
}
