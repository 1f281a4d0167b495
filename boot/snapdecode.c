/* Reading the head of a snapshot file. See snapdecode.h; the bytes are told in snapformat.h. */
#include "boot/snapdecode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "boot/snapcheck.h"
#include "mem/bytes.h"
#include "mem/crc32c.h"
#include "mem/format.h"
#include "mem/num.h"
#include "mem/zero.h"

enum place { IN_HEAD, BEHIND_HEAD };
enum presence { ALWAYS, OF_ABI, OF_BARE, WHEN_NOT_EMPTY, PERHAPS_OF_ABI };

static const struct known {
    enum snap_section type;
    const char *name;
    enum place place;
    enum presence presence;
} known[] = {
    {SNAP_PLAN, "PLAN", IN_HEAD, OF_ABI},
    {SNAP_CPU, "CPU", IN_HEAD, OF_ABI},
    {SNAP_ROOTS, "ROOTS", IN_HEAD, OF_ABI},
    {SNAP_COMPAT, "COMPAT", IN_HEAD, ALWAYS},
    {SNAP_NOTE, "NOTE", IN_HEAD, PERHAPS_OF_ABI},
    {SNAP_MEMORY, "MEMORY", BEHIND_HEAD, ALWAYS},
    {SNAP_TABLES, "TABLES", BEHIND_HEAD, WHEN_NOT_EMPTY},
    {SNAP_PLACED, "PLACED", BEHIND_HEAD, WHEN_NOT_EMPTY},
    {SNAP_CHUNKS, "CHUNKS", BEHIND_HEAD, ALWAYS},
    {SNAP_MACHINE, "MACHINE", IN_HEAD, OF_BARE},
    {SNAP_STATE, "STATE", IN_HEAD, OF_BARE},
    {SNAP_DEVICES, "DEVICES", IN_HEAD, OF_BARE},
};

#define KNOWN_N (sizeof(known) / sizeof(known[0]))

static const struct known *find_known(uint32_t type)
{
    unsigned i;

    for (i = 0; i < KNOWN_N; i++)
        if ((uint32_t)known[i].type == type)
            return &known[i];
    return NULL;
}

const struct snapfile_section *snap_section(const struct snapfile_info *info, enum snap_section type)
{
    unsigned i;

    for (i = 0; i < info->sections_n; i++)
        if (info->sections[i].type == (uint32_t)type)
            return &info->sections[i];
    return NULL;
}

uint64_t snap_chunks_len(uint64_t memory_len)
{
    return (memory_len / SNAP_CHUNK_LEN + (memory_len % SNAP_CHUNK_LEN != 0)) * sizeof(uint32_t);
}

/* --- header ------------------------------------------------------------------------------------------ */

/* A field that can have one value only. */
static int demand(const char *name, uint64_t is, uint64_t wanted, struct err *e)
{
    if (is == wanted)
        return 0;
    return err_image(e, "%s is wrong (0x%" PRIx64 ", 0x%" PRIx64 ")", name, is, wanted);
}

/* Whether this is a file for this reader, and undamaged; before that nothing else in it means anything. */
static int check_kind_of_file(const uint8_t *h, struct err *e)
{
    uint32_t format = load_le32(h + SNAP_HDR_FORMAT), min_reader = load_le32(h + SNAP_HDR_MIN_READER);

    if (load_le64(h + SNAP_HDR_MAGIC) != SNAP_MAGIC)
        return err_image(e, "not a snapshot file");
    if (min_reader > SNAP_FORMAT) {
        err_image(e, "format %" PRIu32 " is for readers of format %" PRIu32 " (this vmm reads %u)", format,
                  min_reader, SNAP_FORMAT);
        return err_hint(e, "use a newer vmm, or take the snapshot again with this one");
    }
    if (min_reader == 0 || format < min_reader)
        return err_image(e, "there is no format %" PRIu32 " for readers of format %" PRIu32, format,
                         min_reader);
    return demand("checksum of the header", crc32c(0, h, SNAP_HDR_CRC), load_le32(h + SNAP_HDR_CRC), e);
}

