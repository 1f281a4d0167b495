/* The end of a machine, which KVM takes milliseconds for, off the path of whoever waits for this process. */
#ifndef HV_TEARDOWN_H
#define HV_TEARDOWN_H

#include <sys/types.h>

#include "hv/kvm.h"

/*
 * Let a process of its own outlive this one, which is about to end, by as long
 * as it takes KVM to take `m` apart. All it holds open is the machine, so
 * nobody who waits for an end of file waits for it; it is gone within a
 * second, is nobody's child once this process has ended, and says nothing.
 *
 * The machine must not be closed but left to the end of this process; what is
 * behind its slots may go. The number of that process; 0 or -1 in the first process of a
 * machine or container, with which all others end, and when there can be no
 * further one: the machine ends with this one then.
 */
pid_t teardown_leave(const struct machine *m);

#endif
