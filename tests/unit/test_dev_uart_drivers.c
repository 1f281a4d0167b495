/*
 * hv/dev_uart under drivers: Linux' probing of an 8250 access by access
 * (drivers/tty/serial/8250/8250_port.c), its interrupt handler, and drivers
 * that only look and wait.
 */
#include "tests/tap.h"
#include "tests/unit/bus_host.h"

enum { RX = 0, TX = 0, DLL = 0, IER, DLM = IER, IIR, FCR = IIR, EFR = IIR, LCR, MCR, LSR, MSR, SCR };

enum port_type {
    NO_PORT,
    PORT_8250,
    PORT_UNKNOWN,
    PORT_16550,
    PORT_16550A,
    PORT_16650,
    PORT_16650V2,
    PORT_16750,
    PORT_NS16550A,
    PORT_XSCALE
};

static uint8_t in(unsigned reg)
{
    return inb(0x3f8 + reg);
}

static void out(unsigned reg, unsigned value)
{
    if (outb((uint8_t)value, 0x3f8 + reg) != BUS_NONE)
        fake.wrong = true;
}

/* autoconfig_16550a() of a kernel with CONFIG_SERIAL_8250_16550A_VARIANTS, which Debian's are. */
static enum port_type autoconfig_16550a(void)
{
    unsigned status1, status2, iersave;

    out(LCR, 0x80);
    if (in(EFR) == 0) {
        out(EFR, 0xa8);
        return in(EFR) != 0 ? PORT_16650 : PORT_UNKNOWN;
    }
    out(LCR, 0xbf);
    if (in(EFR) == 0)
        return PORT_16650V2;
    out(LCR, 0);
    status1 = in(MCR);
    out(LCR, 0xe0);
    status2 = in(2);
    if (!((status2 ^ status1) & 0x10)) {
        out(LCR, 0);
        out(MCR, status1 ^ 0x10);
        out(LCR, 0xe0);
        status2 = in(2);
        out(LCR, 0);
        out(MCR, status1);
        if ((status2 ^ status1) & 0x10)
            return PORT_NS16550A;
    }
    out(LCR, 0);
    out(FCR, 0x21);
    status1 = in(IIR)&0xe0;
    out(FCR, 0x01);
    out(LCR, 0x80);
    out(FCR, 0x21);
    status2 = in(IIR)&0xe0;
    out(FCR, 0x01);
    out(LCR, 0);
    if (status1 == 0xc0 && status2 == 0xe0)
        return PORT_16750;
    iersave = in(IER);
    out(IER, iersave & ~0x40u);
    if (!(in(IER)&0x40)) {
        out(IER, iersave | 0x40);
        if (in(IER)&0x40)
            return PORT_XSCALE;
    }
    out(IER, iersave);
    return PORT_16550A;
}

/* size_fifo(). */
static unsigned size_fifo(void)
{
    unsigned old_mcr, old_lcr, old_dll, old_dlm, count, value = 0;

    old_lcr = in(LCR);
    out(LCR, 0);
    (void)in(FCR);
    old_mcr = in(MCR);
    out(FCR, 0x07);
    out(MCR, 0x12);
    out(LCR, 0x80);
    old_dll = in(DLL);
    old_dlm = in(DLM);
    out(DLL, 1);
    out(DLM, 0);
    out(LCR, 0x03);
    for (count = 0; count < 256; count++)
        out(TX, count);
    for (count = 0; (in(LSR)&1) && count < 256; count++)
        value += in(RX) == count;
    out(FCR, 0x01);
    out(MCR, old_mcr);
    out(LCR, 0x80);
    out(DLL, old_dll);
    out(DLM, old_dlm);
    out(LCR, old_lcr);
    return count == value ? count : 0;
}

/* autoconfig(). */
static enum port_type autoconfig(void)
{
    unsigned scratch, scratch2, scratch3, save_mcr, save_lcr, status1;
    enum port_type type = PORT_UNKNOWN;

