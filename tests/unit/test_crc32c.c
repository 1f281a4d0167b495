/*
 * mem/crc32c: the vectors of RFC 3720, both ways of computing it, and both
 * against the definition, bit by bit.
 */
#include "mem/crc32c.h"

#include "tests/tap.h"

#define LEN_MAX 300

typedef uint32_t crc_fn(uint32_t crc, const void *bytes, size_t len);

/* The polynomial division itself, with the reflected Castagnoli polynomial. */
static uint32_t by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    while (len-- != 0) {
        int bit;

        crc ^= *p++;
        for (bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

/* RFC 3720, B.4; the checksums there are in the order of bytes on the wire. */
static void check_vectors(crc_fn *crc)
{
    static const uint8_t read10[48] = {
        0x01, 0xc0, [16] = 0x14, [20] = 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, [40] = 2,
    };
    uint8_t b[32];
    unsigned i;

    memset(b, 0, sizeof(b));
    CHECK_EQ(crc(0, b, 32), 0x8a9136aa);
    memset(b, 0xff, sizeof(b));
    CHECK_EQ(crc(0, b, 32), 0x62a8ab43);
    for (i = 0; i < 32; i++)
        b[i] = (uint8_t)i;
    CHECK_EQ(crc(0, b, 32), 0x46dd794e);
    for (i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    CHECK_EQ(crc(0, b, 32), 0x113fdb5c);
    CHECK_EQ(crc(0, read10, 48), 0xd9963a56);
    CHECK_EQ(crc(0, "123456789", 9), 0xe3069283);
    CHECK_EQ(crc(0, b, 0), 0);
}

/* Every length and alignment, whole and in two pieces. */
static void check_definition(crc_fn *crc)
{
    uint8_t b[LEN_MAX + 8];
    uint64_t seed = 1;
    size_t i, len, cut;
    bool same = true;

    for (i = 0; i < sizeof(b); i++)
        b[i] = (uint8_t)tap_random(&seed);
    for (i = 0; i < 8; i++) {
        for (len = 0; len <= LEN_MAX; len++) {
            uint32_t want = by_bits(0, b + i, len);

            cut = len == 0 ? 0 : (size_t)(tap_random(&seed) % len);
            same =
                same && crc(0, b + i, len) == want && crc(crc(0, b + i, cut), b + i + cut, len - cut) == want;
        }
    }
    CHECK(same);
}

int main(void)
{
    const char *const names[] = {"the checksum", "the checksum by table", "the checksum by instruction"};
    crc_fn *const ways[] = {crc32c, crc32c_by_table, crc32c_by_instruction};
    char name[128];
    unsigned i;

    for (i = 0; i < 3; i++) {
        bool missing = i == 2 && !crc32c_has_instruction();

        snprintf(name, sizeof(name), "%s is that of RFC 3720", names[i]);
        if (missing)
            tap_skip(name, "this CPU has no SSE4.2");
        else {
            tap_case(name);
            check_vectors(ways[i]);
        }
        snprintf(name, sizeof(name), "%s is the remainder of the polynomial division", names[i]);
        if (missing)
            tap_skip(name, "this CPU has no SSE4.2");
        else {
            tap_case(name);
            check_definition(ways[i]);
        }
    }
    return tap_done();
}
