/* vmm snapshot: image to file, after init and the calls, or where a bare kernel is told to be saved. */
#include "hv/bare_load.h"
#include "hv/capture.h"
#include "hv/cmd.h"
#include "hv/core.h"
#include "hv/load.h"
#include "hv/save.h"
#include "hv/session.h"
#include "hv/snapfile.h"

/* Capture the guest as it is now and save it. A guest that did not end well is not worth a file. */
static int save(struct session *s, const char *path, struct err *e)
{
    struct snapshot captured;
    int result;

    if (capture_make(&s->vm, &captured, e) != 0)
        return -1;
    result = snapfile_write(&captured, path, e);
    snapshot_free(&captured);
    return result;
}

static int run_and_save(const struct options *o, const struct snapshot *snap, struct outcome *out,
                        struct text *calls, struct err *e)
{
    struct session s;
    int result = -1;

    if (session_open(&s, o, snap, false, e) != 0)
        return -1;
    if (session_start(&s, out, e) == 0)
        result = session_call_all(&s, out, calls, e);
    if (result == 0 && out->reason == REASON_ENDED)
        result = save(&s, o->output, e);
    session_leave(&s);
    return result;
}

int cmd_snapshot(const struct options *o, struct outcome *out, struct text *calls, struct err *e)
{
    struct snapshot snap;
    struct load l;
    int result = -1;

    if (o->output == NULL)
        return err_usage(e, "snapshot: no -o FILE given");
    if ((o->core != NULL && core_check_path(o->core, e) != 0) || save_check_path(o->output, e) != 0)
        return -1;
    if (load_image(o, &l, e) != 0)
        return -1;
    if (l.bare)
        result = bare_save_image(o, &l, out, e);
    else if (load_snapshot(o, &l, &snap, e) == 0) {
        result = run_and_save(o, &snap, out, calls, e);
        snapshot_free(&snap);
    }
    load_free(&l);
    return result;
}
