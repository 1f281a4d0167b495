/* hv/dev_uart: each register of a 16550A as the data sheet has it, and the interrupt line. */
#include "hv/dev_uart.h"

#include "tests/tap.h"
#include "tests/unit/bus_host.h"

#define COM1 0x3f8

/* Registers of the data sheet, by its names. */
enum { RBR = COM1, THR = COM1, IER, IIR, FCR = IIR, LCR, MCR, LSR, MSR, SCR };

static const uint8_t letters[] = "abcdefghijklmnopqrstuvwxyz";

static void start(void)
{
    fake_start(false, 1 << 20);
}

static void test_registers(void)
{
    unsigned i;

    tap_case("after power-on the UART is empty, ready to send and interrupts nobody");
    start();
    CHECK_EQ(inb(IER), 0);
    CHECK_EQ(inb(IIR), 1);
    CHECK_EQ(inb(LCR), 0);
    CHECK_EQ(inb(MCR), 0);
    CHECK_EQ(inb(LSR), 0x60);
    CHECK_EQ(inb(MSR), 0xb0);
    CHECK_EQ(inb(RBR), 0);
    CHECK(!fake.level && fake.edges == 0 && bus_input_room(&bus) == 0);

    tap_case("registers keep the bits they have: four of IER, five of MCR, all of LCR and SCR");
    for (i = 0; i < 256; i++) {
        outb((uint8_t)i, IER);
        outb((uint8_t)i, MCR);
        outb((uint8_t)i, SCR);
        if (inb(IER) != (i & 0x0f) || inb(MCR) != (i & 0x1f) || inb(SCR) != i)
            break;
        outb((uint8_t)i, LCR);
        if (inb(LCR) != i)
            break;
        outb(0, LCR);
    }
    CHECK_EQ(i, 256);

    tap_case("DLAB shows the divisor at the first two registers and nothing else changes");
    start();
    outb(0x5, IER);
    outb(0x83, LCR);
    outb(0x34, COM1);
    outb(0x12, COM1 + 1);
    CHECK_EQ(inb(COM1), 0x34);
    CHECK_EQ(inb(COM1 + 1), 0x12);
    CHECK_EQ(inb(IIR), 1);
    CHECK_EQ(inb(LSR), 0x60);
    outb(0x03, LCR);
    CHECK_EQ(inb(IER), 0x5);
    CHECK_EQ(inb(RBR), 0);
    CHECK_EQ(fake.out_len, 0);
    outb(0x83, LCR);
    CHECK_EQ(inb(COM1), 0x34);
    CHECK_EQ(inb(COM1 + 1), 0x12);

    tap_case("line status and modem status cannot be written");
    start();
    inb(MSR);
    outb(0xff, LSR);
    outb(0xff, MSR);
    CHECK_EQ(inb(LSR), 0x60);
    CHECK_EQ(inb(MSR), 0xb0);

    tap_case("every byte written is output, in order, whatever it is");
    start();
    for (i = 0; i < 256; i++)
        outb((uint8_t)i, THR);
    CHECK_EQ(fake.out_len, 256);
    for (i = 0; i < 256 && fake.out[i] == i; i++)
        ;
    CHECK_EQ(i, 256);

    tap_case("IIR says that there are FIFOs while they are on");
    start();
    outb(0x01, FCR);
    CHECK_EQ(inb(IIR), 0xc1);
    outb(0xc6, FCR); /* the enable bit is off, so nothing else counts */
    CHECK_EQ(inb(IIR), 0x01);
    CHECK(!fake.wrong);
}

static void test_modem(void)
{
    tap_case("in loopback the modem status shows the modem control outputs");
    start();
    outb(0x1a, MCR); /* RTS, OUT2: what Linux looks for */
    CHECK_EQ(inb(MSR) & 0xf0, 0x90);
    outb(0x11, MCR);
    CHECK_EQ(inb(MSR) & 0xf0, 0x20);
    outb(0x12, MCR);
    CHECK_EQ(inb(MSR) & 0xf0, 0x10);
    outb(0x14, MCR);
    CHECK_EQ(inb(MSR) & 0xf0, 0x40);
    outb(0x18, MCR);
    CHECK_EQ(inb(MSR) & 0xf0, 0x80);

    tap_case("modem status tells once what changed, of the ring indicator only its end");
    start();
    outb(0x10, MCR);
    CHECK_EQ(inb(MSR), 0x0b);
    CHECK_EQ(inb(MSR), 0x00);
    outb(0x14, MCR);
    CHECK_EQ(inb(MSR), 0x40);
    outb(0x10, MCR);
    CHECK_EQ(inb(MSR), 0x04);
    outb(0x1b, MCR);
    CHECK_EQ(inb(MSR), 0xbb);
    outb(0x00, MCR);
    CHECK_EQ(inb(MSR), 0xb0);

    tap_case("a modem status change interrupts until the status is read");
    start();
    outb(0x08, IER);
    outb(0x10, MCR);
    CHECK_EQ(inb(IIR), 0x00);
    outb(0x08, MCR);
    CHECK(fake.level);
    CHECK_EQ(inb(IIR), 0x00);
    inb(MSR);
    CHECK_EQ(inb(IIR), 0x01);
    CHECK(!fake.level && !fake.wrong);
}

