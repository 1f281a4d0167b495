/*
 * A bare kernel that is to be saved in the middle of things. It does N rounds of
 * all that KVM leaves to the host half done - OUT, IN, string instructions both
 * ways, accesses to a hole - each at a place of its own, so that who runs it can
 * count them, and says "." after each round. Then it says what it counted itself.
 *
 *   rounds=N   nothing else
 *   port=N     and asks to be saved in the middle
 *   halt=N     and halts in the middle, for ever where there are interrupt controllers
 *   ticks=N    instead: sleeps through N interrupts of the PIT; a sleep must end by one
 */
#include "guest-samples/bare.h"

#define PIECE      8u
#define PORT_OUT   0x1230
#define PORT_IN    0x1231
#define PORT_INS   0x1232
#define PORT_OUTS  0x1233
#define HOLE_WRITE 0xd0000000u
#define HOLE_READ  0xd0001000u

/* Strings lie across the end of a page, where KVM does them in two. */
static uint8_t pages[2 * 4096] __attribute__((aligned(4096)));
static uint8_t *const bytes = pages + 4096 - PIECE / 2;
static volatile uint32_t ticks;
static uint32_t torn;

static void tick(void)
{
    ticks++;
}

static void string_in(void)
{
    uint8_t *to = bytes;
    uint32_t left = PIECE, i;

    for (i = 0; i <= PIECE; i++)
        bytes[i] = 0;
    __asm__ volatile("rep insb" : "+D"(to), "+c"(left) : "d"((uint16_t)PORT_INS) : "memory");
    torn += to != bytes + PIECE || left != 0 || bytes[PIECE] != 0;
    for (i = 0; i < PIECE; i++)
        torn += bytes[i] != 0xff;
}

static void string_out(void)
{
    const uint8_t *from = bytes;
    uint32_t left = PIECE;

    __asm__ volatile("rep outsb" : "+S"(from), "+c"(left) : "d"((uint16_t)PORT_OUTS) : "memory");
    torn += from != bytes + PIECE || left != 0;
}

static void sleep_through(uint32_t n)
{
    uint32_t before, idle = 0;

    irq_handle(IRQ_PIT, tick);
    interrupts_off();
    pit_start(59659); /* 50 ms, so that whoever looks finds it asleep */
    say("sleeping\n");
    while (ticks < n) {
        before = ticks;
        interrupts_on_and_halt();
        idle += ticks == before;
    }
    say_value("ticks", ticks);
    say_value("idle", idle);
    power_off();
}

void bare_main(void)
{
    uint32_t i, n = word_number();

    if (word_is("ticks"))
        sleep_through(n);
    say("once\n");
    for (i = 0; i < n; i++) {
        if (i == n / 2 && word_is("port"))
            out32(ACPI_PORT, 0x40000000);
        if (i == n / 2 && word_is("halt"))
            halt();
        out8(PORT_OUT, (uint8_t)i);
        torn += in8(PORT_IN) != 0xff;
        string_in();
        string_out();
        *(volatile uint32_t *)(uintptr_t)HOLE_WRITE = i;
        torn += *(volatile uint32_t *)(uintptr_t)HOLE_READ != 0xffffffff;
        put_serial('.');
    }
    say("\n");
    say_value("rounds", i);
    say_value("torn", torn);
    power_off();
}
