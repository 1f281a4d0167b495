/*
 * boot/snapdecode and boot/snapcheck: heads of snapshot files of every kind,
 * written and read back; every byte of them changed; and every field set to
 * what it must not be, with all checksums right, so that the field's own check
 * has to notice.
 */
#include "boot/snapdecode.h"

#include "boot/snapcheck.h"
#include "tests/unit/snap_heads.h"

/* Start again from the head of the sample of that kind. */
static bool take(const char *kind)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        if (strcmp(k->name, kind) == 0) {
            snapshot_free(&sample);
            if (!CHECK(sample_make(k, true, &sample)))
                return false;
            take_head();
            return true;
        }
    }
    return false;
}

/* Offsets of fields inside the sections of format 1. */
#define PLAN_FIELD(n) (16 + 8 * (n))
#define SEGMENT(s, n) (8 * (11 * (s) + (n))) /* cs ds es fs gs ss tr ldt */
#define GDT           (8 * 88)
#define CONTROL(n)    (8 * (92 + (n)))
#define MSR(n)        (8 * (106 + 2 * (n)))

static void test_round_trip(const struct guest_kind *k)
{
    char name[128];
    bool captured;
    unsigned i;

    for (i = 0; i < 2; i++) {
        struct snapfile_info info;
        struct snapshot s;

        captured = i == 1;
        snprintf(name, sizeof(name), "the head of %s %s guest is read as it was written",
                 captured ? "a captured" : "a new", k->name);
        tap_case(name);
        snapshot_free(&sample);
        if (!CHECK(sample_make(k, captured, &sample)))
            return;
        CHECK(sample_keeps_promises(&sample));
        file_len = sample_head(&sample, head);
        if (CHECK_EQ(decode(&s, &info), 0)) {
            CHECK(sample_same_fields(&s, &sample));
            CHECK_EQ(s.memory.len + s.tables.len + s.placed.len, 0);
            CHECK_STR(info.producer, "the tests");
            CHECK_EQ(info.created_ns, 1234567890123);
            CHECK_EQ(info.format, 1);
            CHECK_EQ(info.min_reader, 1);
            CHECK_STR(info.cpu.vendor, "GenuineGuest");
            CHECK_EQ(info.cpu.signature, 0x123456);
            CHECK(!info.other_cpu);
            CHECK_EQ(info.file_len, file_len);
            CHECK_EQ(info.sections_n, 6 + (sample.plan.pt_len != 0) + (sample.plan.placed_len != 0));
            CHECK_EQ(snap_section(&info, SNAP_MEMORY)->off, 0x10000);
            CHECK_EQ(snap_section(&info, SNAP_MEMORY)->len, sample.plan.snapshot_len);
            CHECK_STR(snap_section(&info, SNAP_PLAN)->name, "PLAN");
            CHECK_EQ(snap_section(&info, SNAP_CPU)->len, MSR(sample.msrs_n));
            CHECK_EQ(snap_section(&info, SNAP_ROOTS)->len, 16 + 8 * sample.roots_n);
        } else {
            printf("# %s\n", e.text);
        }
    }
}

/* Each byte of header, table and small sections; of the zeros behind them some. */
static void test_flips(const char *kind)
{
    char name[128];

    snprintf(name, sizeof(name), "no changed byte in the head of an %s guest goes unnoticed", kind);
    tap_case(name);
    if (!take(kind))
        return;
    check_flips();
}

/* --- one field wrong, all checksums right ------------------------------------------------------------------ */

struct wrong {
    const char *kind;
    unsigned section; /* 0: header, 99: table entry of section `at / 100` */
    unsigned at;
    uint64_t value;
    const char *says;
};

enum { PLAN = 1, CPU, ROOTS, COMPAT, MEMORY, TABLES, PLACED, CHUNKS };

