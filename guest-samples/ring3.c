/*
 * Code in ring 3 that reads through user mappings. It runs on the real CPU
 * even where KVM emulates the kernel: what the CPU or KVM still remembers of
 * page tables that are gone, this code sees.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "guest-samples/guest_trap.h"

#define CODE_AT    ((uintptr_t)1 << (sizeof(uintptr_t) == 8 ? 40 : 28))
#define KEPT_AT    (CODE_AT + GUEST_PAGE_LEN)     /* mapped when a snapshot is taken */
#define OTHER_AT   (CODE_AT + 2 * GUEST_PAGE_LEN) /* likewise */
#define FRESH_AT   (CODE_AT + 3 * GUEST_PAGE_LEN) /* not mapped then */

#define PTE_US     0x4u
#define FLAGS_USER (GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D | PTE_US)

/* mov (%rax), %eax or mov (%eax), %eax; int3: the same bytes for both. */
static const uint8_t program[] = {0x8b, 0x00, 0xcc};

/* The lowest entry for `at`; make_user: open each one on the way to ring 3. CODE_AT and its neighbours share them. */
static volatile uintptr_t *entry_of(uintptr_t at, bool make_user)
{
    const unsigned bits = sizeof(uintptr_t) == 8 ? 9 : 10;
    unsigned level = sizeof(uintptr_t) == 8 ? 4 : 2;
    uintptr_t table = guest_read_cr3();

    for (;; level--) {
        volatile uintptr_t *entry =
            (volatile uintptr_t *)guest_window(table & ~(uintptr_t)(GUEST_PAGE_LEN - 1)) +
            (at >> (12 + (level - 1) * bits) & (((uintptr_t)1 << bits) - 1));

        if (make_user)
            *entry |= PTE_US;
        if (level == 1)
            return entry;
        table = *entry;
    }
}

static void flush(uintptr_t at)
{
    __asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
}

/* A fresh page with that word in it. */
static uint64_t make_page(uint32_t word)
{
    uint64_t page = guest_alloc_pages(1);

    *(volatile uint32_t *)guest_window(page) = word;
    return page;
}

/* Put a page there and flush nothing. */
static void map(uintptr_t at, const struct msg_value *a, struct msg_result *r)
{
    uint32_t skipped_n = (uint32_t)a[1].bits;

    if (skipped_n != 0)
        guest_alloc_pages(skipped_n);
    *entry_of(at, false) = (uintptr_t)make_page((uint32_t)a[0].bits) | FLAGS_USER;
    guest_return_void(r);
}

/* map_kept(word, skipped): a page behind `skipped` others, so that it is not where another run had its. */
static void map_kept(const struct msg_value *a, struct msg_result *r)
{
    map(KEPT_AT, a, r);
    flush(KEPT_AT);
}

/* map_fresh(word, skipped): there was nothing, so there is nothing to flush. */
static void map_fresh(const struct msg_value *a, struct msg_result *r)
{
    map(FRESH_AT, a, r);
}

/* Let two addresses that are both the snapshot's change places, pages and all. */
static void swap(const struct msg_value *a, struct msg_result *r)
{
    volatile uintptr_t *kept = entry_of(KEPT_AT, false), *other = entry_of(OTHER_AT, false);
    uintptr_t entry = *kept;

    (void)a;
    *kept = *other;
    *other = entry;
    flush(KEPT_AT);
    flush(OTHER_AT);
    guest_return_void(r);
}

/* Map a page of the snapshot's where it mapped nothing. */
static void alias(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    *entry_of(FRESH_AT, false) = *entry_of(OTHER_AT, false);
    guest_return_void(r);
}

/* What ring 3 reads there. */
static void read_kept(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_UINT, guest_user_run(CODE_AT, KEPT_AT));
}

static void read_other(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_UINT, guest_user_run(CODE_AT, OTHER_AT));
}

static void read_fresh(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_UINT, guest_user_run(CODE_AT, FRESH_AT));
}

/* What the kernel reads there. */
static void peek_kept(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_UINT, *(volatile uint32_t *)KEPT_AT);
}

const struct guest_function guest_functions[] = {
    {"map_kept", 2, {MSG_UINT, MSG_UINT}, map_kept},
    {"map_fresh", 2, {MSG_UINT, MSG_UINT}, map_fresh},
    {"swap", 0, {0}, swap},
    {"alias", 0, {0}, alias},
    {"read_kept", 0, {0}, read_kept},
    {"read_other", 0, {0}, read_other},
    {"read_fresh", 0, {0}, read_fresh},
    {"peek_kept", 0, {0}, peek_kept},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
    uint64_t code = guest_alloc_pages(1);
    unsigned i;

    for (i = 0; i < sizeof(program); i++)
        ((volatile uint8_t *)guest_window(code))[i] = program[i];
    guest_map(CODE_AT, code, FLAGS_USER);
    guest_map(KEPT_AT, make_page(1), FLAGS_USER);
    guest_map(OTHER_AT, make_page(2), FLAGS_USER);
    entry_of(CODE_AT, true);
}
