/* A guest of the product's, by its library, for the programs of the benchmark that link it. */
#ifndef TESTS_BENCH_CALLED_H
#define TESTS_BENCH_CALLED_H

#include <fcntl.h>
#include <unistd.h>

#include "boot/snapshot.h"
#include "hv/call.h"
#include "hv/capture.h"
#include "hv/console.h"
#include "hv/load.h"
#include "hv/options.h"
#include "hv/run.h"
#include "hv/snapfile.h"
#include "hv/stop.h"
#include "hv/vm.h"
#include "tests/bench/rows.h"

/* Which guest, and how it is started. */
struct called_guest {
    const char *samples, *name, *kind;
    uint64_t heap_len, scratch_more; /* 0: as by default */
};

struct called {
    struct vm vm;
    struct stop stop;
    struct console console;
    struct host_functions host;
    struct service service;
    struct run_env env;
    struct outcome out;
};

/* The snapshot of generation 0. */
static inline int called_load(const struct called_guest *g, struct snapshot *snap, struct err *e)
{
    struct options o = options_default();
    struct load image;
    char path[600];

    snprintf(path, sizeof(path), "%s/%s-%s.elf", g->samples, g->name, g->kind);
    o.image = path;
    if (g->heap_len != 0)
        o.sizes.heap_len = g->heap_len;
    o.sizes.scratch_len += g->scratch_more;
    return load_image(&o, &image, e) != 0 ? -1 : load_snapshot(&o, &image, snap, e);
}

/* What a run needs beside a VM; output goes nowhere. */
static inline int called_open(struct called *c, struct err *e)
{
    if (stop_open(&c->stop, e) != 0)
        return -1;
    console_init(&c->console, open("/dev/null", O_WRONLY | O_CLOEXEC), &c->stop);
    c->host = (struct host_functions){.console = &c->console, .stop = &c->stop};
    c->service = (struct service){.host = &c->host, .log = &c->console};
    c->env = (struct run_env){.vm = &c->vm, .stop = &c->stop, .console = &c->console, .service = &c->service};
    return 0;
}

/* Who copies what a paged guest writes to, in VMs from here on. */
static bool called_cow_host;

/* Whether they start one guest once, as run does, and are not restored afterwards. */
static bool called_once;

/* Whether they may take other snapshots. */
static bool called_pool;

/* Put a guest of `snap` into a VM, and let it come to where it takes calls. */
static inline int called_start(struct called *c, const struct snapshot *snap, int kvm_fd, struct err *e)
{
    const struct vm_options vo = {
        .irqchip = false, .warm = !called_once, .pool = called_pool, .cow_host = called_cow_host};

    if (vm_open(&c->vm, kvm_fd, snap, &vo, e) != 0)
        return -1;
    run_outcome(&c->vm, &c->out);
    if (vm_restore(&c->vm, e) != 0 || (!c->vm.ready && run_init(&c->env, &c->out, e) != 0))
        return -1;
    if (!c->vm.ready)
        return err_set(e, STATUS_HOST, "init did not end well: %s",
                       c->out.reason == REASON_ABORTED ? "the guest aborted" : c->out.why.text);
    return 0;
}

/* What is restored comes from a file. */
static inline int called_through_file(struct snapshot *s, struct err *e)
{
    char path[] = "/tmp/bench-XXXXXX";
    int fd = mkstemp(path), result;

    if (fd < 0)
        return err_set(e, STATUS_HOST, "%s: cannot create", path);
    close(fd);
    result = snapfile_write(s, path, e);
    if (result == 0)
        result = snapfile_read(path, false, s, NULL, e);
    unlink(path);
    return result;
}

/* A snapshot of a guest that has ended its init, from a file. */
static inline int called_capture(struct called *c, const struct called_guest *g, int kvm_fd,
                                 struct snapshot *captured, struct err *e)
{
    static struct snapshot snap;

    if (called_load(g, &snap, e) != 0 || called_start(c, &snap, kvm_fd, e) != 0 ||
        capture_make(&c->vm, captured, e) != 0 || called_through_file(captured, e) != 0)
        return -1;
    vm_close(&c->vm);
    return 0;
}

/* Call a function, with one argument unless `argument` is NULL; the bits of its result go to *bits. */
static inline int called_call(struct called *c, const char *function, const uint32_t *argument,
                              uint64_t *bits, struct err *e)
{
    struct msg_call call = {
        .name = (const uint8_t *)function,
        .name_len = (uint32_t)strlen(function),
        .params_n = argument != NULL ? 1 : 0,
        .params = {{.type = MSG_UINT, .bits = argument != NULL ? *argument : 0}},
    };
    struct msg_result result;

    if (call_guest(&c->env, &call, &result, &c->out, e) != 0)
        return -1;
    if (c->out.reason != REASON_ENDED)
        return err_set(e, STATUS_HOST, "the call did not end well: %s",
                       c->out.reason == REASON_ABORTED ? "the guest aborted" : c->out.why.text);
    if (result.is_error)
        return err_set(e, STATUS_HOST, "guest error: %.*s", (int)result.text_len, (const char *)result.text);
    if (bits != NULL)
        *bits = result.value.bits;
    return 0;
}

#endif
