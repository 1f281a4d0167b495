/*
 * The commands. Each does its work and hands back an outcome or a text; main
 * prints it and exits with its status. -1 with *e set is a refusal or failure.
 */
#ifndef HV_CMD_H
#define HV_CMD_H

#include "hv/options.h"
#include "hv/report.h"
#include "hv/text.h"
#include "mem/error.h"

/* Run the image. The guest's output goes to descriptor 1 as it comes. */
int cmd_run(const struct options *o, struct outcome *out, struct err *e);

/*
 * Try each kind of guest of this binary on this host. `out` receives the
 * answer for a person, or as JSON. STATUS_OK when all can run, else STATUS_UNSUPPORTED.
 */
int cmd_doctor(const struct options *o, struct text *out, enum status *status, struct err *e);

/* Describe what the image would become, without KVM. */
int cmd_inspect(const struct options *o, struct text *out, struct err *e);

#endif
