/*
 * hv/decimal, judged by the C library's strtod, strtof and printf: numbers next
 * to each tie between two others, at both ends of the range and at random, as
 * texts of any length; and that what is printed is the shortest %g that is read
 * as the same bits.
 */
#include "hv/decimal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "tests/tap.h"

#define ROUNDS 20000

static uint64_t seed = 1;

static unsigned scale(void)
{
    const char *text = getenv("TEST_SCALE");
    unsigned long n = text != NULL ? strtoul(text, NULL, 10) : 1;

    return n == 0 ? 1 : n > 1000 ? 1000 : (unsigned)n;
}

static uint64_t double_bits(double d)
{
    uint64_t bits;

    memcpy(&bits, &d, sizeof(bits));
    return bits;
}

static double double_of(uint64_t bits)
{
    double d;

    memcpy(&d, &bits, sizeof(d));
    return d;
}

static uint32_t float_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* A text that the C library takes whole. */
static bool check_read(const char *s)
{
    uint64_t bits = 77;
    char *end;
    double d = strtod(s, &end);
    float f = strtof(s, NULL);
    bool ok = CHECK(*end == '\0');

    if (CHECK_EQ(decimal_parse(&decimal_double, s, &bits), !isinf(d)))
        ok &= CHECK_EQ(bits, isinf(d) ? 77 : double_bits(d));
    bits = 77;
    if (CHECK_EQ(decimal_parse(&decimal_float, s, &bits), !isinf(f)))
        ok &= CHECK_EQ(bits, isinf(f) ? 77 : float_bits(f));
    if (!tap_ok)
        printf("# %.100s\n", s);
    return ok && tap_ok;
}

static void test_words(void)
{
    static const struct {
        const char *s;
        uint64_t bits;
    } words[] = {
        {"inf", 0x7ff0000000000000},       {"-inf", 0xfff0000000000000}, {"Infinity", 0x7ff0000000000000},
        {"-INFINITY", 0xfff0000000000000}, {"nan", 0x7ff8000000000000},  {"NaN", 0x7ff8000000000000},
        {"-nan", 0xfff8000000000000},
    };
    static const char *const bad[] = {
        "",      "-",   ".",   "-.",   "+1",     "--1",  " 1",   "1 ",   "e1",   ".e1",
        "1e",    "1e+", "1e-", "1e 1", "1.2.",   "1..2", "0x",   "0x.",  "0xp1", "0x1p",
        "0x1p-", "1p1", "1f",  "0x1g", "0x1e+1", "infi", "na",   "nan(", "in",   "1e1.",
        "1e1e1", "1,5", "-+1", "0x-1", "x1",     "1x",   "00x1", "1_0",
    };
    uint64_t bits = 77;
    unsigned i;

    tap_case("infinities and NaNs are read in any letters");
    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!CHECK(decimal_parse(&decimal_double, words[i].s, &bits)) || !CHECK_EQ(bits, words[i].bits))
            printf("# %s\n", words[i].s);
    CHECK(decimal_parse(&decimal_float, "-nan", &bits) && bits == 0xffc00000);
    CHECK(decimal_parse(&decimal_float, "-inf", &bits) && bits == 0xff800000);

    tap_case("what is no number is refused, and nothing is touched");
    bits = 77;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!CHECK(!decimal_parse(&decimal_double, bad[i], &bits)) || !CHECK_EQ(bits, 77))
            printf("# %s\n", bad[i]);
}

