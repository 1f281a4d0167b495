/*
 * One test of a batch as a child process: what it prints is gathered, how it
 * ended is judged. The child is a fork and not a new program, so it needs no
 * file to start from.
 */
#ifndef HV_BATCHJOB_H
#define HV_BATCHJOB_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "hv/batchfile.h"
#include "hv/text.h"
#include "mem/error.h"

#define BATCHJOB_OUTPUT_MAX ((size_t)128 << 10) /* the end of the output that is kept: at least half of it */

enum verdict { VERDICT_NONE, VERDICT_PASSED, VERDICT_FAILED, VERDICT_SKIPPED };

/* How a test went; `output` is the end of it, kept for those that failed. */
struct verdict_of_test {
    enum verdict verdict;
    int status; /* 128 + signal if one killed it; -1 if it was not started */
    uint64_t ms;
    char why[200];
    struct text output;
};

struct batchjob {
    const struct batch_test *test;
    struct verdict_of_test *out;
    pid_t pid; /* 0: nothing runs */
    int from;  /* its output, not to be waited for; -1 when it has ended */
    uint64_t begun_ns, limit_ns, deadline_ns;
    bool asked, late; /* it was asked to end; because of its time limit */
    bool found, cut;  /* the text was seen; its output was too long to be kept */
    char *output;     /* NULL when nothing runs; a child's copy is freed by whoever frees the job */
    size_t output_len;
};

/*
 * Start the test, whose verdict goes to `out` in the end. Returns 1 in the child, which has its descriptors 0-2, a
 * process group of its own, the signal mask `mask`, and dies with its parent; 0 in the
 * parent; -1 (STATUS_HOST).
 */
int batchjob_start(struct batchjob *j, const struct batch_test *t, uint64_t limit_ns, const sigset_t *mask,
                   struct verdict_of_test *out, struct err *e);

/* Take what it has printed by now. */
void batchjob_read(struct batchjob *j);

/* Ask it to end and give it some seconds; `at_once`: kill it. */
void batchjob_stop(struct batchjob *j, bool at_once);

/* What its time limit asks for now. */
void batchjob_check_time(struct batchjob *j);

/* If it has ended: kill what it left running, judge it, and return true; pid is 0 then. */
bool batchjob_end(struct batchjob *j);

#endif
