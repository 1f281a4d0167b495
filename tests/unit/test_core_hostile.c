/*
 * Core files of guests that want them to be large, endless or wrong: whatever
 * the tables hold, a core stays within its limits and says when it met one.
 */
#include "tests/core_guests.h"

static uint64_t most_data(const struct still *s)
{
    return 2 * (s->snap.plan.snapshot_len + s->vm.scratch.len) + CORE_DATA_EXTRA;
}

/* Each entry of `table` from `first` on is `value`. */
static void fill_table(struct still *s, uint64_t table, unsigned first, uint64_t value)
{
    unsigned i;

    for (i = first; i < 1u << s->index_bits; i++)
        store_entry(s, host_of(s, table) + i * s->entry_len, value);
}

static void test_one_page_often(const char *kind)
{
    struct core_file c;
    struct still s;
    const char *text = "";
    uint64_t table, page;
    unsigned level;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT)) {
        page = take_page(&s);
        memset(host_of(&s, page), 0x77, PAGE);
        for (level = 1, table = page; level < s.levels; level++) {
            uint64_t above = take_page(&s);

            fill_table(&s, above, 0, table | 0x63);
            table = above;
        }
        fill_table(&s, s.sregs.cr3, 1, table | 0x23);
        if (write_core(&s, &c)) {
            CHECK_EQ(core_flags(&c, &text), CORE_CUT_SHORT);
            CHECK_HAS(text, "; cut short: more is mapped than a core may hold");
            CHECK_EQ(c.loaded_len, most_data(&s));
            CHECK_EQ(core_read_number(&c, s.levels == 4 ? 1ull << 39 : 4 << 20, 4), 0x77777777);
            /* What was there before the flood is there. */
            CHECK(same_bytes(&s, &c, s.snap.plan.base.v, s.snap.plan.base.v, s.snap.plan.snapshot_len));
            core_close(&c);
        }
    }
    let_go(&s);
}

static void test_many_pieces(const char *kind)
{
    const uint64_t scratch_len = 256 << 20; /* so that the number of pieces is the first limit that is met */
    struct core_file c;
    struct still s;
    const char *text = "", *said;
    uint64_t table, page;
    unsigned i;

    if (stand(&s, kind, scratch_len)) {
        page = take_page(&s);
        table = take_page(&s);
        for (i = 0; i < 1u << s.index_bits; i += 2)
            store_entry(&s, host_of(&s, table) + i * s.entry_len, page | 0x63);
        for (i = 0; i < 300; i++)
            store_entry(&s, entry_of(&s, 0x40000000 + ((uint64_t)i << (12 + s.index_bits)), 2), table | 0x23);
        if (write_core(&s, &c)) {
            CHECK_EQ(core_flags(&c, &text), CORE_CUT_SHORT);
            CHECK_HAS(text, "; cut short: too many separate pieces");
            CHECK_EQ(c.segments_n, CORE_SEGMENTS_MAX);
            if (core_has_gdb()) {
                said = core_ask_gdb(sample_path, core_path,
                                    "-ex 'printf \"FIRST %x\\n\", *(unsigned *)0x40000000'");
                CHECK_HAS(said, "FIRST 0");
            }
            core_close(&c);
        }
    }
    let_go(&s);
}

/* Every entry of the root is the root: 512^4 ways to a few pages. */
static void test_self_map(const char *kind)
{
    struct core_file c;
    struct still s;
    const char *text = "";

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT)) {
        fill_table(&s, s.sregs.cr3, 0, s.sregs.cr3 | 0x23);
        if (write_core(&s, &c)) {
            CHECK_EQ(core_flags(&c, &text), CORE_CUT_SHORT);
            CHECK(c.loaded_len <= most_data(&s));
            core_close(&c);
        }
    }
    let_go(&s);
}

