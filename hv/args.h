/* Values of command-line options: sizes, durations, numbers. Refusals are STATUS_USAGE and name the option.
 */
#ifndef HV_ARGS_H
#define HV_ARGS_H

#include <stdint.h>

#include "mem/error.h"

/*
 * "64K", "18M", "1G": a positive decimal number of KiB, MiB or GiB. A number
 * without a suffix is refused: other tools take it for bytes or for megabytes.
 */
int args_size(const char *option, const char *value, uint64_t *bytes, struct err *e);

/* "500ms", "10s", "2m": a positive duration of at most 1000 hours, in nanoseconds. */
int args_duration(const char *option, const char *value, uint64_t *ns, struct err *e);

/* A decimal number from 0 to `max`. */
int args_number(const char *option, const char *value, uint64_t max, uint64_t *n, struct err *e);

#endif
