/*
 * mem/iostack: the worked example byte by byte, every SP, BACK and prefix at
 * the edges, and random stacks against the oracle of tests/fuzz/ref_iostack.h.
 */
#include "tests/tap.h"

#include <stdlib.h>

#include "mem/bytes.h"
#include "mem/iostack.h"
#include "tests/fuzz/ref_iostack.h"

#define SIZE 0x4000

/* In memory of exactly its size, so that a sanitizer sees a byte too far. */
static uint8_t *new_stack(uint64_t size)
{
    uint8_t *s = calloc(1, size);

    if (s == NULL)
        abort();
    iostack_reset(s, size);
    return s;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    size_t i;

    for (i = 0; i < len && p[i] == 0; i++)
        ;
    return i == len;
}

static void test_example(void)
{
    /* The call Add(1, 41) needs 0x78 bytes; only its prefix matters here. */
    uint8_t message[0x78] = {0x74}, second[64] = {60}, out[SIZE];
    uint8_t *s = new_stack(SIZE);
    struct iostack_top top, outer;

    memset(message + 4, 0x11, sizeof(message) - 4);
    tap_case("an empty stack is an 8 and zeroes");
    CHECK(s[0] == 8 && is_zero(s + 1, SIZE - 1));

    tap_case("the worked example is pushed byte by byte");
    CHECK_EQ(iostack_push(s, SIZE, message, sizeof(message)), IOSTACK_OK);
    CHECK(memcmp(s, "\x88\0\0\0\0\0\0\0\x74\0\0\0", 12) == 0);
    CHECK(memcmp(s + 8, message, sizeof(message)) == 0);
    CHECK(memcmp(s + 0x80, "\x08\0\0\0\0\0\0\0", 8) == 0 && is_zero(s + 0x88, SIZE - 0x88));

    tap_case("a second push puts 64 bytes at 0x88, BACK 0x88 at 0xC8, SP 0xD0");
    CHECK_EQ(iostack_push(s, SIZE, second, sizeof(second)), IOSTACK_OK);
    CHECK(s[0] == 0xd0 && s[0x88] == 60 && memcmp(s + 0xc8, "\x88\0\0\0\0\0\0\0", 8) == 0);
    CHECK(is_zero(s + 0xd0, SIZE - 0xd0));

    tap_case("the last pushed is on top, and looking changes nothing");
    CHECK_EQ(iostack_peek(s, SIZE, out, sizeof(out), &top), IOSTACK_OK);
    CHECK(top.sp == 0xd0 && top.back == 0x88 && top.len == 64 && memcmp(out, second, 64) == 0);
    CHECK(s[0] == 0xd0 && s[0x88] == 60);
    outer = top;
    CHECK_EQ(iostack_peek(s, SIZE, out, sizeof(out), &top), IOSTACK_OK);
    CHECK(top.sp == outer.sp && top.back == outer.back && top.len == outer.len);

    tap_case("dropping both leaves an empty stack of zeroes");
    iostack_drop(s, &top);
    CHECK(s[0] == 0x88 && is_zero(s + 0x88, SIZE - 0x88));
    CHECK_EQ(iostack_peek(s, SIZE, out, sizeof(out), &top), IOSTACK_OK);
    CHECK(top.sp == 0x88 && top.back == 8 && top.len == 0x78 && memcmp(out, message, sizeof(message)) == 0);
    iostack_drop(s, &top);
    CHECK(s[0] == 8 && is_zero(s + 1, SIZE - 1));
    CHECK_EQ(iostack_peek(s, SIZE, out, sizeof(out), &top), IOSTACK_BAD_SP);
    free(s);
}

/* push against the oracle; both the answer and the whole buffer. */
static bool push_agrees(const uint8_t *stack, uint64_t size, const uint8_t *payload, uint64_t len)
{
    uint8_t *ours = new_stack(size), *theirs = new_stack(size);
    bool agree;

    memcpy(ours, stack, size);
    memcpy(theirs, stack, size);
    agree = iostack_push(ours, size, payload, len) == ref_push(theirs, size, payload, len) &&
            memcmp(ours, theirs, size) == 0;
    free(ours);
    free(theirs);
    return agree;
}

