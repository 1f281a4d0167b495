/*
 * Reading page tables that a guest owns. Any entry may be garbage, change
 * while we look, point outside memory or back at its own table, so:
 *
 *   - every entry is read once, and what was read is what is used;
 *   - rights are the AND over the levels;
 *   - absent, malformed and unreadable are three different answers, and none
 *     of them is an address;
 *   - a walk ends after at most its budget of tables, whatever they hold;
 *   - nothing is ever written.
 *
 * A root may be given as CR3 holds it: bits that are no address are ignored.
 * Rights are those of a guest with CR0.WP set.
 */
#ifndef PAGING_WALK_H
#define PAGING_WALK_H

#include <stdint.h>

#include "mem/addr.h"
#include "mem/gmem.h"
#include "paging/geom.h"
#include "paging/pte.h"

enum walk_result {
    WALK_FOUND,
    WALK_ABSENT,     /* an entry on the way is not present, or the CPU has no such address */
    WALK_MALFORMED,  /* an entry on the way has a reserved bit set */
    WALK_UNREADABLE, /* a table on the way is not in the guest's memory */
};

struct walk_leaf {
    struct gpa pa;       /* what `va` itself translates to, offset included; need not be memory */
    uint64_t page_len;   /* bytes the leaf maps: 4 KiB or a large page */
    unsigned rights;     /* enum pt_rights along the whole path */
    uint64_t raw;        /* the leaf as it was read */
    struct gpa entry_pa; /* where the leaf was read from */
};

/* Translate one address. *out is written for WALK_FOUND only. */
enum walk_result walk_lookup(const struct pt_geom *g, struct pt_mode mode, const struct gmem *m,
                             struct gpa root, struct gva va, struct walk_leaf *out);

/* What the visitor of walk_root is shown. Absent entries of value 0 are not shown. */
enum walk_what {
    WALK_SEES_LEAF,
    WALK_SEES_TABLE,  /* a pointer; the answer says whether to follow it */
    WALK_SEES_MARKER, /* not present, but not 0 */
    WALK_SEES_MALFORMED,
    WALK_SEES_UNREADABLE, /* comes after WALK_SEES_TABLE was answered WALK_ON, or for the root */
};

struct walk_entry {
    enum walk_what what;
    struct gva va;    /* the first address the entry covers */
    unsigned level;   /* of the table the entry is in; of the root itself: levels + 1 */
    struct gpa table; /* that table */
    unsigned index;
    struct pte pte;
    uint64_t raw;
    unsigned rights; /* along the path, this entry included */
};

enum walk_next {
    WALK_ON,
    WALK_PAST, /* WALK_SEES_TABLE: do not follow; else as WALK_ON */
    WALK_STOP,
};

typedef enum walk_next walk_visit(void *ctx, const struct walk_entry *entry);

enum walk_end {
    WALK_END_ALL,
    WALK_END_STOPPED, /* the visitor said so */
    WALK_END_BUDGET,  /* one more table would have been needed */
};

/*
 * Show every entry below `root` to `visit`, depth first, addresses ascending.
 * *budget is the number of tables that may still be read, the root included;
 * what was read is taken off it, so several walks can share one. A table that
 * is reached on several ways is read on each: paging/spaces.h knows better.
 */
enum walk_end walk_root(const struct pt_geom *g, struct pt_mode mode, const struct gmem *m, struct gpa root,
                        uint64_t *budget, walk_visit *visit, void *ctx);

#endif
