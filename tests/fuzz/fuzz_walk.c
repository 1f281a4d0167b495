/*
 * Fuzzes the page walker: a small guest made from the input, tables and all.
 * walk_lookup has to say what the reference walker says, wherever asked;
 * walk_root has to end within its budget and to show only what is there.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "paging/walk.h"
#include "mem/gmem.h"

#include "tests/fuzz/quick_worlds.h"

/* Nor is the judge: told of its branches too, the fuzzer is thirty times slower. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#define INPUT_MAX 256 /* bytes: some thirty tables and leaves; what follows is ignored */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TABLES_MAX 16

struct seen {
    const struct world *w;
    uint64_t root;
    unsigned tables;
    unsigned asked;
};

static void demand(bool promise)
{
    if (!promise)
        abort();
}

static unsigned rights_of(const struct ref_answer *a)
{
    return (a->write ? PT_WRITE : 0) | (a->cow ? PT_COW : 0) | (a->user ? PT_USER : 0) |
           (a->exec ? PT_EXEC : 0);
}

static const struct pt_geom *geom_of(const struct world *w)
{
    return w->mode.is_amd64 ? &geom_amd64 : &geom_i686;
}

static struct pt_mode mode_of(const struct world *w)
{
    return (struct pt_mode){
        .pse = w->mode.pse, .nxe = w->mode.nxe, .page1g = w->mode.page1g, .phys_bits = w->mode.phys_bits};
}

static void look(const struct world *w, const struct gmem *m, uint64_t root, uint64_t va)
{
    struct ref_answer a = world_walk(w, root, va);
    struct walk_leaf leaf = {.rights = 99};
    enum walk_result result = walk_lookup(geom_of(w), mode_of(w), m, gpa_make(root), gva_make(va), &leaf);

    switch (result) {
    case WALK_FOUND:
        demand(a.result == REF_FOUND && leaf.pa.v == a.pa && leaf.page_len == a.page_len &&
               leaf.rights == rights_of(&a) && leaf.raw == a.raw && leaf.entry_pa.v == a.entry_pa);
        break;
    case WALK_ABSENT: demand(a.result == REF_ABSENT && leaf.rights == 99); break;
    case WALK_MALFORMED: demand(a.result == REF_MALFORMED && leaf.rights == 99); break;
    case WALK_UNREADABLE: demand(a.result == REF_UNREADABLE && leaf.rights == 99); break;
    }
}

/* Entries that are made, stored, loaded and decoded again are what was asked for. */
static void make_entries(const struct world *w, struct world_tape *tape)
{
    const struct pt_geom *g = geom_of(w);
    struct pt_mode mode = {.pse = true, .nxe = true, .page1g = true, .phys_bits = 52};
    unsigned level = 1 + tape_u8(tape) % g->levels;
    unsigned rights = tape_u8(tape) & (PT_WRITE | PT_COW | PT_USER | PT_EXEC);
    struct gpa pa = gpa_make(tape_u64(tape));
    uint8_t bytes[8];
    struct pte p;

    if (rights & PT_WRITE)
        rights &= ~(unsigned)PT_COW;
    if (!w->mode.is_amd64)
        rights |= PT_EXEC;
    if (pte_level_has_leaf(g, level, mode)) {
        pa.v &= g->level[level].leaf_pa;
        pte_store(g, bytes, pte_make_leaf(g, level, pa, rights));
        p = pte_decode(g, level, mode, pte_load(g, bytes));
        demand(p.kind == PTE_LEAF && p.pa.v == pa.v && p.rights == rights &&
               p.len == geom_entry_span(g, level));
    }
    pa.v &= g->table_pa;
    pte_store(g, bytes, pte_make_pointer(g, pa, rights & PT_USER));
    p = pte_decode(g, g->levels, mode, pte_load(g, bytes));
    demand(p.kind == PTE_TABLE && p.pa.v == pa.v && (p.rights & PT_WRITE) && (p.rights & PT_EXEC));
    demand(!(rights & PT_USER) || (p.rights & PT_USER));
}

/* Some entries end the walk, so that it ends in many places. */
static enum walk_next see(void *ctx, const struct walk_entry *entry)
{
    struct seen *s = ctx;
    struct ref_answer a;

    if (entry->what == WALK_SEES_TABLE)
        s->tables++;
    if (entry->level > s->w->levels || entry->what == WALK_SEES_TABLE || s->asked > 2000)
        return WALK_ON;
    s->asked++;
    a = world_walk(s->w, s->root, entry->va.v);
    switch (entry->what) {
    case WALK_SEES_LEAF:
        demand(a.result == REF_FOUND && a.pa == entry->pte.pa.v && a.page_len == entry->pte.len &&
               rights_of(&a) == entry->rights && a.raw == entry->raw);
        break;
    case WALK_SEES_MARKER: demand(a.result == REF_ABSENT && a.raw == entry->raw && a.raw != 0); break;
    case WALK_SEES_MALFORMED: demand(a.result == REF_MALFORMED && a.raw == entry->raw); break;
    default: demand(a.result == REF_UNREADABLE); break;
    }
    return entry->index % 64 == 63 && entry->raw % 8 == 6 ? WALK_STOP : WALK_ON;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world_tape tape = {data, len, 2};
    struct world w;
    struct gmem *m;

    if (len > INPUT_MAX)
        len = INPUT_MAX;
    world_make(&w, data, len);
    m = world_gmem(&w);
    for (unsigned r = 0; r < w.roots_n; r++) {
        struct seen s = {&w, w.roots[r], 0, 0};
        uint64_t budget = TABLES_MAX;
        enum walk_end end = walk_root(geom_of(&w), mode_of(&w), m, gpa_make(w.roots[r]), &budget, see, &s);

        demand(budget <= TABLES_MAX && s.tables + 1 >= TABLES_MAX - budget);
        demand(end != WALK_END_BUDGET || budget == 0);
        for (unsigned i = 0; i < 6; i++) {
            uint64_t va = tape_u64(&tape);

            look(&w, m, w.roots[r], va);
            va &= w.mode.is_amd64 ? 0x81c0e07007fffu : 0xffc07fffu; /* low and high indexes */
            look(&w, m, w.roots[r], w.mode.is_amd64 ? geom_canonical(&geom_amd64, va).v : va);
        }
        for (unsigned i = 0; i < w.tables_n; i++)
            look(&w, m, w.roots[r], world_entry_va(&w, &w.tables[i], i % w.entries_n));
    }
    make_entries(&w, &tape);
    gmem_free(m);
    world_free(&w);
    return 0;
}

#pragma clang attribute pop
