/* What a guest promises, in a snapshot file. */
#include "boot/snapdecode.h"

#include "tests/fuzz/snap_samples.h"
#include "tests/tap.h"

static uint8_t head[SNAP_CHUNK_LEN];
static struct snapshot sample;

int main(void)
{
    struct snapfile_info info;
    struct err e = {.text = ""};
    uint64_t file_len = 0, note;
    struct snapshot s;
    unsigned promises;

    tap_case("what a guest promises is read as it was written");
    if (!CHECK(sample_make(guest_kind_at(0), true, &sample)))
        return tap_done();
    for (promises = 0; promises <= 3; promises++) {
        sample.promises = promises;
        file_len = sample_head(&sample, head);
        if (CHECK_EQ(snap_decode(head, sizeof(head), file_len, "it", &sample_cpu, &s, &info, &e), 0)) {
            CHECK_EQ(s.promises, promises);
            CHECK_EQ(snap_section(&info, SNAP_NOTE) != NULL, promises != 0);
        }
    }
    note = load_le64(head + sample_entry(head, 12) + 8);
    CHECK_EQ(load_le64(head + note), 3);

    tap_case("a promise that nobody knows is refused");
    store_le64(head + note, 4);
    sample_repair(head, sizeof(head));
    CHECK_EQ(snap_decode(head, sizeof(head), file_len, "it", &sample_cpu, &s, &info, &e), -1);
    CHECK_EQ(e.status, 126);
    CHECK_HAS(e.text, "what section NOTE promises is wrong (0x4, 0x0)");

    tap_case("a note of another length is refused");
    store_le64(head + note, 3);
    store_le64(head + sample_entry(head, 12) + 16, 16);
    sample_repair(head, sizeof(head));
    CHECK_EQ(snap_decode(head, sizeof(head), file_len, "it", &sample_cpu, &s, &info, &e), -1);
    CHECK_HAS(e.text, "length of section NOTE is wrong (0x10, 0x8)");
    snapshot_free(&sample);
    return tap_done();
}
