/* Values of calls as text. See value.h for the forms. */
#include "hv/value.h"

#include <inttypes.h>
#include <string.h>

#include "hv/decimal.h"
#include "hv/file.h"
#include "mem/num.h"

#define VALUE_FILE_MAX ((uint64_t)1 << 30)

/* The type of that name. False when there is none. */
static bool find_type(const char *name, size_t len, enum msg_type *out)
{
    unsigned i;

    for (i = 0; i < MSG_TYPES_N; i++) {
        const char *known = msg_type_name((enum msg_type)i);

        if (strlen(known) == len && memcmp(known, name, len) == 0) {
            *out = (enum msg_type)i;
            return true;
        }
    }
    return false;
}

static int bad_value(const char *option, enum msg_type type, const char *text, struct err *e)
{
    return err_usage(e, "--%s: not a value of type %s (%s)", option, msg_type_name(type), text);
}

/* The digits of `base` that *s begins with; *s is behind them then. False without any, or above 64 bits. */
static bool take_digits(const char **s, unsigned base, uint64_t *out)
{
    const char *at = *s;
    uint64_t v = 0;
    int digit;

    for (; (digit = text_hex_digit(*at)) >= 0 && (unsigned)digit < base; at++)
        if (!num_mul(v, base, &v) || !num_add(v, (unsigned)digit, &v))
            return false;
    if (at == *s)
        return false;
    *s = at;
    *out = v;
    return true;
}

static bool parse_integer(const char *s, bool is_signed, uint64_t max, uint64_t min_magnitude, uint64_t *bits)
{
    bool negative = is_signed && *s == '-';
    unsigned base = 10;
    uint64_t v;

    s += negative;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        s += 2;
    }
    if (!take_digits(&s, base, &v) || *s != '\0' || v > (negative ? min_magnitude : max))
        return false;
    *bits = negative ? 0 - v : v;
    return true;
}

static const struct decimal_form *form_of(enum msg_type type)
{
    return type == MSG_FLOAT ? &decimal_float : &decimal_double;
}

/* nan(0xBITS) is a NaN with all its bits. */
static bool parse_floating(const struct decimal_form *form, const char *s, uint64_t *bits)
{
    uint64_t v;

    if (strncmp(s, "nan(0x", 6) != 0)
        return decimal_parse(form, s, bits);
    s += 6;
    if (!take_digits(&s, 16, &v) || strcmp(s, ")") != 0 || v > (form->sign | (form->sign - 1)) ||
        (v & (form->sign - 1)) <= form->exponent)
        return false;
    *bits = v;
    return true;
}

static int parse_bytes(const char *option, const char *text, struct text *storage, struct err *e)
{
    size_t len = strlen(text), i;

    if (text[0] == '@') {
        struct file f;

        if (file_read(text + 1, VALUE_FILE_MAX, &f, e) != 0)
            return -1;
        text_add_bytes(storage, (const char *)f.map.base, f.len);
        file_free(&f);
        return 0;
    }
    for (i = 0; i < len; i++)
        if (text_hex_digit(text[i]) < 0)
            return bad_value(option, MSG_BYTES, text, e);
    if (len % 2 != 0)
        return bad_value(option, MSG_BYTES, text, e);
    for (i = 0; i < len; i += 2) {
        char byte = (char)(text_hex_digit(text[i]) << 4 | text_hex_digit(text[i + 1]));

        text_add_bytes(storage, &byte, 1);
    }
    return 0;
}

int value_parse_as(const char *option, enum msg_type type, const char *text, struct msg_value *out,
                   struct text *storage, struct err *e)
{
    struct msg_value v = {.type = type};
    bool ok = true;