static const struct wrong wrongs[] = {
    {"amd64", 0, 0, 0x464c457f, "not a snapshot file"},
    {"amd64", 0, 8, 0x200000002, "format 2 is for readers of format 2"},
    {"amd64", 0, 8, 0x300000002, "format 2 is for readers of format 3"},
    {"amd64", 0, 8, 0, "no format 0"},
    {"amd64", 0, 8, 1, "no format 1 for readers of format 0"},
    {"amd64", 0, 8, 0x100000000, "no format 0"},
    {"amd64", 0, 16, 0x1000000002000, "header length"},
    {"amd64", 0, 16, 0x200000001000, "page length"},
    {"amd64", 0, 24, 1, "flags"},
    {"amd64", 0, 32, 0x20000, "something was added"},
    {"amd64", 0, 32, UINT64_MAX, "truncated"},
    {"amd64", 0, 40, 4096, "the head cannot be of this length"},
    {"amd64", 0, 40, 0x100001, "the head cannot be of this length"},
    {"amd64", 0, 40, UINT64_MAX, "the head cannot be of this length"},
    {"amd64", 0, 40, 0xfff8, "another head length"},
    {"amd64", 0, 48, 32, "section PLAN: overlaps"},
    {"amd64", 0, 48, 33, "too many sections"},
    {"amd64", 0, 48, UINT32_MAX, "too many sections"},
    {"amd64", 0, 48, 0, "no section reaches the end"},
    {"amd64", 0, 48, 7, "section PLAN: there is something in front"},
    {"amd64", 0, 64, 0x1b5b1b5b1b5b1b5b, "producer is not text"},
    {"amd64", 0, 64, 0x7e7e7e7e7e7e7e7e, ""},
    {"amd64", 0, 96, 1, "the header holds something"},
    {"amd64", 0, 4080, 1, "the header holds something"},

    {"i686", PLAN, 0, 0x6465676172, "no such kind of guest (\"raged\")"},
    {"i686", PLAN, 0, 0x783638366936, "no such kind of guest"},
    {"i686", PLAN, 0, 0x1b, "kind is not text"},
    {"i686", PLAN, PLAN_FIELD(0), 0x4001, "section PLAN: layout: input stack"},
    {"i686", PLAN, PLAN_FIELD(0), UINT64_MAX, "section PLAN: layout: input stack"},
    {"i686", PLAN, PLAN_FIELD(2), 0xfedb8000, "overlaps scratch"},
    {"i686", PLAN, PLAN_FIELD(3), 0x1000, "section PLAN: layout: scratch is too small"},
    {"i686", PLAN, PLAN_FIELD(3), 0x49000, "section PLAN: scratch: not where"},
    {"i686", PLAN, PLAN_FIELD(5), 0x5000, ""}, /* not looked at while the base is the default one */
    {"i686", PLAN, PLAN_FIELD(6), 0, "the image is empty"},
    {"i686", PLAN, PLAN_FIELD(6), UINT64_MAX, "wraps around"},
    {"i686", PLAN, PLAN_FIELD(7), 2, "sizes.image_fixed is too large"},
    {"i686", PLAN, PLAN_FIELD(7), 1, "the image starts at 0x0"},
    {"i686", PLAN, PLAN_FIELD(8), 2, "sizes.apic is too large"},
    {"i686", PLAN, PLAN_FIELD(9), 0x2000, "snapshot region: not where"},
    {"i686", PLAN, PLAN_FIELD(10), 0, "not a multiple of 4K"},
    {"i686", PLAN, PLAN_FIELD(10), SAMPLE_MEMORY_LEN + 1, "not a multiple of 4K"},
    {"i686", PLAN, PLAN_FIELD(10), SAMPLE_MEMORY_LEN + 0x1000, "length of section MEMORY"},
    {"i686", PLAN, PLAN_FIELD(10), 0xfffffffffffff000, "do not fit below scratch"},
    {"i686", PLAN, PLAN_FIELD(11), 0, "PEB: not where"},
    {"i686", PLAN, PLAN_FIELD(12), 0, "heap: not where"},
    {"i686", PLAN, PLAN_FIELD(13), 0, "init data: not where"},
    {"i686", PLAN, PLAN_FIELD(14), 0, "scratch: not where"},
    {"i686", PLAN, PLAN_FIELD(15), 0, "scratch as the guest sees it: not"},
    {"i686", PLAN, PLAN_FIELD(16), 0, "output stack: not where"},
    {"i686", PLAN, PLAN_FIELD(17), 0, "page tables: not where"},
    {"i686", PLAN, PLAN_FIELD(18), 0xfffffffffffff000, "do not fit scratch"},
    {"i686", PLAN, PLAN_FIELD(18), 0, "free memory: not where"},
    {"i686", PLAN, PLAN_FIELD(19), 0xfffffffffffff000, "do not fit scratch"},
    {"i686", PLAN, PLAN_FIELD(20), 0, "free memory: not where"},
    {"i686-identity", PLAN, PLAN_FIELD(10), SAMPLE_MEMORY_LEN, "cannot have these lengths"},
    {"i686-identity", PLAN, PLAN_FIELD(18), 0x1000, "cannot have these lengths"},
    {"i686-identity", PLAN, PLAN_FIELD(19), 0x1000, "cannot have these lengths"},

    {"i686", CPU, SEGMENT(0, 0), 0x100000000, "cs.base cannot be"},
    {"i686", CPU, SEGMENT(0, 1), 0x100000000, "cs.limit is too large"},
    {"i686", CPU, SEGMENT(1, 2), 0x10000, "ds.selector is too large"},
    {"i686", CPU, SEGMENT(2, 3), 16, "es.type is too large"},
    {"i686", CPU, SEGMENT(3, 4), 4, "fs.dpl is too large"},
    {"i686", CPU, SEGMENT(7, 10), 2, "ldt.avl is too large"},
    {"i686", CPU, SEGMENT(0, 8), 1, "cs.l cannot be"},
    {"amd64", CPU, SEGMENT(0, 8), 0, "cs.l cannot be"},
    {"amd64", CPU, SEGMENT(0, 7), 1, "cs.l cannot be"},
    {"amd64", CPU, SEGMENT(4, 0), 0x800000000000, "gs.base cannot be"},
    {"i686", CPU, SEGMENT(5, 0), UINT64_MAX, "ss.base cannot be"},
    {"i686", CPU, SEGMENT(6, 0), UINT64_MAX, "tr.base cannot be"},
    {"i686", CPU, SEGMENT(7, 0), UINT64_MAX, "ldt.base cannot be"},
    {"i686-identity", CPU, GDT, 0x100000000, "gdt.base cannot be"},
    {"i686-identity", CPU, GDT, 0xffffffff, ""},
    {"i686-identity", CPU, GDT + 8, 0x10000, "gdt.limit is too large"},
    {"i686-identity", CPU, GDT + 16, 0x100000000, "idt.base cannot be"},
    {"i686-identity", CPU, GDT + 24, 0x10000, "idt.limit is too large"},
    {"i686", CPU, CONTROL(0), 0x00010011, "cr0 cannot be"},          /* without PG */
    {"i686", CPU, CONTROL(0), 0x80000011, "cr0 cannot be"},          /* without WP */
    {"i686", CPU, CONTROL(0), 0x80010010, "cr0 cannot be"},          /* without PE */
    {"i686", CPU, CONTROL(0), 0xa0010011, "cr0 cannot be"},          /* NW without CD */
    {"i686", CPU, CONTROL(0), 0x180010011, "cr0 cannot be"},         /* bit 32 */
    {"i686", CPU, CONTROL(0), 0x80010051, "cr0 cannot be"},          /* bit 6 */
    {"i686-identity", CPU, CONTROL(0), 0x80000011, "cr0 cannot be"}, /* with PG */
    {"i686-identity", CPU, CONTROL(0), 0x60000011, ""},              /* caches off */
    {"i686", CPU, CONTROL(1), 0x100000000, "cr2 cannot be"},
    {"i686", CPU, CONTROL(1), 0xffffffff, ""},
    {"amd64", CPU, CONTROL(1), 0x8000000000000000, ""},
    {"amd64", CPU, CONTROL(2), 0, "cr3 is not in the page tables"},
    {"i686-identity", CPU, CONTROL(2), 0x100000000, "cr3 cannot be"},
    {"i686-identity", CPU, CONTROL(2), 0xffffffff, ""},
    {"i686", CPU, CONTROL(3), 0x20, "cr4 cannot be"},    /* PAE */
    {"amd64", CPU, CONTROL(3), 0x600, "cr4 cannot be"},  /* without PAE */
    {"amd64", CPU, CONTROL(3), 0x1620, "cr4 cannot be"}, /* LA57 */
    {"amd64", CPU, CONTROL(3), 0x2620, "cr4 cannot be"}, /* VMXE */
    {"amd64", CPU, CONTROL(3), 0x100000620, "cr4 cannot be"},
    {"amd64", CPU, CONTROL(4), 16, "cr8 is too large"},
    {"amd64", CPU, CONTROL(5), 0x801, "efer cannot be"},
    {"amd64", CPU, CONTROL(5), 0x1d01, "efer cannot be"}, /* SVME */
    {"i686", CPU, CONTROL(5), 0x100, "efer cannot be"},
    {"amd64", CPU, CONTROL(6), 0xfee00d00, "x2APIC on (APIC base 0xfee00d00)"},
    {"amd64", CPU, CONTROL(6), 0xfee00901, "apic_base cannot be"},
    {"amd64", CPU, CONTROL(6), 0x10fee00900, "apic_base cannot be"},
    {"i686", CPU, CONTROL(6), 0x1fee00900, "apic_base cannot be"},
    {"amd64", CPU, CONTROL(7), 2, "takes_calls is too large"},
    {"i686", CPU, CONTROL(8), 0x100000000, "entry cannot be"},
    {"amd64", CPU, CONTROL(8), 0x800000000000, "entry cannot be"},
    {"i686", CPU, CONTROL(9), 0x100000000, "peb cannot be"},
    {"i686", CPU, CONTROL(10), 0x100000000, "dispatch cannot be"},
    {"i686-identity", CPU, CONTROL(10), 0x100000000, "dispatch cannot be"},
    {"amd64", CPU, CONTROL(11), 0x7fff000000000000, "call_sp cannot be"},
    {"amd64", CPU, CONTROL(13), 17, "msrs_n is too large"},
    {"amd64", CPU, CONTROL(13), 2, "section CPU: too long"},
    {"amd64", CPU, CONTROL(13), 4, "section CPU: too short"},
    {"amd64", CPU, MSR(0), 0x1b, "MSR 0x1b is not part of a guest"},
    {"amd64", CPU, MSR(0), 0xc0000080, "MSR 0xc0000080 is not part of a guest"},
    {"amd64", CPU, MSR(0), 0xc0000100, "MSR 0xc0000100 is not part of a guest"},
    {"amd64", CPU, MSR(0), 0x100000010, "msr index is too large"},
    {"amd64", CPU, MSR(1), 0x10, "MSR 0x10 is there twice"},
    {"amd64", CPU, MSR(2) + 8, 0x800000000000, "MSR 0xc0000082 is not a canonical address"},

    {"i686", ROOTS, 0, 257, "roots_n is too large"},
    {"i686", ROOTS, 0, UINT64_MAX, "roots_n is too large"},
    {"i686", ROOTS, 0, 2, "section ROOTS: too long"},
    {"i686", ROOTS, 0, 4, "section ROOTS: too short"},
    {"i686", ROOTS, 8, 3, "the active root is not in the list (3, 3 roots)"},
    {"i686", ROOTS, 8, 256, "root_active is too large"},
    {"i686", ROOTS, 8, 0, "the active root is not cr3"},
    {"i686", ROOTS, 16, 0, "a page-table root is not in the page tables"},
    {"i686", ROOTS, 16, 1, "a page-table root is not page aligned"},
    {"i686", ROOTS, 16, UINT64_MAX - 0xfff, "a page-table root is not in the page tables"},
    {"i686", ROOTS, 16, 0xfedc5000, "a page-table root is not in the page tables"}, /* right behind */
    {"i686-identity", ROOTS, 8, 1, "has no page-table roots"},

    {"amd64", COMPAT, 0, 0x656e6f726568744f,
     "another vendor's CPU (\"Otheroneuest\", this is \"GenuineGuest\")"},
    {"amd64", COMPAT, 0, 0x756e65470a, "vendor is not text"},
    {"amd64", COMPAT, 8, 0x4141414141414141, "vendor is not text"},
    {"amd64", COMPAT, 16, 0x100000000, "signature is too large"},

    {"amd64", 99, 100 * PLAN, 65, "there is no section PLAN"},
    {"amd64", 99, 100 * PLAN, 0x0001000100000041,
     "section unknown: required, and this vmm does not know it (type 65, version 1)"},
    {"amd64", 99, 100 * PLAN, 0x1000200000001, "section PLAN: version is wrong"},
    {"amd64", 99, 100 * PLAN, 0x0000000100000001, "section PLAN: mark as required"},
    {"amd64", 99, 100 * PLAN, 0x0003000100000001, "section PLAN: flags"},
    {"amd64", 99, 100 * CPU, 0x0001000100000001, "section PLAN is there twice"},
    {"amd64", 99, 100 * TABLES, 0x0001000100000007, "section PLACED is there twice"},
    {"amd64", 99, 100 * PLAN + 8, 0, "section PLAN: overlaps"},
    {"amd64", 99, 100 * PLAN + 8, 0x10000, "section PLAN: on the wrong side"},
    {"amd64", 99, 100 * PLAN + 8, UINT64_MAX, "section PLAN: not inside the file"},
    {"amd64", 99, 100 * PLAN + 16, 0, "section PLAN: empty"},
    {"amd64", 99, 100 * PLAN + 16, UINT64_MAX, "section PLAN: not inside the file"},
    {"amd64", 99, 100 * PLAN + 16, 0xf000, "section PLAN: lies across the end of the head"},
    {"amd64", 99, 100 * PLAN + 16, 24, "section CPU: there is something in front"},
    {"amd64", 99, 100 * PLAN + 24, 0x100000000, "section PLAN: last field"},
    {"amd64", 99, 100 * CPU + 8, 0x1100, "section CPU: overlaps"},
    {"amd64", 99, 100 * MEMORY + 8, 0xf000, "section MEMORY: lies across"},
    {"amd64", 99, 100 * MEMORY + 8, 0x11000, "section MEMORY: there is something in front"},
    {"amd64", 99, 100 * MEMORY + 16, 0x1000, "section TABLES: there is something in front"},
    {"amd64", 99, 100 * MEMORY + 16, 0x7fffffffffff0000, "section MEMORY: not inside the file"},
    {"amd64", 99, 100 * MEMORY + 16, 0xffffffffffff0000, "section MEMORY: not inside the file"},
    {"amd64", 99, 100 * MEMORY + 24, 1, "checksum of section MEMORY"},
    {"amd64", 99, 100 * TABLES + 8, 0x10000, "section TABLES: overlaps"},
    {"amd64", 99, 100 * CHUNKS + 16, 8, "no section reaches the end of the file"},
};

