/*
 * A test program prints TAP: one line per case, "1..N" last, status 1 when a
 * case failed. A case name is a sentence that is true when it passes.
 *
 *     int main(void)
 *     {
 *         tap_case("a sum that wraps is refused");
 *         CHECK(!num_add(UINT64_MAX, 1, &sum));
 *         ...
 *         return tap_done();
 *     }
 *
 * CHECKs belong to the case named last. A failed CHECK prints file, line and
 * the two values as diagnostics, and the case goes on.
 */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char *tap_name;
static char tap_name_copy[256];
static unsigned tap_n, tap_failed, tap_checks;
static bool tap_ok;

static inline void tap_finish_case(void)
{
    if (tap_name == NULL)
        return;
    if (tap_checks == 0) {
        printf("# the case checks nothing\n");
        tap_ok = false;
    }
    printf("%sok %u - %s\n", tap_ok ? "" : "not ", ++tap_n, tap_name);
    fflush(stdout);
    tap_failed += !tap_ok;
    tap_name = NULL;
}

static inline void tap_case(const char *name)
{
    tap_finish_case();
    snprintf(tap_name_copy, sizeof(tap_name_copy), "%s", name);
    tap_name = tap_name_copy;
    tap_ok = true;
    tap_checks = 0;
}

/* Count a case that cannot run here, with the reason; it is reported as skipped, never as passed. */
static inline void tap_skip(const char *name, const char *reason)
{
    tap_finish_case();
    printf("ok %u - %s # SKIP %s\n", ++tap_n, name, reason);
    fflush(stdout);
}

static inline int tap_done(void)
{
    tap_finish_case();
    printf("1..%u\n", tap_n);
    return tap_failed == 0 && tap_n != 0 ? 0 : 1;
}

static inline bool tap_check(bool ok, const char *file, int line, const char *what)
{
    tap_checks++;
    if (!ok) {
        printf("# %s:%d: %s\n", file, line, what);
        tap_ok = false;
    }
    return ok;
}

static inline bool tap_check_u64(uint64_t a, uint64_t b, const char *file, int line, const char *what)
{
    tap_checks++;
    if (a != b) {
        printf("# %s:%d: %s: 0x%" PRIx64 ", wanted 0x%" PRIx64 "\n", file, line, what, a, b);
        tap_ok = false;
    }
    return a == b;
}

static inline bool tap_check_str(const char *a, const char *b, const char *file, int line, const char *what)
{
    bool ok = strcmp(a, b) == 0;

    tap_checks++;
    if (!ok) {
        printf("# %s:%d: %s: \"%s\", wanted \"%s\"\n", file, line, what, a, b);
        tap_ok = false;
    }
    return ok;
}

#define CHECK(cond)     tap_check((cond), __FILE__, __LINE__, #cond)
#define CHECK_EQ(a, b)  tap_check_u64((uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__, #a)
#define CHECK_STR(a, b) tap_check_str((a), (b), __FILE__, __LINE__, #a)

/* Whether string `s` contains `part`: for error texts. */
#define CHECK_HAS(s, part) tap_check(strstr((s), (part)) != NULL, __FILE__, __LINE__, #s " has " #part)

/* splitmix64: the tests' only source of randomness, so a seed reproduces a failure. */
static inline uint64_t tap_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
