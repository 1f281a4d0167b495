/* Which device answers at which port. See bus.h. */
#include "hv/bus.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "mem/assert.h"

enum {
    PORT_CONSOLE = 0xe9, /* Bochs' and QEMU's debug console; microvm's standard output */
    PORT_MESSAGE = 0xea, /* microvm's standard input */
    PORT_POWER = 0x604,  /* QEMU's ACPI control register; microvm's commands */
    PORT_POWER_OLD = 0xb004,
    PORT_EXIT = 0xf4, /* QEMU's isa-debug-exit as its users place it, and where it is by default */
    PORT_EXIT_OLD = 0x501,
    PORT_UART = 0x3f8,
    PORT_PCI = 0xcf8,
    POWER_OFF = 0x2000, /* sleep enable, type 0 */
};

/* microvm's commands, in the upper half of 4 bytes. */
enum { COMMAND_EXIT = 0x2000, COMMAND_PAUSE = 0x3000, COMMAND_SNAPSHOT = 0x4000 };

/* Both ways; the empty message is all zero. */
#define MESSAGE_LEN 64

void bus_init(struct bus *b, const struct bus_host *host, bool microvm, uint64_t ram_len)
{
    *b = (struct bus){.host = *host, .microvm = microvm};
    dev_uart_init(&b->uart);
    dev_cmos_init(&b->cmos, ram_len);
    dev_kbc_init(&b->kbc);
    dev_pci_init(&b->pci);
}

/* --- saved and loaded ---------------------------------------------------------------------------- */

static const uint8_t dev_pci_max[sizeof(struct dev_pci)] = {0xff};

static const struct {
    const char *name;
    size_t off, len;
    const uint8_t *max; /* of each byte */
} devices[] = {
    {"serial line", offsetof(struct bus, uart), sizeof(struct dev_uart), dev_uart_max},
    {"CMOS", offsetof(struct bus, cmos), sizeof(struct dev_cmos), dev_cmos_max},
    {"keyboard controller", offsetof(struct bus, kbc), sizeof(struct dev_kbc), dev_kbc_max},
    {"PCI", offsetof(struct bus, pci), sizeof(struct dev_pci), dev_pci_max},
};

#define DEVICES_N (sizeof(devices) / sizeof(devices[0]))

void bus_save(const struct bus *b, uint8_t out[BUS_STATE_LEN])
{
    unsigned i;

    for (i = 0; i < DEVICES_N; out += devices[i++].len)
        memcpy(out, (const uint8_t *)b + devices[i].off, devices[i].len);
}

int bus_load(struct bus *b, const uint8_t *in, uint64_t len, struct err *e)
{
    unsigned i;
    size_t j;

    if (len != BUS_STATE_LEN)
        return err_image(e, "section DEVICES: wrong length (%" PRIu64 ", %zu)", len, BUS_STATE_LEN);
    for (i = 0; i < DEVICES_N; in += devices[i++].len) {
        for (j = 0; j < devices[i].len; j++)
            if (in[j] > devices[i].max[j])
                return err_image(e, "section DEVICES: %s: byte %zu is too large (%u, at most %u)",
                                 devices[i].name, j, in[j], devices[i].max[j]);
        memcpy((uint8_t *)b + devices[i].off, in, devices[i].len);
    }
    if (!dev_uart_is_sane(&b->uart))
        return err_image(e, "section DEVICES: serial line: more than its buffer holds (%u)", b->uart.rx_n);
    return 0;
}

void bus_resume(struct bus *b)
{
    dev_uart_resume(&b->uart, &b->host);
}

static uint32_t all_ones(unsigned width)
{
    return width == 4 ? UINT32_MAX : (1u << 8 * width) - 1;
}

static void count_unknown(struct bus *b, uint16_t port, unsigned width, bool write)
{
    struct bus_unknown *u = b->unknown, *end = u + b->unknown_n;

    b->unknown_all++;
    while (u != end && u->port != port)
        u++;
    if (u == end) {
        if (b->unknown_n == BUS_UNKNOWN_MAX)
            return;
        b->unknown_n++;
        *u = (struct bus_unknown){.port = port, .width = (uint8_t)width, .write = write};
    }
    u->n++;
}

static enum bus_event end_with(struct bus *b, uint32_t status)
{
    b->status = status;
    return BUS_END;
}

/* --- microvm ------------------------------------------------------------------------------------- */

static enum bus_event microvm_command(struct bus *b, uint32_t value)
{
    /* Fewer bytes are the older contract, in which any write ends the machine. */
    switch (value >> 16) {
    case COMMAND_EXIT: return end_with(b, value & UINT16_MAX);
    case COMMAND_PAUSE: return BUS_PAUSE;
    case COMMAND_SNAPSHOT: return BUS_SNAPSHOT;
    default: return end_with(b, 0);
    }
}

