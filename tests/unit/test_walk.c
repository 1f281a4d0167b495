/*
 * paging/walk against the slow reference walker: every value of the low bits
 * of an entry at every level, random guests, and tables that mean harm,
 * including ones that change while they are read.
 */
#include "paging/walk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "mem/num.h"
#include "tests/tap.h"
#include "tests/unit/worlds.h"

static struct err e;

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");

    return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

static struct pt_mode mode_of(struct ref_mode m)
{
    return (struct pt_mode){
        .pse = m.pse, .nxe = m.nxe, .wp = true, .page1g = m.page1g, .phys_bits = m.phys_bits};
}

static const struct pt_geom *geom_of(struct ref_mode m)
{
    return m.is_amd64 ? &geom_amd64 : &geom_i686;
}

static unsigned rights_of(const struct ref_answer *a)
{
    return (a->write ? PT_WRITE : 0) | (a->cow ? PT_COW : 0) | (a->user ? PT_USER : 0) |
           (a->exec ? PT_EXEC : 0);
}

/* Whether walk_lookup says about `va` what the reference says, and leaves *out alone unless it found
 * something. */
static bool lookup_agrees(struct ref_mode mode, const struct gmem *m, uint64_t root, uint64_t va,
                          const struct ref_answer *a)
{
    struct walk_leaf leaf = {{1}, 2, 3, 4, {5}};
    enum walk_result result =
        walk_lookup(geom_of(mode), mode_of(mode), m, gpa_make(root), gva_make(va), &leaf);

    if (result == WALK_FOUND)
        return a->result == REF_FOUND && leaf.pa.v == a->pa && leaf.page_len == a->page_len &&
               leaf.rights == rights_of(a) && leaf.raw == a->raw && leaf.entry_pa.v == a->entry_pa;
    if (leaf.pa.v != 1 || leaf.page_len != 2 || leaf.rights != 3 || leaf.raw != 4 || leaf.entry_pa.v != 5)
        return false;
    return a->result == (result == WALK_ABSENT      ? REF_ABSENT
                         : result == WALK_MALFORMED ? REF_MALFORMED
                                                    : REF_UNREADABLE);
}

/*
 * The sweep. One table per level, each at a gibibyte of its own so that large
 * leaves can be aligned, with a second page of garbage right behind it.
 */
#define SWEEP_VA_I686  0xabcdeff8u
#define SWEEP_VA_AMD64 0xffffa1b2c3d4eff8u

static struct world sweep;

static uint64_t sweep_table(unsigned level)
{
    return (uint64_t)0x40000000 * (sweep.levels + 1 - level);
}

static uint64_t sweep_entry(unsigned level, uint64_t va)
{
    unsigned index = (unsigned)(va >> (12 + sweep.index_bits * (level - 1))) % sweep.entries_n;

    return sweep_table(level) + (uint64_t)index * sweep.entry_len;
}

/* As world_read, but without a search: this one is asked a hundred million times. */
static bool sweep_read(void *ctx, uint64_t at, unsigned len, uint64_t *value)
{
    uint64_t i = (at >> 30) - 1;

    (void)ctx;
    if (i >= sweep.levels || (at & 0x3fffffff) >= 2 * W_PAGE)
        return false;
    *value = 0;
    memcpy(value, sweep.span[i].host + (at & 0x3fffffff), len);
    return true;
}

/* Eight entries for the levels that are not being swept: rights, marks, absent, astray, large. */
static uint64_t representative(unsigned level, unsigned k)
{
    static const uint64_t pointer[8] = {0x07, 0x03, 0x05, 0x8000000000000007, 0x06, 0x07, 0x7ff0000000000f7f,
                                        0x87};
    static const uint64_t leaf[8] = {0x07, 0x03, 0x205, 0x8000000000000061, 0x06, 0x21, 0x7ff0000000000fff,
                                     0x203};
    uint64_t to = level == 1 ? 0x7654000 : k == 5 ? 0x3000 : sweep_table(level - 1);
    uint64_t raw = to | (level == 1 ? leaf : pointer)[k];

    return sweep.mode.is_amd64 ? raw : raw & 0xffffffff;
}

