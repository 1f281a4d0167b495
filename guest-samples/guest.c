/* The guest runtime: start, printing, ending, pages. See guest.h. */
#include "guest-samples/guest.h"

#include "mem/bytes.h"
#include "mem/guest_abi.h"

#if defined(__x86_64__)
#define LEVELS     4
#define INDEX_BITS 9
#define PHYS_TOP   AMD64_PHYS_TOP
typedef uint64_t entry_word;
#define ENTRY_ADDR    0x000ffffffffff000
#define TABLE_FLAGS   0x23
#define CR0_PG_BIT    0x80000000u
#define STACK_POINTER "rsp"
#else
#define LEVELS        2
#define INDEX_BITS    10
#define PHYS_TOP      I686_PHYS_TOP
typedef uint32_t entry_word;
#define ENTRY_ADDR    0xfffff000
#define TABLE_FLAGS   0x27
#define CR0_PG_BIT    0x80000000u
#define STACK_POINTER "esp"
#endif

extern char guest_data_start[], guest_data_end[];

/* Called by start_*.S, or defined there. */
void guest_start(const uint8_t *peb, uintptr_t seed, uintptr_t page_len, uintptr_t log_filter,
                 uintptr_t boot_stack) __attribute__((noreturn));
void guest_on_stack(uintptr_t stack, const uint8_t *peb, uintptr_t log_filter, uintptr_t boot_stack)
    __attribute__((noreturn));
void guest_run(const uint8_t *peb, uintptr_t log_filter, uintptr_t boot_stack) __attribute__((noreturn));
uintptr_t guest_enter(bool flushed);
void guest_dispatch(void) __attribute__((noreturn));
void guest_stop(void) __attribute__((noreturn));

static const uint8_t *the_peb;
static uintptr_t the_log_filter;
static uintptr_t main_stack; /* 0: the boot stack */