/* Tables without end that map nothing. */
static void test_many_tables(const char *kind)
{
    struct core_file c;
    struct still s;
    const char *text = "";
    uint64_t table, below;
    unsigned level;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT)) {
        below = take_page(&s);
        for (level = 2; level < s.levels; level++) {
            table = take_page(&s);
            fill_table(&s, table, 0, below | 0x23);
            below = table;
        }
        fill_table(&s, s.sregs.cr3, 1, below | 0x23);
        if (write_core(&s, &c)) {
            CHECK_EQ(core_flags(&c, &text), s.levels == 4 ? CORE_CUT_SHORT : 0);
            if (s.levels == 4)
                CHECK_HAS(text, "; cut short: too many page tables");
            CHECK(same_bytes(&s, &c, s.snap.plan.base.v, s.snap.plan.base.v, s.snap.plan.snapshot_len));
            core_close(&c);
        }
    }
    let_go(&s);
}

/* Tables of garbage, most of it plausible, in a scratch that is full of it. */
static void test_garbage(const char *kind, unsigned rounds)
{
    uint64_t seed = 0x636f7265, tables_n, rare, i;
    const uint64_t scratch_len = 0x60000;
    unsigned round, cut = 0, by_tables = 0;
    struct core_file c;
    struct still s;

    if (stand(&s, kind, scratch_len)) {
        for (round = 0; round < rounds; round++) {
            const char *text = "";
            uint32_t flags;

            tables_n = 1 + tap_random(&seed) % 24;
            rare = 4 << tap_random(&seed) % 10;
            for (i = 0; i < scratch_len; i += s.entry_len) {
                uint64_t r = tap_random(&seed), v = 0;

                if (r % rare == 0) /* a table or page of scratch */
                    v = (s.phys_top - scratch_len + (r >> 20) % tables_n * PAGE) | (r >> 40 & 0x1ff) | 1;
                else if (r % (4 * rare) == 1) /* one of the snapshot region */
                    v = (s.snap.plan.base.v + (r >> 20) % 40 * PAGE) | (r >> 40 & 0xfff);
                else if (r % (16 * rare) == 2)
                    v = tap_random(&seed);
                store_entry(&s, s.vm.scratch.base + i, v);
            }
            s.sregs.cr3 = s.phys_top - scratch_len + tap_random(&seed) % tables_n * PAGE;
            s.sregs.cr4 = s.snap.sregs.cr4 ^ (tap_random(&seed) % 2 != 0 ? CR4_PSE : 0);
            s.sregs.efer = s.snap.sregs.efer ^ (s.levels == 4 && tap_random(&seed) % 4 == 0 ? EFER_NXE : 0);
            if (!write_core(&s, &c))
                break;
            flags = core_flags(&c, &text);
            cut += (flags & CORE_CUT_SHORT) != 0;
            by_tables += (flags & CORE_BY_PHYSICAL) == 0;
            if (c.loaded_len > most_data(&s) || c.segments_n > CORE_SEGMENTS_MAX)
                CHECK(!"a core of garbage is within its limits");
            core_close(&c);
        }
        CHECK_EQ(round, rounds);
        CHECK(by_tables > rounds / 2); /* or the garbage was no test */
        printf("# %u of %u by tables, %u cut short\n", by_tables, rounds, cut);
    }
    let_go(&s);
}

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");
    unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 1;

    return n > 0 && n < 100000 ? (unsigned)n : 1;
}

int main(void)
{
    const struct guest_kind *k;
    unsigned i;

    if (!make_folder())
        return 1;
    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        if (k->geom == NULL)
            continue;
        CASE("%s: one page mapped everywhere does not fill the disk", k->name);
        test_one_page_often(k->name);
        CASE("%s: more pieces than program headers are cut short", k->name);
        test_many_pieces(k->name);
        CASE("%s: a root that maps itself is cut short", k->name);
        test_self_map(k->name);
        CASE("%s: tables without end that map nothing end", k->name);
        test_many_tables(k->name);
        CASE("%s: tables of garbage give a core within its limits", k->name);
        test_garbage(k->name, 60 * scale());
    }
    remove_folder();
    return tap_done();
}
