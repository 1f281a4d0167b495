/*
 * A keyboard controller that is absent in the way kernels expect. See dev_kbc.h.
 *
 * Neither a floating bus (status 0xff) nor a silent one (0x00) will do: kernels
 * that wait for room in the input buffer spin on the first, those that wait
 * for an answer on the second, and Linux needs seconds to give up on that. So
 * the input buffer is always empty, a command is always answered, by bytes
 * 0xff, which mean an error, and after power-on there is more left in the
 * output buffer than a real one holds: Linux reads 16 bytes and finds no
 * controller, and a loop that empties the buffer ends all the same.
 */
#include "hv/dev_kbc.h"

#define STALE_N 64

enum {
    STATUS = 0x14, /* not locked, and its self-test has passed */
    STATUS_OUTPUT = 1,
    WRITE_OUTPUT_PORT = 0xd1,
    PORT_A_RESET = 1,
    PORT_A_A20 = 2,
    PORT_B_WRITABLE = 0x0f,
    PORT_B_TOGGLES = 0x30, /* memory refresh, and the output of the PIT's channel 2 */
};

const uint8_t dev_kbc_max[sizeof(struct dev_kbc)] = {1, STALE_N, PORT_B_WRITABLE | PORT_B_TOGGLES};

void dev_kbc_init(struct dev_kbc *k)
{
    *k = (struct dev_kbc){.stale = STALE_N};
}

bool dev_kbc_write(struct dev_kbc *k, uint16_t port, uint8_t value)
{
    bool output_port = k->output_port;

    switch (port) {
    case 0x61: k->port_b = (k->port_b & PORT_B_TOGGLES) | (value & PORT_B_WRITABLE); return false;
    case 0x92: return value & PORT_A_RESET;
    default: break;
    }
    k->output_port = port == 0x64 && value == WRITE_OUTPUT_PORT;
    if (k->stale == 0)
        k->stale = 1;
    if (port == 0x60)
        return output_port && !(value & 1);
    /* Commands 0xf0-0xff pull those lines of the output port low whose bits are 0. */
    return (value & 0xf1) == 0xf0;
}

uint8_t dev_kbc_read(struct dev_kbc *k, uint16_t port)
{
    switch (port) {
    case 0x60: k->stale -= k->stale != 0; return 0xff;
    case 0x61: return k->port_b ^= PORT_B_TOGGLES;
    case 0x64: return STATUS | (k->stale != 0 ? STATUS_OUTPUT : 0);
    default: return PORT_A_A20;
    }
}
