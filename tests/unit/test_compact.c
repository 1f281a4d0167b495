/*
 * paging/compact: each row of its table and each refusal by hand, then
 * thousands of random guests judged by compact_check.h, and a guest that
 * changes its tables meanwhile.
 */
#include "paging/compact.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "mem/num.h"
#include "tests/tap.h"
#include "tests/unit/compact_check.h"

static struct err e;

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");

    return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

static const struct ref_mode both[] = {{.phys_bits = 32}, {.is_amd64 = true, .nxe = true, .phys_bits = 36}};

/* Say a case for one of the geometries. */
static void geometry_case(const struct ref_mode *mode, const char *what)
{
    char name[200];

    snprintf(name, sizeof(name), "%s: %s", mode->is_amd64 ? "amd64" : "i686", what);
    tap_case(name);
}

static const struct pt_geom *geom_of(const struct world *w)
{
    return w->mode.is_amd64 ? &geom_amd64 : &geom_i686;
}

/*
 * A guest with pages 0x1000 to 0x10000 that tell where they are, and `roots_n`
 * roots. Each root has a chain of tables for its lowest addresses; lowest()
 * gives the last of them.
 */
static void make(struct world *w, const struct ref_mode *mode, unsigned roots_n, uint64_t scratch_pages)
{
    world_init(w, *mode, scratch_pages);
    world_add_span(w, 0x1000, 16);
    world_add_span(w, w->scratch, scratch_pages);
    for (uint64_t at = 0x1000; at < 0x11000; at += W_PAGE)
        memcpy(world_page_rw(w, at) + at / 32, &at, sizeof(at));
    for (unsigned r = 0; r < roots_n; r++)
        w->roots[w->roots_n++] = world_alloc(w);
    for (unsigned r = 0; r < roots_n; r++) {
        uint64_t at = w->roots[r];

        for (unsigned level = w->levels; level > 1; level--) {
            uint64_t below = world_alloc(w);

            world_write(w, at, below | 0x27);
            at = below;
        }
    }
}

static uint64_t lowest(const struct world *w, unsigned r)
{
    struct ref_answer a = world_walk(w, w->roots[r], 0);

    return a.tables[w->levels - 1];
}

/* Table of `level` on the way to address 0 of a root. */
static uint64_t chain(const struct world *w, unsigned r, unsigned level)
{
    struct ref_answer a = world_walk(w, w->roots[r], 0);

    return a.tables[w->levels - level];
}

static void put(struct world *w, uint64_t table, unsigned index, uint64_t raw)
{
    world_write(w, table + (uint64_t)index * w->entry_len, raw);
}

static struct gpa roots_of[W_ROOTS_MAX];

/* Compact and restore; 0 or -1 as compact_make. */
static int go(const struct world *w, struct compact_in *plan, struct compact_out *out, struct world *new)
{
    struct gmem *m = world_gmem(w);
    struct compact_in in = plan ? *plan : cc_plan(w, geom_of(w), m, roots_of);
    int rc;

    in.mem = m;
    e = (struct err){0};
    rc = compact_make(&in, out, &e);
    if (rc == 0)
        cc_restore(w, m, out, new);
    gmem_free(m);
    return rc;
}

static void done(struct compact_out *out, struct world *new)
{
    compact_free(out);
    world_free(new);
}

static uint64_t raw_at(const struct world *w, unsigned r, uint64_t va)
{
    return world_walk(w, w->roots[r], va).raw;
}

static uint64_t page_at(const struct world *w, unsigned r, uint64_t va)
{
    struct ref_answer a = world_walk(w, w->roots[r], va);

    return a.result == REF_FOUND ? a.pa / W_PAGE * W_PAGE : 0;
}

/* Whether `va` of the new guest has the bytes that page `from` of the old one had. */
static bool has_bytes(const struct world *new, unsigned r, uint64_t va, const struct world *old,
                      uint64_t from)
{
    const uint8_t *page = world_page(new, page_at(new, r, va));

    return page != NULL && memcmp(page, world_page(old, from), W_PAGE) == 0;
}

