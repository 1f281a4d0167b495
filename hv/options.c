/* The options of every build. See options.h. */
#include "hv/options.h"

#include <stddef.h>
#include <string.h>

#include "hv/args.h"

struct options options_default(void)
{
    return (struct options){.sizes = layout_default_sizes()};
}

static int set_scratch(struct options *o, const char *v, struct err *e)
{
    return args_size("scratch", v, &o->sizes.scratch_len, e);
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

static int set_init_data(struct options *o, const char *v, struct err *e)
{
    (void)e;
    o->init_data = v;
    return 0;
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
    return err_set(e, STATUS_USAGE, "--%s: unknown choice (%s, wanted auto, on or off)", option, value);
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

static int set_report(struct options *o, const char *v, struct err *e)
{
    (void)e;
    o->report = v;
    return 0;
}

static int set_json(struct options *o, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    o->json = true;
    return 0;
}

static int set_quiet(struct options *o, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    o->quiet = true;
    return 0;
}

#define PLAN (CMD_RUN | CMD_INSPECT)

const struct option_row option_rows[] = {
    {"timeout", CMD_RUN, "DURATION", "end the guest with status 124 after so long (ms, s, m)", set_timeout},
    {"scratch", PLAN, "SIZE", "memory the guest may write to (default 288K)", set_scratch},
    {"heap", PLAN, "SIZE", "heap in the snapshot region (default 128K)", set_heap},
    {"input", PLAN, "SIZE", "input stack (default 16K)", set_input},
    {"output", PLAN, "SIZE", "output stack (default 16K)", set_output},
    {"init-data", PLAN, "FILE", "bytes for the guest to read, at the PEB's init pointer", set_init_data},
    {"paging", PLAN, "auto|on|off", "i686: page tables or identity (default: the image's note, else on)", set_paging},
    {"irqchip", PLAN, "auto|on|off", "in-kernel interrupt controllers (default: none)", set_irqchip},
    {"report", CMD_RUN, "FILE|fd:N", "write one JSON object that says how the guest ended", set_report},
    {"quiet", CMD_RUN, NULL, "no messages of our own, only the guest's output", set_quiet},
    {"json", CMD_DOCTOR | CMD_INSPECT, NULL, "print JSON", set_json},
    {NULL, 0, NULL, NULL, NULL},
};
