/*
 * What the tests of mem/layout share: the sizes of the ABI's worked example,
 * changed one at a time, through layout_make.
 */
#ifndef TESTS_UNIT_LAYOUT_WORKED_H
#define TESTS_UNIT_LAYOUT_WORKED_H

#include <stdlib.h>

#include "boot/guest.h"
#include "mem/layout.h"
#include "tests/plan_check.h"
#include "tests/tap.h"

/* The sizes of ABI 1.7. */
static const struct abi_sizes worked = {
    .in = 0x4000, .out = 0x4000, .heap = 0x20000, .scratch = 0x48000, .image = 0x10000};

static inline const struct plan_rules *rules_named(const char *name)
{
    const struct guest_kind *g;

    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++)
        if (strcmp(g->name, name) == 0)
            return g->rules;
    return NULL;
}

static inline struct layout make(const struct plan_rules *rules, const struct abi_sizes *s)
{
    struct plan_sizes sizes = plan_sizes_of(s);
    struct layout l = {.rules = rules};
    struct err e = {.text = ""};

    if (!CHECK(layout_make(rules, &sizes, &l, &e) == 0)) {
        printf("# %s: %s\n", rules->kind, e.text);
        exit(tap_done());
    }
    return l;
}

/* The status, 0 when accepted; the text stays in *e. */
static inline int status_of(const struct plan_rules *rules, const struct abi_sizes *s, struct err *e)
{
    struct plan_sizes sizes = plan_sizes_of(s);
    struct layout l;

    *e = (struct err){.text = ""};
    return layout_make(rules, &sizes, &l, e) == 0 ? 0 : (int)e->status;
}

static inline uint64_t scratch_max(const struct plan_rules *rules, const struct abi_sizes *s)
{
    struct plan_sizes sizes = plan_sizes_of(s);

    return layout_scratch_max(rules, &sizes);
}

static inline uint64_t scratch_min(const struct plan_rules *rules, const struct abi_sizes *s)
{
    struct plan_sizes sizes = plan_sizes_of(s);

    return layout_scratch_min(rules, &sizes);
}

#endif
