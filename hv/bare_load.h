/* Bare kernels as the commands see them: is this image one, what would be done with it, do it. */
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

/* Whether the image is one, by its own header or as the options say, and of which format. */
bool bare_choose(const struct options *o, const struct file *image, enum bare_format *f);

/* What would be run: format, first registers, what lies where in RAM; with o->json as JSON. Needs no KVM. */
int bare_inspect(const struct options *o, const struct load *l, struct text *out, struct err *e);

/* Run it, with its output going to o->console_fd. 0 when *out tells how it went. */
int bare_run_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e);

#endif
