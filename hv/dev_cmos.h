/*
 * The CMOS memory behind ports 0x70 and 0x71: a clock that shows the host's
 * (Motorola MC146818 data sheet; UTC, BCD, 24 hours), and the sizes of memory
 * where a BIOS leaves them. The clock cannot be set and never interrupts.
 */
#ifndef HV_DEV_CMOS_H
#define HV_DEV_CMOS_H

#include <stdint.h>

struct bus_host;

#define CMOS_LEN 128

struct dev_cmos {
    uint8_t index; /* the register that port 0x71 is; never the NMI bit */
    uint8_t ram[CMOS_LEN];
};

/* ram_len: the guest's RAM from address 0 up to the hole below 4 GiB, in bytes. */
void dev_cmos_init(struct dev_cmos *c, uint64_t ram_len);

/* The largest values of the bytes of a clock from a snapshot file; all is sane that keeps to them. */
extern const uint8_t dev_cmos_max[sizeof(struct dev_cmos)];

/* port is 0x70 or 0x71. */
void dev_cmos_write(struct dev_cmos *c, uint16_t port, uint8_t value);
uint8_t dev_cmos_read(const struct dev_cmos *c, const struct bus_host *host, uint16_t port);

#endif
