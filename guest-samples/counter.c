/*
 * Polls the guest counter until the host has set it, and prints it. An i686
 * guest reads the low half alone: no store of the host changes more than that.
 */
#include "guest-samples/guest.h"

#include "mem/guest_abi.h"

static void print_decimal(uintptr_t v)
{
    char digits[21];
    unsigned i = sizeof(digits) - 1;

    digits[i] = '\0';
    do
        digits[--i] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    guest_print(digits + i);
}

void guest_main(void)
{
    const volatile uintptr_t *counter =
        (const volatile uintptr_t *)(guest_scratch_top() - SCRATCH_COUNTER_WORD);
    uintptr_t v;

    guest_print("polling\n");
    do
        v = *counter;
    while (v == 0);
    guest_print("counter ");
    print_decimal(v);
    guest_print("\n");
}
