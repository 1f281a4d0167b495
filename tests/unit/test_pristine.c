/*
 * mem/pristine: bytes are filled in once and seen by every mapping, a write
 * by nobody else; they cannot be changed afterwards, and what was not filled
 * in is found to be nothing.
 */
#include "mem/pristine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mem/num.h"
#include "tests/tap.h"

#define LEN ((uint64_t)4 << 20)

/* `LEN` bytes with a mark in each of the pages given; sealed. */
static struct pristine make(const uint64_t *pages, unsigned n)
{
    struct pristine p = PRISTINE_CLOSED;
    struct err e = {.text = "untouched"};
    struct region fill = {NULL, 0};

    CHECK(pristine_open(&p, LEN, &fill, &e) == 0);
    CHECK_EQ(fill.len, LEN);
    for (unsigned i = 0; i < n; i++)
        fill.base[pages[i] * PAGE_LEN + 5] = (uint8_t)(i + 1);
    CHECK(pristine_seal(&p, &fill, &e) == 0);
    CHECK(fill.base == NULL);
    CHECK_STR(e.text, "untouched");
    return p;
}

static struct region map(const struct pristine *p)
{
    struct region r = {NULL, 0};
    struct err e;

    CHECK(pristine_map(p, &r, &e) == 0);
    CHECK_EQ(r.len, LEN);
    return r;
}

static const uint64_t pages[] = {0, 1, 3, 200, 700, 1023};
#define PAGES_N (sizeof(pages) / sizeof(pages[0]))

/* Whether r holds the marks and nothing else. */
static bool is_as_filled(const struct region *r)
{
    unsigned next = 0;

    for (uint64_t i = 0; i < r->len; i++) {
        bool marked = next < PAGES_N && i == pages[next] * PAGE_LEN + 5;

        if (r->base[i] != (marked ? next + 1 : 0))
            return false;
        next += marked;
    }
    return next == PAGES_N;
}

static void test_views(void)
{
    struct pristine p;
    struct region a, b;
    struct err e;

    tap_case("every mapping shows what was filled in, and zeros");
    p = make(pages, PAGES_N);
    a = map(&p);
    b = map(&p);
    CHECK(is_as_filled(&a));
    CHECK(is_as_filled(&b));

    tap_case("a write is seen in its own mapping only, in a filled page as in an empty one");
    a.base[5] = 99;
    a.base[2 * PAGE_LEN] = 98;
    a.base[LEN - 1] = 97;
    CHECK(a.base[5] == 99 && a.base[2 * PAGE_LEN] == 98 && a.base[LEN - 1] == 97);
    CHECK(is_as_filled(&b));

    tap_case("clearing drops the writes");
    CHECK(region_clear(&a, &e) == 0);
    CHECK(is_as_filled(&a));

    tap_case("a mapping outlives what it was made from");
    pristine_close(&p);
    CHECK_EQ(p.fd, -1);
    pristine_close(&p);
    b.base[5] = 1;
    CHECK(is_as_filled(&b));
    region_unmap(&a);
    region_unmap(&b);
}

static void test_seal(void)
{
    struct pristine p;

    tap_case("sealed bytes can be changed by no means");
    p = make(pages, PAGES_N);
    errno = 0;
    CHECK(pwrite(p.fd, "x", 1, 0) == -1 && errno == EPERM);
    CHECK(mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0) == MAP_FAILED);
    CHECK(ftruncate(p.fd, 0) == -1 && ftruncate(p.fd, LEN * 2) == -1);
    CHECK(fcntl(p.fd, F_GETFD) == FD_CLOEXEC);
    pristine_close(&p);
}

static void test_ranges(void)
{
    static const uint64_t none[1] = {0};
    uint64_t start = 1, end = 1, at = 0;
    struct pristine p;
    unsigned i, n = 0;
    bool seen[LEN / 4096] = {false};

    tap_case("nothing filled in has no ranges");
    p = make(none, 0);
    CHECK(!pristine_next(&p, 0, &start, &end));
    CHECK(start == 1 && end == 1);
    pristine_close(&p);

    tap_case("ranges ascend, are page aligned, hold every filled page and end with the bytes");
    p = make(pages, PAGES_N);
    while (pristine_next(&p, at, &start, &end)) {
        CHECK(start >= at && end > start && end <= LEN);
        CHECK(num_is_page_aligned(start) && num_is_page_aligned(end));
        for (uint64_t page = start / PAGE_LEN; page < end / PAGE_LEN; page++)
            seen[page] = true;
        at = end;
        n++;
    }
    for (i = 0; i < PAGES_N; i++)
        CHECK(seen[pages[i]]);
    CHECK(n >= 1 && n <= PAGES_N);
    CHECK(!pristine_next(&p, LEN, &start, &end));
    pristine_close(&p);
}

