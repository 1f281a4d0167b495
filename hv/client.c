/* Lines of a client, and what it does not live to read. See client.h. */
#include "hv/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/host.h"
#include "hv/ktimer.h"

#define CHUNK_LEN ((size_t)64 << 10)
#define KEPT_LEN  ((size_t)1 << 20) /* a buffer that had to grow larger for once is given back */

/* How long a client may take to read the last answer once a stop has come. */
#define LAST_ANSWER_NS ((uint64_t)1000000000)

/* How often a running guest is interrupted to look for its client. */
#define WATCH_NS 500000000

static volatile sig_atomic_t client_gone;

static bool has_left(short revents)
{
    return (revents & (POLLERR | POLLHUP)) != 0;
}

/*
 * Nobody will read the answer: the guest is stopped as by a SIGTERM, so that it
 * does not outlive the client that wanted it. Only functions that a signal
 * handler may call are called.
 */
static void on_watch(int sig)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    int saved = errno;

    (void)sig;
    if (poll(&p, 1, 0) == 1 && has_left(p.revents)) {
        client_gone = 1;
        kill(getpid(), SIGTERM);
    }
    errno = saved;
}

int client_open(struct client *c, struct stop *stop, struct err *e)
{
    struct sigaction sa = {.sa_handler = on_watch, .sa_flags = SA_RESTART};

    if (ktimer_create(SIGIO, &c->watch) != 0)
        return err_host(e, "host: cannot create a timer");
    c->stop = stop;
    c->s = NULL;
    c->at = c->seen = c->len = c->cap = 0;
    c->ended = c->skipping = false;
    client_gone = 0;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGIO, &sa, &c->old_action);
    return 0;
}

void client_close(struct client *c)
{
    ktimer_delete(c->watch);
    sigaction(SIGIO, &c->old_action, NULL);
    free(c->s);
    c->s = NULL;
}

void client_watch(struct client *c, bool on)
{
    uint64_t every = on ? WATCH_NS : 0;

    ktimer_set(c->watch, every, every);
}

bool client_is_gone(void)
{
    return client_gone != 0;
}

int client_end_gone(struct err *e)
{
    return err_set(e, STATUS_HOST, "standard output: the client has closed it");
}

static bool is_stopped(const struct client *c)
{
    return stop_why(c->stop) != STOP_NONE;
}

/* A signal after the look is no loss: hv/stop repeats its kick, which ends the poll. */
static enum came await_input(const struct client *c, struct err *e)
{
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = STDOUT_FILENO}};

    while (!is_stopped(c)) {
        if (poll(p, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            err_host(e, "standard input: cannot wait");
            return CAME_FAILURE;
        }
        if (p[0].revents != 0)
            return CAME;
        if (has_left(p[1].revents)) {
            client_end_gone(e);
            return CAME_FAILURE;
        }
    }
    return CAME_STOP;
}

/* Room for a chunk, with what is unused at the front, and a NUL. */
static int make_room(struct client *c, struct err *e)
{
    size_t want = c->len - c->at + CHUNK_LEN + 1, cap = c->cap != 0 ? c->cap : 2 * CHUNK_LEN;
    char *s;

    if (c->at != 0)
        memmove(c->s, c->s + c->at, c->len - c->at);
    c->len -= c->at;
    c->seen -= c->at;
    c->at = 0;
    while (cap < want)
        cap *= 2;
    if (c->cap > KEPT_LEN && want <= KEPT_LEN)
        cap = KEPT_LEN;
    if (cap == c->cap)
        return 0;
    s = realloc(c->s, cap);
    if (s == NULL)
        return err_memory(e, "request");
    c->s = s;
    c->cap = cap;
    return 0;
}

static enum came read_chunk(struct client *c, struct err *e)
{
    enum came came;
    ssize_t n;

    if (make_room(c, e) != 0)
        return CAME_FAILURE;
    came = await_input(c, e);
    if (came != CAME)
        return came;
    n = read(STDIN_FILENO, c->s + c->len, CHUNK_LEN);
    if (n < 0) {
        if (errno == EINTR || errno == EAGAIN)
            return CAME;
        err_host(e, "standard input: cannot read");
        return CAME_FAILURE;
    }
    c->len += (size_t)n;
    c->ended = n == 0;
    return CAME;
}

/* Use up to `end`, exclusive, as a line. */
static enum came take_line(struct client *c, size_t end, size_t next, char **line, size_t *len)
{
    bool too_long = c->skipping || end - c->at > CLIENT_LINE_MAX;

    *line = c->s + c->at;
    *len = end - c->at;
    c->s[end] = '\0';
    c->at = c->seen = next;
    c->skipping = false;
    return too_long ? CAME_TOO_LONG : CAME;
}

enum came client_line(struct client *c, char **line, size_t *len, struct err *e)
{
    enum came came = CAME;

    while (came == CAME) {
        const char *newline = c->len > c->seen ? memchr(c->s + c->seen, '\n', c->len - c->seen) : NULL;

        if (newline != NULL)
            return take_line(c, (size_t)(newline - c->s), (size_t)(newline - c->s) + 1, line, len);
        c->seen = c->len;
        if (c->ended)
            return c->len > c->at || c->skipping ? take_line(c, c->len, c->len, line, len) : CAME_END;
        if (c->skipping || c->len - c->at > CLIENT_LINE_MAX) {
            c->skipping = true;
            c->at = c->len;
        }
        came = read_chunk(c, e);
    }
    return came;
}

enum came client_write(struct client *c, const char *s, size_t len, struct err *e)
{
    size_t left = len;
    uint64_t until = 0;

    while (left != 0) {
        ssize_t n = write(STDOUT_FILENO, s, left);

        if (n >= 0) {
            s += n;
            left -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            if (errno == EPIPE)
                client_end_gone(e);
            else
                err_host(e, "standard output: cannot write");
            return CAME_FAILURE;
        }
        if (left == 0 || !is_stopped(c))
            continue;
        if (until == 0)
            until = host_monotonic() + LAST_ANSWER_NS;
        else if (host_monotonic() >= until)
            return CAME_STOP;
    }
    return CAME;
}
