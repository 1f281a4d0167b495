/* Bare kernels as the commands see them: is this image one, what would be done with it, do it. */
#ifndef HV_BARE_LOAD_H
#define HV_BARE_LOAD_H

#include <stdbool.h>

#include "boot/bare.h"
#include "boot/snapshot.h"
#include "hv/bare.h"
#include "hv/file.h"
#include "hv/load.h"
#include "hv/options.h"
#include "hv/report.h"
#include "hv/text.h"
#include "mem/error.h"

/* Whether the image is one, by its own header or as the options say, and of which format. */
bool bare_choose(const struct options *o, const struct file *image, enum bare_format *f);

/* What would be run: format, first registers, what lies where in RAM; with o->json as JSON. Needs no KVM. */
int bare_inspect(const struct options *o, const struct load *l, struct text *out, struct err *e);

/* The state it starts in; the caller closes its RAM. */
int bare_load_state(const struct options *o, const struct load *l, struct bare_state *out, struct err *e);

/*
 * Run it, its output going to o->console_fd; run it up to o->point and save it
 * there to o->output; go on with a saved one, o->repeat times in one machine
 * and as long as it ends with 0. 0 when *out tells how it went.
 */
int bare_run_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e);
int bare_save_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e);
int bare_run_saved(const struct options *o, const struct snapshot *s, struct outcome *out, struct err *e);

#endif
