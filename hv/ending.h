/* How a run came to its end, as an outcome: what all run loops have in common. */
#ifndef HV_ENDING_H
#define HV_ENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/cpu.h"
#include "hv/console.h"
#include "hv/exit.h"
#include "hv/kvm.h"
#include "hv/report.h"
#include "hv/stop.h"
#include "mem/addr.h"
#include "mem/error.h"

/* Who ran. `fetch` copies code at a linear address, false when it is not all there. */
struct runner {
    struct machine *machine;
    int kvm_fd;
    uint64_t limit_ns;
    bool (*fetch)(void *ctx, const struct cpu_sregs *s, struct gva at, uint8_t *code, size_t n);
    void *ctx;
};

/* All return 0 with the ending in *out, -1 when the host failed. Registers are taken. */
int ending_faulted(const struct runner *r, const struct exit *x, struct outcome *out, struct err *e);
int ending_stopped(const struct runner *r, enum stop_cause cause, struct outcome *out, struct err *e);

/* The guest broke a rule; out->why is what it did, with its status. */
int ending_broken(const struct runner *r, struct outcome *out, struct err *e);

/*
 * The run is over, with `result` as its own: write out what the guest said,
 * while the limit still holds: a reader that does not take it in time is a
 * guest not done in time. Then disarm everything. Returns the new result.
 */
int ending_flush(const struct runner *r, struct console *c, struct stop *stop, int result,
                 struct outcome *out, struct err *e);

/* The registers as they are, into *out. */
int ending_take_registers(const struct runner *r, struct outcome *out, struct err *e);

#endif