static void test_sweep(struct ref_mode mode, const char *name)
{
    uint64_t va = mode.is_amd64 ? SWEEP_VA_AMD64 : SWEEP_VA_I686;
    unsigned high_bits = mode.is_amd64 ? 51 : 20; /* from bit 12 up, NX apart */
    uint64_t all = (((uint64_t)1 << high_bits) - 1) << 12;
    uint64_t random = 5, cases = 0, results[4] = {0};
    struct gmem *m;
    bool agree = true;

    tap_case(name);
    sweep = (struct world){.mode = mode};
    sweep.levels = mode.is_amd64 ? 4 : 2;
    sweep.entry_len = mode.is_amd64 ? 8 : 4;
    sweep.entries_n = mode.is_amd64 ? 512 : 1024;
    sweep.index_bits = mode.is_amd64 ? 9 : 10;
    for (unsigned level = sweep.levels; level >= 1; level--) {
        world_add_span(&sweep, sweep_table(level), 2);
        for (unsigned i = 0; i < sweep.entries_n; i++)
            world_write(&sweep, sweep_table(level) + W_PAGE + (uint64_t)i * sweep.entry_len,
                        tap_random(&random));
    }
    m = world_gmem(&sweep);

    for (unsigned level = 1; level <= sweep.levels; level++) {
        uint8_t *entry = world_page_rw(&sweep, sweep_entry(level, va)) + sweep_entry(level, va) % W_PAGE;
        uint64_t to = level == 1 ? 0x80000000 : sweep_table(level - 1);

        for (unsigned k = 0; k < 8; k++) {
            for (unsigned other = 1; other <= sweep.levels; other++)
                if (other != level)
                    world_write(&sweep, sweep_entry(other, va), representative(other, k));
            for (unsigned high = 0; high <= high_bits + 1; high++) {
                uint64_t upper = high == 0 ? 0 : high > high_bits ? all : (uint64_t)1 << (11 + high);

                for (unsigned low = 0; low < 0x2000; low++) {
                    uint64_t raw = to | upper | (low & 0xfff) | (low & 0x1000 ? (uint64_t)1 << 63 : 0);
                    struct ref_answer a;

                    if (!mode.is_amd64 && (low & 0x1000))
                        break;
                    memcpy(entry, &raw, sweep.entry_len);
                    a = ref_walk(mode, sweep_read, NULL, sweep_table(sweep.levels), va);
                    agree = agree && lookup_agrees(mode, m, sweep_table(sweep.levels), va, &a);
                    results[a.result]++;
                    cases++;
                }
            }
        }
    }
    CHECK(agree);
    CHECK(results[REF_FOUND] > 1000 && results[REF_ABSENT] > 1000 && results[REF_UNREADABLE] > 1000);
    CHECK(!mode.is_amd64 || results[REF_MALFORMED] > 1000);
    CHECK(cases > 1000000 || !mode.is_amd64);
    gmem_free(m);
    world_free(&sweep);
}

static void test_sweeps(void)
{
    test_sweep((struct ref_mode){.pse = true, .phys_bits = 32},
               "i686: all low bits agree with the reference, PSE");
    test_sweep((struct ref_mode){.pse = true, .nxe = true, .phys_bits = 36},
               "i686: all low bits agree with the reference, PSE-36, NXE");
    test_sweep((struct ref_mode){.phys_bits = 32}, "i686: all low bits agree with the reference, no PSE");
    test_sweep((struct ref_mode){.is_amd64 = true, .nxe = true, .page1g = true, .phys_bits = 36},
               "amd64: all low bits agree with the reference, NXE, 1 GiB leaves, 36 address bits");
    test_sweep((struct ref_mode){.is_amd64 = true, .page1g = true, .phys_bits = 36},
               "amd64: all low bits agree with the reference, no NXE, 1 GiB leaves, 36 address bits");
    test_sweep((struct ref_mode){.is_amd64 = true, .nxe = true, .phys_bits = 52},
               "amd64: all low bits agree with the reference, NXE, no 1 GiB leaves, 52 address bits");
}

