/*
 * paging/geom and paging/pte: the data of both geometries against the manual,
 * and what one entry means. The whole sweep over entry bits is in test_walk.
 */
#include "paging/geom.h"

#include "paging/pte.h"
#include "tests/tap.h"

static const struct pt_geom *const geoms[] = {&geom_i686, &geom_amd64};

static const struct pt_mode plain = {.nxe = true, .wp = true, .phys_bits = 36};

static void test_shapes(void)
{
    tap_case("i686 has two levels of 1024 entries of 4 bytes, amd64 four of 512 of 8");
    CHECK_STR(geom_i686.name, "i686");
    CHECK_EQ(geom_i686.levels, 2);
    CHECK_EQ(geom_i686.entry_len, 4);
    CHECK_EQ(geom_i686.entries_n, 1024);
    CHECK_EQ(geom_i686.va_bits, 32);
    CHECK_EQ(geom_i686.entry_mask, 0xffffffff);
    CHECK_EQ(geom_i686.pa_end, 0x100000000);
    CHECK_STR(geom_amd64.name, "amd64");
    CHECK_EQ(geom_amd64.levels, 4);
    CHECK_EQ(geom_amd64.entry_len, 8);
    CHECK_EQ(geom_amd64.entries_n, 512);
    CHECK_EQ(geom_amd64.va_bits, 48);
    CHECK_EQ(geom_amd64.entry_mask, UINT64_MAX);
    CHECK_EQ(geom_amd64.pa_end, 0x10000000000000);

    tap_case("a table fills a page, and the levels together cover the address bits");
    for (unsigned k = 0; k < 2; k++) {
        const struct pt_geom *g = geoms[k];

        CHECK_EQ(g->entries_n * g->entry_len, PAGE_LEN);
        CHECK_EQ(g->entries_n, 1u << g->index_bits);
        CHECK_EQ(g->level[1].shift, PAGE_SHIFT);
        for (unsigned level = 2; level <= g->levels; level++)
            CHECK_EQ(g->level[level].shift, g->level[level - 1].shift + g->index_bits);
        CHECK_EQ(g->level[g->levels].shift + g->index_bits, g->va_bits);
        CHECK(g->levels <= PT_LEVELS_MAX && g->entries_n <= PT_ENTRIES_MAX);
    }
}

