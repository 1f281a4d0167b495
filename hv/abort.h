/*
 * The abort byte string that a guest sends in chunks of up to three: error
 * code, optional exception number, text, terminator.
 */
#ifndef HV_ABORT_H
#define HV_ABORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/guest_abi.h"

struct abort_bytes {
    size_t n;
    bool overflow; /* more than ABORT_LEN_MAX without a terminator */
    uint8_t bytes[ABORT_LEN_MAX];
};

struct abort_info {
    uint8_t code;
    bool has_exception;
    uint8_t exception;
    const char *code_name;        /* "unknown" for a code the ABI does not name */
    const char *exception_name;   /* "" without one */
    char text[ABORT_LEN_MAX + 1]; /* as sent; may hold any byte but 0xff */
    size_t text_len;
};

/* Name of an error code of the ABI, "unknown" for any other. */
const char *abort_code_name(uint64_t code);

/* Take the operand of one OUT to the abort port. True when the string is complete (or has overflowed). */
bool abort_take(struct abort_bytes *a, uint32_t value);

/* Decode a complete string. An overflow reads as code 0 with the text "overflow". */
void abort_decode(const struct abort_bytes *a, struct abort_info *out);

#endif
