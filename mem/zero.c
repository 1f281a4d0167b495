/* Words of zeros. See zero.h. */
#include "mem/zero.h"

typedef uint64_t word __attribute__((aligned(1), may_alias));

bool zero_is(const uint8_t *bytes, uint64_t len)
{
    for (; len >= sizeof(word); bytes += sizeof(word), len -= sizeof(word))
        if (*(const word *)(const void *)bytes != 0)
            return false;
    for (; len != 0; bytes++, len--)
        if (*bytes != 0)
            return false;
    return true;
}
