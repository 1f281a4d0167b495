/*
 * Fuzzes the message codec: any bytes are refused, by it and by the second
 * reader, or are read by both as the same message, which can be written and is
 * then read as the same again. The first byte of the input chooses the kind of
 * message, and by its bit 7 whether the prefix is made to fit.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem/bytes.h"
#include "mem/message.h"
#include "tests/fuzz/ref_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct text said, ref_said;
static struct any message;

static void demand(int promise)
{
    if (!promise)
        abort();
}

static void check_same(enum kind kind, const uint8_t *bytes, size_t len)
{
    demand(any_read(kind, bytes, len, &message) == MSG_OK);
    any_text(kind, &message, &said);
    demand(strcmp(said.s, ref_said.s) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum kind kind;
    uint8_t *bytes, *written;
    size_t written_len;

    if (len < 1)
        return 0;
    kind = (enum kind)(data[0] % KINDS_N);
    len--;
    bytes = malloc(len == 0 ? 1 : len); /* of its own, so that a sanitizer sees a byte too far */
    demand(bytes != NULL);
    memcpy(bytes, data + 1, len);
    if (data[0] >= 0x80 && len >= 4)
        store_le32(bytes, (uint32_t)(len - 4));

    if (!ref_read(kind, bytes, len, &ref_said)) {
        demand(any_read(kind, bytes, len, &message) != MSG_OK);
        free(bytes);
        return 0;
    }
    check_same(kind, bytes, len);
    written_len = any_len(kind, &message);
    written = malloc(written_len);
    demand(written_len != 0 && written != NULL);
    demand(any_write(kind, &message, written, written_len - 1) == 0);
    demand(any_write(kind, &message, written, written_len) == written_len);
    free(bytes);
    check_same(kind, written, written_len);
    demand(ref_read(kind, written, written_len, &ref_said) && strcmp(said.s, ref_said.s) == 0);
    free(written);
    return 0;
}
