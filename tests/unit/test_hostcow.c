/*
 * Tables for a host that copies on write, made of tables that are written by
 * hand here: which leaves become writable, of which page, and what stays.
 */
#include "paging/hostcow.h"

#include <string.h>

#include "mem/bytes.h"
#include "mem/num.h"
#include "tests/tap.h"

#define TABLES_AT 0xfe000000u
#define PAGES_AT  0x1000u
#define EXTRA_AT  0x40000u
#define PAGES_N   16u

/* ABI 1.4: i686 and amd64 leaves; D is bit 6, CoW bit 9. */
#define P   0x001u
#define RW  0x002u
#define US  0x004u
#define A   0x020u
#define D   0x040u
#define COW 0x200u

static uint8_t tables[4][4096] __attribute__((aligned(4096)));

static void put(unsigned table, unsigned index, uint32_t entry)
{
    store_le32(tables[table] + (size_t)4 * index, entry);
}

static uint32_t page(unsigned i)
{
    return PAGES_AT + i * 4096;
}

static struct hostcow_in input(const struct region *r, const struct gpa *roots, unsigned roots_n)
{
    return (struct hostcow_in){
        .geom = &geom_i686,
        .mode = {.wp = true, .phys_bits = 32},
        .tables = r,
        .tables_gpa = gpa_make(TABLES_AT),
        .roots = roots,
        .roots_n = roots_n,
        .pages_gpa = gpa_make(PAGES_AT),
        .pages_n = PAGES_N,
        .extra_gpa = gpa_make(EXTRA_AT),
    };
}

static uint32_t got(const struct hostcow *h, unsigned table, unsigned index)
{
    return load_le32(h->tables.base + (size_t)table * 4096 + (size_t)4 * index);
}

/* Two roots that share table 2; root 1 has table 3 for itself. */
static void test_leaves(void)
{
    const struct gpa roots[] = {gpa_make(TABLES_AT), gpa_make(TABLES_AT + 4096)};
    const struct region r = {tables[0], sizeof(tables)};
    const struct hostcow_in in = input(&r, roots, 2);
    static uint8_t before[sizeof(tables)];
    struct hostcow h;
    struct err e = {.text = ""};
    unsigned i;

    tap_case("a leaf becomes writable in place, or of a page of its own, or stays as it is");
    memset(tables, 0, sizeof(tables));
    put(0, 0, (TABLES_AT + 2 * 4096) | P | RW | US | A);
    put(1, 0, (TABLES_AT + 2 * 4096) | P | RW | US | A);
    put(1, 5, (TABLES_AT + 3 * 4096) | P | RW | US | A);
    put(0, 9, 0x70000000 | P | RW); /* leads nowhere */
    put(2, 1, page(1) | P | A | COW);
    put(2, 2, page(2) | P | A | US);       /* read-only, alone */
    put(2, 3, page(3) | P | A | COW | US); /* with a read-only leaf */
    put(3, 3, page(3) | P | A);
    put(2, 4, page(4) | P | A | COW); /* with another CoW leaf */
    put(3, 1023, page(4) | P | A | COW);
    put(2, 6, (TABLES_AT + 0x100000) | P | A | COW); /* outside the snapshot region */
    put(2, 7, 0xfe200000 | P | RW | A | D);          /* the window */
    put(2, 8, page(8) | A | COW);                    /* not present */
    put(2, 9, page(9) | P | A | COW | 0x400);        /* other marks: not CoW */
    put(2, 10, page(PAGES_N) | P | A | COW);         /* the first page behind */
    put(2, 11, page(0) | P | A | COW);
    memcpy(before, tables, sizeof(before));
    if (!CHECK(hostcow_make(&in, &h, &e) == 0))
        return;
    CHECK(memcmp(before, tables, sizeof(before)) == 0);
    CHECK_EQ(h.extra_n, 3);
    CHECK_EQ(got(&h, 2, 1), page(1) | P | RW | A | D);
    CHECK_EQ(got(&h, 2, 3), EXTRA_AT | P | RW | A | D | US);
    CHECK_EQ(got(&h, 3, 3), page(3) | P | A);
    CHECK_EQ(got(&h, 2, 4), (EXTRA_AT + 4096) | P | RW | A | D);
    CHECK_EQ(got(&h, 3, 1023), (EXTRA_AT + 2 * 4096) | P | RW | A | D);
    CHECK_EQ(got(&h, 2, 11), page(0) | P | RW | A | D);
    if (h.extra_n == 3) {
        CHECK_EQ(h.sources[0], 3);
        CHECK_EQ(h.sources[1], 4);
        CHECK_EQ(h.sources[2], 4);
    }
    for (i = 0; i < sizeof(tables) / 4; i++) {
        static const unsigned changed[] = {2 * 1024 + 1, 2 * 1024 + 3, 2 * 1024 + 4, 3 * 1024 + 1023,
                                           2 * 1024 + 11};
        unsigned j, is = 0;

        for (j = 0; j < sizeof(changed) / sizeof(changed[0]); j++)
            is += changed[j] == i;
        if (is == 0 && !CHECK_EQ(load_le32(h.tables.base + (size_t)4 * i), load_le32(before + (size_t)4 * i)))
            break;
    }
    hostcow_free(&h);
    hostcow_free(&h);
}

static void test_levels(void)
{
    const struct gpa root = gpa_make(TABLES_AT);
    const struct region r = {tables[0], sizeof(tables)};
    const struct hostcow_in in = input(&r, &root, 1);
    struct hostcow h;
    struct err e = {.text = ""};

    tap_case("a table that is used at two levels is refused by its address");
    memset(tables, 0, sizeof(tables));
    put(0, 3, TABLES_AT | P | RW | US | A);
    CHECK(hostcow_make(&in, &h, &e) == -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_STR(e.text, "snapshot: a page table is used at two levels (0xfe000000)");
}

int main(void)
{
    test_leaves();
    test_levels();
    return tap_done();
}