static int read_header(const uint8_t *h, uint64_t file_len, struct snapfile_info *info, struct err *e)
{
    if (check_kind_of_file(h, e) != 0 ||
        demand("header length", load_le32(h + SNAP_HDR_HEADER_LEN), SNAP_HEADER_LEN, e) != 0 ||
        demand("page length", load_le32(h + SNAP_HDR_PAGE_LEN), PAGE_LEN, e) != 0 ||
        demand("flags", load_le64(h + SNAP_HDR_FLAGS), 0, e) != 0)
        return -1;
    info->format = load_le32(h + SNAP_HDR_FORMAT);
    info->min_reader = load_le32(h + SNAP_HDR_MIN_READER);
    info->file_len = load_le64(h + SNAP_HDR_FILE_LEN);
    if (info->file_len != file_len)
        return err_image(e, "%s (%" PRIu64 " bytes, %" PRIu64 " written)",
                         file_len < info->file_len ? "truncated" : "something was added", file_len,
                         info->file_len);
    info->sections_n = load_le32(h + SNAP_HDR_SECTIONS_N);
    if (info->sections_n > SNAP_SECTIONS_MAX)
        return err_image(e, "too many sections (%u, at most %u)", info->sections_n, SNAP_SECTIONS_MAX);
    info->head_len = load_le64(h + SNAP_HDR_HEAD_LEN);
    if (info->head_len > SNAP_HEAD_MAX || info->head_len > file_len ||
        info->head_len < SNAP_HEADER_LEN + info->sections_n * SNAP_ENT_SIZE)
        return err_image(e, "the head cannot be of this length (%" PRIu64 ")", info->head_len);
    info->created_ns = load_le64(h + SNAP_HDR_CREATED);
    if (!snap_is_text(h + SNAP_HDR_PRODUCER, SNAP_PRODUCER_LEN))
        return err_image(e, "producer is not text");
    memcpy(info->producer, h + SNAP_HDR_PRODUCER, SNAP_PRODUCER_LEN);
    /* A later format may have put something there that may be ignored. */
    if (info->format == SNAP_FORMAT && !zero_is(h + SNAP_HDR_END, SNAP_HDR_CRC - SNAP_HDR_END))
        return err_image(e, "the header holds something that is not known");
    return 0;
}

int snap_decode_header(const uint8_t *header, uint64_t file_len, const char *name, uint64_t *head_len,
                       struct err *e)
{
    struct snapfile_info info = {.file_len = 0};

    if (read_header(header, file_len, &info, e) != 0)
        return err_wrap(e, "%s", name);
    *head_len = info.head_len;
    return 0;
}

/* --- table of sections --------------------------------------------------------------------------------- */

/* The entry by itself. */
static int read_entry(const uint8_t *ent, struct snapfile_section *s, struct err *e)
{
    const struct known *k;
    uint16_t flags = load_le16(ent + SNAP_ENT_FLAGS);

    s->type = load_le32(ent + SNAP_ENT_TYPE);
    s->version = load_le16(ent + SNAP_ENT_VERSION);
    s->required = (flags & SNAP_FLAG_REQUIRED) != 0;
    s->off = load_le64(ent + SNAP_ENT_OFF);
    s->len = load_le64(ent + SNAP_ENT_LEN);
    s->crc32c = load_le32(ent + SNAP_ENT_CRC);
    k = find_known(s->type);
    s->name = k != NULL ? k->name : "unknown";
    if (demand("flags", flags & ~SNAP_FLAG_REQUIRED, 0, e) != 0 ||
        demand("last field", load_le32(ent + SNAP_ENT_ZERO), 0, e) != 0)
        return -1;
    if (s->len == 0)
        return err_image(e, "empty");
    if (k == NULL && s->required) {
        err_image(e, "required, and this vmm does not know it (type %" PRIu32 ", version %u)", s->type,
                  s->version);
        return err_hint(e, "use a newer vmm, or take the snapshot again with this one");
    }
    if (k == NULL)
        return 0;
    if (demand("version", s->version, SNAP_SECTION_VERSION, e) != 0)
        return err_hint(e, "use the vmm that wrote it, or take the snapshot again with this one");
    return demand("mark as required", s->required, true, e);
}

/*
 * Where it lies: behind `end`, where the section before it ends, inside the
 * head or behind it, and with nothing in between but zeros inside the head.
 */
static int check_place(const uint8_t *head, const struct snapfile_info *info,
                       const struct snapfile_section *s, uint64_t end, struct err *e)
{
    const struct known *k = find_known(s->type);
    bool in_head = s->off < info->head_len;
    uint64_t gap_end = in_head ? s->off : info->head_len;

    if (!num_fits(s->off, s->len, info->file_len))
        return err_image(
            e, "not inside the file (at 0x%" PRIx64 ", %" PRIu64 " bytes; the file has %" PRIu64 ")", s->off,
            s->len, info->file_len);
    if (s->off < end)
        return err_image(e, "overlaps what is before it (at 0x%" PRIx64 ", free from 0x%" PRIx64 ")", s->off,
                         end);
    if (in_head && s->len > info->head_len - s->off)
        return err_image(e, "lies across the end of the head (at 0x%" PRIx64 ", %" PRIu64 " bytes)", s->off,
                         s->len);
    if (k != NULL && (k->place == IN_HEAD) != in_head)
        return err_image(e, "on the wrong side of the end of the head (at 0x%" PRIx64 ")", s->off);
    if ((end < gap_end && !zero_is(head + end, gap_end - end)) || s->off > (end > gap_end ? end : gap_end))
        return err_image(e, "there is something in front of it (at 0x%" PRIx64 ", free from 0x%" PRIx64 ")",
                         s->off, end);
    if (in_head)
        return demand("checksum", crc32c(0, head + s->off, s->len), s->crc32c, e);
    return 0;
}

