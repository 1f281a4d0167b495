/*
 * Several roots walked together. A table that is met again - through another
 * root, at a second place of one root, or through itself - is reported as an
 * alias together with its first owner. It is never followed twice and never
 * lost, so a walk reads each table page of the guest at most once.
 *
 *   root 0 --> [A] --> [B]        tables, in the order met:  root 0, root 1, A, B
 *   root 1 --> [A]                alias: A, owner root 0
 *
 * Tables get numbers: first all the roots in the caller's order, then the
 * others as they are met, depth first, addresses ascending.
 */
#ifndef PAGING_SPACES_H
#define PAGING_SPACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/gmem.h"
#include "paging/geom.h"
#include "paging/pte.h"
#include "paging/walk.h"

/* What to walk. Everything pointed to outlives the walk. */
struct spaces_in {
    const struct pt_geom *geom;
    struct pt_mode mode;
    const struct gmem *mem;
    const struct gpa *roots; /* bits that are no address are ignored, as in CR3 */
    unsigned roots_n;
    const struct va_range *cuts; /* what lies wholly inside one of these is not looked at */
    unsigned cuts_n;
    uint32_t tables_max; /* the budget: how many tables may be read in all */
};

/* A table and where it was first met. */
struct spaces_table {
    struct gpa pa;
    unsigned level;
    unsigned root; /* number of the root it was met through */
    struct gva va; /* first address it covers there */
};

enum spaces_what {
    SPACES_TABLE, /* a table met first: `table` is its number. Comes before its entries */
    SPACES_ALIAS, /* a table met again: `table` is the number it has */
    SPACES_LEAF,
    SPACES_MARKER, /* not present, not 0 */
    SPACES_MALFORMED,
    SPACES_UNREADABLE, /* a table that is not whole in the guest's memory */
};

/*
 * What the visitor is shown: an entry, or a root. A root has entry->level =
 * levels + 1 and is SPACES_TABLE, or SPACES_ALIAS if it was given before, or
 * SPACES_UNREADABLE.
 */
struct spaces_entry {
    enum spaces_what what;
    unsigned root;
    const struct walk_entry *entry;
    uint32_t in_table; /* number of the table that the entry is in; a root's own number for a root */
    uint32_t table;    /* SPACES_TABLE, SPACES_ALIAS */
};

enum spaces_end {
    SPACES_END_ALL,
    SPACES_END_STOPPED,   /* the visitor returned false */
    SPACES_END_BUDGET,    /* tables_max is not enough */
    SPACES_END_NO_MEMORY, /* the host's */
};

struct spaces;

typedef bool spaces_visit(void *ctx, const struct spaces_entry *entry);

/* Remembers what was met. NULL when the host has no memory; spaces_free is harmless on NULL. */
struct spaces *spaces_new(const struct spaces_in *in);
void spaces_free(struct spaces *s);

/* Walk all roots, once per struct spaces. */
enum spaces_end spaces_walk(struct spaces *s, spaces_visit *visit, void *ctx);

/* What was met so far. The pointer is valid until the walk goes on. */
uint32_t spaces_tables_n(const struct spaces *s);
const struct spaces_table *spaces_table(const struct spaces *s, uint32_t number);

/* Whether the page at `page` was met as a table; then *number is its number. */
bool spaces_find_table(const struct spaces *s, struct gpa page, uint32_t *number);

/* Whether [va, va + len) lies wholly inside a cut, and whether it has a byte in one. */
bool spaces_is_cut(const struct spaces *s, struct gva va, uint64_t len);
bool spaces_touches_cut(const struct spaces *s, struct gva va, uint64_t len);

#endif
