/*
 * Which pages of a stretch of memory were written: each page once, in a dense
 * list in the order in which they were noticed, so that who puts them back
 * looks at nothing else.
 */
#ifndef MEM_TOUCHED_H
#define MEM_TOUCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"

struct touched {
    uint64_t *bits; /* a bit for each page: it is in the list */
    uint32_t *list; /* page numbers */
    uint32_t n;
    uint64_t pages_n;
};

/* For `len` bytes (a non-zero page multiple, at most 2^32 pages), none of them touched. The caller owns it. */
int touched_open(struct touched *t, uint64_t len, struct err *e);

/* Harmless on a zeroed one. */
void touched_close(struct touched *t);

/* The pages of [off, off + len) were written; inside the stretch (asserted), len may be 0. */
void touched_add(struct touched *t, uint64_t off, uint64_t len);

static inline bool touched_has(const struct touched *t, uint64_t page)
{
    return (t->bits[page / 64] >> page % 64 & 1) != 0;
}

/* None is touched any more. */
void touched_clear(struct touched *t);

#endif