/* The same of a look at the top, of taking it away, and of emptying the stack. */
static bool rest_agrees(const uint8_t *stack, uint64_t size, uint64_t cap)
{
    uint8_t *ours = new_stack(size), *theirs = new_stack(size), *out = malloc(cap + 1);
    struct iostack_top top = {1, 2, 3}, ref_top = {1, 2, 3};
    enum iostack_status status, ref_status;
    bool agree;

    memcpy(ours, stack, size);
    memcpy(theirs, stack, size);
    out[cap] = 0x5a;
    status = iostack_peek(ours, size, out, cap, &top);
    ref_status = ref_peek(theirs, size, cap, &ref_top);
    agree = status == ref_status && memcmp(&top, &ref_top, sizeof(top)) == 0 && out[cap] == 0x5a &&
            memcmp(ours, stack, size) == 0;
    if (agree && status == IOSTACK_OK) {
        agree = top.len <= cap && memcmp(out, stack + top.back, top.len) == 0;
        iostack_drop(ours, &top);
        ref_drop(theirs, &ref_top);
        agree = agree && memcmp(ours, theirs, size) == 0;
        memcpy(ours, stack, size);
        memcpy(theirs, stack, size);
    }
    iostack_reset(ours, size);
    ref_reset(theirs, size);
    agree = agree && memcmp(ours, theirs, size) == 0;
    free(ours);
    free(theirs);
    free(out);
    return agree;
}

static void test_edges(void)
{
    static const uint64_t high[] = {0,
                                    1,
                                    (uint64_t)1 << 31,
                                    (uint64_t)1 << 32,
                                    (uint64_t)1 << 33,
                                    (uint64_t)1 << 63,
                                    UINT64_MAX - 7,
                                    UINT64_MAX - 15,
                                    UINT64_MAX - 63,
                                    UINT64_MAX - 3};
    static const uint64_t sizes[] = {8, 9, 15, 16, 17, 24, 31, 64};
    uint8_t stack[64], payload[80];
    uint64_t size, sp, back, len, at;
    unsigned h, i, wrong = 0;

    memset(payload, 0x77, sizeof(payload));
    tap_case("every length at every SP is pushed or refused as the rules say");
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size = sizes[i], h = 0; h < sizeof(high) / sizeof(high[0]); h++)
            for (sp = 0; sp <= 72; sp++)
                for (len = 0; len <= 72; len++) {
                    memset(stack, 0xee, sizeof(stack));
                    store_le64(stack, high[h] + sp);
                    wrong += !push_agrees(stack, size, payload, len);
                }
    CHECK_EQ(wrong, 0);
    /* The payload is not looked at when there is no room, so it need not be there. */
    store_le64(stack, 8);
    CHECK_EQ(iostack_push(stack, 64, payload, UINT64_MAX), IOSTACK_FULL);
    CHECK_EQ(iostack_push(stack, 64, payload, UINT64_MAX - 7), IOSTACK_FULL);
    CHECK_EQ(iostack_push(stack, 64, payload, 49), IOSTACK_FULL);
    CHECK_EQ(iostack_push(stack, 64, payload, 48), IOSTACK_OK);

    tap_case("every SP, BACK and prefix is taken or refused as the rules say");
    wrong = 0;
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size = sizes[i], h = 0; h < sizeof(high) / sizeof(high[0]); h++)
            for (sp = 0; sp <= 72; sp++)
                for (back = 0; back <= 72; back++) {
                    memset(stack, 0xee, sizeof(stack));
                    for (at = 0; at < sizeof(stack); at++)
                        stack[at] = (uint8_t)(at % 3);
                    store_le64(stack, sp);
                    if (sp >= 8 && sp <= sizeof(stack))
                        store_le64(stack + sp - 8, high[h] + back);
                    if (sp != 8)
                        store_le64(stack, h % 2 == 0 ? sp : sp + high[h]);
                    wrong += !rest_agrees(stack, size, 64);
                }
    for (len = 0; len < 80; len++)
        for (h = 0; h < 4; h++)
            for (at = 0; at < 64; at += 4) {
                memset(stack, 0xee, sizeof(stack));
                store_le64(stack, 64);
                store_le64(stack + 56, 8);
                store_le32(stack + 8, (uint32_t)len + (uint32_t[]){0, 0x7fffffc0, 0xffffffb0, 0xfffffff0}[h]);
                wrong += !rest_agrees(stack, 64, at);
            }
    CHECK_EQ(wrong, 0);
}

static void test_reset(void)
{
    uint8_t s[64];

    tap_case("a reset clears what lies below SP, and all of it when SP is nonsense");
    memset(s, 0xee, sizeof(s));
    store_le64(s, 40);
    iostack_reset(s, sizeof(s));
    CHECK(s[0] == 8 && is_zero(s + 1, 39) && s[40] == 0xee && s[63] == 0xee);
    memset(s, 0xee, sizeof(s));
    iostack_reset(s, sizeof(s));
    CHECK(s[0] == 8 && is_zero(s + 1, 63));
    memset(s, 0xee, sizeof(s));
    store_le64(s, 7);
    iostack_reset(s, 48);
    CHECK(s[0] == 8 && is_zero(s + 1, 47) && s[48] == 0xee);
}

