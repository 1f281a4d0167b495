/*
 * Fuzzes the decoder of snapshot files: any head is refused, or gives a
 * snapshot that keeps its promises, can be written again, and is then read as
 * the same.
 *
 * An input is a head without most of its zeros: a byte of switches, the 96
 * bytes of the header, then what follows the header. By bit 0 of the switches
 * the checksums are made right, so that one damaged field is all there is to
 * refuse; by bit 1 the lengths of head and file too.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/snapdecode.h"
#include "tests/fuzz/snap_samples.h"

#define HEADER_USED 96u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void demand(int promise)
{
    if (!promise)
        abort();
}

/* The file's length, by its last section. */
static uint64_t end_of_sections(const uint8_t *head)
{
    uint32_t n = load_le32(head + 48);
    const uint8_t *last;

    if (n == 0 || n > 32)
        return SNAP_CHUNK_LEN;
    last = head + SAMPLE_TABLE + (n - 1) * SAMPLE_ENTRY_LEN;
    return load_le64(last + 8) + load_le64(last + 16);
}

static void check_sections(const struct snapfile_info *info, const struct snapshot *s)
{
    const struct snapfile_section *memory = snap_section(info, SNAP_MEMORY);
    unsigned i;

    demand(info->sections_n <= SNAP_SECTIONS_MAX && info->head_len <= info->file_len);
    for (i = 0; i < info->sections_n; i++) {
        const struct snapfile_section *x = &info->sections[i];

        demand(x->len != 0 && x->off <= info->file_len && x->len <= info->file_len - x->off);
        demand(i == 0 || x->off >= x[-1].off + x[-1].len);
    }
    demand(memory != NULL && memory->off >= info->head_len && memory->off % 65536 == 0 &&
           memory->len == s->plan.snapshot_len);
    demand(memchr(info->producer, '\0', sizeof(info->producer)) != NULL);
}

static void check_again(const struct snapshot *s, const struct snapfile_info *info)
{
    const struct snap_stamp stamp = {
        .created_ns = info->created_ns, .producer = info->producer, .cpu = info->cpu};
    uint8_t *head = calloc(1, SNAP_CHUNK_LEN);
    struct snapfile_info info2;
    struct snapshot s2;
    struct err e;
    uint64_t file_len;

    demand(head != NULL);
    file_len = snap_encode(s, &stamp, head);
    demand(snap_decode(head, SNAP_CHUNK_LEN, file_len, "fuzz", &sample_cpu, &s2, &info2, &e) == 0);
    demand(sample_same_fields(s, &s2));
    snapshot_free(&s2);
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct snapfile_info info;
    struct snapshot s;
    struct err e = {.text = ""};
    uint64_t head_len = SNAP_CHUNK_LEN, said_len = 0, file_len;
    uint8_t *head;
    size_t rest;

    if (len < 1 + HEADER_USED || len > SNAP_CHUNK_LEN - SNAP_HEADER_LEN)
        return 0;
    rest = len - 1 - HEADER_USED;
    head = calloc(1, SNAP_CHUNK_LEN);
    demand(head != NULL);
    memcpy(head, data + 1, HEADER_USED);
    memcpy(head + SNAP_HEADER_LEN, data + 1 + HEADER_USED, rest);
    if ((data[0] & 2) != 0) {
        store_le64(head + 40, SNAP_CHUNK_LEN);
        store_le64(head + 32, end_of_sections(head));
    }
    if ((data[0] & 1) != 0)
        sample_repair(head, SNAP_CHUNK_LEN);
    file_len = load_le64(head + 32);

    if (snap_decode_header(head, file_len, "fuzz", &said_len, &e) == 0) {
        demand(said_len <= SNAP_HEAD_MAX && said_len <= file_len && said_len >= SNAP_HEADER_LEN);
        /* A shorter head is what was read of the file; a longer one would end in zeros. */
        if (said_len < head_len)
            head_len = said_len;
        /* In a block of its own, so that a sanitizer sees a byte too far. */
        head = realloc(head, head_len);
        demand(head != NULL);
        if (snap_decode(head, head_len, file_len, "fuzz", &sample_cpu, &s, &info, &e) == 0) {
            demand(sample_keeps_promises(&s));
            check_sections(&info, &s);
            check_again(&s, &info);
            snapshot_free(&s);
            free(head);
            return 0;
        }
    }
    demand(e.status == STATUS_IMAGE && strncmp(e.text, "fuzz: ", 6) == 0);
    free(head);
    return 0;
}
