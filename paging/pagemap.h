/*
 * A number for each physical page: a radix tree of four levels over the page
 * number. No hash, so a guest that picks its addresses cannot make it slow;
 * memory is proportional to the 4 MiB stretches that hold a noted page.
 */
#ifndef PAGING_PAGEMAP_H
#define PAGING_PAGEMAP_H

#include <stdint.h>

#include "mem/addr.h"

struct pagemap {
    void *top; /* NULL: empty; a zeroed struct is a valid one */
};

/* The number noted for the page around `at`, or 0. */
uint32_t pagemap_get(const struct pagemap *m, struct gpa at);

/*
 * Where the number of the page around `at` is kept, 0 at first; NULL when the
 * host has no memory. `at` is below 2^52. Valid until pagemap_free.
 */
uint32_t *pagemap_slot(struct pagemap *m, struct gpa at);

/* Forget everything; *m is empty. */
void pagemap_free(struct pagemap *m);

#endif
