/*
 * mem/format and mem/assert: every conversion the program may use, judged by
 * the C library's snprintf, cut short at every length; and that a mistake of
 * the programmer ends the process and says where it is.
 */
#include "mem/format.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem/assert.h"
#include "tests/tap.h"

#define ROUNDS 20000

static char want[400], got[400];

/* Through a pointer, so that the compiler does not mind what is cut short. */
static int (*volatile oracle)(char *, size_t, const char *, ...)
    __attribute__((format(printf, 3, 4))) = snprintf;

/* Both at `size` bytes of room: the same length, the same bytes, and nothing behind them. */
#define SAME_AT(size, ...)                                                                  \
    do {                                                                                    \
        memset(want, '?', sizeof(want));                                                    \
        memset(got, '?', sizeof(got));                                                      \
        CHECK_EQ(format_text(got, (size), __VA_ARGS__), oracle(want, (size), __VA_ARGS__)); \
        if (!CHECK(memcmp(got, want, sizeof(want)) == 0))                                   \
            printf("# \"%.100s\", wanted \"%.100s\"\n", got, want);                         \
    } while (0)
#define SAME(...) SAME_AT(sizeof(want), __VA_ARGS__)

static void test_conversions(void)
{
    static const int ints[] = {0, 1, -1, 9, 10, -10, 12345, INT_MAX, INT_MIN};
    static const uint64_t longs[] = {
        0,         1, 0xf, 0x10, UINT32_MAX, (uint64_t)UINT32_MAX + 1, INT64_MAX, (uint64_t)INT64_MAX + 1,
        UINT64_MAX};
    unsigned i;

    tap_case("plain text and percent signs are as they are");
    SAME("%s", "");
    SAME("plain");
    SAME("100%%, %%d%%");

    tap_case("strings are whole, cut by a precision, and padded on either side");
    SAME("%s|%s", "one", "");
    SAME("%10s|%-10s|%2s|%-2s", "right", "left", "longer", "longer");
    SAME("%.3s|%.0s|%.9s|%.*s|%.s", "cut off", "none", "whole", 2, "two", "none");
    SAME("%*s|%-*s|%-8.3s|%8.3s", 7, "width", 7, "width", "both", "both");
    /* No NUL behind those that a precision ends. */
    SAME("%.*s", 3, (const char[]){'a', 'b', 'c'});

    tap_case("characters are one byte, with a width too");
    SAME("%c%c|%3c|%-3c|", 'a', 0xff, 'b', 'c');

    tap_case("numbers of 32 bits are those of printf, at both ends and with widths");
    for (i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
        SAME("%d|%u|%x", ints[i], (unsigned)ints[i], (unsigned)ints[i]);
        SAME("%6d|%-6d|%1d|%15d", ints[i], ints[i], ints[i], ints[i]);
        SAME("%02x|%08x|%0*x|%04u|%-9xx", (unsigned)ints[i], (unsigned)ints[i], 16, (unsigned)ints[i],
             (unsigned)ints[i], (unsigned)ints[i]);
    }

    tap_case("numbers of 64 bits are those of printf, in each way to say so");
    for (i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
        SAME("%" PRId64 "|%" PRIu64 "|%" PRIx64, (int64_t)longs[i], longs[i], longs[i]);
        SAME("%lld|%llu|%llx", (long long)longs[i], (unsigned long long)longs[i],
             (unsigned long long)longs[i]);
        SAME("%zu|%zx|%zd|%9lu|%-20lu|%016lx", (size_t)longs[i], (size_t)longs[i], (ssize_t)longs[i],
             longs[i], longs[i], longs[i]);
    }

    tap_case("any arguments together are those of printf");
    for (uint64_t seed = 1; i < ROUNDS && tap_ok; i++) {
        uint64_t a = tap_random(&seed) >> (seed % 64), b = tap_random(&seed) >> (seed % 64);

        SAME("%*u%s %-*" PRIx64 "|%0*" PRIx64 "%.*s%d%c", (int)(a % 30), (unsigned)b, "text", (int)(b % 30),
             a, (int)(b % 20), b, (int)(a % 5), "text", (int)a, (int)('a' + b % 26));
    }
}

static void test_room(void)
{
    size_t size;

    tap_case("text that does not fit is cut with a NUL, and its length told all the same");
    for (size = 0; size < 40; size++) {
        SAME_AT(size, "%s and %10u, %-8s|%08x", "a string", 1234567890u, "left", 0xbeefu);
        SAME_AT(size, "no conversion at all");
    }
    CHECK_EQ(format_text(NULL, 0, "%s%5d", "four", 1), 9);
}

/* A child that must be ended by SIGABRT; what it says on stderr. */
static bool aborts(void (*wrong)(void), char said[200])
{
    int fd[2], status = 0;
    ssize_t n;
    pid_t pid;

    said[0] = '\0';
    fflush(stdout);
    if (!CHECK(pipe(fd) == 0))
        return false;
    pid = fork();
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        wrong();
        _exit(0);
    }
    close(fd[1]);
    for (size_t len = 0; len < 199 && (n = read(fd[0], said + len, 199 - len)) > 0; said[len] = '\0')
        len += (size_t)n;
    close(fd[0]);
    return CHECK(pid > 0 && waitpid(pid, &status, 0) == pid) && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

#define WRONG(name, ...)                            \
    static void name(void)                          \
    {                                               \
        format_text(got, sizeof(got), __VA_ARGS__); \
    }

WRONG(wrong_octal, "%o", 8u)
WRONG(wrong_float, "%f", 1.0)
WRONG(wrong_pointer, "%p", (void *)got)
WRONG(wrong_plus, "%+d", 1)
WRONG(wrong_short, "%hx", (unsigned short)1)
WRONG(wrong_precision, "%.3d", 1)
WRONG(wrong_width, "%*d", -3, 1)
WRONG(wrong_sign, "%05d", -1)

static void wrong_assert(void)
{
    assert(got[0] != got[0]);
}

static void test_mistakes(void)
{
    static void (*const wrong[])(void) = {wrong_octal, wrong_float,     wrong_pointer, wrong_plus,
                                          wrong_short, wrong_precision, wrong_width,   wrong_sign};
    char said[200], here[100];
    unsigned i;

    tap_case("a conversion that is not known ends the process, rather than to print something else");
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (!CHECK(aborts(wrong[i], said)))
            printf("# conversion %u\n", i);
        CHECK_HAS(said, "vmm: mem/format.c:");
    }

    tap_case("an assertion that fails says where, and aborts");
    CHECK(aborts(wrong_assert, said));
    snprintf(here, sizeof(here), "vmm: %s:", __FILE__);
    CHECK_HAS(said, here);
    CHECK_HAS(said, ": assertion failed\n");
}

int main(void)
{
    test_conversions();
    test_room();
    test_mistakes();
    return tap_done();
}
