/*
 * paging/spaces and paging/pagemap: aliases of every kind with their owners,
 * cuts, budgets, tables that are not there; and on random guests, that every
 * entry of every table is shown exactly once.
 */
#include "paging/spaces.h"

#include <stdlib.h>

#include "mem/num.h"
#include "paging/pagemap.h"
#include "tests/tap.h"
#include "tests/unit/worlds.h"

#define LOG_MAX 20000

static struct err e;

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");

    return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

struct event {
    enum spaces_what what;
    unsigned root, level, index;
    uint32_t in_table, table;
    uint64_t va, raw, pa, table_pa;
    enum walk_what sees;
};

static struct event events[LOG_MAX];
static unsigned events_n, stop_after;

static bool note(void *ctx, const struct spaces_entry *s)
{
    (void)ctx;
    if (events_n < LOG_MAX)
        events[events_n] = (struct event){
            s->what,        s->root,       s->entry->level,    s->entry->index,   s->in_table,   s->table,
            s->entry->va.v, s->entry->raw, s->entry->pte.pa.v, s->entry->table.v, s->entry->what};
    return ++events_n != stop_after;
}

static struct pt_mode mode_of(struct ref_mode m)
{
    return (struct pt_mode){
        .pse = m.pse, .nxe = m.nxe, .wp = true, .page1g = m.page1g, .phys_bits = m.phys_bits};
}

/* Walk all roots of a world; events[] holds what was shown. */
static struct spaces *run(const struct world *w, const struct gmem *m, const struct va_range *cuts,
                          unsigned cuts_n, uint32_t tables_max, enum spaces_end *end)
{
    static struct gpa roots[W_ROOTS_MAX];
    struct spaces_in in = {
        .geom = w->mode.is_amd64 ? &geom_amd64 : &geom_i686,
        .mode = mode_of(w->mode),
        .mem = m,
        .roots = roots,
        .roots_n = w->roots_n,
        .cuts = cuts,
        .cuts_n = cuts_n,
        .tables_max = tables_max,
    };
    struct spaces *s = spaces_new(&in);

    for (unsigned i = 0; i < w->roots_n; i++)
        roots[i] = gpa_make(w->roots[i]);
    events_n = 0;
    *end = spaces_walk(s, note, NULL);
    return s;
}

static const struct ref_mode both[] = {{.phys_bits = 32}, {.is_amd64 = true, .nxe = true, .phys_bits = 36}};

/* Page n of the tables' part of scratch. */
static uint64_t page(const struct world *w, unsigned n)
{
    return w->tables_at + n * W_PAGE;
}

static void put(struct world *w, unsigned table, unsigned index, uint64_t raw)
{
    world_write(w, page(w, table) + (uint64_t)index * w->entry_len, raw);
}

static struct gmem *make(struct world *w, const struct ref_mode *mode)
{
    world_init(w, *mode, 64);
    world_add_span(w, w->scratch, 64);
    return world_gmem(w);
}

