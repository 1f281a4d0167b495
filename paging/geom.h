/*
 * The shape of page tables as data, so that one code serves every kind of
 * guest. Both geometries are always compiled in.
 *
 *             levels   entries     virtual address, from the top
 *   i686      2        1024 x 4    10 . 10 . 12 bits
 *   amd64     4        512 x 8     (16 copies of bit 47) 9 . 9 . 9 . 9 . 12 bits
 *
 * i686 is the format of CR4.PAE = 0, amd64 that of CR4.LA57 = 0: whoever has
 * the vCPU's registers refuses the others.
 */
#ifndef PAGING_GEOM_H
#define PAGING_GEOM_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/num.h"

#define PT_LEVELS_MAX  4
#define PT_ENTRIES_MAX 1024

/* What bit 7 of an entry means at one level. */
enum pt_ps {
    PS_IS_PAT,    /* level 1: every entry is a leaf, and the bit selects a memory type */
    PS_RESERVED,  /* no leaf at this level */
    PS_ALWAYS,    /* a large leaf */
    PS_IF_PSE,    /* a large leaf with CR4.PSE, else the bit is ignored */
    PS_IF_PAGE1G, /* a large leaf where the CPU has them, else reserved */
};

struct pt_level {
    unsigned shift; /* lowest virtual address bit of the index; a leaf here maps 1 << shift bytes */
    enum pt_ps ps;
    uint64_t leaf_pa;      /* address bits of a leaf */
    uint64_t leaf_pa_high; /* bits of a leaf that hold address bits from 32 up (PSE-36), or 0 */
    uint64_t leaf_rsvd;    /* bits that must be clear in a leaf, besides those above MAXPHYADDR */
};

struct pt_geom {
    const char *name;
    unsigned levels;
    unsigned entry_len;
    unsigned index_bits;
    unsigned entries_n;
    unsigned va_bits;
    bool sign_extended;  /* bits above va_bits repeat the topmost, else they are 0 */
    uint64_t entry_mask; /* all bits of an entry */
    uint64_t table_pa;   /* address bits of a pointer to a table, and of CR3 */
    uint64_t nx;         /* PTE_NX or 0 */
    uint64_t pointer;    /* ABI 1.4: flags of a pointer to a table */
    uint64_t pointer_user;
    uint64_t leaf_ro; /* ABI 1.4: flags of a read-only leaf; RW or the CoW mark is added */
    uint64_t pa_end;  /* exclusive: how far an address in an entry built here can reach */
    struct pt_level level[PT_LEVELS_MAX + 1]; /* by level, 1 to `levels` */
};

extern const struct pt_geom geom_i686;
extern const struct pt_geom geom_amd64;

/* Bytes of virtual address space that one entry of a table of `level` covers. */
static inline uint64_t geom_entry_span(const struct pt_geom *g, unsigned level)
{
    return (uint64_t)1 << g->level[level].shift;
}

static inline unsigned geom_index(const struct pt_geom *g, unsigned level, struct gva va)
{
    return (unsigned)(va.v >> g->level[level].shift) & (g->entries_n - 1);
}

/* The address as the CPU forms it: upper bits from the topmost one the tables translate. */
static inline struct gva geom_canonical(const struct pt_geom *g, uint64_t va)
{
    uint64_t top = (uint64_t)1 << (g->va_bits - 1);

    va &= (top << 1) - 1;
    return gva_make(g->sign_extended ? (va ^ top) - top : va);
}

static inline bool geom_is_canonical(const struct pt_geom *g, struct gva va)
{
    return geom_canonical(g, va.v).v == va.v;
}

/*
 * Whether [va, va + len) is made of addresses that the tables can translate,
 * without wrapping and without running across the hole of a sign-extended
 * space. The range may end at the very top. False for len 0.
 */
static inline bool geom_has_range(const struct pt_geom *g, struct gva va, uint64_t len)
{
    uint64_t last;

    if (len == 0 || !num_add(va.v, len - 1, &last))
        return false;
    return geom_is_canonical(g, va) && geom_is_canonical(g, gva_make(last)) &&
           (!g->sign_extended || va.v >> (g->va_bits - 1) == last >> (g->va_bits - 1));
}

/* A stretch of virtual addresses that geom_has_range, so that start + (len - 1) does not wrap; or len 0. */
struct va_range {
    struct gva start;
    uint64_t len;
};

/* Whether the `len` (not 0) bytes from `va` are all in the range; at least one is. */
static inline bool va_range_holds(const struct va_range *r, struct gva va, uint64_t len)
{
    return r->len != 0 && va.v >= r->start.v && va.v + (len - 1) <= r->start.v + (r->len - 1);
}

static inline bool va_range_touches(const struct va_range *r, struct gva va, uint64_t len)
{
    return r->len != 0 && va.v <= r->start.v + (r->len - 1) && r->start.v <= va.v + (len - 1);
}

#endif
