/* What the host's kernel tells: random bytes and clocks. */
#ifndef HV_HOST_H
#define HV_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "mem/error.h"

/* Fill `out` with random bytes from the kernel. */
int host_random(void *out, size_t len, struct err *e);

/* Nanoseconds since 1970, and since some fixed point in the past. */
uint64_t host_wall_clock(void);
uint64_t host_monotonic(void);

#endif
