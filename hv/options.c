/* The options of every build. See options.h. */
#include "hv/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/args.h"
#include "hv/value.h"
#include "mem/num.h"

#define MEMORY_DEFAULT ((uint64_t)128 << 20)

int options_check(const struct options *o, bool bare, const char *kind, struct err *e)
{
    const char *wrong = bare ? o->abi_only : o->bare_only;

    if (wrong == NULL)
        return 0;
    return err_usage(e, "--%s: only for %s (%s is %s)", wrong,
                     bare ? "guests of the guest ABI" : "bare kernels", o->image, kind);
}

struct options options_default(void)
{
    return (struct options){
        .sizes = layout_default_sizes(),
        .log_filter = 1,
        .repeat = 1,
        .copies = 1,
        .jobs = 1,
        .console_fd = STDOUT_FILENO,
        .memory_len = MEMORY_DEFAULT,
    };
}

void options_free(struct options *o)
{
    unsigned i, j;

    for (i = 0; i < o->calls_n; i++)
        for (j = 0; j < o->calls[i].params_n; j++)
            text_free(&o->calls[i].storage[j]);
    expect_free(&o->expect);
    free(o->calls);
    o->calls = NULL;
    o->calls_n = 0;
}

static int set_scratch(struct options *o, const char *v, struct err *e)
{
    return args_size("scratch", v, &o->sizes.scratch_len, e);
}

static int set_cow(struct options *o, const char *v, struct err *e)
{
    o->cow_host = strcmp(v, "host") == 0;
    if (o->cow_host || strcmp(v, "guest") == 0)
        return 0;
    return err_usage(e, "--cow: neither host nor guest (%s)", v);
}

static int set_heap(struct options *o, const char *v, struct err *e)
{
    return args_size("heap", v, &o->sizes.heap_len, e);
}

static int set_input(struct options *o, const char *v, struct err *e)
{
    return args_size("input", v, &o->sizes.input_len, e);
}

static int set_output(struct options *o, const char *v, struct err *e)
{
    return args_size("output", v, &o->sizes.output_len, e);
}

/* Find `value` among `words`, NULL-terminated; its index is the enum's value. */
static int set_word(const char *option, const char *value, const char *const *words, int *out, struct err *e)
{
    int i;

    for (i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0) {
            *out = i;
            return 0;
        }
    }
    err_usage(e, "--%s: unknown choice (%s)", option, value);
    return err_hint(e, "vmm --help lists the choices");
}

static const char *const auto_on_off[] = {"auto", "on", "off", NULL};

static int set_irqchip(struct options *o, const char *v, struct err *e)
{
    int i = 0;

    if (set_word("irqchip", v, auto_on_off, &i, e) != 0)
        return -1;
    o->irqchip = (enum irqchip_choice)i;
    return 0;
}

static int set_paging(struct options *o, const char *v, struct err *e)
{
    int i = 0;

    if (set_word("paging", v, auto_on_off, &i, e) != 0)
        return -1;
    o->paging = (enum guest_paging)i;
    return 0;
}

static int set_timeout(struct options *o, const char *v, struct err *e)
{
    return args_duration("timeout", v, &o->timeout_ns, e);
}

static int set_log_level(struct options *o, const char *v, struct err *e)
{
    static const char *const levels[] = {"off", "error", "warn", "info", "debug", "trace", NULL};
    int i = 0;

    if (set_word("log-level", v, levels, &i, e) != 0)
        return -1;
    o->log_filter = (unsigned)i;
    return 0;
}

static int add_call(struct options *o, const char *v, struct err *e)
{
    struct call_spec *calls;

    if (o->calls_n == CALLS_MAX)
        return err_usage(e, "--call: too many (at most %d)", CALLS_MAX);
    if (!msg_is_utf8((const uint8_t *)v, strlen(v)))
        return err_usage(e, "--call: the name is not UTF-8 (%s)", v);
    calls = realloc(o->calls, (o->calls_n + 1) * sizeof(*calls));
    if (calls == NULL)
        return err_memory(e, "calls");
    calls[o->calls_n] = (struct call_spec){.name = v};
    o->calls = calls;
    o->calls_n++;
    return 0;
}

