/*
 * Building tables: mappings are added to an arena of table pages that the
 * caller copies into the guest. Tables are appended in the order they are
 * first needed, addresses ascending within a mapping; the root is the first
 * page. Entry values are those of ABI 1.4.
 *
 * The arena is the host's own memory: nothing here reads what a guest can
 * write. On failure nothing has been written at all.
 */
#ifndef PAGING_BUILD_H
#define PAGING_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/error.h"
#include "paging/geom.h"
#include "paging/pte.h"

struct pt_build {
    const struct pt_geom *geom;
    uint8_t *tables;       /* the caller's bytes, which outlive this */
    struct gpa tables_gpa; /* where the guest will have them; also the root */
    uint64_t tables_len;
    uint64_t used; /* bytes of tables so far */
};

/*
 * Start with an empty root. `tables_gpa` and `tables_len` are page multiples,
 * the length is at least a page, and the whole arena must be addressable by
 * the geometry's pointers. The bytes need not be zero: each table is cleared
 * when it is taken.
 */
int build_init(struct pt_build *b, const struct pt_geom *g, uint8_t *tables, struct gpa tables_gpa,
               uint64_t tables_len, struct err *e);

/*
 * Map [va, va + len) to [pa, pa + len) with 4 KiB leaves and the given
 * enum pt_rights. Where the geometry has no NX, PT_EXEC makes no difference.
 * PT_USER opens the tables on the way to the user too.
 *
 * Mapping the same again with the same rights changes nothing; len 0 maps
 * nothing. Refused: anything that is not a page multiple, virtual addresses
 * that do not exist or wrap, physical ones that an entry cannot hold, rights
 * that contradict, an overlap with another mapping, an arena that is full.
 */
int build_map(struct pt_build *b, struct gva va, struct gpa pa, uint64_t len, unsigned rights, struct err *e);

/* As build_map, with the largest leaves that addresses and `mode` allow at each place. */
int build_map_large(struct pt_build *b, struct pt_mode mode, struct gva va, struct gpa pa, uint64_t len,
                    unsigned rights, struct err *e);

/* Bytes of tables so far, the root included. */
uint64_t build_used(const struct pt_build *b);

/*
 * The exact number of table pages, the root included, that mapping these
 * ranges with 4 KiB leaves takes. The ranges are page multiples in ascending
 * order and do not overlap; a range of length 0 counts nothing.
 */
int build_count(const struct pt_geom *g, const struct va_range *ranges, size_t ranges_n, uint64_t *tables_n,
                struct err *e);

#endif
