/*
 * Decimal fractions in a fixed-point number that holds any double to its last
 * digit: it is multiplied and divided by powers of two until the mantissa
 * stands in front of the point. See decimal.h.
 */
#include "hv/decimal.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "hv/text.h"
#include "mem/assert.h"
#include "mem/format.h"

const struct decimal_form decimal_float = {24, -149, 6, 9, 0x80000000u, 0x7f800000u};
const struct decimal_form decimal_double = {53, -1074, 15, 17, 0x8000000000000000u, 0x7ff0000000000000u};

/* Digits of one limb. Double's largest has 309 before the point, half of its smallest 1075 behind it. */
#define LIMB_DIGITS 9
#define LIMB_BASE   1000000000u
#define LIMBS_WHOLE 38
#define LIMBS_PART  120
#define LIMBS_N     (LIMBS_PART + LIMBS_WHOLE)

/* A step of scaling: 2^29 < LIMB_BASE. */
#define STEP_MAX 29

/* An exponent counts no further: no text is long enough to make up for so much. */
#define EXPONENT_MAX 1000000000

/* Of hexadecimal numbers: above the one everything is too large, below the other everything is 0. */
#define POWER_MAX 1023
#define POWER_MIN (-1200)

struct fixed {
    uint32_t limb[LIMBS_N];   /* lowest first; [LIMBS_PART] counts ones */
    unsigned lowest, limbs_n; /* all others are 0: those below, and from limbs_n on */
};

static const uint32_t tens[LIMB_DIGITS] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

static void fixed_clear(struct fixed *f)
{
    memset(f->limb, 0, sizeof(f->limb));
    f->lowest = LIMBS_N;
    f->limbs_n = 0;
}

static void widen(struct fixed *f, unsigned i)
{
    if (i < f->lowest)
        f->lowest = i;
    if (i >= f->limbs_n)
        f->limbs_n = i + 1;
}

/* What is behind the last limb only has to be told from nothing: it is below every tie. */
static void add_rest(struct fixed *f)
{
    f->limb[0] |= 1;
    widen(f, 0);
}

/* Add `digit` times ten to the `place`. False when that is too large for any number. */
static bool add_digit(struct fixed *f, unsigned digit, int64_t place)
{
    int64_t at = place + (int64_t)LIMBS_PART * LIMB_DIGITS;

    if (digit == 0)
        return true;
    if (at >= (int64_t)LIMBS_N * LIMB_DIGITS)
        return false;
    if (at < 0) {
        add_rest(f);
    } else {
        f->limb[at / LIMB_DIGITS] += digit * tens[at % LIMB_DIGITS];
        widen(f, (unsigned)(at / LIMB_DIGITS));
    }
    return true;
}

static void add_integer(struct fixed *f, uint64_t v)
{
    int64_t place;

    for (place = 0; v != 0; place++, v /= 10)
        (void)add_digit(f, (unsigned)(v % 10), place);
}

/* Times two to the `power`, which is at most STEP_MAX either way. */
static void scale_step(struct fixed *f, int power)
{
    uint64_t rest = 0;
    unsigned i;

    if (power >= 0) {
        for (i = f->lowest; i < f->limbs_n || rest != 0; i++) {
            assert(i < LIMBS_N);
            rest += (uint64_t)f->limb[i] << power;
            f->limb[i] = (uint32_t)(rest % LIMB_BASE);
            rest /= LIMB_BASE;
        }
        if (i > f->limbs_n)
            f->limbs_n = i;
    } else {
        for (i = f->limbs_n; i != 0 && (i > f->lowest || rest != 0); i--) {
            rest = rest * LIMB_BASE + f->limb[i - 1];
            f->limb[i - 1] = (uint32_t)(rest >> -power);
            rest &= ((uint64_t)1 << -power) - 1;
        }
        if (i < f->lowest)
            f->lowest = i;
        if (rest != 0)
            add_rest(f);
    }
    while (f->limbs_n != 0 && f->limb[f->limbs_n - 1] == 0)
        f->limbs_n--;
}

static int clamp_step(int power)
{
    return power > STEP_MAX ? STEP_MAX : power < -STEP_MAX ? -STEP_MAX : power;
}

static void scale(struct fixed *f, int power)
{
    while (power != 0) {
        int step = clamp_step(power);

        scale_step(f, step);
        power -= step;
    }
}

