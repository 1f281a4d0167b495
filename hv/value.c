/* Values of calls as text. See value.h for the forms. */
#include "hv/value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/file.h"

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
    return err_set(e, STATUS_USAGE, "--%s: not a value of type %s (%s)", option, msg_type_name(type), text);
}

/* strtoll and friends skip blanks and take a sign that unsigned types have no use for: neither is wanted. */
static bool parse_integer(const char *s, bool is_signed, uint64_t max, uint64_t min_magnitude, uint64_t *bits)
{
    bool negative = *s == '-';
    const char *digits = s + negative;
    unsigned long long v;
    char *end;

    if (*digits < '0' || *digits > '9' || (negative && !is_signed))
        return false;
    errno = 0;
    v = strtoull(digits, &end, digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X') ? 16 : 10);
    if (errno != 0 || *end != '\0' || v > (negative ? min_magnitude : max))
        return false;
    *bits = negative ? 0 - (uint64_t)v : (uint64_t)v;
    return true;
}

/* nan(0xBITS): a NaN with all its bits. */
static bool parse_nan_bits(const char *s, uint64_t exponent, uint64_t max, uint64_t *bits)
{
    unsigned long long v;
    char *end;

    if (strncmp(s, "nan(0x", 6) != 0)
        return false;
    errno = 0;
    v = strtoull(s + 4, &end, 16);
    /* All exponent bits, and a mantissa (the bits below the exponent's lowest) that is not zero. */
    if (errno != 0 || strcmp(end, ")") != 0 || v > max || (v & exponent) != exponent ||
        (v & ((exponent & -exponent) - 1)) == 0)
        return false;
    *bits = v;
    return true;
}

#define FLOAT_EXPONENT  0x7f800000u
#define DOUBLE_EXPONENT 0x7ff0000000000000u

/* strtod also takes leading blanks, a plus sign and nan(anything): none of them is a value of ours. */
static bool starts_a_number(const char *s)
{
    return *s != '\0' && *s != '+' && !isspace((unsigned char)*s) && strchr(s, '(') == NULL;
}

static bool parse_float(const char *s, uint64_t *bits)
{
    uint32_t b;
    char *end;
    float f;

    if (parse_nan_bits(s, FLOAT_EXPONENT, UINT32_MAX, bits))
        return true;
    if (!starts_a_number(s))
        return false;
    errno = 0;
    f = strtof(s, &end);
    if (*end != '\0' || (errno == ERANGE && isinf(f)))
        return false;
    memcpy(&b, &f, sizeof(b));
    *bits = b;
    return true;
}

static bool parse_double(const char *s, uint64_t *bits)
{
    char *end;
    double d;

    if (parse_nan_bits(s, DOUBLE_EXPONENT, UINT64_MAX, bits))
        return true;
    if (!starts_a_number(s))
        return false;
    errno = 0;
    d = strtod(s, &end);
    if (*end != '\0' || (errno == ERANGE && isinf(d)))
        return false;
    memcpy(bits, &d, sizeof(*bits));
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
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
        if (hex_digit(text[i]) < 0)
            return bad_value(option, MSG_BYTES, text, e);
    if (len % 2 != 0)
        return bad_value(option, MSG_BYTES, text, e);
    for (i = 0; i < len; i += 2) {
        char byte = (char)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1]));

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
    case MSG_FLOAT: ok = parse_float(text, &v.bits); break;
    case MSG_DOUBLE: ok = parse_double(text, &v.bits); break;
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
        return err_set(e, STATUS_USAGE, "--%s: value is too large (%zu bytes)", option, storage->len);
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
        err_set(e, STATUS_USAGE, "--%s: not TYPE:VALUE (%s)", option, spec);
        return err_hint(e, "types: int uint long ulong float double bool string bytes");
    }
    return value_parse_as(option, type, colon + 1, out, storage, e);
}

/* The shortest decimal form that reads back as the same number. */
static void print_double(double d, bool is_float, struct text *out)
{
    int precision, most = is_float ? 9 : 17;
    char s[40];

    for (precision = is_float ? 6 : 15; precision <= most; precision++) {
        snprintf(s, sizeof(s), "%.*g", precision, d);
        if (is_float ? strtof(s, NULL) == (float)d : strtod(s, NULL) == d)
            break;
    }
    text_add(out, "%s", s);
}

static void print_floating(const struct msg_value *v, struct text *out)
{
    if (v->type == MSG_FLOAT) {
        uint32_t bits = (uint32_t)v->bits;
        float f;

        memcpy(&f, &bits, sizeof(f));
        if (isnan(f))
            text_add(out, "nan(0x%08" PRIx32 ")", bits);
        else
            print_double((double)f, true, out);
    } else {
        double d;

        memcpy(&d, &v->bits, sizeof(d));
        if (isnan(d))
            text_add(out, "nan(0x%016" PRIx64 ")", v->bits);
        else
            print_double(d, false, out);
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
    uint64_t exponent = v->type == MSG_FLOAT ? FLOAT_EXPONENT : DOUBLE_EXPONENT;

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