static void test_addresses(void)
{
    tap_case("an address is cut into indexes as the manual cuts it");
    CHECK_EQ(geom_index(&geom_i686, 2, gva_make(0xffc01000)), 1023);
    CHECK_EQ(geom_index(&geom_i686, 1, gva_make(0xffc01000)), 1);
    CHECK_EQ(geom_index(&geom_amd64, 4, gva_make(0xffffff8040201000)), 511);
    CHECK_EQ(geom_index(&geom_amd64, 3, gva_make(0xffffff8040201000)), 1);
    CHECK_EQ(geom_index(&geom_amd64, 2, gva_make(0xffffff8040201000)), 1);
    CHECK_EQ(geom_index(&geom_amd64, 1, gva_make(0xffffff8040201000)), 1);
    CHECK_EQ(geom_entry_span(&geom_i686, 2), 0x400000);
    CHECK_EQ(geom_entry_span(&geom_amd64, 4), 0x8000000000);

    tap_case("amd64 addresses repeat bit 47, i686 addresses have 32 bits");
    CHECK_EQ(geom_canonical(&geom_amd64, 0x800000000000).v, 0xffff800000000000);
    CHECK_EQ(geom_canonical(&geom_amd64, 0x7fffffffffff).v, 0x7fffffffffff);
    CHECK_EQ(geom_canonical(&geom_amd64, 0x1234000000001000).v, 0x1000);
    CHECK_EQ(geom_canonical(&geom_i686, 0x180000000).v, 0x80000000);
    CHECK(geom_is_canonical(&geom_amd64, gva_make(0xffff800000000000)));
    CHECK(!geom_is_canonical(&geom_amd64, gva_make(0x800000000000)));
    CHECK(!geom_is_canonical(&geom_amd64, gva_make(0xffff7fffffffffff)));
    CHECK(geom_is_canonical(&geom_i686, gva_make(0xffffffff)));
    CHECK(!geom_is_canonical(&geom_i686, gva_make(0x100000000)));

    tap_case("a range may end at the top and at the hole, but not wrap, cross or be empty");
    CHECK(geom_has_range(&geom_i686, gva_make(0xfffff000), 0x1000));
    CHECK(!geom_has_range(&geom_i686, gva_make(0xfffff000), 0x1001));
    CHECK(geom_has_range(&geom_i686, gva_make(0), 0x100000000));
    CHECK(!geom_has_range(&geom_i686, gva_make(0), 0));
    CHECK(geom_has_range(&geom_i686, gva_make(0xffffffff), 1));
    CHECK(geom_has_range(&geom_amd64, gva_make(0xfffffffffffff000), 0x1000));
    CHECK(!geom_has_range(&geom_amd64, gva_make(0xfffffffffffff000), 0x1001));
    CHECK(geom_has_range(&geom_amd64, gva_make(0x7ffffffff000), 0x1000));
    CHECK(!geom_has_range(&geom_amd64, gva_make(0x7ffffffff000), 0x1001));
    CHECK(!geom_has_range(&geom_amd64, gva_make(0x7ffffffff000), 0xffff000000002000));
    CHECK(!geom_has_range(&geom_amd64, gva_make(0x800000000000), 0x1000));
    CHECK(geom_has_range(&geom_amd64, gva_make(0xffff800000000000), 0x800000000000));

    tap_case("a range holds and touches what it should, at the very top too");
    {
        const struct va_range r = {gva_make(0xfffffffffffef000), 0x10000}, none = {gva_make(0), 0};

        CHECK(va_range_holds(&r, gva_make(0xfffffffffffff000 - 1), 1));
        CHECK(!va_range_holds(&r, gva_make(0xfffffffffffff000), 1));
        CHECK(!va_range_holds(&r, gva_make(0xfffffffffffef000 - 1), 2));
        CHECK(!va_range_holds(&r, gva_make(0xfffffffffffef000), 0x10001));
        CHECK(va_range_holds(&r, gva_make(0xfffffffffffef000), 0x10000));
        CHECK(va_range_touches(&r, gva_make(0xfffffffffffef000 - 1), 2));
        CHECK(!va_range_touches(&r, gva_make(0xfffffffffffef000 - 1), 1));
        CHECK(va_range_touches(&r, gva_make(0xffffffffffffe000), 0x2000));
        CHECK(va_range_touches(&r, gva_make(0xfffffffffffff000 - 1), 1));
        CHECK(!va_range_touches(&r, gva_make(0xfffffffffffff000), 0x1000));
        CHECK(!va_range_holds(&none, gva_make(0), 1));
        CHECK(!va_range_touches(&none, gva_make(0), 1));
    }
}

static void test_making(void)
{
    const struct gpa at = {0x5000};

    tap_case("made entries have the values of the guest ABI");
    CHECK_EQ(pte_make_pointer(&geom_amd64, at, false), 0x5023);
    CHECK_EQ(pte_make_pointer(&geom_amd64, at, true), 0x5027);
    CHECK_EQ(pte_make_pointer(&geom_i686, at, false), 0x5027);
    CHECK_EQ(pte_make_pointer(&geom_i686, at, true), 0x5027);
    CHECK_EQ(pte_make_leaf(&geom_amd64, 1, at, PT_EXEC), 0x5061);
    CHECK_EQ(pte_make_leaf(&geom_amd64, 1, at, PT_WRITE | PT_EXEC), 0x5063);
    CHECK_EQ(pte_make_leaf(&geom_amd64, 1, at, PT_COW | PT_EXEC), 0x5261);
    CHECK_EQ(pte_make_leaf(&geom_amd64, 1, at, 0), 0x8000000000005061);
    CHECK_EQ(pte_make_leaf(&geom_amd64, 1, at, PT_COW | PT_USER), 0x8000000000005265);
    CHECK_EQ(pte_make_leaf(&geom_i686, 1, at, 0), 0x5021);
    CHECK_EQ(pte_make_leaf(&geom_i686, 1, at, PT_EXEC), 0x5021);
    CHECK_EQ(pte_make_leaf(&geom_i686, 1, at, PT_WRITE), 0x5023);
    CHECK_EQ(pte_make_leaf(&geom_i686, 1, at, PT_COW), 0x5221);
    CHECK_EQ(pte_make_leaf(&geom_i686, 1, at, PT_WRITE | PT_USER), 0x5027);
    CHECK_EQ(pte_make_leaf(&geom_i686, 2, gpa_make(0x400000), PT_WRITE), 0x4000a3);
    CHECK_EQ(pte_make_leaf(&geom_amd64, 3, gpa_make(0x40000000), PT_EXEC), 0x400000e1);

    tap_case("an entry is stored in as many bytes as it has");
    {
        uint8_t bytes[8] = {9, 9, 9, 9, 9, 9, 9, 9};

        pte_store(&geom_i686, bytes, 0x12345678);
        CHECK_EQ(bytes[0], 0x78);
        CHECK_EQ(bytes[4], 9);
        CHECK_EQ(pte_load(&geom_i686, bytes), 0x12345678);
        pte_store(&geom_amd64, bytes, 0x8877665544332211);
        CHECK_EQ(bytes[0], 0x11);
        CHECK_EQ(pte_load(&geom_amd64, bytes), 0x8877665544332211);
    }
}

