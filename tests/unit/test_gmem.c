/*
 * mem/gmem: accesses across spans, at their ends and into holes, with and
 * without the right to write; the top of the address space; entries.
 */
#include "mem/gmem.h"

#include <stdlib.h>

#include "mem/num.h"
#include "tests/tap.h"

#define AT(v) gpa_make(v)

static struct err e;

/* Two spans that touch at 0x3000, a hole, one read-only span. Every byte tells where it is. */
static struct gmem *make(uint8_t *bytes, size_t len)
{
    struct gmem *m = gmem_new();

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 8));
    CHECK(m != NULL);
    CHECK(gmem_add(m, AT(0x8000), 0x1000, bytes + 0x3000, false, &e) == 0);
    CHECK(gmem_add(m, AT(0x1000), 0x2000, bytes, true, &e) == 0);
    CHECK(gmem_add(m, AT(0x3000), 0x1000, bytes + 0x2000, true, &e) == 0);
    return m;
}

static void test_adding(void)
{
    static uint8_t bytes[0x4000];
    struct gmem *m;

    tap_case("a view without spans holds nothing but the empty range");
    m = gmem_new();
    CHECK(!gmem_contains(m, AT(0), 1));
    CHECK(gmem_contains(m, AT(0), 0));
    CHECK(gmem_contains(m, AT(UINT64_MAX), 0));
    CHECK(gmem_span(m, AT(0), 1) == NULL);

    tap_case("a span without bytes is refused");
    CHECK(gmem_add(m, AT(0x1000), 0, bytes, true, &e) == -1);
    CHECK(e.status == STATUS_HOST);
    CHECK_HAS(e.text, "0x1000");
    CHECK_HAS(e.text, "no bytes");

    tap_case("a span that ends past 2^64 is refused, one that ends there is not");
    CHECK(gmem_add(m, AT(UINT64_MAX - 0xfff), 0x1001, bytes, true, &e) == -1);
    CHECK(e.status == STATUS_HOST);
    CHECK_HAS(e.text, "2^64");
    CHECK(gmem_add(m, AT(UINT64_MAX - 0xfff), 0x1000, bytes, true, &e) == 0);
    CHECK(gmem_contains(m, AT(UINT64_MAX), 1));
    CHECK(!gmem_contains(m, AT(UINT64_MAX), 2));
    CHECK(!gmem_contains(m, AT(0), 1));
    gmem_free(m);

    tap_case("a span that shares one byte with another is refused, on either side, and changes nothing");
    m = gmem_new();
    CHECK(gmem_add(m, AT(0x2000), 0x1000, bytes, true, &e) == 0);
    CHECK(gmem_add(m, AT(0x1001), 0x1000, bytes, true, &e) == -1);
    CHECK(e.status == STATUS_HOST);
    CHECK_HAS(e.text, "0x2000-0x2fff");
    CHECK(gmem_add(m, AT(0x2fff), 1, bytes, true, &e) == -1);
    CHECK(gmem_add(m, AT(0x2800), 0x10, bytes, true, &e) == -1);
    CHECK(gmem_add(m, AT(0x1000), 0x4000, bytes, true, &e) == -1);
    CHECK(!gmem_contains(m, AT(0x1fff), 1));
    CHECK(!gmem_contains(m, AT(0x3000), 1));
    CHECK(gmem_add(m, AT(0x1000), 0x1000, bytes, true, &e) == 0);
    CHECK(gmem_add(m, AT(0x3000), 0x1000, bytes, true, &e) == 0);
    CHECK(gmem_contains(m, AT(0x1000), 0x3000));

    tap_case("a cleared view is empty and can be filled again");
    gmem_clear(m);
    CHECK(!gmem_contains(m, AT(0x2000), 1));
    CHECK(gmem_add(m, AT(0x2000), 0x1000, bytes, true, &e) == 0);
    CHECK(gmem_contains(m, AT(0x2000), 0x1000));
    gmem_free(m);
    gmem_free(NULL);

    tap_case("hundreds of spans in any order are all found");
    m = gmem_new();
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t at = (i * 7 % 300) * 0x20;

        CHECK(gmem_add(m, AT(at), 0x10, bytes + at, true, &e) == 0);
    }
    for (uint64_t at = 0; at < 300 * 0x20; at += 0x10) {
        CHECK(gmem_contains(m, AT(at), 0x10) == (at % 0x20 == 0));
        CHECK(gmem_span(m, AT(at + 5), 1) == (at % 0x20 == 0 ? bytes + at + 5 : NULL));
    }
    gmem_free(m);
}

