/* Host mappings. See region.h for the contract. */
#include "mem/region.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "mem/assert.h"
#include "mem/num.h"
#include "mem/zero.h"

/* Linux 5.14; the C library does not know it. */
#define MADV_POPULATE_WRITE 23

static int map(struct region *r, int prot, int flags, int fd, uint64_t off, uint64_t len, struct err *e)
{
    void *p;

    assert(len != 0 && num_is_page_aligned(len) && num_is_page_aligned(off));
    p = mmap((flags & MAP_FIXED) != 0 ? r->base : NULL, len, prot, MAP_PRIVATE | MAP_NORESERVE | flags, fd,
             (off_t)off);
    if (p == MAP_FAILED)
        return err_host(e, "host memory: cannot map %" PRIu64 " bytes%s", len,
                        flags == MAP_ANONYMOUS ? "" : " of a file");
    r->base = (uint8_t *)p;
    r->len = len;
    return 0;
}

int region_map(struct region *r, uint64_t len, struct err *e)
{
    return map(r, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1, 0, len, e);
}

int region_map_file(struct region *r, int fd, uint64_t off, uint64_t len, struct err *e)
{
    return map(r, PROT_READ, 0, fd, off, len, e);
}

int region_map_file_private(struct region *r, int fd, uint64_t off, uint64_t len, struct err *e)
{
    return map(r, PROT_READ | PROT_WRITE, 0, fd, off, len, e);
}

int region_remap_file(struct region *r, int fd, uint64_t off, bool writable, struct err *e)
{
    if (map(r, PROT_READ | (writable ? PROT_WRITE : 0), MAP_FIXED, fd, off, r->len, e) == 0)
        return 0;
    /* It may be gone already. */
    region_unmap(r);
    return -1;
}

void region_split(struct region *r, uint64_t at, struct region *rest)
{
    *rest = (struct region){.base = at < r->len ? r->base + at : NULL, .len = r->len - at};
    r->len = at;
}

void region_populate(uint8_t *at, uint64_t len)
{
    madvise(at, len, MADV_POPULATE_WRITE);
}

int region_seal(struct region *r, struct err *e)
{
    if (mprotect(r->base, r->len, PROT_READ) != 0)
        return err_host(e, "host memory: cannot write-protect %" PRIu64 " bytes", r->len);
    return 0;
}

int region_clear(struct region *r, struct err *e)
{
    if (madvise(r->base, r->len, MADV_DONTNEED) != 0)
        return err_host(e, "host memory: cannot clear %" PRIu64 " bytes", r->len);
    return 0;
}

void region_fill(uint8_t *to, const uint8_t *from, uint64_t len)
{
    for (; len != 0; to += PAGE_LEN, from += PAGE_LEN, len -= PAGE_LEN)
        if (!zero_is(from, PAGE_LEN))
            memcpy(to, from, PAGE_LEN);
}

void region_put_page(uint8_t *to, const uint8_t *from)
{
    uint64_t n = PAGE_LEN / 8;

    /* What is compiled for size moves four bytes at a time, or one. */
    if (from != NULL)
        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    else
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"((uint64_t)0) : "memory");
}

static bool keep_mapped;

void region_keep_mapped(void)
{
    keep_mapped = true;
}

void region_unmap(struct region *r)
{
    if (r->base != NULL && !keep_mapped)
        munmap(r->base, r->len);
    r->base = NULL;
    r->len = 0;
}
