/*
 * Fuzzes the I/O ports of a bare guest: any sequence of accesses, typed input
 * and time passing keeps what the guest, the interrupt controller and the
 * console were told consistent, against a model of the serial port's bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The program's own room, which fuzz targets are not linked with. */
#include "hv/bus.c"      // NOLINT(bugprone-suspicious-include)
#include "hv/dev_cmos.c" // NOLINT(bugprone-suspicious-include)
#include "hv/dev_kbc.c"  // NOLINT(bugprone-suspicious-include)
#include "hv/dev_pci.c"  // NOLINT(bugprone-suspicious-include)
#include "hv/dev_uart.c" // NOLINT(bugprone-suspicious-include)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void demand(int promise)
{
    if (!promise)
        abort();
}

/* What was said to the outside. */
struct outside {
    uint8_t out[8];
    size_t out_n; /* since the last access */
    bool level, quiet;
    uint64_t now;
    uint8_t *memory;
};

#define MEMORY_LEN 256

static void emit(void *ctx, const uint8_t *bytes, size_t n)
{
    struct outside *o = ctx;

    demand(!o->quiet && n <= sizeof(o->out) - o->out_n);
    memcpy(o->out + o->out_n, bytes, n);
    o->out_n += n;
}

static void set_irq(void *ctx, unsigned line, bool level)
{
    struct outside *o = ctx;

    demand(line == 4 && level != o->level);
    o->level = level;
}

static uint64_t wall_clock(void *ctx)
{
    return ((struct outside *)ctx)->now;
}

static uint8_t *memory(void *ctx, uint64_t gpa, uint64_t n)
{
    struct outside *o = ctx;

    return gpa <= MEMORY_LEN && n <= MEMORY_LEN - gpa ? o->memory + gpa : NULL;
}

/* --- the model: which bytes the serial port holds and hands on ------------------------------------ */

struct model {
    unsigned lcr, mcr, fifo, n;
    uint8_t held[16];
    uint8_t out[8];
    size_t out_n;
};

static void model_receive(struct model *m, uint8_t byte)
{
    if (m->n < (m->fifo ? 16 : 1))
        m->held[m->n++] = byte;
    else if (!m->fifo)
        m->held[0] = byte;
}

static void model_write(struct model *m, unsigned port, uint8_t value)
{
    switch (port) {
    case 0xe9: m->out[m->out_n++] = value; break;
    case 0x3f8:
        if (m->lcr & 0x80)
            break;
        if (m->mcr & 0x10)
            model_receive(m, value);
        else
            m->out[m->out_n++] = value;
        break;
    case 0x3fa:
        if (m->fifo != (value & 1u) || (value & 3) == 3)
            m->n = 0;
        m->fifo = value & 1;
        break;
    case 0x3fb: m->lcr = value; break;
    case 0x3fc: m->mcr = value; break;
    default: break;
    }
}

static void model_read(struct model *m, unsigned port, uint8_t value)
{
    if (port == 0x3f8 && !(m->lcr & 0x80) && m->n != 0) {
        demand(value == m->held[0]);
        memmove(m->held, m->held + 1, --m->n);
    }
    if (port == 0x3fd)
        demand((value & 0x61) == (0x60 | (m->n != 0)));
    if (port == 0x3fa)
        demand(value >> 6 == (m->fifo ? 3 : 0));
}

/* --- what holds after every step ------------------------------------------------------------------ */

/* What a read would give, asked of a copy that nobody hears. */
static uint8_t peek(const struct bus *b, const struct outside *o, uint16_t port)
{
    struct outside apart = *o;
    struct bus copy = *b;
    uint32_t value;

    copy.host.ctx = &apart;
    copy.host.set_irq = NULL;
    copy.uart.lcr &= 0x7f;
    demand(bus_read(&copy, port, 1, &value) == BUS_NONE && value <= UINT8_MAX);
    return (uint8_t)value;
}

