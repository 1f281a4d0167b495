/*
 * A snapshot in a file: saved so that there is the old file or the new one and
 * never a part of one, read so that nothing of it is used unchecked, and its
 * pages mapped so that all processes that run it share them.
 */
#ifndef HV_SNAPFILE_H
#define HV_SNAPFILE_H

#include <stdbool.h>

#include "boot/snapdecode.h"
#include "boot/snapshot.h"
#include "mem/error.h"

/*
 * Save `s` as `path`, readable by all and writable by nobody; a regular file
 * that is there is replaced. On failure, STATUS_HOST, it is untouched and
 * nothing of the new one is left, except when the directory could not be
 * synced: then the new one is there, and may not survive a crash. One process
 * at a time saves to a path; another fails. What a writer that was killed left
 * behind is removed by the next save to that path.
 *
 * STATUS_IMAGE for a guest whose state snapfile_read would refuse. SIGXFSZ has
 * to be ignored, or a limit on file sizes kills the process.
 */
int snapfile_write(const struct snapshot *s, const char *path, struct err *e);

/*
 * Open a snapshot file. The pages are a mapping of the file and not looked at
 * but for `verify`, which compares them with their checksums; everything else
 * is a checked copy. *out owns what it holds (snapshot_free). `info` may be NULL.
 *
 * STATUS_NOT_FOUND when there is none; STATUS_IMAGE for a file that is not a
 * regular one (a symbolic link included), damaged, of another format, for
 * another CPU, or of a kind that this binary does not have.
 *
 * Whoever can write to the file can still change the pages: a change may show
 * in the guest, and a file that shrinks raises SIGBUS here (snapfile_guard)
 * and makes KVM_RUN fail with EFAULT there.
 */
int snapfile_read(const char *path, bool verify, struct snapshot *out, struct snapfile_info *info,
                  struct err *e);

/* Whether it is a regular file, or a link to one, that starts with a snapshot's magic. */
bool snapfile_is(const char *path);

/*
 * From now on the loss of a page of `s`, which came from `path`, ends the
 * process with one line and STATUS_HOST instead of a signal. For one snapshot
 * at a time, the one named last. Any other SIGBUS keeps its meaning.
 */
int snapfile_guard(const struct snapshot *s, const char *path, struct err *e);

/*
 * The same for the loss of a page of `r`, a mapping of the same file by the
 * one VM of the process; an empty region ends it. Without a guard it means nothing.
 */
void snapfile_guard_copy(const struct region *r);

/* This host's CPU, as a file names it. */
struct snap_cpu snapfile_host_cpu(void);

#endif
