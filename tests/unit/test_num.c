/* mem/num.h: each answer on both sides of its boundary. */
#include "mem/num.h"

#include "tests/tap.h"

#define MAX  UINT64_MAX
#define MARK 0x5a5a5a5a5a5a5a5au

static void test_add(void)
{
    uint64_t sum = MARK;

    tap_case("a sum that fits is made");
    sum = MARK;
    CHECK(num_add(2, 3, &sum));
    CHECK_EQ(sum, 5);
    CHECK(num_add(0, 0, &sum));
    CHECK_EQ(sum, 0);

    tap_case("the largest sum is made");
    CHECK(num_add(MAX - 1, 1, &sum));
    CHECK_EQ(sum, MAX);
    CHECK(num_add(MAX, 0, &sum));
    CHECK_EQ(sum, MAX);
    CHECK(num_add(0, MAX, &sum));
    CHECK_EQ(sum, MAX);

    tap_case("a sum that wraps is refused and the result left alone");
    sum = MARK;
    CHECK(!num_add(MAX, 1, &sum));
    CHECK(!num_add(1, MAX, &sum));
    CHECK(!num_add(MAX, MAX, &sum));
    CHECK(!num_add((uint64_t)1 << 63, (uint64_t)1 << 63, &sum));
    CHECK_EQ(sum, MARK);
}

static void test_mul(void)
{
    const uint64_t half = (uint64_t)1 << 32;
    uint64_t product = MARK;

    tap_case("a product that fits is made");
    product = MARK;
    CHECK(num_mul(6, 7, &product));
    CHECK_EQ(product, 42);
    CHECK(num_mul(0, MAX, &product));
    CHECK_EQ(product, 0);

    tap_case("the largest products are made");
    CHECK(num_mul(MAX, 1, &product));
    CHECK_EQ(product, MAX);
    CHECK(num_mul(half, half - 1, &product));
    CHECK_EQ(product, 0xffffffff00000000u);
    CHECK(num_mul(MAX / 3, 3, &product)); /* 2^64 - 1 is a multiple of 3 */
    CHECK_EQ(product, MAX);

    tap_case("a product that wraps is refused and the result left alone");
    product = MARK;
    CHECK(!num_mul(half, half, &product));
    CHECK(!num_mul(MAX / 3 + 1, 3, &product));
    CHECK(!num_mul(MAX, 2, &product));
    CHECK(!num_mul(2, MAX, &product));
    CHECK_EQ(product, MARK);
}

static void test_pages(void)
{
    uint64_t up = MARK;

    tap_case("a page is 4096 bytes");
    CHECK_EQ(PAGE_LEN, 4096);
    CHECK_EQ(PAGE_MASK, 4095);
    CHECK_EQ(PAGE_LEN >> PAGE_SHIFT, 1);

    tap_case("rounding up stops at the next page edge");
    CHECK(num_page_up(0, &up));
    CHECK_EQ(up, 0);
    CHECK(num_page_up(1, &up));
    CHECK_EQ(up, 0x1000);
    CHECK(num_page_up(0xfff, &up));
    CHECK_EQ(up, 0x1000);
    CHECK(num_page_up(0x1000, &up));
    CHECK_EQ(up, 0x1000);
    CHECK(num_page_up(0x1001, &up));
    CHECK_EQ(up, 0x2000);

    tap_case("the last page edge can be reached and nothing behind it");
    CHECK(num_page_up(MAX - 0xfff, &up));
    CHECK_EQ(up, 0xfffffffffffff000u);
    CHECK(num_page_up(MAX - 0x1ffe, &up));
    CHECK_EQ(up, 0xfffffffffffff000u);
    up = MARK;
    CHECK(!num_page_up(MAX - 0xffe, &up));
    CHECK(!num_page_up(MAX, &up));
    CHECK_EQ(up, MARK);

    tap_case("rounding down keeps a page edge and drops offset bits");
    CHECK_EQ(num_page_down(0), 0);
    CHECK_EQ(num_page_down(0xfff), 0);
    CHECK_EQ(num_page_down(0x1000), 0x1000);
    CHECK_EQ(num_page_down(0x1fff), 0x1000);
    CHECK_EQ(num_page_down(MAX), 0xfffffffffffff000u);

    tap_case("only multiples of a page are page aligned");
    CHECK(num_is_page_aligned(0));
    CHECK(num_is_page_aligned(0x1000));
    CHECK(num_is_page_aligned(0xfffffffffffff000u));
    CHECK(!num_is_page_aligned(1));
    CHECK(!num_is_page_aligned(0x800));
    CHECK(!num_is_page_aligned(0xfff));
    CHECK(!num_is_page_aligned(0x1001));
    CHECK(!num_is_page_aligned(MAX));
}

