/*
 * hv/slots at the ioctl seam: what is split, what is left out, what is left
 * behind when KVM refuses. No KVM is touched.
 */
#include "hv/slots.h"

#include <stdint.h>

#include "tests/kvm/slot_seam.h"
#include "tests/tap.h"

#define HOST   0x7f0000000000u
#define IOAPIC 0xfec00000u
#define APIC   0xfee00000u

static struct machine machine;
static struct slots slots;

static void start(bool apic, bool ioapic)
{
    seam_reset();
    machine = (struct machine){.vm_fd = SEAM_FD, .vcpu_fd = -1, .slots_max = 32};
    slots_init(&slots, &machine, apic, ioapic);
}

static int map(uint64_t at, uint64_t len, bool readonly, struct err *e)
{
    *e = (struct err){.text = "untouched"};
    return slots_map(&slots, gpa_make(at), len, (const void *)(uintptr_t)(HOST + at), readonly, e);
}

/* Each page of [at, at + len) but the holes is backed by the host page at the same distance, the holes by
 * none. */
static bool backed(uint64_t at, uint64_t len, bool readonly, const uint64_t *holes, unsigned holes_n)
{
    uint64_t end = at + len;

    while (at < end) {
        uint64_t host = 0, n;
        bool ro = !readonly, hole = false;
        unsigned i;

        for (i = 0; i < holes_n; i++)
            hole |= at == holes[i];
        n = seam_backed(at, &host, &ro);
        if (hole ? n != 0 : n == 0 || host != HOST + at || ro != readonly)
            return false;
        at += 4096;
    }
    return true;
}

