/*
 * Writing a file so that there is the old one or the new one and never a part
 * of one: into a temporary beside it, which takes its place when all of it is
 * on the disk.
 *
 * The temporary's name is fixed, and its writer holds a lock on it: one that
 * nobody holds was left by a writer that was killed, and is removed.
 */
#ifndef HV_SAVE_H
#define HV_SAVE_H

#include <limits.h>
#include <stdint.h>

#include "mem/error.h"

/* A save under way. */
struct save {
    const char *path, *name; /* `name`: the last part of `path`, which is the caller's */
    char temp[NAME_MAX + 1];
    int dir, fd; /* of the directory, and of the temporary with its lock */
};

/*
 * Begin to save `path`: a regular file or nothing is there. Only one can at a
 * time, unless each has a number of its own, `writer` other than 0, to name the
 * temporary by. Ends with save_end or save_cancel. All failures are STATUS_HOST and name the path; SIGXFSZ has
 * to be ignored, or a limit on file sizes kills the process.
 */
int save_begin(struct save *sv, const char *path, unsigned writer, struct err *e);

/* The same under a name that no other process has. */
int save_begin_alone(struct save *sv, const char *path, struct err *e);

/* Whether a save could begin, so that nobody finds out at its end; nothing is left of the attempt. */
int save_check_path(const char *path, struct err *e);

/* Write at a place of the new file; what is never written to reads as zeros. */
int save_write(const struct save *sv, uint64_t off, const void *bytes, uint64_t len, struct err *e);

/* How long it is: said before the first write, what the disk cannot hold is refused at once. */
int save_set_len(const struct save *sv, uint64_t len, struct err *e);

/*
 * Put the new file in the place of the old one, with that mode. On failure the
 * old one is untouched and nothing of the new one is left, except when the
 * directory could not be synced: then the new one is there, and may not
 * survive a crash.
 */
int save_end(struct save *sv, unsigned mode, struct err *e);

/* Leave everything as it was. */
void save_cancel(struct save *sv);

#endif
