/* Parsing option values. See args.h. */
#include "hv/args.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "mem/num.h"

#define DURATION_MAX_NS ((uint64_t)1000 * 3600 * 1000000000u)

/*
 * The decimal number that `s` starts with; *end is the first character after
 * it. False without a digit. A number past 64 bits sets *huge instead of *n.
 */
static bool digits(const char *s, uint64_t *n, bool *huge, const char **end)
{
    uint64_t v = 0;

    if (*s < '0' || *s > '9')
        return false;
    *huge = false;
    for (; *s >= '0' && *s <= '9'; s++)
        if (!num_mul(v, 10, &v) || !num_add(v, (uint64_t)(*s - '0'), &v))
            *huge = true;
    *n = v;
    *end = s;
    return true;
}

int args_size(const char *option, const char *value, uint64_t *bytes, struct err *e)
{
    static const char suffixes[] = "KMG";
    uint64_t n, unit;
    const char *end, *suffix;
    bool huge;

    if (!digits(value, &n, &huge, &end))
        return err_usage(e, "--%s: not a size (%s, wanted a number and K, M or G)", option, value);
    if (*end == '\0')
        return err_usage(e, "--%s: a size needs a suffix (%s, wanted K, M or G)", option, value);
    suffix = strchr(suffixes, *end);
    if (suffix == NULL || end[1] != '\0')
        return err_usage(e, "--%s: unknown suffix of a size (%s, wanted K, M or G)", option, value);
    unit = (uint64_t)1 << (10 * (suffix - suffixes + 1));
    if (n == 0 && !huge)
        return err_usage(e, "--%s: a size of zero (%s)", option, value);
    if (huge || !num_mul(n, unit, bytes))
        return err_usage(e, "--%s: too large (%s)", option, value);
    return 0;
}

int args_duration(const char *option, const char *value, uint64_t *ns, struct err *e)
{
    static const struct {
        const char *suffix;
        uint64_t ns;
    } units[] = {{"ms", 1000000u}, {"s", 1000000000u}, {"m", 60 * (uint64_t)1000000000u}};
    uint64_t n, result;
    const char *end;
    bool huge;
    unsigned i;

    if (!digits(value, &n, &huge, &end))
        return err_usage(e, "--%s: not a duration (%s, wanted a number and ms, s or m)", option, value);
    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        if (huge || !num_mul(n, units[i].ns, &result) || result > DURATION_MAX_NS)
            return err_usage(e, "--%s: too long (%s, at most 1000 hours)", option, value);
        if (result == 0)
            return err_usage(e, "--%s: a duration of zero (%s)", option, value);
        *ns = result;
        return 0;
    }
    return err_usage(e, "--%s: a duration needs a suffix (%s, wanted ms, s or m)", option, value);
}

int args_number(const char *option, const char *value, uint64_t max, uint64_t *n, struct err *e)
{
    uint64_t v;
    const char *end;
    bool huge;

    if (!digits(value, &v, &huge, &end) || huge || *end != '\0' || v > max)
        return err_usage(e, "--%s: not a number from 0 to %" PRIu64 " (%s)", option, max, value);
    *n = v;
    return 0;
}
