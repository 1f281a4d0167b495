/*
 * Texts to look for in a guest's output as it comes, byte by byte: those that
 * have to appear, one after the other, and those that must not.
 *
 * A text is bytes. CR LF counts as LF, in a text and in the output, so that a
 * text of several lines is found whichever way the guest ends its lines; every
 * other CR is a byte like any other. A text is looked for behind the end of
 * the one before it.
 */
#ifndef HV_EXPECT_H
#define HV_EXPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/report.h"
#include "mem/error.h"

struct expect_text {
    const char *given; /* as it was given, for messages */
    uint8_t *bytes;
    size_t *fail; /* per byte: how much of the text still matches when the byte after it does not */
    size_t n, at; /* length, and how much of it has matched */
    bool rejected;
};

struct expect {
    struct expect_text *texts; /* in the order given */
    unsigned texts_n;
    unsigned met_n; /* texts of the front, rejected ones apart, that were seen or are not to be seen */
    const struct expect_text *hit; /* the first rejected text that was seen */
    bool held;                     /* the last byte was a CR, which may belong to an LF */
    bool wanted;                   /* some text is to be seen */
    bool status_given;
    uint64_t status; /* what the guest is to end with, status_given only */
};

/* Nothing to look for. expect_free releases what expect_add took; harmless without any. */
#define EXPECT_NOTHING ((struct expect){.texts = NULL})
void expect_free(struct expect *x);

/*
 * Look for `n` bytes as well, which outlive *x: `reject` those that must not
 * appear. STATUS_USAGE for a text without bytes.
 */
int expect_add(struct expect *x, const char *text, size_t n, bool reject, struct err *e);

/* Forget what has been seen. */
void expect_reset(struct expect *x);

/* Output. Once a rejected text was seen, what follows does not matter. */
void expect_feed(struct expect *x, const uint8_t *bytes, size_t n);

/* The output has ended. */
void expect_finish(struct expect *x);

/*
 * Whether the guest can be ended now: a rejected text was seen, or all that
 * were wanted were and no exit status is.
 */
bool expect_is_decided(const struct expect *x);

/*
 * Turn how the guest ended into what that means to whoever expected something:
 * "expected" with status 0, or "unexpected" with STATUS_EXPECTATION. A guest
 * that did not end by itself keeps its outcome, with a hint of what had not
 * been seen. Nothing happens when nothing was expected.
 */
void expect_judge(struct expect *x, struct outcome *out);

#endif
