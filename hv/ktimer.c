/* The kernel's timers, by their numbers. See ktimer.h. */
#include "hv/ktimer.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int ktimer_create(int sig, int *id)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};

    return (int)syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, id);
}

static struct timespec in_seconds(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

void ktimer_set(int id, uint64_t first_ns, uint64_t repeat_ns)
{
    const struct itimerspec t = {.it_value = in_seconds(first_ns), .it_interval = in_seconds(repeat_ns)};

    syscall(SYS_timer_settime, id, 0, &t, NULL);
}

void ktimer_delete(int id)
{
    syscall(SYS_timer_delete, id);
}
