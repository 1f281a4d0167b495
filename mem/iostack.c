/*
 * The I/O stacks. The other side is not supposed to run meanwhile; if it does,
 * it can spoil its own messages and nothing else.
 */
#include "mem/iostack.h"

#include <stddef.h>

#include "mem/bytes.h"

#define WORD 8

static const char *const names[IOSTACK_STATUS_N] = {
    [IOSTACK_OK] = "ok",
    [IOSTACK_BAD_SP] = "sp",
    [IOSTACK_FULL] = "full",
    [IOSTACK_BAD_BACK] = "back-pointer",
    [IOSTACK_BAD_PREFIX] = "prefix",
};

const char *iostack_status_name(enum iostack_status status)
{
    return (unsigned)status < IOSTACK_STATUS_N ? names[status] : "unknown";
}

enum iostack_status iostack_push(uint8_t *stack, uint64_t size, const uint8_t *payload, uint64_t len)
{
    uint64_t sp = load_once_le64(stack);

    if (sp < IOSTACK_EMPTY || sp > size)
        return IOSTACK_BAD_SP;
    if (size - sp < WORD || len > size - sp - WORD)
        return IOSTACK_FULL;
    if (len != 0)
        __builtin_memcpy(stack + sp, payload, len);
    store_le64(stack + sp + len, sp);
    store_le64(stack, sp + len + WORD);
    return IOSTACK_OK;
}

enum iostack_status iostack_peek(const uint8_t *stack, uint64_t size, uint8_t *out, uint64_t cap,
                                 struct iostack_top *top)
{
    uint64_t sp = load_once_le64(stack), back, len;
    uint32_t prefix;

    if (sp < IOSTACK_OVERHEAD || sp > size)
        return IOSTACK_BAD_SP;
    back = load_once_le64(stack + sp - WORD);
    /* Room for the prefix and the root's offset, below the word just read. */
    if (back < IOSTACK_EMPTY || back > sp - 2 * WORD)
        return IOSTACK_BAD_BACK;
    prefix = load_once_le32(stack + back);
    len = (uint64_t)prefix + 4;
    if (len > sp - WORD - back)
        return IOSTACK_BAD_PREFIX;
    if (len > cap)
        return IOSTACK_FULL;
    store_le32(out, prefix);
    __builtin_memcpy(out + 4, stack + back + 4, prefix);
    *top = (struct iostack_top){.sp = sp, .back = back, .len = len};
    return IOSTACK_OK;
}

void iostack_drop(uint8_t *stack, const struct iostack_top *top)
{
    __builtin_memset(stack + top->back, 0, top->sp - top->back);
    store_le64(stack, top->back);
}

void iostack_reset(uint8_t *stack, uint64_t size)
{
    uint64_t sp = load_once_le64(stack);

    if (sp < IOSTACK_EMPTY || sp > size)
        sp = size;
    __builtin_memset(stack + IOSTACK_EMPTY, 0, sp - IOSTACK_EMPTY);
    store_le64(stack, IOSTACK_EMPTY);
}