static void test_roots(void)
{
    struct ref_mode mode = {.is_amd64 = true, .nxe = true, .phys_bits = 36};
    struct walk_leaf leaf;
    struct world w;
    struct gmem *m;

    tap_case("bits of CR3 that are no address do not count, neither below nor above");
    world_init(&w, mode, 64);
    world_add_span(&w, w.scratch, 64);
    for (unsigned i = 0; i < 4; i++)
        world_write(&w, w.tables_at + i * W_PAGE, (w.tables_at + (i + 1) * W_PAGE) | 3);
    m = world_gmem(&w);
    CHECK(walk_lookup(&geom_amd64, mode_of(mode), m, gpa_make(w.tables_at | 0x8000000000000fff),
                      gva_make(0x123), &leaf) == WALK_FOUND);
    CHECK_EQ(leaf.pa.v, w.tables_at + 4 * W_PAGE + 0x123);

    tap_case("a root in a hole is unreadable, an address the CPU does not have is absent");
    CHECK(walk_lookup(&geom_amd64, mode_of(mode), m, gpa_make(0x5000), gva_make(0), &leaf) ==
          WALK_UNREADABLE);
    CHECK(walk_lookup(&geom_amd64, mode_of(mode), m, gpa_make(w.tables_at), gva_make(0x800000000000),
                      &leaf) == WALK_ABSENT);
    CHECK(walk_lookup(&geom_i686, mode_of(mode), m, gpa_make(0x5000), gva_make(0x100000000), &leaf) ==
          WALK_ABSENT);
    gmem_free(m);
    world_free(&w);
}

/* What walk_root showed. */
struct seen {
    const struct world *w;
    uint64_t root;
    unsigned n[5]; /* by enum walk_what */
    uint64_t last_va;
    unsigned last_level;
    bool ascending;
    bool agrees;
    enum walk_what stop_at;
    bool stop, past;
};

static enum walk_next see(void *ctx, const struct walk_entry *entry)
{
    struct seen *s = ctx;
    struct ref_answer a;

    s->n[entry->what]++;
    if (s->stop && entry->what == s->stop_at)
        return WALK_STOP;
    if (s->past && entry->what == WALK_SEES_TABLE)
        return WALK_PAST;
    if (entry->what == WALK_SEES_TABLE)
        return WALK_ON;
    if (entry->level > s->w->levels)
        return WALK_ON;
    if (entry->va.v <= s->last_va && s->last_va != 0)
        s->ascending = false;
    s->last_va = entry->va.v;
    a = world_walk(s->w, s->root, entry->va.v);
    switch (entry->what) {
    case WALK_SEES_LEAF:
        s->agrees = s->agrees && a.result == REF_FOUND && entry->pte.pa.v == a.pa &&
                    entry->pte.len == a.page_len && entry->rights == rights_of(&a);
        break;
    case WALK_SEES_MARKER: s->agrees = s->agrees && a.result == REF_ABSENT && a.raw != 0; break;
    case WALK_SEES_MALFORMED: s->agrees = s->agrees && a.result == REF_MALFORMED; break;
    default: s->agrees = s->agrees && a.result == REF_UNREADABLE; break;
    }
    if (entry->what != WALK_SEES_UNREADABLE)
        s->agrees =
            s->agrees && entry->raw == a.raw && entry->table.v + entry->index * s->w->entry_len == a.entry_pa;
    return WALK_ON;
}

