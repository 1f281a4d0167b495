/*
 * The small sections of a snapshot file, field by field: one list of fields
 * that writing and reading both go through, so that they cannot differ.
 */
#ifndef BOOT_SNAPFIELDS_H
#define BOOT_SNAPFIELDS_H

#include <stdbool.h>
#include <stdint.h>

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

/* Write a section to `out` (SNAP_FIELDS_MAX bytes); its length. */
uint64_t snap_write_plan(const struct snap_plan *p, uint8_t *out);
uint64_t snap_write_machine(const struct snapshot *s, uint8_t *out);
uint64_t snap_write_cpu(const struct snapshot *s, uint8_t *out);
uint64_t snap_write_roots(const struct snapshot *s, uint8_t *out);
uint64_t snap_write_compat(const struct snap_cpu *c, uint8_t *out);

/*
 * Read a section of exactly `len` bytes into the fields it is about, which are
 * touched on failure too. STATUS_IMAGE for a wrong length and for a value
 * that its field cannot hold; what the values mean together is not looked at.
 * Text is printable and ends in a zero. MACHINE goes into s->bare, which is there.
 */
int snap_read_plan(const uint8_t *in, uint64_t len, struct snap_plan *p, struct err *e);
int snap_read_machine(const uint8_t *in, uint64_t len, struct snapshot *s, struct err *e);
int snap_read_cpu(const uint8_t *in, uint64_t len, struct snapshot *s, struct err *e);
int snap_read_roots(const uint8_t *in, uint64_t len, struct snapshot *s, struct err *e);
int snap_read_compat(const uint8_t *in, uint64_t len, struct snap_cpu *c, struct err *e);

/* Whether the `len` bytes are printable ASCII, padded with at least one zero. */
bool snap_is_text(const uint8_t *bytes, uint64_t len);

#endif
