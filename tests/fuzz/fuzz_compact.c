/*
 * Fuzzes compaction: a small guest made from the input is refused, or the
 * result is judged by compact_check.h: the same to the guest, before and after
 * it writes, and nothing but addresses changes when it is compacted again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "paging/compact.h"
#include "mem/gmem.h"

#include "tests/fuzz/quick_worlds.h"

/* Nor is the judge: told of its branches too, the fuzzer is thirty times slower. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#define CC_STEPS_MAX 4000 /* a large page and what is around it, twice */
#include "tests/unit/compact_check.h"

#define INPUT_MAX 128 /* bytes: some fifteen tables and leaves; what follows is ignored */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err e = {.text = ""};
    const char *wrong;
    struct world w;
    bool refused;
    uint64_t hash = 1;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u;
    if (len > INPUT_MAX)
        len = INPUT_MAX;
    world_make(&w, data, len);
    if (w.large_n != 0 && hash % 16 != 0) { /* megabytes to compare: not each time */
        world_free(&w);
        return 0;
    }
    wrong = cc_check(&w, w.mode.is_amd64 ? &geom_amd64 : &geom_i686, hash, 2, hash % 4 == 0, &refused, &e);
    world_free(&w);
    if (wrong != NULL) {
        fprintf(stderr, "%s: %s\n", wrong, e.text);
        abort();
    }
    return 0;
}

#pragma clang attribute pop
