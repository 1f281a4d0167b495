/*
 * From the bytes of a snapshot file to a checked snapshot, and back. Nothing
 * here reads or writes a file: hv/snapfile does.
 */
#ifndef BOOT_SNAPDECODE_H
#define BOOT_SNAPDECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/snapfields.h"
#include "boot/snapformat.h"
#include "boot/snapshot.h"
#include "mem/error.h"

struct snapfile_section {
    uint32_t type;    /* enum snap_section, or one that this reader does not know */
    const char *name; /* "PLAN"; "unknown" */
    uint16_t version;
    bool required;
    uint64_t off, len; /* in the file */
    uint32_t crc32c;   /* 0 for MEMORY */
};

/* What a file says about itself. */
struct snapfile_info {
    uint64_t file_len, head_len;
    uint32_t format, min_reader;
    uint64_t created_ns;              /* since 1970 */
    char producer[SNAP_PRODUCER_LEN]; /* printable */
    struct snap_cpu cpu;              /* where it was taken; printable */
    bool other_cpu;                   /* the same vendor's, but not this model */
    unsigned sections_n;
    struct snapfile_section sections[SNAP_SECTIONS_MAX];
};

/*
 * How many bytes from its start snap_decode wants of the file that starts with
 * `header` (SNAP_HEADER_LEN bytes): at most SNAP_HEAD_MAX, and no more than
 * `file_len`. STATUS_IMAGE for what is no snapshot file, or one of a format that
 * this reader does not understand. `name` is for messages.
 */
int snap_decode_header(const uint8_t *header, uint64_t file_len, const char *name, uint64_t *head_len,
                       struct err *e);

/*
 * Decode the head of a file of `file_len` bytes. Every byte of it counts. On
 * success all of `out` but the regions is as boot/snapshot.h promises (and the
 * caller's, snapshot_free; the bytes of a bare kernel's machine were not looked into), and
 * these sections lie inside the file, behind the head, with the lengths of the
 * plan: MEMORY (at a multiple of SNAP_CHUNK_LEN), TABLES and PLACED if their
 * length is not 0, CHUNKS. Their bytes are the caller's to check.
 *
 * STATUS_IMAGE, naming the field and the value, for everything else; a guest
 * of another vendor's CPU than `host` is refused too.
 */
int snap_decode(const uint8_t *head, uint64_t head_len, uint64_t file_len, const char *name,
                const struct snap_cpu *host, struct snapshot *out, struct snapfile_info *info, struct err *e);

/* The section of that type; NULL when the file has none. */
const struct snapfile_section *snap_section(const struct snapfile_info *info, enum snap_section type);

/* Bytes of the CHUNKS section for `memory_len` bytes of MEMORY. */
uint64_t snap_chunks_len(uint64_t memory_len);

/* What a file says beside the snapshot. */
struct snap_stamp {
    uint64_t created_ns;
    const char *producer; /* printable, shorter than SNAP_PRODUCER_LEN */
    struct snap_cpu cpu;
    uint32_t tables_crc, placed_crc, chunks_crc; /* of those sections, 0 for one that is empty */
};

/* Write the head of the file that holds `s` into SNAP_CHUNK_LEN bytes of zeros; the file's length. */
uint64_t snap_encode(const struct snapshot *s, const struct snap_stamp *stamp, uint8_t *head);

#endif