static void test_leaves(void)
{
    for (unsigned k = 0; k < 2; k++) {
        uint64_t cow = k ? 0x261 : 0x221, ro = k ? 0x61 : 0x21, rw = k ? 0x63 : 0x23;
        uint64_t tables_end, nx = (uint64_t)k << 63;
        struct compact_out out;
        struct world w, new;

        geometry_case(&both[k],
                      "a writable leaf becomes CoW, CoW stays CoW, read-only stays so and is not marked");
        make(&w, &both[k], 1, 64);
        put(&w, lowest(&w, 0), 5, 0x3000 | rw);
        put(&w, lowest(&w, 0), 6, 0x2000 | cow | 4 | nx);
        put(&w, lowest(&w, 0), 9, 0x5000 | ro);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 3);
        CHECK_EQ(out.placed_n, 0);
        CHECK_EQ(raw_at(&new, 0, 0x5000), 0x1000 | cow);
        CHECK_EQ(raw_at(&new, 0, 0x6000), 0x2000 | cow | 4 | nx);
        CHECK_EQ(raw_at(&new, 0, 0x9000), 0x3000 | ro);
        CHECK(has_bytes(&new, 0, 0x5000, &w, 0x3000));
        CHECK(has_bytes(&new, 0, 0x6000, &w, 0x2000));
        CHECK(has_bytes(&new, 0, 0x9000, &w, 0x5000));
        CHECK_EQ(out.pages[0].v, 0x3000);
        CHECK_EQ(out.pages[1].v, 0x2000);
        CHECK_EQ(out.pages[2].v, 0x5000);
        CHECK_EQ(out.roots_n, 1);
        CHECK_EQ(out.roots[0].v, w.tables_at);
        CHECK_EQ(out.free_gpa.v, w.tables_at + out.tables_len);
        CHECK(cc_window(&new) == NULL);
        done(&out, &new);

        geometry_case(&both[k],
                      "a page of two leaves, one of them RW, is one page in scratch behind the tables");
        put(&w, lowest(&w, 0), 7, 0x3000 | ro);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        tables_end = w.tables_at + out.tables_len;
        CHECK_EQ(out.pages_n, 2);
        CHECK_EQ(out.placed_n, 1);
        CHECK_EQ(out.placed[0].v, 0x3000);
        CHECK_EQ(raw_at(&new, 0, 0x5000), tables_end | rw);
        CHECK_EQ(raw_at(&new, 0, 0x7000), tables_end | ro);
        CHECK(has_bytes(&new, 0, 0x7000, &w, 0x3000));
        CHECK_EQ(out.free_gpa.v, tables_end + W_PAGE);
        done(&out, &new);

        geometry_case(&both[k], "the read-only leaf may come first, and a CoW leaf of such a page stays CoW");
        put(&w, lowest(&w, 0), 1, 0x3000 | cow);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.placed_n, 1);
        CHECK_EQ(raw_at(&new, 0, 0x1000), (w.tables_at + out.tables_len) | cow);
        CHECK_EQ(raw_at(&new, 0, 0x5000), (w.tables_at + out.tables_len) | rw);
        done(&out, &new);

        geometry_case(&both[k], "leaves of one page none of which is RW share a stored page, CoW stays CoW");
        put(&w, lowest(&w, 0), 1, 0x2000 | cow);
        put(&w, lowest(&w, 0), 2, 0x2000 | ro);
        put(&w, lowest(&w, 0), 5, 0);
        put(&w, lowest(&w, 0), 7, 0);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 2);
        CHECK_EQ(out.placed_n, 0);
        CHECK_EQ(raw_at(&new, 0, 0x1000), 0x1000 | cow);
        CHECK_EQ(raw_at(&new, 0, 0x2000), 0x1000 | ro);
        CHECK_EQ(raw_at(&new, 0, 0x6000), 0x1000 | cow | 4 | nx);
        done(&out, &new);
        world_free(&w);

        geometry_case(&both[k], "two roots that write to one page still do, through tables of their own");
        make(&w, &both[k], 2, 64);
        put(&w, lowest(&w, 0), 1, 0x4000 | rw);
        put(&w, lowest(&w, 1), 3, 0x4000 | rw);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.placed_n, 1);
        CHECK_EQ(page_at(&new, 0, 0x1000), page_at(&new, 1, 0x3000));
        CHECK_EQ(raw_at(&new, 1, 0x3000), (w.tables_at + out.tables_len) | rw);
        CHECK_EQ(out.roots[1].v, w.tables_at + W_PAGE);
        done(&out, &new);

        geometry_case(&both[k], "pages of zeros are stored, one for each page there was");
        memset(world_page(&w, 0x8000), 0, W_PAGE);
        memset(world_page(&w, 0x9000), 0, W_PAGE);
        put(&w, lowest(&w, 0), 1, 0x8000 | rw);
        put(&w, lowest(&w, 1), 3, 0x9000 | rw);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 2);
        CHECK(page_at(&new, 0, 0x1000) != page_at(&new, 1, 0x3000));
        done(&out, &new);
        world_free(&w);
    }
}

