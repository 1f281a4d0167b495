/*
 * One host mapping and its owner: of memory of our own, or of a part of a file
 * that is only read. Never executable; lazily backed (MAP_NORESERVE), so a
 * large guest costs what it touches.
 */
#ifndef MEM_REGION_H
#define MEM_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"

struct region {
    uint8_t *base; /* page aligned, NULL when len is 0 */
    uint64_t len;  /* bytes, a page multiple */
};

/* Map `len` zero bytes (a non-zero page multiple), readable and writable. The caller owns *r. */
int region_map(struct region *r, uint64_t len, struct err *e);

/*
 * Map `len` bytes (a non-zero page multiple) from `off` (page aligned) of a
 * file, to be read: sealed from the start, and shared with everyone who maps
 * that file. A read of a page past the end of a file that shrank raises SIGBUS.
 * Not for region_clear. The caller owns *r; `fd` may be closed.
 */
int region_map_file(struct region *r, int fd, uint64_t off, uint64_t len, struct err *e);

/*
 * The same, to be written as well: what is written is this mapping's own and
 * never reaches the file. region_clear gives all of it up again.
 */
int region_map_file_private(struct region *r, int fd, uint64_t off, uint64_t len, struct err *e);

/*
 * In place of what *r maps, which is given back, as many bytes of a file at the
 * same address: for `writable` as region_map_file_private, else as
 * region_map_file. On failure *r is empty.
 */
int region_remap_file(struct region *r, int fd, uint64_t off, bool writable, struct err *e);

/* From `at` on, a page multiple and at most its length, what *r maps is *rest's. */
void region_split(struct region *r, uint64_t at, struct region *rest);

/*
 * Have `len` bytes at `at`, both page multiples, backed by memory now, which takes
 * less than as each page is written. Nothing but time depends on it: a host that cannot leaves it at that.
 */
void region_populate(uint8_t *at, uint64_t len);

/* Make the bytes read-only for the host for good: a stray write through the mapping is a fault. */
int region_seal(struct region *r, struct err *e);

/* Read as at first again, as zeros or as the file, giving the memory back to the host. Not for what is sealed. */
int region_clear(struct region *r, struct err *e);

/* Copy `len` bytes, a page multiple, to where there are zeros: their pages of zeros take no memory there. */
void region_fill(uint8_t *to, const uint8_t *from, uint64_t len);

/* Copy a page, or zeros with `from` NULL, as fast as this CPU does it. */
void region_put_page(uint8_t *to, const uint8_t *from);

/* Give the mapping back; *r becomes empty. Harmless on an empty region. */
void region_unmap(struct region *r);

/*
 * For a process that is about to end: from here on region_unmap only empties
 * *r, and all memory goes at once with the process, or with the last one that shares it.
 */
void region_keep_mapped(void);

#endif
