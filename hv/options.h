/*
 * What the command line can say, as data: one struct that every command reads
 * from, and rows that say how an option fills it in. main owns the table of
 * all rows; a room that can be left out of a build brings its own.
 */
#ifndef HV_OPTIONS_H
#define HV_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/bare.h"
#include "boot/guest.h"
#include "hv/bare_point.h"
#include "hv/expect.h"
#include "hv/hostfn.h"
#include "hv/pid1.h"
#include "hv/text.h"
#include "mem/error.h"
#include "mem/layout.h"
#include "mem/message.h"

enum irqchip_choice { IRQCHIP_AUTO, IRQCHIP_ON, IRQCHIP_OFF };

/* What an image is taken for; FORMAT_BARE + enum bare_format for those that are. */
enum format_choice { FORMAT_AUTO, FORMAT_ABI, FORMAT_BARE };

/* One --call with its --arg's. */
struct call_spec {
    const char *name;
    unsigned params_n;
    struct msg_value params[MSG_PARAMS_MAX];
    struct text storage[MSG_PARAMS_MAX]; /* what params view */
};

#define CALLS_MAX 1000

#define JOBS_MAX  1024 /* of --jobs */

struct outcome;

struct options {
    const char *image;       /* the operand, or the first */
    char **operands, **rest; /* all operands; pack: and the words behind "--" */
    int operands_n, rest_n;
    struct plan_sizes sizes;
    enum guest_paging paging;
    enum irqchip_choice irqchip;
    const char *init_data; /* path, NULL = none */
    uint64_t timeout_ns;   /* 0 = none */
    uint64_t counter;
    bool counter_given;
    const char *report;  /* FILE or fd:N, NULL = none */
    const char *core;    /* FILE, NULL = none */
    unsigned log_filter; /* 0 off, 1 error .. 5 trace */
    int log_fd;          /* where log records go; main's choice */
    struct call_spec *calls;
    unsigned calls_n;
    struct host_functions host; /* only the commands are filled in */
    const char *output;         /* of snapshot and pack */
    const char *group;          /* of batch; NULL = all */
    const char *on_exit;        /* of pack; NULL = not said */
    const char *kmods[PID1_KMODS_MAX];
    unsigned kmods_n;
    uint64_t repeat, copies, jobs;
    /* What main says of one copy of several. */
    void (*tell)(const struct options *o, const struct outcome *out);
    bool json, quiet, verify;
    bool cow_host;

    enum format_choice format;
    struct expect expect;
    const char *console; /* where the guest's output goes: FILE or -, NULL = standard output */
    int console_fd;      /* the same once main has opened it */
    bool verbose, dry_run;
    const char *abi_only, *bare_only; /* the first option given that only such guests take, NULL = none */

    /* Bare guests. */
    const char *at;                        /* where to save it, as it was given, without the text */
    enum bare_point point;                 /* the same; the text is the one that is expected */
    const char *append, *initrd;           /* NULL = none */
    const char *modules[BARE_MODULES_MAX]; /* FILE[:ARGS] */
    unsigned modules_n;
    uint64_t memory_len;
    bool input; /* descriptor 0 is the serial input */
    bool strict_io;
    bool standalone; /* an image that does not say what it is is Nanvix's */
};

/*
 * Refuse what guests of this sort have no use for, STATUS_USAGE; `kind` is
 * what the image is.
 */
int options_check(const struct options *o, bool bare, const char *kind, struct err *e);

/* Commands as bits, so that a row can name all that take the option. */
enum command_bit {
    CMD_RUN = 1,
    CMD_DOCTOR = 2,
    CMD_INSPECT = 4,
    CMD_SNAPSHOT = 8,
    CMD_RESTORE = 16,
    CMD_SERVE = 32,
    CMD_BATCH = 64,
    CMD_PACK = 128,
    CMD_BENCH = 256,
    CMD_STANDALONE = 1 << 15, /* run, as runner scripts call a VMM */
    ONLY_ABI = 1 << 16,       /* not commands: which guests an option is for */
    ONLY_BARE = 1 << 17
};

struct option_row {
    const char *name;  /* without dashes; NULL ends a table */
    unsigned commands; /* enum command_bit */
    bool repeatable;
    const char *value; /* what the value is called in the help; NULL = takes none */
    const char *help;
    int (*set)(struct options *o, const char *value, struct err *e);
};

/* The defaults. options_free releases what options own. */
struct options options_default(void);
void options_free(struct options *o);

/* Options every build has; ends with a NULL name. */
extern const struct option_row option_rows[];

#endif
