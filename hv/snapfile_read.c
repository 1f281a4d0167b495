/* Opening a snapshot file. See snapfile.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/snapfile.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/crc32c.h"
#include "mem/num.h"
#include "mem/pristine.h"

/* Tables that are worth a file of their own. */
#define FILE_MIN ((uint64_t)32 << 10)

/* A file that is being read. */
struct source {
    int fd;
    const char *path;
    uint64_t len; /* as it was at first */
};

static int read_at(const struct source *src, uint64_t off, uint8_t *out, uint64_t len, struct err *e)
{
    while (len != 0) {
        ssize_t n = pread(src->fd, out, len, (off_t)off);

        if (n < 0) {
            int errnum = errno;

            if (errnum == EINTR)
                continue;
            return err_set_errno(e, STATUS_IMAGE, errnum, "%s: cannot read", src->path);
        }
        if (n == 0)
            return err_image(e, "%s: shrank while it was read (%" PRIu64 " bytes, %" PRIu64 " at first)",
                             src->path, off, src->len);
        out += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

static int stat_source(struct source *src, struct err *e)
{
    struct stat st;

    if (fstat(src->fd, &st) != 0) {
        int errnum = errno;

        return err_set_errno(e, STATUS_IMAGE, errnum, "%s: cannot stat", src->path);
    }
    if (!S_ISREG(st.st_mode))
        return err_image(e, "%s: not a regular file", src->path);
    src->len = (uint64_t)st.st_size;
    return 0;
}

static int read_head(const struct source *src, struct snapshot *out, struct snapfile_info *info,
                     struct err *e)
{
    const struct snap_cpu host = snapfile_host_cpu();
    uint8_t header[SNAP_HEADER_LEN] = {0};
    struct region head = {.len = 0};
    uint64_t head_len, map_len;
    int result = -1;

    /* What a short file does not have stays zero: its magic is judged first. */
    if (read_at(src, 0, header, src->len < sizeof(header) ? src->len : sizeof(header), e) != 0 ||
        snap_decode_header(header, src->len, src->path, &head_len, e) != 0)
        return -1;
    if (!num_page_up(head_len, &map_len) || region_map(&head, map_len, e) != 0)
        return -1;
    if (read_at(src, 0, head.base, head_len, e) == 0)
        result = snap_decode(head.base, head_len, src->len, src->path, &host, out, info, e);
    region_unmap(&head);
    return result;
}

/*
 * Read a section behind the head, which may not be there, and compare its
 * checksum. With `file` a large one is in a file that VMs can map, if the host lets us.
 */
static int read_section(const struct source *src, const struct snapfile_info *info, enum snap_section type,
                        struct region *out, struct pristine *file, struct err *e)
{
    const struct snapfile_section *s = snap_section(info, type);
    uint64_t map_len;
    struct err ignored;

    if (s == NULL)
        return 0; /* the plan has none */
    if (!num_page_up(s->len, &map_len) ||
        ((file == NULL || map_len < FILE_MIN || pristine_open(file, map_len, out, &ignored) != 0) &&
         region_map(out, map_len, e) != 0) ||
        read_at(src, s->off, out->base, s->len, e) != 0)
        return -1;
    if (crc32c(0, out->base, s->len) != s->crc32c)
        return err_image(e, "%s: section %s does not match its checksum", src->path, s->name);
    if (file != NULL && file->fd >= 0 && pristine_seal_under(file, out, e) != 0)
        return -1;
    return region_seal(out, e);
}

/* Compare the pages with their checksums, by reading: a file that shrinks meanwhile is an error, not a signal. */
static int verify_memory(const struct source *src, const struct snapfile_info *info,
                         const struct region *chunks, struct err *e)
{
    const struct snapfile_section *memory = snap_section(info, SNAP_MEMORY);
    struct region buffer = {.len = 0};
    uint64_t off, n;
    int result = -1;

    assert(chunks->base != NULL); /* there is no file without this section */
    if (region_map(&buffer, SNAP_CHUNK_LEN, e) != 0)
        return -1;
    for (off = 0; off < memory->len; off += n) {
        n = memory->len - off < SNAP_CHUNK_LEN ? memory->len - off : SNAP_CHUNK_LEN;
        if (read_at(src, memory->off + off, buffer.base, n, e) != 0)
            goto out;
        if (crc32c(0, buffer.base, n) != load_le32(chunks->base + off / SNAP_CHUNK_LEN * sizeof(uint32_t))) {
            err_image(e, "%s: pages do not match their checksum (at 0x%" PRIx64 ", %" PRIu64 " bytes)",
                      src->path, memory->off + off, n);
            goto out;
        }
    }
    result = 0;
out:
    region_unmap(&buffer);
    return result;
}

/* Compare all other sections: those that this reader skips may be damaged as well. */
static int verify_sections(const struct source *src, const struct snapfile_info *info, struct err *e)
{
    struct region buffer = {.len = 0};
    unsigned i;
    int result = -1;

    if (region_map(&buffer, SNAP_CHUNK_LEN, e) != 0)
        return -1;
    for (i = 0; i < info->sections_n; i++) {
        const struct snapfile_section *s = &info->sections[i];
        uint64_t done, n;
        uint32_t crc = 0;

        if (s->type == SNAP_MEMORY)
            continue;
        for (done = 0; done < s->len; done += n) {
            n = s->len - done < SNAP_CHUNK_LEN ? s->len - done : SNAP_CHUNK_LEN;
            if (read_at(src, s->off + done, buffer.base, n, e) != 0)
                goto out;
            crc = crc32c(crc, buffer.base, n);
        }
        if (crc != s->crc32c) {
            err_image(e, "%s: section %s does not match its checksum", src->path, s->name);
            goto out;
        }
    }
    result = 0;
out:
    region_unmap(&buffer);
    return result;
}

static int read_open(struct source *src, bool verify, struct snapshot *s, struct snapfile_info *info,
                     struct err *e)
{
    struct region chunks = {.len = 0};
    struct pristine tables = PRISTINE_CLOSED;
    struct source now = *src;
    int result = -1;

    if (stat_source(src, e) != 0 || read_head(src, s, info, e) != 0)
        return -1;
    if (region_map_file(&s->memory, src->fd, snap_section(info, SNAP_MEMORY)->off, s->plan.snapshot_len, e) !=
        0) {
        err_wrap(e, "%s", src->path);
        goto out;
    }
    if (read_section(src, info, SNAP_TABLES, &s->tables, &tables, e) != 0 ||
        read_section(src, info, SNAP_PLACED, &s->placed, NULL, e) != 0 ||
        read_section(src, info, SNAP_CHUNKS, &chunks, NULL, e) != 0)
        goto out;
    if (verify && (verify_memory(src, info, &chunks, e) != 0 || verify_sections(src, info, e) != 0))
        goto out;
    /* Beyond a mapped file's end there is a signal, so ask again now that it is mapped. */
    if (stat_source(&now, e) != 0)
        goto out;
    if (now.len != src->len) {
        err_image(e, "%s: changed while it was read (%" PRIu64 " bytes, %" PRIu64 " at first)", src->path,
                  now.len, src->len);
        goto out;
    }
    result = 0;
out:
    region_unmap(&chunks);
    s->has_tables_fd = tables.fd >= 0;
    s->tables_fd = tables.fd;
    if (result != 0)
        snapshot_free(s);
    return result;
}

int snapfile_read(const char *path, bool verify, struct snapshot *out, struct snapfile_info *info,
                  struct err *e)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    struct source src = {.path = path,
                         .fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    struct snapshot s = {.kind = NULL};
    struct snapfile_info i;
    int result;

    if (src.fd < 0) {
        int errnum = errno;
        bool missing = errnum == ENOENT || errnum == ENOTDIR;

        if (errnum == ELOOP)
            return err_image(e, "%s: not a regular file (a symbolic link)", path);
        return err_set_errno(e, missing ? STATUS_NOT_FOUND : STATUS_IMAGE, errnum, "%s: cannot open", path);
    }
    result = read_open(&src, verify, &s, &i, e);
    if (result != 0) {
        close(src.fd);
        return -1;
    }
    s.from_file = s.has_fd = true;
    s.file_fd = src.fd;
    s.memory_off = snap_section(&i, SNAP_MEMORY)->off;
    *out = s;
    if (info != NULL)
        *info = i;
    return 0;
}
