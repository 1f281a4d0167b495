/*
 * For bare kernels, which know nothing of the guest ABI: ports, the serial
 * line, interrupts. bare_start.S enters bare_main, bare.c has the rest.
 */
#ifndef GUEST_SAMPLES_BARE_H
#define GUEST_SAMPLES_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART       0x3f8
#define UART_IER   (UART + 1)
#define UART_FCR   (UART + 2)
#define UART_IIR   (UART + 2)
#define UART_MCR   (UART + 4)
#define UART_LSR   (UART + 5)
#define DEBUG_PORT 0xe9
#define EXIT_PORT  0xf4 /* ends with (value << 1) | 1 */
#define ACPI_PORT  0x604
#define PIC1       0x20
#define PIC2       0xa0
#define PIT        0x40

#define IRQ_PIT    0
#define IRQ_UART   4

#define DEFINE_PORT(bits, suffix)                                                   \
    static inline void out##bits(uint16_t port, uint##bits##_t v)                   \
    {                                                                               \
        __asm__ volatile("out" suffix " %0, %1" : : "a"(v), "Nd"(port) : "memory"); \
    }                                                                               \
    static inline uint##bits##_t in##bits(uint16_t port)                            \
    {                                                                               \
        uint##bits##_t v;                                                           \
                                                                                    \
        __asm__ volatile("in" suffix " %1, %0" : "=a"(v) : "Nd"(port) : "memory");  \
        return v;                                                                   \
    }

DEFINE_PORT(8, "b")
DEFINE_PORT(16, "w")
DEFINE_PORT(32, "l")

/* What a kernel defines. */
void bare_main(void);

/* The command line behind the image's name, "" without one; whether it is `w`, or `w`=N; what N is. */
const char *words(void);
bool word_is(const char *w);
uint32_t word_number(void);

/* On the serial line, waiting for it as a driver does. */
void put_serial(char c);
void say(const char *s);
void say_value(const char *name, uint32_t v); /* "name 0x123\n" */

/* Let `handler` run at each interrupt of the line, 0 to 7, which is acknowledged afterwards. Turns interrupts on. */
void irq_handle(unsigned line, void (*handler)(void));

/* PIT channel 0 every `ticks` of 1193182 Hz, a square wave. */
void pit_start(uint16_t ticks);

static inline void halt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}

static inline void interrupts_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* Sleep until an interrupt comes; none can come between the check that led here and the sleep. */
static inline void interrupts_on_and_halt(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* vmm ends with 0. */
void power_off(void);

#endif