static struct seen seen_new(const struct world *w, uint64_t root)
{
    return (struct seen){.w = w, .root = root, .ascending = true, .agrees = true};
}

/* What the reference finds in one root: counts by result, markers apart. False when that is too much to ask.
 */
static bool count_ref(const struct world *w, uint64_t root, unsigned n[5])
{
    unsigned asked = 0;
    uint64_t va = 0;
    struct ref_answer a;

    memset(n, 0, 5 * sizeof(*n));
    do {
        if (asked++ == 60000)
            return false;
        a = world_walk(w, root, va);
        if (a.result == REF_FOUND)
            n[WALK_SEES_LEAF]++;
        else if (a.result == REF_ABSENT)
            n[WALK_SEES_MARKER] += a.raw != 0;
        else if (a.result == REF_MALFORMED)
            n[WALK_SEES_MALFORMED]++;
        else
            n[WALK_SEES_UNREADABLE]++;
    } while (ref_next(w->mode, &va, &a));
    return true;
}

/* Random guests, polite and hostile. */
static void test_random(void)
{
    uint64_t random = 11;
    unsigned compared = 0, total[5] = {0};
    bool found = true, agrees = true, complete = true;

    tap_case("walks of random guests show what the reference finds, addresses ascending");
    for (unsigned round = 0; round < 400 * scale(); round++) {
        uint8_t bytes[600];
        struct world w;
        struct gmem *m;

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)tap_random(&random);
        world_make(&w, bytes, sizeof(bytes));
        m = world_gmem(&w);
        for (unsigned r = 0; r < w.roots_n && r < 3; r++) {
            struct seen s = seen_new(&w, w.roots[r]);
            uint64_t budget = 500;
            unsigned n[5];

            if (walk_root(geom_of(w.mode), mode_of(w.mode), m, gpa_make(w.roots[r]), &budget, see, &s) !=
                    WALK_END_ALL ||
                !count_ref(&w, w.roots[r], n))
                continue;
            agrees = agrees && s.agrees && s.ascending;
            if (s.n[WALK_SEES_TABLE] != 0 || s.n[WALK_SEES_LEAF] != 0) /* the root itself is there */
                for (unsigned i = 0; i < 5; i++) {
                    complete = complete && (i == WALK_SEES_TABLE || s.n[i] == n[i]);
                    total[i] += s.n[i];
                }
            compared++;
            for (unsigned i = 0; i < 20; i++) {
                uint64_t va = tap_random(&random) >> (w.mode.is_amd64 ? 17 : 32);
                struct ref_answer a;

                if (i & 1)
                    va = w.mode.is_amd64 ? geom_canonical(&geom_amd64, va & 0xff83fe0fe07000).v
                                         : va & 0xffc07fff;
                a = world_walk(&w, w.roots[r], va);
                found = found && lookup_agrees(w.mode, m, w.roots[r], va, &a);
            }
        }
        gmem_free(m);
        world_free(&w);
    }
    CHECK(found);
    CHECK(agrees);
    CHECK(complete);
    CHECK(compared > 200);
    for (unsigned i = 0; i < 5; i++)
        CHECK(total[i] > 50);
}

/* A guest with one table of each level, linked at index 1 everywhere, and memory for more. */
static void make_chain(struct world *w, struct ref_mode mode)
{
    world_init(w, mode, 64);
    world_add_span(w, w->scratch, 64);
    for (unsigned i = 0; i < w->levels; i++)
        world_write(w, w->tables_at + i * W_PAGE + w->entry_len, (w->tables_at + (i + 1) * W_PAGE) | 7);
}

static const struct ref_mode both[] = {{.phys_bits = 32}, {.is_amd64 = true, .nxe = true, .phys_bits = 36}};

