/* Matching output as it comes: Knuth, Morris and Pratt's automaton for each text. See expect.h. */
#include "hv/expect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

void expect_free(struct expect *x)
{
    unsigned i;

    for (i = 0; i < x->texts_n; i++) {
        free(x->texts[i].bytes);
        free(x->texts[i].fail);
    }
    free(x->texts);
    *x = EXPECT_NOTHING;
}

static void copy_lines(struct expect_text *t, const char *text, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (text[i] != '\r' || i + 1 == n || text[i + 1] != '\n')
            t->bytes[t->n++] = (uint8_t)text[i];
}

/* How much of the text matches when, after `at` bytes that do, `c` comes. */
static size_t step(const struct expect_text *t, size_t at, uint8_t c)
{
    while (at != 0 && t->bytes[at] != c)
        at = t->fail[at - 1];
    return t->bytes[at] == c ? at + 1 : at;
}

int expect_add(struct expect *x, const char *text, size_t n, bool reject, struct err *e)
{
    struct expect_text t = {.given = text, .rejected = reject}, *more;
    size_t i;

    if (n == 0)
        return err_usage(e, "--%s: the text is empty", reject ? "reject" : "expect");
    more = realloc(x->texts, (x->texts_n + 1) * sizeof(*more));
    if (more != NULL)
        x->texts = more;
    t.bytes = malloc(n);
    t.fail = calloc(n, sizeof(*t.fail));
    if (more == NULL || t.bytes == NULL || t.fail == NULL) {
        free(t.bytes);
        free(t.fail);
        return err_memory(e, reject ? "--reject" : "--expect");
    }
    copy_lines(&t, text, n);
    for (i = 1; i < t.n; i++)
        t.fail[i] = step(&t, t.fail[i - 1], t.bytes[i]);
    more[x->texts_n++] = t;
    x->wanted = x->wanted || !reject;
    expect_reset(x);
    return 0;
}

/* Pass over the texts that are not to be seen: the next one is to be, or there is none. */
static void skip_rejected(struct expect *x)
{
    while (x->met_n < x->texts_n && x->texts[x->met_n].rejected)
        x->met_n++;
}

void expect_reset(struct expect *x)
{
    unsigned i;

    for (i = 0; i < x->texts_n; i++)
        x->texts[i].at = 0;
    x->met_n = 0;
    x->hit = NULL;
    x->held = false;
    skip_rejected(x);
}

static bool advance(struct expect_text *t, uint8_t c)
{
    t->at = step(t, t->at, c);
    return t->at == t->n;
}

static void take(struct expect *x, uint8_t c)
{
    unsigned i;

    for (i = 0; i < x->texts_n && x->hit == NULL; i++)
        if (x->texts[i].rejected && advance(&x->texts[i], c))
            x->hit = &x->texts[i];
    if (x->hit == NULL && x->met_n < x->texts_n && advance(&x->texts[x->met_n], c)) {
        x->met_n++;
        skip_rejected(x);
    }
}

void expect_feed(struct expect *x, const uint8_t *bytes, size_t n)
{
    size_t i;

    if (x->texts_n == 0)
        return;
    for (i = 0; i < n && x->hit == NULL; i++) {
        if (x->held && bytes[i] != '\n')
            take(x, '\r');
        x->held = bytes[i] == '\r';
        if (!x->held && x->hit == NULL)
            take(x, bytes[i]);
    }
}

void expect_finish(struct expect *x)
{
    if (x->held && x->hit == NULL)
        take(x, '\r');
    x->held = false;
}

bool expect_is_decided(const struct expect *x)
{
    return x->hit != NULL || (x->wanted && x->met_n == x->texts_n && !x->status_given);
}

static void end_unexpected(struct outcome *out)
{
    out->reason = REASON_UNEXPECTED;
    out->status = out->why.status;
}

void expect_judge(struct expect *x, struct outcome *out)
{
    bool by_itself = out->reason == REASON_ENDED || out->reason == REASON_EXPECTED ||
                     out->reason == REASON_RESET || out->reason == REASON_CALL_ERROR;
    const char *missing;

    if ((x->texts_n == 0 && !x->status_given) || out->reason == REASON_ERROR ||
        out->reason == REASON_UNSUPPORTED || out->reason == REASON_SIGNAL)
        return;
    expect_finish(x);
    missing = x->met_n < x->texts_n ? x->texts[x->met_n].given : NULL;
    if (x->hit != NULL) {
        err_set(&out->why, STATUS_EXPECTATION, "guest: said what is not expected: \"%s\"", x->hit->given);
        end_unexpected(out);
    } else if (missing == NULL && (x->status_given ? out->status == x->status : x->wanted)) {
        out->reason = REASON_EXPECTED;
        out->status = STATUS_OK;
    } else if (missing != NULL && by_itself) {
        err_set(&out->why, STATUS_EXPECTATION, "guest: ended with status %d, and never said \"%s\"",
                (int)out->status, missing);
        end_unexpected(out);
    } else if (missing != NULL) {
        err_hint(&out->why, "it had not said \"%s\" yet", missing);
    } else if (x->status_given && by_itself) {
        err_set(&out->why, STATUS_EXPECTATION, "guest: ended with status %d (%" PRIu64 " expected)",
                (int)out->status, x->status);
        end_unexpected(out);
    }
}