static void test_decoding(void)
{
    struct pt_mode pse = {.pse = true, .wp = true, .phys_bits = 36};
    struct pt_mode wide = {.nxe = true, .wp = true, .page1g = true, .phys_bits = 52};
    struct pte p;

    tap_case("an entry without P is absent whatever else it holds, and keeps it");
    for (unsigned k = 0; k < 2; k++) {
        p = pte_decode(geoms[k], 1, plain, 0xfffffffe);
        CHECK(p.kind == PTE_ABSENT);
        CHECK_EQ(p.other, 0xfffffffe);
        CHECK_EQ(p.pa.v, 0);
        CHECK_EQ(p.len, 0);
        CHECK_EQ(p.rights, 0);
    }

    tap_case("a leaf tells its page, rights and the bits that are neither");
    p = pte_decode(&geom_i686, 1, plain, 0xabcde1bf);
    CHECK(p.kind == PTE_LEAF);
    CHECK_EQ(p.pa.v, 0xabcde000);
    CHECK_EQ(p.len, 0x1000);
    CHECK_EQ(p.rights, PT_WRITE | PT_USER | PT_EXEC);
    CHECK_EQ(p.other, PTE_PWT | PTE_PCD | PTE_PAT | PTE_G);
    p = pte_decode(&geom_amd64, 1, plain, 0xfff0000000001061);
    CHECK(p.kind == PTE_LEAF);
    CHECK_EQ(p.pa.v, 0x1000);
    CHECK_EQ(p.rights, 0);
    CHECK_EQ(p.other, 0x7ff0000000000040);

    tap_case("a leaf is copy-on-write if bit 9 is set, 10, 11 and RW are clear, and only then");
    for (unsigned avl = 0; avl < 8; avl++)
        for (unsigned rw = 0; rw < 2; rw++) {
            p = pte_decode(&geom_i686, 1, plain, 0x1021 | avl << 9 | rw << 1);
            CHECK_EQ((p.rights & PT_COW) != 0, avl == 1 && !rw);
            CHECK_EQ((p.rights & PT_WRITE) != 0, rw);
            CHECK_EQ(p.other, avl == 1 && !rw ? 0 : avl << 9);
        }

    tap_case("a pointer is never copy-on-write and keeps its marks");
    p = pte_decode(&geom_i686, 2, plain, 0x1225);
    CHECK(p.kind == PTE_TABLE);
    CHECK_EQ(p.pa.v, 0x1000);
    CHECK_EQ(p.len, 0);
    CHECK_EQ(p.rights, PT_USER | PT_EXEC);
    CHECK_EQ(p.other, 0x200);

    tap_case("PS makes a 4 MiB leaf with CR4.PSE and is ignored without it");
    p = pte_decode(&geom_i686, 2, plain, 0x4000e3);
    CHECK(p.kind == PTE_TABLE);
    CHECK_EQ(p.pa.v, 0x400000);
    CHECK_EQ(p.other, PTE_PS | PTE_D);
    p = pte_decode(&geom_i686, 2, pse, 0x4010e3);
    CHECK(p.kind == PTE_LEAF);
    CHECK_EQ(p.pa.v, 0x400000);
    CHECK_EQ(p.len, 0x400000);
    CHECK_EQ(p.other, PTE_PAT_LARGE | PTE_D);

    tap_case("a 4 MiB leaf has address bits 32 up to MAXPHYADDR in 13 and up, the rest is reserved");
    p = pte_decode(&geom_i686, 2, pse, 0x41e083);
    CHECK(p.kind == PTE_LEAF);
    CHECK_EQ(p.pa.v, 0xf00400000);
    CHECK(pte_decode(&geom_i686, 2, pse, 0x420083).kind == PTE_MALFORMED);
    CHECK(pte_decode(&geom_i686, 2, pse, 0x600083).kind == PTE_MALFORMED);
    pse.phys_bits = 40;
    CHECK_EQ(pte_decode(&geom_i686, 2, pse, 0x5fe083).pa.v, 0xff00400000);
    CHECK(pte_decode(&geom_i686, 2, pse, 0x200083).kind == PTE_MALFORMED);

    tap_case("PS makes 2 MiB leaves always, 1 GiB leaves where the CPU has them, and no larger ones");
    p = pte_decode(&geom_amd64, 2, plain, 0x2010e3);
    CHECK(p.kind == PTE_LEAF);
    CHECK_EQ(p.pa.v, 0x200000);
    CHECK_EQ(p.len, 0x200000);
    CHECK(pte_decode(&geom_amd64, 3, plain, 0x400000e3).kind == PTE_MALFORMED);
    p = pte_decode(&geom_amd64, 3, wide, 0x400010e3);
    CHECK(p.kind == PTE_LEAF);
    CHECK_EQ(p.len, 0x40000000);
    CHECK_EQ(p.other, PTE_PAT_LARGE | PTE_D);
    CHECK(pte_decode(&geom_amd64, 4, wide, 0x400000e3).kind == PTE_MALFORMED);

    tap_case(
        "reserved bits make an entry malformed: misaligned large pages, addresses too wide, NX without NXE");
    CHECK(pte_decode(&geom_amd64, 2, plain, 0x2020e3).kind == PTE_MALFORMED);
    CHECK(pte_decode(&geom_amd64, 3, wide, 0x60000083).kind == PTE_MALFORMED);
    CHECK(pte_decode(&geom_amd64, 1, plain, 0x1000000001).kind == PTE_MALFORMED);
    CHECK(pte_decode(&geom_amd64, 1, plain, 0x0800000001).kind == PTE_LEAF);
    CHECK(pte_decode(&geom_amd64, 1, wide, 0xfffffffff0001).kind == PTE_LEAF);
    CHECK(pte_decode(&geom_amd64, 4, plain, 0x1000000001).kind == PTE_MALFORMED);
    wide.nxe = false;
    p = pte_decode(&geom_amd64, 1, wide, 0x8000000000001001);
    CHECK(p.kind == PTE_MALFORMED);
    CHECK_EQ(p.other, 0x8000000000001001);
    CHECK_EQ(p.pa.v, 0);
    CHECK(pte_decode(&geom_amd64, 1, wide, 0x7ff0000000001001).kind == PTE_LEAF);

    tap_case("bits that a 4-byte entry cannot have make it malformed");
    CHECK(pte_decode(&geom_i686, 1, plain, 0x100001001).kind == PTE_MALFORMED);
}

static void test_rights(void)
{
    tap_case("rights along a path are the AND of its entries, and copy-on-write needs the right to write");
    CHECK_EQ(pte_rights_and(PT_RIGHTS_ALL, PT_COW | PT_USER | PT_EXEC), PT_COW | PT_USER | PT_EXEC);
    CHECK_EQ(pte_rights_and(PT_WRITE | PT_EXEC, PT_RIGHTS_ALL), PT_WRITE | PT_EXEC);
    CHECK_EQ(pte_rights_and(PT_WRITE | PT_USER, PT_COW | PT_USER | PT_EXEC), PT_COW | PT_USER);
    CHECK_EQ(pte_rights_and(PT_USER | PT_EXEC, PT_RIGHTS_ALL), PT_USER | PT_EXEC);
    CHECK_EQ(pte_rights_and(PT_USER | PT_EXEC, PT_COW | PT_EXEC), PT_EXEC);
    CHECK_EQ(pte_rights_and(0, PT_RIGHTS_ALL), 0);
}

int main(void)
{
    test_shapes();
    test_addresses();
    test_making();
    test_decoding();
    test_rights();
    return tap_done();
}