/* How many bits the part before the point has; when they are more than 60, some number above. */
static int whole_bits(const struct fixed *f, uint64_t *whole)
{
    *whole = 0;
    if (f->limbs_n > LIMBS_PART + 2)
        return 64 + STEP_MAX;
    *whole = f->limb[LIMBS_PART + 1] * (uint64_t)LIMB_BASE + f->limb[LIMBS_PART];
    return *whole == 0 ? 0 : 64 - __builtin_clzll(*whole);
}

static bool is_zero_below(const struct fixed *f, unsigned limb)
{
    unsigned i;

    for (i = f->lowest; i < limb; i++)
        if (f->limb[i] != 0)
            return false;
    return true;
}

/* The bits of the nearest number, those of infinity or more if it is too large. Scales *f. */
static uint64_t round_to(const struct decimal_form *form, struct fixed *f)
{
    int power = 0, step;
    uint64_t whole;
    uint32_t part;

    assert(form->mantissa_bits > 1 && form->mantissa_bits < 60);
    for (;;) {
        step = form->mantissa_bits - whole_bits(f, &whole);
        if (step > power - form->power_least)
            step = power - form->power_least;
        if (step == 0)
            break;
        step = clamp_step(step);
        scale_step(f, step);
        power -= step;
    }
    part = f->limb[LIMBS_PART - 1];
    if (part > LIMB_BASE / 2 ||
        (part == LIMB_BASE / 2 && (whole % 2 != 0 || !is_zero_below(f, LIMBS_PART - 1))))
        whole++;
    /* The hidden bit, and what rounding may have carried, count the exponent up. */
    return ((uint64_t)(power - form->power_least) << (form->mantissa_bits - 1)) + whole;
}

/* --- reading ------------------------------------------------------------------------------------------- */

struct number {
    const char *s; /* n digits and a point or none */
    int64_t n, whole_n, exponent;
};

/* All of `s`: digits, at most one point among them, and maybe an exponent behind `mark`. */
static bool scan(const char *s, int base, char mark, struct number *out)
{
    struct number v = {.s = s};
    bool point = false, negative;

    for (;; s++) {
        int digit = text_hex_digit(*s);

        if (digit >= 0 && digit < base) {
            v.n++;
            v.whole_n += !point;
        } else if (*s == '.' && !point) {
            point = true;
        } else {
            break;
        }
    }
    if (v.n == 0)
        return false;
    if ((*s | 0x20) == mark) {
        s++;
        negative = *s == '-';
        s += negative || *s == '+';
        if (*s < '0' || *s > '9')
            return false;
        for (; *s >= '0' && *s <= '9'; s++)
            if (v.exponent < EXPONENT_MAX)
                v.exponent = v.exponent * 10 + (*s - '0');
        if (negative)
            v.exponent = -v.exponent;
    }
    *out = v;
    return *s == '\0';
}

static bool read_decimal(const char *s, struct fixed *f)
{
    struct number v;
    int64_t place;

    if (!scan(s, 10, 'e', &v))
        return false;
    for (place = v.whole_n + v.exponent; v.n != 0; v.s++) {
        if (*v.s == '.')
            continue;
        v.n--;
        place--;
        if (!add_digit(f, (unsigned)(*v.s - '0'), place))
            return false;
    }
    return true;
}

static bool read_hex(const char *s, struct fixed *f)
{
    struct number v;
    uint64_t bits = 0;
    int64_t power;

    if (!scan(s, 16, 'p', &v))
        return false;
    for (power = v.exponent - 4 * (v.n - v.whole_n); v.n != 0; v.s++) {
        unsigned digit = (unsigned)text_hex_digit(*v.s);

        if (*v.s == '.')
            continue;
        v.n--;
        if (bits >> 60 == 0) {
            bits = bits << 4 | digit;
        } else {
            bits |= digit != 0;
            power += 4;
        }
    }
    if (bits != 0 && power > POWER_MAX)
        return false;
    add_integer(f, bits);
    scale(f, power > POWER_MAX ? 0 : power < POWER_MIN ? POWER_MIN : (int)power);
    return true;
}

