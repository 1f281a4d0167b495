/*
 * The oracle of the stack tests: the rules of an I/O stack once more, on a copy
 * and with 128-bit sums, sharing no code with mem/iostack. For both, what they
 * do is the whole buffer afterwards.
 */
#ifndef TESTS_FUZZ_REF_IOSTACK_H
#define TESTS_FUZZ_REF_IOSTACK_H

#include <stdint.h>

#include "mem/iostack.h"

__extension__ typedef unsigned __int128 ref_wide;

static inline ref_wide ref_word(const uint8_t *p, unsigned n)
{
    ref_wide v = 0;

    while (n-- != 0)
        v = v * 256 + p[n];
    return v;
}

static inline void ref_set_word(uint8_t *p, uint64_t v)
{
    unsigned i;

    for (i = 0; i < 8; i++, v /= 256)
        p[i] = (uint8_t)(v % 256);
}

static inline enum iostack_status ref_push(uint8_t *s, uint64_t size, const uint8_t *payload, uint64_t len)
{
    ref_wide sp, i;

    sp = ref_word(s, 8);
    if (!(sp >= 8 && sp <= size))
        return IOSTACK_BAD_SP;
    if (sp + len + 8 > size)
        return IOSTACK_FULL;
    for (i = 0; i < len; i++)
        s[sp + i] = payload[i];
    ref_set_word(s + sp + len, (uint64_t)sp);
    ref_set_word(s, (uint64_t)sp + len + 8);
    return IOSTACK_OK;
}

static inline enum iostack_status ref_peek(const uint8_t *s, uint64_t size, uint64_t cap,
                                           struct iostack_top *top)
{
    ref_wide sp, back, total;

    sp = ref_word(s, 8);
    if (!(sp >= 16 && sp <= size))
        return IOSTACK_BAD_SP;
    back = ref_word(s + sp - 8, 8);
    if (!(back >= 8 && back + 16 <= sp))
        return IOSTACK_BAD_BACK;
    total = ref_word(s + back, 4) + 4;
    if (back + total + 8 > sp)
        return IOSTACK_BAD_PREFIX;
    if (total > cap)
        return IOSTACK_FULL;
    top->sp = (uint64_t)sp;
    top->back = (uint64_t)back;
    top->len = (uint64_t)total;
    return IOSTACK_OK;
}

static inline void ref_drop(uint8_t *s, const struct iostack_top *top)
{
    uint64_t i;

    for (i = top->back; i < top->sp; i++)
        s[i] = 0;
    ref_set_word(s, top->back);
}

static inline void ref_reset(uint8_t *s, uint64_t size)
{
    ref_wide sp, i;

    sp = ref_word(s, 8);
    for (i = 8; i < size; i++)
        if (i < sp || sp < 8)
            s[i] = 0;
    ref_set_word(s, 8);
}

#endif