static void test_shared(void)
{
    for (unsigned k = 0; k < 2; k++) {
        struct world w;
        struct gmem *m = make(&w, &both[k]);
        unsigned top = w.levels;
        enum spaces_end end;
        struct spaces *s;
        uint32_t number = 42;

        tap_case(k ? "amd64: a table of two roots is reported as an alias with its first owner"
                   : "i686: a table of two roots is reported as an alias with its first owner");
        put(&w, 0, 3, page(&w, 2) | 7);
        put(&w, 1, 2, page(&w, 3) | 7);
        put(&w, 1, 5, page(&w, 2) | 5);
        w.roots[0] = page(&w, 0) | 0x18;
        w.roots[1] = page(&w, 1);
        w.roots_n = 2;
        s = run(&w, m, NULL, 0, 100, &end);
        CHECK(end == SPACES_END_ALL);
        CHECK_EQ(spaces_tables_n(s), 4);
        CHECK_EQ(events_n, 5);
        CHECK(events[0].what == SPACES_TABLE && events[0].root == 0 && events[0].level == top + 1 &&
              events[0].table == 0 && events[0].in_table == 0);
        CHECK(events[1].what == SPACES_TABLE && events[1].root == 0 && events[1].level == top &&
              events[1].in_table == 0 && events[1].table == 2 && events[1].index == 3);
        CHECK(events[2].what == SPACES_TABLE && events[2].root == 1 && events[2].level == top + 1 &&
              events[2].table == 1);
        CHECK(events[3].what == SPACES_TABLE && events[3].in_table == 1 && events[3].table == 3);
        CHECK(events[4].what == SPACES_ALIAS && events[4].root == 1 && events[4].in_table == 1 &&
              events[4].table == 2 && events[4].raw == (page(&w, 2) | 5));
        CHECK_EQ(spaces_table(s, 2)->pa.v, page(&w, 2));
        CHECK_EQ(spaces_table(s, 2)->root, 0);
        CHECK_EQ(spaces_table(s, 2)->level, top - 1);
        CHECK_EQ(spaces_table(s, 2)->va.v, 3 * world_entry_span(&w, top));

        tap_case(k ? "amd64: tables can be found by their page, other pages cannot"
                   : "i686: tables can be found by their page, other pages cannot");
        CHECK(spaces_find_table(s, gpa_make(page(&w, 3) + 5), &number));
        CHECK_EQ(number, 3);
        CHECK(!spaces_find_table(s, gpa_make(page(&w, 4)), &number));
        CHECK(!spaces_find_table(s, gpa_make(UINT64_MAX), &number));
        CHECK_EQ(number, 3);
        spaces_free(s);

        tap_case(k ? "amd64: a table twice in one root, and a root given twice, are aliases too"
                   : "i686: a table twice in one root, and a root given twice, are aliases too");
        put(&w, 0, 7, page(&w, 2) | 7);
        w.roots[1] = w.roots[0];
        s = run(&w, m, NULL, 0, 100, &end);
        CHECK(end == SPACES_END_ALL);
        CHECK_EQ(spaces_tables_n(s), 2);
        CHECK_EQ(events_n, 4);
        CHECK(events[2].what == SPACES_ALIAS && events[2].table == 1 && events[2].index == 7);
        CHECK(events[3].what == SPACES_ALIAS && events[3].root == 1 && events[3].level == top + 1 &&
              events[3].table == 0);
        spaces_free(s);

        tap_case(k ? "amd64: a table that maps itself, or a root further down, is an alias of another level"
                   : "i686: a table that maps itself, or a root further down, is an alias of another level");
        put(&w, 0, 7, page(&w, 0) | 7);
        put(&w, 0, 8, page(&w, 1) | 7);
        w.roots[1] = page(&w, 1);
        s = run(&w, m, NULL, 0, 100, &end);
        CHECK(end == SPACES_END_ALL);
        CHECK(events[2].what == SPACES_ALIAS && events[2].table == 0);
        CHECK(events[3].what == SPACES_ALIAS && events[3].table == 1);
        CHECK_EQ(spaces_table(s, 0)->level, top);
        CHECK_EQ(spaces_table(s, 1)->root, 1);
        spaces_free(s);
        gmem_free(m);
        world_free(&w);
    }
    spaces_free(NULL);
}

