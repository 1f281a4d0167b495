/*
 * Memory that is filled once, sealed, and then mapped by any number of VMs,
 * each of which sees the bytes as they were filled in and its own writes, and
 * nobody else's. Pages that were never filled in cost nothing.
 */
#ifndef MEM_PRISTINE_H
#define MEM_PRISTINE_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"
#include "mem/region.h"

struct pristine {
    int fd;            /* an anonymous file, -1 when closed */
    uint64_t off, len; /* where the bytes are in it */
};

/*
 * Bytes of somebody's file serve as well, {fd, off, len} with `off` a page multiple: the file is not
 * the pristine's to close, and has to stay as it is.
 */
#define PRISTINE_CLOSED ((struct pristine){.fd = -1})

/*
 * `len` zero bytes (a non-zero page multiple), mapped at *fill to be written.
 * The caller owns both, and unmaps *fill when it gives up before pristine_seal.
 */
int pristine_open(struct pristine *p, uint64_t len, struct region *fill, struct err *e);
void pristine_close(struct pristine *p);

/* Unmap *fill: nobody can change the bytes any more. */
int pristine_seal(struct pristine *p, struct region *fill, struct err *e);

/*
 * The same, but *fill stays: from now on it is a copy-on-write mapping of the
 * sealed bytes. None is copied. On failure it goes on to be what it was.
 */
int pristine_seal_under(const struct pristine *p, const struct region *fill, struct err *e);

/*
 * Map the sealed bytes copy-on-write; the caller owns *r, which outlives *p.
 * region_clear(r) drops the writes: the bytes read as they were filled in.
 */
int pristine_map(const struct pristine *p, struct region *r, struct err *e);

/* Map the sealed bytes copy-on-write in place of p->len bytes of a region, at a page boundary. */
int pristine_put(const struct pristine *p, uint8_t *at, struct err *e);

/*
 * The same as pristine_map, with what was written to *from, a mapping of all of them: its own
 * pages are copied, and no others. They are
 * those that /proc/self/pagemap names, or without it those that differ when
 * all are compared. A closed pristine is so many zeros, *from is from
 * region_map, and all are compared. The caller owns *r.
 */
int pristine_copy(const struct pristine *p, const struct region *from, struct region *r, struct err *e);

/* Whether two pages, eight bytes aligned, have different bytes. */
bool pristine_differ(const uint8_t *a, const uint8_t *b);

/*
 * The first range [*start, *end) at or behind `from` that holds filled-in
 * pages, page aligned; between ranges there are zeros only. False when there
 * is none.
 */
bool pristine_next(const struct pristine *p, uint64_t from, uint64_t *start, uint64_t *end);

#endif
