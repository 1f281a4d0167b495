/* hv/dev_kbc: resets, and the loops with which kernels look for a keyboard controller. */
#include "hv/dev_kbc.h"

#include "tests/tap.h"
#include "tests/unit/bus_host.h"

static void test_reset(void)
{
    unsigned i;

    tap_case("a command pulses the reset line exactly when it is 0xf0 to 0xff with bit 0 clear");
    for (i = 0; i < 256; i++) {
        fake_start(false, 0);
        if ((outb((uint8_t)i, 0x64) == BUS_RESET) != (i >= 0xf0 && i % 2 == 0))
            break;
    }
    CHECK_EQ(i, 256);

    tap_case("the output port resets when bit 0 is written as 0, and only by the byte after its command");
    fake_start(false, 0);
    CHECK_EQ(outb(0x02, 0x60), BUS_NONE);
    CHECK_EQ(outb(0xd1, 0x64), BUS_NONE);
    CHECK_EQ(outb(0xdf, 0x60), BUS_NONE); /* opens A20 */
    CHECK_EQ(outb(0x02, 0x60), BUS_NONE);
    CHECK_EQ(outb(0xd1, 0x64), BUS_NONE);
    CHECK_EQ(outb(0x02, 0x60), BUS_RESET);
    CHECK_EQ(outb(0xd1, 0x64), BUS_NONE);
    CHECK_EQ(outb(0xff, 0x64), BUS_NONE);
    CHECK_EQ(outb(0x02, 0x60), BUS_NONE);

    tap_case("port 0x92 resets by bit 0 and shows an open A20");
    fake_start(false, 0);
    CHECK_EQ(inb(0x92), 0x02);
    CHECK_EQ(outb(0x00, 0x92), BUS_NONE);
    CHECK_EQ(outb(0xfe, 0x92), BUS_NONE);
    CHECK_EQ(inb(0x92), 0x02);
    CHECK_EQ(outb(0x01, 0x92), BUS_RESET);
}

/* i8042_flush() of Linux: true when it finds no controller. */
static bool linux_finds_none(unsigned *accesses)
{
    unsigned count = 0;

    while (++*accesses, inb(0x64) & 1) {
        if (count++ >= 16)
            return true;
        ++*accesses;
        inb(0x60);
    }
    return false;
}

/* Turns of `while ((inb(0x64) & mask) == value)`, up to a limit. */
static unsigned spin(unsigned mask, unsigned value, bool drain)
{
    unsigned n = 0;

    while (n < 1000 && (inb(0x64) & mask) == value) {
        n++;
        if (drain)
            inb(0x60);
    }
    return n;
}

static void test_absence(void)
{
    unsigned accesses = 0, i;

    tap_case("Linux finds no controller within 40 accesses");
    fake_start(false, 0);
    CHECK(linux_finds_none(&accesses));
    CHECK(accesses <= 40);

    tap_case("a loop that waits for room in the input buffer ends at once, before and after any command");
    CHECK_EQ(spin(2, 2, false), 0);
    for (i = 0; i < 256; i++) {
        outb((uint8_t)i, 0x64);
        outb((uint8_t)i, 0x60);
        if (spin(2, 2, false) != 0)
            break;
    }
    CHECK_EQ(i, 256);

    tap_case("a loop that empties the output buffer ends");
    fake_start(false, 0);
    CHECK(spin(1, 1, true) < 1000);
    CHECK_EQ(spin(1, 1, true), 0);

    tap_case("each command and each byte written is answered, with an error");
    for (i = 0; i < 256; i++) {
        outb((uint8_t)i, i % 2 != 0 ? 0x64 : 0x60);
        if (spin(1, 0, false) != 0 || inb(0x60) != 0xff || spin(1, 1, true) != 0)
            break;
    }
    CHECK_EQ(i, 256);
    CHECK_EQ(inb(0x60), 0xff);
    CHECK_EQ(spin(1, 1, true), 0);

    tap_case("the status is never that of a floating bus, and no port of these is unknown");
    fake_start(false, 0);
    CHECK(inb(0x64) != 0xff);
    inb(0x60);
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("port 0x61 keeps four bits, and its two others come and go for those that wait for either");
    fake_start(false, 0);
    outb(0xff, 0x61);
    CHECK_EQ(inb(0x61), 0x3f);
    CHECK_EQ(inb(0x61), 0x0f);
    CHECK_EQ(inb(0x61), 0x3f);
    outb(0x00, 0x61);
    CHECK_EQ(inb(0x61), 0x00);
    CHECK_EQ(inb(0x61), 0x30);
    CHECK(!fake.wrong);
}

int main(void)
{
    test_reset();
    test_absence();
    return tap_done();
}
