/*
 * paging/build: the worked numbers of the guest ABI, each refusal with the
 * arena unchanged, and random mappings given back by the reference walker.
 */
#include "paging/build.h"

#include <stdlib.h>

#include "mem/gmem.h"
#include "mem/num.h"
#include "paging/walk.h"
#include "tests/tap.h"
#include "tests/unit/ref_walk.h"

#define ARENA_LEN 0x100000

static uint8_t arena[ARENA_LEN];
static struct err e;

static const struct pt_mode large_mode = {
    .pse = true, .nxe = true, .wp = true, .page1g = true, .phys_bits = 52};

struct kind {
    const struct pt_geom *g;
    uint64_t p_top, g_top;
    struct ref_mode ref;
};

static const struct kind kinds[] = {
    {&geom_i686, 0xfee00000, 0x100000000, {.pse = true, .nxe = true, .phys_bits = 52}},
    {&geom_amd64,
     0x1000000000,
     0xfffffffffffff000,
     {.is_amd64 = true, .nxe = true, .page1g = true, .phys_bits = 52}},
};

struct arena_ctx {
    uint64_t at;
    uint64_t len;
};

static bool read_arena(void *ctx, uint64_t at, unsigned len, uint64_t *value)
{
    const struct arena_ctx *a = ctx;

    if (at < a->at || at - a->at > a->len - len)
        return false;
    *value = 0;
    memcpy(value, arena + (at - a->at), len);
    return true;
}

static struct ref_answer look(const struct kind *k, const struct pt_build *b, uint64_t va)
{
    struct arena_ctx ctx = {b->tables_gpa.v, build_used(b)};

    return ref_walk(k->ref, read_arena, &ctx, b->tables_gpa.v, va);
}

static void start(const struct kind *k, struct pt_build *b, uint64_t len)
{
    memset(arena, 0xee, sizeof(arena));
    CHECK(build_init(b, k->g, arena, gpa_make(0x700000), len, &e) == 0);
}

/* The regions of ABI 1.7: image, PEB, heap, then the window onto scratch. */
static void check_worked(const struct kind *k, uint64_t scratch_len, uint64_t pt_len)
{
    uint64_t scratch = k->p_top - scratch_len, window = k->g_top - scratch_len;
    struct pt_build b;
    const struct va_range ranges[] = {
        {gva_make(0x1000), 0x10000}, {gva_make(0x11000), 0x1000},     {gva_make(0x12000), 0x20000},
        {gva_make(0x32000), 0},      {gva_make(window), scratch_len},
    };
    uint64_t tables_n = 0;
    struct ref_answer a;

    CHECK(build_init(&b, k->g, arena, gpa_make(scratch + 0x8000), ARENA_LEN, &e) == 0);
    CHECK(build_map(&b, gva_make(0x1000), gpa_make(0x1000), 0x10000, PT_COW | PT_EXEC, &e) == 0);
    CHECK(build_map(&b, gva_make(0x11000), gpa_make(0x11000), 0x1000, 0, &e) == 0);
    CHECK(build_map(&b, gva_make(0x12000), gpa_make(0x12000), 0x20000, PT_COW, &e) == 0);
    CHECK(build_map(&b, gva_make(window), gpa_make(scratch), scratch_len, PT_WRITE, &e) == 0);
    CHECK_EQ(build_used(&b), pt_len);
    CHECK(build_count(k->g, ranges, 5, &tables_n, &e) == 0);
    CHECK_EQ(tables_n * PAGE_LEN, pt_len);

    a = look(k, &b, k->g_top - 8);
    CHECK_EQ(a.result, REF_FOUND);
    CHECK_EQ(a.pa, k->p_top - 8);
    CHECK_EQ(a.raw, (k->p_top - PAGE_LEN) | (k->ref.is_amd64 ? 0x8000000000000063 : 0x23));
    a = look(k, &b, 0x1000);
    CHECK_EQ(a.raw, k->ref.is_amd64 ? 0x1261 : 0x1221);
    a = look(k, &b, 0x11fff);
    CHECK_EQ(a.pa, 0x11fff);
    CHECK_EQ(a.raw, k->ref.is_amd64 ? 0x8000000000011061 : 0x11021);
    a = look(k, &b, 0x31000);
    CHECK_EQ(a.raw, k->ref.is_amd64 ? 0x8000000000031261 : 0x31221);
    CHECK_EQ(look(k, &b, 0).result, REF_ABSENT);
    CHECK_EQ(look(k, &b, 0x32000).result, REF_ABSENT);
    CHECK_EQ(look(k, &b, window - 1).result, REF_ABSENT);
}