static void test_bits(void)
{
    for (unsigned k = 0; k < 2; k++) {
        uint64_t upper = k ? 0x7ff0000000000000 : 0, leaf_a_d = k ? 0x60 : 0x20, behind;
        struct compact_out out;
        struct world w, new;

        geometry_case(&both[k],
                      "cache bits, global, dirty, user and the bits above the address are kept, A is set");
        make(&w, &both[k], 1, 64);
        put(&w, lowest(&w, 0), 1, 0x2000 | upper | 0x19d);
        put(&w, lowest(&w, 0), 2, 0x3000 | upper | 0x1df);
        put(&w, chain(&w, 0, 2), 0, lowest(&w, 0) | upper | 0xf5b);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(raw_at(&new, 0, 0x1000), 0x1000 | upper | 0x19d | leaf_a_d);
        CHECK_EQ(raw_at(&new, 0, 0x2000), 0x2000 | upper | 0x3dd | leaf_a_d);
        {
            uint64_t raw = 0;

            world_read(&new, chain(&new, 0, 2), new.entry_len, &raw);
            CHECK_EQ(raw, lowest(&new, 0) | upper | 0xf7b);
        }
        done(&out, &new);

        geometry_case(&both[k],
                      "marks of a writable leaf are kept with the page in scratch, others where they are");
        put(&w, lowest(&w, 0), 1, 0x2000 | 0x223);
        put(&w, lowest(&w, 0), 2, 0x3000 | 0xc23);
        put(&w, lowest(&w, 0), 3, 0x4000 | 0x621);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        behind = w.tables_at + out.tables_len;
        CHECK_EQ(out.placed_n, 2);
        CHECK_EQ(raw_at(&new, 0, 0x1000), behind | 0x223 | leaf_a_d);
        CHECK_EQ(raw_at(&new, 0, 0x2000), (behind + W_PAGE) | 0xc23 | leaf_a_d);
        CHECK_EQ(raw_at(&new, 0, 0x3000), 0x1000 | 0x621 | leaf_a_d);
        CHECK_EQ(out.free_gpa.v, behind + 2 * W_PAGE);
        done(&out, &new);

        geometry_case(&both[k], "entries that are not present are kept as they are, in every table");
        put(&w, lowest(&w, 0), 4, 0x80000000);
        put(&w, lowest(&w, 0), 5, upper | 0xdeadbeee);
        put(&w, w.roots[0], 9, 0x12345678);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(raw_at(&new, 0, 0x4000), 0x80000000);
        CHECK_EQ(raw_at(&new, 0, 0x5000), upper | 0xdeadbeee);
        CHECK_EQ(raw_at(&new, 0, 9 * world_entry_span(&w, w.levels)), 0x12345678);
        CHECK_EQ(raw_at(&new, 0, 0x6000), 0);
        done(&out, &new);

        geometry_case(&both[k], "a RW leaf below a read-only pointer does not reach the stored page");
        put(&w, chain(&w, 0, 2), 0, lowest(&w, 0) | 0x21);
        put(&w, lowest(&w, 0), 1, 0x2000 | 0x23);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(raw_at(&new, 0, 0x1000), 0x1000 | 0x221 | leaf_a_d);
        CHECK(!world_walk(&new, new.roots[0], 0x1000).write);
        done(&out, &new);
        world_free(&w);
    }
}

static void test_tables(void)
{
    for (unsigned k = 0; k < 2; k++) {
        struct compact_out out;
        struct world w, new;
        uint64_t shared, span;

        geometry_case(&both[k],
                      "a table that two roots share stays one table, empty or not, and its RW leaf is one");
        make(&w, &both[k], 2, 64);
        span = world_entry_span(&w, 2);
        shared = world_alloc(&w);
        put(&w, chain(&w, 0, 2), 3, shared | 0x23);
        put(&w, chain(&w, 1, 2), 3, shared | 0x27);
        put(&w, shared, 1, 0x3000 | 0x23);
        put(&w, chain(&w, 0, 2), 5, world_alloc(&w) | 0x27);
        put(&w, chain(&w, 1, 2), 4, (w.next_free - W_PAGE) | 0x27);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 1);
        CHECK_EQ(world_walk(&new, new.roots[0], 3 * span + W_PAGE).entry_pa,
                 world_walk(&new, new.roots[1], 3 * span + W_PAGE).entry_pa);
        CHECK_EQ(raw_at(&new, 1, 3 * span + W_PAGE), 0x1000 | (k ? 0x261 : 0x221));
        CHECK_EQ(world_walk(&new, new.roots[0], 5 * span).entry_pa,
                 world_walk(&new, new.roots[1], 4 * span).entry_pa);
        CHECK_EQ(world_walk(&new, new.roots[0], 5 * span).tables_n, w.levels);
        /* 2 roots, their chains, 2 shared, the window for each: on amd64 another page directory pointer and
         * below */
        CHECK_EQ(out.tables_len / W_PAGE, k ? 2 + 6 + 2 + 6 : 2 + 2 + 2 + 2);
        done(&out, &new);

        geometry_case(&both[k], "a table linked twice in one root stays one table");
        put(&w, chain(&w, 0, 2), 9, shared | 0x27);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 1);
        CHECK_EQ(world_walk(&new, new.roots[0], 9 * span + W_PAGE).entry_pa,
                 world_walk(&new, new.roots[0], 3 * span + W_PAGE).entry_pa);
        done(&out, &new);

        geometry_case(&both[k], "a page that is a table too is mapped as the new table, with its rights");
        put(&w, lowest(&w, 0), 1, shared | 0x23);
        put(&w, lowest(&w, 0), 2, w.roots[1] | 0x21);
        put(&w, lowest(&w, 0), 4, lowest(&w, 0) | 0x23);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 1);
        CHECK_EQ(out.placed_n, 0);
        CHECK_EQ(page_at(&new, 0, W_PAGE), world_walk(&new, new.roots[0], 3 * span).entry_pa);
        CHECK(world_walk(&new, new.roots[0], W_PAGE).write);
        CHECK_EQ(page_at(&new, 0, 2 * W_PAGE), new.roots[1]);
        CHECK(!world_walk(&new, new.roots[0], 2 * W_PAGE).write);
        CHECK_EQ(page_at(&new, 0, 4 * W_PAGE), lowest(&new, 0));
        done(&out, &new);

        geometry_case(
            &both[k],
            "roots keep the caller's order, a root given twice is one table, CR3 flags are ignored");
        w.roots[2] = w.roots[0] | 0x18;
        w.roots[0] = w.roots[1];
        w.roots[1] = w.roots[2];
        w.roots[3] = w.roots[0];
        w.roots_n = 4;
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.roots_n, 4);
        CHECK_EQ(out.roots[0].v, w.tables_at);
        CHECK_EQ(out.roots[1].v, w.tables_at + W_PAGE);
        CHECK_EQ(out.roots[2].v, w.tables_at + W_PAGE);
        CHECK_EQ(out.roots[3].v, w.tables_at);
        CHECK(cc_compare(&w, &new, CC_SAME) == NULL);
        CHECK(cc_window(&new) == NULL);
        done(&out, &new);
        world_free(&w);
    }
}

