/* hv/bus: exit ports, microvm's ports, ports of nobody, and accesses of all widths. */
#include "hv/bus.h"

#include "tests/tap.h"
#include "tests/unit/bus_host.h"

static void test_exit(void)
{
    unsigned i;
    const unsigned ports[] = {0xf4, 0x501};

    tap_case("the debug exit ports end the guest with twice the value plus one, as 8 bits");
    for (i = 0; i < 2; i++) {
        fake_start(false, 0);
        CHECK_EQ(outb(0x00, ports[i]), BUS_END);
        CHECK_EQ(bus.status, 1);
        CHECK_EQ(outb(0x10, ports[i]), BUS_END);
        CHECK_EQ(bus.status, 33);
        CHECK_EQ(outb(0xff, ports[i]), BUS_END);
        CHECK_EQ(bus.status, 255);
        CHECK_EQ(outw(0x0180, ports[i]), BUS_END);
        CHECK_EQ(bus.status, 1);
        CHECK_EQ(outl(0xffffff31, ports[i]), BUS_END);
        CHECK_EQ(bus.status, 0x63);
        /* The rest of a register is no part of the byte. */
        CHECK_EQ(bus_write(&bus, (uint16_t)ports[i], 1, 0xabcdef05), BUS_END);
        CHECK_EQ(bus.status, 11);
        CHECK_EQ(bus.unknown_all, 0);
    }

    tap_case("two bytes 0x2000 at the power ports power off, nothing else does, and four ask to be saved");
    for (i = 0; i < 2; i++) {
        const unsigned port = i == 0 ? 0x604 : 0xb004;

        fake_start(false, 0);
        CHECK_EQ(outw(0x2000, port), BUS_POWER_OFF);
        CHECK_EQ(bus_write(&bus, (uint16_t)port, 2, 0xabcd2000), BUS_POWER_OFF);
        CHECK_EQ(bus.unknown_all, 0);
        CHECK_EQ(outw(0x2001, port), BUS_NONE);
        CHECK_EQ(outl(0x2000, port), BUS_NONE);
        CHECK_EQ(outl(0x40000000, port), i == 0 ? BUS_SNAPSHOT : BUS_NONE);
        CHECK_EQ(outb(0x20, port), BUS_NONE);
        CHECK_EQ(outw(0x3400, port), BUS_NONE);
        CHECK_EQ(bus.unknown_all, 4 + i);
    }
}

static void test_console(void)
{
    tap_case("the debug console outputs bytes and says that it is there");
    fake_start(false, 0);
    outb('o', 0xe9);
    outb('k', 0xe9);
    CHECK(fake_said("ok"));
    CHECK_EQ(inb(0xe9), 0xe9);
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("a wide access is one of each byte's port");
    outw('!' | 0xff00, 0xe9);
    CHECK(fake_said("ok!"));
    outw('x' | 0x0500, 0x3f8);
    CHECK(fake_said("ok!x"));
    CHECK_EQ(inb(0x3f9), 0x05);
    outl(0x0103, 0x3fb); /* LCR, MCR; LSR and MSR cannot be written */
    CHECK_EQ(inl(0x3fb) & 0xffff, 0x0103);
    CHECK_EQ(inl(0x3fb) >> 16 & 0xff, 0x60);
    CHECK_EQ(inl(0x3ff) >> 8, 0xffffff);
    CHECK_EQ(outw(0xfe00, 0x63), BUS_RESET);
    CHECK_EQ(bus.unknown_all, 0);
    CHECK(!fake.wrong);
}

