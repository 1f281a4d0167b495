/* The MultiProcessor table. See mptable.h. Numbers of sections are those of the specification. */
#include "boot/mptable.h"

#include <string.h>

#include "mem/assert.h"
#include "mem/bytes.h"

#define POINTER_LEN 16 /* 4.1: the floating pointer, with the table right behind it */
#define HEADER_LEN  44 /* 4.2 */
#define CPU_LEN     20 /* 4.3.1 */
#define ENTRY_LEN   8  /* 4.3.2 and on */
#define LINES_N     16
#define ENTRIES_N   (3 + LINES_N - 1 + 2)
#define TABLE_LEN   (HEADER_LEN + CPU_LEN + (ENTRIES_N - 1) * ENTRY_LEN)
#define REVISION    4 /* of 1.4 */
#define CPU_APIC_ID 0
#define IOAPIC_ID   1
#define CASCADE     2 /* the line that the second PIC takes */

_Static_assert(POINTER_LEN + TABLE_LEN <= MPTABLE_LEN_MAX, "the table fits where it is put");

/* All bytes together are to be 0. */
static void close_sum(uint8_t *bytes, unsigned len, unsigned at)
{
    uint8_t sum = 0;
    unsigned i;

    for (i = 0; i < len; i++)
        sum = (uint8_t)(sum + bytes[i]);
    bytes[at] = (uint8_t)-sum;
}

static uint8_t *add(uint8_t *to, const void *bytes, size_t len)
{
    memcpy(to, bytes, len);
    return to + len;
}

void mptable_write(uint8_t *ram)
{
    /* Local APIC of version 0x14; enabled, the boot processor. IOAPIC of version 0x11 at 0xfec00000, enabled. */
    static const uint8_t cpu[CPU_LEN] = {0, CPU_APIC_ID, 0x14, 3};
    static const uint8_t bus[ENTRY_LEN] = {1, 0, 'I', 'S', 'A', ' ', ' ', ' '};
    static const uint8_t ioapic[ENTRY_LEN] = {2, IOAPIC_ID, 0x11, 1, 0, 0, 0xc0, 0xfe};
    /* 4.3.5: of every processor, the PICs at LINT0 and NMI at LINT1. */
    static const uint8_t local[2 * ENTRY_LEN] = {4, 3, 0, 0, 0, 0, 0xff, 0, 4, 1, 0, 0, 0, 0, 0xff, 1};
    uint8_t *pointer = ram + MPTABLE_AT, *table = pointer + POINTER_LEN, *to;
    uint8_t line;

    memcpy(pointer, "_MP_", 4);
    store_le32(pointer + 4, MPTABLE_AT + POINTER_LEN);
    pointer[8] = POINTER_LEN / 16;
    pointer[9] = REVISION;
    close_sum(pointer, POINTER_LEN, 10);

    memcpy(table, "PCMP", 4);
    store_le16(table + 4, TABLE_LEN);
    table[6] = REVISION;
    memcpy(table + 8, "VMM     BARE        ", 20);
    store_le16(table + 34, ENTRIES_N);
    store_le32(table + 36, 0xfee00000u);

    to = add(table + HEADER_LEN, cpu, sizeof(cpu));
    to = add(to, bus, sizeof(bus));
    to = add(to, ioapic, sizeof(ioapic));
    for (line = 0; line < LINES_N; line++)
        if (line != CASCADE) {
            const uint8_t entry[ENTRY_LEN] = {3, 0, 0, 0, 0, line, IOAPIC_ID, line};

            to = add(to, entry, sizeof(entry));
        }
    to = add(to, local, sizeof(local));
    assert(to == table + TABLE_LEN);
    close_sum(table, TABLE_LEN, 7);
}
