/*
 * What a running guest asks of the host through its output stack: calls of
 * host functions and log records. The guest wrote every byte: each message is
 * copied out, checked whole, and only then believed.
 */
#ifndef HV_SERVE_H
#define HV_SERVE_H

#include "hv/hostfn.h"
#include "hv/vm.h"
#include "mem/error.h"

/* What serves a guest's requests. */
struct service {
    const struct host_functions *host;
    struct console *log; /* where log records go, a line each */
    unsigned log_filter; /* 0 off, 1 error .. 5 trace: records above it are dropped */
};

enum served {
    SERVED_ON,      /* done, run on */
    SERVED_STOPPED, /* a stop came meanwhile: the run loop will see it */
    SERVED_BROKEN,  /* the guest broke the protocol, *e says how (STATUS_FAULTED) */
    SERVED_FAILED,  /* the host failed, *e says how */
};

/* The guest calls a host function: its call is on top of the output stack, the answer goes to the input
 * stack. */
enum served serve_call(struct vm *vm, const struct service *s, struct err *e);

/* A log record is on top of the output stack. */
enum served serve_log(struct vm *vm, const struct service *s, struct err *e);

/* Take the top element of the output stack as a result of a call into the guest; it views vm->messages. */
enum served serve_result(struct vm *vm, struct msg_result *out, struct err *e);

/*
 * Push an encoded message on the input stack. False when it does not fit; *e
 * (STATUS_FAULTED) when the guest has spoilt the stack.
 */
enum served serve_push(struct vm *vm, const uint8_t *message, uint64_t len, bool *fits, struct err *e);

/* Where to encode a message for serve_push: `cap` bytes behind the message that was read last. */
uint8_t *serve_buffer(struct vm *vm, uint64_t *cap);

/* Both stacks empty, as after a call whatever came of it. */
void serve_reset_stacks(struct vm *vm);

#endif
