/*
 * The I/O ports of a bare guest: which device answers where, and nothing of
 * what is behind a port. Each device is a file hv/dev_*.c of its own; what
 * they need from outside comes through struct bus_host.
 *
 * It is a machine to see a kernel boot in, not a PC: ports that no device
 * answers read as all ones, take writes, and are counted.
 */
#ifndef HV_BUS_H
#define HV_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/dev_cmos.h"
#include "hv/dev_kbc.h"
#include "hv/dev_pci.h"
#include "hv/dev_uart.h"
#include "mem/error.h"

/* What an access asks of whoever runs the guest. */
enum bus_event {
    BUS_NONE,
    BUS_END,       /* the guest ends with bus->status */
    BUS_POWER_OFF, /* the guest powers off: status 0 */
    BUS_RESET,     /* the guest asks for a reset */
    BUS_SNAPSHOT,  /* the guest asks to be saved here */
    BUS_PAUSE,     /* microvm's pause command */
};

/* What devices need. `ctx` is handed to each. */
struct bus_host {
    void *ctx;
    void (*emit)(void *ctx, const uint8_t *bytes, size_t n);   /* guest output, in order */
    void (*set_irq)(void *ctx, unsigned line, bool level);     /* NULL: no interrupt controller */
    uint64_t (*wall_clock)(void *ctx);                         /* ns since 1970, UTC */
    uint8_t *(*memory)(void *ctx, uint64_t gpa, uint64_t len); /* for microvm; NULL when it is not all RAM */
};

/* A port nobody answers, as first seen. */
struct bus_unknown {
    uint16_t port;
    uint8_t width;
    bool write;
    uint64_t n; /* accesses since */
};

#define BUS_UNKNOWN_MAX 32

struct bus {
    struct bus_host host;
    bool microvm; /* ports as Nanvix's contract has them; all others end the run as unknown */
    struct dev_uart uart;
    struct dev_cmos cmos;
    struct dev_kbc kbc;
    struct dev_pci pci;
    uint32_t status; /* after BUS_END: 0..255, of microvm 0..65535 */
    struct bus_unknown unknown[BUS_UNKNOWN_MAX];
    unsigned unknown_n;   /* entries of the list */
    uint64_t unknown_all; /* accesses to ports nobody answers, listed or not */
    uint64_t messages;    /* microvm: outgoing messages that were dropped */
};

/* Devices as after power-on; *host is copied. `ram_len`, for the CMOS: RAM from 0 up to the hole below 4 GiB. */
void bus_init(struct bus *b, const struct bus_host *host, bool microvm, uint64_t ram_len);

/*
 * The devices as bytes: UART, CMOS, keyboard controller, PCI, each its struct.
 * What they count for a report is none of it.
 */
#define BUS_STATE_LEN \
    (sizeof(struct dev_uart) + sizeof(struct dev_cmos) + sizeof(struct dev_kbc) + sizeof(struct dev_pci))
void bus_save(const struct bus *b, uint8_t out[BUS_STATE_LEN]);

/*
 * Put devices that were just initialised into a saved state, from a file that
 * nobody trusts: STATUS_IMAGE names the device, and *b is spoilt. Then, when
 * the interrupt controllers are as they were saved too, bus_resume.
 */
int bus_load(struct bus *b, const uint8_t *in, uint64_t len, struct err *e);
void bus_resume(struct bus *b);

/* One access of 1, 2 or 4 bytes; of a string instruction, each by itself. */
enum bus_event bus_write(struct bus *b, uint16_t port, unsigned width, uint32_t value);
enum bus_event bus_read(struct bus *b, uint16_t port, unsigned width, uint32_t *value);

/*
 * Serial input: how many bytes the UART takes now, and hand it up to that
 * many. The room changes by reads, writes and input only; while the guest does
 * not listen (hv/dev_uart.h) there is none.
 */
size_t bus_input_room(const struct bus *b);
void bus_input(struct bus *b, const uint8_t *bytes, size_t n);

#endif