static int is_bcd(uint8_t v)
{
    return v >> 4 < 10 && (v & 15) < 10;
}

static void check(const struct bus *b, const struct outside *o, const struct model *m)
{
    uint64_t listed = 0;
    unsigned i, j;

    demand(b->unknown_n <= BUS_UNKNOWN_MAX);
    for (i = 0; i < b->unknown_n; i++) {
        listed += b->unknown[i].n;
        demand(b->unknown[i].n != 0);
        for (j = 0; j < i; j++)
            demand(b->unknown[i].port != b->unknown[j].port);
    }
    demand(listed <= b->unknown_all && (listed == b->unknown_all || b->unknown_n == BUS_UNKNOWN_MAX));
    if (b->microvm) {
        demand(bus_input_room(b) == 0 && !o->level);
        return;
    }
    demand(bus_input_room(b) + m->n <= 14 || bus_input_room(b) == 0);
    demand(!(m->mcr & 0x10) || bus_input_room(b) == 0);
    demand((peek(b, o, 0x3fd) & 1) == (m->n != 0));
    if (b->host.set_irq != NULL)
        demand(o->level == (!(peek(b, o, 0x3fa) & 1) && (m->mcr & 0x18) == 0x08));
    if (b->cmos.index <= 9 && b->cmos.index % 2 == 0 && b->cmos.index != 6)
        demand(is_bcd(peek(b, o, 0x71)));
}

/* --- one input: a byte of options, then steps ----------------------------------------------------- */

struct input {
    const uint8_t *at, *end;
};

static uint8_t next(struct input *in)
{
    return in->at != in->end ? *in->at++ : 0;
}

static const uint16_t ports[] = {
    0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd,  0x3fe, 0x3ff, 0x3f5, 0x3f7,  0xe6,
    0xe9,  0xea,  0xf4,  0x501, 0x604, 0x60,   0x61,  0x63,  0x64,  0x70,   0x71,
    0x92,  0x80,  0xcf8, 0xcf9, 0xcfc, 0xb004, 0x2fa, 0x3e8, 0x2ed, 0xffff,
};

static void step_write(struct bus *b, struct outside *o, struct model *m, uint16_t port, unsigned width,
                       uint32_t value)
{
    uint64_t unknown = b->unknown_all, messages = b->messages;
    enum bus_event event = bus_write(b, port, width, value);
    unsigned i;

    if (b->microvm) {
        demand(o->out_n == (port == 0xe9 && width == 1));
        demand((event != BUS_NONE) == (port == 0x604));
        demand((b->unknown_all != unknown) + (b->messages != messages) <= 1);
        demand(port == 0x604 || port == 0xe9 || port == 0xea || b->unknown_all == unknown + 1);
        return;
    }
    demand(event != BUS_PAUSE && b->messages == 0);
    demand((event == BUS_SNAPSHOT) == (port == 0x604 && width == 4 && value == 0x40000000));
    demand((event == BUS_END) == (port == 0xf4 || port == 0x501));
    if (event == BUS_END)
        demand(b->status <= 0xff && (b->status & 1));
    demand(event == BUS_NONE || b->unknown_all == unknown);
    if ((port & ~7) != 0xcf8 && event != BUS_END)
        for (i = 0; i < width; i++)
            model_write(m, (uint16_t)(port + i), (uint8_t)(value >> 8 * i));
    demand(o->out_n == m->out_n && memcmp(o->out, m->out, o->out_n) == 0);
}

static void step_read(struct bus *b, struct outside *o, struct model *m, uint16_t port, unsigned width)
{
    uint32_t value = 0;
    unsigned i;

    demand(bus_read(b, port, width, &value) == BUS_NONE && o->out_n == 0);
    demand(width == 4 || value >> 8 * width == 0);
    for (i = 0; i < width && !b->microvm; i++)
        model_read(m, (uint16_t)(port + i), (uint8_t)(value >> 8 * i));
    if (b->microvm)
        demand(value == (width == 4 ? UINT32_MAX : (1u << 8 * width) - 1));
}

