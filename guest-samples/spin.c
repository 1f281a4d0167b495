/* Prints half a line and spins for ever. */
#include "guest-samples/guest.h"

void guest_main(void)
{
    guest_print("spinning");
    for (;;)
        __asm__ volatile("");
}
