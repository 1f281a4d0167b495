/* What bare kernels share. See bare.h. */
#include "guest-samples/bare.h"

#define MULTIBOOT_MAGIC   0x2badb002u
#define MULTIBOOT_CMDLINE 4u

#define CODE_SELECTOR     0x08
#define IRQ_VECTOR        0x20

uint32_t boot_magic;
const uint32_t *boot_info;
void (*irq_handlers[8])(void);
extern const uint32_t irq_entries[8];

static uint64_t idt[IRQ_VECTOR + 8];

const char *words(void)
{
    const char *s;

    if (boot_magic != MULTIBOOT_MAGIC || (boot_info[0] & MULTIBOOT_CMDLINE) == 0)
        return "";
    for (s = (const char *)(uintptr_t)boot_info[4]; *s != '\0' && *s != ' '; s++)
        ;
    return *s == ' ' ? s + 1 : s;
}

bool word_is(const char *w)
{
    const char *s = words();

    for (; *w != '\0' && *s == *w; s++, w++)
        ;
    return *w == '\0' && (*s == '\0' || *s == '=');
}

uint32_t word_number(void)
{
    const char *s = words();
    uint32_t n = 0;

    while (*s != '\0' && *s != '=')
        s++;
    for (s += *s == '='; *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (uint32_t)(*s - '0');
    return n;
}

void put_serial(char c)
{
    while ((in8(UART_LSR) & 0x20) == 0)
        ;
    out8(UART, (uint8_t)c);
}

void say(const char *s)
{
    for (; *s != '\0'; s++)
        put_serial(*s);
}

void say_value(const char *name, uint32_t v)
{
    int shift = 28;

    say(name);
    say(" 0x");
    while (shift > 0 && v >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put_serial("0123456789abcdef"[v >> shift & 15]);
    say("\n");
}

/* An 8259A each: edge triggered, vectors 0x20 and 0x28, all masked (its data sheet, "Initialization Command Words"). */
static void start_pics(void)
{
    out8(PIC1, 0x11);
    out8(PIC2, 0x11);
    out8(PIC1 + 1, IRQ_VECTOR);
    out8(PIC2 + 1, IRQ_VECTOR + 8);
    out8(PIC1 + 1, 4);
    out8(PIC2 + 1, 2);
    out8(PIC1 + 1, 1);
    out8(PIC2 + 1, 1);
    out8(PIC1 + 1, 0xff);
    out8(PIC2 + 1, 0xff);
}

void irq_handle(unsigned line, void (*handler)(void))
{
    const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint32_t)(uintptr_t)idt};
    static bool started;
    uint32_t entry = irq_entries[line];

    if (!started)
        start_pics();
    started = true;
    irq_handlers[line] = handler;
    /* An interrupt gate: SDM 3A, "IDT Descriptors". */
    idt[IRQ_VECTOR + line] =
        (uint64_t)(entry & 0xffff0000u) << 32 | 0x8e00ull << 32 | CODE_SELECTOR << 16 | (entry & 0xffffu);
    __asm__ volatile("lidt %0" : : "m"(idtr));
    out8(PIC1 + 1, (uint8_t)(in8(PIC1 + 1) & ~(1u << line)));
    __asm__ volatile("sti" : : : "memory");
}

void pit_start(uint16_t ticks)
{
    out8(PIT + 3, 0x36);
    out8(PIT, (uint8_t)ticks);
    out8(PIT, (uint8_t)(ticks >> 8));
}

void power_off(void)
{
    out16(ACPI_PORT, 0x2000);
}
