/* A bitmap and a list. See touched.h. */
#include "mem/touched.h"

#include "mem/assert.h"
#include "mem/num.h"

int touched_open(struct touched *t, uint64_t len, struct err *e)
{
    uint64_t pages_n = len / PAGE_LEN, words_n = pages_n / 64 + 1;
    struct region store;

    assert(len != 0 && num_is_page_aligned(len) && pages_n <= UINT32_MAX);
    /* Lazily backed: the list costs what it holds. */
    if (region_map(&store, (words_n * 8 + pages_n * 4 + PAGE_MASK) & ~(uint64_t)PAGE_MASK, e) != 0)
        return -1;
    *t = (struct touched){.store = store,
                          .bits = (uint64_t *)(void *)store.base,
                          .list = (uint32_t *)(void *)(store.base + words_n * 8),
                          .pages_n = pages_n};
    return 0;
}

void touched_close(struct touched *t)
{
    region_unmap(&t->store);
    *t = (struct touched){.n = 0};
}

void touched_add(struct touched *t, uint64_t off, uint64_t len)
{
    uint64_t page = off / PAGE_LEN, end;

    assert(len <= t->pages_n * PAGE_LEN && off <= t->pages_n * PAGE_LEN - len);
    for (end = (off + len + PAGE_MASK) / PAGE_LEN; len != 0 && page < end; page++) {
        if (touched_has(t, page))
            continue;
        t->bits[page / 64] |= (uint64_t)1 << page % 64;
        t->list[t->n++] = (uint32_t)page;
    }
}

void touched_clear(struct touched *t)
{
    while (t->n != 0)
        t->bits[t->list[--t->n] / 64] = 0;
}