/* The largest of what a decoder could be given there: nothing it takes may break a promise. */
static void check_wrong(const struct wrong *w)
{
    uint64_t off, old;

    if (!take(w->kind))
        return;
    if (w->section == 0)
        off = w->at;
    else if (w->section == 99)
        off = sample_entry(head, w->at / 100) + w->at % 100;
    else
        off = load_le64(head + sample_entry(head, w->section) + 8) + w->at;
    old = load_le64(head + off);
    store_le64(head + off, w->value);
    /* Some fields are half as wide: the other half stays. */
    if (w->section == 0 && w->at == 48)
        store_le32(head + off + 4, (uint32_t)(old >> 32));
    sample_repair(head, sizeof(head));
    if (w->says[0] == '\0') {
        struct snapfile_info info;
        struct snapshot s;

        if (!CHECK_EQ(decode(&s, &info), 0))
            printf("# %s\n", e.text);
        else
            snapshot_free(&s);
        return;
    }
    if (!CHECK(refused()) || strstr(e.text, w->says) == NULL) {
        printf("# %s, section %u, field %u, value 0x%" PRIx64 ", wanted \"%s\"\n", w->kind, w->section, w->at,
               w->value, w->says);
        CHECK_STR(e.text, w->says);
    }
    /* What to do about sizes on a command line does not help here. */
    if (w->section == PLAN)
        CHECK_STR(e.hint, "");
}

