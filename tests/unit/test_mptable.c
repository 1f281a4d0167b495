/*
 * boot/mptable: read as a kernel reads it, by the MultiProcessor Specification
 * 1.4 and nothing else.
 */
#include "boot/mptable.h"

#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define RAM_LEN 0x100000u

static uint8_t *ram;

static unsigned word(const uint8_t *p, unsigned len)
{
    unsigned v = 0;

    while (len-- != 0)
        v = v << 8 | p[len];
    return v;
}

static bool sums_to_zero(const uint8_t *p, unsigned len)
{
    unsigned sum = 0;

    while (len-- != 0)
        sum += p[len];
    return (sum & 0xff) == 0;
}

/* 4: the floating pointer lies on a multiple of 16 in the BIOS's place; NULL if none is found. */
static const uint8_t *find_pointer(void)
{
    const uint8_t *p;

    for (p = ram + 0xf0000; p < ram + RAM_LEN; p += 16)
        if (memcmp(p, "_MP_", 4) == 0)
            return p;
    return NULL;
}

int main(void)
{
    const uint8_t *p, *table, *at;
    unsigned i, len, entries, last = 0, cpus = 0, buses = 0, ioapics = 0, ioapic_id = 0x100, lines = 0,
                              local = 0;

    ram = calloc(1, RAM_LEN);
    if (ram == NULL)
        abort();
    mptable_write(ram);

    tap_case("the floating pointer is found, with its length, revision and checksum");
    p = find_pointer();
    if (!CHECK(p != NULL))
        return tap_done();
    CHECK_EQ(p[8], 1);
    CHECK_EQ(p[9], 4);
    CHECK(sums_to_zero(p, 16));
    CHECK(p[11] == 0 && p[12] == 0); /* a table, not one of the default configurations; no IMCR */

    tap_case("the table's header has its lengths, checksum and the local APIC's address");
    CHECK(word(p + 4, 4) >= 0xf0000 && word(p + 4, 4) < RAM_LEN - 512);
    table = ram + word(p + 4, 4) % (RAM_LEN - 512);
    len = word(table + 4, 2);
    CHECK(memcmp(table, "PCMP", 4) == 0 && len > 44 && len <= 512);
    CHECK_EQ(table[6], 4);
    CHECK(sums_to_zero(table, len));
    CHECK_EQ(word(table + 36, 4), 0xfee00000);
    CHECK_EQ(word(table + 40, 2), 0); /* no extended entries */
    entries = word(table + 34, 2);

    tap_case("the entries are in the order of their types, and as many and as long as the header says");
    at = table + 44;
    for (i = 0; i < entries && at < table + len; i++) {
        CHECK(at[0] >= last && at[0] <= 4);
        last = at[0];
        at += at[0] == 0 ? 20 : 8;
    }
    CHECK(i == entries && at == table + len);

    tap_case("they tell of one processor, one IOAPIC, and each ISA line but the cascade at its pin");
    for (at = table + 44; at < table + len; at += at[0] == 0 ? 20 : 8) {
        switch (at[0]) {
        case 0:
            cpus++;
            CHECK(at[1] == 0 && at[3] == 3);
            break;
        case 1:
            buses++;
            CHECK(at[1] == 0 && memcmp(at + 2, "ISA   ", 6) == 0);
            break;
        case 2:
            ioapics++;
            ioapic_id = at[1];
            CHECK(ioapic_id != 0 && at[3] == 1); /* 0 is the processor's */
            CHECK_EQ(word(at + 4, 4), 0xfec00000);
            break;
        case 3:
            CHECK(at[1] == 0 && word(at + 2, 2) == 0 && at[4] == 0); /* vectored, as the bus has it */
            CHECK(at[5] < 16 && at[6] == ioapic_id && at[7] == at[5]);
            CHECK((lines & 1u << at[5]) == 0);
            lines |= 1u << at[5];
            break;
        default:
            CHECK((at[1] == 3 && at[7] == 0) || (at[1] == 1 && at[7] == 1)); /* ExtINT, NMI */
            CHECK_EQ(at[6], 0xff);
            local |= 1u << at[7];
            break;
        }
    }
    CHECK(cpus == 1 && buses == 1 && ioapics == 1);
    CHECK_EQ(lines, 0xfffb);
    CHECK_EQ(local, 3);

    tap_case("nothing else is written");
    for (i = 0; i < RAM_LEN; i++)
        if (i < MPTABLE_AT || i >= MPTABLE_AT + MPTABLE_LEN_MAX)
            CHECK(ram[i] == 0);
    free(ram);
    return tap_done();
}
