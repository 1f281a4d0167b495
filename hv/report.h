/*
 * How a guest ended, and what the user hears of it: a line and a register
 * dump on stderr, one JSON object for --report.
 */
#ifndef HV_REPORT_H
#define HV_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/cpu.h"
#include "hv/abort.h"
#include "hv/exit.h"
#include "hv/text.h"
#include "mem/error.h"
#include "mem/message.h"

enum reason {
    REASON_ENDED,
    REASON_CALL_ERROR, /* a called function returned an error */
    REASON_RESET,      /* a bare guest asked for a reset */
    REASON_EXPECTED,   /* it did what was expected of it, and may have been ended then */
    REASON_UNEXPECTED, /* it did not */
    REASON_ABORTED,
    REASON_FAULTED,
    REASON_TIMEOUT,
    REASON_SIGNAL,
    REASON_COPIES,      /* not all copies ended with 0 */
    REASON_UNSUPPORTED, /* this host cannot run it */
    REASON_ERROR,       /* never ran, or the host failed: see the error */
};

/* What is left of the vCPU when a guest faulted. */
enum registers { REGISTERS_NONE, REGISTERS_SHOWN, REGISTERS_RESET_BY_KVM };

/* Something a bare guest accessed and nothing answers: an I/O port, or a page where there is no memory. */
struct unknown_access {
    uint64_t at; /* port or physical address of the first access */
    uint64_t n;
    uint8_t width; /* bytes */
    bool write, memory;
};

#define UNKNOWN_MAX 64

struct outcome {
    enum reason reason;
    enum status status;
    const char *kind; /* NULL before it is known */
    enum registers registers;
    unsigned addr_digits; /* of a guest address */
    uint64_t exits_n;
    uint64_t ran_ns; /* wall time inside the run loop */
    bool bare;       /* `unknown` is there */
    bool amid_line;  /* the guest's output ends without a newline */
    unsigned unknown_n;
    uint64_t unknown_all;  /* accesses, listed or not */
    struct exit last_exit; /* if exits_n is not 0 */
    /* What follows takes pages of memory only where a guest did not just end. */
    struct err why;          /* text empty when the guest ended by itself */
    struct err no_core;      /* why a core that was asked for is not there; text empty when it is */
    struct abort_info abort; /* of one that aborted */
    struct cpu_regs regs;    /* shown */
    struct cpu_sregs sregs;
    struct unknown_access unknown[UNKNOWN_MAX]; /* the first ones */
};

/* An outcome for a guest that never ran because of `why`. */
struct outcome outcome_of_error(const struct err *why);

/* What goes to stderr: nothing when the guest ended by itself. Each line ends with a newline. */
void report_text(const struct outcome *o, struct text *out);

/* What nothing answered, one line each, as said with -v. */
void report_unknown(const struct outcome *o, struct text *out);

/* "in port 0x3c0, 1 byte" into text[len]: what such an access is called. */
void report_access(const struct unknown_access *u, char *text, size_t len);

/*
 * One JSON object and a newline. `version` is that of the object's members;
 * `calls` the items of its array of calls, empty when there were none.
 */
#define REPORT_VERSION 1
void report_json(const struct outcome *o, const struct text *calls, struct text *out);

/* {"name":...,"result":{...}} or {"name":...,"error":{"code":...,"message":...}} */
void report_call(const char *name, const struct msg_result *r, struct text *out);

/* "vmm: text" and, with a hint, "hint: ..." on a line of its own. */
void report_error(const struct err *e, struct text *out);

#endif
