/* Growing texts, plain and as JSON strings. See text.h. */
#include "hv/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem/format.h"

/* Room for `more` bytes and a NUL. */
static bool reserve(struct text *t, size_t more)
{
    size_t want = t->len + more + 1, cap = t->cap != 0 ? t->cap : 256;
    char *s;

    if (t->failed)
        return false;
    if (want <= t->cap)
        return true;
    while (cap < want)
        cap *= 2;
    s = realloc(t->s, cap);
    if (s == NULL) {
        t->failed = true;
        return false;
    }
    t->s = s;
    t->cap = cap;
    return true;
}

void text_add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = format_text_v(NULL, 0, fmt, ap);
    va_end(ap);
    if (!reserve(t, n))
        return;
    va_start(ap, fmt);
    format_text_v(t->s + t->len, n + 1, fmt, ap);
    va_end(ap);
    t->len += n;
}

void text_add_bytes(struct text *t, const char *s, size_t len)
{
    if (!reserve(t, len))
        return;
    if (len != 0)
        memcpy(t->s + t->len, s, len);
    t->len += len;
    t->s[t->len] = '\0';
}

void text_add_escaped(struct text *t, const char *s, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i];

        if (c == '\\')
            text_add(t, "\\\\");
        else if (c < 0x20 || c >= 0x7f)
            text_add(t, "\\x%02x", c);
        else
            text_add_bytes(t, s + i, 1);
    }
}

/* Length of the valid UTF-8 sequence at s, 0 when there is none (RFC 3629: no overlong forms, no surrogates).
 */
static size_t utf8_len(const uint8_t *s, size_t len)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0, i;

    if (n == 0 || n > len)
        return 0;
    for (i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

void text_add_json(struct text *t, const char *s, size_t len)
{
    size_t i, n;

    text_add(t, "\"");
    for (i = 0; i < len; i += n) {
        uint8_t c = (uint8_t)s[i];

        n = utf8_len((const uint8_t *)s + i, len - i);
        if (n == 0) {
            n = 1;
            text_add(t, "\\ufffd");
        } else if (c == '"' || c == '\\') {
            text_add(t, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            text_add(t, "\\u%04x", c);
        } else {
            text_add_bytes(t, s + i, n);
        }
    }
    text_add(t, "\"");
}

void text_free(struct text *t)
{
    free(t->s);
    *t = TEXT_EMPTY;
}

int text_hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}
