/* A 16550A whose wire is infinitely fast towards the host. See dev_uart.h. */
#include "hv/dev_uart.h"

#include <stddef.h>

#include "hv/bus.h"
#include "mem/assert.h"

/* Registers, and their bits that mean something here. */
enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

enum {
    IER_RX = 1,
    IER_THRE = 2,
    IER_LINE = 4,
    IER_MODEM = 8,
    IIR_MODEM = 0x0,
    IIR_NONE = 0x1,
    IIR_THRE = 0x2,
    IIR_RX = 0x4,
    IIR_LINE = 0x6,
    IIR_TIMEOUT = 0xc,
    IIR_FIFO = 0xc0,
    FCR_ENABLE = 1,
    FCR_CLEAR_RX = 2,
    LCR_DLAB = 0x80,
    MCR_OUT2 = 8,
    MCR_LOOP = 0x10,
    LSR_READY = 1,
    LSR_OVERRUN = 2,
    LSR_EMPTY = 0x60, /* transmitter holding register and shift register */
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

void dev_uart_init(struct dev_uart *u)
{
    *u = (struct dev_uart){.divisor = {12, 0}}; /* 9600 baud, as a BIOS leaves it */
}

/* The level that raises the receive interrupt. */
static unsigned trigger(const struct dev_uart *u)
{
    return u->fcr & FCR_ENABLE ? (const uint8_t[]){1, 4, 8, 14}[u->fcr >> 6] : 1;
}

/* The interrupt of the highest priority that waits, as the IIR names it. */
static unsigned cause(const struct dev_uart *u)
{
    if (u->ier & IER_LINE && u->overrun)
        return IIR_LINE;
    if (u->ier & IER_RX && u->rx_n != 0)
        /* Nothing comes later by itself, so the four characters' time of silence is always over. */
        return u->rx_n >= trigger(u) ? IIR_RX : IIR_TIMEOUT;
    if (u->ier & IER_THRE && u->thre)
        return IIR_THRE;
    return u->ier & IER_MODEM && u->delta ? IIR_MODEM : IIR_NONE;
}

static void set_line(struct dev_uart *u, const struct bus_host *host, bool level)
{
    if (u->irq == level)
        return;
    u->irq = level;
    if (host->set_irq != NULL)
        host->set_irq(host->ctx, UART_IRQ, level);
}

/* A PC's interrupt line passes a gate that OUT2 opens; loopback forces the pins, so OUT2 too, to inactive. */
static void update_line(struct dev_uart *u, const struct bus_host *host)
{
    set_line(u, host, cause(u) != IIR_NONE && (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2);
}

#define MAX(member, max) [offsetof(struct dev_uart, member)] = (max)
const uint8_t dev_uart_max[sizeof(struct dev_uart)] = {
    MAX(ier, 0x0f),
    MAX(fcr, 0xff),
    MAX(lcr, 0xff),
    MAX(mcr, 0x1f),
    MAX(scr, 0xff),
    MAX(thre, 1),
    MAX(divisor, 0xff),
    MAX(divisor[1], 0xff),
    MAX(overrun, 2),
    MAX(delta, 15),
    MAX(irq, 1),
    MAX(lsr_reads, 2),
    MAX(rx_n, UART_FIFO_LEN),
    MAX(rx_at, UART_FIFO_LEN - 1),
    [offsetof(struct dev_uart, rx)... offsetof(struct dev_uart, rx) + UART_FIFO_LEN - 1] = 0xff,
};

static unsigned capacity(const struct dev_uart *u)
{
    return u->fcr & FCR_ENABLE ? UART_FIFO_LEN : 1;
}

bool dev_uart_is_sane(const struct dev_uart *u)
{
    return u->rx_n <= capacity(u) && u->overrun != 1;
}

void dev_uart_resume(struct dev_uart *u, const struct bus_host *host)
{
    u->irq = false;
    update_line(u, host);
}

/* The MSR's upper half: in loopback the MCR's outputs, otherwise a modem that is ready. */
static unsigned modem_lines(const struct dev_uart *u)
{
    if (!(u->mcr & MCR_LOOP))
        return MSR_DCD | MSR_DSR | MSR_CTS;
    /* DTR and RTS change places: DTR comes back as DSR, RTS as CTS. */
    return (u->mcr & 0xcu) << 4 | (u->mcr & 1u) << 5 | (u->mcr & 2u) << 3;
}

static void set_mcr(struct dev_uart *u, uint8_t value)
{
    unsigned before = modem_lines(u), now;

    u->mcr = value & 0x1f;
    if (u->mcr & MCR_LOOP)
        u->lsr_reads = 0;
    now = modem_lines(u);
    /* Of the ring indicator only the end counts. */
    u->delta |= (uint8_t)((((before ^ now) & ~(unsigned)MSR_RI) | (before & ~now & MSR_RI)) >> 4);
}

static void set_fcr(struct dev_uart *u, uint8_t value)
{
    if (((u->fcr ^ value) & FCR_ENABLE) || (value & FCR_CLEAR_RX && value & FCR_ENABLE)) {
        u->rx_n = 0;
        u->lsr_reads = 0;
    }
    u->fcr = value;
}

static void push(struct dev_uart *u, uint8_t byte)
{
    unsigned cap = capacity(u);

    if (u->rx_n < cap) {
        u->rx[(u->rx_at + u->rx_n++) % UART_FIFO_LEN] = byte;
        return;
    }
    u->overrun = LSR_OVERRUN;
    if (cap == 1)
        u->rx[u->rx_at] = byte; /* without the FIFO the newest byte stays, with it the oldest */
}

/* Two readings of the line status in a row are kept until a driver starts anew. */
static void note_access(struct dev_uart *u, bool is_lsr)
{
    if (u->lsr_reads < 2)
        u->lsr_reads = is_lsr ? u->lsr_reads + 1 : 0;
}

void dev_uart_write(struct dev_uart *u, const struct bus_host *host, unsigned reg, uint8_t value)
{
    note_access(u, false);
    if (reg <= IER && u->lcr & LCR_DLAB) {
        u->divisor[reg] = value;
        return;
    }
    switch (reg) {
    case RBR_THR:
        /* It was full for a moment: on an edge-triggered line each byte has an interrupt of its own. */
        u->thre = false;
        update_line(u, host);
        if (u->mcr & MCR_LOOP)
            push(u, value);
        else
            host->emit(host->ctx, &value, 1);
        u->thre = true;
        break;
    case IER:
        if (value & ~u->ier & IER_THRE)
            u->thre = true;
        u->ier = value & 0xf;
        break;
    case IIR_FCR: set_fcr(u, value); break;
    case LCR: u->lcr = value; break;
    case MCR: set_mcr(u, value); break;
    case SCR: u->scr = value; break;
    default: break;
    }
    update_line(u, host);
}

static uint8_t read_rbr(struct dev_uart *u, const struct bus_host *host)
{
    uint8_t byte = u->rx[u->rx_at];

    if (u->rx_n == 0)
        return byte;
    u->rx_n--;
    u->rx_at = (u->rx_at + 1) % UART_FIFO_LEN;
    /* The silence is counted anew: a handler that takes one byte each time is called again. */
    if (cause(u) == IIR_TIMEOUT)
        set_line(u, host, false);
    return byte;
}

uint8_t dev_uart_read(struct dev_uart *u, const struct bus_host *host, unsigned reg)
{
    unsigned v = 0;

    note_access(u, reg == LSR);
    if (reg <= IER && u->lcr & LCR_DLAB)
        return u->divisor[reg];
    switch (reg) {
    case RBR_THR: v = read_rbr(u, host); break;
    case IER: v = u->ier; break;
    case IIR_FCR:
        v = cause(u);
        if (v == IIR_THRE)
            u->thre = false;
        v |= u->fcr & FCR_ENABLE ? IIR_FIFO : 0;
        break;
    case LCR: v = u->lcr; break;
    case MCR: v = u->mcr; break;
    case LSR:
        v = LSR_EMPTY | u->overrun | (u->rx_n != 0 ? LSR_READY : 0);
        u->overrun = 0;
        break;
    case MSR:
        v = modem_lines(u) | u->delta;
        u->delta = 0;
        break;
    default: v = u->scr; break;
    }
    update_line(u, host);
    return (uint8_t)v;
}

size_t dev_uart_room(const struct dev_uart *u)
{
    bool listens = (u->ier & IER_RX || u->lsr_reads == 2) && !(u->mcr & MCR_LOOP);

    return listens && u->rx_n < trigger(u) ? trigger(u) - u->rx_n : 0;
}

void dev_uart_input(struct dev_uart *u, const struct bus_host *host, const uint8_t *bytes, size_t n)
{
    assert(n <= dev_uart_room(u));
    while (n-- != 0)
        push(u, *bytes++);
    update_line(u, host);
}
