/*
 * Writes and reads back the first, the middle and the last page of scratch
 * that a guest may use: from where the allocator starts to below the host
 * page. In the paged kinds each page is mapped a second time, so that a wrong
 * entry of the window cannot be right twice. Prints "scratch ok <bytes>".
 */
#include "guest-samples/guest.h"

#include "mem/bytes.h"
#include "mem/guest_abi.h"

#define ALIAS_AT \
    0xa0000000u /* nothing else is there: above the image, below every scratch of up to 1 GiB \
                 */
#define WORDS_N (GUEST_PAGE_LEN / sizeof(uintptr_t))

/* Where scratch ends physically: the numbers of the ABI, once more by hand. */
static uint64_t phys_top(void)
{
    return sizeof(uintptr_t) == 8 ? 0x1000000000u : 0xfee00000u;
}

static volatile uint64_t *word(unsigned distance)
{
    return (volatile uint64_t *)(guest_scratch_top() - distance);
}

static void check(bool ok, const char *what)
{
    if (!ok)
        guest_abort(15, what);
}

static void check_words(void)
{
    const uint8_t *peb = guest_peb();
    uint64_t input = load_le64(peb + PEB_INPUT_PTR);

    check(input == (uintptr_t)(guest_scratch_top() - *word(SCRATCH_SIZE_WORD)),
          "the input stack is not at SIZE");
    check(load_le64(peb + PEB_OUTPUT_PTR) == input + load_le64(peb + PEB_INPUT_SIZE),
          "the output stack does not follow the input stack");
    check(*(volatile uint64_t *)guest_scratch() == IO_STACK_EMPTY, "the input stack is not empty");
}

/* The page at `gpa`, filled through one mapping and read through the other. */
static void check_page(uint64_t gpa)
{
    volatile uintptr_t *window = guest_window(gpa), *other = window;
    uintptr_t mark = (uintptr_t)gpa ^ (uintptr_t)0x5ca7c4a11d5ca7c4;
    unsigned i;

    if (guest_is_paged()) {
        guest_map(ALIAS_AT, gpa, GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
        other = (volatile uintptr_t *)(uintptr_t)ALIAS_AT;
    }
    for (i = 0; i < WORDS_N; i++)
        check(window[i] == 0, "a fresh page is not zero");
    for (i = 0; i < WORDS_N; i++)
        window[i] = mark + i;
    for (i = 0; i < WORDS_N; i++)
        check(other[i] == mark + i, "a page lost a write");
    for (i = 0; i < WORDS_N; i++)
        other[i] = ~(mark + i);
    for (i = 0; i < WORDS_N; i++)
        check(window[i] == ~(mark + i), "a page lost a write through its other mapping");
}

/* What check_page left in a page. */
static void check_kept(uint64_t gpa)
{
    volatile uintptr_t *window = guest_window(gpa);
    uintptr_t mark = (uintptr_t)gpa ^ (uintptr_t)0x5ca7c4a11d5ca7c4;
    unsigned i;

    for (i = 0; i < WORDS_N; i++)
        check(window[i] == ~(mark + i), "a page shares its memory with another");
}

void guest_main(void)
{
    uint64_t last = phys_top() - 0x4000, size = *word(SCRATCH_SIZE_WORD);
    uint64_t first, middle;

    check_words();
    first = guest_alloc_pages(1);
    middle = (first + last) / 2 & ~(uint64_t)(GUEST_PAGE_LEN - 1);
    check(first > phys_top() - size && middle > first && last > middle,
          "the allocator starts outside of scratch");
    check_page(first);
    check_page(middle);
    check_page(last);
    check_kept(first);
    check_kept(middle);
    check(*word(SCRATCH_SIZE_WORD) == size, "SIZE was overwritten");
    guest_print("scratch ok ");
    guest_print_hex(size);
    guest_print("\n");
}
