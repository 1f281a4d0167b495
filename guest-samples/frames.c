/*
 * Faults three calls deep, after it changed a global that its image holds with
 * another value: for what a core shows of registers, frames and memory. The
 * read that faults is of a page with no memory behind it, which ends the guest
 * with its registers as they were.
 */
#include "guest-samples/guest.h"

#define NOWHERE_GPA 0xc0000000u
#define MAPPED_AT   0x80000000u

#define NOINLINE    __attribute__((noinline, noclone))

struct mark {
    uint32_t before, after;
};

/* In .data, so in a page that a paged guest has copied by the time this is written. */
struct mark frames_mark = {0x11111111, 0x22222222};

/* The pointer comes back from here, so that the compiler knows nothing of where it leads. */
static NOINLINE volatile uint32_t *frames_nowhere(void)
{
    uintptr_t at = NOWHERE_GPA;

    if (guest_is_paged()) {
        at = MAPPED_AT;
        guest_map(at, NOWHERE_GPA, GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
    }
    return (volatile uint32_t *)at;
}

/* Each has something left to do after the call it makes: a jump would leave no frame. */
static NOINLINE uint32_t frames_inner(volatile uint32_t *at, uint32_t seed)
{
    frames_mark.after = seed + 0xdc0de;
    return *at + seed;
}

static NOINLINE uint32_t frames_middle(volatile uint32_t *at, uint32_t seed)
{
    return frames_inner(at, seed + 0x10000000) + 1;
}

static NOINLINE uint32_t frames_outer(volatile uint32_t *at, uint32_t seed)
{
    return frames_middle(at, seed + 0x10000000) + 2;
}

void guest_main(void)
{
    volatile uint32_t *at = frames_nowhere();

    guest_print("faulting\n");
    guest_print_hex(frames_outer(at, 0x40000000));
    guest_print("\n");
}
