/* From the command line's image and options to a plan or a snapshot. */
#ifndef HV_LOAD_H
#define HV_LOAD_H

#include "boot/image.h"
#include "boot/snapshot.h"
#include "hv/options.h"
#include "mem/error.h"

/* Build the generation-0 snapshot of o->image; the caller owns it. */
int load_snapshot(const struct options *o, struct snapshot *out, struct err *e);

/* Decode and plan only. */
int load_plan(const struct options *o, struct elf_image *elf, const struct guest_kind **kind,
              struct layout *plan, struct err *e);

#endif
