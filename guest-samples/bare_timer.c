/* A bare kernel sleeps through 100 interrupts of the PIT, 1 ms apart. */
#include "guest-samples/bare.h"

static volatile uint32_t ticks;

static void tick(void)
{
    ticks++;
}

void bare_main(void)
{
    irq_handle(IRQ_PIT, tick);
    interrupts_off();
    pit_start(1193);
    while (ticks < 100)
        interrupts_on_and_halt();
    say("a hundred ticks\n");
    power_off();
}
