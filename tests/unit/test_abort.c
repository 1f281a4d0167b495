/* hv/abort: the byte string of the ABI (3.7), cut into chunks in every way, up to and past its limit. */
#include "hv/abort.h"

#include <stdlib.h>

#include "tests/tap.h"

static struct abort_bytes bytes;
static struct abort_info info;

static void start(void)
{
    memset(&bytes, 0, sizeof(bytes));
    memset(&info, 0xa5, sizeof(info));
}

static uint32_t chunk(unsigned n, unsigned a, unsigned b, unsigned c)
{
    return n | a << 8 | b << 16 | (uint32_t)c << 24;
}

/* Send a string in chunks of `per`; true when the last one completed it and no other did. */
static bool send(const uint8_t *s, size_t len, unsigned per)
{
    bool done = false;
    size_t i;

    start();
    for (i = 0; i < len; i += per) {
        uint32_t v = (uint32_t)(len - i < per ? len - i : per);
        unsigned j;

        for (j = 0; j < per && i + j < len; j++)
            v |= (uint32_t)s[i + j] << (8 * (j + 1));
        if (done)
            return false;
        done = abort_take(&bytes, v);
    }
    abort_decode(&bytes, &info);
    return done;
}

static bool send_text(const char *s, unsigned per)
{
    return send((const uint8_t *)s, strlen(s), per);
}

static void check(unsigned code, const char *code_name, int exception, const char *exception_name,
                  const char *text)
{
    CHECK_EQ(info.code, code);
    CHECK_STR(info.code_name, code_name);
    CHECK_EQ(info.has_exception, exception >= 0);
    if (exception >= 0)
        CHECK_EQ(info.exception, exception);
    CHECK_STR(info.exception_name, exception_name);
    CHECK_EQ(info.text_len, strlen(text));
    CHECK_STR(info.text, text);
}

static void test_examples(void)
{
    unsigned per;

    tap_case("the ABI's examples come out: code 15 with \"hi\", exception 14, abort() without anything");
    start();
    CHECK(!abort_take(&bytes, 0x69680f03));
    CHECK(abort_take(&bytes, 0x0000ff01));
    abort_decode(&bytes, &info);
    check(15, "guest error", -1, "", "hi");
    CHECK(send_text("\x0f\x0e\xff", 3));
    check(15, "guest error", 14, "page fault", "");
    start();
    CHECK(abort_take(&bytes, 0x00ff0002));
    abort_decode(&bytes, &info);
    check(0, "no error", -1, "", "");

    tap_case("it does not matter how a string is cut into chunks");
    for (per = 1; per <= 3; per++) {
        CHECK(send_text("\x0f\x0ewritten at 0x1000\xff", per));
        check(15, "guest error", 14, "page fault", "written at 0x1000");
    }
}

static void test_chunks(void)
{
    unsigned n;

    tap_case("a chunk that claims more than three bytes has three");
    for (n = 4; n <= 255; n += n == 4 ? 1 : 50) {
        start();
        CHECK(!abort_take(&bytes, chunk(n, 10, 'a', 'b')));
        CHECK_EQ(bytes.n, 3);
        CHECK(abort_take(&bytes, chunk(n, 0xff, 'x', 'y')));
        abort_decode(&bytes, &info);
        check(10, "stack cookie", -1, "", "ab");
    }

    tap_case("a chunk of no bytes adds none, whatever else it holds");
    start();
    CHECK(!abort_take(&bytes, chunk(0, 0xff, 0xff, 0xff)));
    CHECK_EQ(bytes.n, 0);

    tap_case("bytes beyond a chunk's count do not count");
    start();
    CHECK(!abort_take(&bytes, chunk(1, 17, 0xff, 'z')));
    CHECK(!abort_take(&bytes, chunk(2, 'o', 'k', 0xff)));
    CHECK(abort_take(&bytes, chunk(1, 0xff, 0, 0)));
    abort_decode(&bytes, &info);
    check(17, "host function failed", -1, "", "ok");

    tap_case("the terminator may share a chunk with text, and the rest of that chunk is ignored");
    start();
    CHECK(abort_take(&bytes, chunk(3, 4, 0xff, 'x')));
    CHECK_EQ(bytes.n, 1);
    abort_decode(&bytes, &info);
    check(4, "function not found", -1, "", "");
    start();
    CHECK(!abort_take(&bytes, chunk(1, 4, 0, 0)));
    CHECK(abort_take(&bytes, chunk(3, 'x', 'y', 0xff)));
    abort_decode(&bytes, &info);
    check(4, "function not found", -1, "", "xy");

    tap_case("an abort of nothing but the terminator is code 0");
    start();
    CHECK(abort_take(&bytes, chunk(1, 0xff, 0, 0)));
    abort_decode(&bytes, &info);
    check(0, "no error", -1, "", "");
}