static int add_arg(struct options *o, const char *v, struct err *e)
{
    struct text storage = TEXT_EMPTY;
    struct call_spec *c;

    if (o->calls_n == 0)
        return err_usage(e, "--arg: no --call before it");
    c = &o->calls[o->calls_n - 1];
    if (c->params_n == MSG_PARAMS_MAX)
        return err_usage(e, "--arg: too many for one call (at most %d)", MSG_PARAMS_MAX);
    if (value_parse("arg", v, &c->params[c->params_n], &storage, e) != 0) {
        text_free(&storage);
        return -1;
    }
    c->storage[c->params_n++] = storage;
    return 0;
}

static int add_host_function(struct options *o, const char *v, struct err *e)
{
    return hostfn_add(&o->host, v, e);
}

static int set_on_exit(struct options *o, const char *v, struct err *e)
{
    int i;

    o->on_exit = v;
    return set_word("on-exit", v, pid1_ends, &i, e);
}

static int add_kmod(struct options *o, const char *v, struct err *e)
{
    if (o->kmods_n == PID1_KMODS_MAX)
        return err_usage(e, "--kmod: too many (at most %d)", PID1_KMODS_MAX);
    o->kmods[o->kmods_n++] = v;
    return 0;
}

#define REPEAT_MAX 1000000000u
#define COPIES_MAX 100000u

static int set_count(const char *option, const char *v, uint64_t max, uint64_t *out, struct err *e)
{
    if (args_number(option, v, max, out, e) != 0)
        return -1;
    if (*out == 0)
        return err_usage(e, "--%s: at least 1 is wanted (%s)", option, v);
    return 0;
}

static int set_repeat(struct options *o, const char *v, struct err *e)
{
    return set_count("repeat", v, REPEAT_MAX, &o->repeat, e);
}

static int set_copies(struct options *o, const char *v, struct err *e)
{
    return set_count("copies", v, COPIES_MAX, &o->copies, e);
}

static int set_jobs(struct options *o, const char *v, struct err *e)
{
    return set_count("jobs", v, JOBS_MAX, &o->jobs, e);
}

static int set_format(struct options *o, const char *v, struct err *e)
{
    const char *words[FORMAT_BARE + BARE_FORMATS_N + 1] = {"auto", "abi"};
    int i;

    for (i = 0; i < BARE_FORMATS_N; i++)
        words[FORMAT_BARE + i] = bare_format_name((enum bare_format)i);
    if (set_word("format", v, words, &i, e) != 0)
        return -1;
    o->format = (enum format_choice)i;
    return 0;
}

static int add_expect(struct options *o, const char *v, struct err *e)
{
    return expect_add(&o->expect, v, strlen(v), false, e);
}

static int add_reject(struct options *o, const char *v, struct err *e)
{
    return expect_add(&o->expect, v, strlen(v), true, e);
}

static int set_expect_status(struct options *o, const char *v, struct err *e)
{
    o->expect.status_given = true;
    return args_number("expect-status", v, 255, &o->expect.status, e);
}

static int set_at(struct options *o, const char *v, struct err *e)
{
    static const char *const words[] = {[POINT_NONE] = "", "text", "port", "signal", "halt", NULL};
    int i = 0;

    o->at = v;
    if (strncmp(v, "text:", 5) == 0) {
        o->at = words[POINT_TEXT];
        if (v[5] == '\0')
            return err_usage(e, "--at: the text is empty");
        o->point = POINT_TEXT;
        return add_expect(o, v + 5, e);
    }
    if (strcmp(v, words[POINT_TEXT]) == 0 || *v == '\0')
        v = "text without a text";
    if (set_word("at", v, words, &i, e) != 0)
        return -1;
    o->point = (enum bare_point)i;
    return 0;
}

