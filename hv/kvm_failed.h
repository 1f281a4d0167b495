/* How the files that call KVM tell of a call that failed. */
#ifndef HV_KVM_FAILED_H
#define HV_KVM_FAILED_H

#include "mem/error.h"

/* STATUS_HOST; the ioctl's name is part of the message, so that each failure names its own call. Returns -1. */
int kvm_failed(const char *name, int errnum, struct err *e);

#endif