static void test_refusals(void)
{
    struct rlimit old, few;
    struct pristine p = {.fd = 77, .len = 3};
    struct region fill = {.len = 9};
    struct err e = {.text = ""};
    unsigned i;

    tap_case("what the host refuses is told, and leaves nothing behind");
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &few);
    CHECK(pristine_open(&p, LEN, &fill, &e) == -1);
    setrlimit(RLIMIT_NOFILE, &old);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "host memory: cannot share 4194304 bytes: ");
    CHECK_EQ(p.fd, 77);
    CHECK_EQ(fill.len, 9);

    tap_case("a page here and a page there do not use up the process's mappings");
    {
        const uint64_t len = (uint64_t)1 << 30;
        struct region r;

        CHECK(pristine_open(&p, len, &fill, &e) == 0);
        for (i = 0; i < 2000; i++)
            fill.base[(uint64_t)i * 2 * PAGE_LEN] = 1;
        CHECK(pristine_seal(&p, &fill, &e) == 0);
        CHECK(pristine_map(&p, &r, &e) == 0);
        for (i = 0; i < 2000 && r.base[(uint64_t)i * 2 * PAGE_LEN] == 1; i++)
            ;
        CHECK_EQ(i, 2000);
        CHECK_EQ(r.base[PAGE_LEN], 0);
        region_unmap(&r);
        pristine_close(&p);
    }
}

static void test_file(void)
{
    const uint64_t off = 0x10000;
    char name[] = "/tmp/pristine-XXXXXX";
    int fd = mkstemp(name);
    struct pristine p = {.fd = fd, .off = off, .len = LEN};
    uint64_t start = 0, end = 0, covered = 0, i;
    struct region r;
    unsigned found = 0;

    tap_case("bytes in the middle of a file serve as well, and what is around them is not seen");
    if (!CHECK(fd >= 0))
        return;
    unlink(name);
    CHECK(ftruncate(fd, (off_t)(off + LEN + 3 * PAGE_LEN)) == 0);
    for (i = 0; i < PAGES_N; i++) {
        const uint8_t mark = (uint8_t)(i + 1);

        CHECK(pwrite(fd, &mark, 1, (off_t)(off + pages[i] * PAGE_LEN + 5)) == 1);
    }
    CHECK(pwrite(fd, "x", 1, (off_t)off - 1) == 1);
    CHECK(pwrite(fd, "x", 1, (off_t)(off + LEN)) == 1);
    r = map(&p);
    CHECK(is_as_filled(&r));
    r.base[77] = 9;
    r.base[LEN - 1] = 9;
    CHECK(region_clear(&r, &(struct err){.text = ""}) == 0);
    CHECK(is_as_filled(&r));
    region_unmap(&r);
    while (pristine_next(&p, end, &start, &end)) {
        CHECK(start % PAGE_LEN == 0 && end % PAGE_LEN == 0 && start < end && end <= LEN);
        for (i = 0; i < PAGES_N; i++)
            found += pages[i] * PAGE_LEN >= start && pages[i] * PAGE_LEN < end;
        covered += end - start;
    }
    CHECK_EQ(found, PAGES_N);
    CHECK(covered <= LEN);
    close(fd);
}

/* --- sealed under a mapping that stays ------------------------------------------------------------- */

static void limit_to(int what, rlim_t to)
{
    struct rlimit limit;

    getrlimit(what, &limit);
    limit.rlim_cur = to < limit.rlim_max ? to : limit.rlim_max;
    CHECK(setrlimit(what, &limit) == 0);
}

/* Filled with the marks, and still mapped. */
static struct pristine make_open(struct region *fill)
{
    struct pristine p = PRISTINE_CLOSED;
    struct err e;

