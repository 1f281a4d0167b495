/* vmm run: image to outcome, init and then the calls. */
#include <stddef.h>

#include "hv/bare_load.h"
#include "hv/cmd.h"
#include "hv/core.h"
#include "hv/load.h"
#include "hv/session.h"

/* The guest is built: run it, on the part of the stack that building it has used. */
static __attribute__((noinline)) int run_snapshot(const struct options *o, const struct snapshot *snap,
                                                  struct outcome *out, struct text *calls, struct err *e)
{
    struct session s;
    int result = -1;

    if (session_open(&s, o, snap, false, e) != 0)
        return -1;
    if (session_start(&s, out, e) == 0)
        result = session_call_all(&s, out, calls, e);
    session_leave(&s);
    return result;
}

static int run_image(const struct options *o, const struct load *l, struct outcome *out, struct text *calls,
                     struct err *e)
{
    struct snapshot snap;
    int result;

    if (l->bare)
        return bare_run_image(o, l, out, e);
    if (load_snapshot(o, l, &snap, e) != 0)
        return -1;
    result = run_snapshot(o, &snap, out, calls, e);
    snapshot_free(&snap);
    return result;
}

int cmd_run(const struct options *o, struct outcome *out, struct text *calls, struct err *e)
{
    struct load l;
    int result;

    if (o->core != NULL && core_check_path(o->core, e) != 0)
        return -1;
    if (load_image(o, &l, e) != 0)
        return -1;
    result = run_image(o, &l, out, calls, e);
    load_free(&l);
    return result;
}
