/* How the files that call KVM do it, and tell of a call that failed. */
#ifndef HV_KVM_FAILED_H
#define HV_KVM_FAILED_H

#include <stdint.h>

#include "mem/error.h"

/* STATUS_HOST; the ioctl's name is part of the message, so that each failure names its own call. Returns -1. */
int kvm_failed(const char *name, int errnum, struct err *e);

/*
 * An ioctl of KVM: what it returns, or -1 with the failure told as above and
 * errno as it was left. KVM reads from or writes to what `arg` points to, as
 * the request says.
 */
int kvm_call(int fd, unsigned long request, void *arg, const char *name, struct err *e);

/* For requests that only read. */
static inline void *unconst(const void *p)
{
    return (void *)(uintptr_t)p;
}

#define KVM_CALL(fd, request, arg, e) kvm_call(fd, request, arg, #request, e)

#endif
