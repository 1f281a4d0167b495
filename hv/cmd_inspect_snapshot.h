/* The half of `vmm inspect` that is about snapshots; hv/cmd_inspect.c chooses by what the file is. */
#ifndef HV_CMD_INSPECT_SNAPSHOT_H
#define HV_CMD_INSPECT_SNAPSHOT_H

#include "hv/options.h"
#include "hv/text.h"
#include "mem/error.h"

int inspect_snapshot(const struct options *o, struct text *out, struct err *e);

#endif