/* `of`: whose file it is. */
static int check_presence(const struct snapfile_info *info, enum presence of, struct err *e)
{
    unsigned i;

    for (i = 0; i < KNOWN_N; i++) {
        const struct known *k = &known[i];
        bool wanted = k->presence == ALWAYS || k->presence == of, there = snap_section(info, k->type) != NULL;

        if (k->presence == PERHAPS_OF_ABI ? there && of == OF_BARE
                                          : k->presence != WHEN_NOT_EMPTY && there != wanted)
            return err_image(e, wanted ? "there is no section %s" : "section %s is not for such a guest",
                             k->name);
    }
    return 0;
}

static int read_table(const uint8_t *head, struct snapfile_info *info, struct err *e)
{
    const uint8_t *table = head + SNAP_HEADER_LEN;
    uint64_t end = SNAP_HEADER_LEN + info->sections_n * SNAP_ENT_SIZE;
    unsigned i, j;

    if (demand("checksum of the table", crc32c(0, table, info->sections_n * SNAP_ENT_SIZE),
               load_le32(head + SNAP_HDR_TABLE_CRC), e) != 0)
        return -1;
    for (i = 0; i < info->sections_n; i++) {
        struct snapfile_section *s = &info->sections[i];

        if (read_entry(table + i * SNAP_ENT_SIZE, s, e) != 0 || check_place(head, info, s, end, e) != 0)
            return err_wrap(e, "section %s", s->name);
        for (j = 0; j < i; j++)
            if (info->sections[j].type == s->type)
                return err_image(e, "section %s is there twice (type %" PRIu32 ")", s->name, s->type);
        end = s->off + s->len;
    }
    if (end != info->file_len)
        return err_image(e, "no section reaches the end of the file (0x%" PRIx64 ", 0x%" PRIx64 ")", end,
                         info->file_len);
    return check_presence(info, snap_section(info, SNAP_MACHINE) != NULL ? OF_BARE : OF_ABI, e);
}

/* --- contents -------------------------------------------------------------------------------------------- */

static int find_kind(const char *name, const struct guest_kind **out, struct err *e)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        if (strcmp(k->name, name) == 0) {
            *out = k;
            return 0;
        }
    }
    if (strncmp(name, "i686", 4) == 0) {
        err_image(e, "this vmm has no i686 guests (kind \"%s\")", name);
        return err_hint(e, "use a vmm built with I686_GUEST=1");
    }
    return err_image(e, "this vmm has no such kind of guest (\"%s\")", name);
}

static int check_cpu(const struct snap_cpu *host, struct snapfile_info *info, struct err *e)
{
    info->other_cpu = info->cpu.signature != host->signature;
    if (strcmp(info->cpu.vendor, host->vendor) == 0)
        return 0;
    err_image(e, "taken on another vendor's CPU (\"%s\", this is \"%s\")", info->cpu.vendor, host->vendor);
    return err_hint(e, "take the snapshot again on this host");
}

static int read_small(const uint8_t *head, const struct snapfile_info *info, enum snap_section type, void *to,
                      struct err *e)
{
    const struct snapfile_section *s = snap_section(info, type);

    return snap_read(type, head + s->off, s->len, to, e) == 0 ? 0 : err_wrap(e, "section %s", s->name);
}

static int read_plan(const uint8_t *head, const struct snapfile_info *info, struct snapshot *s, struct err *e)
{
    struct snap_plan p = {.kind = ""};

    if (read_small(head, info, SNAP_PLAN, &p, e) != 0)
        return -1;
    if (find_kind(p.kind, &s->kind, e) != 0 || snapshot_check_plan(s->kind, &p.plan, &s->plan, e) != 0)
        return err_wrap(e, "section PLAN");
    return 0;
}

/* The length of a section that the plan tells; 0: it is not there. */
static int check_len(const struct snapfile_info *info, enum snap_section type, uint64_t wanted, struct err *e)
{
    const struct snapfile_section *s = snap_section(info, type);
    char name[32];

    format_text(name, sizeof(name), "length of section %s", find_known(type)->name);
    return demand(name, s != NULL ? s->len : 0, wanted, e);
}

