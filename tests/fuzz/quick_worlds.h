/*
 * worlds.h for the targets that look at whole tables of millions of guests,
 * quickly. Included after the headers of the code under test.
 *
 * Worlds are not what is to be explored, nor do they need sanitizers: their
 * pages come from no allocator that a sanitizer knows, and have guard pages.
 */
#ifndef TESTS_QUICK_WORLDS_H
#define TESTS_QUICK_WORLDS_H

/* Each costs tables for the window, and what two roots do to each other more of them do not do otherwise. */
#define W_ROOTS_MAX 4

#pragma clang attribute push(__attribute__((no_sanitize("coverage", "address", "undefined"))), \
                             apply_to = function)
#include "tests/unit/worlds.h"
#pragma clang attribute pop

const char *__asan_default_options(void);

/* Freed tables would wait in the quarantine while each new one costs page faults. */
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=1:malloc_context_size=0";
}

#endif