    CHECK(pristine_open(&p, LEN, fill, &e) == 0);
    for (unsigned i = 0; i < PAGES_N; i++)
        fill->base[pages[i] * PAGE_LEN + 5] = (uint8_t)(i + 1);
    return p;
}

static void test_seal_under(void)
{
    struct err e = {.text = ""};
    struct region fill, other;
    const uint8_t *base;
    struct pristine p;

    tap_case("sealed under the mapping that filled it, that one stays, and its writes are its own");
    p = make_open(&fill);
    base = fill.base;
    CHECK(pristine_seal_under(&p, &fill, &e) == 0);
    CHECK(fill.base == base && fill.len == LEN);
    CHECK(is_as_filled(&fill));
    memset(fill.base, 0xee, LEN);
    other = map(&p);
    CHECK(is_as_filled(&other));
    errno = 0;
    CHECK(pwrite(p.fd, "x", 1, 0) == -1 && errno == EPERM);
    CHECK(mmap(NULL, PAGE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0) == MAP_FAILED);
    CHECK(ftruncate(p.fd, 0) == -1 && ftruncate(p.fd, LEN * 2) == -1);
    CHECK(fill.base[LEN - 1] == 0xee);
    region_unmap(&fill);
    region_unmap(&other);
    pristine_close(&p);

    tap_case("where the host refuses that, everything goes on as before");
    for (unsigned i = 0; i < 2; i++) {
        p = make_open(&fill);
        if (i == 0)
            limit_to(RLIMIT_AS, 0);
        else
            CHECK(fcntl(p.fd, F_ADD_SEALS, F_SEAL_SEAL) == 0);
        CHECK(pristine_seal_under(&p, &fill, &e) == -1);
        limit_to(RLIMIT_AS, RLIM_INFINITY);
        CHECK_EQ(e.status, STATUS_HOST);
        CHECK_HAS(e.text, i == 0 ? "cannot map" : "cannot seal");
        CHECK(is_as_filled(&fill));
        fill.base[LEN - 1] = 9;
        other = map(&p);
        CHECK(other.base[LEN - 1] == 9);
        region_unmap(&fill);
        region_unmap(&other);
        pristine_close(&p);
    }
}

/* A mapping of *p with random writes, and what it then holds in memory of the test's own. */
static uint8_t *scribble(const struct region *r, uint64_t *seed)
{
    uint8_t *copy = malloc(r->len);

    for (unsigned i = 0; i < 300; i++) {
        uint64_t page = tap_random(seed) % (r->len / PAGE_LEN) * PAGE_LEN;

        if (i % 3 == 0)
            memset(r->base + page, 0, PAGE_LEN);
        else
            r->base[page + tap_random(seed) % PAGE_LEN] = (uint8_t)tap_random(seed);
    }
    if (CHECK(copy != NULL))
        memcpy(copy, r->base, r->len);
    return copy;
}

static void test_copy(void)
{
    static const char *const names[] = {"a copy of a mapping has what was written to it",
                                        "a copy has it where nothing tells which pages those are",
                                        "a copy has what was written where there was nothing before"};
    struct pristine p;
    struct region from, to, other;
    uint64_t seed = 9;
    struct err e;

    for (unsigned i = 0; i < 3; i++) {
        uint8_t *wanted;

        tap_case(names[i]);
        p = i == 2 ? PRISTINE_CLOSED : make(pages, PAGES_N);
        if (i == 2)
            CHECK(region_map(&from, LEN, &e) == 0);
        else
            from = map(&p);
        wanted = scribble(&from, &seed);
        if (i == 1)
            limit_to(RLIMIT_NOFILE, 0);
        CHECK(pristine_copy(&p, &from, &to, &e) == 0);
        limit_to(RLIMIT_NOFILE, 64);
        CHECK(wanted != NULL && memcmp(to.base, wanted, LEN) == 0);
        memset(from.base, 0x11, LEN);
        CHECK(wanted != NULL && memcmp(to.base, wanted, LEN) == 0);
        if (i < 2) {
            other = map(&p);
            CHECK(is_as_filled(&other));
            region_unmap(&other);
        }
        region_unmap(&from);
        region_unmap(&to);
        pristine_close(&p);
        free(wanted);
    }
}

int main(void)
{
    test_file();
    test_views();
    test_seal();
    test_seal_under();
    test_copy();
    test_ranges();
    test_refusals();
    return tap_done();
}
