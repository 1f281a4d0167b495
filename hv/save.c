/* Files that appear whole. See save.h. */
#include "hv/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/host.h"
#include "mem/format.h"

#define TRIES 16

static int failed(const struct save *sv, const char *what, struct err *e)
{
    return err_host(e, "%s: cannot %s", sv->path, what);
}

/* --- the temporary ----------------------------------------------------------------------------------------- */

static int open_dir(struct save *sv, unsigned writer, struct err *e)
{
    const char *slash = strrchr(sv->path, '/');
    struct stat st;
    char *dir;

    sv->name = slash != NULL ? slash + 1 : sv->path;
    if (sv->name[0] == '\0' || strcmp(sv->name, ".") == 0 || strcmp(sv->name, "..") == 0)
        return err_set(e, STATUS_HOST, "%s: not the name of a file", sv->path);
    if (strlen(sv->name) > NAME_MAX - sizeof(".tmp"))
        return err_set(e, STATUS_HOST, "%s: the name is too long (%zu bytes, at most %zu)", sv->path,
                       strlen(sv->name), NAME_MAX - sizeof(".tmp"));
    if (writer == 0)
        format_text(sv->temp, sizeof(sv->temp), ".%s.tmp", sv->name);
    else
        format_text(sv->temp, sizeof(sv->temp), ".vmm-%u.tmp", writer);
    dir = slash == NULL ? strdup(".") : strndup(sv->path, slash == sv->path ? 1 : (size_t)(slash - sv->path));
    if (dir == NULL)
        return err_memory(e, sv->path);
    sv->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sv->dir < 0)
        failed(sv, "open its directory", e);
    free(dir);
    if (sv->dir < 0)
        return -1;
    /* A rename would put a file in the place of a device as well. */
    if (fstatat(sv->dir, sv->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, STATUS_HOST, "%s: is there, and is not a regular file", sv->path);
    return 0;
}

/* Whether the temporary's name still leads to the open file. */
static bool is_named(const struct save *sv, int fd)
{
    struct stat at_name, open_file;

    return fstatat(sv->dir, sv->temp, &at_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &open_file) == 0 &&
           at_name.st_dev == open_file.st_dev && at_name.st_ino == open_file.st_ino;
}

static int remove_stale(const struct save *sv, struct err *e)
{
    int fd = openat(sv->dir, sv->temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    int result = 0;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : failed(sv, "open what an earlier save left", e);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        result = err_set(e, STATUS_HOST, "%s: cannot save, %s is in the way", sv->path, sv->temp);
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        result = errno == EWOULDBLOCK
                     ? err_set(e, STATUS_HOST, "%s: another process is saving to it", sv->path)
                     : failed(sv, "lock what an earlier save left", e);
    else if (is_named(sv, fd) && unlinkat(sv->dir, sv->temp, 0) != 0)
        result = failed(sv, "remove what an earlier save left", e);
    close(fd);
    return result;
}

static int make_temp(struct save *sv, struct err *e)
{
    unsigned i;

    for (i = 0; i < TRIES; i++) {
        int fd = openat(sv->dir, sv->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0 && errno == EEXIST) {
            if (remove_stale(sv, e) != 0)
                return -1;
            continue;
        }
        if (fd < 0)
            return failed(sv, "create a temporary file", e);
        /* Until it has its lock another writer may take it for a stale one. */
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_named(sv, fd)) {
            sv->fd = fd;
            return 0;
        }
        if (errno != EWOULDBLOCK && is_named(sv, fd)) {
            failed(sv, "lock a temporary file", e);
            unlinkat(sv->dir, sv->temp, 0);
            close(fd);
            return -1;
        }
        close(fd);
    }
    return err_set(e, STATUS_HOST, "%s: another process is saving to it", sv->path);
}

/* --- its bytes ------------------------------------------------------------------------------------------- */

int save_write(const struct save *sv, uint64_t off, const void *bytes, uint64_t len, struct err *e)
{
    const uint8_t *p = (const uint8_t *)bytes;

    while (len != 0) {
        ssize_t n = pwrite(sv->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0)
                errno = ENOSPC;
            return failed(sv, "write", e);
        }
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int save_set_len(const struct save *sv, uint64_t len, struct err *e)
{
    return ftruncate(sv->fd, (off_t)len) == 0 ? 0 : failed(sv, "write", e);
}

/* The directory is on the disk, or its file system (EINVAL) has nothing to sync. */
static int sync_dir(const struct save *sv, struct err *e)
{
    if (fsync(sv->dir) == 0 || errno == EINVAL)
        return 0;
    return failed(sv, "write its directory to the disk", e);
}

static void close_both(struct save *sv)
{
    if (sv->fd >= 0)
        close(sv->fd);
    if (sv->dir >= 0)
        close(sv->dir);
}

int save_begin(struct save *sv, const char *path, unsigned writer, struct err *e)
{
    *sv = (struct save){.path = path, .dir = -1, .fd = -1};
    if (open_dir(sv, writer, e) == 0 && make_temp(sv, e) == 0)
        return 0;
    close_both(sv);
    return -1;
}

void save_cancel(struct save *sv)
{
    unlinkat(sv->dir, sv->temp, 0);
    close_both(sv);
}

int save_begin_alone(struct save *sv, const char *path, struct err *e)
{
    unsigned writer;

    return host_random((uint8_t *)&writer, sizeof(writer), e) == 0 ? save_begin(sv, path, writer | 1, e) : -1;
}

int save_check_path(const char *path, struct err *e)
{
    struct save sv;

    if (save_begin_alone(&sv, path, e) != 0)
        return -1;
    save_cancel(&sv);
    return 0;
}

int save_end(struct save *sv, unsigned mode, struct err *e)
{
    int result = 0;

    if (fchmod(sv->fd, mode) != 0)
        result = failed(sv, "change its mode", e);
    else if (fsync(sv->fd) != 0)
        result = failed(sv, "write to the disk", e);
    else if (renameat(sv->dir, sv->temp, sv->dir, sv->name) != 0)
        result = failed(sv, "rename a temporary file", e);
    if (result != 0) {
        save_cancel(sv);
        return -1;
    }
    result = sync_dir(sv, e);
    close_both(sv);
    return result;
}