static void test_splitting(void)
{
    static const uint64_t both[] = {IOAPIC, APIC};
    /* Start and length in pages relative to the APIC page. */
    static const struct {
        int from;
        unsigned len, pieces;
    } row[] = {{-3, 3, 1}, {-3, 4, 1}, {-3, 5, 2}, {-1, 3, 2}, {0, 1, 0},
               {0, 2, 1},  {1, 2, 1},  {-1, 1, 1}, {-1, 2, 1}};
    struct err e;
    size_t i;

    tap_case("a range without a hole is one slot, read-only or not as asked");
    start(true, true);
    CHECK(map(0x1000, 0x31000, true, &e) == 0);
    CHECK(map(0xf0000000, 0x1000000, false, &e) == 0);
    CHECK_STR(e.text, "untouched");
    CHECK_EQ(seam_in_use(), 2);
    CHECK(backed(0x1000, 0x31000, true, NULL, 0));
    CHECK(backed(0xf0000000, 0x1000000, false, NULL, 0));

    tap_case("the APIC page is left out wherever in the range it lies, over one host mapping");
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        uint64_t at = APIC + (int64_t)row[i].from * 4096;

        start(true, false);
        seam.foreign = APIC;
        CHECK(map(at, row[i].len * 4096ull, false, &e) == 0);
        CHECK_EQ(seam_in_use(), row[i].pieces);
        CHECK(backed(at, row[i].len * 4096ull, false, &both[1], 1));
    }

    tap_case("with both pages left out a large range is three slots and nothing else is missing");
    start(true, true);
    CHECK(map(IOAPIC - 0x10000, APIC + 0x10000 - (IOAPIC - 0x10000), true, &e) == 0);
    CHECK_EQ(seam_in_use(), 3);
    CHECK(backed(IOAPIC - 0x10000, APIC + 0x10000 - (IOAPIC - 0x10000), true, both, 2));

    tap_case("ranges that start, end or lie between the two pages are split at none, one or both");
    start(true, true);
    CHECK(map(IOAPIC, 0x1000, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 0);
    CHECK(map(IOAPIC + 0x1000, APIC - IOAPIC - 0x1000, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 1);
    start(true, true);
    CHECK(map(IOAPIC, APIC + 0x1000 - IOAPIC, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 1);
    CHECK(backed(IOAPIC, APIC + 0x1000 - IOAPIC, false, both, 2));
    start(true, true);
    CHECK(map(IOAPIC + 0x1000, 0x300000, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 2);
    CHECK(backed(IOAPIC + 0x1000, 0x300000, false, &both[1], 1));
    start(false, true);
    CHECK(map(0, 0x100000000, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 2);
    CHECK(seam_backed(APIC, &(uint64_t){0}, &(bool){false}) != 0 &&
          seam_backed(IOAPIC, &(uint64_t){0}, &(bool){false}) == 0);

    tap_case("without an APIC nothing is left out");
    start(false, false);
    CHECK(map(0xfe000000, 0x2000000, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 1);
    CHECK(backed(0xfe000000, 0x2000000, false, NULL, 0));

    tap_case("a range far above 4 GiB, and one up to the last page, are one slot");
    start(true, true);
    CHECK(map(0xffffb8000, 0x48000, false, &e) == 0);
    CHECK(map(0xffffffffffffd000, 0x2000, false, &e) == 0);
    CHECK_EQ(seam_in_use(), 2);

    tap_case("where KVM has its own APIC slot, leaving it in fails and the message names the page");
    start(false, false);
    seam.foreign = APIC;
    CHECK(map(0xfe000000, 0x2000000, false, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "KVM_SET_USER_MEMORY_REGION");
    CHECK_HAS(e.text, "0xfee00000");
    CHECK_EQ(seam_in_use(), 0);
}

static void test_failures(void)
{
    static const int errnos[] = {EEXIST, EINVAL, ENOMEM, EINTR};
    struct err e;
    unsigned i, n;

    tap_case("when any one of the calls fails no slot of the range is left behind");
    for (i = 0; i < 4; i++)
        for (n = 1; n <= 3; n++) {
            start(true, true);
            seam.fail_at = n;
            seam.fail_n = 1;
            seam.fail_errno = errnos[i];
            CHECK(map(IOAPIC - 0x10000, 0x400000, true, &e) == -1);
            CHECK_EQ(e.status, STATUS_HOST);
            CHECK_HAS(e.text, "KVM_SET_USER_MEMORY_REGION");
            CHECK_HAS(e.text, strerror(errnos[i]));
            CHECK(strchr(e.text, '\n') == NULL);
            CHECK_EQ(seam_in_use(), 0);
            CHECK(map(IOAPIC - 0x10000, 0x400000, true, &e) == 0);
            CHECK_EQ(seam_in_use(), 3);
        }

    tap_case("a range that collides with one that is there is refused and leaves that one alone");
    start(true, true);
    CHECK(map(0x8000, 0x2000, false, &e) == 0);
    CHECK(map(0x1000, 0x10000, false, &e) == -1);
    CHECK_HAS(e.text, strerror(EEXIST));
    CHECK_EQ(seam_in_use(), 1);
    CHECK(backed(0x8000, 0x2000, false, NULL, 0));
    CHECK(map(APIC + 0x5000, 0x1000, false, &e) == 0);
    CHECK(map(APIC - 0x5000, 0x20000, false, &e) == -1);
    CHECK_EQ(seam_in_use(), 2);
    CHECK(backed(APIC + 0x5000, 0x1000, false, NULL, 0));

    tap_case("the first failure is told even when cleaning up fails too");
    start(true, true);
    seam.fail_at = 2;
    seam.fail_n = 5;
    seam.fail_errno = ENOMEM;
    CHECK(map(IOAPIC - 0x10000, 0x400000, true, &e) == -1);
    CHECK_HAS(e.text, "0xfec01000");
    CHECK_EQ(seam.tried_n, 3);

    tap_case("slots run out with a message of their own, at KVM's limit or at vmm's");
    for (i = 0; i < 2; i++) {
        uint32_t limit = i == 0 ? 5 : 32;

        start(true, true);
        machine.slots_max = i == 0 ? 5 : 509;
        for (n = 0; n < limit; n++)
            CHECK(map(0x10000 + n * 0x2000, 0x1000, false, &e) == 0);
        CHECK(map(0x100000, 0x1000, false, &e) == -1);
        CHECK_EQ(e.status, STATUS_HOST);
        CHECK_HAS(e.text, "no free memory slot");
        CHECK_HAS(e.text, i == 0 ? "(5 in use)" : "(32 in use)");
        CHECK_EQ(seam_in_use(), limit);
    }

    tap_case("a range that needs more slots than are left leaves none of its own");
    start(true, true);
    machine.slots_max = 4;
    CHECK(map(0x1000, 0x1000, false, &e) == 0);
    CHECK(map(0x3000, 0x1000, false, &e) == 0);
    CHECK(map(IOAPIC - 0x10000, 0x400000, false, &e) == -1);
    CHECK_EQ(seam_in_use(), 2);
    CHECK(map(0x5000, 0x1000, false, &e) == 0);
    CHECK(map(0x7000, 0x1000, false, &e) == 0);
}

static void test_unmapping(void)
{
    struct err e;

    tap_case("unmapping removes the slots inside the range, to the page, and no others");
    start(true, true);
    CHECK(map(0x1000, 0x4000, true, &e) == 0);
    CHECK(map(0x5000, 0x3000, false, &e) == 0);
    CHECK(map(0x8000, 0x1000, true, &e) == 0);
    e = (struct err){.text = "untouched"};
    CHECK(slots_unmap(&slots, gpa_make(0x5000), 0x3000, &e) == 0);
    CHECK_STR(e.text, "untouched");
    CHECK_EQ(seam_in_use(), 2);
    CHECK(backed(0x1000, 0x4000, true, NULL, 0) && backed(0x8000, 0x1000, true, NULL, 0));
    CHECK(slots_unmap(&slots, gpa_make(0x2000), 0x7000, &e) == 0);
    CHECK_EQ(seam_in_use(), 1);
    CHECK(slots_unmap(&slots, gpa_make(0x1000), 0x3000, &e) == 0);
    CHECK_EQ(seam_in_use(), 1);
    CHECK(slots_unmap(&slots, gpa_make(0), 0x100000, &e) == 0);
    CHECK_EQ(seam_in_use(), 0);

    tap_case("a split range is removed whole, and its slots are used again");
    start(true, true);
    CHECK(map(IOAPIC - 0x10000, 0x400000, true, &e) == 0);
    CHECK(slots_unmap(&slots, gpa_make(IOAPIC - 0x10000), 0x400000, &e) == 0);
    CHECK_EQ(seam_in_use(), 0);
    CHECK(map(0x1000, 0x1000, true, &e) == 0);
    CHECK_EQ(seam.call[seam.calls_n - 1].slot, 0);
    CHECK_EQ(seam.call[seam.calls_n - 1].flags, KVM_MEM_READONLY);

    tap_case("a slot is removed by length 0, without flags");
    CHECK(slots_unmap(&slots, gpa_make(0x1000), 0x1000, &e) == 0);
    CHECK_EQ(seam.call[seam.calls_n - 1].memory_size, 0);
    CHECK_EQ(seam.call[seam.calls_n - 1].flags, 0);

    tap_case("unmapping goes on after a failure and tells of the first");
    start(true, true);
    CHECK(map(0x1000, 0x1000, true, &e) == 0);
    CHECK(map(0x3000, 0x1000, true, &e) == 0);
    CHECK(map(0x5000, 0x1000, true, &e) == 0);
    seam.fail_at = seam.tried_n + 1;
    seam.fail_n = 2;
    seam.fail_errno = ENOMEM;
    CHECK(slots_unmap(&slots, gpa_make(0x1000), 0x5000, &e) == -1);
    CHECK_HAS(e.text, "at 0x1000-");
    CHECK_HAS(e.text, strerror(ENOMEM));
    CHECK_EQ(seam_in_use(), 2);
    CHECK_EQ(seam.call[seam.calls_n - 1].slot, 2);
}

int main(void)
{
    test_splitting();
    test_failures();
    test_unmapping();
    return tap_done();
}