/* --- any field, any value -------------------------------------------------------------------------------------- */

static void test_any(const char *kind)
{
    static const uint64_t values[] = {
        0, 1, 2, 0xfff, 0x1000, 0xffffffff, 0x100000000, 0x8000000000000000, UINT64_MAX};
    uint64_t off, end, seed = 5;
    unsigned i, taken = 0;
    char name[128];

    snprintf(name, sizeof(name),
             "whatever stands in one field, what is taken of an %s guest keeps its promises", kind);
    tap_case(name);
    if (!take(kind))
        return;
    off = sample_entry(head, 4);
    end = load_le64(head + off + 8) + load_le64(head + off + 16);
    for (off = 0; off < end; off = off == 96 ? 4096 : off + 8) {
        uint64_t v = load_le64(head + off);

        for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
            check_any(off, values[i], &taken);
        for (i = 0; i < 64; i++)
            check_any(off, v ^ (uint64_t)1 << i, &taken);
        for (i = 0; i < 8; i++)
            check_any(off, tap_random(&seed) >> (tap_random(&seed) % 64), &taken);
        check_any(off, v + 0x1000, &taken);
        check_any(off, v - 0x1000, &taken);
    }
    CHECK(taken > 100);
}

/* --- lengths ---------------------------------------------------------------------------------------------------- */

