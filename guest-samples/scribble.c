/*
 * A guest that writes to its memory in ways that are easily missed: through
 * aliases and large pages whose entries it makes and takes away again, with
 * dirty and accessed bits cleared, through tables that nobody else knows of, by
 * what the CPU writes by itself, and with nobody there to handle a fault. The
 * pages are those of the heap, and fresh ones of scratch.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "guest-samples/guest_trap.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"

#if defined(__x86_64__)
#define LEVELS     4
#define INDEX_BITS 9
#define HIDDEN     0x0000600000000000
#else
#define LEVELS     2
#define INDEX_BITS 10
#define HIDDEN     0x60000000u
#endif

#define ALIAS     0x50000000u /* starts a large page */
#define LARGE_LEN ((uintptr_t)1 << (12 + INDEX_BITS))
#define ENTRIES_N (1u << INDEX_BITS)
#define GPA_MASK  0x000ffffffffff000

#define PTE_LARGE 0x80u
#define CR4_PSE   0x10u
#define CR0_PG    0x80000000u

struct table_register {
    uint16_t limit;
    uintptr_t base;
} __attribute__((packed));

static uintptr_t page_at(uint32_t i)
{
    uint32_t n = (uint32_t)(load_le64(guest_peb() + PEB_HEAP_SIZE) / GUEST_PAGE_LEN);

    return (uintptr_t)load_le64(guest_peb() + PEB_HEAP_PTR) + (uintptr_t)(i % n) * GUEST_PAGE_LEN;
}

/* A word of some page. */
static volatile uint32_t *word_of(uint32_t seed)
{
    return (volatile uint32_t *)(page_at(seed) + (seed >> 8) % 1000 * 4);
}

static uint32_t seed_of(const struct msg_value *a)
{
    return (uint32_t)a[0].bits;
}

static void done(struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, 1);
}

/* Stores of several kinds, one of them the CPU's onto a stack. */
static void plain(const struct msg_value *a, struct msg_result *r)
{
    uint32_t seed = seed_of(a), v = seed | 1;
    void *to = (void *)page_at(seed / 3);
    uintptr_t n = GUEST_PAGE_LEN, stack = page_at(seed / 5) + GUEST_PAGE_LEN / 2;

    *word_of(seed) ^= v;
    __asm__ volatile("xchg %0, %1" : "+r"(v), "+m"(*word_of(seed + 7)));
    __asm__ volatile("lock btcl $5, %0" : "+m"(*word_of(seed + 11)));
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(seed | 1) : "memory");
    *(volatile uint32_t *)(stack - 4) = seed; /* no fault can be delivered on a stack that faults */
#if defined(__x86_64__)
    __asm__ volatile("xchg %%rsp, %0\n\tpush %1\n\tpushf\n\tlea 16(%%rsp), %%rsp\n\txchg %%rsp, %0"
                     : "+r"(stack)
                     : "r"((uint64_t)seed)
                     : "memory");
#else
    __asm__ volatile("xchg %%esp, %0\n\tpush %1\n\tpushf\n\tlea 8(%%esp), %%esp\n\txchg %%esp, %0"
                     : "+r"(stack)
                     : "r"(seed)
                     : "memory");
#endif
    done(r);
}

/* What the CPU writes of its own accord: table registers, and the accessed bit of a descriptor. */
static void cpu(const struct msg_value *a, struct msg_result *r)
{
    uint32_t seed = seed_of(a);
    volatile uint64_t *gdt = (volatile uint64_t *)page_at(seed);
    struct table_register old, *stored = (struct table_register *)page_at(seed + 1);
    struct table_register mine = {0x17, (uintptr_t)gdt};
    uint16_t es;

    gdt[0] = seed;
    stored->limit = 0;
    __asm__ volatile("sgdt %0\n\tmov %%es, %1" : "=m"(old), "=r"(es));
    __asm__ volatile("sidt %0" : "=m"(*stored));
    gdt[1] = gdt[2] = 0x00cf92000000ffff; /* writable data, not accessed */
    __asm__ volatile("lgdt %0\n\tmov %1, %%es\n\tlgdt %2\n\tmov %3, %%es"
                     :
                     : "m"(mine), "r"(0x10), "m"(old), "r"(es)
                     : "memory");
    guest_return_bits(r, MSG_UINT, gdt[2] >> 40 & 1);
}

/* With no table of exceptions: whoever has to copy a page by itself is lost. */
static void alone(const struct msg_value *a, struct msg_result *r)
{
    const struct table_register none = {0, 0};
    uint32_t seed = seed_of(a), i;

    __asm__ volatile("lidt %0" : : "m"(none));
    for (i = 0; i < 5; i++)
        *word_of(seed + i * 3) ^= seed | 1;
    done(r);
}

/* --- where there are page tables -------------------------------------------------------------------- */

static uint64_t gpa_of(uintptr_t page)
{
    return guest_entry(page) & GPA_MASK;
}

static void reload(void)
{
    guest_write_cr3(guest_read_cr3());
}