static void test_limits(void)
{
    for (unsigned k = 0; k < 2; k++) {
        struct world w;
        struct gmem *m = make(&w, &both[k]);
        enum spaces_end end;

        tap_case(k ? "amd64: the budget is the number of tables, roots included"
                   : "i686: the budget is the number of tables, roots included");
        put(&w, 0, 3, page(&w, 2) | 7);
        put(&w, 0, 4, page(&w, 3) | 7);
        w.roots[0] = page(&w, 0);
        w.roots[1] = page(&w, 1);
        w.roots_n = 2;
        spaces_free(run(&w, m, NULL, 0, 4, &end));
        CHECK(end == SPACES_END_ALL);
        CHECK_EQ(events_n, 4);
        spaces_free(run(&w, m, NULL, 0, 3, &end));
        CHECK(end == SPACES_END_BUDGET);
        CHECK_EQ(events_n, 2);
        spaces_free(run(&w, m, NULL, 0, 1, &end));
        CHECK(end == SPACES_END_BUDGET);
        CHECK_EQ(events_n, 0);

        tap_case(k ? "amd64: every link to every other table, 512^4 ways, is a handful of tables"
                   : "i686: every link to every other table, 1024^2 ways, is a handful of tables");
        for (unsigned t = 0; t < w.levels; t++)
            for (unsigned i = 0; i < w.entries_n; i++)
                put(&w, t, i, page(&w, t + 1) | 7);
        w.roots_n = 1;
        spaces_free(run(&w, m, NULL, 0, 4, &end));
        CHECK(end == SPACES_END_ALL);
        CHECK_EQ(events_n, w.levels * w.entries_n + 1);

        tap_case(k ? "amd64: the visitor can stop at any entry" : "i686: the visitor can stop at any entry");
        for (stop_after = 1; stop_after < 6; stop_after++) {
            spaces_free(run(&w, m, NULL, 0, 4, &end));
            CHECK(end == SPACES_END_STOPPED);
            CHECK_EQ(events_n, stop_after);
        }
        stop_after = 0;
        gmem_free(m);
        world_free(&w);
    }
}

static void test_missing(void)
{
    for (unsigned k = 0; k < 2; k++) {
        struct world w;
        struct gmem *m = make(&w, &both[k]);
        unsigned top = w.levels;
        enum spaces_end end;
        struct spaces *s;

        tap_case(k ? "amd64: roots and tables that are not there are reported each time and take no budget"
                   : "i686: roots and tables that are not there are reported each time and take no budget");
        put(&w, 0, 3, 0x5007);
        put(&w, 0, 4, 0x5007);
        put(&w, 0, 5, 0xff0);
        w.roots[0] = 0x5000;
        w.roots[1] = page(&w, 0);
        w.roots_n = 2;
        s = run(&w, m, NULL, 0, 1, &end);
        CHECK(end == SPACES_END_ALL);
        CHECK_EQ(events_n, 5);
        CHECK(events[0].what == SPACES_UNREADABLE && events[0].level == top + 1 && events[0].root == 0);
        CHECK_EQ(events[0].sees, WALK_SEES_UNREADABLE);
        CHECK(events[2].what == SPACES_UNREADABLE && events[2].pa == 0x5000);
        CHECK(events[3].what == SPACES_UNREADABLE && events[3].index == 4);
        CHECK(events[4].what == SPACES_MARKER && events[4].raw == 0xff0);
        CHECK_EQ(spaces_tables_n(s), 1);
        spaces_free(s);
        gmem_free(m);

        tap_case(k ? "amd64: a table that spans cut in the middle of an entry is unreadable, root or not"
                   : "i686: a table that spans cut in the middle of an entry is unreadable, root or not");
        m = gmem_new();
        for (unsigned t = 0; t < 2; t++) {
            uint8_t *host = world_page(&w, page(&w, t));

            CHECK(gmem_add(m, gpa_make(page(&w, t)), t ? 0x806 : 0x1000, host, true, &e) == 0);
            CHECK(!t || gmem_add(m, gpa_make(page(&w, t) + 0x806), 0x7fa, host + 0x806, true, &e) == 0);
        }
        put(&w, 0, 3, page(&w, 1) | 7);
        w.roots[0] = page(&w, 0);
        w.roots_n = 1;
        s = run(&w, m, NULL, 0, 9, &end);
        CHECK(end == SPACES_END_ALL);
        CHECK(events[1].what == SPACES_TABLE && events[1].table == 1);
        CHECK(events[2].what == SPACES_UNREADABLE && events[2].pa == page(&w, 1) && events[2].in_table == 0);
        spaces_free(s);
        w.roots[0] = page(&w, 1);
        s = run(&w, m, NULL, 0, 9, &end);
        CHECK(end == SPACES_END_ALL);
        CHECK_EQ(events_n, 2);
        CHECK(events[1].what == SPACES_UNREADABLE && events[1].level == top + 1);
        spaces_free(s);
        stop_after = 2;
        spaces_free(run(&w, m, NULL, 0, 9, &end));
        CHECK(end == SPACES_END_STOPPED);
        stop_after = 0;
        gmem_free(m);
        world_free(&w);
    }
}

