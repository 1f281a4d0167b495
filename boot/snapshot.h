/*
 * A guest at rest: the pivot of the program. Everything before it makes one
 * (an image gives generation 0), everything after it consumes one. A fresh
 * start is the restore of a generation-0 snapshot; there is no other path.
 *
 * Invariants, whoever made it: `memory` is plan.snapshot_len bytes; `tables`
 * is plan.pt_len bytes (empty for kinds without paging) that hold for CR3 =
 * the plan's table base; sregs are complete.
 */
#ifndef BOOT_SNAPSHOT_H
#define BOOT_SNAPSHOT_H

#include <stdint.h>

#include "boot/cpu.h"
#include "boot/guest.h"
#include "mem/error.h"
#include "mem/layout.h"
#include "mem/region.h"

struct snapshot {
    const struct guest_kind *kind;
    struct layout plan;
    struct region memory; /* sealed (host read-only) */
    struct region tables; /* sealed; len 0 without paging */
    struct cpu_sregs sregs;
    uint64_t generation;
    struct guest_ptr entry; /* first instruction of init */
    struct guest_ptr peb;
};

/* Release what the snapshot owns; harmless on a zeroed one. */
void snapshot_free(struct snapshot *s);

#endif
