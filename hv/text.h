/*
 * A text that grows: what a command has to say, gathered here and printed by
 * main. Running out of memory is remembered, not reported at each call.
 */
#ifndef HV_TEXT_H
#define HV_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *s; /* NUL-terminated once anything was added; NULL before */
    size_t len, cap;
    bool failed; /* the host had no memory: s is cut short */
};

#define TEXT_EMPTY ((struct text){.s = NULL})

void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(struct text *t, const char *s, size_t len);

/* Printable form of bytes a guest or a file chose: control and non-ASCII bytes as \xNN, backslash doubled. */
void text_add_escaped(struct text *t, const char *s, size_t len);

/* One JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD. */
void text_add_json(struct text *t, const char *s, size_t len);

void text_free(struct text *t);

/* The value of a hexadecimal digit, -1 for anything else. */
int text_hex_digit(char c);

#endif
