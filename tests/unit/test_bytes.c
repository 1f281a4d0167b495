/* mem/bytes.h: byte order, alignment, sign, and nothing written beside the value. */
#include "mem/bytes.h"

#include "tests/tap.h"

#define FILL 0xa5

/* Each byte of each value differs, and each top bit is set somewhere: a swapped byte or a sign shows. */
static const uint64_t samples[] = {
    0,      1,           0x0807060504030201u, 0x8786858483828180u, 0xfffefdfcfbfaf9f8u, 0x80,
    0x8000, 0x80000000u, 0x8000000000000000u, 0x00000000ffffffffu, 0xffffffff00000000u, UINT64_MAX,
};
#define SAMPLES_N (sizeof(samples) / sizeof(samples[0]))

/* The oracle: bytes of v by division, least significant first. */
static void bytes_of(uint64_t v, uint8_t out[8])
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)(v % 256);
        v /= 256;
    }
}

static uint64_t load(unsigned len, const void *p)
{
    return len == 2 ? load_le16(p) : len == 4 ? load_le32(p) : load_le64(p);
}

static void store(unsigned len, void *p, uint64_t v)
{
    if (len == 2)
        store_le16(p, (uint16_t)v);
    else if (len == 4)
        store_le32(p, (uint32_t)v);
    else
        store_le64(p, v);
}

static uint64_t low_bytes(uint64_t v, unsigned len)
{
    return len == 8 ? v : v % ((uint64_t)1 << (8 * len));
}

static void test_len(unsigned len)
{
    char name[100];

    snprintf(name, sizeof(name), "%u bytes are loaded least significant first at every alignment", len);
    tap_case(name);
    for (unsigned at = 0; at < 8; at++) {
        for (unsigned i = 0; i < SAMPLES_N; i++) {
            uint8_t buf[24], want[8];

            memset(buf, FILL, sizeof(buf));
            bytes_of(samples[i], want);
            memcpy(buf + 8 + at, want, len);
            CHECK_EQ(load(len, buf + 8 + at), low_bytes(samples[i], len));
        }
    }

    snprintf(name, sizeof(name), "%u bytes are stored least significant first and no byte beside them", len);
    tap_case(name);
    for (unsigned at = 0; at < 8; at++) {
        for (unsigned i = 0; i < SAMPLES_N; i++) {
            uint8_t buf[24], want[24], value[8];

            memset(buf, FILL, sizeof(buf));
            memset(want, FILL, sizeof(want));
            bytes_of(samples[i], value);
            memcpy(want + 8 + at, value, len);
            store(len, buf + 8 + at, samples[i]);
            CHECK(memcmp(buf, want, sizeof(buf)) == 0);
        }
    }
}

int main(void)
{
    test_len(2);
    test_len(4);
    test_len(8);

    tap_case("a 32-bit value with its top bit set loads without a sign");
    CHECK_EQ((uint64_t)load_le32("\x00\x00\x00\x80"), 0x80000000u);
    CHECK_EQ((uint64_t)load_le16("\x00\x80"), 0x8000u);
    CHECK_EQ(load_le64("\x00\x00\x00\x80\x00\x00\x00\x00"), 0x80000000u);
    return tap_done();
}
