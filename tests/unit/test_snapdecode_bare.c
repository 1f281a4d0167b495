/*
 * boot/snapdecode for bare kernels: heads written and read back, every byte of
 * them changed, fields set to what they must not be with all checksums right.
 */
#include "boot/snapdecode.h"

#include "tests/unit/snap_heads.h"

enum { COMPAT = 4, MEMORY, MACHINE = 9, STATE, DEVICES };

/* Of MACHINE: behind the kind its sizes, general and then system registers, generation. */
#define MACHINE_SEGMENT(s, n) (16 + 8 * (20 + 11 * (s) + (n)))
#define MACHINE_CONTROL(n)    (16 + 8 * (112 + (n)))

/* Start again from the head of the sample. */
static bool take(void)
{
    snapshot_free(&sample);
    if (!sample_make_bare(&sample))
        return false;
    take_head();
    return true;
}

static void test_head(void)
{
    static const char *const names[] = {"MACHINE", "STATE", "DEVICES", "COMPAT", "MEMORY", "CHUNKS"};
    struct snapfile_info info;
    struct snapshot s;
    unsigned i;

    tap_case("the head of a bare kernel is read as it was written");
    if (!CHECK(take()))
        return;
    if (!bare_is_built) {
        CHECK(refused());
        CHECK_HAS(e.text, "this vmm has no bare kernels (pvh)");
        CHECK_HAS(e.hint, "I686_GUEST=1");
        return;
    }
    CHECK(sample_keeps_promises(&sample));
    if (!CHECK_EQ(decode(&s, &info), 0)) {
        printf("# %s\n", e.text);
        return;
    }
    CHECK(sample_same_fields(&s, &sample));
    CHECK(s.kind == NULL && s.bare->start.format == BARE_PVH);
    CHECK_EQ(s.bare->start.regs.rip, 0x1111111111111111);
    CHECK_EQ(s.plan.snapshot_len, SAMPLE_RAM_LEN);
    CHECK_EQ(info.sections_n, 6);
    for (i = 0; i < 6; i++)
        CHECK_STR(info.sections[i].name, names[i]);
    CHECK_EQ(snap_section(&info, SNAP_MACHINE)->len, 16 + 8 * (2 + 18 + 99 + 1));
    CHECK_EQ(snap_section(&info, SNAP_STATE)->len, 7501);
    CHECK_EQ(snap_section(&info, SNAP_DEVICES)->len, 163);
    snapshot_free(&s);

    tap_case("the sections of a bare kernel may be as long as there is room for, and no longer");
    take();
    sample.bare->state_len = BARE_STATE_MAX;
    sample.bare->devices_len = BARE_DEVICES_MAX;
    file_len = sample_head(&sample, head);
    CHECK_EQ(decode(&s, &info), 0);
    CHECK(sample_same_fields(&s, &sample));
    snapshot_free(&s);
    for (i = 0; i < 2; i++) {
        uint64_t ent;

        take();
        sample.bare->state_len = BARE_STATE_MAX;
        sample.bare->devices_len = BARE_DEVICES_MAX;
        file_len = sample_head(&sample, head);
        /* One more byte, which is the first of what follows; that moves. */
        for (unsigned j = 10 + i; j != 5; j = j == 10 ? 11 : j == 11 ? 4 : 5) {
            ent = sample_entry(head, j);
            if (j == 10 + i)
                store_le64(head + ent + 16, load_le64(head + ent + 16) + 1);
            else
                store_le64(head + ent + 8, load_le64(head + ent + 8) + 1);
            if (j == COMPAT)
                memmove(head + load_le64(head + ent + 8), head + load_le64(head + ent + 8) - 1,
                        load_le64(head + ent + 16));
        }
        sample_repair(head, sizeof(head));
        CHECK(refused());
        CHECK_HAS(e.text, i == 0 ? "section STATE is too long (20481 bytes, at most 20480)"
                                 : "section DEVICES is too long (257 bytes, at most 256)");
    }
}

static void test_flips(void)
{
    tap_case("no changed byte in the head of a bare kernel goes unnoticed");
    take();
    check_flips();
}

