/*
 * What the programs of the benchmark print: one record a line, fields set
 * apart by tabs, for report.py to make a table of.
 *
 *   row     ID  BASE  UNIT  TEXT   BASE is the row it is compared with, or "-"
 *   sample  ID  CASE  ROUND NS     CASE: a kind of guest, or a geometry and a size
 *   part    ID  CASE  ROUND NS STEP   of a sample that has steps
 *   skip    ID  CASE  REASON
 *   fail    ID  CASE  REASON       what was measured did wrong work: no figure of it counts
 *
 * Samples of a round are taken one after the other, a ratio is made of two
 * samples of the same round and case. Of several samples with the same row,
 * case and round the least counts.
 */
#ifndef TESTS_BENCH_ROWS_H
#define TESTS_BENCH_ROWS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A cycle that takes longer is not repeated, and there is no sample: a KVM that emulates the guest is too slow. */
#define ROWS_CYCLE_NS_MAX 200000000u
static const char rows_too_slow[] = "one cycle takes longer than 200 ms here";

/* How many pages are written; as many as the last only by what takes less than 5 ms for as many as before. */
static const unsigned rows_pages[] = {1, 10, 100, 1000, 10000};

#define ROWS_PAGES_N      (sizeof(rows_pages) / sizeof(rows_pages[0]))
#define ROWS_QUICK_NS_MAX 5000000u

static inline uint64_t rows_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void rows_row(const char *id, const char *base, const char *unit, const char *text)
{
    printf("row\t%s\t%s\t%s\t%s\n", id, base, unit, text);
}

static inline void rows_sample(const char *id, const char *which, unsigned round, double ns)
{
    printf("sample\t%s\t%s\t%u\t%.3f\n", id, which, round, ns);
    fflush(stdout);
}

static inline void rows_skip(const char *id, const char *which, const char *reason)
{
    printf("skip\t%s\t%s\t%s\n", id, which, reason);
    fflush(stdout);
}

static inline void rows_fail(const char *id, const char *which, const char *reason)
{
    printf("fail\t%s\t%s\t%s\n", id, which, reason);
    fflush(stdout);
}

static inline int rows_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline double rows_median(double *values, unsigned n)
{
    qsort(values, n, sizeof(*values), rows_compare);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* The number that stands behind `name` on the command line, else `otherwise`. */
static inline unsigned long rows_number(int argc, char **argv, const char *name, unsigned long otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoul(argv[i + 1], NULL, 10);
    return otherwise;
}

static inline const char *rows_word(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}

#endif