static int set_memory(struct options *o, const char *v, struct err *e)
{
    if (args_size("memory", v, &o->memory_len, e) != 0)
        return -1;
    if (o->memory_len < BARE_RAM_MIN || o->memory_len > BARE_RAM_MAX || !num_is_page_aligned(o->memory_len))
        return err_usage(e, "--memory: not a size for a bare kernel (%s, 1M to %uM in steps of 4K)", v,
                         BARE_RAM_MAX >> 20);
    return 0;
}

static int add_module(struct options *o, const char *v, struct err *e)
{
    if (o->modules_n == BARE_MODULES_MAX)
        return err_usage(e, "--module: too many (at most %d)", BARE_MODULES_MAX);
    o->modules[o->modules_n++] = v;
    return 0;
}

#define SET_WORD(name)                                                     \
    static int set_##name(struct options *o, const char *v, struct err *e) \
    {                                                                      \
        (void)e;                                                           \
        o->name = v;                                                       \
        return 0;                                                          \
    }
#define SET_FLAG(name)                                                     \
    static int set_##name(struct options *o, const char *v, struct err *e) \
    {                                                                      \
        (void)v;                                                           \
        (void)e;                                                           \
        o->name = true;                                                    \
        return 0;                                                          \
    }

static int set_stdin(struct options *o, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    o->input = true;
    return 0;
}

static int set_output_file(struct options *o, const char *v, struct err *e)
{
    (void)e;
    o->output = v;
    return 0;
}

SET_WORD(append)
SET_WORD(console)
SET_WORD(core)
SET_WORD(group)
SET_WORD(image)
SET_WORD(init_data)
SET_WORD(initrd)
SET_WORD(report)
SET_FLAG(dry_run)
SET_FLAG(json)
SET_FLAG(quiet)
SET_FLAG(verify)
SET_FLAG(strict_io)
SET_FLAG(verbose)

/* Commands that take an image, that make calls, that run a guest; those for bare kernels. */
#define PLAN  (CMD_RUN | CMD_SNAPSHOT | CMD_INSPECT | ONLY_ABI)
#define CALLS (CMD_RUN | CMD_SNAPSHOT | CMD_RESTORE | ONLY_ABI)
#define RUNS  (CMD_RUN | CMD_SNAPSHOT | CMD_RESTORE | CMD_SERVE)
#define BARE  (CMD_RUN | CMD_SNAPSHOT | CMD_INSPECT | CMD_STANDALONE | ONLY_BARE)
#define LIVE  (CMD_RUN | CMD_SNAPSHOT | CMD_RESTORE | CMD_STANDALONE)
#define LOOKS (CMD_RUN | CMD_STANDALONE)