static void test_copies(void)
{
    static uint8_t bytes[0x4000], before[0x4000];
    uint8_t got[0x4000], want[16];
    struct gmem *m;

    tap_case("a read crosses from one span into the next");
    m = make(bytes, sizeof(bytes));
    memset(got, 0xee, sizeof(got));
    CHECK(gmem_read(m, AT(0x1000), got, 0x3000));
    CHECK(memcmp(got, bytes, 0x3000) == 0);
    CHECK(gmem_read(m, AT(0x2fff), got, 2));
    CHECK(memcmp(got, bytes + 0x1fff, 2) == 0);
    CHECK(gmem_read(m, AT(0x8fff), got, 1));
    CHECK_EQ(got[0], bytes[0x3fff]);

    tap_case("a read that needs one byte of a hole copies nothing");
    memset(got, 0xee, sizeof(got));
    CHECK(!gmem_read(m, AT(0xfff), got, 2));
    CHECK(!gmem_read(m, AT(0x1000), got, 0x3001));
    CHECK(!gmem_read(m, AT(0x1000), got, 0x4000));
    CHECK(!gmem_read(m, AT(0x4000), got, 1));
    CHECK(!gmem_read(m, AT(0x7fff), got, 2));
    CHECK(!gmem_read(m, AT(0x8fff), got, 2));
    CHECK(!gmem_read(m, AT(0x9000), got, 1));
    CHECK(!gmem_read(m, AT(UINT64_MAX), got, 2));
    CHECK(!gmem_read(m, AT(0x8001), got, SIZE_MAX));
    for (size_t i = 0; i < sizeof(got); i++)
        if (got[i] != 0xee) {
            CHECK_EQ(got[i], 0xee);
            break;
        }

    tap_case("a read of no bytes succeeds anywhere");
    CHECK(gmem_read(m, AT(0x5000), got, 0));
    CHECK(gmem_read(m, AT(UINT64_MAX), got, 0));

    tap_case("a write crosses from one span into the next and touches nothing else");
    memcpy(before, bytes, sizeof(bytes));
    memset(want, 0xaa, sizeof(want));
    CHECK(gmem_write(m, AT(0x2ff8), want, sizeof(want)));
    CHECK(memcmp(bytes + 0x1ff8, want, sizeof(want)) == 0);
    CHECK(memcmp(bytes, before, 0x1ff8) == 0);
    CHECK(memcmp(bytes + 0x2008, before + 0x2008, sizeof(bytes) - 0x2008) == 0);

    tap_case("a write that needs a byte of a hole or of a read-only span writes nothing");
    memcpy(before, bytes, sizeof(bytes));
    CHECK(!gmem_write(m, AT(0x3ff8), want, sizeof(want)));
    CHECK(!gmem_write(m, AT(0xff8), want, sizeof(want)));
    CHECK(!gmem_write(m, AT(0x8000), want, sizeof(want)));
    CHECK(!gmem_write(m, AT(0x5000), want, 1));
    CHECK(gmem_write(m, AT(0x5000), want, 0));
    CHECK(gmem_add(m, AT(0x4000), 0x1000, before, false, &e) == 0);
    CHECK(!gmem_write(m, AT(0x3ff8), want, sizeof(want)));
    CHECK(memcmp(bytes, before, sizeof(bytes)) == 0);
    gmem_free(m);
}

static void test_pointers(void)
{
    static uint8_t bytes[0x4000];
    struct gmem *m;

    tap_case("a range inside one span has a host address, up to its last byte");
    m = make(bytes, sizeof(bytes));
    CHECK(gmem_span(m, AT(0x1000), 0x2000) == bytes);
    CHECK(gmem_span(m, AT(0x2fff), 1) == bytes + 0x1fff);
    CHECK(gmem_span(m, AT(0x3000), 0x1000) == bytes + 0x2000);
    CHECK(gmem_span(m, AT(0x8123), 0xedd) == bytes + 0x3123);
    CHECK(gmem_span(m, AT(0x8123), 0) == bytes + 0x3123);
    CHECK(gmem_span_rw(m, AT(0x2fff), 1) == bytes + 0x1fff);
    CHECK(gmem_span_rw(m, AT(0x1000), 0x2000) == bytes);
    CHECK(gmem_span_rw(m, AT(0x1000), 0) == bytes);

    tap_case("a range across spans, into a hole or past 2^64 has none");
    CHECK(gmem_span(m, AT(0x1000), 0x2001) == NULL);
    CHECK(gmem_span(m, AT(0x2fff), 2) == NULL);
    CHECK(gmem_span(m, AT(0xfff), 1) == NULL);
    CHECK(gmem_span(m, AT(0x4000), 0) == NULL);
    CHECK(gmem_span(m, AT(0x9000), 1) == NULL);
    CHECK(gmem_span(m, AT(0x1000), UINT64_MAX) == NULL);
    CHECK(gmem_span_rw(m, AT(0x2fff), 2) == NULL);
    CHECK(gmem_span_rw(m, AT(0x4000), 1) == NULL);

    tap_case("a read-only span has no address to write to");
    CHECK(gmem_span_rw(m, AT(0x8000), 1) == NULL);
    CHECK(gmem_span_rw(m, AT(0x8000), 0) == NULL);
    gmem_free(m);
}

