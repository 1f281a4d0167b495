/*
 * Decoding and making of one entry. Everything that depends on the format is
 * in the geometry; this file does not know how many formats there are.
 */
#include "paging/pte.h"

#include "mem/assert.h"
#include "mem/bytes.h"

bool pte_level_has_leaf(const struct pt_geom *g, unsigned level, struct pt_mode mode)
{
    switch (g->level[level].ps) {
    case PS_IS_PAT:
    case PS_ALWAYS: return true;
    case PS_IF_PSE: return mode.pse;
    case PS_IF_PAGE1G: return mode.page1g;
    case PS_RESERVED: break;
    }
    return false;
}

/* Whether bit 7 has to be clear at a level, rather than being ignored, where it makes no leaf. */
static bool ps_is_reserved(const struct pt_level *l)
{
    return l->ps == PS_RESERVED || l->ps == PS_IF_PAGE1G;
}

/* Bits n and up of a 64-bit number. */
static uint64_t bits_from(unsigned n)
{
    return ~(((uint64_t)1 << n) - 1);
}

static unsigned rights_of(const struct pt_geom *g, uint64_t raw)
{
    return (raw & PTE_RW ? PT_WRITE : 0) | (raw & PTE_US ? PT_USER : 0) | (raw & g->nx ? 0 : PT_EXEC);
}

struct pte pte_decode(const struct pt_geom *g, unsigned level, struct pt_mode mode, uint64_t raw)
{
    const struct pt_level *l = &g->level[level];
    struct pte p = {.kind = PTE_ABSENT, .other = raw};
    uint64_t rsvd = ~g->entry_mask | (mode.nxe ? 0 : g->nx);
    uint64_t said = PTE_P | PTE_RW | PTE_US | PTE_A | g->nx; /* the bits that the other fields tell */
    uint64_t pa;
    bool leaf = pte_level_has_leaf(g, level, mode);

    if ((raw & PTE_P) == 0)
        return p;
    if (level > 1 && leaf) {
        leaf = raw & PTE_PS;
        said |= leaf ? PTE_PS : 0;
    } else if (!leaf && ps_is_reserved(l)) {
        rsvd |= PTE_PS;
    }
    if (leaf) {
        rsvd |= l->leaf_rsvd;
        pa = raw & l->leaf_pa;
        if (l->leaf_pa_high)
            pa |= (raw & l->leaf_pa_high) / (l->leaf_pa_high & -l->leaf_pa_high) << 32;
        said |= l->leaf_pa | l->leaf_pa_high;
    } else {
        pa = raw & g->table_pa;
        said |= g->table_pa;
    }
    if ((raw & rsvd) || (pa & bits_from(mode.phys_bits))) {
        p.kind = PTE_MALFORMED;
        return p;
    }

    p.kind = leaf ? PTE_LEAF : PTE_TABLE;
    p.pa = gpa_make(pa);
    p.len = leaf ? geom_entry_span(g, level) : 0;
    p.rights = rights_of(g, raw);
    if (leaf && (p.rights & PT_WRITE) == 0 && (raw & PTE_AVL) == PTE_COW) {
        p.rights |= PT_COW;
        said |= PTE_COW;
    }
    p.other = raw & ~said;
    return p;
}

unsigned pte_rights_and(unsigned above, unsigned rights)
{
    if ((above & PT_WRITE) == 0)
        rights &= ~(unsigned)(PT_WRITE | PT_COW);
    return rights & (above | PT_WRITE | PT_COW);
}

uint64_t pte_make_pointer(const struct pt_geom *g, struct gpa table, bool user)
{
    assert((table.v & ~g->table_pa) == 0);
    return table.v | (user ? g->pointer_user : g->pointer);
}

uint64_t pte_make_leaf(const struct pt_geom *g, unsigned level, struct gpa page, unsigned rights)
{
    assert((page.v & ~g->level[level].leaf_pa) == 0);
    assert((rights & PT_WRITE) == 0 || (rights & PT_COW) == 0);
    return page.v | g->leaf_ro | (level > 1 ? PTE_PS : 0) | (rights & PT_WRITE ? PTE_RW : 0) |
           (rights & PT_COW ? PTE_COW : 0) | (rights & PT_USER ? PTE_US : 0) | (rights & PT_EXEC ? 0 : g->nx);
}

uint64_t pte_load(const struct pt_geom *g, const uint8_t *p)
{
    return g->entry_len == 4 ? load_le32(p) : load_le64(p);
}

void pte_store(const struct pt_geom *g, uint8_t *p, uint64_t raw)
{
    if (g->entry_len == 4)
        store_le32(p, (uint32_t)raw);
    else
        store_le64(p, raw);
}
