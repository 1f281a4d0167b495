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
 *        the window, and it, GDT and IDT are made again whenever the host says
 *        that the tables were replaced (ZF at a call). It does not grow.
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

/* What an exception handler gets: built by trap_*.S. */
struct trap_frame {
    uintptr_t vector, error, ip;
};

/* Vectors behind the exceptions: as many as the two PICs have lines. */
#define IRQ_VECTOR_FIRST 32
#define IRQ_VECTORS_N    16

/*
 * Call `fn` when an interrupt with that vector, IRQ_VECTOR_FIRST or one of the
 * next IRQ_VECTORS_N - 1, arrives. It runs with interrupts off and sends the
 * EOI itself; NULL takes the handler away.
 */
void guest_irq_install(unsigned vector, void (*fn)(void));

/* Called by trap_*.S; returns when the page was copied, the stack grown or the interrupt handled. */
void guest_trap(const struct trap_frame *frame);

#endif
