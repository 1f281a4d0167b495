/*
 * The guest's output on its way to a file descriptor: bytes as they came,
 * flushed at a newline, at 4 KiB, when asked, and within 20 ms. A slow reader
 * is waited for; a stop ends the wait. Or it is gathered for whoever asks.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/stop.h"
#include "hv/text.h"
#include "mem/error.h"

#define CONSOLE_BUFFER_LEN 4096

struct expect;

struct console {
    int fd;
    struct stop *stop;
    struct text *gathered; /* NULL: it goes to fd */
    size_t gathered_max;
    bool cut;              /* there was more than gathered_max */
    bool amid_line;        /* what came last was no newline */
    struct expect *expect; /* sees every byte that is emitted; NULL = nobody does */
    size_t n;
    uint8_t bytes[CONSOLE_BUFFER_LEN];
};

/* Write to `fd`, which stays the caller's; `stop` schedules the ticks and may end a wait. Nobody else looks. */
void console_init(struct console *c, int fd, struct stop *stop);

/*
 * From now on append what is flushed to `into`, up to `max` bytes there, and
 * drop the rest; c->cut, which starts as false, says whether there was any.
 */
void console_gather(struct console *c, struct text *into, size_t max);

/*
 * Write out what is there, waiting for the reader. 0: all of it was written.
 * CONSOLE_STOPPED: a stop ended the wait, and what the reader had not taken is
 * dropped. -1 (STATUS_HOST): the descriptor takes no more.
 */
#define CONSOLE_STOPPED 1
int console_flush(struct console *c, struct err *e);

/*
 * Emit one Unicode scalar, at most 0x10ffff: values below 0x100 as that byte
 * (guests send UTF-8 byte by byte), others as UTF-8. Returns what a flush that
 * this led to returned, else 0.
 */
int console_put(struct console *c, uint32_t scalar, struct err *e);

/* Emit bytes as they are. Returns as console_put. */
int console_write(struct console *c, const uint8_t *bytes, size_t n, struct err *e);

#endif
