/* hv/dev_pci: how kernels find that there is no PCI, and the reset control register. */
#include "hv/dev_pci.h"

#include "tests/tap.h"
#include "tests/unit/bus_host.h"

/* pci_check_type1() and pci_check_type2() of Linux without their look at the bus. */
static bool linux_sees_type1(void)
{
    outb(0x01, 0xcfb);
    (void)inl(0xcf8);
    outl(0x80000000, 0xcf8);
    return inl(0xcf8) == 0x80000000;
}

static bool linux_sees_type2(void)
{
    outb(0x00, 0xcfb);
    outb(0x00, 0xcf8);
    outb(0x00, 0xcfa);
    return inb(0xcf8) == 0x00 && inb(0xcfa) == 0x00;
}

int main(void)
{
    unsigned device, i;

    tap_case("Linux sees no PCI of either type");
    fake_start(false, 0);
    CHECK(!linux_sees_type1());
    CHECK(!linux_sees_type2());

    tap_case("who looks at every device all the same finds none, in any width");
    for (device = 0; device < 256; device++) {
        CHECK_EQ(outl(0x80000000 | device << 8, 0xcf8), BUS_NONE);
        CHECK_EQ(inl(0xcfc), UINT32_MAX);
    }
    for (i = 0; i < 4; i++) {
        uint32_t v = 0;

        CHECK_EQ(inb(0xcfc + i), 0xff);
        CHECK_EQ(bus_read(&bus, 0xcfc, 2, &v), BUS_NONE);
        CHECK_EQ(v, 0xffff);
    }
    CHECK_EQ(outl(0x12345678, 0xcfc), BUS_NONE);
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("the reset control register resets when bit 2 rises");
    fake_start(false, 0);
    CHECK_EQ(inb(0xcf9), 0x00);
    CHECK_EQ(outb(0x02, 0xcf9), BUS_NONE);
    CHECK_EQ(inb(0xcf9), 0x02);
    CHECK_EQ(outb(0x06, 0xcf9), BUS_RESET);
    CHECK_EQ(outb(0x0e, 0xcf9), BUS_NONE);
    CHECK_EQ(outb(0x00, 0xcf9), BUS_NONE);
    CHECK_EQ(outb(0x04, 0xcf9), BUS_RESET);

    tap_case("a wider write that covers it is a configuration address and no reset");
    fake_start(false, 0);
    CHECK_EQ(outl(0xffffffff, 0xcf8), BUS_NONE);
    CHECK_EQ(outw(0xffff, 0xcf8), BUS_NONE);
    CHECK_EQ(outw(0xffff, 0xcf9), BUS_NONE);
    CHECK_EQ(inb(0xcf9), 0x00);
    CHECK(!fake.wrong);
    return tap_done();
}
