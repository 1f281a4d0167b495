/* Gives up with a reason. */
#include "guest-samples/guest.h"

void guest_main(void)
{
    guest_abort(15, "the guest gave up");
}
