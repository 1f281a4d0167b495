/* Stands in for counter.c in a build without GUEST_COUNTER=1. */
#include <stddef.h>

#include "hv/counter.h"

const struct option_row counter_option_rows[] = {{NULL, 0, false, NULL, NULL, NULL}};

const char counter_page_name[] = "unused page";

int counter_check(const struct options *o, const struct guest_kind *kind, struct err *e)
{
    (void)o;
    (void)kind;
    (void)e;
    return 0;
}

int counter_publish(struct vm *vm, const struct options *o, struct err *e)
{
    (void)vm;
    (void)o;
    (void)e;
    return 0;
}

void counter_hide(void)
{
}

void counter_close(void)
{
}

bool counter_is_intact(struct vm *vm, const struct options *o, struct err *why)
{
    (void)vm;
    (void)o;
    (void)why;
    return true;
}
