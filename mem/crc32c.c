/* CRC32C by the CPU's instruction where there is one. See crc32c.h. */
#include "mem/crc32c.h"

#include <cpuid.h>

#include "mem/bytes.h"

/* What four bits do to the checksum: small enough for the cache, and only old CPUs need it. */
static const uint32_t nibble_table[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

bool crc32c_has_instruction(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_2) != 0;
}

uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *p = (const uint8_t *)bytes;

    crc = ~crc;
    for (; len != 0; len--, p++) {
        crc ^= *p;
        crc = crc >> 4 ^ nibble_table[crc & 15];
        crc = crc >> 4 ^ nibble_table[crc & 15];
    }
    return ~crc;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_by_instruction(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *p = (const uint8_t *)bytes;
    uint64_t wide = (uint32_t)~crc;

    for (; len >= 8; len -= 8, p += 8)
        wide = __builtin_ia32_crc32di(wide, load_le64(p));
    crc = (uint32_t)wide;
    for (; len != 0; len--, p++)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return ~crc;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    /* Asking the CPU is slow in a virtual machine: once. */
    static int has; /* 0: not asked, 1: yes, -1: no */

    if (has == 0)
        has = crc32c_has_instruction() ? 1 : -1;
    return has > 0 ? crc32c_by_instruction(crc, bytes, len) : crc32c_by_table(crc, bytes, len);
}