static const struct wrong {
    unsigned section; /* 99: table entry of section `at / 100` */
    unsigned at;
    uint64_t value;
    const char *says;
} wrongs[] = {
    {MACHINE, 0, 0x6e6f6f6d, "no such kind of kernel (\"moon\")"},
    {MACHINE, 0, 0x1b, "kind is not text"},
    {MACHINE, 16, 0xff000, "RAM of this size cannot be a bare kernel's (0xff000)"},
    {MACHINE, 16, 0, "RAM of this size"},
    {MACHINE, 16, SAMPLE_RAM_LEN + 1, "RAM of this size"},
    {MACHINE, 16, SAMPLE_RAM_LEN + 0x1000, "length of section MEMORY"},
    {MACHINE, 16, SAMPLE_RAM_LEN - 0x1000, "length of section MEMORY"},
    {MACHINE, 16, 0xfec01000, "ram_len is too large"},
    {MACHINE, 16, UINT64_MAX, "ram_len is too large"},
    {MACHINE, 24, 2, "start.irqchip is too large"},
    {MACHINE, 24, 0, ""},
    {MACHINE, 32, UINT64_MAX, ""},
    {MACHINE, MACHINE_SEGMENT(0, 1), 0x100000000, "cs.limit is too large"},
    {MACHINE, MACHINE_SEGMENT(7, 10), 2, "ldt.avl is too large"},
    {MACHINE, MACHINE_CONTROL(4), 16, "cr8 is too large"},
    {MACHINE, MACHINE_CONTROL(6), 0xfee00d00, "x2APIC on (APIC base 0xfee00d00)"},
    {99, 100 * MACHINE, 0x0001000100000001, "there is no section CPU"},
    {99, 100 * STATE, 0x0001000100000001, "section PLAN is not for such a guest"},
    {99, 100 * DEVICES, 0x0001000100000041, "section unknown: required"},
    {99, 100 * STATE, 0x41, "there is no section STATE"},
    {99, 100 * DEVICES, 0x0001000200000000 + DEVICES, "section DEVICES: version is wrong"},
};

static void check_wrong(const struct wrong *w)
{
    uint64_t off;

    take();
    if (w->section == 99)
        off = sample_entry(head, w->at / 100) + w->at % 100;
    else
        off = load_le64(head + sample_entry(head, w->section) + 8) + w->at;
    store_le64(head + off, w->value);
    sample_repair(head, sizeof(head));
    if (w->says[0] == '\0') {
        struct snapfile_info info;
        struct snapshot s;

        if (CHECK_EQ(decode(&s, &info), 0))
            snapshot_free(&s);
        return;
    }
    CHECK(refused());
    CHECK_HAS(e.text, w->says);
}

static void test_any(void)
{
    static const uint64_t values[] = {
        0, 1, 2, 0xfff, 0x1000, 0xffffffff, 0x100000000, 0x8000000000000000, UINT64_MAX};
    uint64_t off, end, seed = 5;
    unsigned i, taken = 0;

    tap_case("whatever stands in one field, what is taken of a bare kernel keeps its promises");
    take();
    off = sample_entry(head, MACHINE);
    end = load_le64(head + off + 8) + load_le64(head + off + 16);
    for (off = 0; off < end; off = off == 96 ? 4096 : off + 8) {
        uint64_t v = load_le64(head + off);

        for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
            check_any(off, values[i], &taken);
        for (i = 0; i < 64; i++)
            check_any(off, v ^ (uint64_t)1 << i, &taken);
        for (i = 0; i < 8; i++)
            check_any(off, tap_random(&seed) >> (tap_random(&seed) % 64), &taken);
    }
    CHECK(taken > 100);
}

/* A guest of the ABI with a section of a bare kernel's, and the other way round. */
static void test_mixed(void)
{
    static const struct {
        unsigned from, to;
        const char *says;
    } row[] = {
        {1, MACHINE, "section CPU is not for such a guest"},
        {3, STATE, "there is no section ROOTS"},
        {6, DEVICES, "section DEVICES"},
    };
    unsigned i;

    tap_case("sections of bare kernels and of guests of the ABI do not mix");
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        snapshot_free(&sample);
        if (!CHECK(sample_make(guest_kind_at(0), true, &sample)))
            return;
        file_len = sample_head(&sample, head);
        store_le32(head + sample_entry(head, row[i].from), row[i].to);
        sample_repair(head, sizeof(head));
        CHECK(refused());
        CHECK_HAS(e.text, row[i].says);
    }
}

int main(void)
{
    unsigned i;

    test_head();
    test_mixed();
    if (bare_is_built) {
        test_flips();
        test_any();
        tap_case("each field of a bare kernel that is wrong is refused by name, whatever the checksums say");
        for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++)
            check_wrong(&wrongs[i]);
    }
    snapshot_free(&sample);
    return tap_done();
}