static int check_large(const struct snapfile_info *info, const struct layout *l, struct err *e)
{
    const struct snapfile_section *memory = snap_section(info, SNAP_MEMORY);

    if (check_len(info, SNAP_MEMORY, l->snapshot_len, e) != 0 ||
        check_len(info, SNAP_TABLES, l->pt_len, e) != 0 ||
        check_len(info, SNAP_PLACED, l->placed_len, e) != 0 ||
        check_len(info, SNAP_CHUNKS, snap_chunks_len(l->snapshot_len), e) != 0)
        return -1;
    if (memory->off % SNAP_CHUNK_LEN != 0)
        return err_image(e, "section MEMORY is not aligned (at 0x%" PRIx64 ", a multiple of 0x%x wanted)",
                         memory->off, SNAP_CHUNK_LEN);
    return demand("checksum of section MEMORY", memory->crc32c, 0, e);
}

/* Bytes that are somebody else's to look into. */
static int copy_bytes(const uint8_t *head, const struct snapfile_info *info, enum snap_section type,
                      uint8_t *out, uint64_t max, uint64_t *len, struct err *e)
{
    const struct snapfile_section *s = snap_section(info, type);

    if (s->len > max)
        return err_image(e, "section %s is too long (%" PRIu64 " bytes, at most %" PRIu64 ")", s->name,
                         s->len, max);
    memcpy(out, head + s->off, s->len);
    *len = s->len;
    return 0;
}

static int decode_bare(const uint8_t *head, const struct snapfile_info *info, struct snapshot *s,
                       struct err *e)
{
    struct bare_machine *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return err_memory(e, "the machine");
    s->bare = m;
    if (read_small(head, info, SNAP_MACHINE, s, e) != 0)
        return -1;
    if (!bare_is_built) {
        err_image(e, "this vmm has no bare kernels (%s)", bare_format_name(m->start.format));
        return err_hint(e, "use a vmm built with I686_GUEST=1");
    }
    if (copy_bytes(head, info, SNAP_STATE, m->state, sizeof(m->state), &m->state_len, e) != 0 ||
        copy_bytes(head, info, SNAP_DEVICES, m->devices, sizeof(m->devices), &m->devices_len, e) != 0 ||
        snapshot_check_bare(s, e) != 0)
        return -1;
    m->start.sregs = s->sregs;
    s->plan.snapshot_len = m->ram_len;
    return check_large(info, &s->plan, e);
}

static int decode_abi(const uint8_t *head, const struct snapfile_info *info, struct snapshot *s,
                      struct err *e)
{
    const struct snapfile_section *note = snap_section(info, SNAP_NOTE);

    if (read_plan(head, info, s, e) != 0 || read_small(head, info, SNAP_CPU, s, e) != 0 ||
        read_small(head, info, SNAP_ROOTS, s, e) != 0 || check_large(info, &s->plan, e) != 0)
        return -1;
    if (note != NULL) {
        if (check_len(info, SNAP_NOTE, SNAP_NOTE_LEN, e) != 0)
            return -1;
        s->promises = (unsigned)load_le64(head + note->off);
        if (demand("what section NOTE promises", load_le64(head + note->off) & ~(uint64_t)PROMISES_ALL, 0,
                   e) != 0)
            return -1;
    }
    return snapshot_check(s, e);
}

static int decode(const uint8_t *head, uint64_t head_len, uint64_t file_len, const struct snap_cpu *host,
                  struct snapshot *s, struct snapfile_info *info, struct err *e)
{
    if (read_header(head, file_len, info, e) != 0 ||
        demand("length of the head", info->head_len, head_len, e) != 0 || read_table(head, info, e) != 0 ||
        read_small(head, info, SNAP_COMPAT, &info->cpu, e) != 0 || check_cpu(host, info, e) != 0)
        return -1;
    return snap_section(info, SNAP_MACHINE) != NULL ? decode_bare(head, info, s, e)
                                                    : decode_abi(head, info, s, e);
}

int snap_decode(const uint8_t *head, uint64_t head_len, uint64_t file_len, const char *name,
                const struct snap_cpu *host, struct snapshot *out, struct snapfile_info *info, struct err *e)
{
    struct snapfile_info i = {.file_len = 0};
    struct snapshot s = {.kind = NULL};

    if (decode(head, head_len, file_len, host, &s, &i, e) != 0) {
        snapshot_free(&s);
        return err_wrap(e, "%s", name);
    }
    *out = s;
    *info = i;
    return 0;
}