static void test_loopback(void)
{
    unsigned i;

    tap_case("in loopback what is sent is received and never output");
    start();
    outb(0x10, MCR);
    CHECK_EQ(inb(LSR), 0x60);
    outb('x', THR);
    CHECK_EQ(inb(LSR), 0x61);
    CHECK_EQ(inb(RBR), 'x');
    CHECK_EQ(inb(LSR), 0x60);
    CHECK_EQ(fake.out_len, 0);

    tap_case("without the FIFO a second byte in loopback overruns the first, and line status says so once");
    outb('1', THR);
    outb('2', THR);
    CHECK_EQ(inb(LSR), 0x63);
    CHECK_EQ(inb(LSR), 0x61);
    CHECK_EQ(inb(RBR), '2');
    CHECK_EQ(inb(LSR), 0x60);

    tap_case("the FIFO holds the 16 oldest bytes");
    outb(0x07, FCR);
    for (i = 0; i < 40; i++)
        outb((uint8_t)i, THR);
    CHECK_EQ(inb(LSR), 0x63);
    for (i = 0; inb(LSR) & 1; i++)
        if (inb(RBR) != i)
            break;
    CHECK_EQ(i, 16);

    tap_case("turning the FIFO on or off, and its reset, empty it; FCR without the reset does not");
    outb(0x01, FCR);
    outb('x', THR);
    outb(0x41, FCR);
    CHECK_EQ(inb(LSR), 0x61);
    outb(0x05, FCR); /* the transmitter's */
    CHECK_EQ(inb(LSR), 0x61);
    outb(0x03, FCR);
    CHECK_EQ(inb(LSR), 0x60);
    outb('x', THR);
    outb(0x00, FCR);
    CHECK_EQ(inb(LSR), 0x60);
    outb('x', THR);
    outb(0x01, FCR);
    CHECK_EQ(inb(LSR), 0x60);

    tap_case("an overrun interrupts before all else until line status is read");
    start();
    outb(0x0f, IER);
    outb(0x18, MCR);
    outb('1', THR);
    outb('2', THR);
    CHECK(!fake.level); /* loopback takes OUT2 from its pin */
    outb(0x08, MCR);
    CHECK(fake.level);
    CHECK_EQ(inb(IIR), 0x06);
    inb(LSR);
    CHECK_EQ(inb(IIR), 0x04);
    inb(RBR);
    CHECK_EQ(inb(IIR), 0x02);
    CHECK_EQ(inb(IIR), 0x00);
    inb(MSR);
    CHECK_EQ(inb(IIR), 0x01);
    CHECK(!fake.level && !fake.wrong);
}

static void test_transmit_interrupt(void)
{
    tap_case(
        "enabling the transmit interrupt raises it, reading IIR takes it back, enabling again raises again");
    start();
    outb(0x08, MCR);
    CHECK(!fake.level);
    outb(0x02, IER);
    CHECK(fake.level);
    CHECK_EQ(inb(IIR), 0x02);
    CHECK(!fake.level);
    CHECK_EQ(inb(IIR), 0x01);
    outb(0x02, IER); /* it was enabled already */
    CHECK_EQ(inb(IIR), 0x01);
    outb(0x00, IER);
    outb(0x02, IER);
    CHECK_EQ(inb(IIR), 0x02);
    CHECK_EQ(fake.edges, 2);

    tap_case("each byte sent is an edge of its own, even when the interrupt was still up");
    start();
    outb(0x08, MCR);
    outb(0x02, IER);
    outb('a', THR);
    CHECK_EQ(fake.edges, 2);
    outb('b', THR);
    CHECK_EQ(fake.edges, 3);
    CHECK_EQ(inb(IIR), 0x02);
    outb('c', THR);
    CHECK_EQ(fake.edges, 4);
    CHECK(fake.level && fake_said("abc"));

    tap_case("disabling the interrupt lowers the line, and so do OUT2 off and loopback");
    outb(0x00, IER);
    CHECK(!fake.level);
    outb(0x02, IER);
    CHECK(fake.level);
    outb(0x03, MCR);
    CHECK(!fake.level);
    outb(0x0b, MCR);
    CHECK(fake.level);
    outb(0x1b, MCR);
    CHECK(!fake.level);
    CHECK_EQ(inb(IIR), 0x02);
    CHECK(!fake.wrong);
}

