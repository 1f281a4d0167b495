/*
 * The guest counter: one number that the host owns and the guest polls, with
 * a canary above it that tells when the boot stack has grown into it. It
 * starts at --counter N; while the guest runs, each SIGUSR1 counts it up and
 * each SIGUSR2 down. The host never reads it back.
 *
 * hv/counter.c in a build with GUEST_COUNTER=1; hv/counter_none.c, which does
 * nothing and knows no option, in one without.
 */
#ifndef HV_COUNTER_H
#define HV_COUNTER_H

#include <stdbool.h>

#include "boot/guest.h"
#include "hv/options.h"
#include "hv/vm.h"
#include "mem/error.h"

/* The options this room brings; ends with a NULL name. */
extern const struct option_row counter_option_rows[];

/* What the page with the counter's place is called in a plan. */
extern const char counter_page_name[];

/* STATUS_USAGE for a start value that guests of this kind cannot read. */
int counter_check(const struct options *o, const struct guest_kind *kind, struct err *e);

/*
 * Publish the counter in a guest that was just restored, if the options ask
 * for one, and take the signals until counter_close. One guest at a time.
 * Between counter_hide, which is for when that guest's memory goes, and the
 * next counter_publish they count nothing.
 */
int counter_publish(struct vm *vm, const struct options *o, struct err *e);
void counter_hide(void);
void counter_close(void);

/*
 * Whether the canary is in place and no signal has led out of the counter's
 * range. False with *why filled in: STATUS_FAULTED for the canary, which is
 * the guest's doing, STATUS_HOST for the range, which is not.
 */
bool counter_is_intact(struct vm *vm, const struct options *o, struct err *why);

#endif
