/* Whether bytes are all zero, a word at a time: the C library's comparisons are too slow for whole guests. */
#ifndef MEM_ZERO_H
#define MEM_ZERO_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ZERO_BLOCK_LEN 64

static inline bool zero_is(const uint8_t *bytes, uint64_t len)
{
    uint64_t w[ZERO_BLOCK_LEN / 8];

    for (; len >= ZERO_BLOCK_LEN; bytes += ZERO_BLOCK_LEN, len -= ZERO_BLOCK_LEN) {
        memcpy(w, bytes, sizeof(w));
        if ((w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) != 0)
            return false;
    }
    for (; len != 0; bytes++, len--)
        if (*bytes != 0)
            return false;
    return true;
}

#endif
