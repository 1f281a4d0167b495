/* Errors as data: formatting only. See error.h for the contract. */
#include "mem/error.h"

#include <errno.h>
#include <string.h>

#include "mem/format.h"
/* Text may quote names a user or a guest chose: one line stays one line, and a terminal stays as it was. */
static void make_printable(char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c < 0x20 || c == 0x7f)
            *s = '?';
    }
}

__attribute__((format(printf, 3, 0))) static int set(struct err *e, enum status status, const char *fmt,
                                                     va_list ap)
{
    e->status = status;
    e->hint[0] = '\0';
    format_text_v(e->text, sizeof(e->text), fmt, ap);
    make_printable(e->text);
    return -1;
}

__attribute__((format(printf, 4, 0))) static int set_errno(struct err *e, enum status status, int errnum,
                                                           const char *fmt, va_list ap)
{
    size_t used;

    set(e, status, fmt, ap);
    used = strlen(e->text);
    format_text(e->text + used, sizeof(e->text) - used, ": %s", strerror(errnum));
    return -1;
}

int err_set(struct err *e, enum status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set(e, status, fmt, ap);
    va_end(ap);
    return -1;
}

int err_image(struct err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set(e, STATUS_IMAGE, fmt, ap);
    va_end(ap);
    return -1;
}

int err_usage(struct err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set(e, STATUS_USAGE, fmt, ap);
    va_end(ap);
    return -1;
}

int err_set_errno(struct err *e, enum status status, int errnum, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_errno(e, status, errnum, fmt, ap);
    va_end(ap);
    return -1;
}

int err_host(struct err *e, const char *fmt, ...)
{
    int errnum = errno;
    va_list ap;

    va_start(ap, fmt);
    set_errno(e, STATUS_HOST, errnum, fmt, ap);
    va_end(ap);
    return -1;
}

int err_memory(struct err *e, const char *what)
{
    return err_set_errno(e, STATUS_HOST, ENOMEM, "host memory: %s", what);
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char old[sizeof(e->text)];
    va_list ap;
    size_t used;

    memcpy(old, e->text, sizeof(old));
    va_start(ap, fmt);
    format_text_v(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    used = strlen(e->text);
    format_text(e->text + used, sizeof(e->text) - used, ": %s", old);
    make_printable(e->text);
    return -1;
}

int err_hint(struct err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_text_v(e->hint, sizeof(e->hint), fmt, ap);
    va_end(ap);
    make_printable(e->hint);
    return -1;
}
