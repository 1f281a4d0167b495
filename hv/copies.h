/* Several processes that do the same: `restore --copies`. */
#ifndef HV_COPIES_H
#define HV_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"

struct copies_work;

struct copies {
    bool child;                /* this process is a worker: it makes copies */
    int worst;                 /* parent: the highest exit status of a copy, 128 + signal if one was killed */
    uint64_t done_n, failed_n; /* copies that ended, and those that ended with another status than 0 */

    /* A worker's. */
    struct copies_work *work;
    uint64_t slot, begun_n;
    bool many;
};

/*
 * Have `n` copies made by workers, at most `jobs` of them at a time: of one
 * copy each, or, if `many`, of one copy after the other. Returns in each of
 * them with child true, and in the parent when all copies have ended; KVM may be opened only
 * afterwards, since a VM does not survive a fork. A worker that dies amid a copy takes that
 * copy along and no other. SIGINT, SIGTERM and SIGHUP are passed on, and no copy
 * begins afterwards. STATUS_HOST when a fork fails; copies that were begun are waited for all the same.
 */
int copies_run(uint64_t n, uint64_t jobs, bool many, struct copies *out, struct err *e);

/* In a worker: whether there is another copy for it to make. If so it says how that ended, before it asks again or ends. */
bool copies_next(struct copies *c);
void copies_ended(struct copies *c, int status);

#endif
