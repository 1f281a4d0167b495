/*
 * From the roots of a running guest to what a snapshot keeps of its memory:
 * which pages, in which order, and tables rebuilt to map them. Pure: guest
 * memory is read and nothing is written but the result.
 *
 *   guest memory                     snapshot region         scratch
 *   roots -> tables -> pages   ==>   page 0, 1, 2 ...        | roots | tables | placed pages | free ...
 *                                    at pages_gpa            at tables_gpa                   at free_gpa
 *
 * Tables are copied one to one, so a table that several roots share stays one
 * table, an empty one stays there, and every pointer keeps its bits; only
 * addresses change. The scratch window is dropped and made again. For leaves:
 *
 *   leaf, and what it maps                      becomes
 *   RW, the only leaf of its page               CoW, page in the snapshot region
 *   RW, one of several leaves of its page       RW, page placed in scratch behind the tables
 *   RW, with marks in the available bits 9-11   RW with its marks, page placed likewise: bit 9 alone would
 * mean CoW, and CoW with other marks means nothing CoW or read-only                            the same,
 * wherever the page goes: several CoW leaves of a page stay independent once written any, of a page that is
 * itself a table       the same, of the new table large                                       4 KiB leaves
 * with the same bits, in a table of their own
 *
 * A page is stored once however many leaves map it; a page of zeros is a page
 * like any other here. User, NX, D, G and cache bits, marks and entries that
 * are not present are kept; A is always set. Refused by name, with the address
 * (STATUS_IMAGE):
 *
 *   - a malformed entry; a table or a page that is not in the guest's memory
 *   - a table used at two levels, as self-maps do
 *   - a table reached at two addresses of which one is in the window
 *   - an entry that is not present, or read-only, where a table of the window must be
 *   - a leaf outside the window that maps scratch which is not the allocator's: I/O stacks, words
 *   - CR0.WP clear
 *   - more tables, placed pages or pages than there is room for
 */
#ifndef PAGING_COMPACT_H
#define PAGING_COMPACT_H

#include <stddef.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/error.h"
#include "mem/gmem.h"
#include "paging/geom.h"
#include "paging/pte.h"

/*
 * The plan part (everything but mode and roots) is the caller's word and is
 * asserted, not refused: page multiples, ranges that exist in the geometry,
 * scratch_gpa <= tables_gpa < alloc_end <= scratch_gpa + scratch_len, pages
 * and scratch apart and addressable.
 */
struct compact_in {
    const struct pt_geom *geom;
    struct pt_mode mode;
    const struct gmem *mem;
    const struct gpa *roots; /* at least one; bits that are no address are ignored, as in CR3 */
    unsigned roots_n;

    struct gva window; /* where the guest sees scratch_gpa; scratch_len bytes */
    struct gpa scratch_gpa;
    uint64_t scratch_len;
    unsigned window_rights; /* enum pt_rights of the window's leaves; PT_EXEC is added if EFER.NXE is clear */
    struct va_range never_kept; /* a range that is no part of a snapshot and is not made again; len 0: none */

    struct gpa tables_gpa; /* of the rebuilt tables, in scratch */
    struct gpa
        alloc_end; /* exclusive: how far tables and placed pages may reach, and the guest's allocator */
    struct gpa pages_gpa; /* of the first stored page */
    uint64_t pages_max;
};

struct compact_out {
    struct gpa *roots; /* new address of each of the caller's roots, in his order; the first is tables_gpa */
    unsigned roots_n;
    uint8_t *tables; /* tables_len bytes, to go to tables_gpa */
    uint64_t tables_len;
    struct gpa *pages; /* source of the page that goes to pages_gpa + i * PAGE_LEN */
    uint64_t pages_n;
    struct gpa *placed; /* source of the page that goes to tables_gpa + tables_len + i * PAGE_LEN */
    uint64_t placed_n;
    struct gpa free_gpa; /* first free byte of scratch behind the placed pages */
};

/* On success the caller owns *out and gives it back to compact_free. */
int compact_make(const struct compact_in *in, struct compact_out *out, struct err *e);

/* Copy `pages_n` pages of a list of compact_make to `to`, one behind the other, where there are zeros now. */
int compact_copy(const struct gmem *m, const struct gpa *pages, uint64_t pages_n, uint8_t *to, struct err *e);

/* Harmless on a zeroed struct. */
void compact_free(struct compact_out *out);

#endif