static volatile uintptr_t *entry_in(uintptr_t table, uintptr_t va, unsigned level)
{
    return (volatile uintptr_t *)guest_window(table & (uintptr_t)GPA_MASK) +
           (va >> (12 + (level - 1) * INDEX_BITS) & (ENTRIES_N - 1));
}

/* The entry above the lowest one. */
static volatile uintptr_t *large_entry(uintptr_t va)
{
    uintptr_t table = guest_read_cr3();
    unsigned level;

    for (level = LEVELS; level > 2; level--)
        table = *entry_in(table, va, level);
    return entry_in(table, va, 2);
}

/* The page at another address; then neither that nor a bit of its own entry tells of it. */
static void alias(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t page = page_at(seed_of(a));
    volatile uint32_t *word = (volatile uint32_t *)page;

    *word = 1; /* now it is the guest's own */
    *word = 0;
    guest_map(ALIAS, gpa_of(page), GUEST_PTE_P | GUEST_PTE_RW);
    ((volatile uint32_t *)ALIAS)[seed_of(a) % 1000] ^= seed_of(a) | 1;
    guest_map(ALIAS, 0, 0);
    guest_map(page, guest_entry(page) & ~(uint64_t)(GUEST_PTE_A | GUEST_PTE_D), 0);
    done(r);
}

/* A fresh page of scratch, as part of a large page that is gone afterwards. */
static void large(const struct msg_value *a, struct msg_result *r)
{
    uint64_t gpa = guest_alloc_pages(1);
    volatile uintptr_t *entry;
    uintptr_t v;

    __asm__ volatile("mov %%cr4, %0\n\tor %1, %0\n\tmov %0, %%cr4"
                     : "=&r"(v)
                     : "r"((uintptr_t)CR4_PSE)
                     : "memory");
    guest_map(ALIAS, 0, 0);
    entry = large_entry(ALIAS);
    v = *entry;
    *entry = ((uintptr_t)gpa & ~(LARGE_LEN - 1)) | PTE_LARGE | GUEST_PTE_P | GUEST_PTE_RW;
    reload();
    *(volatile uint32_t *)(ALIAS + ((uintptr_t)gpa & (LARGE_LEN - 1)) + seed_of(a) % 1000 * 4) =
        seed_of(a) | 1;
    *entry = v;
    reload();
    done(r);
}

/* Tables below a root that is used for one write only. */
static void hidden(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t old = guest_read_cr3(), root = (uintptr_t)guest_alloc_pages(1), page = page_at(seed_of(a)), i;

    *(volatile uint32_t *)page = seed_of(a) | 1;
    for (i = 0; i < ENTRIES_N; i++)
        ((volatile uintptr_t *)guest_window(root))[i] =
            ((volatile uintptr_t *)guest_window(old & (uintptr_t)GPA_MASK))[i];
    guest_write_cr3(root);
    guest_map(HIDDEN, gpa_of(page), GUEST_PTE_P | GUEST_PTE_RW);
    ((volatile uint32_t *)HIDDEN)[seed_of(a) % 1000] ^= seed_of(a) | 1;
    guest_write_cr3(old);
    done(r);
}

/* --- where there are none: for the time of one write ---------------------------------------------------- */

#if !defined(__x86_64__)
static void paging(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t page = page_at(seed_of(a)), root = page_at(seed_of(a) + 1), v, i;

    for (i = 0; i < ENTRIES_N; i++)
        ((volatile uintptr_t *)root)[i] = i * LARGE_LEN | PTE_LARGE | GUEST_PTE_P | GUEST_PTE_RW;
    ((volatile uintptr_t *)root)[ALIAS / LARGE_LEN] = PTE_LARGE | GUEST_PTE_P | GUEST_PTE_RW;
    __asm__ volatile("mov %%cr4, %0\n\tor %1, %0\n\tmov %0, %%cr4"
                     : "=&r"(v)
                     : "r"((uintptr_t)CR4_PSE)
                     : "memory");
    guest_write_cr3(root);
    __asm__ volatile("mov %%cr0, %0\n\tor %1, %0\n\tmov %0, %%cr0\n\tjmp 1f\n1:"
                     : "=&r"(v)
                     : "r"((uintptr_t)CR0_PG)
                     : "memory");
    *(volatile uint32_t *)(ALIAS + page % LARGE_LEN) ^= seed_of(a) | 1;
    __asm__ volatile("mov %%cr0, %0\n\tand %1, %0\n\tmov %0, %%cr0\n\tjmp 1f\n1:"
                     : "=&r"(v)
                     : "r"(~(uintptr_t)CR0_PG)
                     : "memory");
    guest_write_cr3(0);
    done(r);
}
#endif

const struct guest_function guest_functions[] = {
    {"plain", 1, {MSG_UINT}, plain},
    {"cpu", 1, {MSG_UINT}, cpu},
    {"alone", 1, {MSG_UINT}, alone},
    {"alias", 1, {MSG_UINT}, alias},
    {"large", 1, {MSG_UINT}, large},
    {"hidden", 1, {MSG_UINT}, hidden},
#if !defined(__x86_64__)
    {"paging", 1, {MSG_UINT}, paging},
#endif
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
}
