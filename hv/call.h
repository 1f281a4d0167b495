/* Calls into a guest that is ready for them. */
#ifndef HV_CALL_H
#define HV_CALL_H

#include "hv/report.h"
#include "hv/run.h"
#include "mem/error.h"
#include "mem/message.h"

/*
 * Call a function of the guest. 0 when the call ended in a way that *out and,
 * for reason "ended", *result tell; a guest error is a result too. *result
 * views the VM's memory for messages until the next call. -1: it never ran
 * (STATUS_USAGE, arguments that do not fit the input stack) or the host failed.
 *
 * A fault, an abort, a stop or a broken protocol leaves the guest in the
 * middle of things: it is not ready any more (vm->ready). Both I/O stacks are
 * empty afterwards in any case.
 */
int call_guest(const struct run_env *env, const struct msg_call *call, struct msg_result *result,
               struct outcome *out, struct err *e);

#endif