static void test_cuts(void)
{
    struct world w;
    struct gmem *m = make(&w, &both[0]);
    const struct va_range cuts[2] = {{gva_make(0x801000), 0x3ff000}, {gva_make(0xffc00000), 0x400000}};
    enum spaces_end end;
    struct spaces *s;

    tap_case("what lies wholly inside a cut is not looked at, what lies partly inside is");
    put(&w, 0, 1, page(&w, 1) | 7);
    put(&w, 0, 2, page(&w, 2) | 7);
    put(&w, 0, 1023, 0x5007);
    put(&w, 1, 1023, 0x5001);
    put(&w, 2, 0, 0x5003);
    put(&w, 2, 1, 0x5005);
    put(&w, 2, 1023, 0x5006);
    w.roots[0] = page(&w, 0);
    w.roots_n = 1;
    s = run(&w, m, cuts, 2, 9, &end);
    CHECK(end == SPACES_END_ALL);
    CHECK_EQ(events_n, 5);
    CHECK_EQ(events[2].raw, 0x5001);
    CHECK_EQ(events[4].raw, 0x5003);
    CHECK_EQ(events[4].va, 0x800000);
    CHECK(spaces_is_cut(s, gva_make(0xffc00000), 0x400000));
    CHECK(!spaces_is_cut(s, gva_make(0x800000), 0x2000));
    CHECK(spaces_touches_cut(s, gva_make(0x800000), 0x1001));
    CHECK(!spaces_touches_cut(s, gva_make(0x800000), 0x1000));
    spaces_free(s);
    gmem_free(m);
    world_free(&w);
}

/* Whether the events of one walk of a world are all there is to show, each once, and each what the reference
 * says. */
static bool complete(const struct world *w, const struct spaces *s, const struct va_range *cut,
                     unsigned total[6])
{
    uint32_t tables_n = spaces_tables_n(s), next = 0;
    uint64_t entries = 0;
    uint8_t *shown = calloc(tables_n ? tables_n : 1, PT_ENTRIES_MAX);
    bool right = true;

    for (unsigned i = 0; i < w->roots_n; i++) /* numbered first */
        next += events_n > 0 && next < tables_n && spaces_table(s, next)->level == w->levels;
    for (unsigned i = 0; i < events_n && right; i++) {
        const struct event *ev = &events[i];
        const struct spaces_table *in;
        struct ref_answer a;

        total[ev->what]++;
        if (ev->what == SPACES_ALIAS)
            right = ev->table < tables_n && spaces_table(s, ev->table)->pa.v == ev->pa;
        if (ev->level > w->levels)
            continue;
        if (ev->what == SPACES_TABLE)
            right = ev->table == next++ && spaces_table(s, ev->table)->pa.v == ev->pa &&
                    spaces_table(s, ev->table)->level == ev->level - 1 &&
                    spaces_table(s, ev->table)->va.v == ev->va;
        in = spaces_table(s, ev->in_table);
        right = right && ev->in_table < tables_n && in->pa.v == ev->table_pa && in->level == ev->level &&
                in->root == ev->root &&
                geom_canonical(w->mode.is_amd64 ? &geom_amd64 : &geom_i686,
                               in->va.v + ev->index * world_entry_span(w, ev->level))
                        .v == ev->va;
        right = right && !shown[(size_t)ev->in_table * PT_ENTRIES_MAX + ev->index];
        shown[(size_t)ev->in_table * PT_ENTRIES_MAX + ev->index] = 1;
        entries++;
        a = world_walk(w, w->roots[ev->root], ev->va);
        switch (ev->what) {
        case SPACES_LEAF: right = right && a.result == REF_FOUND && a.raw == ev->raw && a.pa == ev->pa; break;
        case SPACES_MARKER: right = right && a.result == REF_ABSENT && a.raw == ev->raw; break;
        case SPACES_MALFORMED: right = right && a.result == REF_MALFORMED && a.raw == ev->raw; break;
        case SPACES_UNREADABLE: right = right && a.result == REF_UNREADABLE; break;
        default:
            right = right && a.tables_n > w->levels - ev->level &&
                    a.tables[w->levels - ev->level] == ev->table_pa;
            break;
        }
    }
    free(shown);
    if (next != tables_n)
        return false;
    for (uint32_t t = 0; t < tables_n; t++)
        for (unsigned i = 0; i < w->entries_n; i++) {
            const struct spaces_table *table = spaces_table(s, t);
            uint64_t raw = 0, span = world_entry_span(w, table->level);
            struct gva va =
                geom_canonical(w->mode.is_amd64 ? &geom_amd64 : &geom_i686, table->va.v + i * span);

            world_read((void *)(uintptr_t)w, table->pa.v + (uint64_t)i * w->entry_len, w->entry_len, &raw);
            if (raw != 0 && !va_range_holds(cut, va, span))
                entries--;
        }
    return right && entries == 0;
}