static void test_worked(void)
{
    tap_case("the worked numbers of the ABI come out: lengths of tables and every kind of leaf");
    check_worked(&kinds[1], 0x48000, 0x7000);
    check_worked(&kinds[0], 0x48000, 0x3000);
    check_worked(&kinds[1], 0x6882000, 0x3b000);
    check_worked(&kinds[0], 0x6882000, 0x1d000);

    tap_case("tables are appended as they are needed, addresses ascending, pointers with the ABI's flags");
    {
        struct pt_build b;

        start(&kinds[1], &b, ARENA_LEN);
        CHECK(build_map(&b, gva_make(0x1ff000), gpa_make(0), 0x2000, PT_EXEC, &e) == 0);
        CHECK_EQ(pte_load(&geom_amd64, arena), 0x701023);
        CHECK_EQ(pte_load(&geom_amd64, arena + 0x1000), 0x702023);
        CHECK_EQ(pte_load(&geom_amd64, arena + 0x2000), 0x703023);
        CHECK_EQ(pte_load(&geom_amd64, arena + 0x2008), 0x704023);
        CHECK_EQ(pte_load(&geom_amd64, arena + 0x3ff8), 0x61);
        CHECK_EQ(pte_load(&geom_amd64, arena + 0x4000), 0x1061);
        CHECK_EQ(build_used(&b), 0x5000);
        start(&kinds[0], &b, ARENA_LEN);
        CHECK(build_map(&b, gva_make(0xfffff000), gpa_make(0x5000), 0x1000, PT_WRITE, &e) == 0);
        CHECK_EQ(pte_load(&geom_i686, arena + 0xffc), 0x701027);
        CHECK_EQ(pte_load(&geom_i686, arena + 0x1ffc), 0x5023);
        CHECK_EQ(build_used(&b), 0x2000);
    }
}

static void test_user(void)
{
    struct pt_build b;
    struct ref_answer a;

    for (unsigned i = 0; i < 2; i++) {
        const struct kind *k = &kinds[i];

        tap_case(i ? "amd64: a user mapping opens the tables on its way, and only those"
                   : "i686: a user mapping opens its leaf; tables are open anyway");
        start(k, &b, ARENA_LEN);
        CHECK(build_map(&b, gva_make(0x1000), gpa_make(0x1000), 0x1000, PT_WRITE | PT_EXEC, &e) == 0);
        CHECK(build_map(&b, gva_make(0x40000000), gpa_make(0x3000), 0x1000, PT_WRITE, &e) == 0);
        CHECK_EQ(pte_load(k->g, arena), i ? 0x701023 : 0x701027);
        CHECK(build_map(&b, gva_make(0x2000), gpa_make(0x2000), 0x1000, PT_COW | PT_USER | PT_EXEC, &e) == 0);
        CHECK_EQ(pte_load(k->g, arena), 0x701027);
        a = look(k, &b, 0x2000);
        CHECK(a.user && a.cow && a.exec);
        a = look(k, &b, 0x1000);
        CHECK(!a.user && a.write && a.exec);
        a = look(k, &b, 0x40000000);
        CHECK(!a.user && a.write && a.exec == !i);
        if (i)
            CHECK_EQ(pte_load(k->g, arena + 0x1008), 0x704023);
        CHECK(build_map(&b, gva_make(0x3000), gpa_make(0x2000), 0x1000, 0, &e) == 0);
        CHECK(look(k, &b, 0x2000).user);
    }
}

