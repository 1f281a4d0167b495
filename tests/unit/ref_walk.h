/*
 * A slow reference for the page walker, written from the processor manual and
 * sharing nothing with what it judges: no geometry, one function per format,
 * each level spelled out. Intel SDM vol. 3A: 4.3 (two levels), 4.5 (four).
 */
#ifndef TESTS_REF_WALK_H
#define TESTS_REF_WALK_H

#include <stdbool.h>
#include <stdint.h>

enum ref_result { REF_FOUND, REF_ABSENT, REF_MALFORMED, REF_UNREADABLE };

struct ref_mode {
    bool is_amd64;
    bool pse;
    bool nxe;
    bool page1g;
    unsigned phys_bits;
};

struct ref_answer {
    enum ref_result result;
    uint64_t span; /* bytes of address space that the entry which decided covers, 0 for no such address */
    uint64_t pa;   /* the rest: REF_FOUND only */
    uint64_t page_len;
    bool write, user, exec, cow;

    /* whatever the result */
    uint64_t raw;      /* the entry that decided, 0 when it could not be read */
    uint64_t entry_pa; /* where it is */
    unsigned tables_n; /* of the tables that were looked into */
    uint64_t tables[4];
};

/* Read `len` bytes, little-endian; false when they are not there. */
typedef bool ref_read(void *ctx, uint64_t at, unsigned len, uint64_t *value);

static inline bool ref_bit(uint64_t v, unsigned n)
{
    return v >> n & 1;
}

/* Whether any of bits low to high is set. */
static inline bool ref_any(uint64_t v, unsigned low, unsigned high)
{
    for (unsigned n = low; n <= high && n < 64; n++)
        if (ref_bit(v, n))
            return true;
    return false;
}

/* An answer that is no translation: what was collected on the way, without address and rights. */
static inline struct ref_answer ref_ends(struct ref_answer a, enum ref_result result, uint64_t span)
{
    a.result = result;
    a.span = span;
    a.write = a.user = a.exec = false;
    return a;
}

/* Look at the entry at `at`, which is in a table of its own. */
static inline bool ref_look(struct ref_answer *a, ref_read *read, void *ctx, uint64_t at, unsigned len)
{
    a->entry_pa = at;
    a->raw = 0;
    if (!read(ctx, at, len, &a->raw))
        return false;
    a->tables[a->tables_n++] = at / 4096 * 4096;
    return true;
}

static inline bool ref_is_cow(uint64_t leaf)
{
    return !ref_bit(leaf, 1) && ref_bit(leaf, 9) && !ref_bit(leaf, 10) && !ref_bit(leaf, 11);
}

static inline struct ref_answer ref_walk32(struct ref_mode mode, ref_read *read, void *ctx, uint64_t cr3,
                                           uint64_t va)
{
    struct ref_answer a = {.result = REF_FOUND};
    uint64_t pde, pte;

    if (va > 0xffffffffu)
        return ref_ends(a, REF_ABSENT, 0);
    if (!ref_look(&a, read, ctx, (cr3 & 0xfffff000u) + (va / 0x400000) * 4, 4))
        return ref_ends(a, REF_UNREADABLE, 0x400000);
    pde = a.raw;
    if (!ref_bit(pde, 0))
        return ref_ends(a, REF_ABSENT, 0x400000);
    a.write = ref_bit(pde, 1);
    a.user = ref_bit(pde, 2);
    a.exec = true;
    if (mode.pse && ref_bit(pde, 7)) {
        /* Table 4-4: 31:22 are address bits, 20:13 are address bits 39:32, 21 and those above M are reserved
         */
        if (ref_bit(pde, 21))
            return ref_ends(a, REF_MALFORMED, 0x400000);
        for (unsigned n = 32; n < 40; n++)
            if (n >= mode.phys_bits && ref_bit(pde, 13 + n - 32))
                return ref_ends(a, REF_MALFORMED, 0x400000);
        a.page_len = a.span = 0x400000;
        a.pa = (pde & 0xffc00000u) + ((pde >> 13 & 0xff) << 32) + va % 0x400000;
        a.cow = ref_is_cow(pde);
        return a;
    }
    if (!ref_look(&a, read, ctx, (pde & 0xfffff000u) + (va / 0x1000 % 1024) * 4, 4))
        return ref_ends(a, REF_UNREADABLE, 0x400000);
    pte = a.raw;
    if (!ref_bit(pte, 0))
        return ref_ends(a, REF_ABSENT, 0x1000);
    a.page_len = a.span = 0x1000;
    a.pa = (pte & 0xfffff000u) + va % 0x1000;
    a.cow = ref_is_cow(pte) && a.write;
    a.write = a.write && ref_bit(pte, 1);
    a.user = a.user && ref_bit(pte, 2);
    return a;
}

/* Bits 51:M are reserved in every present entry, bit 63 unless EFER.NXE. */
static inline bool ref_rsvd64(struct ref_mode mode, uint64_t entry)
{
    return ref_any(entry, mode.phys_bits, 51) || (!mode.nxe && ref_bit(entry, 63));
}

