/*
 * hv/expect: texts are found in whatever pieces the output comes, in order,
 * and outcomes become verdicts. The oracle for finding has the whole output at
 * once and looks for each text at each place.
 */
#include "hv/expect.h"

#include <stdlib.h>

#include "tests/tap.h"

static struct err untouched = {.text = "untouched"};

static void add(struct expect *x, const char *text, size_t n, bool reject)
{
    struct err e = untouched;

    CHECK(expect_add(x, text, n, reject, &e) == 0);
    CHECK_STR(e.text, "untouched");
}

static void want(struct expect *x, const char *text)
{
    add(x, text, strlen(text), false);
}

static void feed(struct expect *x, const char *text)
{
    expect_feed(x, (const uint8_t *)text, strlen(text));
}

static void test_order(void)
{
    struct expect x = EXPECT_NOTHING;
    struct err e = {.text = ""};

    tap_case("nothing to look for is never decided");
    feed(&x, "anything");
    CHECK(!expect_is_decided(&x));
    expect_free(&x);

    tap_case("an empty text is a mistake");
    CHECK(expect_add(&x, "", 0, false, &e) == -1);
    CHECK_EQ(e.status, STATUS_USAGE);
    CHECK_HAS(e.text, "--expect: the text is empty");
    CHECK(expect_add(&x, "", 0, true, &e) == -1);
    CHECK_HAS(e.text, "--reject: the text is empty");
    CHECK_EQ(x.texts_n, 0);

    tap_case("a text is found at its last byte and not before");
    want(&x, "login:");
    feed(&x, "vmm login");
    CHECK(!expect_is_decided(&x));
    feed(&x, ":");
    CHECK(expect_is_decided(&x));
    expect_reset(&x);
    CHECK(!expect_is_decided(&x));
    feed(&x, ":login: ");
    CHECK(expect_is_decided(&x));
    expect_free(&x);

    tap_case("texts are found in order, each behind the one before it");
    want(&x, "one");
    want(&x, "two");
    want(&x, "one");
    feed(&x, "two one ");
    CHECK_EQ(x.met_n, 1);
    feed(&x, "one tw");
    CHECK_EQ(x.met_n, 1);
    feed(&x, "o");
    CHECK_EQ(x.met_n, 2);
    feed(&x, "ne, one");
    CHECK(expect_is_decided(&x));
    expect_free(&x);

    tap_case("two texts do not share a byte");
    want(&x, "abab");
    want(&x, "ab!");
    feed(&x, "abab!");
    CHECK(!expect_is_decided(&x));
    feed(&x, "ab!");
    CHECK(expect_is_decided(&x));
    expect_free(&x);

    tap_case("one write may hold several texts");
    want(&x, "a");
    want(&x, "a");
    want(&x, "b");
    feed(&x, "xaab");
    CHECK(expect_is_decided(&x));
    expect_free(&x);

    tap_case("a rejected text decides at once, wherever it was given and whatever was seen");
    want(&x, "done");
    add(&x, "panic", 5, true);
    want(&x, "again");
    feed(&x, "kernel pa");
    CHECK(!expect_is_decided(&x));
    feed(&x, "nic");
    CHECK(expect_is_decided(&x));
    CHECK(x.hit == &x.texts[1]);
    feed(&x, "done again");
    CHECK_EQ(x.met_n, 0);
    expect_free(&x);

    tap_case("rejected texts alone are never met");
    add(&x, "panic", 5, true);
    feed(&x, "all is well");
    CHECK(!expect_is_decided(&x));
    expect_free(&x);

    tap_case("a status to wait for is waited for");
    want(&x, "done");
    x.status_given = true;
    feed(&x, "done");
    CHECK_EQ(x.met_n, 1);
    CHECK(!expect_is_decided(&x));
    expect_free(&x);
}

static void test_bytes(void)
{
    struct expect x = EXPECT_NOTHING;

    tap_case("zero bytes and bytes above 127 are like any other");
    add(&x, "\0\xff\0a", 4, false);
    expect_feed(&x, (const uint8_t *)"\0\xff\0\0\xff", 5);
    CHECK(!expect_is_decided(&x));
    expect_feed(&x, (const uint8_t *)"\0a", 2);
    CHECK(expect_is_decided(&x));
    expect_free(&x);

    tap_case("a line's end is found as LF and as CR LF, torn apart or not");
    want(&x, "a\nb");
    feed(&x, "a\nb");
    CHECK(expect_is_decided(&x));
    expect_reset(&x);
    feed(&x, "a\r\nb");
    CHECK(expect_is_decided(&x));
    expect_reset(&x);
    feed(&x, "a\r");
    feed(&x, "\nb");
    CHECK(expect_is_decided(&x));
    expect_reset(&x);
    feed(&x, "a\r\r\nb");
    CHECK(!expect_is_decided(&x));
    expect_reset(&x);
    feed(&x, "a\rb");
    CHECK(!expect_is_decided(&x));
    expect_free(&x);

    tap_case("a text with CR LF is one with LF");
    want(&x, "a\r\nb");
    feed(&x, "a\nb");
    CHECK(expect_is_decided(&x));
    expect_free(&x);

    tap_case("a CR without LF counts, at the very end when the output ends");
    want(&x, "50%\r");
    feed(&x, "50%\r");
    CHECK(!expect_is_decided(&x));
    expect_finish(&x);
    CHECK(expect_is_decided(&x));
    expect_reset(&x);
    feed(&x, "50%\r60%");
    CHECK(expect_is_decided(&x));
    expect_reset(&x);
    feed(&x, "50%\r\n");
    expect_finish(&x);
    CHECK(!expect_is_decided(&x));
    expect_free(&x);

    tap_case("a CR of before a reset is forgotten");
    want(&x, "\ra");
    feed(&x, "\r");
    expect_reset(&x);
    feed(&x, "a");
    CHECK(!expect_is_decided(&x));
    expect_free(&x);
}

