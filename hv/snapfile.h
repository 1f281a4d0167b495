/* Snapshots on disk. */
#ifndef HV_SNAPFILE_H
#define HV_SNAPFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/snapshot.h"
#include "mem/error.h"

struct snapfile_info;

int snapfile_write(const struct snapshot *s, const char *path, struct err *e);
int snapfile_read(const char *path, bool verify, struct snapshot *out, struct snapfile_info *info, struct err *e);
bool snapfile_is(const char *path);

#endif