static void test_unknown(void)
{
    unsigned i;
    uint32_t v;

    tap_case("a port of nobody reads as all ones, takes writes, is counted, and listed once as first seen");
    fake_start(false, 0);
    CHECK_EQ(inb(0x3d4), 0xff);
    CHECK_EQ(inl(0x3d4), UINT32_MAX);
    v = 0;
    CHECK_EQ(bus_read(&bus, 0x3d4, 2, &v), BUS_NONE);
    CHECK_EQ(v, 0xffff);
    CHECK_EQ(outb(1, 0x3d4), BUS_NONE);
    CHECK_EQ(outw(1, 0x1ce), BUS_NONE);
    CHECK_EQ(bus.unknown_all, 5);
    CHECK_EQ(bus.unknown_n, 2);
    CHECK_EQ(bus.unknown[0].port, 0x3d4);
    CHECK_EQ(bus.unknown[0].width, 1);
    CHECK(!bus.unknown[0].write);
    CHECK_EQ(bus.unknown[0].n, 4);
    CHECK_EQ(bus.unknown[1].port, 0x1ce);
    CHECK_EQ(bus.unknown[1].width, 2);
    CHECK(bus.unknown[1].write);
    CHECK_EQ(bus.unknown[1].n, 1);

    tap_case("when the list is full the count goes on, of what is listed too");
    fake_start(false, 0);
    for (i = 0; i < 100; i++)
        inb(0x1000 + i);
    inb(0x1000);
    inb(0x1000 + BUS_UNKNOWN_MAX - 1);
    CHECK_EQ(bus.unknown_n, BUS_UNKNOWN_MAX);
    CHECK_EQ(bus.unknown_all, 102);
    CHECK_EQ(bus.unknown[0].n, 2);
    CHECK_EQ(bus.unknown[BUS_UNKNOWN_MAX - 1].n, 2);
    CHECK_EQ(bus.unknown[BUS_UNKNOWN_MAX - 2].n, 1);

    tap_case("writes that only pass time, and the last ports, are what they are");
    fake_start(false, 0);
    outb(0, 0x80);
    outb(0, 0xed);
    CHECK_EQ(inb(0x80), 0xff);
    CHECK_EQ(bus.unknown_all, 0);
    CHECK_EQ(inl(0xffff), UINT32_MAX);
    outl(0, 0xffff);
    CHECK_EQ(bus.unknown_all, 2);
    CHECK_EQ(bus.unknown[0].port, 0xffff);
    CHECK(!fake.wrong);
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    while (n != 0 && bytes[n - 1] == 0)
        n--;
    return n == 0;
}

static void test_microvm(void)
{
    static const unsigned others[] = {0x3f8, 0x3fd, 0x60,  0x64,  0x70,  0x71,  0x80,
                                      0x92,  0xf4,  0x501, 0xcf8, 0xcf9, 0xb004};
    unsigned i;

    tap_case("microvm's console takes bytes");
    fake_start(true, 0);
    outb('h', 0xe9);
    outb('i', 0xe9);
    CHECK(fake_said("hi"));

    tap_case("outgoing messages are counted, incoming ones are 64 zero bytes");
    memset(fake.memory, 0xa5, sizeof(fake.memory));
    CHECK_EQ(outl(0, 0xe9), BUS_NONE);
    CHECK_EQ(outl(sizeof(fake.memory) - 64, 0xe9), BUS_NONE);
    CHECK_EQ(bus.messages, 2);
    CHECK(fake.memory[0] == 0xa5 && fake.memory[sizeof(fake.memory) - 1] == 0xa5);
    CHECK_EQ(outl(128, 0xea), BUS_NONE);
    CHECK(is_zero(fake.memory + 128, 64));
    CHECK(fake.memory[127] == 0xa5 && fake.memory[192] == 0xa5);
    CHECK_EQ(outl(sizeof(fake.memory) - 64, 0xea), BUS_NONE);
    CHECK(is_zero(fake.memory + sizeof(fake.memory) - 64, 64));
    CHECK_EQ(bus.messages, 2);
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("a message outside RAM, or of another width, is an access nobody answers");
    fake_start(true, 0);
    CHECK_EQ(outl(sizeof(fake.memory) - 63, 0xe9), BUS_NONE);
    CHECK_EQ(outl(sizeof(fake.memory) - 63, 0xea), BUS_NONE);
    CHECK_EQ(outl(0xffffffff, 0xea), BUS_NONE);
    CHECK_EQ(outw(0, 0xe9), BUS_NONE);
    CHECK_EQ(outb(0, 0xea), BUS_NONE);
    CHECK_EQ(outw(0, 0xea), BUS_NONE);
    CHECK_EQ(bus.unknown_all, 6);
    CHECK_EQ(bus.messages, 0);
    CHECK_EQ(fake.out_len, 0);

    tap_case("four bytes at 0x604 are a command and a status, fewer end the machine with 0");
    fake_start(true, 0);
    CHECK_EQ(outl(0x20000000, 0x604), BUS_END);
    CHECK_EQ(bus.status, 0);
    CHECK_EQ(outl(0x2000002a, 0x604), BUS_END);
    CHECK_EQ(bus.status, 42);
    CHECK_EQ(outl(0x20000100, 0x604), BUS_END);
    CHECK_EQ(bus.status, 256);
    CHECK_EQ(outw(0x2000, 0x604), BUS_END);
    CHECK_EQ(bus.status, 0);
    CHECK_EQ(bus_write(&bus, 0x604, 2, 0x2000002a), BUS_END);
    CHECK_EQ(bus.status, 0);
    bus.status = 7;
    CHECK_EQ(outb(0x00, 0x604), BUS_END);
    CHECK_EQ(bus.status, 0);
    bus.status = 7;
    CHECK_EQ(outl(0x00002000, 0x604), BUS_END);
    CHECK_EQ(bus.status, 0);
    CHECK_EQ(outl(0x30000000, 0x604), BUS_PAUSE);
    CHECK_EQ(outl(0x40000000, 0x604), BUS_SNAPSHOT);
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("microvm has no other port, and nothing can be read or typed");
    fake_start(true, 0);
    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        CHECK_EQ(outb(0xfe, others[i]), BUS_NONE);
        CHECK_EQ(inb(others[i]), 0xff);
    }
    CHECK_EQ(inb(0xe9), 0xff);
    CHECK_EQ(inl(0x604), UINT32_MAX);
    CHECK_EQ(bus.unknown_all, 2 * i + 2);
    CHECK_EQ(bus_input_room(&bus), 0);
    bus.uart.ier = 1;
    CHECK_EQ(bus_input_room(&bus), 0);
    CHECK(fake.out_len == 0 && !fake.wrong);
}