/* More than 16 bits of each word. */
static void test_large(void)
{
    uint64_t size = 0x02030000, len = 0x0102fff0;
    uint8_t *s = calloc(1, size), *message = calloc(1, len), *out = malloc(size);
    struct iostack_top top;

    tap_case("a message of 16 MiB and more is pushed, found below its slack, and dropped");
    if (s == NULL || message == NULL || out == NULL)
        abort();
    iostack_reset(s, size);
    store_le32(message, (uint32_t)len - 4 - 3);
    memset(message + 4, 0x33, len - 4);
    CHECK_EQ(iostack_push(s, size, message, 60), IOSTACK_OK);
    CHECK_EQ(iostack_push(s, size, message, len), IOSTACK_OK);
    CHECK_EQ(iostack_push(s, size, message, len), IOSTACK_FULL);
    CHECK_EQ(iostack_peek(s, size, out, size, &top), IOSTACK_OK);
    CHECK(top.sp == 76 + len + 8 && top.back == 76 && top.len == len - 3 &&
          memcmp(out, message, len - 3) == 0);
    iostack_drop(s, &top);
    CHECK(load_le64(s) == 76 && is_zero(s + 76, size - 76));
    CHECK_EQ(iostack_peek(s, size, out, size, &top), IOSTACK_BAD_PREFIX);
    free(s);
    free(message);
    free(out);
}

static void test_random(void)
{
    uint64_t seed = 4, size, i;
    uint8_t stack[96], payload[64];
    unsigned n, wrong = 0;

    tap_case("100,000 random stacks are treated as the rules say");
    for (n = 0; n < 100000; n++) {
        size = 8 + tap_random(&seed) % (sizeof(stack) - 7);
        for (i = 0; i < sizeof(stack); i++)
            stack[i] = tap_random(&seed) % 4 != 0 ? 0 : (uint8_t)(tap_random(&seed) % 48);
        if (tap_random(&seed) % 2 == 0)
            store_le64(stack, tap_random(&seed) % 100);
        for (i = 0; i < sizeof(payload); i++)
            payload[i] = (uint8_t)tap_random(&seed);
        wrong += !push_agrees(stack, size, payload, tap_random(&seed) % sizeof(payload));
        wrong += !rest_agrees(stack, size, tap_random(&seed) % 64);
    }
    CHECK_EQ(wrong, 0);

    tap_case("what is pushed on a stack of any fill comes off it in the other order, until it is empty");
    for (n = 0; n < 200; n++) {
        uint8_t *s = new_stack(SIZE), *out = malloc(SIZE);
        uint64_t lens[SIZE / 16];
        unsigned pushed = 0, popped = 0;
        struct iostack_top top;

        while (true) {
            uint64_t len = 4 + tap_random(&seed) % 400;
            uint8_t *message = malloc(len + 4);

            memset(message, (int)(pushed & 0xff), len + 4);
            store_le32(message, (uint32_t)len - 4);
            /* Sometimes a slot longer than its message. */
            if (iostack_push(s, SIZE, message, len + (len < 8 ? 4 : tap_random(&seed) % 5)) != IOSTACK_OK) {
                free(message);
                break;
            }
            lens[pushed++] = len;
            free(message);
        }
        CHECK(load_le64(s) > SIZE - 420);
        while (pushed != 0 && iostack_peek(s, SIZE, out, SIZE - IOSTACK_OVERHEAD, &top) == IOSTACK_OK) {
            pushed--;
            popped++;
            wrong += top.len != lens[pushed] || (top.len > 4 && out[top.len - 1] != (pushed & 0xff));
            iostack_drop(s, &top);
        }
        CHECK(pushed == 0 && popped != 0 && wrong == 0 && s[0] == 8 && is_zero(s + 1, SIZE - 1));
        free(out);
        free(s);
    }
}

static void test_names(void)
{
    unsigned i, j;

    tap_case("every status has a name of its own");
    for (i = 0; i < IOSTACK_STATUS_N; i++)
        for (j = 0; j < i; j++)
            CHECK(strcmp(iostack_status_name((enum iostack_status)i),
                         iostack_status_name((enum iostack_status)j)) != 0);
    CHECK_STR(iostack_status_name((enum iostack_status)IOSTACK_STATUS_N), "unknown");
}

int main(void)
{
    test_names();
    test_example();
    test_edges();
    test_reset();
    test_large();
    test_random();
    return tap_done();
}
