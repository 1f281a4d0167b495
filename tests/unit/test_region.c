/* mem/region: what a mapping allows, costs and gives back, proven by children that die of it. */
#include "mem/region.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem/num.h"
#include "tests/tap.h"

#define PAGES_N 8

static struct err untouched = {.status = STATUS_OK, .text = "untouched"};

static struct region map(uint64_t len)
{
    struct region r = {NULL, 0};
    struct err e = untouched;

    CHECK(region_map(&r, len, &e) == 0);
    CHECK_STR(e.text, "untouched");
    return r;
}

/* The signal that ends a child which runs fn(p); 0 when it lives. */
static int signal_of(void (*fn)(uint8_t *p), uint8_t *p)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would turn the signal into a status */
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        fn(p);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void write_first(uint8_t *p)
{
    *(volatile uint8_t *)p = 1;
}

static void read_first(uint8_t *p)
{
    (void)*(volatile uint8_t *)p;
}

static void call(uint8_t *p)
{
    void (*fn)(void);

    memcpy(&fn, &p, sizeof(fn));
    fn();
}

static void map_nothing(uint8_t *p)
{
    struct region r;
    struct err e;

    (void)p;
    (void)region_map(&r, 0, &e);
}

static void map_part_of_a_page(uint8_t *p)
{
    struct region r;
    struct err e;

    (void)p;
    (void)region_map(&r, PAGE_LEN + 1, &e);
}

static unsigned resident_pages(const struct region *r)
{
    unsigned char there[PAGES_N] = {0};
    unsigned n = 0;

    if (mincore(r->base, r->len, there) != 0)
        return PAGES_N + 1;
    for (unsigned i = 0; i < PAGES_N; i++)
        n += there[i] & 1;
    return n;
}

static bool all_bytes_are(const struct region *r, uint8_t value)
{
    for (uint64_t i = 0; i < r->len; i++)
        if (r->base[i] != value)
            return false;
    return true;
}

static void test_map(void)
{
    static uint8_t ret_instruction[1] = {0xc3};
    struct region r;

    tap_case("a mapping has the length asked for, starts at a page and reads as zero");
    r = map(PAGES_N * PAGE_LEN);
    CHECK_EQ(r.len, PAGES_N * PAGE_LEN);
    CHECK(num_is_page_aligned((uintptr_t)r.base));
    CHECK(all_bytes_are(&r, 0));

    tap_case("every byte of a mapping can be written");
    memset(r.base, 0xee, r.len);
    CHECK(all_bytes_are(&r, 0xee));

    tap_case("code in a mapping cannot be executed");
    memcpy(r.base, ret_instruction, sizeof(ret_instruction));
    CHECK_EQ(signal_of(call, r.base), SIGSEGV);
    region_unmap(&r);

    tap_case("a mapping costs only the pages touched");
    r = map(PAGES_N * PAGE_LEN);
    CHECK_EQ(resident_pages(&r), 0);
    r.base[3 * PAGE_LEN] = 1;
    CHECK_EQ(resident_pages(&r), 1);
    region_unmap(&r);

    tap_case("a mapping is private: a child's write stays in the child");
    r = map(PAGE_LEN);
    CHECK_EQ(signal_of(write_first, r.base), 0);
    CHECK_EQ(r.base[0], 0);
    region_unmap(&r);
}

static bool host_counts_every_mapping(void)
{
    char mode = '0';
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "r");

    if (f != NULL) {
        if (fread(&mode, 1, 1, f) != 1)
            mode = '0';
        fclose(f);
    }
    return mode == '2';
}

static void test_large(void)
{
    const char *name = "a mapping larger than all memory of the host is no failure";
    struct sysinfo si;
    struct region r;

    if (host_counts_every_mapping()) {
        tap_skip(name, "vm.overcommit_memory is 2 on this host");
        return;
    }
    tap_case(name);
    CHECK(sysinfo(&si) == 0);
    r = map(num_page_down(((uint64_t)si.totalram + si.totalswap) * si.mem_unit) * 2);
    region_unmap(&r);
}

static void test_map_fails(void)
{
    struct region r = {(uint8_t *)0x123000, 0x5000};
    struct rlimit old, low = {(rlim_t)1 << 30, 0};
    struct err e = untouched;
    int result;

    tap_case("a mapping the host refuses is an error and the out-argument stays");
    CHECK(getrlimit(RLIMIT_AS, &old) == 0);
    low.rlim_max = old.rlim_max;
    CHECK(setrlimit(RLIMIT_AS, &low) == 0);
    result = region_map(&r, (uint64_t)2 << 30, &e);
    CHECK(setrlimit(RLIMIT_AS, &old) == 0);
    CHECK(result == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "host memory: cannot map 2147483648 bytes: ");
    CHECK_HAS(e.text, strerror(ENOMEM));
    CHECK_EQ((uintptr_t)r.base, 0x123000);
    CHECK_EQ(r.len, 0x5000);
}

