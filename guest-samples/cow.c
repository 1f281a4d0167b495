/*
 * Memory that changes from call to call: pages of a pattern, with sums that
 * tell the words of it. Paged kinds copy a page at its first write.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"

#define PAGES_N 16
#define WORDS_N (GUEST_PAGE_LEN / sizeof(uint32_t))
#define STEP    33 /* from word to word of the pattern: the first and the last of a page are in it */

static uint32_t pages[PAGES_N][WORDS_N] __attribute__((aligned(GUEST_PAGE_LEN)));

static uint32_t sum_of(unsigned page)
{
    uint32_t sum = page;
    unsigned i;

    for (i = 0; i < WORDS_N; i += STEP)
        sum = sum * 31 + pages[page][i];
    return sum;
}

/* fill(seed): write all of it. */
static void fill(const struct msg_value *a, struct msg_result *r)
{
    uint32_t v = (uint32_t)a[0].bits;
    unsigned page, i;

    for (page = 0; page < PAGES_N; page++) {
        for (i = 0; i < WORDS_N; i += STEP) {
            v = v * 1664525 + 1013904223;
            pages[page][i] = v;
        }
    }
    guest_return_void(r);
}

/* add(page, v): to one word of a page; says what it is now. */
static void add(const struct msg_value *a, struct msg_result *r)
{
    uint32_t page = (uint32_t)a[0].bits % PAGES_N;

    pages[page][page * STEP] += (uint32_t)a[1].bits;
    guest_return_bits(r, MSG_UINT, pages[page][page * STEP]);
}

static void sum(const struct msg_value *a, struct msg_result *r)
{
    uint32_t all = 0;
    unsigned page;

    (void)a;
    for (page = 0; page < PAGES_N; page++)
        all = all * 31 + sum_of(page);
    guest_return_bits(r, MSG_UINT, all);
}

static void page_sum(const struct msg_value *a, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, sum_of((uint32_t)a[0].bits % PAGES_N));
}

const struct guest_function guest_functions[] = {
    {"fill", 1, {MSG_UINT}, fill}, {"add", 2, {MSG_UINT, MSG_UINT}, add},
    {"sum", 0, {0}, sum},          {"page_sum", 1, {MSG_UINT}, page_sum},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
    pages[0][0] = 1;
}
