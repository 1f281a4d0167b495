/* Reads a page that the guest's tables map, but with no memory behind it. */
#include "guest-samples/guest.h"

#define NOWHERE_GPA 0xc0000000u
#define MAPPED_AT   0x80000000u

void guest_main(void)
{
    uintptr_t at = NOWHERE_GPA;

    if (guest_is_paged()) {
        at = MAPPED_AT;
        guest_map(at, NOWHERE_GPA, GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
    }
    guest_print("reading\n");
    guest_print_hex(*(volatile uint32_t *)(at + 0x10));
    guest_print("\n");
}
