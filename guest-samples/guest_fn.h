/*
 * Functions that the host can call in a guest, and the way back. A guest that
 * takes calls defines the table; everything else is done for it:
 *
 *     static void add(const struct msg_value *a, struct msg_result *r)
 *     {
 *         guest_return_int(r, (int32_t)a[0].bits + (int32_t)a[1].bits);
 *     }
 *
 *     const struct guest_function guest_functions[] = {
 *         {"add", 2, {MSG_INT, MSG_INT}, add},
 *         {NULL, 0, {0}, NULL},
 *     };
 *
 * Arguments view the input stack and stay as they are until the function
 * returns. Floats come and go as bits. With a table, the runtime handles
 * exceptions as well (guest_trap.h): copy-on-write pages are copied when they
 * are written, anything else ends the guest with an abort that names it.
 */
#ifndef GUEST_SAMPLES_GUEST_FN_H
#define GUEST_SAMPLES_GUEST_FN_H

#include <stddef.h>
#include <stdint.h>

#include "mem/message.h"

#define GUEST_PARAMS_MAX 12

/* Error codes of the ABI that a guest returns. */
#define GUEST_ERROR_NOT_FOUND  4
#define GUEST_ERROR_PARAMS_N   5
#define GUEST_ERROR_PARAM_TYPE 14
#define GUEST_ERROR_GENERAL    15

struct guest_function {
    const char *name; /* NULL ends the table */
    unsigned params_n;
    enum msg_type params[GUEST_PARAMS_MAX];
    void (*fn)(const struct msg_value *args, struct msg_result *result);
};

/* Defined by the guest. */
extern const struct guest_function guest_functions[];

/* Fill in a result. What a string or bytes points to must stay until the function has returned. */
void guest_return_int(struct msg_result *r, int32_t v);
void guest_return_bits(struct msg_result *r, enum msg_type type, uint64_t bits);
void guest_return_bytes(struct msg_result *r, enum msg_type type, const void *data, uint32_t len);
void guest_return_void(struct msg_result *r);
void guest_return_error(struct msg_result *r, uint64_t code, const char *text);

/*
 * Call a function of the host. *result views the input stack and stays until
 * the next call of the host. A host's failure comes back as an error result;
 * a broken exchange ends the guest.
 */
void guest_call_host(const char *name, enum msg_type returns, const struct msg_value *args, unsigned args_n,
                     struct msg_result *result);

/* Send a log record; levels 0 trace .. 5 critical. Dropped if the host does not want that level. */
void guest_log(unsigned level, const char *message);

/*
 * Memory from the heap of the PEB, a multiple of 16, zero only on first use.
 * There is no free: what a call takes is given back when the call returns.
 * Aborts with code 13 when there is none.
 */
void *guest_alloc(size_t len);

#endif
