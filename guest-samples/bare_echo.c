/*
 * A bare kernel gives back what it reads from the serial line, up to a ^D: with
 * "irq" as a driver does, asleep in between, else by asking again and again.
 */
#include "guest-samples/bare.h"

#define END 4 /* ^D */

static volatile bool ended;

static void take(void)
{
    while (!ended && (in8(UART_LSR) & 1) != 0) {
        uint8_t c = in8(UART);

        if (c == END)
            ended = true;
        else
            put_serial((char)c);
    }
}

void bare_main(void)
{
    out8(UART_FCR, 0x07); /* FIFOs on and empty */
    say("echo\n");
    if (word_is("irq")) {
        irq_handle(IRQ_UART, take);
        interrupts_off();
        out8(UART_MCR, 8);
        out8(UART_IER, 1);
        while (!ended)
            interrupts_on_and_halt();
    }
    while (!ended)
        take();
    power_off();
}
