/* The runtime of a guest without functions: no exceptions are handled, so what it writes is copied at start.
 */
#include "guest-samples/guest.h"

uintptr_t guest_prepare(void)
{
    guest_own_data();
    return 0;
}

uintptr_t guest_main_stack(void)
{
    return 0;
}

void guest_serve_call(void)
{
    guest_abort(6, "this guest has no functions");
}
