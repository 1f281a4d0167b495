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

/* Pages that are asked for at once. */
#define OWN_N 512u

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

/*
 * Which pages of a mapping of a file are its own, by what Linux tells of each: present or swapped, and not the
 * file's. False where there is no /proc to tell.
 */
static bool read_own(int pagemap, const uint8_t *at, bool *own, size_t n)
{
    uint64_t entries[OWN_N];
    size_t i;

    if (pread(pagemap, entries, n * 8, (off_t)((uintptr_t)at / PAGE_LEN * 8)) != (ssize_t)(n * 8))
        return false;
    for (i = 0; i < n; i++)
        own[i] = entries[i] >> 62 != 0 && (entries[i] >> 61 & 1) == 0;
    return true;
}

int pristine_copy(const struct pristine *p, const struct region *from, struct region *out, struct err *e)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t i, n = from->len / PAGE_LEN;
    bool own[OWN_N], known = false;
    struct region r = {.len = 0};

    if (region_map_file_private(&r, p->fd, p->off, from->len, e) != 0)
        goto out;
    for (i = 0; i < n; i++) {
        uint8_t *to = r.base + i * PAGE_LEN;
        const uint8_t *page = from->base + i * PAGE_LEN;

        if (i % OWN_N == 0)
            known = read_own(pagemap, page, own, n - i < OWN_N ? n - i : OWN_N);
        if (known ? own[i % OWN_N] : memcmp(to, page, PAGE_LEN) != 0)
            memcpy(to, page, PAGE_LEN);
    }
    *out = r;
out:
    if (pagemap >= 0)
        close(pagemap);
    return r.len != 0 ? 0 : -1;
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