    switch (type) {
    case MSG_INT: ok = parse_integer(text, true, INT32_MAX, (uint64_t)INT32_MAX + 1, &v.bits); break;
    case MSG_UINT: ok = parse_integer(text, false, UINT32_MAX, 0, &v.bits); break;
    case MSG_LONG: ok = parse_integer(text, true, INT64_MAX, (uint64_t)INT64_MAX + 1, &v.bits); break;
    case MSG_ULONG: ok = parse_integer(text, false, UINT64_MAX, 0, &v.bits); break;
    case MSG_FLOAT:
    case MSG_DOUBLE: ok = parse_floating(form_of(type), text, &v.bits); break;
    case MSG_BOOL:
        v.bits = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
        ok = v.bits != 0 || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
        break;
    case MSG_STRING:
        ok = msg_is_utf8((const uint8_t *)text, strlen(text));
        if (ok)
            text_add_bytes(storage, text, strlen(text));
        break;
    case MSG_BYTES:
        if (parse_bytes(option, text, storage, e) != 0)
            return -1;
        break;
    case MSG_VOID: ok = text[0] == '\0'; break;
    }
    if (!ok)
        return bad_value(option, type, text, e);
    if (storage->failed || storage->len > UINT32_MAX)
        return err_usage(e, "--%s: value is too large (%zu bytes)", option, storage->len);
    if (type == MSG_STRING || type == MSG_BYTES) {
        v.data = (const uint8_t *)storage->s;
        v.len = (uint32_t)storage->len;
    }
    *out = v;
    return 0;
}

int value_parse(const char *option, const char *spec, struct msg_value *out, struct text *storage,
                struct err *e)
{
    const char *colon = strchr(spec, ':');
    enum msg_type type;

    if (colon == NULL || !find_type(spec, (size_t)(colon - spec), &type) || type == MSG_VOID) {
        err_usage(e, "--%s: not TYPE:VALUE (%s)", option, spec);
        return err_hint(e, "types: int uint long ulong float double bool string bytes");
    }
    return value_parse_as(option, type, colon + 1, out, storage, e);
}

static void print_floating(const struct msg_value *v, struct text *out)
{
    const struct decimal_form *form = form_of(v->type);
    char s[DECIMAL_LEN_MAX];

    if ((v->bits & (form->sign - 1)) > form->exponent) {
        text_add(out, "nan(0x%0*" PRIx64 ")", v->type == MSG_FLOAT ? 8 : 16, v->bits);
    } else {
        decimal_print(form, v->bits, s);
        text_add(out, "%s", s);
    }
}

static void print_hex(const struct msg_value *v, struct text *out)
{
    uint32_t i;

    for (i = 0; i < v->len; i++)
        text_add(out, "%02x", v->data[i]);
}

void value_print(const struct msg_value *v, struct text *out)
{
    switch (v->type) {
    case MSG_INT: text_add(out, "%" PRId32, (int32_t)v->bits); break;
    case MSG_UINT: text_add(out, "%" PRIu32, (uint32_t)v->bits); break;
    case MSG_LONG: text_add(out, "%" PRId64, (int64_t)v->bits); break;
    case MSG_ULONG: text_add(out, "%" PRIu64, v->bits); break;
    case MSG_FLOAT:
    case MSG_DOUBLE: print_floating(v, out); break;
    case MSG_BOOL: text_add(out, "%s", v->bits != 0 ? "true" : "false"); break;
    case MSG_STRING: text_add_bytes(out, (const char *)v->data, v->len); break;
    case MSG_BYTES: print_hex(v, out); break;
    case MSG_VOID: break;
    }
}

static bool is_finite(const struct msg_value *v)
{
    uint64_t exponent = form_of(v->type)->exponent;

    return (v->bits & exponent) != exponent;
}

void value_json(const struct msg_value *v, struct text *out)
{
    text_add(out, "{\"type\":\"%s\"", msg_type_name(v->type));
    switch (v->type) {
    case MSG_INT:
    case MSG_UINT:
    case MSG_LONG:
    case MSG_ULONG:
    case MSG_BOOL:
        text_add(out, ",\"value\":");
        value_print(v, out);
        break;
    case MSG_FLOAT:
    case MSG_DOUBLE:
        text_add(out, ",\"value\":");
        if (is_finite(v))
            print_floating(v, out);
        else
            text_add(out, "null");
        text_add(out, ",\"bits\":\"0x%0*" PRIx64 "\"", v->type == MSG_FLOAT ? 8 : 16, v->bits);
        break;
    case MSG_STRING:
        text_add(out, ",\"value\":");
        text_add_json(out, (const char *)v->data, v->len);
        break;
    case MSG_BYTES:
        text_add(out, ",\"value\":\"");
        print_hex(v, out);
        text_add(out, "\"");
        break;
    case MSG_VOID: break;
    }
    text_add(out, "}");
}
