/* Whether bytes are all zero, a word at a time: the C library's comparisons are too slow for whole guests. */
#ifndef MEM_ZERO_H
#define MEM_ZERO_H

#include <stdbool.h>
#include <stdint.h>

/* At any address; of no bytes it is true. */
bool zero_is(const uint8_t *bytes, uint64_t len);

#endif