static void test_window(void)
{
    struct compact_out out;
    struct compact_in in;
    struct world w, new;
    struct ref_mode no_nx = both[1];

    tap_case("i686: tables wholly inside the window are shared by all roots, the one that is partly inside "
             "is not");
    make(&w, &both[0], 3, 2304);
    CHECK_EQ(go(&w, NULL, &out, &new), 0);
    CHECK_EQ(out.tables_len / W_PAGE, 3 + 3 + 3 + 2);
    CHECK(cc_window(&new) == NULL);
    CHECK_EQ(out.pages_n, 0);
    done(&out, &new);

    tap_case("i686: what is mapped in the window is dropped and made again, what is beside it is kept");
    {
        uint64_t partial = world_alloc(&w), whole = world_alloc(&w);

        put(&w, w.roots[0], 1023, whole | 0x27);
        put(&w, w.roots[0], 1022, 0xfff);
        put(&w, w.roots[0], 1021, partial | 0x27);
        put(&w, whole, 5, 0x99999007);
        put(&w, partial, 767, 0x2000 | 0x23);
        put(&w, partial, 768, 0x99999007);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.tables_len / W_PAGE, 3 + 3 + 3 + 2);
        CHECK_EQ(raw_at(&new, 0, 0xff6ff000), 0x1221);
        CHECK_EQ(raw_at(&new, 1, 0xff6ff000), 0);
        CHECK(cc_window(&new) == NULL);
        done(&out, &new);

        tap_case("i686: a partly inside table that roots share is shared again");
        put(&w, w.roots[2], 1021, partial | 0x27);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.tables_len / W_PAGE, 3 + 3 + 2 + 2);
        CHECK_EQ(raw_at(&new, 2, 0xff6ff000), 0x1221);
        CHECK(cc_window(&new) == NULL);
        done(&out, &new);

        tap_case("i686: a large leaf that is partly in the window keeps the other part");
        w.mode.pse = true;
        put(&w, w.roots[0], 1021, 0x4000a3);
        world_add_span(&w, 0x400000, 1024);
        memset(world_page_rw(&w, 0x400000), 0x5a, 9);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, 768 + 1);
        CHECK(has_bytes(&new, 0, 0xff400000, &w, 0x400000));
        CHECK(cc_window(&new) == NULL);
        done(&out, &new);
    }
    world_free(&w);

    tap_case(
        "amd64: the page above the window is the guest's own, and a range that is never kept is dropped");
    make(&w, &both[1], 2, 64);
    {
        uint64_t t[3] = {world_alloc(&w), world_alloc(&w), world_alloc(&w)};
        struct gmem *m = world_gmem(&w);

        put(&w, w.roots[0], 511, t[0] | 0x23);
        put(&w, t[0], 511, t[1] | 0x23);
        put(&w, t[1], 511, t[2] | 0x23);
        put(&w, t[2], 511, 0x2000 | 0x63);
        put(&w, t[2], 510, 0x99999007);
        put(&w, w.roots[1], 256, 0x50007);
        put(&w, w.roots[1], 257, 0xfffffffffffff);
        in = cc_plan(&w, &geom_amd64, m, roots_of);
        gmem_free(m);
        in.never_kept = (struct va_range){gva_make(0xffff800000000000), 0x10000000000};
        CHECK_EQ(go(&w, &in, &out, &new), 0);
        CHECK_EQ(raw_at(&new, 0, 0xfffffffffffff000), 0x1261);
        CHECK_EQ(raw_at(&new, 1, 0xfffffffffffff000), 0);
        CHECK_EQ(raw_at(&new, 1, 0xffff800000000000), 0);
        CHECK_EQ(raw_at(&new, 1, 0xffff808000000000), 0);
        CHECK(cc_window(&new) == NULL);
        done(&out, &new);

        tap_case("amd64: without the rule the range is looked at, and what is wrong there is found");
        CHECK_EQ(go(&w, NULL, &out, &new), -1);
        CHECK_HAS(e.text, "0xffff800000000000");
    }
    world_free(&w);

    tap_case("amd64: a guest without EFER.NXE gets a window without NX bits");
    no_nx.nxe = false;
    make(&w, &no_nx, 1, 64);
    CHECK_EQ(go(&w, NULL, &out, &new), 0);
    CHECK(cc_window(&new) == NULL);
    CHECK_EQ(raw_at(&new, 0, w.window), w.scratch | 0x63);
    done(&out, &new);
    world_free(&w);

    tap_case("amd64: a window that the user may use is open to him on the whole way");
    make(&w, &both[1], 1, 64);
    {
        struct gmem *m = world_gmem(&w);

        in = cc_plan(&w, &geom_amd64, m, roots_of);
        gmem_free(m);
        in.window_rights = PT_WRITE | PT_USER | PT_EXEC;
        CHECK_EQ(go(&w, &in, &out, &new), 0);
        CHECK_EQ(raw_at(&new, 0, w.window), w.scratch | 0x67);
        CHECK(world_walk(&new, new.roots[0], w.window).user);
        done(&out, &new);

        tap_case("amd64: a window that nobody may write to or run is neither");
        in.window_rights = 0;
        CHECK_EQ(go(&w, &in, &out, &new), 0);
        CHECK_EQ(raw_at(&new, 0, w.window), w.scratch | 0x8000000000000061);
        done(&out, &new);
    }
    world_free(&w);

    tap_case("i686: the window reaches the last byte of 4 GiB");
    make(&w, &both[0], 1, 64);
    CHECK_EQ(go(&w, NULL, &out, &new), 0);
    CHECK_EQ(page_at(&new, 0, 0xffffffff), 0xfedff000);
    done(&out, &new);
    world_free(&w);
}

