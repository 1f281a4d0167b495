/* Reading JSON, without recursion: what is open is an array of indices. See jsonin.h. */
#include "hv/jsonin.h"

#include <stdint.h>
#include <string.h>

struct reader {
    char *at, *end; /* *end is a NUL */
    struct jsonin *out;
    unsigned open[JSONIN_DEPTH_MAX], depth;
};

const char *jsonin_status_text(enum jsonin_status status)
{
    static const char *const texts[JSONIN_STATUS_N] = {
        [JSONIN_OK] = "no error",
        [JSONIN_SYNTAX] = "not JSON",
        [JSONIN_UTF8] = "not UTF-8",
        [JSONIN_SURROGATE] = "half of a surrogate pair",
        [JSONIN_TWICE] = "member given twice",
        [JSONIN_TOO_DEEP] = "nested too deeply",
        [JSONIN_TOO_MANY] = "too many values",
    };

    return (unsigned)status < JSONIN_STATUS_N ? texts[status] : "unknown";
}

static void skip_space(struct reader *r)
{
    while (r->at != r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

/* Step over `c` if it is next. A NUL in the text is like any other byte that does not belong there. */
static bool take(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool take_word(struct reader *r, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool take_digits(struct reader *r)
{
    const char *from = r->at;

    while (r->at != r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at != from;
}

static enum jsonin_status read_number(struct reader *r, struct jsonin_value *v)
{
    v->s = r->at;
    (void)take(r, '-');
    if (!take(r, '0') && !take_digits(r))
        return JSONIN_SYNTAX;
    if (take(r, '.') && !take_digits(r))
        return JSONIN_SYNTAX;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+'))
            (void)take(r, '-');
        if (!take_digits(r))
            return JSONIN_SYNTAX;
    }
    v->type = JSONIN_NUMBER;
    v->len = (size_t)(r->at - v->s);
    return JSONIN_OK;
}

/* Four hex digits. */
static bool take_unit(struct reader *r, uint32_t *unit)
{
    uint32_t u = 0;
    unsigned i;

    for (i = 0; i < 4; i++, r->at++) {
        char c = r->at != r->end ? *r->at : '\0';

        if (c >= '0' && c <= '9')
            u = u << 4 | (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            u = u << 4 | (uint32_t)((c & 7) + 9);
        else
            return false;
    }
    *unit = u;
    return true;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (char)(0xe0 | c >> 12);
        } else {
            *to++ = (char)(0xf0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (c & 0x3f));
    return to;
}

/* What follows "\u", the other half of a pair included. */
static enum jsonin_status read_unicode(struct reader *r, char **to)
{
    uint32_t c, low;

    if (!take_unit(r, &c))
        return JSONIN_SYNTAX;
    if (c >= 0xdc00 && c <= 0xdfff)
        return JSONIN_SURROGATE;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (!take_word(r, "\\u"))
            return JSONIN_SURROGATE;
        if (!take_unit(r, &low))
            return JSONIN_SYNTAX;
        if (low < 0xdc00 || low > 0xdfff)
            return JSONIN_SURROGATE;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, c);
    return JSONIN_OK;
}

static enum jsonin_status read_escape(struct reader *r, char **to)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    const char *name;

    if (take(r, 'u'))
        return read_unicode(r, to);
    if (r->at == r->end || *r->at == '\0')
        return JSONIN_SYNTAX;
    name = strchr(names, *r->at);
    if (name == NULL)
        return JSONIN_SYNTAX;
    r->at++;
    *(*to)++ = bytes[name - names];
    return JSONIN_OK;
}

/* One character beyond ASCII, RFC 3629: no overlong forms, no surrogates, nothing above 10FFFF. */
static enum jsonin_status copy_utf8(struct reader *r, char **to)
{
    const unsigned char *s = (const unsigned char *)r->at;
    unsigned n = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0, i;

    if (n == 0 || (size_t)(r->end - r->at) < n)
        return JSONIN_UTF8;
    for (i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return JSONIN_UTF8;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return JSONIN_UTF8;
    memmove(*to, r->at, n);
    *to += n;
    r->at += n;
    return JSONIN_OK;
}

/* Undone in place: no escape is shorter than what it stands for. The closing quote leaves room for a NUL. */
static enum jsonin_status read_string(struct reader *r, char **s, size_t *len)
{
    char *to;

    if (!take(r, '"'))
        return JSONIN_SYNTAX;
    *s = to = r->at;
    while (!take(r, '"')) {
        enum jsonin_status status = JSONIN_OK;
        unsigned char c = r->at != r->end ? (unsigned char)*r->at : 0;

        if (c < 0x20)
            return JSONIN_SYNTAX;
        if (take(r, '\\'))
            status = read_escape(r, &to);
        else if (c >= 0x80)
            status = copy_utf8(r, &to);
        else
            *to++ = *r->at++;
        if (status != JSONIN_OK)
            return status;
    }
    *len = (size_t)(to - *s);
    *to = '\0';
    return JSONIN_OK;
}

static bool is_same_key(const struct jsonin_value *a, const struct jsonin_value *b)
{
    return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0;
}

/* The key of the member that comes next, its colon and the blanks around. */
static enum jsonin_status read_key(struct reader *r, const struct jsonin_value *object,
                                   struct jsonin_value *v)
{
    const struct jsonin_value *other;
    enum jsonin_status status;
    char *from;

    skip_space(r);
    from = r->at;
    status = read_string(r, &v->key, &v->key_len);
    if (status != JSONIN_OK)
        return status;
    for (other = object + 1; other < r->out->values + r->out->n; other = r->out->values + other->end) {
        if (is_same_key(other, v)) {
            r->at = from;
            return JSONIN_TWICE;
        }
    }
    skip_space(r);
    return take(r, ':') ? JSONIN_OK : JSONIN_SYNTAX;
}

/* All of a scalar; of an array or object its opening bracket. */
static enum jsonin_status read_start(struct reader *r, struct jsonin_value *v)
{
    switch (r->at != r->end ? *r->at : '\0') {
    case '{': v->type = JSONIN_OBJECT; break;
    case '[': v->type = JSONIN_ARRAY; break;
    case '"': v->type = JSONIN_STRING; return read_string(r, &v->s, &v->len);
    case 'n': v->type = JSONIN_NULL; return take_word(r, "null") ? JSONIN_OK : JSONIN_SYNTAX;
    case 'f': v->type = JSONIN_FALSE; return take_word(r, "false") ? JSONIN_OK : JSONIN_SYNTAX;
    case 't': v->type = JSONIN_TRUE; return take_word(r, "true") ? JSONIN_OK : JSONIN_SYNTAX;
    default: return read_number(r, v);
    }
    if (r->depth == JSONIN_DEPTH_MAX)
        return JSONIN_TOO_DEEP;
    r->at++;
    return JSONIN_OK;
}

static struct jsonin_value *innermost(struct reader *r)
{
    return r->depth != 0 ? &r->out->values[r->open[r->depth - 1]] : NULL;
}

/* Append the value that comes next, with its key if it is a member. */
static enum jsonin_status add_value(struct reader *r)
{
    const struct jsonin_value *parent = innermost(r);
    struct jsonin_value v = {.type = JSONIN_NULL};
    enum jsonin_status status;

    if (parent != NULL && parent->type == JSONIN_OBJECT) {
        status = read_key(r, parent, &v);
        if (status != JSONIN_OK)
            return status;
    }
    skip_space(r);
    if (r->out->n == JSONIN_VALUES_MAX)
        return JSONIN_TOO_MANY;
    status = read_start(r, &v);
    if (status != JSONIN_OK)
        return status;
    v.end = r->out->n + 1;
    if (v.type == JSONIN_ARRAY || v.type == JSONIN_OBJECT)
        r->open[r->depth++] = r->out->n;
    r->out->values[r->out->n++] = v;
    return JSONIN_OK;
}

/* Step over the bracket that closes what is innermost, if it is next. */
static bool take_close(struct reader *r)
{
    struct jsonin_value *v = innermost(r);

    skip_space(r);
    if (!take(r, v->type == JSONIN_OBJECT ? '}' : ']'))
        return false;
    v->end = r->out->n;
    r->depth--;
    return true;
}

/*
 * The values one after the other: after each come the brackets it was the last
 * in, and then a comma if anything is still open.
 */
static enum jsonin_status read_all(struct reader *r)
{
    enum jsonin_status status;

    do {
        unsigned before = r->depth;

        status = add_value(r);
        if (status != JSONIN_OK)
            return status;
        /* What was just opened is empty, or goes on with its first value and no comma. */
        if (r->depth > before && !take_close(r))
            continue;
        while (r->depth != 0 && take_close(r))
            ;
        if (r->depth != 0 && !take(r, ','))
            return JSONIN_SYNTAX;
    } while (r->depth != 0);
    skip_space(r);
    return r->at == r->end ? JSONIN_OK : JSONIN_SYNTAX;
}

enum jsonin_status jsonin_read(char *text, size_t len, struct jsonin *out, size_t *at)
{
    struct reader r = {.at = text, .end = text + len, .out = out};
    enum jsonin_status status;
    unsigned i;

    out->n = 0;
    status = read_all(&r);
    if (status != JSONIN_OK) {
        out->n = 0;
        *at = (size_t)(r.at - text);
        return status;
    }
    /* Only now: what follows a number is a comma or a bracket that had to be read. */
    for (i = 0; i < out->n; i++)
        if (out->values[i].type == JSONIN_NUMBER)
            out->values[i].s[out->values[i].len] = '\0';
    return JSONIN_OK;
}

const struct jsonin_value *jsonin_next(const struct jsonin *j, const struct jsonin_value *parent,
                                       const struct jsonin_value *previous)
{
    const struct jsonin_value *v = previous != NULL ? j->values + previous->end : parent + 1;

    return v < j->values + parent->end ? v : NULL;
}

bool jsonin_is_key(const struct jsonin_value *v, const char *name)
{
    return v->key != NULL && v->key_len == strlen(name) && memcmp(v->key, name, v->key_len) == 0;
}

const struct jsonin_value *jsonin_member(const struct jsonin *j, const struct jsonin_value *object,
                                         const char *name)
{
    const struct jsonin_value *v = NULL;

    while ((v = jsonin_next(j, object, v)) != NULL)
        if (jsonin_is_key(v, name))
            break;
    return v;
}
