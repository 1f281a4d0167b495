/* From a running guest to a snapshot of it. */
#ifndef HV_CAPTURE_H
#define HV_CAPTURE_H

#include "boot/snapshot.h"
#include "hv/vm.h"
#include "mem/error.h"

/*
 * Capture a guest that is between calls (vm->ready); it goes on unharmed. A
 * paged guest is walked through all the roots it declares (its CR3 when it
 * declares none) and packed; an identity guest is copied as it is. The
 * generation is one more than that of the snapshot it was started from. The
 * caller owns *out.
 *
 * STATUS_IMAGE, naming what it is: a guest that is not between calls, a root
 * list that is not one, tables or pages that cannot be kept exactly.
 */
int capture_make(struct vm *vm, struct snapshot *out, struct err *e);

#endif
