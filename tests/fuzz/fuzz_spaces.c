/*
 * Fuzzes the walk over several roots: a small guest made from the input. Each
 * entry of each table that is met has to be shown exactly once, each alias has
 * to name the table it is one of, and the budget has to hold.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "paging/spaces.h"
#include "mem/gmem.h"

#include "tests/fuzz/quick_worlds.h"

/* Nor is the judge: told of its branches too, the fuzzer is thirty times slower. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

#define INPUT_MAX 256 /* bytes: some thirty tables and leaves; what follows is ignored */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TABLES_MAX 60

static void demand(bool promise)
{
    if (!promise)
        abort();
}

struct met {
    const struct world *w;
    struct spaces *s;
    uint64_t entries;
    uint8_t shown[TABLES_MAX][PT_ENTRIES_MAX];
    unsigned stop_after;
};

static bool see(void *ctx, const struct spaces_entry *shown)
{
    struct met *met = ctx;
    const struct walk_entry *entry = shown->entry;
    const struct spaces_table *in, *table;

    demand(shown->root < met->w->roots_n && spaces_tables_n(met->s) <= TABLES_MAX);
    if (shown->what == SPACES_ALIAS || shown->what == SPACES_TABLE) {
        demand(shown->table < spaces_tables_n(met->s));
        table = spaces_table(met->s, shown->table);
        demand(table->pa.v == entry->pte.pa.v);
        demand(shown->what == SPACES_ALIAS || (table->level == entry->level - 1 &&
                                               table->va.v == entry->va.v && table->root == shown->root));
    }
    if (shown->what == SPACES_UNREADABLE)
        demand(world_page(met->w, entry->pte.pa.v) == NULL);
    if (entry->level > met->w->levels)
        return true;
    in = spaces_table(met->s, shown->in_table);
    demand(in->pa.v == entry->table.v && in->level == entry->level && in->root == shown->root);
    demand(!met->shown[shown->in_table][entry->index]);
    met->shown[shown->in_table][entry->index] = 1;
    met->entries++;
    return --met->stop_after != 0;
}

/* Whether an entry lies in a cut, of which spaces has to know. */
static bool is_cut(const struct met *met, const struct spaces_in *in, const struct spaces_table *table,
                   unsigned index)
{
    uint64_t span = world_entry_span(met->w, table->level);
    struct gva va = geom_canonical(in->geom, table->va.v + index * span);
    bool cut = false;

    for (unsigned c = 0; c < in->cuts_n; c++)
        cut = cut || (va.v - in->cuts[c].start.v < in->cuts[c].len && va.v + (span - 1) >= va.v &&
                      va.v + (span - 1) - in->cuts[c].start.v < in->cuts[c].len);
    demand(!cut || spaces_touches_cut(met->s, va, span));
    return cut;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct met met;
    struct gpa roots[W_ROOTS_MAX];
    struct va_range cuts[2];
    struct world w;
    struct spaces_in in;
    enum spaces_end end;
    unsigned choice = len > 1 ? data[1] : 0;

    if (len > INPUT_MAX)
        len = INPUT_MAX;
    world_make(&w, data, len);
    met.entries = 0;
    cuts[0] = (struct va_range){gva_make(w.window), w.scratch_len};
    cuts[1] = (struct va_range){gva_make(0x400000), choice & 64 ? 0x201000 : 0};
    for (unsigned i = 0; i < w.roots_n; i++)
        roots[i] = gpa_make(w.roots[i]);
    in = (struct spaces_in){
        .geom = w.mode.is_amd64 ? &geom_amd64 : &geom_i686,
        .mode = {.pse = w.mode.pse,
                 .nxe = w.mode.nxe,
                 .page1g = w.mode.page1g,
                 .phys_bits = w.mode.phys_bits},
        .mem = world_gmem(&w),
        .roots = roots,
        .roots_n = w.roots_n,
        .cuts = cuts,
        .cuts_n = 2,
        .tables_max = choice & 128 ? 9 : TABLES_MAX,
    };
    met.w = &w;
    met.stop_after = len % 16 == 0 ? 10 : 0;
    met.s = spaces_new(&in);
    end = spaces_walk(met.s, see, &met);
    demand(spaces_tables_n(met.s) <= in.tables_max);
    demand(end != SPACES_END_NO_MEMORY && (end != SPACES_END_STOPPED || met.stop_after == 0));
    if (end == SPACES_END_ALL) {
        uint64_t expected = 0;

        for (uint32_t t = 0; t < spaces_tables_n(met.s); t++) {
            const struct spaces_table *table = spaces_table(met.s, t);
            unsigned i = 0;
            uint32_t number = 0;

            demand(spaces_find_table(met.s, table->pa, &number) && number == t);
            while ((i = world_next_entry(&w, table->pa.v, i)) < w.entries_n)
                expected += !is_cut(&met, &in, table, i++);
            for (i = t % 32; i < w.entries_n; i += 32) /* what is empty may be cut too */
                is_cut(&met, &in, table, i);
        }
        demand(expected == met.entries);
    }
    memset(met.shown, 0, spaces_tables_n(met.s) * sizeof(met.shown[0]));
    spaces_free(met.s);
    gmem_free((struct gmem *)(uintptr_t)in.mem);
    world_free(&w);
    return 0;
}

#pragma clang attribute pop
