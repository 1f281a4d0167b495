/*
 * Fuzzes the I/O stacks: whatever is in the buffer, each operation answers and
 * leaves the buffer as the oracle does. The input: the size of the stack, a
 * number of operations, these (what, a position, a length), and the buffer.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem/bytes.h"
#include "mem/iostack.h"
#include "tests/fuzz/ref_iostack.h"

enum { OP_PUSH, OP_PEEK, OP_DROP, OP_RESET, OP_SCRIBBLE, OPS_N };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void demand(int promise)
{
    if (!promise)
        abort();
}

/* Both sides of a look at the top; IOSTACK_OK with the same in *top. */
static enum iostack_status peek(const uint8_t *ours, const uint8_t *theirs, uint64_t size, uint64_t cap,
                                struct iostack_top *top)
{
    struct iostack_top ref_top = {0};
    uint8_t *out = malloc(cap == 0 ? 1 : cap);
    enum iostack_status status;

    demand(out != NULL);
    memset(top, 0, sizeof(*top));
    status = iostack_peek(ours, size, out, cap, top);
    demand(status == ref_peek(theirs, size, cap, &ref_top));
    demand(memcmp(top, &ref_top, sizeof(ref_top)) == 0);
    if (status == IOSTACK_OK)
        demand(memcmp(out, theirs + ref_top.back, ref_top.len) == 0);
    free(out);
    return status;
}

static void perform(const uint8_t op[3], uint8_t *ours, uint8_t *theirs, uint64_t size)
{
    static const uint64_t high[] = {0, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX - 15};
    uint8_t payload[256];
    struct iostack_top top;

    switch (op[0] % OPS_N) {
    case OP_PUSH:
        memset(payload, op[1], sizeof(payload));
        store_le32(payload, op[1]);
        demand(iostack_push(ours, size, payload, op[2]) == ref_push(theirs, size, payload, op[2]));
        break;
    case OP_PEEK: (void)peek(ours, theirs, size, op[2], &top); break;
    case OP_DROP:
        if (peek(ours, theirs, size, size, &top) == IOSTACK_OK) {
            iostack_drop(ours, &top);
            ref_drop(theirs, &top);
        }
        break;
    case OP_RESET:
        iostack_reset(ours, size);
        ref_reset(theirs, size);
        break;
    default: /* the other side writes a word */
        if (op[1] + (uint64_t)8 <= size) {
            store_le64(ours + op[1], high[op[0] / OPS_N % 4] + op[2]);
            ref_set_word(theirs + op[1], high[op[0] / OPS_N % 4] + op[2]);
        }
    }
    demand(memcmp(ours, theirs, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t size, ops_n, i, image_len;
    uint8_t *ours, *theirs;

    if (len < 2 || len - 2 < (size_t)3 * (data[1] % 32))
        return 0;
    size = data[0] + 8u;
    ops_n = data[1] % 32;
    image_len = len - 2 - 3 * ops_n;
    if (image_len > size)
        image_len = size;
    ours = calloc(1, size);
    theirs = calloc(1, size);
    demand(ours != NULL && theirs != NULL);
    memcpy(ours, data + 2 + 3 * ops_n, image_len);
    memcpy(theirs, ours, size);
    for (i = 0; i < ops_n; i++)
        perform(data + 2 + 3 * i, ours, theirs, size);
    free(ours);
    free(theirs);
    return 0;
}