    scratch = in(IER);
    out(IER, 0);
    outb(0xff, 0x80);
    scratch2 = in(IER)&0x0f;
    out(IER, 0x0f);
    outb(0, 0x80);
    scratch3 = in(IER)&0x0f;
    out(IER, scratch);
    if (scratch2 != 0 || scratch3 != 0x0f)
        return NO_PORT;
    save_mcr = in(MCR);
    save_lcr = in(LCR);
    out(MCR, 0x10 | 0x0a);
    status1 = in(MSR)&0xf0;
    out(MCR, save_mcr);
    if (status1 != 0x90)
        return NO_PORT;
    out(LCR, 0xbf);
    out(EFR, 0);
    out(LCR, 0);
    out(FCR, 0x01);
    switch (in(IIR) >> 6) {
    case 0: type = PORT_8250; break;
    case 2: type = PORT_16550; break;
    case 3: type = autoconfig_16550a(); break;
    default: break;
    }
    out(LCR, save_lcr);
    out(MCR, save_mcr);
    out(FCR, 0x01);
    out(FCR, 0x07);
    out(FCR, 0);
    (void)in(RX);
    out(IER, 0);
    return type;
}

enum { BUG_THRE = 1, BUG_TXEN = 2, NOT_THERE = 4 };

/* serial8250_do_startup() and the set_termios() that follows it; the bugs it believes to see. */
static unsigned startup(void)
{
    unsigned bugs = 0, iir1, iir, lsr;

    out(FCR, 0x01);
    out(FCR, 0x07);
    out(FCR, 0);
    (void)in(LSR);
    (void)in(RX);
    (void)in(IIR);
    (void)in(MSR);
    if (in(LSR) == 0xff)
        return NOT_THERE;
    /* serial8250_THRE_test() */
    while (!(in(LSR)&0x20))
        ;
    out(IER, 0x02);
    iir1 = in(IIR);
    out(IER, 0);
    out(IER, 0x02);
    iir = in(IIR);
    out(IER, 0);
    if (!(iir1 & 1) && (iir & 1))
        bugs |= BUG_THRE;
    out(LCR, 0x03);
    out(MCR, 0x08);
    /* the test for UART_BUG_TXEN */
    out(IER, 0x02);
    lsr = in(LSR);
    iir = in(IIR);
    out(IER, 0);
    if ((lsr & 0x40) && (iir & 1))
        bugs |= BUG_TXEN;
    (void)in(LSR);
    (void)in(RX);
    (void)in(IIR);
    (void)in(MSR);
    /* set_termios(): 115200 8N1, the FIFO's level 8 */
    out(IER, 0x05);
    out(LCR, 0x83);
    out(DLL, 1);
    out(DLM, 0);
    out(LCR, 0x03);
    out(FCR, 0x01);
    out(FCR, 0x81);
    out(MCR, 0x0b);
    return bugs;
}

/* What the driver has to send and has received. */
struct tty {
    const char *to_send;
    uint8_t got[1 << 16];
    size_t got_len;
};

static struct tty tty;

/* serial8250_handle_irq(): whether the port had something to say. */
static bool handle_port(void)
{
    unsigned iir = in(IIR), status, i;

    if (iir & 1)
        return false;
    status = in(LSR);
    if (status & 0x1f) {
        do {
            tty.got[tty.got_len++ % sizeof(tty.got)] = in(RX);
            status = in(LSR);
        } while (status & 0x1f);
    }
    (void)in(MSR);
    if ((status & 0x20) && (in(IER)&0x02)) {
        for (i = 0; i < 16 && *tty.to_send != '\0'; i++)
            out(TX, (uint8_t)*tty.to_send++);
        if (*tty.to_send == '\0')
            out(IER, 0x05);
    }
    return true;
}

/* serial8250_interrupt(), as often as the line rose. */
static unsigned interrupts(unsigned *served)
{
    unsigned n = 0;

    while (fake.edges != *served && n < 100000) {
        *served = fake.edges;
        n++;
        while (handle_port())
            ;
    }
    return n;
}

