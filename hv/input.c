/* Input from the user. See input.h. */
#include "hv/input.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define KEY_END 0x1d /* ^] */

/* Keys as they come. What is printed is still processed: a guest that ends lines with LF is readable. */
static void make_raw(struct input *in, int fd)
{
    struct termios t;

    /* A job in the background would be stopped for changing its terminal. */
    if (tcgetattr(fd, &in->saved) != 0 || tcgetpgrp(fd) != getpgrp())
        return;
    t = in->saved;
    t.c_iflag &= ~(tcflag_t)(BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    t.c_cc[VINTR] = KEY_END;
    t.c_cc[VQUIT] = _POSIX_VDISABLE;
    t.c_cc[VSUSP] = _POSIX_VDISABLE;
    if (tcsetattr(fd, TCSANOW, &t) == 0)
        in->tty = fd;
}

void input_open(struct input *in, int fd)
{
    *in = (struct input){.fd = fd, .tty = -1};
    make_raw(in, fd);
}

void input_close(struct input *in)
{
    if (in->tty >= 0)
        tcsetattr(in->tty, TCSANOW, &in->saved);
    *in = INPUT_NONE;
}

size_t input_take(struct input *in, uint8_t *bytes, size_t room)
{
    struct pollfd p = {.fd = in->fd, .events = POLLIN};
    ssize_t n;

    if (in->fd < 0 || in->dry || room == 0)
        return 0;
    in->dry = true;
    if (poll(&p, 1, 0) <= 0)
        return 0;
    n = read(in->fd, bytes, room);
    if (n > 0) {
        in->dry = false;
        return (size_t)n;
    }
    if (n == 0 || (errno != EINTR && errno != EAGAIN))
        in->fd = -1;
    return 0;
}