static void test_large(void)
{
    struct ref_mode modes[2] = {{.pse = true, .phys_bits = 36},
                                {.is_amd64 = true, .nxe = true, .page1g = true, .phys_bits = 36}};
    struct compact_out out;
    struct world w, new;

    for (unsigned k = 0; k < 2; k++) {
        uint64_t nx = (uint64_t)k << 63, len = k ? 0x200000 : 0x400000;

        geometry_case(&modes[k], "a large leaf becomes small ones with the same bits, PAT in its place");
        make(&w, &modes[k], 1, 64);
        world_add_span(&w, 0x40000000, len / W_PAGE);
        for (uint64_t i = 0; i < len / W_PAGE; i++)
            memcpy(world_page_rw(&w, 0x40000000 + i * W_PAGE), &i, sizeof(i));
        put(&w, chain(&w, 0, 2), 4, 0x40001000 | 0x1e7 | nx);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, len / W_PAGE);
        CHECK_EQ(raw_at(&new, 0, 4 * len), 0x1000 | 0x3e5 | nx);
        CHECK_EQ(raw_at(&new, 0, 5 * len - 1), len | 0x3e5 | nx);
        CHECK(world_walk(&new, new.roots[0], 4 * len).user);
        CHECK(cc_compare(&w, &new, CC_SAME) == NULL);
        done(&out, &new);

        geometry_case(&modes[k], "a large and a small leaf of one page, one RW, place that page only");
        put(&w, lowest(&w, 0), 3, 0x40003000 | 0x21);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        CHECK_EQ(out.pages_n, len / W_PAGE - 1);
        CHECK_EQ(out.placed_n, 1);
        CHECK_EQ(page_at(&new, 0, 3 * W_PAGE), page_at(&new, 0, 4 * len + 3 * W_PAGE));
        CHECK(world_walk(&new, new.roots[0], 4 * len + 3 * W_PAGE).write);
        done(&out, &new);

        geometry_case(&modes[k],
                      "a large leaf of which one page is missing is refused with that page's address");
        put(&w, lowest(&w, 0), 3, 0);
        w.span[2].pages--;
        CHECK_EQ(go(&w, NULL, &out, &new), -1);
        CHECK_HAS(e.text, k ? "guest address 0x9ff000" : "guest address 0x13ff000");
        CHECK_HAS(e.text, k ? "0x401ff000" : "0x403ff000");
        world_free(&w);
    }

    tap_case("i686: a large leaf above 4 GiB is refused, an entry cannot hold its pages");
    make(&w, &modes[0], 1, 64);
    put(&w, w.roots[0], 4, 0x2083);
    CHECK_EQ(go(&w, NULL, &out, &new), -1);
    CHECK_HAS(e.text, "maps 0x100000000, which is not in the guest's memory");
    world_free(&w);

    tap_case("amd64: a leaf of 1 GiB becomes 262144 small ones");
    make(&w, &modes[1], 1, 1024);
    {
        struct gmem *m = world_gmem(&w);
        struct compact_in in = cc_plan(&w, &geom_amd64, m, roots_of);
        uint8_t *gib = calloc(1, (size_t)1 << 30);

        CHECK(gib != NULL && gmem_add(m, gpa_make(0x40000000), (uint64_t)1 << 30, gib, true, &e) == 0);
        in.pages_max = 262144;
        put(&w, chain(&w, 0, 3), 4, 0x40000000 | 0x81 | 0x8000000000000000);
        CHECK_EQ(compact_make(&in, &out, &e), 0);
        CHECK_EQ(out.pages_n, 262144);
        CHECK_EQ(out.pages[262143].v, 0x7ffff000);
        CHECK_EQ(out.tables_len / W_PAGE, 4 + 1 + 512 + 2 + 3);
        compact_free(&out);
        in.pages_max--;
        CHECK_EQ(compact_make(&in, &out, &e), -1);
        CHECK_HAS(e.text, "too many pages are mapped (262144, room for 262143)");

        tap_case("amd64: a leaf of 1 GiB for whose small ones there is no room in scratch is refused");
        for (uint64_t room = 4; room < 4 + 1 + 512 + 2 + 3; room += 103) {
            in.alloc_end = gpa_make(w.tables_at + room * W_PAGE);
            in.pages_max = 262144;
            CHECK_EQ(compact_make(&in, &out, &e), -1);
            CHECK_EQ(e.status, STATUS_IMAGE);
            CHECK_HAS(e.text, "no room in scratch for the page tables");
        }
        gmem_free(m);
        free(gib);
    }
    world_free(&w);
}

