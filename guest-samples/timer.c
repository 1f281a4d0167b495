/*
 * The timer of the ABI and the interrupt controller it arrives through: five
 * ticks in init, and functions that leave the timer running in every way a
 * guest can end. Needs --irqchip=on.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "guest-samples/guest_trap.h"
#include "mem/guest_abi.h"

/* The two PICs, Intel 8259A data sheet, "Programming the 8259A". */
#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1

#define PIC_ICW1     0x11 /* edge triggered, cascaded, ICW4 follows */
#define PIC_ICW4     0x01 /* 8086 mode */
#define PIC_EOI      0x20

#define VECTOR_TIMER IRQ_VECTOR_FIRST
#define PERIOD_US    2000
#define TICKS_N      5

static volatile uint32_t ticks;

/* The PIC takes bytes only. */
static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void on_tick(void)
{
    ticks++;
    out8(PIC1_COMMAND, PIC_EOI);
}

static void set_up_pic(void)
{
    guest_irq_install(VECTOR_TIMER, on_tick);
    out8(PIC1_COMMAND, PIC_ICW1);
    out8(PIC1_DATA, VECTOR_TIMER);
    out8(PIC1_DATA, 1u << 2); /* the second PIC is on line 2 */
    out8(PIC1_DATA, PIC_ICW4);
    out8(PIC2_COMMAND, PIC_ICW1);
    out8(PIC2_DATA, VECTOR_TIMER + 8);
    out8(PIC2_DATA, 2);
    out8(PIC2_DATA, PIC_ICW4);
    out8(PIC1_DATA, 0xfe);
    out8(PIC2_DATA, 0xff);
}

/* Sleep until the interrupt count is n. sti lets interrupts in only after hlt has begun: none is missed. */
static void wait_for_ticks(uint32_t n)
{
    while (ticks < n)
        __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

static void set_period(uint32_t us)
{
    guest_out(PORT_TIMER, us);
}

/* An interrupt that the PIC holds back already is taken now, not amid what follows. */
static void stop_timer(void)
{
    set_period(0);
    __asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
}

/* ticks(n, us): how many had come when it woke up at the n-th, of a timer with that period. */
static void count_ticks(const struct msg_value *a, struct msg_result *r)
{
    ticks = 0;
    set_period((uint32_t)a[1].bits);
    wait_for_ticks((uint32_t)a[0].bits);
    stop_timer();
    guest_return_bits(r, MSG_UINT, ticks);
}

/* twice(us, us): set one period and then another; one tick of that. */
static void set_twice(const struct msg_value *a, struct msg_result *r)
{
    ticks = 0;
    set_period((uint32_t)a[0].bits);
    set_period((uint32_t)a[1].bits);
    wait_for_ticks(1);
    stop_timer();
    guest_return_bits(r, MSG_UINT, ticks);
}

/* set(us, width): an OUT of that many bytes to the timer. Nothing is waited for. */
static void set(const struct msg_value *a, struct msg_result *r)
{
    switch ((uint32_t)a[1].bits) {
    case 1: out8(PORT_TIMER, (uint8_t)a[0].bits); break;
    case 2: out16(PORT_TIMER, (uint16_t)a[0].bits); break;
    default: set_period((uint32_t)a[0].bits); break;
    }
    guest_return_void(r);
}

/* listen(n): how many ticks come while it turns round n times with interrupts on. */
static void listen(const struct msg_value *a, struct msg_result *r)
{
    volatile uint32_t n = (uint32_t)a[0].bits;

    ticks = 0;
    __asm__ volatile("sti" : : : "memory");
    while (n != 0)
        n--;
    __asm__ volatile("cli" : : : "memory");
    guest_return_bits(r, MSG_UINT, ticks);
}

/* sleep(): for ever, in the kernel of the host. */
static void sleep_on(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    for (;;)
        __asm__ volatile("sti\n\thlt" : : : "memory");
}

static void start(const struct msg_value *a)
{
    ticks = 0;
    set_period((uint32_t)a[0].bits);
    wait_for_ticks(1);
}

/* What follows leaves a timer of that period running. */
static void leave_by_return(const struct msg_value *a, struct msg_result *r)
{
    start(a);
    guest_return_void(r);
}

static void leave_by_abort(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    start(a);
    guest_abort(15, "with the timer running");
}

static void leave_by_fault(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    start(a);
    guest_out(0xf00, 0);
}

static void leave_by_halt(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    start(a);
    guest_out(PORT_HALT, 0);
}

static void abort_in_tick(void)
{
    guest_abort(15, "in the handler");
}

/* The PIC never hears of the end of this interrupt. */
static void leave_in_handler(const struct msg_value *a, struct msg_result *r)
{
    guest_irq_install(VECTOR_TIMER, abort_in_tick);
    set_period((uint32_t)a[0].bits);
    sleep_on(a, r);
}

static void leave_by_limit(const struct msg_value *a, struct msg_result *r)
{
    start(a);
    sleep_on(a, r);
}

const struct guest_function guest_functions[] = {
    {"ticks", 2, {MSG_UINT, MSG_UINT}, count_ticks},
    {"twice", 2, {MSG_UINT, MSG_UINT}, set_twice},
    {"set", 2, {MSG_UINT, MSG_UINT}, set},
    {"listen", 1, {MSG_UINT}, listen},
    {"sleep", 0, {0}, sleep_on},
    {"leave_by_return", 1, {MSG_UINT}, leave_by_return},
    {"leave_by_abort", 1, {MSG_UINT}, leave_by_abort},
    {"leave_by_fault", 1, {MSG_UINT}, leave_by_fault},
    {"leave_by_halt", 1, {MSG_UINT}, leave_by_halt},
    {"leave_in_handler", 1, {MSG_UINT}, leave_in_handler},
    {"leave_by_limit", 1, {MSG_UINT}, leave_by_limit},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
    set_period(0);
    set_up_pic();
    set_period(PERIOD_US);
    wait_for_ticks(TICKS_N);
    stop_timer();
    guest_print("timer ok ");
    guest_out(PORT_DEBUG_PRINT, '0' + TICKS_N);
    guest_print("\n");
}
