/*
 * Saving a snapshot: what its file holds, and writing it. See snapfile.h;
 * hv/save.h makes it appear whole.
 */
#include <errno.h>
#include <stdlib.h>

#include "hv/host.h"
#include "hv/progress.h"
#include "hv/save.h"
#include "hv/snapfile.h"
#include "hv/version.h"
#include "mem/bytes.h"
#include "mem/crc32c.h"
#include "mem/format.h"
#include "mem/num.h"
#include "mem/zero.h"

#define PRODUCER "vmm " VMM_VERSION " (" VMM_FLAVOUR ")"
#define PIECE    ((uint64_t)4 << 20) /* the longest write */

_Static_assert(sizeof(PRODUCER) <= SNAP_PRODUCER_LEN, "the producer fits its field");

/* Write all but the pages of zeros, which stay holes. */
static int write_pages(const struct save *sv, uint64_t off, const uint8_t *pages, uint64_t len, struct err *e)
{
    uint64_t start, end;

    for (start = 0; start < len; start = end) {
        bool zero = zero_is(pages + start, PAGE_LEN);

        for (end = start + PAGE_LEN;
             end < len && end - start < PIECE && zero_is(pages + end, PAGE_LEN) == zero; end += PAGE_LEN)
            ;
        if (!zero && save_write(sv, off + start, pages + start, end - start, e) != 0)
            return -1;
        /* The head comes last, which is no step back. */
        if (off != 0)
            progress_step(off + end);
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
        err_memory(e, path);
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
    snapshot_free(&ignored);
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
    if (save_set_len(sv, c->file_len, e) != 0 || write_section(sv, c, SNAP_MEMORY, s->memory.base, e) != 0 ||
        write_section(sv, c, SNAP_TABLES, s->tables.base, e) != 0 ||
        write_section(sv, c, SNAP_PLACED, s->placed.base, e) != 0 ||
        save_write(sv, snap_section(&c->info, SNAP_CHUNKS)->off, c->chunks, c->chunks_len, e) != 0 ||
        write_pages(sv, 0, c->head, sizeof(c->head), e) != 0)
        return -1;
    return 0;
}

int snapfile_write(const struct snapshot *s, const char *path, struct err *e)
{
    struct content *c = make_content(s, path, e);
    struct save sv;
    int result;

    if (c == NULL)
        return -1;
    progress_begin("save", c->file_len);
    result = save_begin(&sv, path, 0, e);
    if (result == 0) {
        result = write_all(&sv, s, c, e);
        if (result == 0)
            result = save_end(&sv, 0444, e);
        else
            save_cancel(&sv);
    }
    free(c);
    return result;
}