static void test_entries(void)
{
    static uint8_t bytes[0x40];
    uint64_t got;
    struct gmem *m;

    tap_case("entries of 4 and 8 bytes are read little-endian, the short ones zero-extended");
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(0x80 + i);
    m = gmem_new();
    CHECK(gmem_add(m, AT(0x1000), 0x1c, bytes, false, &e) == 0);
    CHECK(gmem_read_entry(m, AT(0x1000), 4, &got));
    CHECK_EQ(got, 0x83828180);
    CHECK(gmem_read_entry(m, AT(0x1008), 8, &got));
    CHECK_EQ(got, 0x8f8e8d8c8b8a8988);
    CHECK(gmem_read_entry(m, AT(0x1004), 4, &got));
    CHECK_EQ(got, 0x87868584);
    CHECK(gmem_read_entry(m, AT(0x1018), 4, &got));
    CHECK_EQ(got, 0x9b9a9998);

    tap_case("an entry that is misaligned, absent or only half there leaves the result alone");
    got = 42;
    CHECK(!gmem_read_entry(m, AT(0x1002), 4, &got));
    CHECK(!gmem_read_entry(m, AT(0x1004), 8, &got));
    CHECK(!gmem_read_entry(m, AT(0x1018), 8, &got));
    CHECK(!gmem_read_entry(m, AT(0x101c), 4, &got));
    CHECK(!gmem_read_entry(m, AT(0xffc), 4, &got));
    CHECK(!gmem_read_entry(m, AT(0x2000), 4, &got));
    CHECK_EQ(got, 42);

    tap_case("an entry of memory that the host holds at an odd address is read all the same");
    CHECK(gmem_add(m, AT(0x2000), 0x20, bytes + 0x1d, false, &e) == 0);
    CHECK(gmem_read_entry(m, AT(0x2008), 8, &got));
    CHECK_EQ(got, 0xacabaaa9a8a7a6a5);
    CHECK(gmem_read_entry(m, AT(0x2004), 4, &got));
    CHECK_EQ(got, 0xa4a3a2a1);
    gmem_free(m);
}

/* Against a map of bytes, on random spans and random accesses. */
static void test_random(void)
{
    enum { SPACE = 512 };
    static uint8_t host[SPACE], got[SPACE];
    const char *text = getenv("TEST_SCALE");
    unsigned rounds = 300 * (text ? (unsigned)strtoul(text, NULL, 10) : 1);
    uint64_t random = 1;
    bool right = true;

    tap_case("random accesses agree with a map of single bytes");
    for (unsigned round = 0; round < rounds; round++) {
        bool there[SPACE] = {false}, writable[SPACE] = {false};
        struct gmem *m = gmem_new();

        for (unsigned i = 0; i < 12; i++) {
            unsigned at = tap_random(&random) % SPACE, len = 1 + tap_random(&random) % 60;
            bool rw = tap_random(&random) & 1, clear = true;

            if (at + len > SPACE)
                len = SPACE - at;
            for (unsigned k = at; k < at + len; k++)
                clear = clear && !there[k];
            right = right && (gmem_add(m, AT(at), len, host + at, rw, &e) == 0) == clear;
            for (unsigned k = at; k < at + len && clear; k++) {
                there[k] = true;
                writable[k] = rw;
            }
        }
        for (unsigned i = 0; i < 100; i++) {
            unsigned at = tap_random(&random) % SPACE, len = tap_random(&random) % 80;
            bool all = true, all_rw = true;

            if (at + len > SPACE)
                len = SPACE - at;
            for (unsigned k = at; k < at + len; k++) {
                all = all && there[k];
                all_rw = all_rw && there[k] && writable[k];
                host[k] = (uint8_t)tap_random(&random);
            }
            right = right && gmem_contains(m, AT(at), len) == all;
            memset(got, 0, sizeof(got));
            right =
                right && gmem_read(m, AT(at), got, len) == all && (!all || memcmp(got, host + at, len) == 0);
            for (unsigned k = 0; k < len; k++)
                got[k] = (uint8_t)tap_random(&random);
            right = right && gmem_write(m, AT(at), got, len) == all_rw;
            right = right && (!all_rw || memcmp(got, host + at, len) == 0);
        }
        gmem_free(m);
    }
    CHECK(right);
}

int main(void)
{
    test_adding();
    test_copies();
    test_pointers();
    test_entries();
    test_random();
    return tap_done();
}
