/*
 * JSON as RFC 8259 has it: whether a text is one value in valid UTF-8, and the
 * members of its outermost object. Written from the grammar, to judge what
 * hv/text and hv/report write.
 */
#ifndef TESTS_UNIT_JSON_VALID_H
#define TESTS_UNIT_JSON_VALID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct json {
    const unsigned char *at, *end;
    unsigned depth;
};

static inline bool json_value(struct json *j);

static inline bool json_take(struct json *j, unsigned char c)
{
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

static inline void json_space(struct json *j)
{
    while (j->at != j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t'))
        j->at++;
}

static inline bool json_hex4(struct json *j)
{
    unsigned i;

    for (i = 0; i < 4; i++, j->at++)
        if (j->at == j->end || strchr("0123456789abcdefABCDEF", *j->at) == NULL || *j->at == '\0')
            return false;
    return true;
}

/* One character of UTF-8 by decoding it: shortest form, no surrogate, at most U+10FFFF. */
static inline bool json_utf8(struct json *j)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = *j->at++;
    unsigned more = c < 0x80             ? 1
                    : (c & 0xe0) == 0xc0 ? 2
                    : (c & 0xf0) == 0xe0 ? 3
                    : (c & 0xf8) == 0xf0 ? 4
                                         : 0,
             i;
    uint32_t v = more == 1 ? c : c & (0xffu >> (more + 1));

    if (more == 0)
        return false;
    for (i = 1; i < more; i++, j->at++) {
        if (j->at == j->end || (*j->at & 0xc0) != 0x80)
            return false;
        v = v << 6 | (*j->at & 0x3f);
    }
    return v >= least[more] && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff);
}

static inline bool json_string(struct json *j)
{
    if (!json_take(j, '"'))
        return false;
    while (j->at != j->end && *j->at != '"') {
        if (*j->at < 0x20)
            return false;
        if (!json_take(j, '\\')) {
            if (!json_utf8(j))
                return false;
        } else if (json_take(j, 'u')) {
            if (!json_hex4(j))
                return false;
        } else if (j->at == j->end || *j->at == '\0' || strchr("\"\\/bfnrt", *j->at++) == NULL) {
            return false;
        }
    }
    return json_take(j, '"');
}

static inline bool json_digits(struct json *j)
{
    const unsigned char *from = j->at;

    while (j->at != j->end && *j->at >= '0' && *j->at <= '9')
        j->at++;
    return j->at != from;
}

static inline bool json_number(struct json *j)
{
    (void)json_take(j, '-');
    if (!json_take(j, '0') && !json_digits(j))
        return false;
    if (json_take(j, '.') && !json_digits(j))
        return false;
    if (json_take(j, 'e') || json_take(j, 'E')) {
        if (!json_take(j, '+'))
            (void)json_take(j, '-');
        return json_digits(j);
    }
    return true;
}

static inline bool json_word(struct json *j, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(j->end - j->at) < n || memcmp(j->at, word, n) != 0)
        return false;
    j->at += n;
    return true;
}

/* Items of an array, or members of an object, up to `close`. */
static inline bool json_items(struct json *j, bool object, unsigned char close)
{
    json_space(j);
    if (json_take(j, close))
        return true;
    for (;;) {
        json_space(j);
        if (object && !json_string(j))
            return false;
        json_space(j);
        if (object && !json_take(j, ':'))
            return false;
        if (!json_value(j))
            return false;
        if (json_take(j, close))
            return true;
        if (!json_take(j, ','))
            return false;
    }
}

static inline bool json_value(struct json *j)
{
    bool ok;

    json_space(j);
    if (j->at == j->end || ++j->depth > 100)
        return false;
    switch (*j->at) {
    case '{':
        j->at++;
        ok = json_items(j, true, '}');
        break;
    case '[':
        j->at++;
        ok = json_items(j, false, ']');
        break;
    case '"': ok = json_string(j); break;
    case 't': ok = json_word(j, "true"); break;
    case 'f': ok = json_word(j, "false"); break;
    case 'n': ok = json_word(j, "null"); break;
    default: ok = json_number(j); break;
    }
    j->depth--;
    json_space(j);
    return ok;
}

static inline bool json_valid(const char *s, size_t len)
{
    struct json j = {(const unsigned char *)s, (const unsigned char *)s + len, 0};

    return json_value(&j) && j.at == j.end;
}

/* The raw text of member `name` of the object `s`, which is valid; "" when it has none, "TWICE" when two. */
static inline const char *json_member(const char *s, const char *name)
{
    static char found[32][2048]; /* each answer holds until 31 others were asked for */
    static unsigned turn;
    char *out = found[turn++ % 32];
    struct json j = {(const unsigned char *)s, (const unsigned char *)s + strlen(s), 0};
    size_t name_len = strlen(name);

    out[0] = '\0';
    json_space(&j);
    (void)json_take(&j, '{');
    do {
        const unsigned char *key, *value;
        bool mine;

        json_space(&j);
        key = j.at;
        if (!json_string(&j))
            break;
        mine = (size_t)(j.at - key) == name_len + 2 && memcmp(key + 1, name, name_len) == 0;
        json_space(&j);
        (void)json_take(&j, ':');
        value = j.at;
        if (!json_value(&j))
            break;
        if (mine)
            snprintf(out, 2048, "%.*s", (int)(out[0] != '\0' ? 5 : j.at - value),
                     out[0] != '\0' ? "TWICE" : (const char *)value);
    } while (json_take(&j, ','));
    return out;
}

#endif