/* Try a mapping that must be refused, saying `text`, and check that nothing was written. */
static void refused(struct pt_build *b, bool large, uint64_t va, uint64_t pa, uint64_t len, unsigned rights,
                    const char *text)
{
    static uint8_t before[ARENA_LEN];
    struct pt_build b_before = *b;

    memcpy(before, arena, sizeof(arena));
    e = (struct err){0};
    CHECK_EQ(large ? build_map_large(b, large_mode, gva_make(va), gpa_make(pa), len, rights, &e)
                   : build_map(b, gva_make(va), gpa_make(pa), len, rights, &e),
             -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK(strstr(e.text, text) != NULL);
    CHECK(memcmp(before, arena, sizeof(arena)) == 0);
    CHECK(memcmp(&b_before, b, sizeof(*b)) == 0);
}

static void test_refusals(void)
{
    struct pt_build b;

    tap_case("an arena that is no whole pages, empty or out of the reach of an entry is refused untouched");
    memset(arena, 0xee, sizeof(arena));
    memset(&b, 0x55, sizeof(b));
    CHECK(build_init(&b, &geom_i686, arena, gpa_make(0x800), 0x1000, &e) == -1);
    CHECK(build_init(&b, &geom_i686, arena, gpa_make(0x1000), 0x1800, &e) == -1);
    CHECK_HAS(e.text, "whole pages");
    CHECK(build_init(&b, &geom_i686, arena, gpa_make(0x1000), 0, &e) == -1);
    CHECK(build_init(&b, &geom_i686, arena, gpa_make(0xfffff000), 0x2000, &e) == -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_HAS(e.text, "cannot reach");
    CHECK(build_init(&b, &geom_amd64, arena, gpa_make(0xffffffffff000), 0x2000, &e) == -1);
    CHECK_EQ(b.used, 0x5555555555555555);
    CHECK_EQ(arena[0], 0xee);
    CHECK(build_init(&b, &geom_i686, arena, gpa_make(0xfffff000), 0x1000, &e) == 0);
    CHECK(build_init(&b, &geom_amd64, arena, gpa_make(0xffffffffff000), 0x1000, &e) == 0);

    for (unsigned i = 0; i < 2; i++) {
        const struct kind *k = &kinds[i];
        uint64_t top = i ? 0xfffffffffffff000 : 0xfffff000;
        uint64_t tables = i ? 4 : 2;
        uint64_t need;

        tap_case(i ? "amd64: what cannot be mapped is refused and leaves the arena alone"
                   : "i686: what cannot be mapped is refused and leaves the arena alone");
        start(k, &b, 16 * PAGE_LEN);
        CHECK(build_map(&b, gva_make(0x10000), gpa_make(0x20000), 0x4000, PT_COW, &e) == 0);
        refused(&b, false, 0x1001, 0x1000, 0x1000, 0, "whole pages");
        refused(&b, false, 0x1000, 0x1001, 0x1000, 0, "whole pages");
        refused(&b, false, 0x1000, 0x1000, 0x1001, 0, "whole pages");
        refused(&b, false, 0x1000, 0x1000, 0x1000, PT_WRITE | PT_COW, "contradict");
        refused(&b, false, 0x1000, 0x1000, 0x1000, 16, "contradict");
        refused(&b, false, top, 0x1000, 0x2000, 0, "no such address");
        refused(&b, false, i ? 0x7ffffffff000 : 0x100000000, 0x1000, 0x2000, 0, "no such address");
        refused(&b, false, i ? 0x800000000000 : 0x100000000, 0x1000, 0x1000, 0, "no such address");
        refused(&b, false, 0x1000, k->g->pa_end - 0x1000, 0x2000, 0, "cannot hold");
        refused(&b, false, 0x1000, k->g->pa_end, 0x1000, 0, "cannot hold");
        refused(&b, false, 0x1000, UINT64_MAX - 0xfff, 0x1000, 0, "cannot hold");

        tap_case(i ? "amd64: an overlap with other rights or another page is refused, the same again is not"
                   : "i686: an overlap with other rights or another page is refused, the same again is not");
        refused(&b, false, 0xf000, 0x1f000, 0x6000, PT_WRITE, "mapped already");
        CHECK_HAS(e.text, "0x10000");
        refused(&b, false, 0x13000, 0x23000, 0x1000, PT_COW | PT_USER, "mapped already");
        refused(&b, false, 0x13000, 0x24000, 0x1000, PT_COW, "mapped already");
        CHECK(build_map(&b, gva_make(0x10000), gpa_make(0x20000), 0x4000, PT_COW, &e) == 0);
        CHECK(build_map(&b, gva_make(0xf000), gpa_make(0x1f000), 0x6000, PT_COW, &e) == 0);
        CHECK_EQ(build_used(&b), tables * PAGE_LEN);

        tap_case(i ? "amd64: an arena that is full refuses, one page more would do"
                   : "i686: an arena that is full refuses, one page more would do");
        need = i ? 512 * 2 + 1 : 1024 * 2 + 1; /* three lowest tables */
        start(k, &b, (tables + 1) * PAGE_LEN);
        refused(&b, false, 0, 0, need * PAGE_LEN, 0, "no room");
        CHECK_EQ(build_used(&b), PAGE_LEN);
        start(k, &b, (tables + 2) * PAGE_LEN);
        CHECK(build_map(&b, gva_make(0), gpa_make(0), need * PAGE_LEN, 0, &e) == 0);
        CHECK_EQ(build_used(&b), (tables + 2) * PAGE_LEN);
        refused(&b, false, 0xc0000000, 0, 0x1000, 0, "no room");

        tap_case(i ? "amd64: a length of 0 maps nothing and takes no table"
                   : "i686: a length of 0 maps nothing and takes no table");
        start(k, &b, PAGE_LEN);
        CHECK(build_map(&b, gva_make(0x1000), gpa_make(0x1000), 0, PT_WRITE, &e) == 0);
        CHECK(build_map(&b, gva_make(k->g_top), gpa_make(k->g->pa_end), 0, PT_WRITE, &e) == 0);
        CHECK_EQ(build_used(&b), PAGE_LEN);

        tap_case(i ? "amd64: a mapping may end at the very top" : "i686: a mapping may end at the very top");
        start(k, &b, 16 * PAGE_LEN);
        CHECK(build_map(&b, gva_make(top), gpa_make(0x3000), 0x1000, PT_WRITE, &e) == 0);
        CHECK_EQ(look(k, &b, top + 0xfff).pa, 0x3fff);
        CHECK(build_map(&b, gva_make(0), gpa_make(k->g->pa_end - 0x1000), 0x1000, 0, &e) == 0);
        CHECK_EQ(look(k, &b, 0).pa, k->g->pa_end - 0x1000);
    }
}

static void test_large(void)
{
    struct pt_mode off = {.nxe = true, .wp = true, .phys_bits = 52};
    struct pt_build b;
    struct ref_answer a;

    for (unsigned i = 0; i < 2; i++) {
        const struct kind *k = &kinds[i];
        uint64_t span = i ? 0x200000 : 0x400000;

        tap_case(i ? "amd64: large leaves are used where both addresses allow, small ones around them"
                   : "i686: large leaves are used where both addresses allow, small ones around them");
        start(k, &b, ARENA_LEN);
        CHECK(build_map_large(&b, large_mode, gva_make(span - 0x1000), gpa_make(3 * span - 0x1000),
                              2 * span + 0x2000, PT_WRITE | PT_USER, &e) == 0);
        a = look(k, &b, span - 1);
        CHECK_EQ(a.page_len, 0x1000);
        CHECK_EQ(a.pa, 3 * span - 1);
        a = look(k, &b, span);
        CHECK_EQ(a.page_len, span);
        CHECK_EQ(a.pa, 3 * span);
        CHECK(a.write && a.user);
        CHECK_EQ(look(k, &b, 3 * span - 1).page_len, span);
        a = look(k, &b, 3 * span);
        CHECK_EQ(a.page_len, 0x1000);
        CHECK_EQ(a.pa, 5 * span);
        CHECK_EQ(build_used(&b), (i ? 5 : 3) * PAGE_LEN);

        tap_case(i ? "amd64: a large leaf and small ones do not overlap, either way round"
                   : "i686: a large leaf and small ones do not overlap, either way round");
        refused(&b, false, span + 0x1000, 3 * span + 0x1000, 0x1000, PT_WRITE | PT_USER, "mapped already");
        refused(&b, true, 0, 2 * span, span, PT_WRITE | PT_USER, "mapped already");
        refused(&b, true, span, 4 * span, span, PT_WRITE | PT_USER, "mapped already");
        refused(&b, true, span, 3 * span, span, PT_WRITE, "mapped already");
        CHECK(build_map_large(&b, large_mode, gva_make(span), gpa_make(3 * span), span, PT_WRITE | PT_USER,
                              &e) == 0);

        tap_case(i ? "amd64: addresses that do not fit get small leaves"
                   : "i686: addresses that do not fit, and a guest without PSE, get small leaves");
        start(k, &b, ARENA_LEN);
        CHECK(build_map_large(&b, large_mode, gva_make(span), gpa_make(span + 0x1000), span, 0, &e) == 0);
        CHECK_EQ(look(k, &b, span).page_len, 0x1000);
        CHECK(build_map_large(&b, off, gva_make(4 * span), gpa_make(span), span, 0, &e) == 0);
        CHECK_EQ(look(k, &b, 4 * span).page_len, i ? span : 0x1000);
    }

    tap_case("amd64: a gigabyte gets one leaf where the CPU has them, else 512");
    start(&kinds[1], &b, ARENA_LEN);
    CHECK(build_map_large(&b, large_mode, gva_make(0xffffffff40000000), gpa_make(0x40000000), 0x40000000,
                          PT_COW, &e) == 0);
    CHECK_EQ(look(&kinds[1], &b, 0xffffffff40000000).page_len, 0x40000000);
    CHECK_EQ(look(&kinds[1], &b, 0xffffffff40000000).raw, 0x80000000400002e1);
    CHECK_EQ(build_used(&b), 2 * PAGE_LEN);
    CHECK(build_map_large(&b, off, gva_make(0x40000000), gpa_make(0x40000000), 0x40000000, PT_COW, &e) == 0);
    CHECK_EQ(look(&kinds[1], &b, 0x40000000).page_len, 0x200000);
    refused(&b, false, 0xffffffff40000000, 0x40000000, 0x1000, PT_COW, "mapped already");
}

static void test_count(void)
{
    const struct va_range ascending[] = {{{0x1000}, 0x1000}, {{0x1000}, 0x1000}};
    const struct va_range odd[] = {{{0x1000}, 0x1001}};
    const struct va_range wraps[] = {{{0xfffffffffffff000}, 0x2000}};
    uint64_t n = 42;

    tap_case("no ranges need the root only");
    CHECK(build_count(&geom_amd64, NULL, 0, &n, &e) == 0);
    CHECK_EQ(n, 1);

    tap_case("ranges that overlap, are no pages or do not exist are not counted");
    n = 42;
    CHECK(build_count(&geom_amd64, ascending, 2, &n, &e) == -1);
    CHECK(build_count(&geom_amd64, odd, 1, &n, &e) == -1);
    CHECK(build_count(&geom_amd64, wraps, 1, &n, &e) == -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_EQ(n, 42);
}

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");

    return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

/* Random mappings: the count is exact, and both walkers give back what was mapped and nothing else. */
static void test_random(const struct kind *k)
{
    uint64_t random = 7;
    bool counted = true, found = true, alone = true, same = true;
    unsigned mapped = 0, large = 0;

    tap_case(k->ref.is_amd64 ? "amd64: random mappings are given back by the walk, and nothing else is"
                             : "i686: random mappings are given back by the walk, and nothing else is");
    for (unsigned round = 0; round < 600 * scale(); round++) {
        struct {
            uint64_t va, pa, len;
            unsigned rights;
            bool user;
        } m[16];
        struct va_range ranges[16];
        unsigned n = 0;
        uint64_t va = 0, tables_n = 0, ptes = 0, pages = 0;
        struct pt_build b;
        struct gmem *mem = gmem_new();
        bool with_large = round & 1;

        if (build_init(&b, k->g, arena, gpa_make(0x700000), ARENA_LEN, &e) < 0)
            abort();
        for (unsigned i = 1 + tap_random(&random) % 15; i > 0; i--) {
            unsigned choice = tap_random(&random) % 8;
            uint64_t step = tap_random(&random);

            if (choice < 4)
                va += (step % 4) * 0x1000;
            else if (choice < 6)
                va = (va + step % 0x1000000 + 0x3fffff) & ~(uint64_t)0x3fffff;
            else if (k->ref.is_amd64 && choice == 6)
                va += step % 0x4000000000 & ~(uint64_t)0xfff;
            else if (k->ref.is_amd64 && va < 0x800000000000 && step % 4 == 0)
                va = 0xffff800000000000 + (step >> 8) % 0x800000 * 0x1000;
            m[n].len = (1 + tap_random(&random) % 40) * 0x1000;
            if (with_large && choice == 5)
                m[n].len += 0x400000;
            m[n].va = va;
            m[n].pa = tap_random(&random) % 0x80000 * 0x1000;
            if (with_large && choice > 3)
                m[n].pa = (m[n].pa & ~(uint64_t)0x3fffff) | (va & 0x3fffff);
            m[n].rights = (tap_random(&random) & 1 ? PT_EXEC : 0) | (tap_random(&random) & 1 ? PT_USER : 0) |
                          (const unsigned[]){0, PT_WRITE, PT_COW}[tap_random(&random) % 3];
            if (!geom_has_range(k->g, gva_make(va), m[n].len))
                break;
            ranges[n] = (struct va_range){gva_make(va), m[n].len};
            va += m[n].len;
            n++;
        }
        for (unsigned i = 0; i < n; i++) {
            unsigned at =
                (i * 7 + round) % n; /* in another order: 7 and n may not be coprime, the rest follows */

            if (with_large)
                found = found && build_map_large(&b, large_mode, gva_make(m[at].va), gpa_make(m[at].pa),
                                                 m[at].len, m[at].rights, &e) == 0;
            else
                found = found && build_map(&b, gva_make(m[at].va), gpa_make(m[at].pa), m[at].len,
                                           m[at].rights, &e) == 0;
        }
        for (unsigned i = 0; i < n; i++)
            found = found && (with_large ? build_map_large(&b, large_mode, gva_make(m[i].va),
                                                           gpa_make(m[i].pa), m[i].len, m[i].rights, &e)
                                         : build_map(&b, gva_make(m[i].va), gpa_make(m[i].pa), m[i].len,
                                                     m[i].rights, &e)) == 0;
        if (!with_large)
            counted = counted && build_count(k->g, ranges, n, &tables_n, &e) == 0 &&
                      tables_n * PAGE_LEN == build_used(&b);

        if (gmem_add(mem, gpa_make(0x700000), build_used(&b), arena, false, &e) < 0)
            abort();
        for (unsigned i = 0; i < n; i++)
            for (uint64_t off = 0; off < m[i].len; off += 0x1000) {
                struct ref_answer a = look(k, &b, m[i].va + off);
                struct walk_leaf leaf = {.rights = 99};

                found = found && a.result == REF_FOUND && a.pa == m[i].pa + off &&
                        a.write == !!(m[i].rights & PT_WRITE) && a.cow == !!(m[i].rights & PT_COW) &&
                        a.user == !!(m[i].rights & PT_USER) &&
                        a.exec == (!k->ref.is_amd64 || (m[i].rights & PT_EXEC) != 0);
                same = same &&
                       walk_lookup(k->g, large_mode, mem, b.tables_gpa, gva_make(m[i].va + off), &leaf) ==
                           WALK_FOUND &&
                       leaf.pa.v == m[i].pa + off && leaf.page_len == a.page_len &&
                       leaf.rights == (m[i].rights | (k->ref.is_amd64 ? 0 : PT_EXEC));
                large += a.page_len > 0x1000;
                pages++;
            }
        {
            struct ref_answer a;
            uint64_t at = 0;

            do {
                a = look(k, &b, at);
                if (a.result == REF_FOUND)
                    ptes += a.page_len / 0x1000;
                alone = alone && (a.result == REF_FOUND || (a.result == REF_ABSENT && a.raw == 0));
            } while (ref_next(k->ref, &at, &a));
            alone = alone && ptes == pages;
            mapped += (unsigned)pages;
        }
        gmem_free(mem);
    }
    CHECK(counted);
    CHECK(found);
    CHECK(same);
    CHECK(alone);
    CHECK(mapped > 50000);
    CHECK(large > 10000);
}

int main(void)
{
    test_worked();
    test_user();
    test_refusals();
    test_large();
    test_count();
    test_random(&kinds[0]);
    test_random(&kinds[1]);
    return tap_done();
}
