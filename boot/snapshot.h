/*
 * A guest at rest: the pivot of the program. Everything before it makes one
 * (an image gives generation 0, hv/capture the next, hv/snapfile one that was
 * saved), everything after it consumes one. A fresh start is the restore of a
 * generation-0 snapshot; there is no other path.
 *
 * Invariants, whoever made it: `memory` is plan.snapshot_len bytes; `tables`
 * plan.pt_len bytes (empty for kinds without paging) and `placed`
 * plan.placed_len bytes, which follow one another in scratch from plan.pt_off;
 * `roots` lie in `tables`, the active one is sregs.cr3; sregs are complete.
 */
#ifndef BOOT_SNAPSHOT_H
#define BOOT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/bare.h"
#include "boot/cpu.h"
#include "boot/guest.h"
#include "mem/error.h"
#include "mem/guest_abi.h"
#include "mem/layout.h"
#include "mem/region.h"
#include "paging/hostcow.h"

/*
 * That is a guest of the ABI. One of a bare kernel has `bare` instead of kind,
 * plan, tables, placed, roots, MSRs and how to go on: its RAM is `memory`,
 * whose length is plan.snapshot_len too.
 */

/* MSRs that are part of a snapshot; all others are reset by a restore. */
#define SNAPSHOT_MSRS_MAX 16

struct snapshot {
    const struct guest_kind *kind; /* NULL: of a bare kernel */
    struct bare_machine *bare;     /* NULL: of a guest of the ABI; start.sregs are `sregs` */
    struct layout plan;
    struct region memory; /* sealed (host read-only) */
    struct region tables; /* sealed; len 0 without paging */
    bool has_tables_fd;   /* large `tables` of one from a file: in a file without a name, from its start */
    int tables_fd;        /* ... for VMs to map instead of having a copy each */
    struct region placed; /* sealed; pages that several leaves share writably, len 0 if there are none */
    uint64_t generation;

    /* One from a file: who wrote that is to blame for values that the host refuses. */
    bool from_file;
    bool has_fd; /* `memory` is bytes of a file that no VM writes to: that one, or one without a name */
    int file_fd; /* open as long as this */
    uint64_t memory_off; /* of `memory` in it */

    /* The tables for VMs whose host copies what the guest writes to, if they have been made ahead: hv/vm.h. */
    struct hostcow cow;

    struct cpu_sregs sregs;
    struct cpu_msr msrs[SNAPSHOT_MSRS_MAX];
    unsigned msrs_n;

    /* Page-table roots as the guest listed them; roots_n 0: it listed none. */
    struct gpa roots[HOST_PAGE_ROOTS_MAX];
    unsigned roots_n, root_active;

    unsigned promises; /* the guest's own word, boot/elf.h: some of PROMISES_ALL */

    /* How it goes on: with init (generation 0), or with calls. */
    bool takes_calls;
    struct guest_ptr entry; /* first instruction of init */
    struct guest_ptr peb;
    uint64_t dispatch, call_sp;
};

/* Release what the snapshot owns; harmless on a zeroed one. */
void snapshot_free(struct snapshot *s);

#endif
