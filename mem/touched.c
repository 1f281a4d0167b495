/* A bitmap and a list. See touched.h. */
#include "mem/touched.h"

#include <stdlib.h>

#include "mem/assert.h"
#include "mem/num.h"

int touched_open(struct touched *t, uint64_t len, struct err *e)
{
    uint64_t pages_n = len / PAGE_LEN;
    struct touched n = {.pages_n = pages_n};

    assert(len != 0 && num_is_page_aligned(len) && pages_n <= UINT32_MAX);
    /* The list is not cleared: a long one costs what it holds, and short ones share a page. */
    n.bits = calloc(pages_n / 64 + 1, sizeof(*n.bits));
    n.list = malloc(pages_n * sizeof(*n.list));
    if (n.bits != NULL && n.list != NULL) {
        *t = n;
        return 0;
    }
    touched_close(&n);
    return err_memory(e, "written pages");
}

void touched_close(struct touched *t)
{
    free(t->bits);
    free(t->list);
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
