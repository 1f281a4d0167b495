/* Guest output. See console.h. */
#include "hv/console.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "hv/expect.h"
#include "hv/progress.h"

void console_init(struct console *c, int fd, struct stop *stop)
{
    c->fd = fd;
    c->stop = stop;
    c->gathered = NULL;
    c->expect = NULL;
    c->amid_line = false;
    c->n = 0;
}

void console_gather(struct console *c, struct text *into, size_t max)
{
    c->gathered = into;
    c->gathered_max = max;
    c->cut = false;
    c->n = 0;
}

static void gather(struct console *c)
{
    size_t room = c->gathered->len < c->gathered_max ? c->gathered_max - c->gathered->len : 0;

    c->cut = c->cut || c->n > room;
    text_add_bytes(c->gathered, (const char *)c->bytes, c->n < room ? c->n : room);
    c->n = 0;
}

int console_flush(struct console *c, struct err *e)
{
    size_t done = 0;
    int result = 0;

    if (c->gathered != NULL) {
        gather(c);
        return 0;
    }
    progress_make_room(c->fd, c->bytes, c->n);
    while (done < c->n && result == 0) {
        ssize_t n = write(c->fd, c->bytes + done, c->n - done);

        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (errno == EAGAIN) {
            struct pollfd p = {.fd = c->fd, .events = POLLOUT};

            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            c->n = 0;
            return err_host(e, "guest output: cannot write");
        }
        if (stop_why(c->stop) != STOP_NONE)
            result = CONSOLE_STOPPED;
    }
    c->n = 0;
    return result;
}

static size_t encode_utf8(uint32_t c, uint8_t out[4])
{
    if (c < 0x100) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

int console_put(struct console *c, uint32_t scalar, struct err *e)
{
    uint8_t bytes[4];
    size_t n = encode_utf8(scalar, bytes);

    c->amid_line = scalar != '\n';
    if (c->expect != NULL)
        expect_feed(c->expect, bytes, n);
    if (c->n + n > CONSOLE_BUFFER_LEN) {
        int result = console_flush(c, e);

        if (result != 0)
            return result;
    }
    memcpy(c->bytes + c->n, bytes, n);
    c->n += n;
    if (scalar == '\n' || c->n == CONSOLE_BUFFER_LEN)
        return console_flush(c, e);
    if (c->gathered == NULL)
        stop_tick(c->stop);
    return 0;
}

int console_write(struct console *c, const uint8_t *bytes, size_t n, struct err *e)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int result = console_put(c, bytes[i], e);

        if (result != 0)
            return result;
    }
    return 0;
}
