/* The run loop of bare kernels. See bare.h. */
#include <inttypes.h>
#include <string.h>

#include "hv/bare.h"
#include "hv/ending.h"
#include "hv/expect.h"
#include "hv/host.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/num.h"

struct bare_run {
    struct bare *b;
    struct runner runner;
    struct outcome *out;
    struct exit last;

    /* Found asleep so often in a row, and how many exits there had been by then. */
    unsigned asleep_n;
    uint64_t asleep_exits;
};

/* Times 10 ms: shorter pauses are a kernel's own, between two of its ticks or while it waits for a device. */
#define ASLEEP_MAX 10
/* Exits until an instruction that accesses devices is finished: KVM does no more of a string than 1,024 at once. */
#define FINISH_MAX 16384

static bool fetch_code(void *ctx, const struct cpu_sregs *s, struct gva at, uint8_t *code, size_t n)
{
    struct bare *b = (struct bare *)ctx;
    struct gpa pa;

    (void)s;
    if (!machine_translate(&b->machine, at, &pa) || !num_fits(pa.v, n, b->ram.len))
        return false;
    memcpy(code, b->ram.base + pa.v, n);
    return true;
}

/* --- ends ------------------------------------------------------------------------------------------- */

/* A process has 8 bits of status; what does not fit is no success for that. */
static int end_with(struct bare_run *r, uint32_t status)
{
    r->out->reason = REASON_ENDED;
    r->out->status = (enum status)(status != 0 && (status & 0xff) == 0 ? 0xff : status & 0xff);
    return 0;
}

static int end_reset(struct bare_run *r)
{
    r->out->reason = REASON_RESET;
    err_set(&r->out->why, STATUS_RESET, "guest: asked for a reset");
    r->out->status = STATUS_RESET;
    return 0;
}

/* A HLT that KVM leaves to us: there is no interrupt controller, so nothing can wake the guest. */
static int end_halted(struct bare_run *r)
{
    r->b->at_point = r->b->env.point == POINT_HALT;
    return r->b->at_point ? 1 : end_with(r, 0);
}

/* With interrupt controllers KVM keeps it asleep, and does not tell. */
static void look_for_sleep(struct bare_run *r)
{
    bool sleeps = r->out->exits_n == r->asleep_exits && machine_sleeps(&r->b->machine);

    r->asleep_exits = r->out->exits_n;
    r->asleep_n = sleeps ? r->asleep_n + 1 : 0;
    if (r->asleep_n == ASLEEP_MAX)
        r->b->at_point = true;
}

/* --- accesses --------------------------------------------------------------------------------------- */

/* Where nothing answers: not to be gone on from with --strict-io, and never for Nanvix's guests. */
static int take_unknown(struct bare_run *r, const struct exit *x, uint64_t at, bool write, struct err *e)
{
    const struct unknown_access u = {.at = at,
                                     .width = x->width,
                                     .write = write,
                                     .memory = x->kind == EXIT_MMIO_READ || x->kind == EXIT_MMIO_WRITE};
    char what[80];

    if (!r->b->env.strict_io && !r->b->bus.microvm)
        return 1;
    report_access(&u, what, sizeof(what));
    err_set(&r->out->why, STATUS_FAULTED, "guest: faulted: %s: nothing answers there", what);
    return ending_broken(&r->runner, r->out, e);
}

static int take_event(struct bare_run *r, enum bus_event event)
{
    switch (event) {
    case BUS_END: return end_with(r, r->b->bus.status);
    case BUS_POWER_OFF: return end_with(r, 0);
    case BUS_RESET: return end_reset(r);
    case BUS_SNAPSHOT: r->b->at_point = r->b->env.point == POINT_PORT; break;
    case BUS_PAUSE: /* nobody would resume it */
    case BUS_NONE: break;
    }
    return 1;
}

static uint32_t load_value(const uint8_t *at, unsigned width)
{
    return width == 1 ? *at : width == 2 ? load_le16(at) : load_le32(at);
}

