/*
 * The radix tree: three levels of nodes with 1024 pointers, then leaves with
 * 1024 numbers, over the 40 bits of a page number.
 */
#include "paging/pagemap.h"

#include <stdlib.h>

#include "mem/assert.h"
#include "mem/num.h"

#define FAN_BITS 10
#define FAN      (1u << FAN_BITS)
#define HEIGHT   3 /* of the top; leaves are at 0 */

struct node {
    void *child[FAN];
};

struct leaf {
    uint32_t number[FAN];
};

static unsigned slot_at(struct gpa at, unsigned height)
{
    return (unsigned)(at.v >> (PAGE_SHIFT + FAN_BITS * height)) & (FAN - 1);
}

uint32_t pagemap_get(const struct pagemap *m, struct gpa at)
{
    const void *p = m->top;

    if (at.v >> (PAGE_SHIFT + FAN_BITS * (HEIGHT + 1)))
        return 0;
    for (unsigned height = HEIGHT; height > 0 && p != NULL; height--)
        p = ((const struct node *)p)->child[slot_at(at, height)];
    return p == NULL ? 0 : ((const struct leaf *)p)->number[slot_at(at, 0)];
}

uint32_t *pagemap_slot(struct pagemap *m, struct gpa at)
{
    void **p = &m->top;

    assert(at.v >> (PAGE_SHIFT + FAN_BITS * (HEIGHT + 1)) == 0);
    for (unsigned height = HEIGHT;; height--) {
        if (*p == NULL)
            *p = calloc(1, height == 0 ? sizeof(struct leaf) : sizeof(struct node));
        if (*p == NULL)
            return NULL;
        if (height == 0)
            return &((struct leaf *)*p)->number[slot_at(at, 0)];
        p = &((struct node *)*p)->child[slot_at(at, height)];
    }
}

static void free_below(void *p, unsigned height)
{
    if (p == NULL)
        return;
    if (height > 0)
        for (unsigned i = 0; i < FAN; i++)
            free_below(((struct node *)p)->child[i], height - 1);
    free(p);
}

void pagemap_free(struct pagemap *m)
{
    free_below(m->top, HEIGHT);
    m->top = NULL;
}