static void test_exceptions(void)
{
    static const char *const names[] = {
        "divide",        "debug",      "NMI",           "breakpoint",      "overflow",    "bound",
        "opcode",        "no FPU",     "double fault",  "segment overrun", "invalid TSS", "no segment",
        "stack",         "protection", "page fault",    "reserved",        "x87",         "alignment",
        "machine check", "SIMD",       "virtualization"};
    unsigned i;

    tap_case("a second byte of 0-20 or 30 is an exception with the ABI's name; any other starts the text");
    for (i = 0; i < 255; i++) {
        uint8_t s[4] = {15, (uint8_t)i, 'T', 0xff};

        CHECK(send(s, 4, 3));
        CHECK_EQ(info.code, 15);
        if (i <= 20 || i == 30) {
            check(15, "guest error", (int)i, i == 30 ? "security" : names[i], "T");
        } else {
            CHECK(!info.has_exception);
            CHECK_STR(info.exception_name, "");
            CHECK_EQ(info.text_len, 2);
            CHECK((uint8_t)info.text[0] == i && info.text[1] == 'T' && info.text[2] == '\0');
        }
    }

    tap_case("text may hold zero bytes and bytes that are no UTF-8");
    {
        uint8_t s[6] = {1, 'a', 0, 0xfe, 0x80, 0xff};

        CHECK(send(s, 6, 2));
        CHECK_EQ(info.text_len, 4);
        CHECK(memcmp(info.text, s + 1, 4) == 0 && info.text[4] == '\0');
    }
}

static void test_codes(void)
{
    static const struct {
        unsigned code;
        const char *name;
    } row[] = {{0, "no error"},
               {1, "unknown"},
               {2, "unsupported parameter type"},
               {3, "function name not provided"},
               {4, "function not found"},
               {5, "wrong number of parameters"},
               {6, "dispatch function not set"},
               {7, "OUT error"},
               {8, "unknown error"},
               {9, "unknown"},
               {10, "stack cookie"},
               {11, "too many guest functions"},
               {12, "allocator failure"},
               {13, "out of memory"},
               {14, "parameter type mismatch"},
               {15, "guest error"},
               {16, "array length missing"},
               {17, "host function failed"},
               {18, "unknown"},
               {254, "unknown"}};
    size_t i;

    tap_case("codes have the ABI's names and others are unknown");
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        uint8_t s[2] = {(uint8_t)row[i].code, 0xff};

        CHECK(send(s, 2, 2));
        check(row[i].code, row[i].name, -1, "", "");
    }
}

static void test_overflow(void)
{
    static uint8_t s[1100];
    unsigned per;
    size_t i;

    memset(s, 'x', sizeof(s));
    s[0] = 15;

    tap_case("1024 bytes and a terminator are taken whole");
    s[1024] = 0xff;
    for (per = 1; per <= 3; per++) {
        CHECK(send(s, 1025, per));
        CHECK(!bytes.overflow);
        CHECK_EQ(bytes.n, 1024);
        CHECK_EQ(info.code, 15);
        CHECK_EQ(info.text_len, 1023);
        CHECK(info.text[1022] == 'x' && info.text[1023] == '\0');
    }

    tap_case("1024 bytes alone are not complete; one more is an overflow with code 0");
    s[1024] = 'x';
    start();
    for (i = 0; i < 1024; i++)
        if (abort_take(&bytes, chunk(1, s[i], 0, 0)))
            break;
    CHECK_EQ(i, 1024);
    CHECK(!bytes.overflow);
    CHECK(abort_take(&bytes, chunk(1, 'x', 0, 0)));
    CHECK(bytes.overflow);
    CHECK_EQ(bytes.n, 1024);
    abort_decode(&bytes, &info);
    check(0, "no error", -1, "", "overflow");

    tap_case("an overflow within a chunk counts even when its terminator follows in the same chunk");
    start();
    bytes.n = 1023;
    memset(bytes.bytes, 14, 1023);
    CHECK(abort_take(&bytes, chunk(3, 'x', 'y', 0xff)));
    CHECK(bytes.overflow);
    abort_decode(&bytes, &info);
    check(0, "no error", -1, "", "overflow");
    start();
    bytes.n = 1023;
    CHECK(abort_take(&bytes, chunk(3, 'x', 0xff, 'y')));
    CHECK(!bytes.overflow);
    CHECK_EQ(bytes.n, 1024);
}

int main(void)
{
    test_examples();
    test_chunks();
    test_exceptions();
    test_codes();
    test_overflow();
    return tap_done();
}
