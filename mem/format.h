/*
 * Text from numbers and strings, as snprintf makes it, for the conversions this
 * program uses: %s %c %d %u %x %%, the flags - and 0, a width, a precision of
 * strings, both also as *, and the sizes l, ll and z. The C library's formatter
 * brings floating point, wide characters and files along. Any other conversion
 * is a mistake of the programmer.
 */
#ifndef MEM_FORMAT_H
#define MEM_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Write to `out`, cut short to `size` bytes with the NUL; nothing when `size` is
 * 0, and `out` may be NULL then. The length of the whole text.
 */
size_t format_text(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
size_t format_text_v(char *out, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

#endif