static void test_edges(void)
{
    static const char *const edges[] = {
        "0",
        "-0",
        "00.00e99999999999999999999",
        "0x0p99999999999999999999",
        "-0x.0p-9",
        "1",
        "-1",
        "1.",
        ".5",
        "0.1",
        "9007199254740993",
        "9007199254740991.5",
        "9007199254740992.99999",
        "16777217",
        "16777219",
        "1e22",
        "1e23",
        "8.5e22",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490179775872070"
        "96330286"
        "4166928879109465555478519404026306574886715058206819089020007083836762738548458177115317644757302700"
        "69855571"
        "366959622842914819860834936475292719074168444365510704342711559699508093042880",
        "1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490179775872070"
        "96330286"
        "4166928879109465555478519404026306574886715058206819089020007083836762738548458177115317644757302700"
        "69855571"
        "366959622842914819860834936475292719074168444365510704342711559699508093042879.999999",
        "1e309",
        "-1e309",
        "1e999999999999999999999999",
        "1e-999999999999999999999999",
        "3.4028235e38",
        "3.4028235677973366e38",
        "340282356779733661637539395458142568447.9999",
        "340282356779733661637539395458142568448",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1.4e-45",
        "7.006492321624085e-46",
        "7.006492321624086e-46",
        "1e-400",
        "0x1p0",
        "0X1.8P3",
        "-0x.8",
        "0x1.fffffffffffff8p1023",
        "0x1.fffffffffffff7p1023",
        "0x1p1024",
        "0x1p-1074",
        "0x1p-1075",
        "0x1.0000000000000000000000000000001p-1075",
        "0x123456789abcdef0123456789abcdefp-200",
        "0x10000000000000800000000000000000",
        "0x10000000000000800000000000000001",
        "0x1p-99999",
        "0x1p99999",
        "0x0.000000000000000000000001p1100",
        "0x1000001",
        "0x1000001.00000000000000000000000000000000000000001",
        "0xffffffffffffffffffffffffp-1175",
        "0x1.fffffep127",
        "0x1.ffffffp127",
        "0xabcdef.ABCDEF",
    };
    char text[3000];
    unsigned i;

    tap_case("both ends of the range, ties and hexadecimal numbers are read as strtod reads them");
    for (i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        check_read(edges[i]);

    tap_case("zeros and digits without end change nothing but the rounding they should");
    for (i = 1; i < 2000 && tap_ok; i += i < 20 ? 1 : 191) {
        snprintf(text, sizeof(text), "0.%0*de%u", (int)i, 17, i);
        check_read(text);
        snprintf(text, sizeof(text), "%d%0*de-%u", 17, (int)i, 0, i);
        check_read(text);
        snprintf(text, sizeof(text), "9007199254740993.%0*d", (int)i, 1);
        check_read(text);
        snprintf(text, sizeof(text), "%0*d.5e-%u", (int)i, 5, i);
        check_read(text);
    }
    /* Half of the smallest number, and a little more and less than that, in all its digits and beyond. */
    snprintf(text, sizeof(text), "%.1075f", 0.0);
    for (i = 0; i < 40 && tap_ok; i++) {
        int n = snprintf(text, sizeof(text), "%.1074f", double_of(i));

        memcpy(text + n, "5", 2);
        check_read(text);
        snprintf(text + n, sizeof(text) - (size_t)n, "4%0*d", (int)i * 9 + 1, 9);
        check_read(text);
        snprintf(text + n, sizeof(text) - (size_t)n, "5%0*d", (int)i * 9 + 1, 1);
        check_read(text);
    }
}

/* The tie above a number, exactly: its digits come from the C library, which has one more bit here. */
static void check_around_tie(double low, double high)
{
    char text[1500];
    int n = snprintf(text, sizeof(text), "%.1075Lf", ((long double)low + (long double)high) / 2);

    check_read(text);
    text[n] = '1';
    text[n + 1] = '\0';
    check_read(text);
}

static void test_random_reading(void)
{
    unsigned n = ROUNDS * scale(), i;
    char text[100];

    tap_case("random decimal numbers are read as strtod and strtof read them");
    for (i = 0; i < n && tap_ok; i++) {
        uint64_t r = tap_random(&seed);

        snprintf(text, sizeof(text), "%s%" PRIu64 "%s%0*" PRIu64 "e%d", r & 1 ? "-" : "",
                 tap_random(&seed) >> (r >> 1) % 64, ".", (int)((r >> 8) % 20) + 1,
                 tap_random(&seed) >> (r >> 16) % 64, (int)((r >> 32) % 720) - 380);
        check_read(text);
        /* Not down to the smallest: musl's strtod cuts some of those off. */
        snprintf(text, sizeof(text), "0x%" PRIx64 ".%0*" PRIx64 "p%d", tap_random(&seed) >> (r >> 1) % 64,
                 (int)((r >> 8) % 20) + 1, tap_random(&seed) >> (r >> 16) % 64,
                 (int)((r >> 32) % 1900) - 900);
        check_read(text);
    }

    tap_case("the ties between neighbours go to the even one, and a digit more goes up");
    for (i = 0; i < n / 10 && tap_ok; i++) {
        uint64_t bits = tap_random(&seed) >> 1;
        uint32_t narrow = (uint32_t)tap_random(&seed) >> 1;

        if (bits < 0x7fe0000000000000)
            check_around_tie(double_of(bits), double_of(bits + 1));
        if (narrow < 0x7f000000)
            check_around_tie((double)float_of(narrow), (double)float_of(narrow + 1));
    }
}

static bool check_printed(const struct decimal_form *form, uint64_t bits)
{
    double d = form == &decimal_float ? (double)float_of((uint32_t)bits) : double_of(bits);
    char want[40] = "", got[DECIMAL_LEN_MAX];
    int precision;

    for (precision = form == &decimal_float ? 6 : 15; precision <= 17; precision++) {
        snprintf(want, sizeof(want), "%.*g", precision, d);
        if (form == &decimal_float ? strtof(want, NULL) == (float)d : strtod(want, NULL) == d)
            break;
    }
    memset(got, '?', sizeof(got));
    decimal_print(form, bits, got);
    return CHECK_STR(got, want);
}

static void test_printing(void)
{
    static const double nice[] = {0.0,
                                  1.0,
                                  10.0,
                                  100000.0,
                                  123456.0,
                                  999999.5,
                                  1e6,
                                  1e14,
                                  1e15,
                                  1e16,
                                  123456789012345678.0,
                                  0.5,
                                  0.1,
                                  0.0001,
                                  0.00012345,
                                  0.00001,
                                  0.000099999999999999999,
                                  1.5,
                                  2.5e-5,
                                  9.999999999999999e22,
                                  1e23,
                                  1e100,
                                  5e-324,
                                  2.2250738585072014e-308,
                                  1.7976931348623157e308,
                                  4503599627370496.5,
                                  9007199254740992.0,
                                  0.3,
                                  2.0 / 3,
                                  999999999999999.9,
                                  99999999999999.99,
                                  123456.7890625};
    unsigned n = ROUNDS * scale(), i;
    int power;

    tap_case("numbers are printed as %g prints them, in every layout it has");
    for (i = 0; i < sizeof(nice) / sizeof(nice[0]); i++) {
        check_printed(&decimal_double, double_bits(nice[i]));
        check_printed(&decimal_double, double_bits(-nice[i]));
        check_printed(&decimal_float, float_bits((float)nice[i]));
    }
    check_printed(&decimal_double, double_bits((double)INFINITY));
    check_printed(&decimal_float, float_bits(-INFINITY));

    tap_case("powers of two and of ten, and their neighbours, are printed with the digits they need");
    for (power = -1074; power < 1024 && tap_ok; power++) {
        uint64_t bits = double_bits(ldexp(1.0, power));

        check_printed(&decimal_double, bits);
        check_printed(&decimal_double, bits - 1);
        check_printed(&decimal_double, bits + 1);
        if (power >= -149 && power < 128)
            check_printed(&decimal_float, float_bits(ldexpf(1.0f, power)));
        if (power >= -323 && power <= 308) {
            char text[16];

            snprintf(text, sizeof(text), "1e%d", power);
            check_printed(&decimal_double, double_bits(strtod(text, NULL)));
            check_printed(&decimal_double, double_bits(strtod(text, NULL)) + 1);
            check_printed(&decimal_double, double_bits(strtod(text, NULL)) - 1);
        }
    }

    tap_case("random numbers are printed in the shortest form that is read as the same bits");
    for (i = 0; i < n && tap_ok; i++) {
        uint64_t bits = tap_random(&seed);

        if (i % 4 == 0)
            bits &= 0x800fffffffffffff;
        else if (i % 4 == 1)
            bits = double_bits((double)(int64_t)bits / 1000);
        if ((bits & 0x7ff0000000000000) != 0x7ff0000000000000)
            check_printed(&decimal_double, bits);
        if ((bits & 0x7f800000) != 0x7f800000)
            check_printed(&decimal_float, (uint32_t)bits);
    }
}

int main(void)
{
    test_words();
    test_edges();
    test_random_reading();
    test_printing();
    return tap_done();
}
