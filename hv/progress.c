/* The progress of a long job. See progress.h. */
#include "hv/progress.h"

#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#include "hv/host.h"
#include "mem/format.h"

#define FIRST_NS ((uint64_t)1000000000) /* after the begin */
#define AGAIN_NS ((uint64_t)100000000)
#define BAR_LEN  40

static const char bar[] = "########################################";
static const char erase[] = "\r\033[K";

_Static_assert(sizeof(bar) == BAR_LEN + 1, "a full bar");

static struct {
    const char *what;
    int fd;
    uint64_t total, next; /* `next`: when it is drawn; total 0: no job */
    bool allowed, shown, amid_line;
    bool copied; /* in a fork: its parent shows the bar */
} job;

/* A terminal that takes nothing must not hold up the job. */
static void draw(const char *s, size_t len)
{
    struct pollfd p = {.fd = job.fd, .events = POLLOUT};

    if (poll(&p, 1, 0) == 1 && write(job.fd, s, len) < 0) {
        /* A bar that cannot be seen is missed by nobody. */
    }
}

/* At the begin of a line there is a bar or nothing. */
static void make_room(void)
{
    /* A copy has seen what was there when it began; the parent may have drawn since. */
    bool there = job.shown || (job.copied && host_monotonic() >= job.next);

    if (job.total != 0 && there && !job.amid_line)
        draw(erase, sizeof(erase) - 1);
    job.shown = false;
}

void progress_allow(int fd)
{
    job.fd = fd;
    job.allowed = fd >= 0;
}

void progress_begin(const char *what, uint64_t total)
{
    if (!job.allowed || job.copied || isatty(job.fd) != 1)
        return;
    job.what = what;
    job.total = total;
    job.amid_line = false;
    job.next = host_monotonic() + FIRST_NS;
}

void progress_step(uint64_t done)
{
    unsigned part, percent;
    char line[120];
    uint64_t now;

    if (job.total == 0 || job.amid_line || job.copied)
        return;
    now = host_monotonic();
    if (now < job.next)
        return;
    job.next = now + AGAIN_NS;
    /* Totals are counts and lengths: far below 2^57. */
    percent = (unsigned)(done * 100 / job.total);
    part = (unsigned)(done * BAR_LEN / job.total);
    job.shown = true;
    draw(line, format_text(line, sizeof(line), "%s%s [%-*.*s] %u%%", erase, job.what, BAR_LEN, (int)part, bar,
                           percent));
}

void progress_end(void)
{
    if (job.copied)
        return;
    make_room();
    job.total = 0;
}

void progress_copied(void)
{
    job.copied = true;
}

void progress_make_room(int fd, const uint8_t *bytes, size_t len)
{
    if (job.total == 0 || len == 0 || isatty(fd) != 1)
        return;
    make_room();
    job.amid_line = bytes[len - 1] != '\n';
}
