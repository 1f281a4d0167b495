/* The memory of a VM as it was, for the programs of the benchmark that look whether it is so again. */
#ifndef TESTS_BENCH_KEPT_H
#define TESTS_BENCH_KEPT_H

#include <stdlib.h>
#include <string.h>

#include "mem/guest_abi.h"
#include "tests/bench/called.h"

/* All that the VM has for itself, but for the last pages of scratch: each restore puts time and chance there. */
struct memory {
    uint8_t *copy, *scratch;
    uint64_t copy_len, scratch_len;
};

static inline int keep_memory(struct memory *kept, const struct vm *vm, struct err *e)
{
    kept->copy_len = vm->copy.len;
    kept->scratch_len = vm->scratch.len - SCRATCH_RESERVED_PAGES * (uint64_t)PAGE_LEN;
    kept->copy = malloc(kept->copy_len + 1);
    kept->scratch = malloc(kept->scratch_len);
    if (kept->copy == NULL || kept->scratch == NULL)
        return err_set(e, STATUS_HOST, "no memory");
    if (kept->copy_len != 0)
        memcpy(kept->copy, vm->copy.base, kept->copy_len);
    memcpy(kept->scratch, vm->scratch.base, kept->scratch_len);
    return 0;
}

/* What is not as it was, or NULL. */
static inline const char *compare_memory(const struct memory *kept, const struct called *c)
{
    if (memcmp(kept->scratch, c->vm.scratch.base, kept->scratch_len) != 0)
        return "scratch is not as it was";
    if (kept->copy_len != 0 && memcmp(kept->copy, c->vm.copy.base, kept->copy_len) != 0)
        return "memory is not as in the snapshot";
    return NULL;
}

#endif