/* --- random texts and outputs against the oracle ---------------------------------------------------- */

#define TEXTS_MAX  4
#define TEXT_MAX   7
#define OUTPUT_MAX 120

struct bytes {
    uint8_t b[OUTPUT_MAX];
    size_t n;
};

static struct bytes random_bytes(uint64_t *seed, size_t max, const char *letters, size_t letters_n)
{
    struct bytes r = {.n = 1 + tap_random(seed) % max};

    for (size_t i = 0; i < r.n; i++)
        r.b[i] = (uint8_t)letters[tap_random(seed) % letters_n];
    return r;
}

/* Every CR LF becomes LF, from the left. */
static struct bytes with_lf(const struct bytes *in)
{
    struct bytes out = {.n = 0};

    for (size_t i = 0; i < in->n; i++) {
        if (i + 1 < in->n && in->b[i] == 13 && in->b[i + 1] == 10)
            i++;
        out.b[out.n++] = in->b[i];
    }
    return out;
}

/* The end of the first place at or behind `from` where `t` is; 0 when there is none. */
static size_t find(const struct bytes *in, const struct bytes *t, size_t from)
{
    for (size_t at = from; at + t->n <= in->n; at++)
        if (memcmp(in->b + at, t->b, t->n) == 0)
            return at + t->n;
    return 0;
}

struct verdict {
    size_t met;
    bool hit;
};

/* Texts wanted are met only by what came before a rejected one was complete, or with its last byte. */
static struct verdict oracle(const struct bytes *output, const struct bytes *text, const bool *rejected,
                             size_t texts_n)
{
    struct bytes o = with_lf(output);
    size_t end = o.n, at = 0;
    struct verdict v = {0, false};

    for (size_t i = 0; i < texts_n; i++) {
        struct bytes t = with_lf(&text[i]);
        size_t hit = rejected[i] ? find(&o, &t, 0) : 0;

        if (hit != 0) {
            v.hit = true;
            if (hit - 1 < end)
                end = hit - 1; /* at the same byte the rejected one wins */
        }
    }
    o.n = end;
    for (size_t i = 0; i < texts_n; i++) {
        struct bytes t = with_lf(&text[i]);

        if (rejected[i])
            continue;
        at = find(&o, &t, at);
        if (at == 0)
            break;
        v.met++;
    }
    return v;
}

static void test_random(void)
{
    static const char few[] = {'a', 'b'};
    static const char ends[] = {'a', '\r', '\n', 0};
    const char *scale = getenv("TEST_SCALE");
    unsigned rounds = 20000 * (scale != NULL ? (unsigned)atoi(scale) : 1), round, met_n = 0, hit_n = 0;
    uint64_t seed = 7;

    tap_case("random texts are found in random outputs, in random pieces, as an oracle finds them");
    for (round = 0; round < rounds; round++) {
        const char *letters = round % 2 != 0 ? few : ends;
        size_t letters_n = round % 2 != 0 ? sizeof(few) : sizeof(ends);
        struct bytes output = random_bytes(&seed, OUTPUT_MAX, letters, letters_n), text[TEXTS_MAX];
        size_t texts_n = 1 + tap_random(&seed) % TEXTS_MAX, i, at = 0, met = 0;
        struct expect x = EXPECT_NOTHING;
        bool rejected[TEXTS_MAX];
        struct verdict v;

        for (i = 0; i < texts_n; i++) {
            struct err e;

            text[i] = random_bytes(&seed, TEXT_MAX, letters, letters_n);
            rejected[i] = tap_random(&seed) % 4 == 0;
            if (expect_add(&x, (const char *)text[i].b, text[i].n, rejected[i], &e) != 0)
                abort();
        }
        while (at < output.n) {
            size_t n = round % 3 == 0 ? 1 : 1 + tap_random(&seed) % (output.n - at);

            expect_feed(&x, output.b + at, n);
            at += n;
        }
        expect_finish(&x);
        v = oracle(&output, text, rejected, texts_n);
        for (i = 0; i < x.met_n; i++)
            met += !rejected[i];
        if (!CHECK_EQ(x.hit != NULL, v.hit) || !CHECK_EQ(met, v.met)) {
            printf("# round %u\n", round);
            expect_free(&x);
            return;
        }
        met_n += v.met != 0;
        hit_n += v.hit;
        expect_free(&x);
    }
    CHECK(met_n > rounds / 10 && met_n < rounds && hit_n > rounds / 10 && hit_n < rounds);
}