static uintptr_t read_cr0(void)
{
    uintptr_t v;

    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static uintptr_t read_cr3(void)
{
    uintptr_t v;

    __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}

bool guest_is_paged(void)
{
    return (read_cr0() & CR0_PG_BIT) != 0;
}

const char *guest_kind(void)
{
    if (sizeof(uintptr_t) == 8)
        return "amd64";
    return guest_is_paged() ? "i686" : "i686-identity";
}

const uint8_t *guest_peb(void)
{
    return the_peb;
}

unsigned guest_log_filter(void)
{
    return (unsigned)the_log_filter;
}

uintptr_t guest_scratch_top(void)
{
#if defined(__x86_64__)
    return AMD64_VIRT_TOP;
#else
    return guest_is_paged() ? (uintptr_t)I686_VIRT_TOP : (uintptr_t)I686_PHYS_TOP;
#endif
}

static volatile uintptr_t *top_word(uintptr_t distance)
{
    return (volatile uintptr_t *)(guest_scratch_top() - distance);
}

uintptr_t guest_scratch_len(void)
{
    return *top_word(SCRATCH_SIZE_WORD);
}

uintptr_t guest_scratch(void)
{
    return guest_scratch_top() - guest_scratch_len();
}

void *guest_window(uint64_t gpa)
{
    return (void *)(guest_scratch_top() - (uintptr_t)(PHYS_TOP - gpa));
}

uint64_t guest_alloc_pages(unsigned n)
{
    uintptr_t len = (uintptr_t)n * GUEST_PAGE_LEN;
    uintptr_t old = __atomic_fetch_add(top_word(SCRATCH_ALLOCATOR_WORD), len, __ATOMIC_RELAXED);

    if (old + len > PHYS_TOP - SCRATCH_HOST_PAGE)
        guest_abort(13, "Out of physical memory");
    return old;
}

void guest_print(const char *s)
{
    for (; *s != '\0'; s++)
        guest_out(PORT_DEBUG_PRINT, (uint8_t)*s);
}

void guest_print_hex(uint64_t v)
{
    unsigned shift = 64;

    guest_print("0x");
    while (shift > 4 && (v >> (shift - 4)) == 0)
        shift -= 4;
    while (shift != 0) {
        shift -= 4;
        guest_out(PORT_DEBUG_PRINT, (uint32_t) "0123456789abcdef"[v >> shift & 0xf]);
    }
}

void guest_abort_byte(uint8_t byte)
{
    guest_out(PORT_ABORT, 1u | (uint32_t)byte << 8);
}

void guest_abort(uint8_t code, const char *text)
{
    guest_abort_byte(code);
    guest_abort_text(text);
}

void guest_abort_text(const char *text)
{
    for (; *text != '\0'; text++)
        guest_abort_byte((uint8_t)*text);
    guest_abort_byte(ABORT_TERMINATOR);
    guest_stop();
}

/* The entry for `va` in a table of `level`, 1 being the lowest, at physical `table`. */
static volatile entry_word *entry_in(uint64_t table, uintptr_t va, unsigned level)
{
    unsigned shift = 12 + (level - 1) * INDEX_BITS;
    unsigned index = (unsigned)(va >> shift) & ((1u << INDEX_BITS) - 1);

    return (volatile entry_word *)guest_window(table) + index;
}

/* Down to the lowest entry for `va`; NULL when a table is missing and `make` is false. */
static volatile entry_word *find_entry(uintptr_t va, bool make)
{
    uint64_t table = read_cr3() & ENTRY_ADDR;
    unsigned level;

    for (level = LEVELS; level > 1; level--) {
        volatile entry_word *p = entry_in(table, va, level);

        if ((*p & GUEST_PTE_P) == 0) {
            if (!make)
                return NULL;
            *p = (entry_word)guest_alloc_pages(1) | TABLE_FLAGS;
        }
        table = *p & ENTRY_ADDR;
    }
    return entry_in(table, va, 1);
}

static void flush(uintptr_t va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

void guest_map(uintptr_t va, uint64_t gpa, uint64_t flags)
{
    *find_entry(va, true) = (entry_word)(gpa | flags);
    flush(va);
}

uint64_t guest_entry(uintptr_t va)
{
    volatile entry_word *p = find_entry(va, false);

    return p != NULL ? *p : 0;
}

bool guest_own_page(uintptr_t va)
{
    volatile entry_word *p = find_entry(va, false);
    const volatile uintptr_t *from;
    volatile uintptr_t *to;
    uint64_t page;
    unsigned i;

    va &= ~(uintptr_t)(GUEST_PAGE_LEN - 1);
    from = (const volatile uintptr_t *)va;
    if (p == NULL || (*p & GUEST_PTE_P) == 0 || (*p & ABI_PTE_AVL_MASK) != ABI_PTE_COW)
        return false;
    page = guest_alloc_pages(1);
    to = guest_window(page);
    for (i = 0; i < GUEST_PAGE_LEN / sizeof(*to); i++)
        to[i] = from[i];
    *p = (entry_word)page | (*p & (entry_word) ~(ENTRY_ADDR | ABI_PTE_AVL_MASK)) | GUEST_PTE_RW;
    flush(va);
    return true;
}

void guest_own_data(void)
{
    uintptr_t va;

    if (guest_is_paged())
        for (va = (uintptr_t)guest_data_start; va != (uintptr_t)guest_data_end; va += GUEST_PAGE_LEN)
            guest_own_page(va);
}

/* Nothing here may write to .data or .bss: they cannot be written before guest_prepare, nor before the
 * switch. */
void guest_start(const uint8_t *peb, uintptr_t seed, uintptr_t page_len, uintptr_t log_filter,
                 uintptr_t boot_stack)
{
    uintptr_t stack = guest_prepare();

    (void)seed;
    (void)page_len;
    if (stack != 0)
        guest_on_stack(stack, peb, log_filter, boot_stack);
    guest_run(peb, log_filter, boot_stack);
}

void guest_run(const uint8_t *peb, uintptr_t log_filter, uintptr_t boot_stack)
{
    uintptr_t call_stack = boot_stack;

    the_peb = peb;
    the_log_filter = log_filter;
#if defined(__x86_64__)
    /* Calls start on the main stack, which keeps its address; an i686 guest makes its stack anew after a
     * restore. */
    main_stack = guest_main_stack();
    if (main_stack != 0)
        call_stack = main_stack;
#else
    main_stack = guest_main_stack();
#endif
    guest_main();
    /* End of init: the address of the dispatch code, and a stack pointer that is a multiple of 16. */
    __asm__ volatile("mov %0, %%" STACK_POINTER "\n\tout %%al, %1\n\tjmp guest_stop"
                     :
                     : "r"(call_stack), "i"(PORT_HALT), "a"(guest_dispatch)
                     : "memory");
    __builtin_unreachable();
}

/* i686, at each call, on the boot stack: the stack to go on with. */
uintptr_t guest_enter(bool flushed)
{
    if (flushed) {
        uintptr_t stack = guest_prepare();

        main_stack = stack;
    }
    return main_stack;
}
