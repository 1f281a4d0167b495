/*
 * Writing an archive that the kernel unpacks as its initramfs: cpio, "newc"
 * format (Documentation/driver-api/early-userspace/buffer-format.rst). The same
 * files give the same bytes: no times, no owners, inodes counted from 1.
 */
#ifndef HV_CPIO_H
#define HV_CPIO_H

#include <stdint.h>

#include "hv/save.h"
#include "mem/error.h"

#define CPIO_FILE_MAX UINT32_MAX

struct cpio {
    const struct save *to;
    uint64_t len; /* written by now */
    uint32_t files_n;
};

/*
 * Add a file of `len` bytes, at most CPIO_FILE_MAX, with its type and mode; a
 * directory has none. `name` has no / in front. cpio_end closes the archive.
 */
int cpio_add(struct cpio *c, const char *name, unsigned mode, const void *bytes, uint64_t len, struct err *e);
int cpio_end(struct cpio *c, struct err *e);

#endif
