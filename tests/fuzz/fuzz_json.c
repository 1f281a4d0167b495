/*
 * Fuzzes the JSON reader: any bytes are refused or read, as the grammar in
 * json_valid.h says; what was read is inside the text and nested properly, and
 * is the same again after it was written out, without escapes where it can be.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The program's own room, which fuzz targets are not linked with. */
#include "hv/jsonin.c" // NOLINT(bugprone-suspicious-include)
#include "tests/unit/json_valid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct jsonin first, second;

static void demand(int promise)
{
    if (!promise)
        abort();
}

/* Of its own and of exactly that size, so that a sanitizer sees a byte too far. */
static char *copy(const char *bytes, size_t len)
{
    char *s = malloc(len + 1);

    demand(s != NULL);
    if (len != 0)
        memcpy(s, bytes, len);
    s[len] = '\0';
    return s;
}

struct out {
    char *s;
    size_t len;
};

static void put(struct out *o, const char *s, size_t len)
{
    memcpy(o->s + o->len, s, len);
    o->len += len;
}

static void put_string(struct out *o, const char *s, size_t len)
{
    size_t i;

    put(o, "\"", 1);
    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        char escape[8];

        if (c >= 0x20 && c != '"' && c != '\\')
            put(o, s + i, 1);
        else
            put(o, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04X", c));
    }
    put(o, "\"", 1);
}

/* Values from..end, which lie directly in one array or object, or are the text's only one. */
static void put_values(struct out *o, const struct jsonin *j, unsigned from, unsigned end)
{
    unsigned i;

    for (i = from; i < end; i = j->values[i].end) {
        const struct jsonin_value *v = &j->values[i];

        demand(v->end > i && v->end <= end);
        if (i != from)
            put(o, ",", 1);
        if (v->key != NULL) {
            put_string(o, v->key, v->key_len);
            put(o, ":", 1);
        }
        switch (v->type) {
        case JSONIN_NULL: put(o, "null", 4); break;
        case JSONIN_FALSE: put(o, "false", 5); break;
        case JSONIN_TRUE: put(o, "true", 4); break;
        case JSONIN_NUMBER: put(o, v->s, v->len); break;
        case JSONIN_STRING: put_string(o, v->s, v->len); break;
        case JSONIN_ARRAY:
        case JSONIN_OBJECT:
            put(o, v->type == JSONIN_ARRAY ? "[" : "{", 1);
            put_values(o, j, i + 1, v->end);
            put(o, v->type == JSONIN_ARRAY ? "]" : "}", 1);
            break;
        }
    }
}

static int is_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return (a == NULL) == (b == NULL) && a_len == b_len && (a == NULL || memcmp(a, b, a_len + 1) == 0);
}

static void check_same(void)
{
    unsigned i;

    demand(first.n == second.n);
    for (i = 0; i < first.n; i++) {
        const struct jsonin_value *a = &first.values[i], *b = &second.values[i];

        demand(a->type == b->type && a->end == b->end && is_same(a->key, a->key_len, b->key, b->key_len));
        demand(is_same(a->s, a->len, b->s, b->len));
        demand(b->key == NULL || jsonin_is_key(b, b->key) == (strlen(b->key) == b->key_len));
    }
}

/* Every member is found by its name, and is found where the walk over all of them meets it. */
static void check_members(void)
{
    const struct jsonin_value *v = NULL;

    if (first.values[0].type != JSONIN_OBJECT)
        return;
    while ((v = jsonin_next(&first, first.values, v)) != NULL)
        demand(strlen(v->key) != v->key_len || jsonin_member(&first, first.values, v->key) == v);
    demand(jsonin_member(&first, first.values, "\xff") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int valid = json_valid((const char *)data, len);
    char *text = copy((const char *)data, len);
    struct out o;
    enum jsonin_status status;
    size_t at = SIZE_MAX;

    status = jsonin_read(text, len, &first, &at);
    if (status != JSONIN_OK) {
        demand(first.n == 0 && at <= len && jsonin_status_text(status)[0] != '\0');
        /* The grammar has no limits. */
        demand(!valid || (status != JSONIN_SYNTAX && status != JSONIN_UTF8));
        free(text);
        return 0;
    }
    demand(valid && at == SIZE_MAX && first.n >= 1 && first.values[0].end == first.n);
    check_members();
    o = (struct out){.s = malloc(6 * len + 1)};
    demand(o.s != NULL);
    put_values(&o, &first, 0, first.n);
    o.s[o.len] = '\0';
    demand(json_valid(o.s, o.len));
    demand(jsonin_read(o.s, o.len, &second, &at) == JSONIN_OK);
    check_same();
    free(o.s);
    free(text);
    return 0;
}
