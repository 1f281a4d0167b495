/*
 * Functions that a guest may call in the host.
 *
 *   HostPrint(string) -> int       print the text where the guest prints; its length in bytes
 *   HostTime() -> ulong            wall clock, ns since 1970
 *   HostRandom(uint n) -> bytes    n random bytes, at most 65536
 *   any name given with --host-fn  a command: argument on stdin, result from stdout
 *
 * Whatever goes wrong in one is an error for the guest (code 17), not the end of it.
 */
#ifndef HV_HOSTFN_H
#define HV_HOSTFN_H

#include <stddef.h>

#include "hv/console.h"
#include "hv/stop.h"
#include "hv/text.h"
#include "mem/error.h"
#include "mem/message.h"

#define HOST_COMMANDS_MAX         32
#define HOST_RANDOM_MAX           65536u

#define GUEST_ERROR_HOST_FUNCTION 17

struct host_command {
    const char *name; /* as the guest calls it; not NUL-terminated */
    size_t name_len;
    const char *command;
};

struct host_functions {
    struct host_command commands[HOST_COMMANDS_MAX];
    unsigned commands_n;
    struct console *console; /* of HostPrint */
    struct stop *stop;       /* ends a command */
};

/* Add NAME=COMMAND. STATUS_USAGE: no such form, the name is taken, too many. `spec` must outlive *f. */
int hostfn_add(struct host_functions *f, const char *spec, struct err *e);

/*
 * Answer a call. *out views `storage` and static texts. 0: *out is the result
 * or an error for the guest. HOSTFN_STOPPED: a stop came meanwhile. -1: the
 * guest's output could not be written.
 */
#define HOSTFN_STOPPED 1
int hostfn_call(const struct host_functions *f, const struct msg_call *call, struct msg_result *out,
                struct text *storage, struct err *e);

#endif
