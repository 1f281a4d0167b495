/*
 * The small sections of a snapshot file, field by field: one list of fields
 * that writing and reading both go through, so that they cannot differ.
 */
#ifndef BOOT_SNAPFIELDS_H
#define BOOT_SNAPFIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/snapformat.h"
#include "boot/snapshot.h"
#include "mem/error.h"

#define SNAP_NAME_LEN   16    /* text in a section, the last byte zero */
#define SNAP_FIELDS_MAX 8192u /* bytes of the longest section */

/* The CPU a guest ran on: CPUID leaf 0's vendor, leaf 1's EAX. */
struct snap_cpu {
    char vendor[SNAP_NAME_LEN];
    uint64_t signature;
};

/* What the PLAN section holds beside the plan. */
struct snap_plan {
    char kind[SNAP_NAME_LEN];
    struct layout plan; /* without `rules` */
};

/*
 * Sections made of fields are about a struct of their own: PLAN a snap_plan,
 * COMPAT a snap_cpu; MACHINE, CPU and ROOTS a snapshot.
 */

/* Write one to `out` (SNAP_FIELDS_MAX bytes); its length. */
uint64_t snap_write(enum snap_section type, const void *of, uint8_t *out);

/*
 * Read one of exactly `len` bytes into the fields it is about, which are
 * touched on failure too. STATUS_IMAGE for a wrong length and for a value
 * that its field cannot hold; what the values mean together is not looked at.
 * Text is printable and ends in a zero. MACHINE goes into s->bare, which is there.
 */
int snap_read(enum snap_section type, const uint8_t *in, uint64_t len, void *of, struct err *e);

/* Whether the `len` bytes are printable ASCII, padded with at least one zero. */
bool snap_is_text(const uint8_t *bytes, uint64_t len);

#endif
