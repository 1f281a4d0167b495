/* Exceptions and stacks. See guest_trap.h for the arrangement and why it is so. */
#include "guest-samples/guest_trap.h"

#include "guest-samples/guest.h"
#include "mem/guest_abi.h"

#define VECTORS_N (IRQ_VECTOR_FIRST + IRQ_VECTORS_N)
#define VECTOR_PF 14

/* Error code of a page fault, SDM 3A, "Page-Fault Exceptions". */
#define PF_P           0x01u
#define PF_W           0x02u
#define PF_RSVD        0x08u
#define PF_I           0x10u

#define SELECTOR_CODE  0x08
#define SELECTOR_DATA  0x10
#define SELECTOR_TSS   0x18

#define GATE_INTERRUPT 0x8e /* present, ring 0, 32-bit (i686) or 64-bit interrupt gate */

/* trap_*.S: the entry of each vector, and loading of both tables and all segments. */
extern const uintptr_t trap_entries_step;
extern char trap_entries[];
void trap_load(const void *gdtr, const void *idtr);

struct table_register {
    uint16_t limit;
    uintptr_t base;
} __attribute__((packed));

static void (*irq_handlers[IRQ_VECTORS_N])(void);

void guest_irq_install(unsigned vector, void (*fn)(void))
{
    if (vector < IRQ_VECTOR_FIRST || vector >= VECTORS_N)
        guest_abort(15, "no such interrupt vector");
    irq_handlers[vector - IRQ_VECTOR_FIRST] = fn;
}

static uintptr_t entry_of(unsigned vector)
{
    return (uintptr_t)trap_entries + vector * trap_entries_step;
}

#if defined(__x86_64__)

#define TSS_OFF  0x40
#define TSS_LEN  104
#define TSS_IST1 0x24
#define IDT_OFF  GUEST_PAGE_LEN

/*
 * An interrupt's handler writes to memory, and a page fault of its own would
 * start at the top of the IST stack again: it gets the stack in use instead.
 */
static void write_gate(volatile uint64_t *gate, unsigned vector)
{
    uintptr_t entry = entry_of(vector);
    uint64_t ist = vector < IRQ_VECTOR_FIRST ? 1 : 0;

    gate[0] = (entry & 0xffff) | (uint64_t)SELECTOR_CODE << 16 | ist << 32 | (uint64_t)GATE_INTERRUPT << 40 |
              (entry >> 16 & 0xffff) << 48;
    gate[1] = entry >> 32;
}

/* Descriptors are written accessed and, by ltr, busy: nothing writes to these pages after the first snapshot.
 */