static void test_visitor(void)
{
    for (unsigned k = 0; k < 2; k++) {
        const struct pt_geom *g = geom_of(both[k]);
        struct pt_mode mode = mode_of(both[k]);
        struct world w;
        struct gmem *m;
        struct seen s;
        uint64_t budget, chain;

        make_chain(&w, both[k]);
        chain = w.tables_at;
        m = world_gmem(&w);

        tap_case(k ? "amd64: the budget counts tables, and one too few ends the walk"
                   : "i686: the budget counts tables, and one too few ends the walk");
        budget = 10;
        s = seen_new(&w, chain);
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(budget, 10 - w.levels);
        CHECK_EQ(s.n[WALK_SEES_TABLE], w.levels - 1);
        CHECK_EQ(s.n[WALK_SEES_LEAF], 1);
        CHECK(s.agrees);
        budget = w.levels;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(budget, 0);
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_BUDGET);
        budget = w.levels - 1;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_BUDGET);
        CHECK_EQ(budget, 0);

        tap_case(k ? "amd64: a table that the visitor passes by is not read"
                   : "i686: a table that the visitor passes by is not read");
        budget = 10;
        s = seen_new(&w, chain);
        s.past = true;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(budget, 9);
        CHECK_EQ(s.n[WALK_SEES_LEAF], 0);

        tap_case(k ? "amd64: the visitor can stop at a table, a leaf and an unreadable table"
                   : "i686: the visitor can stop at a table, a leaf and an unreadable table");
        for (unsigned what = 0; what < 2; what++) {
            budget = 10;
            s = seen_new(&w, chain);
            s.stop = true;
            s.stop_at = what ? WALK_SEES_TABLE : WALK_SEES_LEAF;
            CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_STOPPED);
            CHECK_EQ(budget, 10 - (what ? 1 : w.levels));
        }
        world_write(&w, chain, 0x5007);
        s = seen_new(&w, chain);
        s.stop = true;
        s.stop_at = WALK_SEES_UNREADABLE;
        budget = 10;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_STOPPED);
        CHECK_EQ(budget, 8);
        CHECK_EQ(s.n[WALK_SEES_TABLE], 1);
        s = seen_new(&w, chain);
        budget = 10;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(s.n[WALK_SEES_UNREADABLE], 1);
        CHECK_EQ(s.n[WALK_SEES_LEAF], 1);

        tap_case(k ? "amd64: a root that is not there is shown as unreadable, one level up"
                   : "i686: a root that is not there is shown as unreadable, one level up");
        s = seen_new(&w, 0x5000);
        budget = 10;
        CHECK(walk_root(g, mode, m, gpa_make(0x5000), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(s.n[WALK_SEES_UNREADABLE], 1);
        CHECK_EQ(budget, 9);

        tap_case(k ? "amd64: the last entry of each table is walked, and its addresses are canonical"
                   : "i686: the last entry of each table is walked");
        for (unsigned i = 0; i < w.levels; i++)
            world_write(&w, chain + i * W_PAGE + 4096 - w.entry_len, (chain + (i + 1) * W_PAGE) | 7);
        s = seen_new(&w, chain);
        budget = 100;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(s.last_va, k ? 0xfffffffffffff000 : 0xfffff000);
        CHECK(s.agrees && s.ascending);
        CHECK_EQ(s.n[WALK_SEES_LEAF], k ? 16 : 4);
        gmem_free(m);
        world_free(&w);
    }
}