bool decimal_parse(const struct decimal_form *form, const char *s, uint64_t *bits)
{
    uint64_t sign = 0, v = form->exponent;

    if (*s == '-') {
        sign = form->sign;
        s++;
    }
    if (strcasecmp(s, "nan") == 0) {
        v |= v >> 1; /* the highest bit of the mantissa makes it quiet */
    } else if (strcasecmp(s, "inf") != 0 && strcasecmp(s, "infinity") != 0) {
        bool is_hex = s[0] == '0' && (s[1] | 0x20) == 'x';
        struct fixed f;

        fixed_clear(&f);
        if (is_hex ? !read_hex(s + 2, &f) : !read_decimal(s, &f))
            return false;
        v = round_to(form, &f);
        if (v >= form->exponent)
            return false;
    }
    *bits = sign | v;
    return true;
}

/* --- printing ------------------------------------------------------------------------------------------- */

static void add_bits(const struct decimal_form *form, uint64_t bits, struct fixed *f)
{
    uint64_t hidden = (uint64_t)1 << (form->mantissa_bits - 1), mantissa = bits & (hidden - 1);
    int power = (int)(bits >> (form->mantissa_bits - 1));

    if (power != 0) {
        mantissa |= hidden;
        power--;
    }
    add_integer(f, mantissa);
    scale(f, power + form->power_least);
}

/* The place of the first digit that is not 0. */
static int first_place(const struct fixed *f)
{
    int k = LIMB_DIGITS - 1;

    while (f->limb[f->limbs_n - 1] < tens[k])
        k--;
    return ((int)f->limbs_n - 1 - LIMBS_PART) * LIMB_DIGITS + k;
}

/* The `n` digits from `place` on as a whole number, rounded to the nearest, to the even one of two. */
static uint64_t take_digits(const struct fixed *f, int place, unsigned n)
{
    unsigned at = (unsigned)(place + 1 + LIMBS_PART * LIMB_DIGITS), digit = 0;
    uint64_t v = 0;

    for (n++; n != 0; n--) {
        v = v * 10 + digit;
        at--;
        digit = f->limb[at / LIMB_DIGITS] / tens[at % LIMB_DIGITS] % 10;
    }
    if (digit > 5 || (digit == 5 && (v % 2 != 0 || f->limb[at / LIMB_DIGITS] % tens[at % LIMB_DIGITS] != 0 ||
                                     !is_zero_below(f, at / LIMB_DIGITS))))
        v++;
    return v;
}

/* Digits of which the first counts tens to the `place`, laid out for a precision of `precision`. */
static void lay_out(const char *sign, const char *digits, int len, int place, int precision,
                    char out[DECIMAL_LEN_MAX])
{
    bool scientific = place < -4 || place >= precision;
    int whole = scientific ? 1 : place + 1; /* digits before the point */

    while (len > 1 && len > whole && digits[len - 1] == '0')
        len--;
    if (whole <= 0)
        format_text(out, DECIMAL_LEN_MAX, "%s0.%.*s%.*s", sign, -whole, "000", len, digits);
    else if (scientific)
        format_text(out, DECIMAL_LEN_MAX, "%s%.*s%s%.*se%c%02u", sign, 1, digits, len > 1 ? "." : "", len - 1,
                    digits + 1, place < 0 ? '-' : '+', place < 0 ? -(unsigned)place : (unsigned)place);
    else
        format_text(out, DECIMAL_LEN_MAX, "%s%.*s%s%.*s", sign, whole, digits, len > whole ? "." : "",
                    len - whole, digits + whole);
}

void decimal_print(const struct decimal_form *form, uint64_t bits, char out[DECIMAL_LEN_MAX])
{
    const char *sign = (bits & form->sign) != 0 ? "-" : "";
    uint64_t v = bits & (form->sign - 1);
    int place, precision, len, i;
    struct fixed f, back;
    char digits[24];

    if (v == 0 || v >= form->exponent) {
        format_text(out, DECIMAL_LEN_MAX, "%s%s", sign, v == 0 ? "0" : v == form->exponent ? "inf" : "nan");
        return;
    }
    fixed_clear(&f);
    add_bits(form, v, &f);
    for (precision = form->digits_least;; precision++) {
        place = first_place(&f);
        len =
            (int)format_text(digits, sizeof(digits), "%" PRIu64, take_digits(&f, place, (unsigned)precision));
        place += len - precision; /* 9.99 may have become 10.0 */
        fixed_clear(&back);
        for (i = 0; i < len; i++)
            (void)add_digit(&back, (unsigned)(digits[i] - '0'), place - i);
        if (precision == form->digits_most || round_to(form, &back) == v)
            break;
    }
    lay_out(sign, digits, len, place, precision, out);
}
