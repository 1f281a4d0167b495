/*
 * A guest that makes some of its pages read-only for good: it clears RW and
 * the copy-on-write mark in their entries. No snapshot gives them back.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "mem/guest_abi.h"

#define PAGES_N 4
#define WORDS_N (PAGES_N * GUEST_PAGE_LEN / sizeof(uint32_t))
#define STEP    63 /* from word to word that means something */

/* Initialised, so that it is in .data and starts on a page. */
static uint32_t constants[WORDS_N] __attribute__((aligned(GUEST_PAGE_LEN))) = {1};

/* A neighbour that changes. */
static uint32_t variable[GUEST_PAGE_LEN / sizeof(uint32_t)] __attribute__((aligned(GUEST_PAGE_LEN))) = {1};

static uintptr_t page_at(unsigned i)
{
    return (uintptr_t)constants + (uintptr_t)i * GUEST_PAGE_LEN;
}

static void sum(const struct msg_value *a, struct msg_result *r)
{
    uint32_t all = 0;
    unsigned i;

    (void)a;
    for (i = 0; i < WORDS_N; i += STEP)
        all = all * 31 + constants[i];
    guest_return_bits(r, MSG_UINT, all);
}

/* What of RW and the available bits is set in any of the entries: 0. */
static void flags(const struct msg_value *a, struct msg_result *r)
{
    uint64_t any = 0;
    unsigned i;

    (void)a;
    for (i = 0; i < PAGES_N; i++)
        any |= guest_entry(page_at(i)) & (GUEST_PTE_RW | ABI_PTE_AVL_MASK);
    guest_return_bits(r, MSG_UINT, any);
}

/* How many of the pages are where a snapshot has them, and not in this guest's scratch. */
static void stored(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t top = guest_scratch_top();
    unsigned i, n = 0;

    (void)a;
    for (i = 0; i < PAGES_N; i++) {
        uint64_t gpa = guest_entry(page_at(i)) & 0x000ffffffffff000;

        n += (uintptr_t)guest_window(gpa) - guest_scratch() >= top - guest_scratch();
    }
    guest_return_bits(r, MSG_UINT, n);
}

static void count(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_UINT, ++variable[0]);
}

/* Ends the guest: it is a fault that nobody handles. */
static void write(const struct msg_value *a, struct msg_result *r)
{
    ((volatile uint32_t *)constants)[(uint32_t)a[0].bits % WORDS_N] = 0;
    guest_return_void(r);
}

const struct guest_function guest_functions[] = {
    {"sum", 0, {0}, sum},     {"flags", 0, {0}, flags},        {"stored", 0, {0}, stored},
    {"count", 0, {0}, count}, {"write", 1, {MSG_UINT}, write}, {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
    unsigned i;

    for (i = 0; i < WORDS_N; i += STEP)
        constants[i] = i * 2654435761u;
    for (i = 0; i < PAGES_N; i++) {
        uint64_t entry = guest_entry(page_at(i));

        guest_map(page_at(i), entry & ~(uint64_t)(GUEST_PTE_RW | ABI_PTE_AVL_MASK), 0);
    }
}