static void step_input(struct bus *b, struct model *m, struct input *in, size_t n)
{
    uint8_t bytes[16];
    size_t i, room = bus_input_room(b);

    n = n < room ? n : room;
    for (i = 0; i < n; i++) {
        bytes[i] = next(in);
        model_receive(m, bytes[i]);
    }
    bus_input(b, bytes, n);
    demand(bus_input_room(b) == room - n);
}

/* Whatever a bus came to is taken by a new one, which goes on as if nothing had happened. */
static void step_save(struct bus *b, struct outside *o, uint64_t ram_len)
{
    uint8_t bytes[BUS_STATE_LEN];
    struct bus before = *b;
    struct err e;

    bus_save(b, bytes);
    bus_init(b, &before.host, before.microvm, ram_len);
    demand(bus_load(b, bytes, sizeof(bytes), &e) == 0);
    o->level = false; /* as far as this one knows */
    bus_resume(b);
    b->unknown_n = before.unknown_n;
    b->unknown_all = before.unknown_all;
    memcpy(b->unknown, before.unknown, sizeof(b->unknown));
    b->messages = before.messages;
    demand(b->uart.irq == before.uart.irq || before.host.set_irq == NULL);
}

/* Any bytes are refused, or are a serial line that keeps within its buffer. */
static void step_load(const struct bus *b, struct input *in)
{
    struct outside nobody = {0};
    uint8_t bytes[BUS_STATE_LEN];
    struct bus copy = *b;
    uint32_t value;
    struct err e = {.text = ""};
    unsigned i;

    for (i = 0; i < sizeof(bytes); i++)
        bytes[i] = next(in);
    copy.host.ctx = &nobody;
    if (bus_load(&copy, bytes, sizeof(bytes), &e) != 0) {
        demand(e.status == STATUS_IMAGE);
        return;
    }
    bus_resume(&copy);
    demand(bus_input_room(&copy) <= 14 && copy.uart.rx_n <= (copy.uart.fcr & 1 ? 16 : 1));
    bus_input(&copy, bytes, bus_input_room(&copy));
    for (i = 0; i < 40 && !copy.microvm; i++)
        bus_read(&copy, 0x3f8 + i % 8, 1, &value);
    demand(copy.microvm || copy.uart.rx_n <= 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, data + len};
    struct outside o = {0};
    struct model m = {0};
    struct bus b;
    uint8_t options = next(&in);
    const struct bus_host host = {&o, emit, options & 2 ? NULL : set_irq, wall_clock, memory};

    o.memory = calloc(1, MEMORY_LEN);
    demand(o.memory != NULL);
    bus_init(&b, &host, options & 1, (uint64_t)(options >> 2) << 22);
    while (in.at != in.end) {
        uint8_t op = next(&in), choice = next(&in);
        unsigned width = op >> 2 & 1 ? 1u << (op >> 3) % 3 : 1, i;
        uint16_t port = op & 0x80 ? (uint16_t)(choice << 8 | next(&in)) : ports[choice % 32];
        uint32_t value = 0;

        o.out_n = m.out_n = 0;
        switch (op & 3) {
        case 0:
            for (i = 0; i < width; i++)
                value |= (uint32_t)next(&in) << 8 * i;
            step_write(&b, &o, &m, port, width, value);
            break;
        case 1: step_read(&b, &o, &m, port, width); break;
        case 2: step_input(&b, &m, &in, op >> 3 & 15); break;
        default:
            if (choice & 0x80)
                step_load(&b, &in);
            else if (choice & 0x40)
                step_save(&b, &o, (uint64_t)(options >> 2) << 22);
            o.now += (uint64_t)port << (choice & 47);
            break;
        }
        check(&b, &o, &m);
    }
    free(o.memory);
    return 0;
}