/* A guest that must be refused with this in the message; *out must not be touched. */
static void refused(const struct world *w, struct compact_in *plan, const char *part, const char *address)
{
    struct compact_out out = {.roots_n = 77};
    struct world new;

    CHECK_EQ(go(w, plan, &out, &new), -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK(strncmp(e.text, "snapshot: ", 10) == 0);
    CHECK_HAS(e.text, part);
    CHECK_HAS(e.text, address);
    CHECK_EQ(out.roots_n, 77);
}

static void test_refusals(void)
{
    for (unsigned k = 0; k < 2; k++) {
        struct compact_in in;
        struct compact_out out;
        struct world w, new;
        struct gmem *m;
        uint64_t top_span;
        unsigned last;

        geometry_case(&both[k], "a page or a table that is not in memory is refused with its address");
        make(&w, &both[k], 2, 64);
        top_span = world_entry_span(&w, w.levels);
        last = w.entries_n - 1;
        put(&w, lowest(&w, 1), 7, 0x11000 | 0x21);
        refused(&w, NULL, "maps 0x11000, which is not in the guest's memory", "guest address 0x7000, root 1");
        put(&w, lowest(&w, 1), 7, 0x10000 | 0x21);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        done(&out, &new);
        put(&w, w.roots[0], 1, 0x20000 | 0x27);
        refused(&w, NULL, "its page table is not in the guest's memory (entry 0x20027",
                k ? "0x8000000000, root 0" : "0x400000, root 0");
        put(&w, w.roots[0], 1, 0);
        w.roots[1] = 0x20000;
        refused(&w, NULL, "its page table is not in the guest's memory", "guest address 0x0, root 1");
        world_free(&w);

        make(&w, &both[k], 2, 64);
        if (k) {
            geometry_case(&both[k], "a malformed entry is refused with its address and value");
            put(&w, chain(&w, 0, 2), 3, 0x8000000001007);
            refused(&w, NULL, "malformed page-table entry (entry 0x8000000001007, level 2)",
                    "guest address 0x600000, root 0");
            put(&w, chain(&w, 0, 2), 3, 0);
        }

        geometry_case(&both[k], "a self-map, and a root used further down, are refused with the address");
        put(&w, w.roots[0], 5, w.roots[0] | 0x23);
        refused(&w, NULL, "used at two levels, such as a self-map",
                k ? "0x28000000000, root 0" : "0x1400000, root 0");
        put(&w, w.roots[0], 5, 0);
        put(&w, w.roots[1], 5, w.roots[0] | 0x23);
        refused(&w, NULL, "used at two levels", k ? "0x28000000000, root 1" : "0x1400000, root 1");
        put(&w, w.roots[1], 5, 0);

        geometry_case(&both[k], "a table that is partly in the window and is used elsewhere too is refused");
        put(&w, w.roots[0], last, chain(&w, 1, w.levels - 1) | 0x23);
        refused(&w, NULL, "a page table that is partly in the scratch window is used twice",
                "guest address 0x0, root 1");
        put(&w, w.roots[0], last, 0);
        put(&w, w.roots[1], last, chain(&w, 0, w.levels - 1) | 0x23);
        refused(&w, NULL, "a page table that is partly in the scratch window is used twice", "root 1");
        put(&w, w.roots[1], last, 0);

        geometry_case(&both[k], "an entry that is not present where the window needs a table is refused");
        put(&w, w.roots[0], last, 0x1230);
        refused(&w, NULL, "not present covers part of the scratch window (entry 0x1230",
                k ? "0xffffff8000000000" : "0xffc00000");

        geometry_case(&both[k], "a table of the window below a read-only pointer is refused");
        put(&w, w.roots[0], last, world_alloc(&w) | 0x21);
        refused(&w, NULL, "the scratch window does not work below this page-table entry (flags 0x21)",
                k ? "0xffffff8000000000" : "0xffc00000");
        if (k) {
            put(&w, w.roots[0], last, (w.next_free - W_PAGE) | 0x8000000000000023);
            CHECK_EQ(go(&w, NULL, &out, &new), 0);
            CHECK(cc_window(&new) == NULL);
            done(&out, &new);
            m = world_gmem(&w);
            in = cc_plan(&w, geom_of(&w), m, roots_of);
            gmem_free(m);
            in.window_rights |= PT_EXEC;
            refused(&w, &in, "the scratch window does not work below", "flags 0x8000000000000023");
        } else {
            m = world_gmem(&w);
            in = cc_plan(&w, geom_of(&w), m, roots_of);
            gmem_free(m);
            in.window_rights = 0;
            CHECK_EQ(go(&w, &in, &out, &new), 0);
            CHECK_EQ(raw_at(&new, 0, 0xfffff000), 0xfedff021);
            done(&out, &new);
        }
        put(&w, w.roots[0], last, 0);

        geometry_case(
            &both[k],
            "scratch that is not the allocator's is refused outside the window, its neighbours are not");
        put(&w, lowest(&w, 0), 2, (w.tables_at - W_PAGE) | 0x21);
        refused(&w, NULL, "a scratch page that is the host's and not kept", "guest address 0x2000, root 0");
        put(&w, lowest(&w, 0), 2, w.scratch | 0x21);
        refused(&w, NULL, "a scratch page that is the host's and not kept", "guest address 0x2000, root 0");
        put(&w, lowest(&w, 0), 2, w.alloc_end | 0x21);
        refused(&w, NULL, "a scratch page that is the host's and not kept", "guest address 0x2000, root 0");
        put(&w, lowest(&w, 0), 2, (w.scratch + w.scratch_len - W_PAGE) | 0x21);
        refused(&w, NULL, "a scratch page that is the host's and not kept", "guest address 0x2000, root 0");
        put(&w, lowest(&w, 0), 2, (w.alloc_end - W_PAGE) | 0x21);
        CHECK_EQ(go(&w, NULL, &out, &new), 0);
        done(&out, &new);

        geometry_case(&both[k], "a guest that writes despite read-only entries is refused");
        w.wp = false;
        refused(&w, NULL, "CR0.WP is clear", "");
        w.wp = true;
        (void)top_span;
        world_free(&w);
    }
}

/* What there is no room for is the table that a large leaf needs, and only that: the window has its own. */
static void test_split_without_room(bool is_amd64, unsigned leaf_level)
{
    const struct ref_mode mode = {
        .is_amd64 = is_amd64, .pse = true, .nxe = is_amd64, .page1g = true, .phys_bits = is_amd64 ? 36 : 32};
    struct compact_in in;
    struct world w;
    struct gmem *m;
    uint64_t below_window, table, tables;

    make(&w, &mode, 2, 64);
    below_window = w.window - W_PAGE;
    table = w.roots[0];
    for (unsigned level = w.levels; level > 1; level--) {
        uint64_t below = world_alloc(&w);

        put(&w, table, below_window / world_entry_span(&w, level) % w.entries_n, below | 0x23);
        table = below;
    }
    put(&w, table, below_window / W_PAGE % w.entries_n, 0x1021);
    put(&w, w.roots[1], w.entries_n - 1,
        world_get(&w, &(struct world_table){.at = w.roots[0]}, w.entries_n - 1));
    put(&w, chain(&w, 1, leaf_level), 5, 0x400000a3);
    tables = 2 + 3 * (w.levels - 1) + (leaf_level - 2);
    m = world_gmem(&w);
    in = cc_plan(&w, geom_of(&w), m, roots_of);
    gmem_free(m);
    in.alloc_end = gpa_make(w.tables_at + tables * W_PAGE);
    refused(&w, &in, "no room in scratch for the page tables", "");
    world_free(&w);
}

static void test_limits(void)
{
    tap_case("a large leaf whose small ones need one table too many is refused");
    test_split_without_room(false, 2);
    test_split_without_room(true, 2);
    test_split_without_room(true, 3);
    for (unsigned k = 0; k < 2; k++) {
        unsigned tables = k ? 2 + 6 + 6 : 2 + 2 + 2;
        struct compact_in in;
        struct compact_out out;
        struct world w, new;
        struct gmem *m;

        make(&w, &both[k], 2, 64);
        for (unsigned i = 0; i < 4; i++)
            put(&w, lowest(&w, 0), i, (0x1000 + i * W_PAGE) | 0x23);
        for (unsigned i = 0; i < 3; i++)
            put(&w, lowest(&w, 1), i, (0x6000 + i * W_PAGE) | 0x223);
        m = world_gmem(&w);
        in = cc_plan(&w, geom_of(&w), m, roots_of);
        gmem_free(m);

        geometry_case(&both[k], "tables, placed pages and stored pages may fill their room exactly");
        in.pages_max = 4;
        in.alloc_end = gpa_make(w.tables_at + (tables + 3) * W_PAGE);
        CHECK_EQ(go(&w, &in, &out, &new), 0);
        CHECK_EQ(out.pages_n, 4);
        CHECK_EQ(out.placed_n, 3);
        CHECK_EQ(out.free_gpa.v, in.alloc_end.v);
        done(&out, &new);

        geometry_case(&both[k], "one stored page too many is refused");
        in.pages_max = 3;
        refused(&w, &in, "too many pages are mapped (4, room for 3)", "");
        in.pages_max = 4;

        geometry_case(&both[k], "one placed page too many is refused");
        in.alloc_end.v -= W_PAGE;
        refused(&w, &in, "(3 pages, room for 2)", "");
        in.alloc_end.v = w.tables_at + tables * W_PAGE;
        refused(&w, &in, "(3 pages, room for 0)", "");

        geometry_case(&both[k], "one table too many is refused, wherever the room ends");
        for (unsigned room = 1; room < tables; room++) {
            in.alloc_end.v = w.tables_at + room * W_PAGE;
            in.pages_max = 100;
            refused(&w, &in, "no room in scratch for the page tables", "more than");
        }

        geometry_case(&both[k], "more pages than could ever be placed end the walk");
        in.alloc_end.v = w.tables_at + (k ? 8 : 4) * W_PAGE;
        in.pages_max = 0;
        for (unsigned i = 0; i < 16; i++)
            put(&w, lowest(&w, 0), i, (0x1000 + i * W_PAGE) | 0x23);
        refused(&w, &in,
                k ? "too many pages are mapped (more than 8)" : "too many pages are mapped (more than 4)",
                "");
        world_free(&w);
    }

    tap_case("copying pages that are not there fails with the address");
    {
        struct gpa pages[3] = {{0x1000}, {0x2000}, {0x9000}};
        uint8_t from[0x2000], to[0x3000];
        struct gmem *m = gmem_new();

        memset(from, 0x77, sizeof(from));
        CHECK(gmem_add(m, gpa_make(0x1000), 0x2000, from, false, &e) == 0);
        CHECK_EQ(compact_copy(m, pages, 2, to, &e), 0);
        CHECK(memcmp(from, to, sizeof(from)) == 0);
        memset(to, 0, sizeof(to));
        CHECK_EQ(compact_copy(m, pages, 1, to, &e), 0);
        CHECK(to[PAGE_LEN - 1] == 0x77 && to[PAGE_LEN] == 0);
        CHECK_EQ(compact_copy(m, pages, 0, to, &e), 0);
        CHECK_EQ(compact_copy(m, pages, 3, to, &e), -1);
        CHECK_EQ(e.status, STATUS_IMAGE);
        CHECK_HAS(e.text, "0x9000");
        gmem_free(m);
    }
}

/* Random guests from bytes; every 16th hostile. */
static void test_random(bool is_amd64)
{
    uint64_t random = is_amd64 ? 1 : 2;
    unsigned kept = 0, refused_n = 0, no_room = 0;
    const char *wrong = NULL;

    tap_case(is_amd64
                 ? "amd64: random guests are the same after compaction, after writing, and compacted again"
                 : "i686: random guests are the same after compaction, after writing, and compacted again");
    for (unsigned round = 0; round < 1000 * scale() && wrong == NULL; round++) {
        uint64_t seed = random;
        uint8_t bytes[1600];
        size_t len = 40 + tap_random(&random) % (sizeof(bytes) - 40);
        bool refused;
        struct world w;

        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)tap_random(&random);
        bytes[0] = (uint8_t)((bytes[0] & 0xee) | is_amd64 | (round % 16 == 0 ? 16 : 0));
        world_make(&w, bytes, len);
        wrong = cc_check(&w, geom_of(&w), random, 3, true, &refused, &e);
        if (wrong == NULL && refused && !w.hostile) {
            no_room++;
            if (strstr(e.text, "no room in scratch") == NULL)
                wrong = e.text;
        }
        kept += !refused;
        refused_n += refused && w.hostile;
        world_free(&w);
        if (wrong != NULL)
            printf("# seed 0x%" PRIx64 ": %s\n", seed, wrong);
    }
    CHECK(wrong == NULL);
    CHECK(kept > 900);
    CHECK(refused_n > 20);
    CHECK(no_room < 50);
}

