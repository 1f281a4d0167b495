/*
 * Writes its own .data and .bss, and makes the CPU write there too: it loads a
 * segment whose descriptor's accessed bit is clear.
 */
#include "guest-samples/guest.h"

#define SELECTOR_DATA 0x10
#define ACCESSED      ((uint64_t)1 << 40)

static volatile uint32_t data[3] = {1, 2, 3};
static volatile uint32_t bss[2048];

static volatile uint64_t gdt[3] __attribute__((aligned(8))) = {
    0, sizeof(uintptr_t) == 8 ? 0x00af9b000000ffff : 0x00cf9b000000ffff, /* code */
    0x00cf92000000ffff,                                                  /* data, not accessed yet */
};

static void load_gdt(void)
{
    struct {
        uint16_t limit;
        uintptr_t base;
    } __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (uintptr_t)gdt};

    __asm__ volatile("lgdt %0\n\tmov %1, %%es" : : "m"(gdtr), "r"(SELECTOR_DATA) : "memory");
}

void guest_main(void)
{
    unsigned i;

    for (i = 0; i < 3; i++)
        data[i] += 10;
    for (i = 0; i < sizeof(bss) / sizeof(bss[0]); i++)
        if (bss[i] != 0)
            guest_abort(15, ".bss is not zero");
    for (i = 0; i < sizeof(bss) / sizeof(bss[0]); i++)
        bss[i] = i;
    for (i = 0; i < sizeof(bss) / sizeof(bss[0]); i++)
        if (bss[i] != i)
            guest_abort(15, ".bss lost a write");
    if (data[0] != 11 || data[1] != 12 || data[2] != 13)
        guest_abort(15, ".data lost a write");
    load_gdt();
    if ((gdt[2] & ACCESSED) == 0)
        guest_abort(15, "the CPU did not mark the descriptor");
    guest_print("selfwrite ok\n");
}
