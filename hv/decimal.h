/*
 * Floating-point numbers as decimal text and back, both exactly: what is read
 * is rounded once, to the nearest number (to the even one of two), and what is
 * printed reads back as the same bits.
 */
#ifndef HV_DECIMAL_H
#define HV_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

/* An IEEE 754 format. */
struct decimal_form {
    int mantissa_bits;       /* the hidden one counts */
    int power_least;         /* of the smallest number, as a power of two */
    int digits_least;        /* decimal numbers of so many digits are all told apart */
    int digits_most;         /* so many digits tell all numbers apart */
    uint64_t sign, exponent; /* their bits; the mantissa's are below */
};

extern const struct decimal_form decimal_float, decimal_double;

/*
 * The bits of the number `s`: 1, -1.5, .5e-3, 0x1.8p3, inf, nan. False for what
 * is no number, with anything before or behind it (a plus sign too), and for
 * one that is too large. One that is too small is 0.
 */
bool decimal_parse(const struct decimal_form *form, const char *s, uint64_t *bits);

#define DECIMAL_LEN_MAX 32

/* The shortest text that is read as those bits, in the forms of printf's %g; of a NaN, "nan". With its NUL. */
void decimal_print(const struct decimal_form *form, uint64_t bits, char out[DECIMAL_LEN_MAX]);

#endif