const struct option_row option_rows[] = {
    {"o", CMD_SNAPSHOT | CMD_PACK, false, "FILE", "where it goes", set_output_file},
    {"kmod", CMD_PACK, true, "FILE", "a module for the kernel to load; in order", add_kmod},
    {"on-exit", CMD_PACK, false, "poweroff|reboot|halt|panic", "how the machine ends (default poweroff)",
     set_on_exit},
    {"group", CMD_BATCH, false, "NAME", "only the tests of this group", set_group},
    {"at", CMD_SNAPSHOT | ONLY_BARE, false, "text:TEXT|port|signal|halt",
     "where in its run to save a bare kernel", set_at},
    {"format", CMD_RUN | CMD_SNAPSHOT | CMD_INSPECT | CMD_STANDALONE, false, "FORMAT",
     "auto, abi, or a bare kernel: multiboot microvm pvh linux", set_format},
    {"call", CALLS, true, "NAME", "call a function of the guest; in order", add_call},
    {"arg", CALLS, true, "TYPE:VALUE", "an argument of the call before it", add_arg},
    {"host-fn", RUNS | ONLY_ABI, true, "NAME=COMMAND", "let the guest run a command as host function NAME",
     add_host_function},
    {"cow", RUNS | ONLY_ABI, false, "WHO",
     "who copies a page that a guest writes to: guest (default) or host", set_cow},
    {"repeat", CMD_RESTORE, false, "N", "restore and make the calls N times in one VM", set_repeat},
    {"copies", CMD_RESTORE, false, "N", "do it N times, in processes of their own", set_copies},
    {"jobs", CMD_RESTORE | CMD_BATCH, false, "M", "at most M of them at a time (default 1)", set_jobs},
    {"timeout", CMD_BATCH, false, "DURATION", "limit of the tests that name none (default 60s)", set_timeout},
    {"timeout", RUNS | CMD_STANDALONE, false, "DURATION",
     "end with status 124 after so long in init or a call (ms, s, m)", set_timeout},
    {"scratch", PLAN, false, "SIZE", "memory the guest may write to (default 288K)", set_scratch},
    {"heap", PLAN, false, "SIZE", "heap in the snapshot region (default 128K)", set_heap},
    {"input", PLAN, false, "SIZE", "input stack (default 16K)", set_input},
    {"output", PLAN, false, "SIZE", "output stack (default 16K)", set_output},
    {"init-data", PLAN, false, "FILE", "bytes for the guest to read, at the PEB's init pointer",
     set_init_data},
    {"paging", PLAN, false, "auto|on|off", "i686: tables or identity (default: the image's note, else on)",
     set_paging},
    {"irqchip", (PLAN & ~ONLY_ABI) | CMD_STANDALONE, false, "auto|on|off",
     "in-kernel interrupt controllers (default: where bare kernels want them)", set_irqchip},
    {"append", BARE, false, "TEXT", "the kernel's command line", set_append},
    {"initrd", BARE, false, "FILE", "the kernel's initial RAM disk", set_initrd},
    {"module", BARE, true, "FILE[:ARGS]", "a multiboot or PVH module; in order", add_module},
    {"memory", BARE, false, "SIZE", "RAM of a bare kernel (default 128M)", set_memory},
    {"stdin", LIVE | ONLY_BARE, false, NULL, "standard input is the serial line's input", set_stdin},
    {"strict-io", LIVE | ONLY_BARE, false, NULL, "a port that nothing answers ends the guest", set_strict_io},
    {"expect", LOOKS | CMD_RESTORE, true, "TEXT",
     "end with 0 once the guest has said TEXT, else 123; in order", add_expect},
    {"expect-status", LOOKS | CMD_RESTORE, false, "N", "end with 0 if the guest ends with N, else 123",
     set_expect_status},
    {"reject", LOOKS | CMD_RESTORE, true, "TEXT", "end with 123 once the guest says TEXT", add_reject},
    {"console", LIVE, false, "FILE|-", "where the guest's output goes (default -, standard output)",
     set_console},
    {"log-level", RUNS | ONLY_ABI, false, "LEVEL", "log records to show: off error warn info debug trace",
     set_log_level},
    {"core", CALLS, false, "FILE", "write an ELF core when the guest faults or aborts", set_core},
    {"verify", CMD_RESTORE | CMD_SERVE | CMD_INSPECT, false, NULL,
     "check the snapshot's pages against their checksums", set_verify},
    {"report", (CALLS & ~ONLY_ABI) | CMD_BATCH | CMD_STANDALONE, false, "FILE|fd:N",
     "write one JSON object that says how it ended", set_report},
    {"dry-run", LOOKS, false, NULL, "only say what would be run", set_dry_run},
    {"v", LIVE, false, NULL, "say at the end which ports nothing answered", set_verbose},
    {"quiet", RUNS | CMD_BATCH | CMD_STANDALONE, false, NULL,
     "no messages of our own, only the guest's output", set_quiet},
    {"q", RUNS | CMD_STANDALONE, false, NULL, "the same", set_quiet},
    {"json", CMD_DOCTOR | CMD_BENCH | CMD_INSPECT, false, NULL, "print JSON", set_json},
    {"kernel", CMD_STANDALONE, false, "FILE", "the image", set_image},
    {"kernel-args", CMD_STANDALONE | ONLY_BARE, false, "TEXT", "as --append", set_append},
    {"ramfs", CMD_STANDALONE | ONLY_BARE, false, "FILE", "as --initrd", set_initrd},
    {"stderr", CMD_STANDALONE, false, "FILE", "as --console", set_console},
    {NULL, 0, false, NULL, NULL, NULL},
};
