/* What this host's KVM can do, found out by trying. */
#ifndef HV_PROBE_H
#define HV_PROBE_H

#include "mem/error.h"

/*
 * Whether this KVM takes 32-bit paging: 1 yes, 0 no (a software KVM, which
 * emulates kernel-mode code and not every instruction of it), -1 it could not
 * be tried.
 */
int probe_paging32(int kvm_fd, struct err *e);

#endif
