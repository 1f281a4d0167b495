/* Splitting lines into words. See words.h. */
#include "hv/words.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Take the quotes out of the word at *at and put a NUL behind it; *at moves on. False: a quote has no end. */
static bool take_word(char **at)
{
    char *s = *at, *out = *at, quote = '\0';

    for (; *s != '\0' && (quote != '\0' || !is_blank(*s)); s++) {
        if (*s == quote)
            quote = '\0';
        else if (quote == '\0' && (*s == '\'' || *s == '"'))
            quote = *s;
        else
            *out++ = *s;
    }
    *at = *s == '\0' ? s : s + 1; /* the NUL may take the blank's place */
    *out = '\0';
    return quote == '\0';
}

int words_split(char *text, char **words, int max)
{
    char *at = text;
    int n = 0;

    for (;;) {
        while (is_blank(*at))
            at++;
        if (*at == '#')
            at = strchrnul(at, '\n');
        else if (*at == '\0')
            break;
        else if (n == max)
            return WORDS_TOO_MANY;
        else {
            words[n++] = at;
            if (!take_word(&at))
                return WORDS_UNCLOSED;
        }
    }
    words[n] = NULL;
    return n;
}

bool words_quote(struct text *t, const char *word)
{
    const char *quote = strchr(word, '\'') == NULL ? "'" : "\"";
    const char *s;

    for (s = word; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f || *s == *quote)
            return false;
    text_add(t, "%s%s%s", quote, word, quote);
    return true;
}
