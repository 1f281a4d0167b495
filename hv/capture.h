/* From a running guest to a snapshot of it. */
#ifndef HV_CAPTURE_H
#define HV_CAPTURE_H

#include "boot/snapshot.h"
#include "hv/vm.h"
#include "mem/error.h"

/*
 * Capture a guest that is between calls (vm->ready); it goes on unharmed. A
 * paged guest is walked through all the roots it declares (its CR3 when it
 * declares none) and packed; an identity guest is taken as it is. The
 * generation is one more than that of the snapshot it was started from. The
 * caller owns *out; *out and *vm may be released in any order.
 *
 * Of a large identity guest (more than 1 MiB) nothing is copied the first time:
 * its memory was an anonymous file from the start, which becomes the
 * snapshot's and is sealed, and the VM goes on with a copy-on-write mapping of
 * it in the same place. Later captures, and all those of a VM whose snapshot
 * is from a file, map the same file once more and copy the pages that the VM
 * has for itself (mem/pristine.h says which those are): such a snapshot stays
 * as it is as long as that file does. All is copied, but for pages of zeros,
 * where the host gave no such file.
 *
 * STATUS_IMAGE, naming what it is: a guest that is not between calls, a root
 * list that is not one, tables or pages that cannot be kept exactly.
 */
int capture_make(struct vm *vm, struct snapshot *out, struct err *e);

#endif
