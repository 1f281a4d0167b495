/* Reading a whole file into memory, and opening one to write a report to. */
#ifndef HV_FILE_H
#define HV_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "mem/error.h"
#include "mem/region.h"

struct file {
    struct region map; /* holds the bytes; len 0 when the file is empty */
    uint64_t len;
};

/*
 * Read the regular file at `path`, at most `max` bytes. STATUS_NOT_FOUND when
 * there is none, STATUS_IMAGE when it cannot be read or is no regular file.
 * The bytes are a private copy: a later change of the file is not seen.
 */
int file_read(const char *path, uint64_t max, struct file *out, struct err *e);
void file_free(struct file *f);

/* The same, with a NUL behind it and as bytes to change; *out is the caller's to free. */
int file_read_text(const char *path, uint64_t max, char **out, size_t *len, struct err *e);

/*
 * Open what an option says to write to: "fd:N", "-" for standard output, or a
 * path that is created or emptied; *fd is the caller's to close. STATUS_USAGE
 * for a bad fd:N, STATUS_HOST when it cannot be opened.
 */
int file_open_output(const char *option, const char *target, int *fd, struct err *e);

/* Write all of it, waiting for a slow reader. */
int file_write_all(int fd, const char *name, const char *bytes, uint64_t len, struct err *e);

#endif
