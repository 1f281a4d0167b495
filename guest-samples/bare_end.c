/* Every way to end a bare kernel, and not to end it; the command line chooses. */
#include "guest-samples/bare.h"

static void count(void)
{
}

/* A line that is never quiet: level triggered (ELCR), asserted by a transmitter that is always empty. */
static void storm(void)
{
    out8(0x4d0, 1u << IRQ_UART);
    irq_handle(IRQ_UART, count);
    out8(UART_MCR, 8);
    out8(UART_IER, 2);
    for (;;)
        ;
}

static void triple_fault(void)
{
    const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}

void bare_main(void)
{
    uint32_t n = word_number();

    say("so be it\n");
    if (word_is("exit"))
        out8(EXIT_PORT, (uint8_t)n);
    if (word_is("exit32"))
        out32(EXIT_PORT, n);
    if (word_is("exit501"))
        out8(0x501, (uint8_t)n);
    if (word_is("off"))
        power_off();
    if (word_is("off-bochs"))
        out16(0xb004, 0x2000);
    if (word_is("reset"))
        out8(0x64, 0xfe);
    if (word_is("reset-cf9")) {
        out8(0xcf9, 2);
        out8(0xcf9, 6);
    }
    if (word_is("triple"))
        triple_fault();
    if (word_is("void"))
        ((void (*)(void))(uintptr_t)0xd0000000u)();
    if (word_is("spin"))
        for (;;)
            ;
    if (word_is("poll"))
        for (;;)
            (void)in8(UART_LSR);
    if (word_is("storm"))
        storm();
    if (word_is("sleep")) {
        irq_handle(IRQ_UART, count); /* which never comes */
        for (;;)
            halt();
    }
    if (word_is("talk"))
        for (;;)
            say("and so on\n");
    /* "halt", and whatever else: with interrupts off. */
}
