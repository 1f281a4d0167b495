/*
 * Checked arithmetic on sizes and addresses. Every sum of numbers that came
 * from a file, a guest or a command line is made with these.
 */
#ifndef MEM_NUM_H
#define MEM_NUM_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_LEN   ((uint64_t)1 << PAGE_SHIFT)
#define PAGE_MASK  (PAGE_LEN - 1) /* the offset bits */

/* *sum = a + b; false, and *sum untouched, when that does not fit 64 bits. */
static inline bool num_add(uint64_t a, uint64_t b, uint64_t *sum)
{
    uint64_t s;

    if (__builtin_add_overflow(a, b, &s))
        return false;
    *sum = s;
    return true;
}

/* *product = a * b; false, and *product untouched, when that does not fit 64 bits. */
static inline bool num_mul(uint64_t a, uint64_t b, uint64_t *product)
{
    uint64_t p;

    if (__builtin_mul_overflow(a, b, &p))
        return false;
    *product = p;
    return true;
}

/* *up = a rounded up to a page; false when that does not fit 64 bits. */
static inline bool num_page_up(uint64_t a, uint64_t *up)
{
    uint64_t s;

    if (!num_add(a, PAGE_MASK, &s))
        return false;
    *up = s & ~PAGE_MASK;
    return true;
}

static inline uint64_t num_page_down(uint64_t a)
{
    return a & ~PAGE_MASK;
}

static inline bool num_is_page_aligned(uint64_t a)
{
    return (a & PAGE_MASK) == 0;
}

static inline bool num_is_power_of_two(uint64_t a)
{
    return a != 0 && (a & (a - 1)) == 0;
}

/* Whether [off, off + len) lies inside [0, limit). True for len 0 at off == limit. */
static inline bool num_fits(uint64_t off, uint64_t len, uint64_t limit)
{
    return len <= limit && off <= limit - len;
}

/* Whether [a, a + a_len) and [b, b + b_len) share a byte. Neither end may exceed 2^64 - 1. */
static inline bool num_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a_len != 0 && b_len != 0 && a < b + b_len && b < a + a_len;
}

#endif
