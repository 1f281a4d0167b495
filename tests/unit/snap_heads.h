/*
 * Heads of snapshot files in the tests of boot/snapdecode: a good one, the same
 * after it was changed, and what is to be true of each that is read.
 */
#ifndef TESTS_UNIT_SNAP_HEADS_H
#define TESTS_UNIT_SNAP_HEADS_H

#include "boot/snapdecode.h"
#include "tests/fuzz/snap_samples.h"
#include "tests/tap.h"

static uint8_t head[SNAP_CHUNK_LEN], good[SNAP_CHUNK_LEN];
static uint64_t file_len;
static struct snapshot sample;
static struct err e;

/* What decode says of `head`: 0, or the refusal is in e. */
static inline int decode(struct snapshot *out, struct snapfile_info *info)
{
    uint64_t head_len;

    e = (struct err){.text = ""};
    if (snap_decode_header(head, file_len, "file", &head_len, &e) != 0)
        return -1;
    /* A file could be read that far, with zeros. */
    if (head_len != SNAP_CHUNK_LEN)
        return err_set(&e, STATUS_IMAGE, "file: another head length");
    return snap_decode(head, head_len, file_len, "file", &sample_cpu, out, info, &e);
}

/* With a line that names the file, and with nothing written to what is for the result. */
static inline bool refused(void)
{
    struct snapshot s = {.generation = 77};
    struct snapfile_info info = {.created_ns = 88};
    int result = decode(&s, &info);

    if (result == 0)
        snapshot_free(&s);
    return result == -1 && e.status == STATUS_IMAGE && strncmp(e.text, "file: ", 6) == 0 &&
           strlen(e.text) < sizeof(e.text) - 1 && strchr(e.text, '\n') == NULL && s.generation == 77 &&
           s.bare == NULL && info.created_ns == 88;
}

/* From here on `head` and `good` are the head of `sample`. */
static inline void take_head(void)
{
    file_len = sample_head(&sample, good);
    memcpy(head, good, sizeof(head));
}

/* No changed byte goes unnoticed. Of the small sections only NOTE, a few bytes, comes behind COMPAT. */
static inline void check_flips(void)
{
    uint64_t i, end, missed = 0, compat;

    compat = sample_entry(head, 4);
    end = load_le64(head + compat + 8) + load_le64(head + compat + 16);
    for (i = 0; i < sizeof(head); i += i < end + 64 ? 1 : 97) {
        head[i] ^= (uint8_t)(1u << (i % 8));
        if (!refused()) {
            printf("# byte 0x%" PRIx64 ": %s\n", i, e.text);
            missed++;
        }
        head[i] = good[i];
    }
    CHECK_EQ(missed, 0);
}

static inline void check_any(uint64_t off, uint64_t value, unsigned *taken)
{
    struct snapfile_info info;
    struct snapshot s;

    store_le64(head + off, value);
    sample_repair(head, sizeof(head));
    if (decode(&s, &info) == 0) {
        *taken += 1;
        CHECK(sample_keeps_promises(&s));
        snapshot_free(&s);
    } else {
        CHECK(e.status == STATUS_IMAGE && strncmp(e.text, "file: ", 6) == 0);
    }
    memcpy(head, good, 0x4000);
}

#endif
