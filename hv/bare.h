/*
 * A virtual machine that runs a bare kernel: its RAM, its interrupt
 * controllers and the devices behind its I/O ports. What it starts from is a
 * struct bare_state; a fresh start is a restore of the state that a boot
 * protocol's loader made.
 */
#ifndef HV_BARE_H
#define HV_BARE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/bare.h"
#include "boot/snapshot.h"
#include "hv/bare_point.h"
#include "hv/bus.h"
#include "hv/console.h"
#include "hv/input.h"
#include "hv/kvm.h"
#include "hv/report.h"
#include "hv/slots.h"
#include "hv/state.h"
#include "hv/stop.h"
#include "hv/track.h"
#include "mem/error.h"
#include "mem/pristine.h"

/* What a bare guest is put into. */
struct bare_state {
    struct pristine ram;
    struct bare_start start; /* start.irqchip as the user decided it */

    /* One that was saved and is now from a file; NULL: as after power-on. */
    struct bare_machine *saved;
    const uint8_t *bytes; /* of a saved one's RAM, mapped by whoever has the snapshot */
    uint64_t generation;
};

/* Who is around a machine; all outlive it. */
struct bare_env {
    struct stop *stop;
    struct console *console;
    struct input *input; /* of the serial line; one from INPUT_NONE has none */
    bool strict_io;      /* an access that nothing answers ends the run */
    enum bare_point point;
};

struct bare {
    const struct bare_state *state;
    struct bare_env env;
    struct machine machine;
    struct slots slots;
    struct region ram;
    struct region first; /* what RAM is reset to, and which pages are */
    struct track track;
    struct bus bus;
    struct state_baseline baseline; /* of a warm machine */
    int kvm_fd;                     /* the caller's, open as long as this */
    bool warm;   /* may be restored after its guest ran; often, unless it is to be saved at a point */
    bool usable; /* false from a failed restore on */
    bool ran;
    bool at_point;

    struct unknown_access holes[UNKNOWN_MAX - BUS_UNKNOWN_MAX]; /* accesses of what is no memory, by page */
    unsigned holes_n;
    uint64_t holes_all;

    bool failed; /* the host failed in the middle of an access: */
    struct err why;
};

/*
 * Create the machine and map the RAM of `s`, which outlives *b and is shared
 * with every other machine made from it, copy-on-write. *b must not move until
 * bare_close. `warm`: bare_restore may be called again after the guest ran.
 */
int bare_open(struct bare *b, int kvm_fd, const struct bare_state *s, const struct bare_env *env, bool warm,
              struct err *e);
void bare_close(struct bare *b);

/*
 * What a saved guest starts from. `s` outlives *out, whose RAM is its
 * file's: nothing is to be closed. STATUS_IMAGE when what nobody looked into yet is wrong.
 */
int bare_from_snapshot(const struct snapshot *s, struct bare_state *out, struct err *e);

/* Save a warm machine whose run ended at its point, as snapfile_write does. */
int bare_save(struct bare *b, const char *path, struct err *e);

/* Put memory, devices, chips and CPU into the state. A failure half-way leaves the machine unusable. */
int bare_restore(struct bare *b, struct err *e);

/* An outcome to start a run of this guest with. */
struct outcome bare_outcome(const struct bare *b);

/*
 * Run until the guest ends itself or something else does, for at most
 * `limit_ns` (0 = no limit). 0 when *out tells how, faults included; -1 when
 * the host failed. Output has been flushed either way.
 */
int bare_run(struct bare *b, uint64_t limit_ns, struct outcome *out, struct err *e);

#endif
