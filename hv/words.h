/*
 * A line as words, the way a person types them: separated by blanks; '...' and
 * "..." keep the blanks in them; a # at the start of a word makes the rest of
 * the line a comment. There are no escapes, variables or patterns.
 */
#ifndef HV_WORDS_H
#define HV_WORDS_H

#include <stdbool.h>

#include "hv/text.h"

#define WORDS_UNCLOSED (-1) /* a quote has no end */
#define WORDS_TOO_MANY (-2)

/*
 * Split `text`, of one line or more, in place. words[0..] receives up to `max`
 * words, which view it, and a NULL behind them. Returns how many there are, or
 * one of the above; then `text` is spoilt all the same.
 */
int words_split(char *text, char **words, int max);

/* Add a word so that words_split returns it. False for one with both kinds of quotes, or a control character. */
bool words_quote(struct text *t, const char *word);

#endif
