/*
 * What a bus has around it in a test: output gathered, the interrupt line as
 * an edge-triggered controller sees it, a clock that stands, a little memory.
 */
#ifndef TESTS_UNIT_BUS_HOST_H
#define TESTS_UNIT_BUS_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "hv/bus.h"

struct fake {
    uint8_t out[1 << 17];
    size_t out_len;
    bool level;
    bool wrong;     /* a line other than 4, or a level that was told twice */
    unsigned edges; /* times the line rose */
    uint64_t now;
    uint8_t memory[4096];
};

static struct fake fake;
static struct bus bus;

static inline void fake_emit(void *ctx, const uint8_t *bytes, size_t n)
{
    struct fake *f = ctx;

    if (n > sizeof(f->out) - f->out_len)
        f->wrong = true;
    else
        memcpy(f->out + f->out_len, bytes, n);
    f->out_len += f->wrong ? 0 : n;
}

static inline void fake_set_irq(void *ctx, unsigned line, bool level)
{
    struct fake *f = ctx;

    f->wrong |= line != 4 || level == f->level;
    f->level = level;
    f->edges += level;
}

static inline uint64_t fake_clock(void *ctx)
{
    return ((struct fake *)ctx)->now;
}

static inline uint8_t *fake_memory(void *ctx, uint64_t gpa, uint64_t len)
{
    struct fake *f = ctx;

    return gpa <= sizeof(f->memory) && len <= sizeof(f->memory) - gpa ? f->memory + gpa : NULL;
}

/* `bus` as after power-on, with `fake` around it. */
static inline void fake_start(bool microvm, uint64_t ram_len)
{
    const struct bus_host host = {
        .ctx = &fake,
        .emit = fake_emit,
        .set_irq = fake_set_irq,
        .wall_clock = fake_clock,
        .memory = fake_memory,
    };

    memset(&fake, 0, sizeof(fake));
    bus_init(&bus, &host, microvm, ram_len);
}

static inline bool fake_said(const char *text)
{
    return fake.out_len == strlen(text) && memcmp(fake.out, text, fake.out_len) == 0;
}

static inline uint8_t inb(unsigned port)
{
    uint32_t v = 0;

    fake.wrong |= bus_read(&bus, (uint16_t)port, 1, &v) != BUS_NONE || v > UINT8_MAX;
    return (uint8_t)v;
}

static inline uint32_t inl(unsigned port)
{
    uint32_t v = 0;

    fake.wrong |= bus_read(&bus, (uint16_t)port, 4, &v) != BUS_NONE;
    return v;
}

static inline enum bus_event outb(uint8_t value, unsigned port)
{
    return bus_write(&bus, (uint16_t)port, 1, value);
}

static inline enum bus_event outw(uint16_t value, unsigned port)
{
    return bus_write(&bus, (uint16_t)port, 2, value);
}

static inline enum bus_event outl(uint32_t value, unsigned port)
{
    return bus_write(&bus, (uint16_t)port, 4, value);
}

/* As many of the bytes as there is room for; how many. */
static inline size_t fake_type(const uint8_t *bytes, size_t n)
{
    size_t room = bus_input_room(&bus);

    if (n > room)
        n = room;
    bus_input(&bus, bytes, n);
    return n;
}

#endif
