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

/*
 * Run the image and make its calls. The guest's output and the results of
 * calls go to descriptor 1 as they come, log records to descriptor 2. `calls`
 * receives the results as the items of a JSON array, also when -1 is returned.
 */
int cmd_run(const struct options *o, struct outcome *out, struct text *calls, struct err *e);

/* Run the image and make its calls as above, then save a snapshot of it to o->output. */
int cmd_snapshot(const struct options *o, struct outcome *out, struct text *calls, struct err *e);

/* Restore the snapshot o->image and make the calls, o->repeat times in one VM, in o->copies processes. */
int cmd_restore(const struct options *o, struct outcome *out, struct text *calls, struct err *e);

/*
 * Answer requests on descriptor 0 with calls into the snapshot o->image, one
 * JSON object a line each way, until it ends or a stop comes. *status is what
 * vmm ends with.
 */
int cmd_serve(const struct options *o, enum status *status, struct err *e);

/*
 * Run the tests of the batch o->image, o->jobs at a time. Their results go to
 * descriptor 1 as TAP, in the order of the file. `report` receives one JSON
 * object; *status is what vmm ends with.
 * `run` runs a command line of vmm, words[0] being the command, and returns its
 * status. It is called in forked children, where 1 is returned: all there is left to do
 * is to end with *status.
 */
typedef int batch_run(int words_n, char **words);
int cmd_batch(const struct options *o, batch_run *run, struct text *report, enum status *status,
              struct err *e);

/*
 * Write an initramfs to o->output: this program as /init, the o->kmods, the
 * files o->operands, and what to do with them (PID1_ARGS).
 */
int cmd_pack(const struct options *o, struct err *e);

/*
 * Try each kind of guest of this binary on this host. `out` receives the
 * answer for a person, or as JSON. STATUS_OK when all can run, else STATUS_UNSUPPORTED.
 */
int cmd_doctor(const struct options *o, struct text *out, enum status *status, struct err *e);

/*
 * Measure what vmm takes on this host for calls, resets and new machines, and
 * what KVM takes alone; *o is overwritten for it. `out` receives the figures for a person, or as JSON.
 */
int cmd_bench(struct options *o, struct text *out, struct err *e);

/* Describe what the image would become, without KVM. */
int cmd_inspect(const struct options *o, struct text *out, struct err *e);

#endif