/* Whether a header is taken that promises a head and a file of these lengths. */
static bool header_taken(uint64_t head_len, uint64_t len)
{
    uint64_t out = 0;

    if (!take("amd64"))
        return false;
    store_le64(head + 32, len);
    store_le64(head + 40, head_len);
    sample_repair(head, sizeof(head));
    e = (struct err){.text = ""};
    return snap_decode_header(head, len, "file", &out, &e) == 0 && out == head_len;
}

/* A section gets longer by `more` bytes; those behind it move, and so does the end of the file. */
static void lengthen(enum snap_section section, uint64_t more)
{
    uint64_t ent = sample_entry(head, section);

    store_le64(head + ent + 16, load_le64(head + ent + 16) + more);
    for (unsigned i = section + 1; i <= CHUNKS; i++) {
        ent = sample_entry(head, i);
        store_le64(head + ent + 8, load_le64(head + ent + 8) + more);
    }
    file_len += more;
    store_le64(head + 32, file_len);
    sample_repair(head, sizeof(head));
}

static void test_lengths(void)
{
    static const char *const says[] = {"length of section TABLES", "length of section PLACED",
                                       "length of section CHUNKS"};
    struct snapfile_info info;
    struct snapshot s;
    uint64_t off, n = 8;
    unsigned i;

    tap_case("the head holds its table and is neither too long nor longer than the file");
    CHECK(header_taken(0x100000, 0x200000));
    CHECK(!header_taken(0x100001, 0x200000));
    CHECK(header_taken(0x20000, 0x20000));
    CHECK(!header_taken(0x20001, 0x20000));
    CHECK(header_taken(SNAP_HEADER_LEN + n * SAMPLE_ENTRY_LEN, 0x20000));
    CHECK(!header_taken(SNAP_HEADER_LEN + n * SAMPLE_ENTRY_LEN - 1, 0x20000));

    tap_case("who reads the head looks at its header again");
    take("amd64");
    CHECK_EQ(snap_decode(head, 0xf000, file_len, "file", &sample_cpu, &s, &info, &e), -1);
    CHECK_HAS(e.text, "length of the head");
    store_le64(head + 64, 0x1b1b1b1b1b1b1b1b);
    sample_repair(head, sizeof(head));
    CHECK_EQ(snap_decode(head, sizeof(head), file_len, "file", &sample_cpu, &s, &info, &e), -1);
    CHECK_HAS(e.text, "producer is not text");

    tap_case("a section may end where the head does, and need not have any field");
    take("amd64");
    off = load_le64(head + sample_entry(head, COMPAT) + 8);
    store_le64(head + sample_entry(head, COMPAT) + 16, sizeof(head) - off);
    sample_repair(head, sizeof(head));
    CHECK(refused());
    CHECK_HAS(e.text, "section COMPAT: too long");
    store_le64(head + sample_entry(head, COMPAT) + 16, 8);
    memset(head + off + 8, 0, 64);
    sample_repair(head, sizeof(head));
    CHECK(refused());
    CHECK_HAS(e.text, "section COMPAT: too short (8 bytes)");

    tap_case("each section outside the head is as long as the plan wants, MEMORY begins with a chunk");
    for (i = 0; i < 3; i++) {
        take("amd64");
        lengthen((enum snap_section)(TABLES + i), i < 2 ? 0x1000 : 4);
        CHECK(refused());
        CHECK_HAS(e.text, says[i]);
    }
    take("amd64");
    off = sample_entry(head, MEMORY);
    store_le64(head + off + 8, load_le64(head + off + 8) - 0x1000);
    store_le64(head + 40, 0xf000);
    for (i = TABLES; i <= CHUNKS; i++) {
        off = sample_entry(head, i);
        store_le64(head + off + 8, load_le64(head + off + 8) - 0x1000);
    }
    file_len -= 0x1000;
    store_le64(head + 32, file_len);
    sample_repair(head, 0xf000);
    CHECK_EQ(snap_decode(head, 0xf000, file_len, "file", &sample_cpu, &s, &info, &e), -1);
    CHECK_HAS(e.text, "section MEMORY is not aligned (at 0xf000");
}