static void test_hostile(void)
{
    for (unsigned k = 0; k < 2; k++) {
        const struct pt_geom *g = geom_of(both[k]);
        struct pt_mode mode = mode_of(both[k]);
        struct world w;
        struct gmem *m;
        struct seen s;
        uint64_t budget, chain;
        struct walk_leaf leaf;

        tap_case(k ? "amd64: a table that maps itself everywhere ends at the budget"
                   : "i686: a table that maps itself everywhere ends after itself twice");
        make_chain(&w, both[k]);
        chain = w.tables_at;
        m = world_gmem(&w);
        for (unsigned i = 0; i < w.entries_n; i++)
            world_write(&w, chain + (uint64_t)i * w.entry_len, chain | 7);
        s = seen_new(&w, chain);
        budget = k ? 3000 : 1025;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) ==
              (k ? WALK_END_BUDGET : WALK_END_ALL));
        CHECK_EQ(budget, 0);
        CHECK(s.agrees && s.ascending);
        CHECK(walk_lookup(g, mode, m, gpa_make(chain), gva_make(0x12345), &leaf) == WALK_FOUND);
        CHECK_EQ(leaf.pa.v, chain + 0x345);

        tap_case(k ? "amd64: tables past the end of memory, in holes and across slots are told from those "
                     "that are there"
                   : "i686: tables past the end of memory, in holes and across slots are told from those "
                     "that are there");
        memset(world_page(&w, chain), 0, W_PAGE);
        world_write(&w, chain, (w.scratch + w.scratch_len) | 7);
        world_write(&w, chain + w.entry_len, (w.scratch + w.scratch_len - W_PAGE) | 7);
        world_write(&w, chain + 2 * w.entry_len, (w.scratch - W_PAGE) | 7);
        world_write(&w, chain + 3 * w.entry_len, (k ? 0x900000000 : 0xfffff000) | 7);
        world_write(&w, chain + 4 * w.entry_len, 7);
        s = seen_new(&w, chain);
        budget = 100;
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(s.n[WALK_SEES_TABLE], k ? 4 : 5);
        CHECK_EQ(s.n[WALK_SEES_MALFORMED], k ? 1 : 0); /* past MAXPHYADDR */
        CHECK_EQ(s.n[WALK_SEES_UNREADABLE], k ? 3 : 4);
        gmem_free(m);

        tap_case(k ? "amd64: a table half of whose page is missing is unreadable as a whole, but its entries "
                     "are not"
                   : "i686: a table half of whose page is missing is unreadable as a whole, but its entries "
                     "are not");
        m = gmem_new();
        CHECK(gmem_add(m, gpa_make(chain), 0x800, world_page(&w, chain), false, &e) == 0);
        world_write(&w, chain, 0);
        world_write(&w, chain + 0x800, 1);
        s = seen_new(&w, chain);
        CHECK(walk_root(g, mode, m, gpa_make(chain), &budget, see, &s) == WALK_END_ALL);
        CHECK_EQ(s.n[WALK_SEES_UNREADABLE], 1);
        CHECK_EQ(s.n[WALK_SEES_TABLE], 0);
        CHECK(walk_lookup(g, mode, m, gpa_make(chain), gva_make(0), &leaf) == WALK_ABSENT);
        CHECK(walk_lookup(g, mode, m, gpa_make(chain), geom_canonical(g, (uint64_t)1 << (g->va_bits - 1)),
                          &leaf) == WALK_UNREADABLE);
        gmem_free(m);
        world_free(&w);
    }
}

/* A second thread that changes entries between two values each as fast as it can. */
#define RACED_N 8

struct race {
    _Atomic bool stop;
    unsigned entry_len;
    void *at[RACED_N];
    uint64_t value[RACED_N][2];
};

static void *flip(void *arg)
{
    struct race *r = arg;

    for (unsigned turn = 0; !atomic_load_explicit(&r->stop, memory_order_relaxed); turn++)
        for (unsigned i = 0; i < RACED_N; i++) {
            uint64_t v = r->value[i][(turn >> i) & 1];

            if (r->entry_len == 4)
                *(volatile uint32_t *)r->at[i] = (uint32_t)v;
            else
                *(volatile uint64_t *)r->at[i] = v;
        }
    return NULL;
}

struct race_seen {
    const struct pt_geom *g;
    struct pt_mode mode;
    const struct race *r;
    struct world *w;
    bool right;
};