/* --- verdicts ------------------------------------------------------------------------------------------ */

static struct outcome ended(enum reason reason, enum status status)
{
    struct outcome o = {.reason = reason, .status = status};

    if (reason != REASON_ENDED)
        err_set(&o.why, status, "why");
    return o;
}

static void test_verdicts(void)
{
    struct expect x = EXPECT_NOTHING;
    struct outcome o;

    tap_case("nothing expected changes nothing");
    o = ended(REASON_ENDED, (enum status)3);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_ENDED && o.status == 3);

    tap_case("a guest that said everything is a success, however it ended");
    want(&x, "first");
    want(&x, "second");
    feed(&x, "first second");
    o = ended(REASON_EXPECTED, STATUS_OK);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_EXPECTED && o.status == 0);
    o = ended(REASON_ENDED, (enum status)3);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_EXPECTED && o.status == 0);

    tap_case("a guest that ended by itself without it is 123, and the text is named");
    expect_reset(&x);
    feed(&x, "first");
    o = ended(REASON_ENDED, STATUS_OK);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_UNEXPECTED);
    CHECK_EQ(o.status, STATUS_EXPECTATION);
    CHECK_STR(o.why.text, "guest: ended with status 0, and never said \"second\"");
    o = ended(REASON_RESET, STATUS_RESET);
    expect_judge(&x, &o);
    CHECK_EQ(o.status, STATUS_EXPECTATION);
    CHECK_STR(o.why.text, "guest: ended with status 121, and never said \"second\"");

    tap_case("one that was ended keeps its reason, with a hint of the text");
    o = ended(REASON_TIMEOUT, STATUS_TIMEOUT);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_TIMEOUT && o.status == STATUS_TIMEOUT);
    CHECK_STR(o.why.hint, "it had not said \"second\" yet");
    o = ended(REASON_FAULTED, STATUS_FAULTED);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_FAULTED && o.status == STATUS_FAULTED);

    tap_case("what is no guest's doing is nobody's verdict");
    o = ended(REASON_SIGNAL, STATUS_INTERRUPTED);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_SIGNAL && o.why.hint[0] == '\0');
    o = ended(REASON_ERROR, STATUS_HOST);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_ERROR && o.why.hint[0] == '\0');
    o = ended(REASON_UNSUPPORTED, STATUS_UNSUPPORTED);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_UNSUPPORTED && o.status == STATUS_UNSUPPORTED);
    expect_free(&x);

    tap_case("a status that was asked for is a success, a fault's too");
    x.status_given = true;
    x.status = 33;
    o = ended(REASON_ENDED, (enum status)33);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_EXPECTED && o.status == 0);
    x.status = 139;
    o = ended(REASON_FAULTED, STATUS_FAULTED);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_EXPECTED && o.status == 0);
    x.status = 0;
    o = ended(REASON_ENDED, STATUS_OK);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_EXPECTED && o.status == 0);

    tap_case("another status is 123, and both are named; a fault stays one");
    x.status = 33;
    o = ended(REASON_ENDED, (enum status)35);
    expect_judge(&x, &o);
    CHECK_EQ(o.status, STATUS_EXPECTATION);
    CHECK_STR(o.why.text, "guest: ended with status 35 (33 expected)");
    o = ended(REASON_FAULTED, STATUS_FAULTED);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_FAULTED && o.status == STATUS_FAULTED);

    tap_case("the status does not make up for a text");
    want(&x, "text");
    o = ended(REASON_ENDED, (enum status)33);
    expect_judge(&x, &o);
    CHECK_EQ(o.status, STATUS_EXPECTATION);
    CHECK_HAS(o.why.text, "never said \"text\"");
    expect_free(&x);

    tap_case("what was said and is not expected is 123, and named; said too late or never, nothing happens");
    add(&x, "panic", 5, true);
    o = ended(REASON_ENDED, (enum status)1);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_ENDED && o.status == 1);
    feed(&x, "panic");
    o = ended(REASON_EXPECTED, STATUS_OK);
    expect_judge(&x, &o);
    CHECK(o.reason == REASON_UNEXPECTED);
    CHECK_STR(o.why.text, "guest: said what is not expected: \"panic\"");
    expect_free(&x);
}

int main(void)
{
    test_order();
    test_bytes();
    test_random();
    test_verdicts();
    return tap_done();
}