static void test_unknown(void)
{
    struct snapfile_info info;
    struct snapshot s;
    uint64_t ent, end;

    tap_case("a section that nobody knows and that is not required is skipped");
    if (!take("amd64"))
        return;
    ent = SAMPLE_TABLE + 8 * SAMPLE_ENTRY_LEN - SAMPLE_ENTRY_LEN;
    end = file_len;
    /* Behind the last: one byte. The small sections start where the ninth entry would be, so PLACED makes room. */
    memmove(head + ent - SAMPLE_ENTRY_LEN, head + ent, SAMPLE_ENTRY_LEN);
    store_le32(head + ent, 4711);
    store_le16(head + ent + 4, 9);
    store_le16(head + ent + 6, 0);
    store_le64(head + ent + 8, end);
    store_le64(head + ent + 16, 1);
    file_len = end + 1;
    store_le64(head + 32, file_len);
    /* Without PLACED nothing stands between TABLES and CHUNKS, and the plan has none. */
    store_le64(head + ent - SAMPLE_ENTRY_LEN + 8, end - SAMPLE_PLACED_LEN - 12);
    store_le64(head + ent + 8, end - SAMPLE_PLACED_LEN);
    file_len = end - SAMPLE_PLACED_LEN + 1;
    store_le64(head + 32, file_len);
    end = load_le64(head + sample_entry(head, 1) + 8);
    store_le64(head + end + PLAN_FIELD(19), 0);
    store_le64(head + end + PLAN_FIELD(20), load_le64(head + end + PLAN_FIELD(20)) - SAMPLE_PLACED_LEN);
    sample_repair(head, sizeof(head));
    if (CHECK_EQ(decode(&s, &info), 0)) {
        CHECK_EQ(info.sections_n, 8);
        CHECK_STR(info.sections[7].name, "unknown");
        CHECK_EQ(info.sections[7].type, 4711);
        CHECK(!info.sections[7].required);
    } else {
        printf("# %s\n", e.text);
    }

    tap_case("a section that nobody knows and that is required is refused");
    store_le16(head + ent + 6, 1);
    sample_repair(head, sizeof(head));
    CHECK(refused());
    CHECK_HAS(e.text, "section unknown: required, and this vmm does not know it (type 4711, version 9)");
    CHECK_HAS(e.hint, "newer vmm");

    tap_case("a later format whose files this reader understands is read");
    if (!take("amd64"))
        return;
    store_le32(head + 8, 2);
    store_le64(head + 200, 0x1234);
    sample_repair(head, sizeof(head));
    CHECK_EQ(decode(&s, &info), 0);
    CHECK_EQ(info.format, 2);
}