uintptr_t guest_prepare(void)
{
    volatile uint64_t *gdt = (volatile uint64_t *)TRAP_TABLES_AT;
    volatile uint64_t *idt = (volatile uint64_t *)(TRAP_TABLES_AT + IDT_OFF);
    uintptr_t tss = TRAP_TABLES_AT + TSS_OFF;
    const struct table_register gdtr = {SELECTOR_TSS + 16 - 1, TRAP_TABLES_AT};
    const struct table_register idtr = {VECTORS_N * 16 - 1, TRAP_TABLES_AT + IDT_OFF};
    uint64_t pages = guest_alloc_pages(3);
    const uint64_t rw_nx = GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D | (uint64_t)1 << 63;
    unsigned i;

    guest_map(TRAP_TABLES_AT, pages, rw_nx);
    guest_map(TRAP_TABLES_AT + IDT_OFF, pages + GUEST_PAGE_LEN, rw_nx);
    guest_map(TRAP_STACK_TOP - GUEST_PAGE_LEN, pages + (uint64_t)2 * GUEST_PAGE_LEN, rw_nx);
    gdt[SELECTOR_CODE / 8] = 0x00af9b000000ffff;
    gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffff;
    gdt[SELECTOR_TSS / 8] =
        (TSS_LEN - 1) | (tss & 0xffffff) << 16 | (uint64_t)0x89 << 40 | (tss >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
    *(volatile uint32_t *)(tss + TSS_IST1) = (uint32_t)(AMD64_VIRT_TOP - SCRATCH_STACK_TOP);
    *(volatile uint32_t *)(tss + TSS_IST1 + 4) = (uint32_t)((AMD64_VIRT_TOP - SCRATCH_STACK_TOP) >> 32);
    for (i = 0; i < VECTORS_N; i++)
        write_gate(idt + (uintptr_t)2 * i, i);
    trap_load(&gdtr, &idtr);
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
    return TRAP_STACK_TOP;
}

uintptr_t guest_main_stack(void)
{
    return TRAP_STACK_TOP;
}

static bool grow_stack(uintptr_t at)
{
    if (at < TRAP_STACK_BOTTOM || at >= TRAP_STACK_TOP)
        return false;
    guest_map(at & ~(uintptr_t)(GUEST_PAGE_LEN - 1), guest_alloc_pages(1),
              GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D | (uint64_t)1 << 63);
    return true;
}

#else

#define GDT_OFF 0
#define IDT_OFF 0x100

static uintptr_t stack_top;

/* One page for both tables, the rest for the stack: all of it scratch, seen through the window. */
uintptr_t guest_prepare(void)
{
    uintptr_t tables = (uintptr_t)guest_window(guest_alloc_pages(1 + TRAP_STACK_PAGES));
    volatile uint64_t *gdt = (volatile uint64_t *)(tables + GDT_OFF);
    volatile uint64_t *idt = (volatile uint64_t *)(tables + IDT_OFF);
    const struct table_register gdtr = {SELECTOR_DATA + 8 - 1, tables + GDT_OFF};
    const struct table_register idtr = {VECTORS_N * 8 - 1, tables + IDT_OFF};
    unsigned i;

    gdt[SELECTOR_CODE / 8] = 0x00cf9b000000ffff;
    gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffff;
    for (i = 0; i < VECTORS_N; i++) {
        uint64_t entry = entry_of(i);

        idt[i] = (entry & 0xffff) | (uint64_t)SELECTOR_CODE << 16 | (uint64_t)GATE_INTERRUPT << 40 |
                 (entry >> 16) << 48;
    }
    trap_load(&gdtr, &idtr);
    /* From here on a write to a copy-on-write page, such as this variable's, is handled. */
    stack_top = tables + (1 + TRAP_STACK_PAGES) * GUEST_PAGE_LEN;
    return stack_top;
}

uintptr_t guest_main_stack(void)
{
    return stack_top;
}

static bool grow_stack(uintptr_t at)
{
    (void)at;
    return false;
}

#endif

static uintptr_t read_cr2(void)
{
    uintptr_t v;

    __asm__ volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}

static void send_hex(uintptr_t v)
{
    unsigned shift;

    for (shift = 8 * sizeof(v); shift != 0;) {
        shift -= 4;
        guest_abort_byte((uint8_t) "0123456789abcdef"[v >> shift & 0xf]);
    }
}

static void send(const char *s)
{
    for (; *s != '\0'; s++)
        guest_abort_byte((uint8_t)*s);
}

void guest_trap(const struct trap_frame *f)
{
    uintptr_t at = read_cr2();

    if (f->vector >= IRQ_VECTOR_FIRST && irq_handlers[f->vector - IRQ_VECTOR_FIRST] != NULL) {
        irq_handlers[f->vector - IRQ_VECTOR_FIRST]();
        return;
    }
    if (f->vector == VECTOR_PF) {
        if ((f->error & PF_P) == 0 && grow_stack(at))
            return;
        /* A write to a present page that may not be written: copy it, if that is what its entry asks for. */
        if ((f->error & (PF_P | PF_W | PF_RSVD | PF_I)) == (PF_P | PF_W) && guest_own_page(at))
            return;
    }
    guest_abort_byte(15);
    guest_abort_byte((uint8_t)f->vector);
    send("at 0x");
    send_hex(f->ip);
    if (f->vector == VECTOR_PF) {
        send(", address 0x");
        send_hex(at);
    }
    guest_abort_text("");
}