/* A serial line with three bytes waiting and its interrupt up, a clock's index, a controller half read. */
static void settle(void)
{
    fake_start(false, (uint64_t)64 << 20);
    outb(0x07, 0x3fa);
    outb(0x08, 0x3fc);
    outb(0x01, 0x3f9);
    outb(0x5a, 0x3ff);
    CHECK_EQ(fake_type((const uint8_t *)"abc", 3), 1);
    CHECK(fake.level);
    outb(0x17, 0x70);
    outb(0x99, 0x71);
    outb(0xd1, 0x64);
    inb(0x60);
    outb(0x03, 0x61);
    outb(0x02, 0xcf9);
}

static void test_saved(void)
{
    uint8_t bytes[BUS_STATE_LEN], again[BUS_STATE_LEN];
    struct bus_host host;
    struct err e = {.text = "untouched"};
    unsigned i, n;

    tap_case("devices that were saved go on, and raise their line once more");
    settle();
    bus_save(&bus, bytes);
    CHECK_EQ(sizeof(bytes), 163);
    host = bus.host;
    memset(&fake, 0, sizeof(fake));
    bus_init(&bus, &host, false, 0);
    CHECK_EQ(bus_load(&bus, bytes, sizeof(bytes), &e), 0);
    CHECK_STR(e.text, "untouched");
    CHECK(!fake.level);
    bus_resume(&bus);
    CHECK(fake.level && fake.edges == 1);
    bus_save(&bus, again);
    CHECK(memcmp(bytes, again, sizeof(bytes)) == 0);
    CHECK_EQ(inb(0x3f8), 'a');
    CHECK(!fake.level);
    CHECK_EQ(inb(0x3ff), 0x5a);
    CHECK_EQ(inb(0x71), 0x99);
    CHECK_EQ(inb(0xcf9), 0x02);
    CHECK_EQ(inb(0x61) & 3, 3);
    CHECK_EQ(outb(0xfe, 0x60), BUS_RESET); /* the output port, as was commanded before */
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("without interrupt controllers nobody is told");
    bus_init(&bus, &host, false, 0);
    bus.host.set_irq = NULL;
    fake.edges = 0;
    CHECK_EQ(bus_load(&bus, bytes, sizeof(bytes), &e), 0);
    bus_resume(&bus);
    CHECK(fake.edges == 0 && bus.uart.irq);

    tap_case("bytes that no device can come to are refused by the device's name");
    for (n = 0, i = 0; i < sizeof(bytes); i++) {
        static const char *const names[] = {"serial line", "CMOS", "keyboard controller"};

        memcpy(again, bytes, sizeof(bytes));
        again[i] = 0xff;
        if (bus_load(&bus, again, sizeof(again), &e) == 0)
            continue;
        n++;
        CHECK_EQ(e.status, STATUS_IMAGE);
        CHECK_HAS(e.text, names[i < sizeof(struct dev_uart) ? 0 : i < sizeof(struct dev_uart) + 129 ? 1 : 2]);
    }
    /* IER, MCR, overrun, delta, thre, irq, lsr_reads, where and how much in the FIFO; the index; three. */
    CHECK_EQ(n, 9 + 1 + 3);
    for (i = 0; i < 2; i++) {
        struct dev_uart *u = (struct dev_uart *)again;

        memcpy(again, bytes, sizeof(bytes));
        if (i == 0)
            u->overrun = 1;
        else
            u->fcr = 0, u->rx_n = 2;
        CHECK_EQ(bus_load(&bus, again, sizeof(again), &e), -1);
        CHECK_HAS(e.text, "section DEVICES: serial line: more than its buffer holds");
    }
    CHECK_EQ(bus_load(&bus, bytes, sizeof(bytes) - 1, &e), -1);
    CHECK_HAS(e.text, "section DEVICES: wrong length (162, 163)");
    CHECK_EQ(bus_load(&bus, bytes, sizeof(bytes) + 1, &e), -1);
}

int main(void)
{
    test_saved();
    test_exit();
    test_console();
    test_unknown();
    test_microvm();
    return tap_done();
}
