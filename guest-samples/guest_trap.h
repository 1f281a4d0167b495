/*
 * Exceptions of a guest that takes calls. Paged kinds start, and start again
 * after every restore, with all their memory copy-on-write: the first write to
 * a page faults, the handler copies the page to scratch and maps the copy.
 *
 * amd64  GDT, TSS and IDT are on two pages of their own at TRAP_TABLES_AT,
 *        mapped like any other memory, so a snapshot keeps them; nothing in
 *        them is written after set-up (descriptors are accessed, the TSS is
 *        busy). Exceptions run on the IST stack at the top of scratch. The
 *        main stack grows by fault below TRAP_STACK_TOP.
 * i686   There is no IST: an exception is delivered on the stack in use, which
 *        must be writable already, so the stack is scratch memory seen through
 *        the window, and it, GDT, IDT and TSS are made again whenever the host
 *        says that the tables were replaced (ZF at a call). It does not grow.
 *        Where paging is off all of them are in .bss, which a snapshot keeps.
 *
 * Any other exception ends the guest: abort code 15 with the vector.
 *
 * Interrupts are handled on the stack in use, by whatever guest_irq_install
 * was told to call for their vector; one without a handler ends the guest as
 * an exception does.
 */
#ifndef GUEST_SAMPLES_GUEST_TRAP_H
#define GUEST_SAMPLES_GUEST_TRAP_H

#include <stdint.h>

#if defined(__x86_64__)
#define TRAP_TABLES_AT    0xfffffd0000000000
#define TRAP_STACK_TOP    0xffffff0000000000
#define TRAP_STACK_BOTTOM 0xfffffe0000000000
#else
#define TRAP_STACK_PAGES 8
#endif

/* What an exception handler gets: built by trap_*.S and the CPU. `first` is eax or rax. */
struct trap_frame {
    uintptr_t first, vector, error, ip, cs;
};

/*
 * Roots of page tables; paged kinds only. A new one is used as it is, with all
 * translations of the old one flushed.
 */
static inline uintptr_t guest_read_cr3(void)
{
    uintptr_t v;

    __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}

static inline void guest_write_cr3(uintptr_t root)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}

/* Set CR8 and return what it was; an i686 guest has none: 0. */
uint32_t guest_swap_cr8(uint32_t v);

/* Vectors behind the exceptions: as many as the two PICs have lines. */
#define IRQ_VECTOR_FIRST 32
#define IRQ_VECTORS_N    16

/*
 * Call `fn` when an interrupt with that vector, IRQ_VECTOR_FIRST or one of the
 * next IRQ_VECTORS_N - 1, arrives. It runs with interrupts off and sends the
 * EOI itself; NULL takes the handler away.
 */
void guest_irq_install(unsigned vector, void (*fn)(void));

/*
 * Run `code` in ring 3 with `arg` in eax or rax until its int3, with interrupts
 * off and no stack; what is in eax then is returned. Code and data need a user
 * mapping. Paged kinds only; not to be nested.
 */
uint32_t guest_user_run(uintptr_t code, uintptr_t arg);

/* Called by trap_*.S; returns when the page was copied, the stack grown or the interrupt handled. */
void guest_trap(const struct trap_frame *frame);

#endif
