/* Abort strings. See abort.h. */
#include "hv/abort.h"

#include <string.h>

static const char *const code_names[] = {
    [0] = "no error",
    [2] = "unsupported parameter type",
    [3] = "function name not provided",
    [4] = "function not found",
    [5] = "wrong number of parameters",
    [6] = "dispatch function not set",
    [7] = "OUT error",
    [8] = "unknown error",
    [10] = "stack cookie",
    [11] = "too many guest functions",
    [12] = "allocator failure",
    [13] = "out of memory",
    [14] = "parameter type mismatch",
    [15] = "guest error",
    [16] = "array length missing",
    [17] = "host function failed",
};

static const char *const exception_names[] = {
    [0] = "divide",          [1] = "debug",        [2] = "NMI",
    [3] = "breakpoint",      [4] = "overflow",     [5] = "bound",
    [6] = "opcode",          [7] = "no FPU",       [8] = "double fault",
    [9] = "segment overrun", [10] = "invalid TSS", [11] = "no segment",
    [12] = "stack",          [13] = "protection",  [14] = "page fault",
    [15] = "reserved",       [16] = "x87",         [17] = "alignment",
    [18] = "machine check",  [19] = "SIMD",        [20] = "virtualization",
    [30] = "security",
};

static const char *name_of(const char *const *names, size_t n, uint64_t i)
{
    return i < n && names[i] != NULL ? names[i] : NULL;
}

const char *abort_code_name(uint64_t code)
{
    const char *name = name_of(code_names, sizeof(code_names) / sizeof(code_names[0]), code);

    return name != NULL ? name : "unknown";
}

bool abort_take(struct abort_bytes *a, uint32_t value)
{
    unsigned n = value & 0xff, i;

    if (n > ABORT_CHUNK_MAX)
        n = ABORT_CHUNK_MAX;
    for (i = 1; i <= n; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));

        if (byte == ABORT_TERMINATOR)
            return true;
        if (a->n == ABORT_LEN_MAX) {
            a->overflow = true;
            return true;
        }
        a->bytes[a->n++] = byte;
    }
    return false;
}

void abort_decode(const struct abort_bytes *a, struct abort_info *out)
{
    static const char overflow[] = "overflow";
    const char *exception = NULL;
    size_t text = a->n < 1 ? a->n : 1;

    *out = (struct abort_info){.exception_name = ""};
    if (a->overflow) {
        memcpy(out->text, overflow, sizeof(overflow));
        out->text_len = sizeof(overflow) - 1;
    } else {
        if (a->n > 0)
            out->code = a->bytes[0];
        if (a->n > 1)
            exception =
                name_of(exception_names, sizeof(exception_names) / sizeof(exception_names[0]), a->bytes[1]);
        if (exception != NULL) {
            out->has_exception = true;
            out->exception = a->bytes[1];
            out->exception_name = exception;
            text = 2;
        }
        out->text_len = a->n - text;
        memcpy(out->text, a->bytes + text, out->text_len);
    }
    out->code_name = abort_code_name(out->code);
}
