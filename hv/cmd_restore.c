/* vmm restore: a saved guest goes on, once or many times. */
#include <inttypes.h>

#include "hv/bare_load.h"
#include "hv/cmd.h"
#include "hv/copies.h"
#include "hv/core.h"
#include "hv/progress.h"
#include "hv/session.h"
#include "hv/snapfile.h"

/* Between two rounds. */
static void end_stopped(enum stop_cause cause, struct outcome *out)
{
    bool by_int = cause == STOP_SIGINT;

    err_set(&out->why, by_int ? STATUS_INTERRUPTED : STATUS_TERMINATED, "restore: stopped by SIG%s",
            by_int ? "INT" : "TERM");
    out->reason = REASON_SIGNAL;
    out->status = out->why.status;
}

/* One VM, o->repeat rounds: each starts from the snapshot and nothing of the round before is left. */
static int run_rounds(struct session *s, struct outcome *out, struct text *calls, struct err *e)
{
    const struct options *o = s->o;
    uint64_t i, exits_n = 0, ran_ns = 0;
    int result = 0;

    if (o->repeat > 1)
        progress_begin("restore", o->repeat);
    for (i = 0; i < o->repeat && result == 0 && (i == 0 || out->status == STATUS_OK); i++) {
        enum stop_cause cause = i != 0 ? stop_why(&s->stop) : STOP_NONE;

        /* A round without calls may run nothing that would see a signal. */
        if (cause != STOP_NONE) {
            end_stopped(cause, out);
            break;
        }
        /* The report has the last round's results. */
        calls->len = 0;
        result = session_start(s, out, e);
        if (result == 0)
            result = session_call_all(s, out, calls, e);
        progress_step(i + 1);
        exits_n += out->exits_n;
        ran_ns += out->ran_ns;
    }
    if (result == 0) {
        out->exits_n = exits_n;
        out->ran_ns = ran_ns;
    }
    return result;
}

static int run_once(const struct options *o, const struct snapshot *snap, struct outcome *out,
                    struct text *calls, struct err *e)
{
    struct session s;
    int result;

    if (session_open(&s, o, snap, o->repeat > 1, e) != 0)
        return -1;
    result = run_rounds(&s, out, calls, e);
    session_leave(&s);
    return result;
}

/* One copy after the other in one VM, and in a new one behind a host that failed. */
static void run_copies(const struct options *o, const struct snapshot *snap, struct copies *c,
                       struct text *calls)
{
    struct session s;
    bool open = false;

    while ((!open || stop_why(&s.stop) == STOP_NONE) && copies_next(c)) {
        struct outcome out;
        struct err e;
        int result;

        if (snap->bare != NULL) {
            result = bare_run_saved(o, snap, &out, &e);
        } else {
            open = open || session_open(&s, o, snap, c->many || o->repeat > 1, &e) == 0;
            result = open ? run_rounds(&s, &out, calls, &e) : -1;
            if (open && result < 0) {
                session_close(&s);
                open = false;
            }
        }
        if (result < 0)
            out = outcome_of_error(&e);
        o->tell(o, &out);
        copies_ended(c, (int)out.status);
    }
    if (open)
        session_leave(&s);
}

static void sum_up_copies(const struct options *o, const struct copies *c, struct outcome *out)
{
    *out = (struct outcome){.reason = REASON_ENDED};
    if (c->worst == 0 && c->done_n == o->copies)
        return;
    out->reason = REASON_COPIES;
    err_set(&out->why, (enum status)c->worst,
            "restore: %" PRIu64 " of %" PRIu64 " copies failed (worst status %d)",
            c->failed_n + (o->copies - c->done_n), o->copies, c->worst);
    out->status = out->why.status;
}

int cmd_restore(const struct options *o, struct outcome *out, struct text *calls, struct err *e)
{
    struct copies copies = {.child = false};
    struct snapshot snap;
    int result;

    if (o->core != NULL && core_check_path(o->core, e) != 0)
        return -1;
    if (o->copies > 1 && o->report != NULL)
        return err_usage(e, "restore: --report and --copies do not go together");
    if (snapfile_read(o->image, o->verify, &snap, NULL, e) != 0)
        return -1;
    result = options_check(
        o, snap.bare != NULL,
        snap.bare != NULL ? bare_format_name(snap.bare->start.format) : "one of the guest ABI", e);
    if (result == 0)
        result = snapfile_guard(&snap, o->image, e);
    if (result == 0 && o->copies == 1) {
        result = snap.bare != NULL ? bare_run_saved(o, &snap, out, e) : run_once(o, &snap, out, calls, e);
    } else if (result == 0) {
        /* A machine pays from its second copy on; one of a bare kernel runs once. */
        result = copies_run(o->copies, o->jobs, o->copies > o->jobs && snap.bare == NULL, &copies, e);
        if (result == 0 && copies.child)
            run_copies(o, &snap, &copies, calls);
        else if (result == 0)
            sum_up_copies(o, &copies, out);
    }
    snapshot_free(&snap);
    return result;
}
