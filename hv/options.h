/*
 * What the command line can say, as data: one struct that every command reads
 * from, and rows that say how an option fills it in. main owns the table of
 * all rows; a room that can be left out of a build brings its own.
 */
#ifndef HV_OPTIONS_H
#define HV_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/guest.h"
#include "mem/error.h"
#include "mem/layout.h"

enum irqchip_choice { IRQCHIP_AUTO, IRQCHIP_ON, IRQCHIP_OFF };

struct options {
    const char *image; /* the operand */
    struct plan_sizes sizes;
    enum guest_paging paging;
    enum irqchip_choice irqchip;
    const char *init_data; /* path, NULL = none */
    uint64_t timeout_ns;   /* 0 = none */
    uint64_t counter;
    bool counter_given;
    const char *report; /* FILE or fd:N, NULL = none */
    bool json, quiet;
};

/* Commands as bits, so that a row can name all that take the option. */
enum command_bit { CMD_RUN = 1, CMD_DOCTOR = 2, CMD_INSPECT = 4 };

struct option_row {
    const char *name;   /* without dashes; NULL ends a table */
    unsigned commands;  /* enum command_bit */
    const char *value;  /* what the value is called in the help; NULL = takes none */
    const char *help;
    int (*set)(struct options *o, const char *value, struct err *e);
};

/* The defaults. */
struct options options_default(void);

/* Options every build has; ends with a NULL name. */
extern const struct option_row option_rows[];

#endif
