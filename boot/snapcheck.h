/* Whether a snapshot that came from elsewhere keeps the promises of boot/snapshot.h. */
#ifndef BOOT_SNAPCHECK_H
#define BOOT_SNAPCHECK_H

#include "boot/snapshot.h"
#include "mem/error.h"

/*
 * The plan that a guest of kind `k` has with the sizes and lengths in
 * `claimed`, all of which is untrusted. STATUS_IMAGE when there is none, or
 * when any address or offset in `claimed` is another than in the plan.
 */
int snapshot_check_plan(const struct guest_kind *k, const struct layout *claimed, struct layout *out,
                        struct err *e);

/* The same for a bare kernel's, whose MACHINE section was read: the sizes of its memory. */
int snapshot_check_bare(const struct snapshot *s, struct err *e);

/*
 * Whether the registers, roots and pointers of `s` can be those of a guest of
 * its kind, which is set, as is its checked plan; the regions are not looked at. STATUS_IMAGE
 * names what cannot. What the tables map, nobody knows.
 */
int snapshot_check(const struct snapshot *s, struct err *e);

#endif