static void console_write(const char *text)
{
    unsigned ier = in(IER);

    out(IER, 0);
    for (; *text != '\0'; text++) {
        while (!(in(LSR)&0x20))
            ;
        out(TX, (uint8_t)*text);
    }
    while ((in(LSR)&0x60) != 0x60)
        ;
    out(IER, ier);
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

static void test_linux(void)
{
    static const uint8_t early[] = "early";
    static uint8_t input[60000];
    unsigned served;
    size_t sent, i;

    tap_case("Linux finds a 16550A with a FIFO of 16 bytes at COM1 and no bug in it");
    fake_start(false, 1 << 24);
    CHECK_EQ(autoconfig(), PORT_16550A);
    CHECK_EQ(size_fifo(), 16);
    CHECK_EQ(startup(), 0);
    CHECK_EQ(fake.out_len, 0);

    tap_case("Linux finds no port at COM2, COM3 and COM4, and nothing of that counts as unknown");
    for (i = 0; i < 3; i++) {
        const unsigned base = (const unsigned[]){0x2f8, 0x3e8, 0x2e8}[i];

        outb(0, base + IER);
        CHECK_EQ(inb(base + IER), 0xff);
        CHECK_EQ(inb(base + LSR), 0xff);
    }
    CHECK_EQ(bus.unknown_all, 0);

    tap_case("what was typed before Linux' driver starts waits for it, whatever its console says meanwhile");
    fake_start(false, 1 << 24);
    console_write("Linux version\n");
    CHECK_EQ(fake_type(early, 5), 0);
    autoconfig();
    CHECK_EQ(fake_type(early, 5), 0);
    console_write("ttyS0 at I/O 0x3f8 (irq = 4) is a 16550A\n");
    console_write("random: crng init done\n");
    CHECK_EQ(fake_type(early, 5), 0);
    startup();
    tty = (struct tty){.to_send = ""};
    served = fake.edges;
    CHECK_EQ(fake_type(early, 5), 5);
    interrupts(&served);
    CHECK(tty.got_len == 5 && memcmp(tty.got, early, 5) == 0);

    tap_case("60,000 bytes of any value reach Linux' interrupt handler while it sends");
    for (i = 0; i < sizeof(input); i++)
        input[i] = pattern(i);
    fake_start(false, 1 << 24);
    autoconfig();
    startup();
    tty = (struct tty){.to_send =
                           "The quick brown fox jumps over the lazy dog, which is more than a FIFO holds\n"};
    served = fake.edges;
    out(IER, 0x07); /* start_tx() */
    for (sent = 0, i = 0; sent < sizeof(input) && i < sizeof(input); i++) {
        sent += fake_type(input + sent, sizeof(input) - sent);
        interrupts(&served);
    }
    CHECK_EQ(sent, sizeof(input));
    CHECK(tty.got_len == sizeof(input) && memcmp(tty.got, input, sizeof(input)) == 0);
    CHECK(fake_said("The quick brown fox jumps over the lazy dog, which is more than a FIFO holds\n"));
    CHECK(!fake.level && !fake.wrong);

    tap_case("an interrupt handler that sends one byte each time and never reads IIR sends everything");
    fake_start(false, 1 << 24);
    out(MCR, 0x0b);
    served = fake.edges;
    out(IER, 0x02);
    for (i = 0; i < 100 && fake.edges != served; i++) {
        served = fake.edges;
        out(TX, '0' + (unsigned)i % 10);
    }
    CHECK_EQ(i, 100);
    CHECK_EQ(fake.out_len, 100);
}

static void test_polled(void)
{
    static uint8_t input[30000];
    size_t sent = 0, got = 0, looks = 0, i;

    for (i = 0; i < sizeof(input); i++)
        input[i] = pattern(i);

    tap_case("a polled driver without FIFO echoes 30,000 bytes");
    fake_start(false, 1 << 24);
    while (got < sizeof(input) && looks++ < 10 * sizeof(input)) {
        sent += fake_type(input + sent, sizeof(input) - sent);
        if (!(in(LSR)&1))
            continue;
        if (in(RX) != input[got++])
            break;
        while (!(in(LSR)&0x20))
            ;
        out(TX, input[got - 1]);
    }
    CHECK_EQ(got, sizeof(input));
    CHECK(fake.out_len == sizeof(input) && memcmp(fake.out, input, sizeof(input)) == 0);

    tap_case("the self-test of a driver for toys passes: 0xae through loopback");
    fake_start(false, 1 << 24);
    out(IER, 0x00);
    out(LCR, 0x80);
    out(DLL, 0x03);
    out(DLM, 0x00);
    out(LCR, 0x03);
    out(FCR, 0xc7);
    out(MCR, 0x0b);
    out(MCR, 0x1e);
    out(TX, 0xae);
    CHECK_EQ(in(RX), 0xae);
    out(MCR, 0x0f);
    out(TX, 'o');
    out(TX, 'k');
    CHECK(fake_said("ok"));

    tap_case("a polled driver with FIFO takes what is typed at any pace");
    for (sent = got = looks = 0; got < 1000 && looks++ < 100000;) {
        if (looks % 7 == 0)
            sent += fake_type(input + sent, (looks / 7) % 20);
        if (in(LSR)&1 && in(RX) != input[got++])
            break;
    }
    CHECK_EQ(got, 1000);
    CHECK_EQ(bus.unknown_all, 0);
    CHECK(!fake.wrong);
}

int main(void)
{
    test_linux();
    test_polled();
    return tap_done();
}