static void test_random(void)
{
    uint64_t random = 3;
    unsigned total[6] = {0}, walked = 0;
    bool right = true;

    tap_case("every entry of every table of random guests is shown once, and as the reference sees it");
    for (unsigned round = 0; round < 1000 * scale(); round++) {
        uint8_t bytes[800];
        struct world w;
        struct gmem *m;
        struct va_range cut;
        enum spaces_end end;
        struct spaces *s;

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)tap_random(&random);
        world_make(&w, bytes, sizeof(bytes));
        m = world_gmem(&w);
        cut = (struct va_range){gva_make(w.window), round & 1 ? w.scratch_len : 0};
        s = run(&w, m, &cut, 1, 2000, &end);
        right = right && (end == SPACES_END_ALL || end == SPACES_END_BUDGET);
        if (end == SPACES_END_ALL && events_n < LOG_MAX) {
            right = right && complete(&w, s, &cut, total);
            walked++;
        }
        spaces_free(s);
        gmem_free(m);
        world_free(&w);
    }
    CHECK(right);
    CHECK(walked > 900);
    for (unsigned i = 0; i < 6; i++)
        CHECK(total[i] > 100);
}

static void test_pagemap(void)
{
    struct pagemap m = {NULL};
    uint64_t random = 1;
    bool right = true;

    tap_case("a page map keeps a number for each page, up to the highest");
    CHECK_EQ(pagemap_get(&m, gpa_make(0)), 0);
    *pagemap_slot(&m, gpa_make(0x1fff)) = 7;
    CHECK_EQ(pagemap_get(&m, gpa_make(0x1000)), 7);
    CHECK_EQ(pagemap_get(&m, gpa_make(0x2000)), 0);
    *pagemap_slot(&m, gpa_make(0xfffffffffffff)) = 8;
    CHECK_EQ(pagemap_get(&m, gpa_make(0xffffffffff000)), 8);
    CHECK_EQ(pagemap_get(&m, gpa_make(0x10000000000000)), 0);
    CHECK_EQ(pagemap_get(&m, gpa_make(0x10000000001000)), 0);
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t at = tap_random(&random) >> (12 + i % 40);

        *pagemap_slot(&m, gpa_make(at)) = (uint32_t)at >> 12 ^ (uint32_t)(at >> 30);
    }
    random = 1;
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t at = tap_random(&random) >> (12 + i % 40);

        right = right && pagemap_get(&m, gpa_make(at)) == ((uint32_t)at >> 12 ^ (uint32_t)(at >> 30));
    }
    CHECK(right);
    pagemap_free(&m);
    CHECK_EQ(pagemap_get(&m, gpa_make(0x1000)), 0);
    pagemap_free(&m);
}

int main(void)
{
    test_pagemap();
    test_shared();
    test_limits();
    test_missing();
    test_cuts();
    test_random();
    world_free_all();
    return tap_done();
}
