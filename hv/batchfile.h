/*
 * The file of a batch: tests, one a line,
 *
 *     name | groups | status | limit | text | command line
 *
 * or sections of kvm-unit-tests' unittests.cfg, if its first line that is not
 * empty or a comment begins with [. What a test is, as data; nothing is run or
 * looked for here.
 */
#ifndef HV_BATCHFILE_H
#define HV_BATCHFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/error.h"

#define BATCH_LEN_MAX   ((size_t)1 << 20)
#define BATCH_TESTS_MAX 4096
#define BATCH_WORDS_MAX 64
#define BATCH_TEXT_MAX  4096

#define BATCH_NO_LIMIT  UINT64_MAX

/* The status of a kvm-unit-test that skipped all it has: 77 through isa-debug-exit. */
#define BATCH_FLAT_SKIPPED (77 * 2 + 1)

struct batch_test {
    struct batch_test *next;
    const char *name;   /* not empty */
    const char *groups; /* words */
    const char *text;   /* to be found in its output; "" = nothing */
    /* Why it cannot run, in two parts, or NULL and whatever. Then there are no words. */
    const char *skip, *skip_what;
    const char *checks;               /* "PATH=VALUE ...": run only if each file holds that value; or NULL */
    const char *arch;                 /* flat: the only architecture it is built for, or NULL */
    bool flat;                        /* from a unittests.cfg */
    unsigned status;                  /* it ought to end with */
    uint64_t limit_ns;                /* 0: as the command line says */
    char *words[BATCH_WORDS_MAX + 1]; /* the command line of vmm, from the command on; ends with NULL */
    int words_n;
    char made[24]; /* a word that is not in the file */
};

struct batch {
    struct batch_test *tests; /* in the order of the file */
    unsigned tests_n;
};

/*
 * Understand the `len` bytes at `text`, which a NUL follows; they are spent,
 * and viewed by the tests. STATUS_USAGE, with the line, for what is wrong in a
 * file of our own; in a unittests.cfg a test that needs what vmm lacks has
 * `skip`. *out is the caller's to free.
 */
int batchfile_parse(char *text, size_t len, struct batch *out, struct err *e);
void batchfile_free(struct batch *b);

/* Whether the test is in that group. */
bool batchfile_in_group(const struct batch_test *t, const char *group);

#endif
