/*
 * From a guest image to a generation-0 snapshot: bytes placed by the address
 * plan, PEB written, page tables built, first registers chosen.
 */
#ifndef BOOT_IMAGE_H
#define BOOT_IMAGE_H

#include <stdint.h>

#include "boot/guest.h"
#include "boot/snapshot.h"
#include "mem/error.h"
#include "mem/layout.h"

/* What the user decides about a guest beside its image. */
struct image_options {
    struct plan_sizes sizes; /* image_base, image_len, image_fixed and init_data_len are filled in here */
    enum guest_paging paging;
    const uint8_t *init_data; /* init_data_len bytes, NULL when 0 */
    uint64_t init_data_len;
};

/*
 * Decode `file` and compute its plan without building anything: for commands
 * that only look. `name` is for messages.
 */
int image_plan(const uint8_t *file, uint64_t file_len, const char *name, const struct image_options *opt,
               struct elf_image *elf, const struct guest_kind **kind, struct layout *plan, struct err *e);

/*
 * Build the snapshot; the caller owns *out (snapshot_free). A refused image is
 * STATUS_IMAGE, sizes that cannot work STATUS_USAGE, no memory STATUS_HOST.
 */
int image_build(const uint8_t *file, uint64_t file_len, const char *name, const struct image_options *opt,
                struct snapshot *out, struct err *e);

#endif