/* A guest that changes its tables while they are compacted. */
struct race {
    _Atomic bool stop;
    struct world *w;
};

static void *scribble(void *arg)
{
    struct race *r = arg;
    struct world *w = r->w;
    uint64_t random = 5;

    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        const struct world_table *t = &w->tables[tap_random(&random) % w->tables_n];
        uint8_t *at = world_page_rw(w, t->at) + tap_random(&random) % w->entries_n * w->entry_len;
        uint64_t to = tap_random(&random) & 1 ? w->tables[tap_random(&random) % w->tables_n].at
                                              : 0x1000 + tap_random(&random) % 64 * W_PAGE;
        uint64_t raw = tap_random(&random) % 4 == 0 ? 0 : to | (tap_random(&random) & 0xf7f);

        if (w->entry_len == 4)
            *(volatile uint32_t *)(void *)at = (uint32_t)raw;
        else
            *(volatile uint64_t *)(void *)at = raw;
    }
    return NULL;
}

static void test_race(void)
{
    for (unsigned k = 0; k < 2; k++) {
        struct race r = {.stop = false};
        struct world w;
        struct gmem *m;
        pthread_t thread;
        uint8_t bytes[1200];
        uint64_t random = 9;
        unsigned made = 0, refused_n = 0;
        bool right = true;

        geometry_case(&both[k],
                      "tables that change meanwhile are refused or give tables that map what they should");
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)tap_random(&random);
        bytes[0] = (uint8_t)(4 | k);
        world_make(&w, bytes, sizeof(bytes));
        r.w = &w;
        m = world_gmem(&w);
        CHECK(pthread_create(&thread, NULL, scribble, &r) == 0);
        for (unsigned i = 0; i < 300 * scale(); i++) {
            struct compact_in in = cc_plan(&w, geom_of(&w), m, roots_of);
            struct compact_out out;
            struct world new;
            struct cc_list l;

            if (compact_make(&in, &out, &e) < 0) {
                refused_n++;
                right = right && e.status == STATUS_IMAGE;
                continue;
            }
            cc_restore(&w, m, &out, &new);
            cc_collect(&new, &l);
            for (size_t j = 0; j < l.n; j++)
                right = right && (l.items[j].marker ||
                                  (l.items[j].pa >= 0x1000 && l.items[j].pa < 0x1000 + out.pages_n * W_PAGE &&
                                   !(l.items[j].raw & 2)) ||
                                  (l.items[j].pa >= w.tables_at && l.items[j].pa < out.free_gpa.v));
            right = right && cc_window(&new) == NULL;
            cc_free(&l);
            world_free(&new);
            compact_free(&out);
            made++;
        }
        atomic_store(&r.stop, true);
        pthread_join(thread, NULL);
        CHECK(right);
        CHECK(made + refused_n == 300 * scale());
        gmem_free(m);
        world_free(&w);
    }
}

int main(void)
{
    test_leaves();
    test_bits();
    test_tables();
    test_window();
    test_large();
    test_refusals();
    test_limits();
    test_random(false);
    test_random(true);
    test_race();
    world_free_all();
    return tap_done();
}
