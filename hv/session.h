/*
 * One guest as a command sees it: opened from a snapshot, started, called,
 * closed. Everything the commands that run guests have in common.
 */
#ifndef HV_SESSION_H
#define HV_SESSION_H

#include <stdbool.h>

#include "boot/snapshot.h"
#include "hv/call.h"
#include "hv/console.h"
#include "hv/expect.h"
#include "hv/options.h"
#include "hv/report.h"
#include "hv/run.h"
#include "hv/stop.h"
#include "hv/text.h"
#include "hv/vm.h"
#include "mem/error.h"

struct session {
    const struct options *o;
    struct host_functions host;
    struct expect expect;
    struct service service;
    struct stop stop;
    struct vm vm;
    struct run_env env;
    int kvm_fd;
    bool warm;
    struct console console, log; /* last: of their buffers, only what is used takes memory */
};

/*
 * Open KVM and a VM for `snap`, which must outlive *s; *s must not move until
 * session_close. `warm`: session_start may be called more than once.
 */
int session_open(struct session *s, const struct options *o, const struct snapshot *snap, bool warm,
                 struct err *e);
void session_close(struct session *s);

/*
 * Instead of session_close where this process is about to end: what takes KVM
 * time is left to another, and so is all memory, also what the caller has yet to give back.
 */
void session_leave(struct session *s);

/*
 * Restore the guest and, if it starts from an image, run its init. *out starts
 * anew. 0 when *out tells how it went, -1 when the host failed and it tells nothing. A machine that
 * ran and cannot be restored, or that KVM failed to run, is replaced by a new one first.
 */
int session_start(struct session *s, struct outcome *out, struct err *e);

/*
 * session_start for `snap`, which must outlive *s, instead of the snapshot that
 * the session was for; of a warm session. The machine is made that guest's or,
 * where it cannot be, replaced.
 */
int session_switch(struct session *s, const struct snapshot *snap, struct outcome *out, struct err *e);

/*
 * Make the calls of the command line in order, printing each result; the first
 * that does not return a value is the last. Results are added to `calls` as
 * items of a JSON array. Nothing is done unless *out says "ended". Afterwards,
 * if the guest faulted or aborted, the core that the options ask for is written.
 */
int session_call_all(struct session *s, struct outcome *out, struct text *calls, struct err *e);

/* One call, for commands that get theirs elsewhere; the counter is checked, nothing is printed. */
int session_call(struct session *s, const struct msg_call *call, struct msg_result *result,
                 struct outcome *out, struct err *e);

#endif