static bool microvm_write(struct bus *b, uint16_t port, unsigned width, uint32_t value, enum bus_event *event)
{
    uint8_t byte = (uint8_t)value, *message;

    if (port == PORT_POWER) {
        *event = microvm_command(b, value);
        return true;
    }
    if (port == PORT_CONSOLE && width == 1) {
        b->host.emit(b->host.ctx, &byte, 1);
        return true;
    }
    if ((port != PORT_CONSOLE && port != PORT_MESSAGE) || width != 4)
        return false;
    message = b->host.memory(b->host.ctx, value, MESSAGE_LEN);
    if (message == NULL)
        return false;
    if (port == PORT_MESSAGE)
        memset(message, 0, MESSAGE_LEN);
    else
        b->messages++;
    return true;
}

/* --- everything else ----------------------------------------------------------------------------- */

/* Ports at which absence is an answer: COM2 to COM4, and those that are written to pass time. */
static bool is_nothing(uint16_t port)
{
    switch (port & ~7) {
    case 0x2e8:
    case 0x2f8:
    case 0x3e8: return true;
    default: return port == 0x80 || port == 0xed;
    }
}

/* The device at a byte's port; false when there is none. */
static bool byte_write(struct bus *b, uint16_t port, uint8_t value, enum bus_event *event)
{
    bool reset = false;

    switch (port) {
    case 0x60:
    case 0x61:
    case 0x64:
    case 0x92: reset = dev_kbc_write(&b->kbc, port, value); break;
    case 0x70:
    case 0x71: dev_cmos_write(&b->cmos, port, value); break;
    case PORT_CONSOLE: b->host.emit(b->host.ctx, &value, 1); break;
    default:
        if ((port & ~7) != PORT_UART)
            return is_nothing(port);
        dev_uart_write(&b->uart, &b->host, port & 7, value);
    }
    if (reset)
        *event = BUS_RESET;
    return true;
}

static bool byte_read(struct bus *b, uint16_t port, uint8_t *value)
{
    switch (port) {
    case 0x60:
    case 0x61:
    case 0x64:
    case 0x92: *value = dev_kbc_read(&b->kbc, port); return true;
    case 0x70:
    case 0x71: *value = dev_cmos_read(&b->cmos, &b->host, port); return true;
    case PORT_CONSOLE: *value = PORT_CONSOLE; return true;
    default:
        if ((port & ~7) != PORT_UART)
            return is_nothing(port);
        *value = dev_uart_read(&b->uart, &b->host, port & 7);
        return true;
    }
}

static bool pc_write(struct bus *b, uint16_t port, unsigned width, uint32_t value, enum bus_event *event)
{
    bool known = false;
    unsigned i;

    if (port == PORT_EXIT || port == PORT_EXIT_OLD) {
        *event = end_with(b, (value << 1 | 1) & 0xff);
        return true;
    }
    if (port == PORT_POWER && width == 4 && value == (uint32_t)COMMAND_SNAPSHOT << 16) {
        *event = BUS_SNAPSHOT;
        return true;
    }
    if (port == PORT_POWER || port == PORT_POWER_OLD) {
        if (width != 2 || value != POWER_OFF)
            return false;
        *event = BUS_POWER_OFF;
        return true;
    }
    if ((port & ~7) == PORT_PCI) {
        if (dev_pci_write(&b->pci, port, width, value))
            *event = BUS_RESET;
        return true;
    }
    /* As on a bus of 8 bits, where a wide access is one of each byte's port. */
    for (i = 0; i < width; i++)
        known |= byte_write(b, (uint16_t)(port + i), (uint8_t)(value >> 8 * i), event);
    return known;
}

static bool pc_read(struct bus *b, uint16_t port, unsigned width, uint32_t *value)
{
    bool known = false;
    unsigned i;

    if ((port & ~7) == PORT_PCI) {
        *value = dev_pci_read(&b->pci, port, width) & all_ones(width);
        return true;
    }
    *value = 0;
    for (i = 0; i < width; i++) {
        uint8_t byte = 0xff;

        known |= byte_read(b, (uint16_t)(port + i), &byte);
        *value |= (uint32_t)byte << 8 * i;
    }
    return known;
}

enum bus_event bus_write(struct bus *b, uint16_t port, unsigned width, uint32_t value)
{
    enum bus_event event = BUS_NONE;
    bool known;

    assert(width == 1 || width == 2 || width == 4);
    value &= all_ones(width);
    known =
        b->microvm ? microvm_write(b, port, width, value, &event) : pc_write(b, port, width, value, &event);
    if (!known)
        count_unknown(b, port, width, true);
    return event;
}

enum bus_event bus_read(struct bus *b, uint16_t port, unsigned width, uint32_t *value)
{
    assert(width == 1 || width == 2 || width == 4);
    *value = all_ones(width);
    if (b->microvm || !pc_read(b, port, width, value))
        count_unknown(b, port, width, false);
    return BUS_NONE;
}

size_t bus_input_room(const struct bus *b)
{
    return b->microvm ? 0 : dev_uart_room(&b->uart);
}

void bus_input(struct bus *b, const uint8_t *bytes, size_t n)
{
    dev_uart_input(&b->uart, &b->host, bytes, n);
}
