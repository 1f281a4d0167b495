/*
 * One line that a client of "vmm serve" sent, decoded: which function to call
 * with what, of which snapshot, and whether on a fresh guest.
 *
 *   {"call":"add","args":[{"type":"int","value":2},{"type":"int","value":40}],"id":7,"restore":false,
 *    "snapshot":"calls.snap"}
 *
 * Only "call" has to be there. Integers are exact to 64 bits; a long or ulong
 * may be a string, a float or double a string such as "nan(0x7fc00001)" or
 * "-inf", as hv/value reads them; bytes are a string of hex digits.
 */
#ifndef HV_REQUEST_H
#define HV_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "hv/jsonin.h"
#include "hv/text.h"
#include "mem/error.h"
#include "mem/message.h"

struct request {
    struct jsonin json;
    const struct jsonin_value *id;       /* in json, a scalar; NULL when none was found */
    const struct jsonin_value *snapshot; /* in json, a string; NULL when it names none */
    struct msg_call call;
    bool restore; /* true when it does not say */
};

/*
 * Decode the `len` bytes at `line`, which a NUL follows and which are spent by
 * it: *out views them. -1 (STATUS_USAGE): not a request, *e says why; out->id
 * is set even so where the line is JSON and has a good one.
 */
int request_read(char *line, size_t len, struct request *out, struct err *e);

/* The id as the client wrote it, null when there is none. */
void request_add_id(const struct request *r, struct text *out);

#endif
