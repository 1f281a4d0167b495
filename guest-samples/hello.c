/* Prints one line and ends. */
#include "guest-samples/guest.h"

void guest_main(void)
{
    guest_print("hello, world! (");
    guest_print(guest_kind());
    guest_print(")\n");
}