static void test_power_of_two(void)
{
    tap_case("each of the 64 powers of two is one, its neighbours are not");
    for (unsigned i = 0; i < 64; i++) {
        uint64_t p = (uint64_t)1 << i;

        CHECK(num_is_power_of_two(p));
        if (i > 1) {
            CHECK(!num_is_power_of_two(p - 1));
            CHECK(!num_is_power_of_two(p + 1));
        }
    }

    tap_case("zero and all ones are no powers of two");
    CHECK(!num_is_power_of_two(0));
    CHECK(!num_is_power_of_two(3));
    CHECK(!num_is_power_of_two(MAX));
}

static void test_fits(void)
{
    tap_case("a range that ends at the limit fits, one byte more does not");
    CHECK(num_fits(0, 10, 10));
    CHECK(!num_fits(0, 11, 10));
    CHECK(num_fits(4, 6, 10));
    CHECK(!num_fits(4, 7, 10));
    CHECK(!num_fits(5, 6, 10));

    tap_case("an empty range fits up to the limit and not behind it");
    CHECK(num_fits(0, 0, 0));
    CHECK(num_fits(10, 0, 10));
    CHECK(!num_fits(11, 0, 10));
    CHECK(!num_fits(1, 0, 0));

    tap_case("a range whose end wraps does not fit");
    CHECK(!num_fits(MAX, 2, 10));
    CHECK(!num_fits(2, MAX, 10));
    CHECK(!num_fits(MAX, MAX, MAX));
    CHECK(!num_fits(1, MAX, MAX));
    CHECK(num_fits(0, MAX, MAX));
    CHECK(num_fits(MAX, 0, MAX));
    CHECK(num_fits(MAX - 1, 1, MAX));
}

/* The same question byte by byte, for small numbers. */
static bool share_a_byte(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    for (uint64_t i = 0; i < a_len; i++)
        for (uint64_t j = 0; j < b_len; j++)
            if (a + i == b + j)
                return true;
    return false;
}

static void test_overlap(void)
{
    unsigned wrong = 0;

    tap_case("overlap agrees with a comparison byte by byte");
    for (uint64_t a = 0; a < 6; a++)
        for (uint64_t a_len = 0; a_len < 6; a_len++)
            for (uint64_t b = 0; b < 6; b++)
                for (uint64_t b_len = 0; b_len < 6; b_len++)
                    wrong += num_overlap(a, a_len, b, b_len) != share_a_byte(a, a_len, b, b_len);
    CHECK_EQ(wrong, 0);

    tap_case("ranges at the top of the address space overlap or touch as others do");
    CHECK(num_overlap(MAX - 0x1000, 0x1000, MAX - 1, 1));
    CHECK(!num_overlap(MAX - 0x1000, 0xfff, MAX - 1, 1));
    CHECK(!num_overlap(MAX - 1, 1, MAX - 0x1000, 0xfff));
    CHECK(num_overlap(0, MAX, MAX - 1, 1));
    CHECK(!num_overlap(0, MAX, MAX, 0));
}

int main(void)
{
    test_add();
    test_mul();
    test_pages();
    test_power_of_two();
    test_fits();
    test_overlap();
    return tap_done();
}
