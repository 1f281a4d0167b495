/*
 * Guests for the tests in tests/kvm: the samples, a snapshot without a program
 * for tests that never run it, and a run with its output caught.
 */
#ifndef TESTS_KVM_GUESTS_H
#define TESTS_KVM_GUESTS_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "boot/image.h"
#include "hv/console.h"
#include "hv/file.h"
#include "hv/hostfn.h"
#include "hv/run.h"
#include "hv/serve.h"
#include "hv/stop.h"
#include "hv/vm.h"
#include "tests/tap.h"

#define GUEST_LIMIT_NS ((uint64_t)60 * 1000000000u)

/* The kind of that name, NULL when this flavour has none. */
static inline const struct guest_kind *guest_kind_named(const char *name)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

/* Whether a check that is needed held; says why not. */
static inline bool guest_check(int result, const struct err *e)
{
    if (result != 0)
        printf("# %s\n", e->text);
    return CHECK(result == 0);
}

/*
 * Read sample `name` for `kind`: from the folder SAMPLES names, from /guests
 * in the lab, or from where make puts them.
 */
static inline bool guest_read_sample(const char *name, const char *kind, struct file *out)
{
    const char *dirs[] = {getenv("SAMPLES"), "/guests", "build/i686-counter/samples"};
    struct err e = {.text = ""};
    char path[512];
    unsigned i;

    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        if (dirs[i] == NULL)
            continue;
        snprintf(path, sizeof(path), "%s/%s-%s.elf", dirs[i], name, kind);
        if (file_read(path, UINT32_MAX, out, &e) == 0)
            return CHECK(out->len != 0);
    }
    return guest_check(-1, &e);
}

/* Image options with the default sizes but for scratch. */
static inline struct image_options guest_options(uint64_t scratch_len)
{
    struct image_options o = {.sizes = layout_default_sizes()};

    o.sizes.scratch_len = scratch_len;
    return o;
}

/* Build the sample; the caller frees the snapshot. */
static inline bool guest_build_sample(const char *name, const char *kind, const struct image_options *opt,
                                      struct snapshot *out)
{
    struct err e = {.text = ""};
    struct file f;
    int result;

    if (!guest_read_sample(name, kind, &f))
        return false;
    result = image_build(f.map.base, f.len, name, opt, out, &e);
    file_free(&f);
    return guest_check(result, &e) && CHECK_STR(out->kind->name, kind);
}

/*
 * A snapshot of zero bytes and empty tables, laid out by `rules`: to be opened
 * and restored, never run.
 */
static inline bool guest_make_empty(const struct guest_kind *kind, const struct plan_rules *rules,
                                    const struct plan_sizes *sizes, struct snapshot *out)
{
    struct snapshot s = {.kind = kind};
    struct err e = {.text = ""};

    if (!guest_check(layout_make(rules, sizes, &s.plan, &e), &e) ||
        !guest_check(region_map(&s.memory, s.plan.snapshot_len, &e), &e))
        return false;
    if (s.plan.pt_len != 0 && !guest_check(region_map(&s.tables, s.plan.pt_len, &e), &e)) {
        snapshot_free(&s);
        return false;
    }
    s.sregs = guest_first_sregs(kind, &s.plan);
    s.entry = layout_pointer(&s.plan, AREA_SNAPSHOT, 0);
    s.peb = layout_pointer(&s.plan, AREA_SNAPSHOT, s.plan.peb_off);
    *out = s;
    return true;
}

/* Run init of a restored guest with its output in `text`, at most a pipe's worth; false when the host failed.
 */
static inline bool guest_run(struct vm *vm, char *text, size_t text_len, struct outcome *out)
{
    struct err e = {.text = ""};
    struct console console;
    struct stop stop;
    const struct host_functions host = {.console = &console, .stop = &stop};
    const struct service service = {.host = &host, .log = &console};
    const struct run_env env = {
        .vm = vm,
        .stop = &stop,
        .console = &console,
        .service = &service,
        .limit_ns = GUEST_LIMIT_NS,
    };
    size_t used = 0;
    ssize_t n;
    int fds[2], result;

    text[0] = '\0';
    if (!CHECK(pipe2(fds, O_CLOEXEC) == 0))
        return false;
    run_outcome(vm, out);
    result = stop_open(&stop, &e);
    if (result == 0) {
        console_init(&console, fds[1], &stop);
        result = run_init(&env, out, &e);
        stop_close(&stop);
    }
    close(fds[1]);
    while (used < text_len - 1 && (n = read(fds[0], text + used, text_len - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    close(fds[0]);
    if (result == 0 && out->why.text[0] != '\0')
        printf("# %s\n", out->why.text);
    return guest_check(result, &e);
}

#endif
