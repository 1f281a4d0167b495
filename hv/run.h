/* The run loop: one guest from its next instruction until it halts, aborts, faults or is stopped. */
#ifndef HV_RUN_H
#define HV_RUN_H

#include <stdint.h>

#include "hv/console.h"
#include "hv/report.h"
#include "hv/stop.h"
#include "hv/vm.h"
#include "mem/error.h"

/*
 * Run init of a restored guest. 0 when the run ended in a way the outcome
 * tells, abort and fault included; -1 when the host failed. Output has been
 * flushed either way. `limit_ns` 0 = no time limit.
 */
int run_init(struct vm *vm, struct stop *stop, struct console *console, uint64_t limit_ns, struct outcome *out,
             struct err *e);

#endif
