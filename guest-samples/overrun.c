/*
 * Recurses on the boot stack until that has grown past its end, into the word
 * above the guest counter, and ends as if nothing had happened.
 */
#include "guest-samples/guest.h"

#include "mem/guest_abi.h"

#define FRAME_LEN 128

static __attribute__((noinline)) unsigned recurse(void)
{
    volatile uint8_t frame[FRAME_LEN];
    unsigned i, sum = 0;

    for (i = 0; i < FRAME_LEN; i++)
        frame[i] = 0xa5;
    if ((uintptr_t)frame > guest_scratch_top() - SCRATCH_COUNTER_WORD)
        sum = recurse();
    for (i = 0; i < FRAME_LEN; i++)
        sum += frame[i];
    return sum;
}

void guest_main(void)
{
    guest_print(recurse() != 0 ? "overran the boot stack\n" : "not reached\n");
}
