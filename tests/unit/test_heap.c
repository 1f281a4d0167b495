/*
 * mem/heap: blocks that keep their bytes whatever is done to others, in all
 * sizes, and what cannot be given is refused. The source is part of this
 * program under other names, so that it is judged in every build.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The kernel's memory, which runs out when told. */

static void *maybe_mmap(void *at, size_t len, int protection, int flags, int fd, off_t off);
static void *maybe_mremap(void *at, size_t old_len, size_t len, int flags);

#define malloc  heap_malloc
#define free    heap_free
#define calloc  heap_calloc
#define realloc heap_realloc
#define mmap    maybe_mmap
#define mremap  maybe_mremap
void *malloc(size_t n);
void free(void *p);
void *calloc(size_t n, size_t len);
void *realloc(void *p, size_t n);
/* NOLINTNEXTLINE(bugprone-suspicious-include): meant */
#include "mem/heap.c"
#undef malloc
#undef free
#undef calloc
#undef realloc
#undef mmap
#undef mremap

#include "tests/tap.h"

#define LIVE_N 400
#define ROUNDS 200000

static unsigned maps_n, maps_left = UINT32_MAX;

static void *maybe_mmap(void *at, size_t len, int protection, int flags, int fd, off_t off)
{
    if (maps_left == 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    maps_left--;
    maps_n++;
    return mmap(at, len, protection, flags, fd, off);
}

static void *maybe_mremap(void *at, size_t old_len, size_t len, int flags)
{
    if (maps_left == 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return mremap(at, old_len, len, flags);
}

struct live {
    uint8_t *p;
    size_t len;
    uint8_t seed;
};

static void fill(const struct live *l)
{
    for (size_t i = 0; i < l->len; i++)
        l->p[i] = (uint8_t)(l->seed + i * 7);
}

static bool is_whole(const struct live *l, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (l->p[i] != (uint8_t)(l->seed + i * 7))
            return false;
    return true;
}

static size_t random_len(uint64_t *seed)
{
    uint64_t r = tap_random(seed);
    /* Mostly small, now and then up to some times the largest that is cut, and the edges of sizes. */
    size_t most = (size_t)1 << (r % 64 == 0 ? 19 : r % 8 == 0 ? 14 : 8), n = (r >> 8) % most;

    return r % 5 == 0 ? ((size_t)1 << (5 + (r >> 40) % 13)) - (r >> 60) % 3 * sizeof(struct block) : n;
}

static void test_random(void)
{
    static struct live live[LIVE_N];
    uint64_t seed = 1;
    unsigned i;

    tap_case(
        "blocks of all sizes are aligned, apart, and keep their bytes; calloc's are zero, reused ones too");
    for (i = 0; i < ROUNDS && tap_ok; i++) {
        struct live *l = &live[tap_random(&seed) % LIVE_N];
        size_t len = random_len(&seed);

        switch (tap_random(&seed) % 4) {
        case 0:
            CHECK(l->p == NULL || is_whole(l, l->len));
            heap_free(l->p);
            l->p = NULL;
            l->len = 0;
            continue;
        case 1:
            CHECK(l->p == NULL || is_whole(l, l->len));
            heap_free(l->p);
            l->p = heap_malloc(len);
            break;
        case 2: {
            uint8_t any = 0;

            heap_free(l->p);
            l->p = heap_calloc(len / 3, 3);
            len = len / 3 * 3;
            for (size_t j = 0; l->p != NULL && j < len; j++)
                any |= l->p[j];
            CHECK_EQ(any, 0);
            break;
        }
        default:
            l->p = heap_realloc(l->p, len);
            CHECK(l->p != NULL && is_whole(l, l->len < len ? l->len : len));
        }
        l->len = len;
        l->seed = (uint8_t)i;
        if (!CHECK(l->p != NULL && (uintptr_t)l->p % 16 == 0))
            return;
        fill(l);
    }
    for (i = 0; i < LIVE_N; i++) {
        CHECK(live[i].p == NULL || is_whole(&live[i], live[i].len));
        heap_free(live[i].p);
    }

    tap_case("what was freed is used again: the same blocks over and over ask the kernel for nothing more");
    for (unsigned round = 0; round < 100; round++) {
        void *p[50];
        unsigned before = maps_n;

        for (i = 0; i < 50; i++)
            p[i] = heap_malloc(i * 100);
        for (i = 0; i < 50; i++)
            heap_free(p[i]);
        CHECK(round == 0 || maps_n == before);
    }

    tap_case("a large block goes back to the kernel when it is freed, and grows where there is room");
    for (i = 0; i < 100; i++) {
        struct live l = {.p = heap_malloc(200000), .len = 200000, .seed = (uint8_t)i};
        unsigned char there;

        if (!CHECK(l.p != NULL))
            return;
        fill(&l);
        l.p = heap_realloc(l.p, 50000000);
        if (!CHECK(l.p != NULL && is_whole(&l, l.len)))
            return;
        l.p[49999999] = 1;
        heap_free(l.p);
        CHECK(mincore((void *)((uintptr_t)l.p & ~(uintptr_t)4095), 4096, &there) == -1 && errno == ENOMEM);
    }
}

static void test_refusals(void)
{
    static const size_t absurd[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 16, PTRDIFF_MAX, (size_t)1 << 62};
    struct live l = {.p = heap_malloc(100), .len = 100, .seed = 3},
                large = {.p = heap_malloc(300000), .len = 300000};
    unsigned i;

    fill(&l);
    fill(&large);

    tap_case("sizes that no memory has are refused, as are products that wrap; what was there stays");
    for (i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
        errno = 0;
        CHECK(heap_malloc(absurd[i]) == NULL && errno == ENOMEM);
        CHECK(heap_calloc(1, absurd[i]) == NULL && heap_calloc(absurd[i], 1) == NULL);
        CHECK(heap_realloc(NULL, absurd[i]) == NULL);
        CHECK(heap_realloc(l.p, absurd[i]) == NULL && is_whole(&l, l.len));
        CHECK(heap_realloc(large.p, absurd[i]) == NULL && is_whole(&large, large.len));
    }
    errno = 0;
    CHECK(heap_calloc((size_t)1 << 33, (size_t)1 << 32) == NULL && errno == ENOMEM);
    CHECK(heap_calloc(((size_t)1 << 32) + 1, (size_t)1 << 32) == NULL);

    tap_case("when the kernel gives no more, the answer is NULL, and what was there stays");
    maps_left = 0;
    while (heap_malloc(4000) != NULL)
        ;
    CHECK(errno == ENOMEM);
    CHECK(heap_malloc(1000000) == NULL && heap_calloc(1000, 1000) == NULL &&
          heap_realloc(NULL, 1000000) == NULL);
    CHECK(heap_realloc(l.p, 1000000) == NULL && is_whole(&l, l.len));
    CHECK(heap_realloc(large.p, 1000000) == NULL && is_whole(&large, large.len));
    maps_left = UINT32_MAX;
    CHECK(heap_malloc(4000) != NULL);

    tap_case("nothing is a block too, and NULL may be freed");
    CHECK(heap_malloc(0) != NULL && heap_calloc(0, 5) != NULL && heap_malloc(0) != heap_malloc(0));
    heap_free(NULL);
    l.p = heap_realloc(l.p, 0);
    CHECK(l.p != NULL);
    heap_free(l.p);
}

static void free_twice(void)
{
    void *p = heap_malloc(10);

    heap_free(p);
    heap_free(p);
}

static void free_middle(void)
{
    char *p = heap_calloc(1, 100);

    heap_free(p + 32);
}

static void use_freed(void)
{
    void *p = heap_malloc(10);

    heap_free(p);
    (void)!heap_realloc(p, 5);
}

static void free_overrun(void)
{
    char *before = heap_malloc(16), *p = heap_malloc(16);

    /* Until there are neighbours: those that were used before come in any order. */
    while (p != before + BLOCK_MIN) {
        before = p;
        p = heap_malloc(16);
    }
    memset(before, 1, 48);
    heap_free(p);
}

static void test_mistakes(void)
{
    static void (*const wrong[])(void) = {free_twice, free_middle, use_freed, free_overrun};
    unsigned i;

    tap_case("a block that is freed twice, or is none, or had its header written over, ends the process");
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int status = 0;
        pid_t pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            const struct rlimit no_core = {0, 0};

            setrlimit(RLIMIT_CORE, &no_core);
            signal(SIGABRT, SIG_DFL);
            close(STDERR_FILENO);
            wrong[i]();
            _exit(0);
        }
        if (!CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
                   WTERMSIG(status) == SIGABRT))
            printf("# mistake %u: status 0x%x\n", i, (unsigned)status);
    }
}

int main(void)
{
    test_random();
    test_refusals();
    test_mistakes();
    return tap_done();
}
