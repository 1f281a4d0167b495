/* Where a test runs, and how much it is to do. */
#ifndef TESTS_KVM_SCALE_H
#define TESTS_KVM_SCALE_H

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* In the lab nothing tells about the time. Guests are there, and only there. */
static inline bool scale_is_lab(void)
{
    return access("/guests", F_OK) == 0;
}

/* How much more than usual to do: 1, unless the environment's TEST_SCALE says so. */
static inline unsigned scale_factor(void)
{
    const char *text = getenv("TEST_SCALE");
    unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 1;

    return n == 0 ? 1 : n > 1000 ? 1000 : (unsigned)n;
}

#endif
