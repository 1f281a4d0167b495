/* The host's kernel as a source of randomness and time. See host.h. */
#include "hv/host.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int host_random(void *out, size_t len, struct err *e)
{
    uint8_t *p = (uint8_t *)out;

    while (len != 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            return err_host(e, "host: cannot get random bytes");
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

#define FEW 4

/* Who asks a few times has the answer sooner from the kernel than the C library finds where it need not ask. */
static uint64_t now(clockid_t clock)
{
    static unsigned asked;
    struct timespec t;

    if (asked < FEW) {
        asked++;
        syscall(SYS_clock_gettime, clock, &t);
    } else {
        clock_gettime(clock, &t);
    }
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t host_wall_clock(void)
{
    return now(CLOCK_REALTIME);
}

uint64_t host_monotonic(void)
{
    return now(CLOCK_MONOTONIC);
}
