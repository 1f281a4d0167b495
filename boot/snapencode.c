/* Writing the head of a snapshot file. See snapdecode.h; the bytes are told in snapformat.h. */
#include <string.h>

#include "boot/snapdecode.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/crc32c.h"
#include "mem/num.h"

#define SECTIONS_N 9u /* at most, in one file */

/* All small sections fit a head of one chunk: those of a bare kernel do, and NOTE is one number. */
_Static_assert(SNAP_HEADER_LEN + SECTIONS_N * SNAP_ENT_SIZE + 4 * SNAP_FIELDS_MAX + BARE_STATE_MAX <=
                   SNAP_CHUNK_LEN,
               "the head has room");

/* The table while it is filled, and where the next section goes. */
struct table {
    uint8_t *at;
    unsigned n;
    uint64_t off;
};

static void add_section(struct table *t, enum snap_section type, uint64_t len, uint32_t crc)
{
    uint8_t *ent = t->at + (size_t)t->n * SNAP_ENT_SIZE;

    if (len == 0)
        return;
    store_le32(ent + SNAP_ENT_TYPE, (uint32_t)type);
    store_le16(ent + SNAP_ENT_VERSION, SNAP_SECTION_VERSION);
    store_le16(ent + SNAP_ENT_FLAGS, SNAP_FLAG_REQUIRED);
    store_le64(ent + SNAP_ENT_OFF, t->off);
    store_le64(ent + SNAP_ENT_LEN, len);
    store_le32(ent + SNAP_ENT_CRC, crc);
    t->n++;
    t->off += len;
}

/* One whose bytes are in the head already. */
static void add_small(struct table *t, const uint8_t *head, enum snap_section type, uint64_t len)
{
    add_section(t, type, len, crc32c(0, head + t->off, len));
}

static void add_fields(struct table *t, uint8_t *head, enum snap_section type, const void *of)
{
    add_small(t, head, type, snap_write(type, of, head + t->off));
}

uint64_t snap_encode(const struct snapshot *s, const struct snap_stamp *stamp, uint8_t *head)
{
    struct table t = {
        .at = head + SNAP_HEADER_LEN,
        .off = SNAP_HEADER_LEN + SECTIONS_N * SNAP_ENT_SIZE,
    };
    struct snap_plan plan = {.plan = s->plan};

    assert(strlen(stamp->producer) < SNAP_PRODUCER_LEN);
    if (s->bare != NULL) {
        const struct bare_machine *m = s->bare;

        add_fields(&t, head, SNAP_MACHINE, s);
        memcpy(head + t.off, m->state, m->state_len);
        add_small(&t, head, SNAP_STATE, m->state_len);
        memcpy(head + t.off, m->devices, m->devices_len);
        add_small(&t, head, SNAP_DEVICES, m->devices_len);
    } else {
        assert(strlen(s->kind->name) < sizeof(plan.kind));
        memcpy(plan.kind, s->kind->name, strlen(s->kind->name));
        add_fields(&t, head, SNAP_PLAN, &plan);
        add_fields(&t, head, SNAP_CPU, s);
        add_fields(&t, head, SNAP_ROOTS, s);
    }
    add_fields(&t, head, SNAP_COMPAT, &stamp->cpu);
    if (s->promises != 0) {
        store_le64(head + t.off, s->promises);
        add_small(&t, head, SNAP_NOTE, SNAP_NOTE_LEN);
    }
    t.off = SNAP_CHUNK_LEN;
    add_section(&t, SNAP_MEMORY, s->plan.snapshot_len, 0);
    add_section(&t, SNAP_TABLES, s->plan.pt_len, stamp->tables_crc);
    add_section(&t, SNAP_PLACED, s->plan.placed_len, stamp->placed_crc);
    add_section(&t, SNAP_CHUNKS, snap_chunks_len(s->plan.snapshot_len), stamp->chunks_crc);

    store_le64(head + SNAP_HDR_MAGIC, SNAP_MAGIC);
    store_le32(head + SNAP_HDR_FORMAT, SNAP_FORMAT);
    store_le32(head + SNAP_HDR_MIN_READER, SNAP_FORMAT);
    store_le32(head + SNAP_HDR_HEADER_LEN, SNAP_HEADER_LEN);
    store_le32(head + SNAP_HDR_PAGE_LEN, PAGE_LEN);
    store_le64(head + SNAP_HDR_FILE_LEN, t.off);
    store_le64(head + SNAP_HDR_HEAD_LEN, SNAP_CHUNK_LEN);
    store_le32(head + SNAP_HDR_SECTIONS_N, t.n);
    store_le32(head + SNAP_HDR_TABLE_CRC, crc32c(0, t.at, (size_t)t.n * SNAP_ENT_SIZE));
    store_le64(head + SNAP_HDR_CREATED, stamp->created_ns);
    memcpy(head + SNAP_HDR_PRODUCER, stamp->producer, strlen(stamp->producer));
    store_le32(head + SNAP_HDR_CRC, crc32c(0, head, SNAP_HDR_CRC));
    return t.off;
}
