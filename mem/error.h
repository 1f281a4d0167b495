/*
 * Errors: what went wrong, as data. Nothing here prints or exits.
 *
 * A function that can fail returns 0 or -1 and takes `struct err *` last. On
 * success *e is untouched; on failure *e is filled by whoever knows the cause
 * and every out-argument is untouched. The first failure wins: callers may
 * prefix context with err_wrap, never replace.
 */
#ifndef MEM_ERROR_H
#define MEM_ERROR_H

#if !defined(__x86_64__) || defined(__ILP32__)
#error "vmm runs on 64-bit x86 Linux hosts only: build it for x86-64 (without -m32 or -mx32)"
#endif

#include <stdarg.h>

/*
 * Exit statuses of vmm, README "Exit status". A struct err carries the one it
 * leads to, so no table translates errors into statuses.
 */
enum status {
    STATUS_OK = 0,
    STATUS_USAGE = 64,
    STATUS_UNSUPPORTED = 77, /* this host cannot run this guest */
    STATUS_RESET = 121,
    STATUS_CALL_ERROR = 122,
    STATUS_EXPECTATION = 123,
    STATUS_TIMEOUT = 124,
    STATUS_HOST = 125,  /* a host call failed, or a bug in vmm */
    STATUS_IMAGE = 126, /* image or snapshot refused */
    STATUS_NOT_FOUND = 127,
    STATUS_INTERRUPTED = 130,
    STATUS_ABORTED = 134,
    STATUS_FAULTED = 139,
    STATUS_TERMINATED = 143,
};

struct err {
    enum status status;
    char text[400]; /* "<object>: <what is wrong> (<value>, <limit>)", one line, no full stop */
    char hint[300]; /* empty, or one thing the reader can do about it */
};

/* Record a failure and return -1. Replaces whatever *e held, hint included. */
int err_set(struct err *e, enum status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* err_set with ": " and the text of errno value `errnum` appended; `errnum` is the caller's saved errno. */
int err_set_errno(struct err *e, enum status status, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The three that are needed most: err_set with STATUS_IMAGE and STATUS_USAGE; err_set_errno with STATUS_HOST and errno. */
int err_image(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int err_usage(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int err_host(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* There is no memory for `what`: STATUS_HOST. */
int err_memory(struct err *e, const char *what);

/* Put `prefix` and ": " in front of the text of an error that was set; returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Attach the hint to an error that was set; returns -1. */
int err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
