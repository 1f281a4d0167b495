/*
 * The kernel's timers that send a signal, by CLOCK_MONOTONIC. The C library's
 * timers are the same, but bring its threads into the program with them.
 */
#ifndef HV_KTIMER_H
#define HV_KTIMER_H

#include <stdint.h>

/* Make a timer that sends `sig` and is not set yet. 0 and its number, or -1 and errno. */
int ktimer_create(int sig, int *id);

/* Expire after `first_ns` (0 = never) and then every `repeat_ns` (0 = no more). Replaces what was set. */
void ktimer_set(int id, uint64_t first_ns, uint64_t repeat_ns);

void ktimer_delete(int id);

#endif
