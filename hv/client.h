/*
 * The client of "vmm serve": lines from descriptor 0, answers to descriptor 1,
 * and whether it is still there. Every wait ends with a stop.
 */
#ifndef HV_CLIENT_H
#define HV_CLIENT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "hv/stop.h"
#include "mem/error.h"

#define CLIENT_LINE_MAX ((size_t)16 << 20)

struct client {
    struct stop *stop;
    /* What has been read and not been used: bytes `at` to `len`, none of those before `seen` a newline. */
    char *s;
    size_t at, seen, len, cap;
    bool ended;
    bool skipping; /* the rest of a line that is too long */
    int watch;     /* hv/ktimer.h */
    struct sigaction old_action;
};

/* What came of waiting for the client. */
enum came {
    CAME,
    CAME_TOO_LONG, /* a line above CLIENT_LINE_MAX, which is lost */
    CAME_END,      /* it has no more to say */
    CAME_STOP,
    CAME_FAILURE /* *e says how (STATUS_HOST) */
};

/* One client at a time in a process, between stop_open and stop_close of `stop`. Takes over SIGIO. */
int client_open(struct client *c, struct stop *stop, struct err *e);
void client_close(struct client *c);

/*
 * The next line without its newline, which the last one need not have. It is
 * the caller's to change until the next call, with a NUL behind it. A client
 * that has closed descriptor 1 and says nothing is a failure.
 */
enum came client_line(struct client *c, char **line, size_t *len, struct err *e);

/*
 * Write it all, waiting for the client: CAME, CAME_FAILURE, or CAME_STOP for a
 * client that did not take it within a second of a stop.
 */
enum came client_write(struct client *c, const char *s, size_t len, struct err *e);

/*
 * From `on` until it is off again, which is while a guest runs: a client that
 * closes descriptor 1 is a SIGTERM within half a second, so that a guest does
 * not outlive who wanted its answer. client_is_gone: that it has been.
 */
void client_watch(struct client *c, bool on);
bool client_is_gone(void);

/* The error of a client that is gone; returns -1. */
int client_end_gone(struct err *e);

#endif
