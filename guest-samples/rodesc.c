/*
 * Does what the ABI forbids: maps a page of the read-only snapshot writable and
 * makes the CPU write to it by itself (the accessed bit of a descriptor). KVM
 * retries that for ever, so only a time limit ends this guest. Paged kinds.
 */
#include "guest-samples/guest.h"

#define SELECTOR_DATA 0x10

static volatile uint64_t gdt[3] __attribute__((aligned(4096), section(".rodesc"))) = {
    0, sizeof(uintptr_t) == 8 ? 0x00af9b000000ffff : 0x00cf9b000000ffff, /* code */
    0x00cf92000000ffff,                                                  /* data, not accessed yet */
};

void guest_main(void)
{
    struct {
        uint16_t limit;
        uintptr_t base;
    } __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (uintptr_t)gdt};
    uint64_t entry = guest_entry((uintptr_t)gdt);

    guest_map((uintptr_t)gdt, entry & ~(uint64_t)0xfff,
              GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
    guest_print("loading a descriptor from a read-only page\n");
    __asm__ volatile("lgdt %0\n\tmov %1, %%es" : : "m"(gdtr), "r"(SELECTOR_DATA) : "memory");
    guest_print("not reached\n");
}
