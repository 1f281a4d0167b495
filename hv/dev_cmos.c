/* A clock that nobody can set, and 128 bytes. See dev_cmos.h. */
#include "hv/dev_cmos.h"

#include <stddef.h>

#include "hv/bus.h"

enum {
    SECONDS = 0,
    MINUTES = 2,
    HOURS = 4,
    WEEKDAY = 6,
    DAY,
    MONTH,
    YEAR,
    STATUS_A,
    STATUS_B,
    STATUS_C,
    STATUS_D
};

enum {
    CENTURY = 0x32, /* where IBM's PS/2 and all after it look for it */
    A_RATE = 0x26,  /* a 32,768 Hz crystal, 1,024 Hz */
    A_UPDATE = 0x80,
    B_24H = 2,
    B_BINARY = 4,
    D_VALID = 0x80,
};

#define NS_PER_S 1000000000u
/* The update bit is up for 244 us before an update and the 1,984 us it takes; here all of it is before. */
#define UPDATE_NS 2228000u

const uint8_t dev_cmos_max[sizeof(struct dev_cmos)] = {
    CMOS_LEN - 1,
    [offsetof(struct dev_cmos, ram)... sizeof(struct dev_cmos) - 1] = 0xff,
};

static void store16(struct dev_cmos *c, unsigned index, uint64_t value)
{
    if (value > UINT16_MAX)
        value = UINT16_MAX;
    c->ram[index] = (uint8_t)value;
    c->ram[index + 1] = (uint8_t)(value >> 8);
}

void dev_cmos_init(struct dev_cmos *c, uint64_t ram_len)
{
    uint64_t kib = ram_len >> 10, high = kib > 1024 ? kib - 1024 : 0;

    *c = (struct dev_cmos){.ram = {[STATUS_A] = A_RATE, [STATUS_B] = B_24H}};
    store16(c, 0x15, kib < 640 ? kib : 640);                /* KiB below 640 KiB */
    store16(c, 0x17, high);                                 /* KiB above 1 MiB */
    store16(c, 0x30, high);                                 /* the same, as found by a BIOS */
    store16(c, 0x34, kib > 16384 ? (kib - 16384) >> 6 : 0); /* 64 KiB above 16 MiB */
}

static uint8_t bcd(unsigned v)
{
    return (uint8_t)(v / 10 << 4 | v % 10);
}

/* Years count from March, so that a leap day is the last of one; 400 years have 146,097 days. */
static uint8_t date(unsigned days, unsigned index)
{
    unsigned era_day, year, year_day, month, day;

    days += 719468; /* from 1 March of the year 0 to 1970 */
    era_day = days % 146097;
    year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    year_day = era_day - (365 * year + year / 4 - year / 100);
    month = (5 * year_day + 2) / 153;
    day = year_day - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    year += days / 146097 * 400 + (month <= 2);
    switch (index) {
    case DAY: return bcd(day);
    case MONTH: return bcd(month);
    case YEAR: return bcd(year % 100);
    default: return bcd(year / 100 % 100);
    }
}

static uint8_t read_clock(const struct dev_cmos *c, uint64_t now_ns)
{
    unsigned now = (unsigned)(now_ns / NS_PER_S % 86400), days = (unsigned)(now_ns / NS_PER_S / 86400);

    switch (c->index) {
    case SECONDS: return bcd(now % 60);
    case MINUTES: return bcd(now / 60 % 60);
    case HOURS: return bcd(now / 3600);
    case WEEKDAY: return (uint8_t)((days + 4) % 7 + 1); /* 1 is Sunday */
    case STATUS_A: return c->ram[STATUS_A] | (now_ns % NS_PER_S >= NS_PER_S - UPDATE_NS ? A_UPDATE : 0);
    default: return date(days, c->index);
    }
}

void dev_cmos_write(struct dev_cmos *c, uint16_t port, uint8_t value)
{
    if (port == 0x70) {
        c->index = value & (CMOS_LEN - 1);
        return;
    }
    switch (c->index) {
    case STATUS_A: value &= (uint8_t)~A_UPDATE; break;
    case STATUS_B: value = (value | B_24H) & (uint8_t)~B_BINARY; break;
    default: break;
    }
    c->ram[c->index] = value;
}

uint8_t dev_cmos_read(const struct dev_cmos *c, const struct bus_host *host, uint16_t port)
{
    if (port == 0x70)
        return 0xff; /* it can only be written */
    switch (c->index) {
    case SECONDS:
    case MINUTES:
    case HOURS:
    case WEEKDAY:
    case DAY:
    case MONTH:
    case YEAR:
    case STATUS_A:
    case CENTURY: return read_clock(c, host->wall_clock(host->ctx));
    case STATUS_C: return 0; /* no interrupt is ever asked for */
    case STATUS_D: return D_VALID;
    default: return c->ram[c->index];
    }
}
