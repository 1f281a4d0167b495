/*
 * What is left of an AT's keyboard controller (ports 0x60, 0x64) and of the
 * system control ports A (0x92) and B (0x61): resets, an A20 gate that is
 * always open, and no keyboard.
 */
#ifndef HV_DEV_KBC_H
#define HV_DEV_KBC_H

#include <stdbool.h>
#include <stdint.h>

struct dev_kbc {
    bool output_port; /* the next byte to 0x60 goes to the output port, whose bit 0 is the CPU's reset */
    uint8_t stale;    /* bytes still to be read from 0x60 */
    uint8_t port_b;
};

void dev_kbc_init(struct dev_kbc *k);

/* The largest values of the bytes of one from a snapshot file; all is sane that keeps to them. */
extern const uint8_t dev_kbc_max[sizeof(struct dev_kbc)];

/* port is 0x60, 0x61, 0x64 or 0x92. True: the guest asks for a reset. */
bool dev_kbc_write(struct dev_kbc *k, uint16_t port, uint8_t value);
uint8_t dev_kbc_read(struct dev_kbc *k, uint16_t port);

#endif