static inline void ref_and64(struct ref_answer *a, uint64_t entry)
{
    a->write = a->write && ref_bit(entry, 1);
    a->user = a->user && ref_bit(entry, 2);
    a->exec = a->exec && !ref_bit(entry, 63);
}

static inline struct ref_answer ref_leaf64(struct ref_answer a, uint64_t entry, uint64_t len, uint64_t va)
{
    a.page_len = a.span = len;
    a.pa = (entry & 0xffffffffff000u & ~(len - 1)) + va % len;
    a.cow = ref_is_cow(entry) && a.write;
    ref_and64(&a, entry);
    return a;
}

static inline struct ref_answer ref_walk64(struct ref_mode mode, ref_read *read, void *ctx, uint64_t cr3,
                                           uint64_t va)
{
    const uint64_t spans[] = {(uint64_t)512 << 30, (uint64_t)1 << 30, (uint64_t)2 << 20, 0x1000};
    struct ref_answer a = {.result = REF_FOUND, .write = true, .user = true, .exec = true};
    uint64_t upper = va >> 47;
    uint64_t table = cr3 & 0xffffffffff000u;

    if (upper != 0 && upper != 0x1ffff)
        return ref_ends(a, REF_ABSENT, 0);

    /* PML4 entry. A table that is not there is told by its whole reach: that of the entry pointing to it. */
    if (!ref_look(&a, read, ctx, table + (va >> 39 & 511) * 8, 8))
        return ref_ends(a, REF_UNREADABLE, (uint64_t)1 << 47);
    if (!ref_bit(a.raw, 0))
        return ref_ends(a, REF_ABSENT, spans[0]);
    if (ref_rsvd64(mode, a.raw) || ref_bit(a.raw, 7))
        return ref_ends(a, REF_MALFORMED, spans[0]);
    ref_and64(&a, a.raw);
    table = a.raw & 0xffffffffff000u;

    /* page-directory-pointer entry */
    if (!ref_look(&a, read, ctx, table + (va >> 30 & 511) * 8, 8))
        return ref_ends(a, REF_UNREADABLE, spans[0]);
    if (!ref_bit(a.raw, 0))
        return ref_ends(a, REF_ABSENT, spans[1]);
    if (ref_rsvd64(mode, a.raw))
        return ref_ends(a, REF_MALFORMED, spans[1]);
    if (ref_bit(a.raw, 7)) {
        if (!mode.page1g || ref_any(a.raw, 13, 29))
            return ref_ends(a, REF_MALFORMED, spans[1]);
        return ref_leaf64(a, a.raw, spans[1], va);
    }
    ref_and64(&a, a.raw);
    table = a.raw & 0xffffffffff000u;

    /* page-directory entry */
    if (!ref_look(&a, read, ctx, table + (va >> 21 & 511) * 8, 8))
        return ref_ends(a, REF_UNREADABLE, spans[1]);
    if (!ref_bit(a.raw, 0))
        return ref_ends(a, REF_ABSENT, spans[2]);
    if (ref_rsvd64(mode, a.raw))
        return ref_ends(a, REF_MALFORMED, spans[2]);
    if (ref_bit(a.raw, 7)) {
        if (ref_any(a.raw, 13, 20))
            return ref_ends(a, REF_MALFORMED, spans[2]);
        return ref_leaf64(a, a.raw, spans[2], va);
    }
    ref_and64(&a, a.raw);
    table = a.raw & 0xffffffffff000u;

    /* page-table entry */
    if (!ref_look(&a, read, ctx, table + (va >> 12 & 511) * 8, 8))
        return ref_ends(a, REF_UNREADABLE, spans[2]);
    if (!ref_bit(a.raw, 0))
        return ref_ends(a, REF_ABSENT, spans[3]);
    if (ref_rsvd64(mode, a.raw))
        return ref_ends(a, REF_MALFORMED, spans[3]);
    return ref_leaf64(a, a.raw, spans[3], va);
}

static inline struct ref_answer ref_walk(struct ref_mode mode, ref_read *read, void *ctx, uint64_t cr3,
                                         uint64_t va)
{
    return mode.is_amd64 ? ref_walk64(mode, read, ctx, cr3, va) : ref_walk32(mode, read, ctx, cr3, va);
}

/*
 * The next address worth asking about after `va`, whose answer was `a`; false
 * when the space is at its end. Walks every decided stretch of a space once.
 */
static inline bool ref_next(struct ref_mode mode, uint64_t *va, const struct ref_answer *a)
{
    uint64_t next = (*va | (a->span - 1)) + 1;

    if (mode.is_amd64 && next == (uint64_t)1 << 47)
        next = 0xffff800000000000u;
    if (next == 0 || (!mode.is_amd64 && next > 0xffffffffu))
        return false;
    *va = next;
    return true;
}

#endif
