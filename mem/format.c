/* Formatting text. See format.h. */
#include "mem/format.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "mem/assert.h"

#define DIGITS_MAX 20 /* of 2^64 - 1 */

struct format {
    char *out;
    size_t size, len; /* len: of the whole text so far, beyond what fits too */
    const char *at;   /* what comes next of the format */
};

static void put(struct format *f, char c)
{
    if (f->len + 1 < f->size)
        f->out[f->len] = c;
    f->len++;
}

static void put_many(struct format *f, char c, size_t n)
{
    while (n-- != 0)
        put(f, c);
}

/* NOLINTBEGIN(clang-analyzer-valist.Uninitialized): the analyzer loses what va_copy has done */
/* A width or a precision; 0 if none is there. */
static size_t take_number(struct format *f, va_list *args)
{
    size_t n = 0;

    if (*f->at == '*') {
        int given = va_arg(*args, int);

        assert(given >= 0);
        f->at++;
        return (size_t)given;
    }
    for (; *f->at >= '0' && *f->at <= '9'; f->at++)
        n = n * 10 + (size_t)(*f->at - '0');
    return n;
}

/* The digits of `v` in front of `end`; where they begin. */
static char *make_digits(char *end, uint64_t v, unsigned base)
{
    do {
        *--end = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    return end;
}

static char *make_signed(char *end, int64_t v)
{
    char *s = make_digits(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);

    if (v < 0)
        *--s = '-';
    return s;
}

/* What stands behind a %. */
static void convert(struct format *f, va_list *args)
{
    char digits[1 + DIGITS_MAX], *end = digits + sizeof(digits), fill = ' ', kind;
    const char *s = end - 1;
    size_t width, len, pad, most = SIZE_MAX;
    bool left = false, wide = false;

    for (; *f->at == '-' || *f->at == '0'; f->at++) {
        if (*f->at == '-')
            left = true;
        else
            fill = '0';
    }
    width = take_number(f, args);
    if (*f->at == '.') {
        f->at++;
        most = take_number(f, args);
    }
    for (; *f->at == 'l' || *f->at == 'z'; f->at++)
        wide = true;
    kind = *f->at++;
    if (kind == 's') {
        s = va_arg(*args, const char *);
        len = strnlen(s, most);
    } else {
        uint64_t v = wide ? va_arg(*args, uint64_t) : va_arg(*args, unsigned);

        if (kind == 'c')
            end[-1] = (char)v;
        else if (kind == 'd')
            s = make_signed(end, wide ? (int64_t)v : (int)v);
        else
            s = make_digits(end, v, kind == 'x' ? 16 : 10);
        assert((kind == 'c' || kind == 'd' || kind == 'x' || kind == 'u') && most == SIZE_MAX);
        assert(fill == ' ' || (!left && *s != '-'));
        len = (size_t)(end - s);
    }
    pad = width > len ? width - len : 0;
    if (!left)
        put_many(f, fill, pad);
    while (len-- != 0)
        put(f, *s++);
    if (left)
        put_many(f, ' ', pad);
}

/* NOLINTEND(clang-analyzer-valist.Uninitialized) */

size_t format_text_v(char *out, size_t size, const char *fmt, va_list ap)
{
    struct format f = {.out = out, .size = size, .at = fmt};
    va_list args;

    va_copy(args, ap); /* an argument of that type has no address that all compilers agree on */
    while (*f.at != '\0') {
        char c = *f.at++;

        if (c == '%' && *f.at != '%') {
            convert(&f, &args);
        } else {
            f.at += c == '%';
            put(&f, c);
        }
    }
    va_end(args);
    if (size != 0)
        out[f.len < size ? f.len : size - 1] = '\0';
    return f.len;
}

size_t format_text(char *out, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    len = format_text_v(out, size, fmt, ap);
    va_end(ap);
    return len;
}
