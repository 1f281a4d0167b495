/* From the command line's image and options to a plan or a snapshot. */
#ifndef HV_LOAD_H
#define HV_LOAD_H

#include <stdbool.h>

#include "boot/bare.h"
#include "boot/image.h"
#include "boot/snapshot.h"
#include "hv/file.h"
#include "hv/options.h"
#include "mem/error.h"

/* An image that was read, and what it is. */
struct load {
    struct file image;
    bool bare;
    enum bare_format format; /* of a bare one */
};

/*
 * Read o->image, which the caller frees with load_free, and find out what it
 * is. STATUS_USAGE when the options hold what such a guest has no use for.
 */
int load_image(const struct options *o, struct load *out, struct err *e);
void load_free(struct load *l);

/* Build the generation-0 snapshot of an image that is not bare; the caller owns it. */
int load_snapshot(const struct options *o, const struct load *l, struct snapshot *out, struct err *e);

/* Decode and plan only. */
int load_plan(const struct options *o, const struct load *l, struct elf_image *elf,
              const struct guest_kind **kind, struct layout *plan, struct err *e);

#endif
