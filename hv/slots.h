/*
 * Memory slots of one machine: the only way host memory becomes guest memory.
 * A range that covers a page KVM owns (a "hole") becomes several slots over
 * one contiguous host mapping:
 *
 *   guest   [---- slot 0 ----) hole [---- slot 1 ----)
 *   host    [---------------- one mapping -----------)
 *
 * The bytes behind a hole stay in the host mapping and are never the guest's.
 */
#ifndef HV_SLOTS_H
#define HV_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/kvm.h"
#include "mem/addr.h"
#include "mem/error.h"

#define SLOTS_MAX 32
#define HOLES_MAX 2

struct slots {
    struct machine *machine;
    uint64_t holes[HOLES_MAX]; /* page addresses, ascending */
    unsigned holes_n;
    struct {
        struct gpa at;
        uint64_t len; /* 0 = free */
    } slot[SLOTS_MAX];
};

/*
 * No slots yet. `apic` leaves out the APIC access page, `ioapic` the IOAPIC's
 * as well; the machine outlives *s.
 */
void slots_init(struct slots *s, struct machine *machine, bool apic, bool ioapic);

/*
 * Back [at, at + len) by `host` except for the holes. All page aligned, len
 * not 0, at + len within 64 bits (asserted). On failure none of its slots is
 * left behind.
 */
int slots_map(struct slots *s, struct gpa at, uint64_t len, const void *host, bool readonly, struct err *e);

/* Remove the slots that lie inside [at, at + len). Goes on after a failure and reports the first. */
int slots_unmap(struct slots *s, struct gpa at, uint64_t len, struct err *e);

#endif
