/*
 * A 16550A serial port (National Semiconductor PC16550D data sheet). Output
 * leaves at once, so the transmitter is always empty; input is taken only as
 * there is room, so nothing is ever overrun from outside.
 *
 * Input waits while the guest does not listen: until it enables the receive
 * interrupt, or reads the line status twice in a row, as nobody does who only
 * sends. Otherwise what a script typed before the guest's driver was there
 * would be thrown away when that driver clears the FIFO. Clearing it, or
 * loopback, takes the second back.
 */
#ifndef HV_DEV_UART_H
#define HV_DEV_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bus_host;

#define UART_FIFO_LEN 16
#define UART_IRQ      4

struct dev_uart {
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t divisor[2];
    uint8_t overrun;   /* the line status' overrun bit; only loopback sets it */
    uint8_t delta;     /* the modem status' low half: what changed since it was read */
    bool thre;         /* the transmitter became empty, and nobody was told */
    bool irq;          /* the line as set_irq was told last */
    uint8_t lsr_reads; /* in a row; at 2 it stays */
    uint8_t rx[UART_FIFO_LEN];
    uint8_t rx_at, rx_n;
};

void dev_uart_init(struct dev_uart *u);

/*
 * All members are single bytes, which is how they stand in a snapshot file: the
 * largest values they may have there, and what holds between them.
 */
extern const uint8_t dev_uart_max[sizeof(struct dev_uart)];
bool dev_uart_is_sane(const struct dev_uart *u);

/* Tell the controllers, as they were saved with it, of the line as it is. */
void dev_uart_resume(struct dev_uart *u, const struct bus_host *host);

/* reg is 0..7. Output goes to host->emit, changes of the interrupt line to host->set_irq. */
void dev_uart_write(struct dev_uart *u, const struct bus_host *host, unsigned reg, uint8_t value);
uint8_t dev_uart_read(struct dev_uart *u, const struct bus_host *host, unsigned reg);

/* How many bytes it takes now: up to the level the guest wants to be interrupted at. */
size_t dev_uart_room(const struct dev_uart *u);

/* n is at most dev_uart_room. */
void dev_uart_input(struct dev_uart *u, const struct bus_host *host, const uint8_t *bytes, size_t n);

#endif
