/* An anonymous file and copy-on-write views of it. See pristine.h. */
#include "mem/pristine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/assert.h"
#include "mem/num.h"

/* Ranges that are closer than this are mapped as one: a process may have some 65,000 mappings. */
#define GAP_LEN ((uint64_t)1 << 18)

/*
 * What Linux tells of a page in /proc/self/pagemap: present, or swapped, and not the file's. So many are asked
 * for at once.
 */
#define ENTRY_IS_OWN(entry) ((entry) >> 62 != 0 && ((entry) >> 61 & 1) == 0)
#define ENTRIES_N           512u

static int failed(const char *what, int errnum, uint64_t len, struct err *e)
{
    return err_set_errno(e, STATUS_HOST, errnum, "host memory: cannot %s %" PRIu64 " bytes", what, len);
}

int pristine_open(struct pristine *out, uint64_t len, struct region *fill, struct err *e)
{
    struct pristine p = {.len = len};
    void *at = MAP_FAILED;

    assert(len != 0 && num_is_page_aligned(len));
    p.fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (p.fd >= 0 && ftruncate(p.fd, (off_t)len) == 0)
        at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p.fd, 0);
    if (at == MAP_FAILED) {
        failed("share", errno, len, e);
        pristine_close(&p);
        return -1;
    }
    *fill = (struct region){.base = (uint8_t *)at, .len = len};
    *out = p;
    return 0;
}

void pristine_close(struct pristine *p)
{
    if (p->fd >= 0)
        close(p->fd);
    *p = PRISTINE_CLOSED;
}

/* To forbid writes from now on is all that is needed without a mapping, and does not look at each page. */
static int seal(const struct pristine *p, struct err *e)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    if (fcntl(p->fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE) != 0 &&
        fcntl(p->fd, F_ADD_SEALS, seals | F_SEAL_WRITE) != 0)
        return failed("seal", errno, p->len, e);
    return 0;
}

int pristine_seal(struct pristine *p, struct region *fill, struct err *e)
{
    region_unmap(fill);
    return seal(p, e);
}

static bool map_over(const struct pristine *p, const struct region *r, int how)
{
    return mmap(r->base, r->len, PROT_READ | PROT_WRITE, how | MAP_FIXED | MAP_NORESERVE, p->fd, 0) !=
           MAP_FAILED;
}

int pristine_seal_under(const struct pristine *p, const struct region *fill, struct err *e)
{
    if (map_over(p, fill, MAP_PRIVATE) ? seal(p, e) == 0 : failed("map", errno, p->len, e) == 0)
        return 0;
    /* Linux may have taken away what was there; the place for it is free, and shared it needs no memory. */
    map_over(p, fill, MAP_SHARED);
    return -1;
}

int pristine_map(const struct pristine *p, struct region *out, struct err *e)
{
    struct region r;
    uint64_t start, end, next = 0, next_end = 0;
    bool more;

    if (region_map(&r, p->len, e) != 0)
        return -1;
    for (more = pristine_next(p, 0, &start, &end); more; start = next, end = next_end) {
        while ((more = pristine_next(p, end, &next, &next_end)) && next - end < GAP_LEN)
            end = next_end;
        if (mmap(r.base + start, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                 p->fd, (off_t)(p->off + start)) == MAP_FAILED) {
            failed("map", errno, end - start, e);
            region_unmap(&r);
            return -1;
        }
    }
    *out = r;
    return 0;
}

/* Not byte by byte, as what is compiled for size does it. */
bool pristine_differ(const uint8_t *a, const uint8_t *b)
{
    const uint64_t *v = (const uint64_t *)(const void *)a, *w = (const uint64_t *)(const void *)b;
    unsigned i = 0;

    while (i < PAGE_LEN / 8 && v[i] == w[i])
        i++;
    return i < PAGE_LEN / 8;
}

int pristine_copy(const struct pristine *p, const struct region *from, struct region *out, struct err *e)
{
    uint64_t off, entries[ENTRIES_N];
    struct region r;
    int pagemap;
    bool known = false;

    if ((p->fd < 0 ? region_map(&r, from->len, e) : pristine_map(p, &r, e)) != 0)
        return -1;
    pagemap = p->fd < 0 ? -1 : open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (off = 0; off < r.len; off += PAGE_LEN) {
        const uint8_t *page = from->base + off;
        unsigned i = off / PAGE_LEN % ENTRIES_N;

        /* Those of pages behind the last one do no harm. */
        if (i == 0)
            known = pread(pagemap, entries, sizeof(entries), (off_t)((uintptr_t)page / PAGE_LEN * 8)) ==
                    sizeof(entries);
        if (known ? ENTRY_IS_OWN(entries[i]) : pristine_differ(r.base + off, page))
            memcpy(r.base + off, page, PAGE_LEN);
    }
    if (pagemap >= 0)
        close(pagemap);
    *out = r;
    return 0;
}

int pristine_put(const struct pristine *p, uint8_t *at, struct err *e)
{
    const struct region r = {.base = at, .len = p->len};

    return map_over(p, &r, MAP_PRIVATE) ? 0 : failed("map", errno, p->len, e);
}

bool pristine_next(const struct pristine *p, uint64_t from, uint64_t *start, uint64_t *end)
{
    off_t data, hole;

    if (from >= p->len)
        return false;
    data = lseek(p->fd, (off_t)(p->off + from), SEEK_DATA);
    if ((data < 0 && errno == ENXIO) || (data >= 0 && (uint64_t)data - p->off >= p->len))
        return false;
    /* A kernel that cannot tell: all of it may be data. */
    hole = data < 0 ? data : lseek(p->fd, data, SEEK_HOLE);
    *start = data < 0 ? from : num_page_down((uint64_t)data - p->off);
    *end = hole < 0 || (uint64_t)hole - p->off > p->len ? p->len
                                                        : num_page_down((uint64_t)hole - p->off + PAGE_MASK);
    return true;
}