static void test_file(void)
{
    struct region r = {.base = (uint8_t *)(uintptr_t)0x123000, .len = 0x5000};
    struct err e = untouched;
    char name[] = "/tmp/test_region.XXXXXX";
    uint8_t page[PAGE_LEN];
    int fd = mkstemp(name);

    tap_case("a part of a file is mapped from its offset, to be read only");
    CHECK(fd >= 0 && unlink(name) == 0);
    memset(page, 0x11, sizeof(page));
    CHECK(pwrite(fd, page, sizeof(page), 0) == (ssize_t)sizeof(page));
    memset(page, 0x22, sizeof(page));
    CHECK(pwrite(fd, page, sizeof(page), PAGE_LEN) == (ssize_t)sizeof(page));
    if (CHECK(region_map_file(&r, fd, PAGE_LEN, PAGE_LEN, &e) == 0)) {
        CHECK_EQ(r.len, PAGE_LEN);
        CHECK_EQ(r.base[0], 0x22);
        CHECK_EQ(signal_of(write_first, r.base), SIGSEGV);
        region_unmap(&r);
    }

    tap_case(
        "what is written to a private mapping of a file is not in the file, and gone when it is cleared");
    if (CHECK(region_map_file_private(&r, fd, PAGE_LEN, PAGE_LEN, &e) == 0)) {
        CHECK_EQ(r.base[0], 0x22);
        r.base[0] = 0x33;
        CHECK(pread(fd, page, 1, PAGE_LEN) == 1 && page[0] == 0x22);
        CHECK(region_clear(&r, &e) == 0);
        CHECK_EQ(r.base[0], 0x22);
        CHECK_EQ(r.base[1], 0x22);
        region_unmap(&r);
    }
    close(fd);

    tap_case("a file that cannot be mapped is a host error that says how much was wanted");
    r = (struct region){.base = (uint8_t *)(uintptr_t)0x123000, .len = 0x5000};
    CHECK(region_map_file(&r, -1, 0, PAGE_LEN, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "host memory: cannot map 4096 bytes of a file");
    CHECK_EQ((uintptr_t)r.base, 0x123000);
    CHECK_EQ(r.len, 0x5000);
    CHECK(region_map_file_private(&r, -1, 0, PAGE_LEN, &e) == -1);
    CHECK_HAS(e.text, "host memory: cannot map 4096 bytes of a file");
}

static void test_remap(void)
{
    int fd = memfd_create("remap", MFD_CLOEXEC);
    struct err e = untouched;
    struct region r = map(2 * PAGE_LEN);
    uint8_t page[PAGE_LEN], *base = r.base;

    tap_case("a file is mapped over what was there, at the same address");
    memset(page, 0x11, sizeof(page));
    CHECK(fd >= 0 && pwrite(fd, page, sizeof(page), PAGE_LEN) == (ssize_t)sizeof(page) &&
          pwrite(fd, page, sizeof(page), 2 * PAGE_LEN) == (ssize_t)sizeof(page));
    memset(r.base, 0xff, r.len);
    CHECK(region_remap_file(&r, fd, PAGE_LEN, true, &e) == 0);
    CHECK_STR(e.text, "untouched");
    CHECK(r.base == base && r.len == 2 * PAGE_LEN && all_bytes_are(&r, 0x11));
    tap_case("what is written there is gone with the next");
    r.base[5] = 0x22;
    CHECK(region_remap_file(&r, fd, PAGE_LEN, false, &e) == 0);
    CHECK(r.base == base && all_bytes_are(&r, 0x11));
    CHECK_EQ(signal_of(read_first, r.base), 0);
    CHECK_EQ(signal_of(write_first, r.base), SIGSEGV);
    tap_case("where that fails nothing is mapped any more");
    CHECK(region_remap_file(&r, -1, 0, true, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK(r.base == NULL && r.len == 0);
    CHECK_EQ(signal_of(read_first, base), SIGSEGV);
    close(fd);
}

static void test_seal(void)
{
    struct err e = untouched;
    struct region r, gone;

    tap_case("a write to a sealed mapping ends the process with SIGSEGV, a read does not");
    r = map(2 * PAGE_LEN);
    r.base[0] = 0x77;
    CHECK_EQ(signal_of(write_first, r.base), 0);
    CHECK(region_seal(&r, &e) == 0);
    CHECK_STR(e.text, "untouched");
    CHECK_EQ(signal_of(write_first, r.base), SIGSEGV);
    CHECK_EQ(signal_of(write_first, r.base + r.len - 1), SIGSEGV);
    CHECK_EQ(signal_of(read_first, r.base), 0);
    CHECK_EQ(r.base[0], 0x77);

    tap_case("sealing or clearing what is not mapped is an error");
    gone = r;
    region_unmap(&r);
    CHECK(region_seal(&gone, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "host memory: cannot write-protect 8192 bytes: ");
    e = untouched;
    CHECK(region_clear(&gone, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "host memory: cannot clear 8192 bytes: ");
}

static void test_clear(void)
{
    struct err e = untouched;
    struct region r;

    tap_case("a cleared mapping reads as zero, its memory is given back and it can be written again");
    r = map(PAGES_N * PAGE_LEN);
    memset(r.base, 0xff, r.len);
    CHECK_EQ(resident_pages(&r), PAGES_N);
    CHECK(region_clear(&r, &e) == 0);
    CHECK_STR(e.text, "untouched");
    CHECK_EQ(resident_pages(&r), 0);
    CHECK(all_bytes_are(&r, 0));
    CHECK_EQ(signal_of(write_first, r.base), 0);
    region_unmap(&r);
}

static void test_fill(void)
{
    uint8_t from[6 * PAGE_LEN];
    struct region r;

    tap_case("to fill copies every page but those of zeros, which take no memory");
    memset(from, 0, sizeof(from));
    from[0] = 1;
    from[2 * PAGE_LEN - 1] = 2;
    memset(from + 3 * PAGE_LEN, 0xff, PAGE_LEN);
    from[5 * PAGE_LEN + 8] = 0x80;
    r = map(sizeof(from));
    region_fill(r.base, from, r.len);
    CHECK_EQ(resident_pages(&r), 4);
    CHECK(memcmp(r.base, from, sizeof(from)) == 0);
    region_unmap(&r);
}

static void test_populate(void)
{
    struct region r = map(PAGES_N * PAGE_LEN), other = map(PAGE_LEN);
    bool can = madvise(other.base, PAGE_LEN, 23) == 0; /* MADV_POPULATE_WRITE, Linux 5.14 */
    unsigned before = resident_pages(&r);
    unsigned char there[PAGES_N];

    tap_case("what is populated has memory, reads as zero, and is all that has");
    CHECK_EQ(before, 0);
    region_populate(r.base + 2 * PAGE_LEN, 3 * PAGE_LEN);
    CHECK_EQ(resident_pages(&r), can ? 3 : 0);
    CHECK(mincore(r.base, r.len, there) == 0);
    CHECK_EQ(there[2] & there[3] & there[4] & 1, can);
    CHECK(all_bytes_are(&r, 0));

    tap_case("where the host cannot populate, nothing happens");
    region_unmap(&other);
    errno = 0;
    region_populate(r.base + 1, PAGE_LEN);
    CHECK(errno == EINVAL && all_bytes_are(&r, 0));
    region_unmap(&r);
}

static void test_split(void)
{
    struct region r = map(PAGES_N * PAGE_LEN), rest;
    uint8_t *base = r.base;

    tap_case("a mapping is split at a page, and each part goes by itself");
    region_split(&r, 3 * PAGE_LEN, &rest);
    CHECK(r.base == base && r.len == 3 * PAGE_LEN);
    CHECK(rest.base == base + 3 * PAGE_LEN && rest.len == (PAGES_N - 3) * PAGE_LEN);
    region_unmap(&r);
    CHECK_EQ(signal_of(read_first, base + 2 * PAGE_LEN), SIGSEGV);
    CHECK_EQ(signal_of(read_first, rest.base), 0);
    r = rest;

    tap_case("split at its end there is no second part");
    region_split(&r, (PAGES_N - 3) * PAGE_LEN, &rest);
    CHECK(rest.base == NULL && rest.len == 0);
    CHECK_EQ(r.len, (PAGES_N - 3) * PAGE_LEN);
    region_unmap(&r);
}

/* In a process of its own: it cannot be taken back. */
static void unmap_kept(uint8_t *p)
{
    struct region r = {p, PAGE_LEN};

    region_keep_mapped();
    region_unmap(&r);
    read_first(p);
    CHECK(r.base == NULL && r.len == 0);
    if (!tap_ok)
        abort();
}

static void test_unmap(void)
{
    struct region r;
    uint8_t *base;

    tap_case("after unmapping the region is empty and its addresses are gone");
    r = map(PAGE_LEN);
    base = r.base;
    region_unmap(&r);
    CHECK(r.base == NULL);
    CHECK_EQ(r.len, 0);
    CHECK_EQ(signal_of(read_first, base), SIGSEGV);

    tap_case("unmapping an empty region does nothing");
    region_unmap(&r);
    CHECK(r.base == NULL);
    CHECK_EQ(r.len, 0);

    tap_case("in a process that is about to end the region is empty, and its memory still there");
    r = map(PAGE_LEN);
    CHECK_EQ(signal_of(unmap_kept, r.base), 0);
    region_unmap(&r);
}

int main(void)
{
    test_map();
    test_large();
    test_map_fails();
    test_file();
    test_remap();
    test_seal();
    test_clear();
    test_fill();
    test_populate();
    test_split();
    test_unmap();

    tap_case("a length of zero or of part of a page is a programming error");
    CHECK_EQ(signal_of(map_nothing, NULL), SIGABRT);
    CHECK_EQ(signal_of(map_part_of_a_page, NULL), SIGABRT);
    return tap_done();
}
