/*
 * Where PCI would be, ports 0xCF8-0xCFF: no host bridge, so the configuration
 * address is not read back and the data are all ones. In the same place, the
 * reset control register 0xCF9, which is one byte wide.
 */
#ifndef HV_DEV_PCI_H
#define HV_DEV_PCI_H

#include <stdbool.h>
#include <stdint.h>

struct dev_pci {
    uint8_t reset_control;
};

void dev_pci_init(struct dev_pci *p);

/* One access that starts at `port`, which is 0xCF8-0xCFF. True: the guest asks for a reset. */
bool dev_pci_write(struct dev_pci *p, uint16_t port, unsigned width, uint32_t value);
uint32_t dev_pci_read(const struct dev_pci *p, uint16_t port, unsigned width);

#endif
