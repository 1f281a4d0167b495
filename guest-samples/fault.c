/* Jumps to an address where there is nothing, mapped or not. */
#include "guest-samples/guest.h"

#define NOWHERE 0xc0000000u

void guest_main(void)
{
    void (*nowhere)(void) = (void (*)(void))(uintptr_t)NOWHERE;

    guest_print("jumping\n");
    nowhere();
}