static void test_receive(void)
{
    unsigned i, total;
    static const uint8_t levels[] = {1, 4, 8, 14};

    tap_case("nothing is taken before the guest listens, and a driver that starts loses nothing");
    start();
    CHECK_EQ(fake_type(letters, 26), 0);
    inb(LSR); /* a sender looks once for each byte */
    outb('x', THR);
    inb(LSR);
    outb('y', THR);
    inb(LSR);
    inb(RBR);
    CHECK_EQ(bus_input_room(&bus), 0);
    outb(0x01, IER);
    CHECK_EQ(bus_input_room(&bus), 1);
    outb(0x10, MCR);
    CHECK_EQ(bus_input_room(&bus), 0);
    outb(0x00, MCR);
    outb(0x00, IER);
    CHECK_EQ(bus_input_room(&bus), 0);

    tap_case(
        "two looks at line status in a row are a guest that waits, until it resets the FIFO or tests itself");
    inb(LSR);
    inb(LSR);
    CHECK_EQ(bus_input_room(&bus), 1);
    outb('x', THR);
    CHECK_EQ(bus_input_room(&bus), 1);
    outb(0x07, FCR);
    CHECK_EQ(bus_input_room(&bus), 0);
    inb(LSR);
    inb(LSR);
    CHECK_EQ(bus_input_room(&bus), 1);
    outb(0x10, MCR);
    outb(0x00, MCR);
    CHECK_EQ(bus_input_room(&bus), 0);

    for (i = 0; i < 4; i++) {
        tap_case(
            "room is up to the level at which the guest wants to be interrupted, which IIR tells from fewer");
        start();
        outb(0x08, MCR);
        outb((uint8_t)(i << 6 | 1), FCR);
        outb(0x01, IER);
        CHECK_EQ(bus_input_room(&bus), levels[i]);
        CHECK_EQ(fake_type(letters, 1), 1);
        CHECK_EQ(inb(IIR), i == 0 ? 0xc4 : 0xcc);
        CHECK(fake.level);
        total = 1 + (unsigned)fake_type(letters + 1, 25);
        CHECK_EQ(total, levels[i]);
        CHECK_EQ(bus_input_room(&bus), 0);
        CHECK_EQ(inb(IIR), 0xc4);
        CHECK_EQ(inb(RBR), 'a');
        CHECK_EQ(inb(IIR), i == 0 ? 0xc1 : 0xcc);
        CHECK_EQ(bus_input_room(&bus), 1);
        CHECK(fake.level == (i != 0));
        CHECK(!fake.wrong);
    }

    tap_case("a lower level leaves no room and takes nothing away");
    outb(0x01, FCR);
    CHECK_EQ(bus_input_room(&bus), 0);
    CHECK_EQ(inb(IIR), 0xc4);
    for (i = 1; i < 14; i++)
        CHECK_EQ(inb(RBR), letters[i]);
    CHECK_EQ(bus_input_room(&bus), 1);

    tap_case("a handler that takes one byte each time gets every byte at every level");
    for (i = 0; i < 5; i++) {
        size_t sent = 0, seen = 0;
        unsigned served = 0;

        start();
        outb(i == 4 ? 0 : (uint8_t)(i << 6 | 1), FCR);
        outb(0x08, MCR);
        outb(0x01, IER);
        while (seen < 26) {
            sent += fake_type(letters + sent, 26 - sent);
            if (fake.edges == served)
                break; /* nothing would wake it */
            served = fake.edges;
            if (inb(RBR) != letters[seen])
                break;
            seen++;
        }
        CHECK_EQ(seen, 26);
        CHECK(!fake.level && !fake.wrong);
    }

    tap_case("interrupts lost to masking are up again as soon as they are enabled");
    start();
    outb(0x01, IER);
    CHECK_EQ(fake_type(letters, 26), 1);
    CHECK(!fake.level);
    outb(0x0b, MCR);
    CHECK(fake.level);
    outb(0x00, IER);
    CHECK(!fake.level);
    outb(0x01, IER);
    CHECK(fake.level);
    CHECK_EQ(inb(RBR), 'a');
    CHECK(!fake.level && !fake.wrong);

    tap_case("without an interrupt controller the UART works all the same");
    start();
    bus.host.set_irq = NULL;
    outb(0x0b, MCR);
    outb(0x03, IER);
    outb('x', THR);
    CHECK_EQ(fake_type(letters, 26), 1);
    CHECK_EQ(inb(IIR), 0x04);
    CHECK_EQ(inb(RBR), 'a');
    CHECK_EQ(inb(IIR), 0x02);
    CHECK(fake_said("x") && fake.edges == 0);
}

int main(void)
{
    test_registers();
    test_modem();
    test_loopback();
    test_transmit_interrupt();
    test_receive();
    return tap_done();
}
