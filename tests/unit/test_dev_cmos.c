/* hv/dev_cmos: the clock against the C library's calendar, and the sizes of memory. */
#include "hv/dev_cmos.h"

#include <time.h>

#include "tests/tap.h"
#include "tests/unit/bus_host.h"

#define S 1000000000u

static uint8_t cmos(unsigned index)
{
    outb((uint8_t)index, 0x70);
    return inb(0x71);
}

static void cmos_set(unsigned index, uint8_t value)
{
    outb((uint8_t)index, 0x70);
    outb(value, 0x71);
}

static unsigned word(unsigned index)
{
    return cmos(index) | (unsigned)cmos(index + 1) << 8;
}

static unsigned number(uint8_t bcd)
{
    return bcd >> 4 < 10 && (bcd & 15) < 10 ? (bcd >> 4) * 10u + (bcd & 15) : 1000;
}

/* Whether all registers show what the C library makes of it. */
static bool shows(time_t t)
{
    struct tm tm;

    fake.now = (uint64_t)t * S;
    if (gmtime_r(&t, &tm) == NULL)
        return false;
    return number(cmos(0)) == (unsigned)tm.tm_sec && number(cmos(2)) == (unsigned)tm.tm_min &&
           number(cmos(4)) == (unsigned)tm.tm_hour && cmos(6) == (unsigned)tm.tm_wday + 1 &&
           number(cmos(7)) == (unsigned)tm.tm_mday && number(cmos(8)) == (unsigned)tm.tm_mon + 1 &&
           number(cmos(9)) == (unsigned)tm.tm_year % 100 &&
           number(cmos(0x32)) == (unsigned)tm.tm_year / 100 + 19;
}

static void test_clock(void)
{
    uint64_t seed = 1;
    time_t t;
    unsigned i;

    tap_case("the clock shows every day from 1970 to 2500 as the C library's calendar has it");
    fake_start(false, 0);
    for (t = 0; t < (time_t)531 * 366 * 86400; t += 86400 - 61)
        if (!shows(t))
            break;
    CHECK_EQ(t / ((time_t)531 * 366 * 86400), 1);
    CHECK(!fake.wrong);

    tap_case("so it does at the days and seconds that calendars get wrong");
    CHECK(shows(0));
    CHECK(shows(951782400)); /* 29 February 2000 */
    CHECK(shows(951868799)); /* its last second */
    CHECK(shows(951868800));
    CHECK(shows(946684799)); /* the last of 1999 */
    CHECK(shows(946684800));
    CHECK(shows(1709164800)); /* 29 February 2024 */
    CHECK(shows(4107542399)); /* 28 February 2100, */
    CHECK(shows(4107542400)); /* which has no 29th */
    for (i = 0; i < 100000; i++)
        if (!shows((time_t)(tap_random(&seed) % 18000000000u)))
            break;
    CHECK_EQ(i, 100000);

    tap_case("the registers say: 24 hours, BCD, valid, nothing pending");
    fake.now = 0;
    CHECK_EQ(cmos(10), 0x26);
    CHECK_EQ(cmos(11), 0x02);
    CHECK_EQ(cmos(12), 0x00);
    CHECK_EQ(cmos(13), 0x80);

    tap_case("the update bit rises shortly before a second ends and falls with the next");
    fake.now = 5 * (uint64_t)S + S - 2228001;
    CHECK_EQ(cmos(10), 0x26);
    fake.now++;
    CHECK_EQ(cmos(10), 0xa6);
    fake.now = 6 * (uint64_t)S - 1;
    CHECK_EQ(cmos(10), 0xa6);
    CHECK_EQ(number(cmos(0)), 5);
    fake.now++;
    CHECK_EQ(cmos(10), 0x26);
    CHECK_EQ(number(cmos(0)), 6);

    tap_case("setting the clock, its format or the update bit does not stick");
    for (i = 0; i < 14; i++)
        cmos_set(i, 0xff);
    CHECK(shows(1234567890));
    CHECK_EQ(cmos(10), 0x7f);
    CHECK_EQ(cmos(11), 0xfb);
    CHECK_EQ(cmos(12), 0x00);
    CHECK_EQ(cmos(13), 0x80);
    CHECK(!fake.wrong);
}

static void test_memory(void)
{
    static const struct {
        uint64_t ram_len;
        unsigned base, above_1m, above_16m;
    } sizes[] = {
        {0, 0, 0, 0},
        {512 << 10, 512, 0, 0},
        {640 << 10, 640, 0, 0},
        {1 << 20, 640, 0, 0},
        {(1 << 20) + 1024, 640, 1, 0},
        {8 << 20, 640, 7 << 10, 0},
        {16 << 20, 640, 15 << 10, 0},
        {(16 << 20) + (64 << 10), 640, (15 << 10) + 64, 1},
        {64 << 20, 640, 63 << 10, 768},
        {65 << 20, 640, 65535, 784},
        {(uint64_t)3 << 30, 640, 65535, 48896},
        {((uint64_t)4 << 30) + (16 << 20), 640, 65535, 65535},
        {UINT64_MAX, 640, 65535, 65535},
    };
    unsigned i;

    tap_case("memory sizes are where a BIOS leaves them, up to what their registers hold");
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fake_start(false, sizes[i].ram_len);
        CHECK_EQ(word(0x15), sizes[i].base);
        CHECK_EQ(word(0x17), sizes[i].above_1m);
        CHECK_EQ(word(0x30), sizes[i].above_1m);
        CHECK_EQ(word(0x34), sizes[i].above_16m);
    }

    tap_case("all other registers are zero and keep what is written");
    for (i = 0x0e; i < 128; i++) {
        if (i == 0x32 || (i >= 0x15 && i <= 0x18) || i == 0x30 || i == 0x31 || i == 0x34 || i == 0x35)
            continue;
        if (cmos(i) != 0)
            break;
        cmos_set(i, (uint8_t)~i);
        if (cmos(i) != (uint8_t)~i)
            break;
    }
    CHECK_EQ(i, 128);

    tap_case("bit 7 of the index masks NMIs and chooses no register; the index cannot be read");
    cmos_set(0x0f, 0x0a);
    CHECK_EQ(cmos(0x8f), 0x0a);
    CHECK_EQ(inb(0x70), 0xff);
    CHECK_EQ(bus.unknown_all, 0);
    CHECK(!fake.wrong);
}

int main(void)
{
    test_clock();
    test_memory();
    return tap_done();
}
