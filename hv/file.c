/* Files on the host. See file.h. */
#include "hv/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/args.h"
#include "hv/text.h"
#include "mem/num.h"

/* Read `len` bytes into `out`; a file that is shorter by now is refused. */
static int read_exactly(int fd, const char *path, uint8_t *out, uint64_t len, struct err *e)
{
    uint64_t done = 0;

    while (done < len) {
        ssize_t n = read(fd, out + done, len - done);

        if (n < 0) {
            int errnum = errno;

            if (errnum == EINTR)
                continue;
            return err_set_errno(e, STATUS_IMAGE, errnum, "%s: cannot read", path);
        }
        if (n == 0)
            return err_image(e, "%s: shrank while it was read (%" PRIu64 " bytes, %" PRIu64 " wanted)", path,
                             done, len);
        done += (uint64_t)n;
    }
    return 0;
}

static int read_open(int fd, const char *path, uint64_t max, struct file *out, struct err *e)
{
    struct file f = {.len = 0};
    struct stat st;
    uint64_t map_len;

    if (fstat(fd, &st) != 0) {
        int errnum = errno;

        return err_set_errno(e, STATUS_IMAGE, errnum, "%s: cannot stat", path);
    }
    if (!S_ISREG(st.st_mode))
        return err_image(e, "%s: not a regular file", path);
    f.len = (uint64_t)st.st_size;
    if (f.len > max || !num_page_up(f.len, &map_len))
        return err_image(e, "%s: too large (%" PRIu64 " bytes, at most %" PRIu64 ")", path, f.len, max);
    if (f.len != 0 &&
        (region_map(&f.map, map_len, e) != 0 || read_exactly(fd, path, f.map.base, f.len, e) != 0)) {
        file_free(&f);
        return -1;
    }
    *out = f;
    return 0;
}

int file_read(const char *path, uint64_t max, struct file *out, struct err *e)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int result;

    if (fd < 0) {
        int errnum = errno;
        bool missing = errnum == ENOENT || errnum == ENOTDIR;

        return err_set_errno(e, missing ? STATUS_NOT_FOUND : STATUS_IMAGE, errnum, "%s: cannot open", path);
    }
    result = read_open(fd, path, max, out, e);
    close(fd);
    return result;
}

void file_free(struct file *f)
{
    region_unmap(&f->map);
    f->len = 0;
}

int file_read_text(const char *path, uint64_t max, char **out, size_t *len, struct err *e)
{
    struct text t = TEXT_EMPTY;
    struct file f = {.len = 0};

    if (file_read(path, max, &f, e) != 0)
        return -1;
    text_add_bytes(&t, (const char *)f.map.base, f.len);
    file_free(&f);
    if (t.failed) {
        text_free(&t);
        return err_memory(e, path);
    }
    *out = t.s;
    *len = t.len;
    return 0;
}

int file_open_output(const char *option, const char *target, int *fd, struct err *e)
{
    uint64_t n = STDOUT_FILENO;
    int opened;

    if (strncmp(target, "fd:", 3) == 0 || strcmp(target, "-") == 0) {
        if (*target != '-' && args_number(option, target + 3, INT_MAX, &n, e) != 0)
            return -1;
        opened = fcntl((int)n, F_DUPFD_CLOEXEC, 3);
    } else {
        opened = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    }
    if (opened < 0)
        return err_host(e, "--%s: cannot open %s", option, target);
    *fd = opened;
    return 0;
}

int file_write_all(int fd, const char *name, const char *bytes, uint64_t len, struct err *e)
{
    while (len != 0) {
        ssize_t n = write(fd, bytes, len);

        if (n >= 0) {
            bytes += n;
            len -= (uint64_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};

            poll(&p, 1, -1);
        } else if (errno != EINTR)
            return err_host(e, "%s: cannot write", name);
    }
    return 0;
}
