/* No PCI, and its reset register. See dev_pci.h. */
#include "hv/dev_pci.h"

#define RESET_CONTROL 0xcf9
#define RESET_CPU     4

void dev_pci_init(struct dev_pci *p)
{
    *p = (struct dev_pci){0};
}

bool dev_pci_write(struct dev_pci *p, uint16_t port, unsigned width, uint32_t value)
{
    uint8_t before = p->reset_control;

    if (port != RESET_CONTROL || width != 1)
        return false;
    p->reset_control = (uint8_t)value;
    return ~before & value & RESET_CPU;
}

uint32_t dev_pci_read(const struct dev_pci *p, uint16_t port, unsigned width)
{
    /* An address that is not read back is what tells a kernel, in a few accesses, that there is no PCI. */
    return port == RESET_CONTROL && width == 1 ? p->reset_control : UINT32_MAX;
}
