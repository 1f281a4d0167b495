/*
 * Saving a snapshot: into a temporary file beside the wanted one, which takes
 * its place when all of it is on the disk. See snapfile.h.
 *
 * The temporary's name is fixed, and its writer holds a lock on it: one that
 * nobody holds was left by a writer that was killed, and is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/host.h"
#include "hv/snapfile.h"
#include "hv/version.h"
#include "mem/bytes.h"
#include "mem/crc32c.h"
#include "mem/format.h"
#include "mem/num.h"
#include "mem/zero.h"

#define PRODUCER "vmm " VMM_VERSION " (" VMM_FLAVOUR ")"
#define TRIES    16

_Static_assert(sizeof(PRODUCER) <= SNAP_PRODUCER_LEN, "the producer fits its field");

/* A save under way. */
struct save {
    const char *path, *name; /* `name`: the last part of `path` */
    char temp[NAME_MAX + 1];
    int dir, fd; /* of the directory, and of the temporary with its lock; -1 */
};

/* After a call that failed. */
static int failed(const struct save *sv, const char *what, struct err *e)
{
    int errnum = errno;

    return err_set_errno(e, STATUS_HOST, errnum, "%s: cannot %s", sv->path, what);
}

/* --- the temporary ----------------------------------------------------------------------------------------- */

static int open_dir(struct save *sv, struct err *e)
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
    format_text(sv->temp, sizeof(sv->temp), ".%s.tmp", sv->name);
    dir = slash == NULL ? strdup(".") : strndup(sv->path, slash == sv->path ? 1 : (size_t)(slash - sv->path));
    if (dir == NULL)
        return err_set_errno(e, STATUS_HOST, ENOMEM, "host memory: %s", sv->path);
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

static int write_at(const struct save *sv, uint64_t off, const uint8_t *bytes, uint64_t len, struct err *e)
{
    while (len != 0) {
        ssize_t n = pwrite(sv->fd, bytes, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0)
                errno = ENOSPC;
            return failed(sv, "write", e);
        }
        bytes += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

/* Write all but the pages of zeros, which stay holes. */
static int write_pages(const struct save *sv, uint64_t off, const uint8_t *pages, uint64_t len, struct err *e)
{
    uint64_t start, end;

    for (start = 0; start < len; start = end) {
        bool zero = zero_is(pages + start, PAGE_LEN);

        for (end = start + PAGE_LEN; end < len && zero_is(pages + end, PAGE_LEN) == zero; end += PAGE_LEN)
            ;
        if (!zero && write_at(sv, off + start, pages + start, end - start, e) != 0)
            return -1;
    }
    return 0;
}

/* The checksums of the pages, `len` bytes of them. */
static void sum_chunks(const struct region *memory, uint8_t *chunks, uint64_t len)
{
    uint64_t i;

    for (i = 0; i < len / sizeof(uint32_t); i++) {
        uint64_t off = i * SNAP_CHUNK_LEN, rest = memory->len - off;

        store_le32(chunks + i * sizeof(uint32_t),
                   crc32c(0, memory->base + off, rest < SNAP_CHUNK_LEN ? rest : SNAP_CHUNK_LEN));
    }
}

/* A file as a whole, but for the pages: what is written is what was read back and found good. */
struct content {
    uint8_t head[SNAP_CHUNK_LEN];
    uint64_t file_len, chunks_len;
    struct snapfile_info info;
    uint8_t chunks[]; /* chunks_len bytes */
};

/* NULL on failure; the caller frees it. */
static struct content *make_content(const struct snapshot *s, const char *path, struct err *e)
{
    uint64_t chunks_len = snap_chunks_len(s->memory.len);
    struct content *c = calloc(1, sizeof(*c) + chunks_len);
    struct snap_stamp stamp = {
        .created_ns = host_wall_clock(),
        .producer = PRODUCER,
        .cpu = snapfile_host_cpu(),
        .tables_crc = crc32c(0, s->tables.base, s->tables.len),
        .placed_crc = crc32c(0, s->placed.base, s->placed.len),
    };
    struct snapshot ignored;

    if (c == NULL) {
        err_set_errno(e, STATUS_HOST, ENOMEM, "host memory: %s", path);
        return NULL;
    }
    c->chunks_len = chunks_len;
    sum_chunks(&s->memory, c->chunks, chunks_len);
    stamp.chunks_crc = crc32c(0, c->chunks, chunks_len);
    c->file_len = snap_encode(s, &stamp, c->head);
    if (snap_decode(c->head, sizeof(c->head), c->file_len, path, &stamp.cpu, &ignored, &c->info, e) != 0) {
        free(c);
        return NULL;
    }
    return c;
}

static int write_section(const struct save *sv, const struct content *c, enum snap_section type,
                         const uint8_t *pages, struct err *e)
{
    const struct snapfile_section *s = snap_section(&c->info, type);

    return s == NULL ? 0 : write_pages(sv, s->off, pages, s->len, e);
}

static int write_all(const struct save *sv, const struct snapshot *s, const struct content *c, struct err *e)
{
    if (ftruncate(sv->fd, (off_t)c->file_len) != 0)
        return failed(sv, "write", e);
    if (write_section(sv, c, SNAP_MEMORY, s->memory.base, e) != 0 ||
        write_section(sv, c, SNAP_TABLES, s->tables.base, e) != 0 ||
        write_section(sv, c, SNAP_PLACED, s->placed.base, e) != 0 ||
        write_at(sv, snap_section(&c->info, SNAP_CHUNKS)->off, c->chunks, c->chunks_len, e) != 0 ||
        write_pages(sv, 0, c->head, sizeof(c->head), e) != 0)
        return -1;
    if (fchmod(sv->fd, 0444) != 0)
        return failed(sv, "change its mode", e);
    if (fsync(sv->fd) != 0)
        return failed(sv, "write to the disk", e);
    return 0;
}

/* The directory is on the disk, or its file system (EINVAL) has nothing to sync. */
static int sync_dir(const struct save *sv, struct err *e)
{
    if (fsync(sv->dir) == 0 || errno == EINVAL)
        return 0;
    return failed(sv, "write its directory to the disk", e);
}

static int save(struct save *sv, const struct snapshot *s, const struct content *c, struct err *e)
{
    if (open_dir(sv, e) != 0 || make_temp(sv, e) != 0)
        return -1;
    if (write_all(sv, s, c, e) != 0 || (renameat(sv->dir, sv->temp, sv->dir, sv->name) != 0 &&
                                        failed(sv, "rename a temporary file", e) != 0)) {
        unlinkat(sv->dir, sv->temp, 0);
        return -1;
    }
    return sync_dir(sv, e);
}

int snapfile_write(const struct snapshot *s, const char *path, struct err *e)
{
    struct save sv = {.path = path, .dir = -1, .fd = -1};
    struct content *c = make_content(s, path, e);
    int result;

    if (c == NULL)
        return -1;
    result = save(&sv, s, c, e);
    if (sv.fd >= 0)
        close(sv.fd);
    if (sv.dir >= 0)
        close(sv.dir);
    free(c);
    return result;
}