static void store_value(uint8_t *at, unsigned width, uint32_t v)
{
    if (width == 1)
        *at = (uint8_t)v;
    else if (width == 2)
        store_le16(at, (uint16_t)v);
    else
        store_le32(at, v);
}

/* One access, or those of a string instruction, each by itself. */
static int take_port(struct bare_run *r, const struct exit *x, struct err *e)
{
    struct bus *bus = &r->b->bus;
    uint32_t i;
    int on = 1;

    for (i = 0; i < x->count && on == 1; i++) {
        uint8_t *at = x->data + (size_t)i * x->width;
        uint64_t unknown = bus->unknown_all;
        enum bus_event event;

        if (x->kind == EXIT_OUT) {
            event = bus_write(bus, x->port, x->width, load_value(at, x->width));
        } else {
            uint32_t v = UINT32_MAX;

            event = bus_read(bus, x->port, x->width, &v);
            store_value(at, x->width, v);
        }
        on = bus->unknown_all != unknown ? take_unknown(r, x, x->port, x->kind == EXIT_OUT, e)
                                         : take_event(r, event);
    }
    return on;
}

static int take_hole(struct bare_run *r, const struct exit *x, struct err *e)
{
    const unsigned max = sizeof(r->b->holes) / sizeof(r->b->holes[0]);
    bool write = x->kind == EXIT_MMIO_WRITE;
    struct bare *b = r->b;
    unsigned i;

    if (!write)
        memset(x->data, 0xff, x->width);
    for (i = 0; i < b->holes_n; i++)
        if (b->holes[i].at >> PAGE_SHIFT == x->gpa >> PAGE_SHIFT && b->holes[i].write == write)
            break;
    if (i == b->holes_n && i < max)
        b->holes[b->holes_n++] =
            (struct unknown_access){.at = x->gpa, .width = x->width, .write = write, .memory = true};
    if (i < max)
        b->holes[i].n++;
    b->holes_all++;
    return take_unknown(r, x, x->gpa, write, e);
}

/* --- the loop --------------------------------------------------------------------------------------- */

/* Hand the guest what the user typed, as far as it takes it. */
static void pump_input(struct bare *b)
{
    uint8_t bytes[64];
    size_t room, n;

    while ((room = bus_input_room(&b->bus)) != 0 &&
           (n = input_take(b->env.input, bytes, room < sizeof(bytes) ? room : sizeof(bytes))) != 0)
        bus_input(&b->bus, bytes, n);
}

/* A signal came, for whatever reason: find out which. */
static int look(struct bare_run *r, struct err *e)
{
    struct bare *b = r->b;
    enum stop_cause cause;

    /* Clear the kick before looking: one that comes in between stops the next run at once. */
    machine_unkick(&b->machine);
    cause = stop_why(b->env.stop);
    if (cause != STOP_NONE)
        return ending_stopped(&r->runner, cause, r->out, e);
    if (stop_timer_due(b->env.stop)) {
        input_tick(b->env.input);
        pump_input(b);
        if (b->env.point == POINT_HALT)
            look_for_sleep(r);
    }
    return console_flush(b->env.console, e) < 0 ? -1 : 1;
}

/* One exit. 1: run on, 0: the run ended as the outcome tells, -1: the host failed. */
static int take_exit(struct bare_run *r, const struct exit *x, struct err *e)
{
    int on;

    switch (x->kind) {
    case EXIT_IN:
        on = take_port(r, x, e);
        if (on == 1)
            pump_input(r->b);
        return on;
    case EXIT_OUT: return take_port(r, x, e);
    case EXIT_MMIO_READ:
    case EXIT_MMIO_WRITE: return take_hole(r, x, e);
    case EXIT_HLT: return end_halted(r);
    case EXIT_INTERRUPTED: return look(r, e);
    case EXIT_SHUTDOWN:
    case EXIT_FAIL_ENTRY:
    case EXIT_EMULATION:
    case EXIT_INTERNAL:
    case EXIT_OTHER:
    case EXIT_KINDS_N: break;
    }
    return ending_faulted(&r->runner, x, r->out, e);
}

