/*
 * The address plan of the guest ABI once more, from its text alone: literal
 * numbers, 128-bit sums that cannot wrap, and tables counted one by one. What
 * mem/layout says is judged by this, so nothing of mem/ is used here.
 */
#ifndef TESTS_ABI_MODEL_H
#define TESTS_ABI_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef unsigned __int128 u128;

/* ABI 1.2 */
struct abi_kind {
    const char *name;
    uint64_t base, p_top, region_max;
    u128 g_top;
    unsigned levels, index_bits;
    bool paged;
};

static const struct abi_kind abi_kinds[] = {
    {"amd64", 0x4000, 0x1000000000, 0x400000000 - 0x4000, 0xfffffffffffff000, 4, 9, true},
    {"i686", 0x1000, 0xfee00000, 0xfee00000 - 0x1000, 0x100000000, 2, 10, true},
    {"i686-identity", 0x1000, 0xfee00000, 0xfee00000 - 0x1000, 0xfee00000, 0, 0, false},
};

static inline const struct abi_kind *abi_kind_named(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(abi_kinds) / sizeof(abi_kinds[0]); i++)
        if (strcmp(abi_kinds[i].name, name) == 0)
            return &abi_kinds[i];
    return NULL;
}

struct abi_sizes {
    uint64_t in, out, heap, scratch, init, image;
    uint64_t fixed_base; /* when fixed */
    bool fixed, apic;
};

/* Why there is no plan. Several may hold. */
enum {
    ABI_BAD_SIZE = 1,  /* of a stack, the heap or scratch, on its own: usage */
    ABI_TOO_SMALL = 2, /* scratch does not hold stacks, tables and 12 pages: usage */
    ABI_BAD_BASE = 4,  /* this and the rest: the image */
    ABI_BAD_IMAGE = 8, /* empty, or the region is larger than the kind allows */
    ABI_PAST_END = 16, /* the image ends past the guest's memory, or past 2^64 */
    ABI_ON_SCRATCH = 32,
    ABI_ON_APIC = 64,
};
#define ABI_USAGE (ABI_BAD_SIZE | ABI_TOO_SMALL)

/* All addresses absolute; `end` of one is the start of the next. */
struct abi_plan {
    u128 base, image_end, peb, heap, init, end; /* physical, and virtual too */
    u128 scratch, out, tables, first_free, top; /* physical */
    u128 seen;                                  /* scratch as the guest sees it */
    uint64_t tables_n;
};

static inline u128 abi_ru(u128 x)
{
    return (x + 4095) / 4096 * 4096;
}

/* Tables for the virtual ranges [a, a_end) below [b, b_end), each place of each level looked at. */
static inline uint64_t abi_count_tables(const struct abi_kind *k, u128 a, u128 a_end, u128 b, u128 b_end)
{
    uint64_t n = k->levels != 0;
    unsigned level;

    for (level = 1; level < k->levels; level++) {
        unsigned shift = 12 + level * k->index_bits;
        uint64_t c, seen = UINT64_MAX;

        for (c = (uint64_t)(a >> shift); c <= (uint64_t)((a_end - 1) >> shift); c++, n++)
            seen = c;
        for (c = (uint64_t)(b >> shift); c <= (uint64_t)((b_end - 1) >> shift); c++)
            n += c != seen;
    }
    return n;
}

static inline bool abi_size_ok(const struct abi_kind *k, uint64_t len, uint64_t min)
{
    return len % 4096 == 0 && len >= min && len <= k->region_max;
}

static inline unsigned abi_judge(const struct abi_kind *k, const struct abi_sizes *s, struct abi_plan *p)
{
    unsigned bad = 0;
    bool apart;

    memset(p, 0, sizeof(*p));
    p->base = s->fixed ? s->fixed_base : k->base;
    p->image_end = p->base + s->image;
    p->peb = p->base + abi_ru(s->image);
    p->heap = p->peb + 4096;
    p->init = p->heap + s->heap;
    p->end = p->init + abi_ru(s->init);
    p->top = k->p_top;

    if (!abi_size_ok(k, s->in, 0x2000) || !abi_size_ok(k, s->out, 0x2000) || !abi_size_ok(k, s->heap, 0) ||
        !abi_size_ok(k, s->scratch, 0x1000))
        bad |= ABI_BAD_SIZE;
    if (p->base < 0x1000 || p->base % 4096 != 0)
        bad |= ABI_BAD_BASE;
    if (s->image == 0 || p->end - p->base > k->region_max)
        bad |= ABI_BAD_IMAGE;
    if (p->image_end > k->p_top)
        bad |= ABI_PAST_END;
    if (s->apic && p->base < 0xfee01000 && p->end > 0xfee00000)
        bad |= ABI_ON_APIC;
    if (s->scratch > k->p_top || p->end > k->p_top - s->scratch)
        bad |= ABI_ON_SCRATCH;

    apart = (bad & (ABI_BAD_IMAGE | ABI_BAD_SIZE | ABI_ON_SCRATCH)) == 0;
    p->tables_n = apart ? abi_count_tables(k, p->base, p->end, k->g_top - s->scratch, k->g_top) : k->levels;
    p->scratch = (u128)k->p_top - s->scratch;
    p->seen = k->g_top - s->scratch;
    p->out = p->scratch + s->in;
    p->tables = p->scratch + abi_ru((u128)s->in + s->out);
    p->first_free = p->tables + (u128)p->tables_n * 4096;
    if (s->scratch < abi_ru((u128)s->in + s->out) + 12 * 4096 + (u128)p->tables_n * 4096)
        bad |= ABI_TOO_SMALL;
    return bad;
}

#endif
