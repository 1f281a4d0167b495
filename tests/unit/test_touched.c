/*
 * Which pages were touched: each once, whatever range touched it, and what the
 * view of guest memory notes of the host's writes.
 */
#include "mem/touched.h"

#include <stdlib.h>
#include <string.h>

#include "mem/gmem.h"
#include "mem/num.h"
#include "tests/tap.h"

#define PAGES_N 200u

/* Whether the list has the pages of `wanted` (a byte for each), each of them once, and the bits say so. */
static bool is_exactly(const struct touched *t, const uint8_t *wanted)
{
    uint8_t seen[PAGES_N] = {0};
    uint32_t i;

    for (i = 0; i < t->n; i++) {
        if (!CHECK(t->list[i] < PAGES_N) || !CHECK_EQ(seen[t->list[i]], 0))
            return false;
        seen[t->list[i]] = 1;
    }
    for (i = 0; i < PAGES_N; i++)
        if (!CHECK_EQ(seen[i], wanted[i]) || !CHECK_EQ(touched_has(t, i), wanted[i]))
            return false;
    return true;
}

static void test_ranges(void)
{
    uint8_t wanted[PAGES_N] = {0};
    struct touched t;
    struct err e;
    uint64_t seed = 5;
    unsigned round;

    tap_case("every page that a range has a byte in is there, once, and nothing else");
    if (!CHECK(touched_open(&t, PAGES_N * PAGE_LEN, &e) == 0))
        return;
    is_exactly(&t, wanted);
    touched_add(&t, 3 * PAGE_LEN, 0);
    touched_add(&t, PAGES_N * PAGE_LEN, 0);
    is_exactly(&t, wanted);
    for (round = 0; round < 60; round++) {
        uint64_t off = tap_random(&seed) % (PAGES_N * PAGE_LEN);
        uint64_t len = 1 + tap_random(&seed) % (round % 3 == 0 ? 5 * PAGE_LEN : 8), i;

        if (round % 7 == 0) {
            off &= ~(uint64_t)PAGE_MASK;
            len = PAGE_LEN;
        }
        if (len > PAGES_N * PAGE_LEN - off)
            len = PAGES_N * PAGE_LEN - off;
        touched_add(&t, off, len);
        for (i = off; i < off + len; i++)
            wanted[i / PAGE_LEN] = 1;
        if (!is_exactly(&t, wanted))
            break;
    }
    touched_add(&t, 0, PAGES_N * PAGE_LEN);
    memset(wanted, 1, sizeof(wanted));
    is_exactly(&t, wanted);
    touched_close(&t);
    CHECK(t.bits == NULL && t.list == NULL);
    touched_close(&t);
}

static void test_clear(void)
{
    uint8_t wanted[PAGES_N] = {0};
    struct touched t;
    struct err e;
    unsigned round;

    tap_case("cleared, it holds nothing, and takes every page again");
    if (!CHECK(touched_open(&t, PAGES_N * PAGE_LEN, &e) == 0))
        return;
    for (round = 0; round < 3; round++) {
        memset(wanted, 0, sizeof(wanted));
        touched_add(&t, 63 * PAGE_LEN, 2 * PAGE_LEN);
        touched_add(&t, (PAGES_N - 1) * PAGE_LEN, 1);
        wanted[63] = wanted[64] = wanted[PAGES_N - 1] = 1;
        is_exactly(&t, wanted);
        touched_clear(&t);
        memset(wanted, 0, sizeof(wanted));
        is_exactly(&t, wanted);
    }
    touched_close(&t);
}

static void test_view(void)
{
    static uint8_t host[2][8 * 4096];
    static const uint8_t bytes[5000];
    uint8_t wanted[PAGES_N] = {0};
    struct gmem *m = gmem_new();
    struct touched t;
    struct err e;

    tap_case("the view notes what the host writes, where it was asked to, and no reads");
    if (!CHECK(m != NULL && touched_open(&t, PAGES_N * PAGE_LEN, &e) == 0))
        return;
    CHECK(gmem_add(m, gpa_make(0x8000), sizeof(host[0]), host[0], true, &e) == 0);
    CHECK(gmem_add(m, gpa_make(0x10000), sizeof(host[1]), host[1], true, &e) == 0);
    gmem_watch(m, gpa_make(0x10000), &t);
    CHECK(gmem_span(m, gpa_make(0x10000), 0x8000) != NULL);
    CHECK(gmem_write(m, gpa_make(0x9000), bytes, 5));
    CHECK(gmem_span_rw(m, gpa_make(0x9000), 5) != NULL);
    CHECK(!gmem_write(m, gpa_make(0x17fff), bytes, 2));
    CHECK(gmem_span_rw(m, gpa_make(0x17fff), 2) == NULL);
    is_exactly(&t, wanted);
    CHECK(gmem_write(m, gpa_make(0xffff), bytes, 2));
    wanted[0] = 1;
    is_exactly(&t, wanted);
    CHECK(gmem_write(m, gpa_make(0x12fff), bytes, 5000));
    wanted[2] = wanted[3] = wanted[4] = 1;
    is_exactly(&t, wanted);
    CHECK(gmem_span_rw(m, gpa_make(0x16ffe), 4) != NULL);
    wanted[6] = wanted[7] = 1;
    is_exactly(&t, wanted);
    gmem_free(m);
    touched_close(&t);
}

/* What the heap gave out before, as to a machine that is gone, is no mark. */
static void test_used_memory(void)
{
    uint8_t wanted[PAGES_N] = {0};
    volatile uint8_t *before =
        (volatile uint8_t *)malloc(PAGES_N / 64 * 8 + 8); /* as many as the bits take */
    unsigned i;
    struct touched t;
    struct err e;

    tap_case("nothing is touched at first, whatever was in its memory before");
    if (!CHECK(before != NULL))
        return;
    for (i = 0; i < PAGES_N / 64 * 8 + 8; i++)
        before[i] = 0xff;
    free((void *)before);
    if (!CHECK(touched_open(&t, PAGES_N * PAGE_LEN, &e) == 0))
        return;
    is_exactly(&t, wanted);
    touched_add(&t, PAGE_LEN, 1);
    wanted[1] = 1;
    is_exactly(&t, wanted);
    touched_close(&t);
}

int main(void)
{
    test_used_memory();
    test_ranges();
    test_clear();
    test_view();
    return tap_done();
}
