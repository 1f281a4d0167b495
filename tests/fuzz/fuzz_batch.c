/*
 * Fuzzes the file of a batch, its own form and unittests.cfg: any bytes are
 * refused or read; every test that was read is complete, inside the text, and
 * its words are the same again after they were quoted and split.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The program's own rooms, which fuzz targets are not linked with. */
#include "hv/args.c"      // NOLINT(bugprone-suspicious-include)
#include "hv/batchfile.c" // NOLINT(bugprone-suspicious-include)
#include "hv/text.c"      // NOLINT(bugprone-suspicious-include)
#include "hv/words.c"     // NOLINT(bugprone-suspicious-include)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void demand(int promise)
{
    if (!promise)
        abort();
}

static const char *text, *text_end;

static void demand_inside(const char *s)
{
    demand(s >= text && s + strlen(s) <= text_end);
}

/* A word that came out of quotes of both kinds, or has control characters, has no way back. */
static void check_words(const struct batch_test *t)
{
    char *again[BATCH_WORDS_MAX + 1];
    struct text line = TEXT_EMPTY;
    bool quoted = true;
    int i;

    for (i = 0; i < t->words_n && quoted; i++) {
        demand(t->words[i] != NULL);
        quoted = words_quote(&line, t->words[i]);
        text_add(&line, " ");
    }
    if (quoted) {
        demand(words_split(line.s, again, BATCH_WORDS_MAX) == t->words_n);
        for (i = 0; i < t->words_n; i++)
            demand(strcmp(again[i], t->words[i]) == 0);
    }
    text_free(&line);
}

static void check_test(const struct batch_test *t)
{
    demand_inside(t->name);
    demand(t->name[0] != '\0' && strchr(t->name, '#') == NULL && strchr(t->name, '\n') == NULL);
    demand(t->status <= 255 && strlen(t->text) <= BATCH_TEXT_MAX);
    demand(strlen(t->groups) <= (size_t)(text_end - text));
    demand(t->words_n >= 0 && t->words_n <= BATCH_WORDS_MAX && t->words[t->words_n] == NULL);
    demand((t->words_n == 0) == (t->skip != NULL));
    if (t->skip != NULL)
        demand(t->skip[0] != '\0' && t->skip_what != NULL);
    else
        check_words(t);
    if (t->flat) {
        demand(t->status == 1 && t->text[0] == '\0');
        if (t->words_n != 0)
            demand(strcmp(t->words[0], "run") == 0 && t->words_n <= 7);
    } else {
        demand(t->words_n != 0 && strcmp(t->words[0], "batch") != 0);
        demand_inside(t->words[t->words_n - 1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = malloc(len + 1); /* of exactly that size: a sanitizer sees a byte too far */
    struct batch b = {.tests_n = 12345};
    struct err e = {.status = STATUS_OK};
    const struct batch_test *t;
    unsigned n = 0;

    demand(copy != NULL);
    if (len != 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    text = copy;
    text_end = copy + len;
    if (batchfile_parse(copy, len, &b, &e) == 0) {
        for (t = b.tests; t != NULL; t = t->next, n++)
            check_test(t);
        demand(n == b.tests_n && n <= BATCH_TESTS_MAX && e.status == STATUS_OK);
        batchfile_free(&b);
    } else {
        demand(e.status == STATUS_USAGE && e.text[0] != '\0' && b.tests_n == 12345);
    }
    free(copy);
    return 0;
}
