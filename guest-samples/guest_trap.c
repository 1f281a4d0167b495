/* Exceptions and stacks. See guest_trap.h for the arrangement and why it is so. */
#include "guest-samples/guest_trap.h"

#include "guest-samples/guest.h"
#include "mem/guest_abi.h"

#define VECTORS_N (IRQ_VECTOR_FIRST + IRQ_VECTORS_N)
#define VECTOR_PF 14

/* Error code of a page fault, SDM 3A, "Page-Fault Exceptions". */
#define PF_P      0x01u
#define PF_W      0x02u
#define PF_RSVD   0x08u
#define PF_I      0x10u

#define VECTOR_BP 3

/* The TSS takes two entries of an amd64 GDT and one of an i686 one. */
#define SELECTOR_CODE      0x08
#define SELECTOR_DATA      0x10
#define SELECTOR_TSS       0x18
#define SELECTOR_USER_DATA 0x28
#define SELECTOR_USER_CODE 0x30
#define GDT_LEN            0x38

#define TSS_LEN            104

#define GATE_INTERRUPT     0x8e /* present, ring 0, 32-bit (i686) or 64-bit interrupt gate */
#define GATE_USER          0x60 /* for ring 3 as well */

/* trap_*.S: the entry of each vector, and loading of both tables, all segments and the task register. */
extern const uintptr_t trap_entries_step;
extern char trap_entries[];
void trap_load(const void *gdtr, const void *idtr);

/* trap_*.S: to ring 3 with `arg` in the first register, and back to whoever called it, with a result. */
uint32_t trap_user_enter(uintptr_t code, uintptr_t arg);
void trap_user_leave(uint32_t result) __attribute__((noreturn));

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

/* Ring 3 comes back by int3. */
static uint64_t gate_type(unsigned vector)
{
    return vector == VECTOR_BP ? GATE_INTERRUPT | GATE_USER : GATE_INTERRUPT;
}

#if defined(__x86_64__)

#define TSS_OFF  0x40
#define TSS_RSP0 0x04
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

    gate[0] = (entry & 0xffff) | (uint64_t)SELECTOR_CODE << 16 | ist << 32 | gate_type(vector) << 40 |
              (entry >> 16 & 0xffff) << 48;
    gate[1] = entry >> 32;
}

static void write_stack(uintptr_t at, uint64_t stack)
{
    *(volatile uint32_t *)at = (uint32_t)stack;
    *(volatile uint32_t *)(at + 4) = (uint32_t)(stack >> 32);
}

/* Descriptors are written accessed and, by ltr, busy: nothing writes to these pages after the first snapshot.
 */
uintptr_t guest_prepare(void)
{
    volatile uint64_t *gdt = (volatile uint64_t *)TRAP_TABLES_AT;
    volatile uint64_t *idt = (volatile uint64_t *)(TRAP_TABLES_AT + IDT_OFF);
    uintptr_t tss = TRAP_TABLES_AT + TSS_OFF;
    const struct table_register gdtr = {GDT_LEN - 1, TRAP_TABLES_AT};
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
    gdt[SELECTOR_USER_DATA / 8] = 0x00cff3000000ffff;
    gdt[SELECTOR_USER_CODE / 8] = 0x00affb000000ffff;
    /* While ring 3 runs, nobody uses the IST stack: what comes then may have it, too. */
    write_stack(tss + TSS_IST1, AMD64_VIRT_TOP - SCRATCH_STACK_TOP);
    write_stack(tss + TSS_RSP0, AMD64_VIRT_TOP - SCRATCH_STACK_TOP);
    for (i = 0; i < VECTORS_N; i++)
        write_gate(idt + (uintptr_t)2 * i, i);
    trap_load(&gdtr, &idtr);
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

/* On one page; behind it the stack. */
#define IDT_OFF  0x100
#define TSS_OFF  0x300
#define TSS_ESP0 0x04
#define TSS_SS0  0x08

/* Where paging is off: a restore zeroes scratch and gives no sign of it, but keeps .bss. */
static uint8_t identity_pages[(1 + TRAP_STACK_PAGES) * GUEST_PAGE_LEN]
    __attribute__((aligned(GUEST_PAGE_LEN)));

static uintptr_t stack_top;
static volatile uint32_t *tss_esp0;

/* One page for the tables, the rest for the stack: of scratch, seen through the window, where paging is on. */
uintptr_t guest_prepare(void)
{
    uintptr_t tables = guest_is_paged() ? (uintptr_t)guest_window(guest_alloc_pages(1 + TRAP_STACK_PAGES))
                                        : (uintptr_t)identity_pages;
    volatile uint64_t *gdt = (volatile uint64_t *)tables;
    volatile uint64_t *idt = (volatile uint64_t *)(tables + IDT_OFF);
    uintptr_t tss = tables + TSS_OFF;
    const struct table_register gdtr = {GDT_LEN - 1, tables};
    const struct table_register idtr = {VECTORS_N * 8 - 1, tables + IDT_OFF};
    unsigned i;

    gdt[SELECTOR_CODE / 8] = 0x00cf9b000000ffff;
    gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffff;
    gdt[SELECTOR_TSS / 8] =
        (TSS_LEN - 1) | (uint64_t)(tss & 0xffffff) << 16 | (uint64_t)0x89 << 40 | (uint64_t)(tss >> 24) << 56;
    gdt[SELECTOR_USER_DATA / 8] = 0x00cff3000000ffff;
    gdt[SELECTOR_USER_CODE / 8] = 0x00cffb000000ffff;
    *(volatile uint32_t *)(tss + TSS_SS0) = SELECTOR_DATA;
    for (i = 0; i < VECTORS_N; i++) {
        uint64_t entry = entry_of(i);

        idt[i] = (entry & 0xffff) | (uint64_t)SELECTOR_CODE << 16 | gate_type(i) << 40 | (entry >> 16) << 48;
    }
    trap_load(&gdtr, &idtr);
    /* From here on a write to a copy-on-write page, such as these variables', is handled. */
    tss_esp0 = (volatile uint32_t *)(tss + TSS_ESP0);
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

/* Called by trap_i686.S: what comes while ring 3 runs goes on below what is on the stack now. */
void trap_user_stack(uint32_t esp);

void trap_user_stack(uint32_t esp)
{
    *tss_esp0 = esp;
}

#endif

uint32_t guest_user_run(uintptr_t code, uintptr_t arg)
{
    return trap_user_enter(code, arg);
}

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
    if (f->vector == VECTOR_BP && (f->cs & 3) == 3)
        trap_user_leave((uint32_t)f->first);
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
