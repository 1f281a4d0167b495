/*
 * How far a long job is, as a bar on a terminal. Nothing is shown for what takes
 * less than a second. One job at a time.
 */
#ifndef HV_PROGRESS_H
#define HV_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

/* Where the bar is shown, if it is a terminal; -1, as at first: nowhere. */
void progress_allow(int fd);

/* A job of `total` steps; `what` is a word for it and stays. The bar is there until progress_end or the next job. */
void progress_begin(const char *what, uint64_t total);
void progress_step(uint64_t done);
void progress_end(void);

/* This process is a fork of one that has a job, and leaves the bar to it. */
void progress_copied(void);

/*
 * These bytes are about to be written to `fd`. Where that is a terminal, a bar
 * makes room for them, and waits for the end of their line.
 */
void progress_make_room(int fd, const uint8_t *bytes, size_t len);

#endif