static void test_compat(void)
{
    struct snapfile_info info;
    struct snapshot s;
    uint64_t kind;

    tap_case("another model of the same vendor is reported, not refused");
    if (!take("amd64"))
        return;
    store_le64(head + load_le64(head + sample_entry(head, 4) + 8) + 16, 0x999);
    sample_repair(head, sizeof(head));
    CHECK_EQ(decode(&s, &info), 0);
    CHECK(info.other_cpu);
    CHECK_EQ(info.cpu.signature, 0x999);

    tap_case("a kind that this binary lacks is refused with the way to get it");
    take("amd64");
    kind = load_le64(head + sample_entry(head, 1) + 8);
    memcpy(head + kind, "i686-later", 11);
    sample_repair(head, sizeof(head));
    CHECK(refused());
    CHECK_HAS(e.text, "this vmm has no i686 guests (kind \"i686-later\")");
    CHECK_HAS(e.hint, "I686_GUEST=1");
}

int main(void)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        test_round_trip(k);
        test_flips(k->name);
        test_any(k->name);
    }
    tap_case("each field that is wrong is refused by name, whatever the checksums say");
    for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++)
        check_wrong(&wrongs[i]);
    tap_case("there is a checksum for each chunk of memory, full or not");
    CHECK_EQ(snap_chunks_len(0x1000), 4);
    CHECK_EQ(snap_chunks_len(SNAP_CHUNK_LEN - 0x1000), 4);
    CHECK_EQ(snap_chunks_len(SNAP_CHUNK_LEN), 4);
    CHECK_EQ(snap_chunks_len(SNAP_CHUNK_LEN + 0x1000), 8);
    CHECK_EQ(snap_chunks_len(3 * (uint64_t)SNAP_CHUNK_LEN), 12);
    test_lengths();
    test_unknown();
    test_compat();
    snapshot_free(&sample);
    return tap_done();
}
