/* Several processes that do the same: `restore --copies`. */
#ifndef HV_COPIES_H
#define HV_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"

struct copies {
    bool child;                /* this process is a copy: do the work */
    int worst;                 /* parent: the highest exit status of a copy, 128 + signal if one was killed */
    uint64_t done_n, failed_n; /* copies that ended, and those that ended with another status than 0 */
};

/*
 * Fork `n` copies, at most `jobs` at a time. Returns in each of them with
 * child true, and in the parent when all have ended; KVM may be opened only
 * afterwards, since a VM does not survive a fork. SIGINT, SIGTERM and SIGHUP
 * are passed on and end the parent's forking. STATUS_HOST when a fork fails;
 * copies that run are waited for all the same.
 */
int copies_run(uint64_t n, uint64_t jobs, struct copies *out, struct err *e);

#endif
