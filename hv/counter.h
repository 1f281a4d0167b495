/*
 * The guest counter: one number that the host owns and the guest polls, with
 * a canary above it that tells when the boot stack has grown into it.
 * hv/counter.c in a build with GUEST_COUNTER=1; hv/counter_none.c, which does
 * nothing and knows no option, in one without.
 */
#ifndef HV_COUNTER_H
#define HV_COUNTER_H

#include "hv/options.h"
#include "hv/vm.h"
#include "mem/error.h"

/* The options this room brings; ends with a NULL name. */
extern const struct option_row counter_option_rows[];

/*
 * Publish the counter's value in a guest that was just restored, if the
 * options ask for a counter. STATUS_USAGE for a value the kind cannot read.
 */
int counter_publish(struct vm *vm, const struct options *o, struct err *e);

/* Whether the canary is in place, or none was put there. */
bool counter_is_intact(struct vm *vm, const struct options *o);

#endif
