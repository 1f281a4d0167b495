/* vmm restore: a saved guest goes on, once or many times. */
#include <inttypes.h>

#include "hv/bare_load.h"
#include "hv/cmd.h"
#include "hv/copies.h"
#include "hv/core.h"
#include "hv/progress.h"
#include "hv/session.h"
#include "hv/snapfile.h"

/* One VM, o->repeat rounds: each starts from the snapshot and nothing of the round before is left. */
static int run_rounds(const struct options *o, const struct snapshot *snap, struct outcome *out,
                      struct text *calls, struct err *e)
{
    struct session s;
    uint64_t i, exits_n = 0, ran_ns = 0;
    int result = 0;

    if (session_open(&s, o, snap, o->repeat > 1, e) != 0)
        return -1;
    if (o->repeat > 1)
        progress_begin("restore", o->repeat);
    for (i = 0; i < o->repeat && result == 0 && (i == 0 || out->status == STATUS_OK); i++) {
        /* The report has the last round's results. */
        calls->len = 0;
        result = session_start(&s, out, e);
        if (result == 0)
            result = session_call_all(&s, out, calls, e);
        progress_step(i + 1);
        exits_n += out->exits_n;
        ran_ns += out->ran_ns;
    }
    if (result == 0) {
        out->exits_n = exits_n;
        out->ran_ns = ran_ns;
    }
    /* Copies end so fast that those left behind would pile up. */
    if (o->copies > 1)
        session_close(&s);
    else
        session_leave(&s);
    return result;
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
    copies.child = o->copies == 1;
    result = options_check(
        o, snap.bare != NULL,
        snap.bare != NULL ? bare_format_name(snap.bare->start.format) : "one of the guest ABI", e);
    if (result == 0)
        result = snapfile_guard(&snap, o->image, e);
    if (result == 0 && !copies.child)
        result = copies_run(o->copies, o->jobs, &copies, e);
    if (result == 0 && copies.child)
        result = snap.bare != NULL ? bare_run_saved(o, &snap, out, e) : run_rounds(o, &snap, out, calls, e);
    else if (result == 0)
        sum_up_copies(o, &copies, out);
    snapshot_free(&snap);
    return result;
}
