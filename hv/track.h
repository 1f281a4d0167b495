/*
 * Memory that is put back after each run of a guest by copying the pages that
 * were ever written, and no others. KVM tells of a page when the guest first
 * writes to it (hv/kvm_dirty), the view of guest memory when the host does
 * (mem/gmem); from then on it is copied back at every reset, until all pages are
 * watched again, which happens rarely.
 */
#ifndef HV_TRACK_H
#define HV_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/slots.h"
#include "mem/error.h"
#include "mem/region.h"
#include "mem/touched.h"

#define TRACK_AREAS_MAX 3

struct track_area {
    struct gpa at;
    struct region mem; /* the host's bytes, not owned */
    struct touched touched;
    /* The bytes that the page at `off` is reset to; it returns NULL for zeros. */
    const uint8_t *(*source)(const void *ctx, uint64_t off);
    const void *ctx;
};

struct track {
    struct machine *machine; /* NULL: not open */
    const struct slots *slots;
    struct track_area area[TRACK_AREAS_MAX];
    unsigned areas_n;
    struct region
        logs[SLOTS_MAX];     /* of each slot the bitmap as it is, and behind it as it was at the last look */
    uint32_t resets, period; /* after so many of them, all pages are watched again */
};

/*
 * Watch the memory of a machine that was made to tell of writes
 * (m->dirty.by is not DIRTY_NOT). Machine and slots outlive it. It must not be
 * moved, nor may the machine, while the machine can run.
 */
void track_open(struct track *t, struct machine *m, const struct slots *slots);
void track_close(struct track *t);

/*
 * One more stretch of memory: `mem` as the guest's from `at` on, in one slot or
 * more. From its first byte's being mapped on it is watched.
 */
int track_add(struct track *t, struct gpa at, const struct region *mem,
              const uint8_t *(*source)(const void *ctx, uint64_t off), const void *ctx, struct err *e);

/*
 * Learn what the guest wrote. Before slots are removed: KVM's notes go with
 * them; track_renewed while they are away.
 */
int track_look(struct track *t, struct err *e);
void track_renewed(struct track *t);

/*
 * What is behind the stretch that starts at `at` is new to the guest and to
 * KVM: nothing of it is touched. After track_look.
 */
void track_forget(struct track *t, struct gpa at);

/* Put back all that was touched. After track_look. */
int track_reset(struct track *t, struct err *e);

#endif
