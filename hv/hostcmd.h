/*
 * A host function that is a command of the host: argument on its standard
 * input, result from its standard output. No shell is involved, and the
 * command inherits nothing of the guest but descriptor 2.
 */
#ifndef HV_HOSTCMD_H
#define HV_HOSTCMD_H

#include <stddef.h>
#include <stdint.h>

#include "hv/stop.h"
#include "hv/text.h"
#include "mem/error.h"

#define HOSTCMD_WORDS_MAX  32
#define HOSTCMD_OUTPUT_MAX ((size_t)64 << 20)

enum hostcmd_end {
    HOSTCMD_OK,      /* it ended with status 0 */
    HOSTCMD_FAILED,  /* it could not start, ended otherwise or said too much: `why` tells */
    HOSTCMD_STOPPED, /* a stop came first; it was killed */
};

/*
 * Run `command`, words separated by blanks, found by PATH when its first word
 * has no slash. Its whole process group is killed when a stop comes, and when
 * it leaves something running behind, which is not waited for. `out` receives
 * what it wrote. The process must ignore SIGPIPE; the command does not.
 */
enum hostcmd_end hostcmd_run(const char *command, const uint8_t *input, size_t input_len,
                             const struct stop *stop, struct text *out, struct err *why);

#endif