/* What is shown must be one of the two values, decoded from that very value. */
static enum walk_next see_race(void *ctx, const struct walk_entry *entry)
{
    struct race_seen *s = ctx;
    struct pte p;

    if (entry->level > s->g->levels || entry->what == WALK_SEES_UNREADABLE)
        return WALK_ON;
    p = pte_decode(s->g, entry->level, s->mode, entry->raw);
    s->right =
        s->right && p.kind == entry->pte.kind && p.pa.v == entry->pte.pa.v && p.rights == entry->pte.rights;
    for (unsigned i = 0; i < RACED_N; i++) {
        uint8_t *at = world_page(s->w, entry->table.v) + (uint64_t)entry->index * s->g->entry_len;

        if ((void *)at == s->r->at[i])
            s->right = s->right && (entry->raw == s->r->value[i][0] || entry->raw == s->r->value[i][1]);
    }
    return WALK_ON;
}

static void test_race(void)
{
    for (unsigned k = 0; k < 2; k++) {
        const struct pt_geom *g = geom_of(both[k]);
        struct pt_mode mode = mode_of(both[k]);
        struct race r = {.entry_len = g->entry_len};
        struct world w;
        struct gmem *m;
        pthread_t thread;
        unsigned found[2] = {0}, missed = 0;
        bool right = true;
        struct race_seen s = {g, mode, &r, &w, true};
        uint64_t chain;

        tap_case(k ? "amd64: entries that change during the walk are one value or the other, never a mixture"
                   : "i686: entries that change during the walk are one value or the other, never a mixture");
        make_chain(&w, both[k]);
        chain = w.tables_at;
        m = world_gmem(&w);
        for (unsigned i = 0; i < RACED_N; i++) {
            unsigned depth = i % w.levels, index = i < w.levels ? 1 : i;

            r.at[i] = world_page_rw(&w, chain + depth * W_PAGE) + (uint64_t)index * w.entry_len;
            r.value[i][0] = (chain + (depth + 1) * W_PAGE) | 7;
            r.value[i][1] = i % 3 == 0 ? 0x5001 : i % 3 == 1 ? chain | 5 : 0x7ffffff8;
        }
        /* the last raced entry on the chain: one page writable, or another that is not */
        r.value[w.levels - 1][0] = 0x11111007;
        r.value[w.levels - 1][1] = 0x22222005;
        for (unsigned i = 0; i < RACED_N; i++)
            memcpy(r.at[i], &r.value[i][0], w.entry_len);
        CHECK(pthread_create(&thread, NULL, flip, &r) == 0);
        for (unsigned i = 0; i < 20000 * scale(); i++) {
            uint64_t va = 0;
            struct walk_leaf leaf;

            for (unsigned level = 1; level <= w.levels; level++)
                va |= world_entry_span(&w, level);
            if (walk_lookup(g, mode, m, gpa_make(chain), gva_make(va), &leaf) != WALK_FOUND) {
                missed++;
            } else if (leaf.raw == r.value[w.levels - 1][0] || leaf.raw == r.value[w.levels - 1][1]) {
                bool first = leaf.raw == r.value[w.levels - 1][0];

                right = right && leaf.pa.v == (first ? 0x11111000 : 0x22222000) &&
                        ((leaf.rights & PT_WRITE) == 0 || first);
                found[first]++;
            }
            if (i % 16 == 0) {
                uint64_t budget = 64;

                walk_root(g, mode, m, gpa_make(chain), &budget, see_race, &s);
            }
        }
        atomic_store(&r.stop, true);
        pthread_join(thread, NULL);
        CHECK(right);
        CHECK(s.right);
        CHECK(found[0] != 0 || found[1] != 0 || missed != 0);
        gmem_free(m);
        world_free(&w);
    }
}

int main(void)
{
    test_sweeps();
    test_roots();
    test_random();
    test_visitor();
    test_hostile();
    test_race();
    world_free_all();
    return tap_done();
}
