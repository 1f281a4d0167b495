/* hv/args: both sides of every limit of an option's value; a refusal names the option and touches nothing. */
#include "hv/args.h"

#include <stdlib.h>

#include "tests/tap.h"

#define UNTOUCHED 0x5a5a5a5a5a5a5a5au

typedef int parser(const char *option, const char *value, uint64_t *out, struct err *e);

static int number_100(const char *option, const char *value, uint64_t *out, struct err *e)
{
    return args_number(option, value, 100, out, e);
}

static int number_any(const char *option, const char *value, uint64_t *out, struct err *e)
{
    return args_number(option, value, UINT64_MAX, out, e);
}

static void takes(parser *p, const char *value, uint64_t wanted)
{
    struct err e = {.text = "untouched"};
    uint64_t got = UNTOUCHED;

    if (!CHECK(p("opt", value, &got, &e) == 0))
        printf("# %s: %s\n", value, e.text);
    CHECK_EQ(got, wanted);
    CHECK_STR(e.text, "untouched");
}

/* The text names the option, the value and says `why`. */
static void refuses(parser *p, const char *value, const char *why)
{
    struct err e = {.text = ""};
    uint64_t got = UNTOUCHED;

    if (!CHECK(p("opt", value, &got, &e) == -1))
        printf("# %s is taken for %" PRIu64 "\n", value, got);
    CHECK_EQ(got, UNTOUCHED);
    CHECK_EQ(e.status, STATUS_USAGE);
    CHECK(strncmp(e.text, "--opt: ", 7) == 0);
    CHECK_HAS(e.text, value);
    if (!CHECK_HAS(e.text, why))
        printf("# %s: %s\n", value, e.text);
}

static void test_sizes(void)
{
    static const char *const no_numbers[] = {"", "K", "-1K", "+1K", " 1K", "x", "K1", ".5G", "/K", ":K"};
    static const char *const no_suffixes[] = {"1B", "1k",  "1m",   "1KB",   "1KiB", "1K ",   "1 K",
                                              "1T", "1KK", "1.5M", "0x10K", "1MK",  "1,000K"};
    size_t i;

    tap_case("sizes are numbers of KiB, MiB or GiB");
    takes(args_size, "1K", 1024);
    takes(args_size, "4K", 4096);
    takes(args_size, "107016K", 0x6882000);
    takes(args_size, "18M", 18 << 20);
    takes(args_size, "1G", 1 << 30);
    takes(args_size, "007M", 7 << 20);
    takes(args_size, "9K", 9 * 1024);

    tap_case("the largest size of each unit is the last that fits 64 bits");
    takes(args_size, "18014398509481983K", 0xfffffffffffffc00);
    refuses(args_size, "18014398509481984K", "too large");
    takes(args_size, "17592186044415M", 0xfffffffffff00000);
    refuses(args_size, "17592186044416M", "too large");
    takes(args_size, "17179869183G", 0xffffffffc0000000);
    refuses(args_size, "17179869184G", "too large");
    refuses(args_size, "18446744073709551615K", "too large");
    refuses(args_size, "18446744073709551616K", "too large");
    refuses(args_size, "99999999999999999999999K", "too large");

    tap_case("a size without a suffix is refused, zero too");
    refuses(args_size, "1", "needs a suffix");
    refuses(args_size, "1048576", "needs a suffix");
    refuses(args_size, "0", "needs a suffix");

    tap_case("a size of zero is refused");
    refuses(args_size, "0K", "zero");
    refuses(args_size, "000G", "zero");

    tap_case("what is no number, and what has another suffix, is refused");
    for (i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++)
        refuses(args_size, no_numbers[i], "not a size");
    for (i = 0; i < sizeof(no_suffixes) / sizeof(no_suffixes[0]); i++)
        refuses(args_size, no_suffixes[i], "unknown suffix");
}

static void test_durations(void)
{
    static const char *const no_suffixes[] = {"1",   "1h",  "1us", "1ns",  "1S",   "1M",
                                              "1sm", "1m ", "1 s", "1.5s", "1msx", "0"};
    size_t i;

    tap_case("durations are numbers of milliseconds, seconds or minutes");
    takes(args_duration, "1ms", 1000000);
    takes(args_duration, "500ms", 500000000);
    takes(args_duration, "1s", 1000000000);
    takes(args_duration, "2m", 120000000000);
    takes(args_duration, "09s", 9000000000);

    tap_case("a thousand hours is the longest in each unit");
    takes(args_duration, "60000m", 3600000000000000);
    refuses(args_duration, "60001m", "too long");
    takes(args_duration, "3600000s", 3600000000000000);
    refuses(args_duration, "3600001s", "too long");
    takes(args_duration, "3600000000ms", 3600000000000000);
    refuses(args_duration, "3600000001ms", "too long");
    refuses(args_duration, "18446744073709551615m", "too long");
    refuses(args_duration, "18446744073709551615ms", "too long");
    refuses(args_duration, "18446744074s", "too long");

    tap_case("a duration of zero, without a known suffix, or that is no number is refused");
    refuses(args_duration, "0s", "zero");
    refuses(args_duration, "00ms", "zero");
    for (i = 0; i < sizeof(no_suffixes) / sizeof(no_suffixes[0]); i++)
        refuses(args_duration, no_suffixes[i], "needs a suffix");
    refuses(args_duration, "", "not a duration");
    refuses(args_duration, "-1s", "not a duration");
    refuses(args_duration, "s", "not a duration");
    refuses(args_duration, "18446744073709551616s", "too long");
    refuses(args_duration, "99999999999999999999999m", "too long");
}

static void test_numbers(void)
{
    tap_case("numbers are decimal and go up to the limit");
    takes(number_100, "0", 0);
    takes(number_100, "99", 99);
    takes(number_100, "100", 100);
    takes(number_100, "0000100", 100);
    refuses(number_100, "101", "0 to 100");
    refuses(number_100, "18446744073709551615", "0 to 100");
    takes(number_any, "18446744073709551615", UINT64_MAX);
    takes(number_any, "18446744073709551609", UINT64_MAX - 6);
    refuses(number_any, "18446744073709551616", "not a number");
    refuses(number_any, "18446744073709551620", "not a number");
    refuses(number_any, "184467440737095516150", "not a number");

    tap_case("signs, spaces, other bases and trailing characters are no numbers");
    refuses(number_100, "", "not a number");
    refuses(number_100, "-1", "not a number");
    refuses(number_100, "+1", "not a number");
    refuses(number_100, " 1", "not a number");
    refuses(number_100, "1 ", "not a number");
    refuses(number_100, "0x1", "not a number");
    refuses(number_100, "1K", "not a number");
    refuses(number_100, "1.0", "not a number");
    refuses(number_100, "/", "not a number");
    refuses(number_100, ":", "not a number");

    tap_case("a value that holds control characters stays one line");
    {
        struct err e;
        uint64_t n = UNTOUCHED;

        CHECK(args_size("opt", "1\n\033[2J", &n, &e) == -1);
        CHECK(strchr(e.text, '\n') == NULL && strchr(e.text, 033) == NULL);
    }
}

int main(void)
{
    test_sizes();
    test_durations();
    test_numbers();
    return tap_done();
}
