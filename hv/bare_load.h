/*
 * Bare kernels as the commands see them: is this image one, what would be done
 * with it, do it. hv/bare_load.c in a build with I686_GUEST=1;
 * hv/bare_load_none.c, which knows no such image, in one without.
 */
#ifndef HV_BARE_LOAD_H
#define HV_BARE_LOAD_H

#include <stdbool.h>

#include "boot/bare.h"
#include "hv/file.h"
#include "hv/load.h"
#include "hv/options.h"
#include "hv/report.h"
#include "hv/text.h"
#include "mem/error.h"

/*
 * Whether the image is one, by its own header or as the options say, and of
 * which format. STATUS_UNSUPPORTED when one is asked for that this build lacks.
 */
int bare_choose(const struct options *o, const struct file *image, bool *bare, enum bare_format *f,
                struct err *e);

/* What would be run: format, first registers, what lies where in RAM; with o->json as JSON. Needs no KVM. */
int bare_inspect(const struct options *o, const struct load *l, struct text *out, struct err *e);

/* Run it, with its output going to o->console_fd. 0 when *out tells how it went. */
int bare_run_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e);

#endif