/* Run up to the next exit and see to it. *interrupted: there was none. */
static int step(struct bare_run *r, bool *interrupted, struct err *e)
{
    struct exit x;
    int on;

    if (machine_run(&r->b->machine, &x, e) != 0)
        return -1;
    *interrupted = x.kind == EXIT_INTERRUPTED;
    if (!*interrupted) {
        r->out->exits_n++;
        r->last = x;
    }
    on = take_exit(r, &x, e);
    if (!r->b->failed)
        return on;
    *e = r->b->why;
    return -1;
}

static int end_expected(struct bare_run *r)
{
    r->out->reason = REASON_EXPECTED;
    r->out->status = STATUS_OK;
    return 0;
}

/*
 * The guest is where it is to be saved, but the instruction that led there is
 * under way: KVM commits an IN, an OUT or an access to a hole, and counts the
 * instruction pointer up, in the next run. One that is told to end at once
 * does that and nothing else, but for a string instruction, of which it may
 * want another piece.
 */
static int finish(struct bare_run *r, struct err *e)
{
    bool interrupted;
    unsigned i;
    int on;

    for (i = 0; i < FINISH_MAX; i++) {
        machine_kick(&r->b->machine);
        on = step(r, &interrupted, e);
        if (on == 1 && interrupted)
            return end_expected(r);
        if (on != 1) {
            r->b->at_point = false;
            return on;
        }
    }
    return err_set(e, STATUS_HOST, "kvm: an instruction of the guest cannot be finished (%u exits)", i);
}

static int loop(struct bare_run *r, struct err *e)
{
    struct bare *b = r->b;
    const struct bare_env *v = &b->env;
    bool interrupted;
    int on;

    do {
        on = step(r, &interrupted, e);
        if (on >= 0 && v->console->expect != NULL && expect_is_decided(v->console->expect)) {
            if (v->point != POINT_TEXT)
                return end_expected(r);
            b->at_point = on == 1;
        }
        if (v->point == POINT_SIGNAL && v->stop->asked != 0)
            b->at_point = on == 1;
    } while (on == 1 && !b->at_point);
    if (on == 1)
        return finish(r, e);
    b->at_point = false;
    return on;
}

struct outcome bare_outcome(const struct bare *b)
{
    return (struct outcome){
        .reason = REASON_ENDED,
        .kind = bare_format_name(b->state->start.format),
        .addr_digits = 8,
        .bare = true,
    };
}

static void report_holes(const struct bare *b, struct outcome *out)
{
    unsigned i, n = b->bus.unknown_n;

    for (i = 0; i < n; i++) {
        const struct bus_unknown *u = &b->bus.unknown[i];

        out->unknown[i] =
            (struct unknown_access){.at = u->port, .n = u->n, .width = u->width, .write = u->write};
    }
    memcpy(&out->unknown[n], b->holes, b->holes_n * sizeof(b->holes[0]));
    out->unknown_n = n + b->holes_n;
    out->unknown_all = b->bus.unknown_all + b->holes_all;
}

int bare_run(struct bare *b, uint64_t limit_ns, struct outcome *out, struct err *e)
{
    struct bare_run r = {
        .b = b,
        .runner = {.machine = &b->machine,
                   .kvm_fd = b->kvm_fd,
                   .limit_ns = limit_ns,
                   .fetch = fetch_code,
                   .ctx = b},
        .out = out,
    };
    uint64_t before = out->exits_n, start = host_monotonic();
    int result;

    assert(b->usable);
    if (stop_arm(b->env.stop, limit_ns, e) != 0 || ((b->env.input->fd >= 0 || b->env.point == POINT_HALT) &&
                                                    stop_set_timer(b->env.stop, INPUT_PERIOD_NS, e) != 0))
        return -1;
    b->ran = true;
    b->at_point = false;
    stop_watch(b->env.stop, &b->machine);
    result = loop(&r, e);
    (void)stop_set_timer(b->env.stop, 0, e);
    out->ran_ns += host_monotonic() - start;
    result = ending_flush(&r.runner, b->env.console, b->env.stop, result, out, e);
    if (out->exits_n != before)
        out->last_exit = r.last;
    report_holes(b, out);
    return result;
}
