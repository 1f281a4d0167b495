/* The run loop: one guest from its next instruction until it halts, aborts, faults or is stopped. */
#ifndef HV_RUN_H
#define HV_RUN_H

#include <stdint.h>

#include "hv/console.h"
#include "hv/report.h"
#include "hv/serve.h"
#include "hv/stop.h"
#include "hv/vm.h"
#include "mem/error.h"

/* A guest and everything a run of it needs. */
struct run_env {
    struct vm *vm;
    struct stop *stop;
    struct console *console;
    const struct service *service;
    uint64_t limit_ns; /* for init and for each call; 0 = none */
};

/* Make *out one to accumulate runs of this guest in. */
void run_outcome(const struct vm *vm, struct outcome *out);

/*
 * Run from the registers as they are set until the guest halts or something
 * else ends the run. 0 when *out tells how, abort and fault included; -1 when
 * the host failed. Output has been flushed either way. Exits and time are
 * added to those in *out.
 */
int run_until_halt(const struct run_env *env, struct outcome *out, struct err *e);

/* Run init of a restored guest, after which vm->ready says whether it takes calls. */
int run_init(const struct run_env *env, struct outcome *out, struct err *e);

#endif
