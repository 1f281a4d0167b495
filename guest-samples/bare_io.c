/* A bare kernel accesses what is not there, and ports by string instructions, and says what it sees. */
#include "guest-samples/bare.h"

static uint8_t bytes[64];

static void string_out(uint16_t port, const void *from, uint32_t n)
{
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static void string_in32(uint16_t port, void *to, uint32_t n)
{
    __asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

void bare_main(void)
{
    static const char text[] = "by a string instruction\n";
    volatile uint32_t *hole = (volatile uint32_t *)(uintptr_t)0xd0000010u;
    volatile uint8_t *screen = (volatile uint8_t *)(uintptr_t)0xb8000u;
    uint32_t i, ones = 0;

    string_out(DEBUG_PORT, text, sizeof(text) - 1);
    if (word_is("strict"))
        out8(0x1234, 1);
    say_value("no port, 1 byte", in8(0x1234));
    say_value("no port, 2 bytes", in16(0x1234));
    say_value("no port, 4 bytes", in32(0x1234));
    string_in32(0x1234, bytes, 8);
    for (i = 0; i < sizeof(bytes); i++)
        ones += bytes[i] == 0xff;
    say_value("ones of 8 words", ones);
    say_value("no memory", *hole);
    *hole = 1;
    say_value("still none", *hole);
    *screen = 'x';
    say_value("screen", *screen);
    power_off();
}
