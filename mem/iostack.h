/*
 * The stack that messages travel on, over a buffer of `size` bytes that both
 * sides can write to. Host and guests compile the same code: no libc.
 *
 *     0      u64 SP: the first free byte; 8 when the stack is empty
 *     8 ..   elements, the first pushed first: its bytes, and u64 BACK: where these bytes start
 *
 * An element holds one size-prefixed message; longer is legal, the prefix
 * decides. Nothing is aligned. `size` is ours, and at least 8. Every word is taken for hostile, is read once,
 * and is compared with all of its 64 bits.
 */
#ifndef MEM_IOSTACK_H
#define MEM_IOSTACK_H

#include <stdint.h>

#define IOSTACK_EMPTY    8  /* the stack pointer of an empty stack */
#define IOSTACK_OVERHEAD 16 /* an empty stack takes an element of size - 16 bytes */

enum iostack_status {
    IOSTACK_OK,
    IOSTACK_BAD_SP, /* SP is not inside the stack, or, for a look at the top, leaves no room for an element */
    IOSTACK_FULL,   /* no room: in the stack, or for a look at the top in the buffer given */
    IOSTACK_BAD_BACK,  /* the top element does not start where one can */
    IOSTACK_BAD_PREFIX /* the top element's message is longer than the element */
};

#define IOSTACK_STATUS_N (IOSTACK_BAD_PREFIX + 1)

/* The top element, as it was when somebody looked at it. */
struct iostack_top {
    uint64_t sp;
    uint64_t back;
    uint64_t len; /* of the message, its prefix included */
};

/* "ok", "sp", "full", "back-pointer", "prefix" */
const char *iostack_status_name(enum iostack_status status);

/* Put `len` bytes on top. Anything but IOSTACK_OK leaves the stack as it is. */
enum iostack_status iostack_push(uint8_t *stack, uint64_t size, const uint8_t *payload, uint64_t len);

/*
 * Copy the message on top to `out`, which has room for `cap` bytes and which
 * the other side cannot reach. top->len says how long it is, and its prefix
 * agrees with that. Room for size - IOSTACK_OVERHEAD bytes is always enough.
 * The stack stays as it is; *top is untouched, and `out` may not be used,
 * unless the result is IOSTACK_OK.
 */
enum iostack_status iostack_peek(const uint8_t *stack, uint64_t size, uint8_t *out, uint64_t cap,
                                 struct iostack_top *top);

/* Take away the element that iostack_peek found, once its message was accepted: zeroes, and SP back. */
void iostack_drop(uint8_t *stack, const struct iostack_top *top);

/* Empty the stack: zeroes from 8 to SP, or all of it when SP is not inside. */
void iostack_reset(uint8_t *stack, uint64_t size);

#endif
