/* vmm serve: saved guests answer a client's requests, one JSON object a line each way. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hv/client.h"
#include "hv/cmd.h"
#include "hv/host.h"
#include "hv/request.h"
#include "hv/session.h"
#include "hv/snapfile.h"
#include "hv/value.h"

#define OUTPUT_MAX_LEN ((size_t)1 << 20) /* of one request, of the guest's output */
#define KEPT_LEN       ((size_t)1 << 20) /* a buffer that had to grow larger for once is given back */
#define FILES_MAX      64

struct server {
    const struct options *o;
    int snaps_n;
    bool spoilt; /* the guest may not take another call before it is restored */
    bool proven; /* the machine has made a call */
    struct text answer, output;
    struct client client;
    struct session session;
    struct request request;
    struct snapshot snaps[FILES_MAX]; /* of the operands */
};

static void add_string(struct text *t, const char *name, const char *s, size_t len)
{
    text_add(t, ",\"%s\":", name);
    text_add_json(t, s, len);
}

/* `code` is the guest's own where it has one, else the exit status that a run of it would have. */
static void add_error(struct text *t, const char *reason, uint64_t code)
{
    text_add(t, ",\"ok\":false,\"error\":{\"reason\":\"%s\",\"code\":%" PRIu64, reason, code);
}

static void add_failure(struct text *t, const char *reason, const struct err *why)
{
    add_error(t, reason, (uint64_t)why->status);
    add_string(t, "message", why->text, strlen(why->text));
    if (why->hint[0] != '\0')
        add_string(t, "hint", why->hint, strlen(why->hint));
    text_add(t, "}");
}

static void add_abort(struct text *t, const struct abort_info *a)
{
    add_error(t, "aborted", a->code);
    add_string(t, "name", a->code_name, strlen(a->code_name));
    if (a->has_exception) {
        text_add(t, ",\"exception\":%u", a->exception);
        add_string(t, "exception_name", a->exception_name, strlen(a->exception_name));
    }
    add_string(t, "message", a->text, a->text_len);
    text_add(t, "}");
}

static void add_result(struct text *t, const struct msg_result *r)
{
    const char *name = abort_code_name(r->code);

    if (!r->is_error) {
        text_add(t, ",\"ok\":true,\"result\":");
        value_json(&r->value, t);
        return;
    }
    add_error(t, "call-error", r->code);
    add_string(t, "name", name, strlen(name));
    add_string(t, "message", (const char *)r->text, r->text_len);
    text_add(t, "}");
}

static void add_outcome(struct text *t, const struct outcome *out)
{
    switch (out->reason) {
    case REASON_ABORTED: add_abort(t, &out->abort); break;
    case REASON_FAULTED: add_failure(t, "faulted", &out->why); break;
    case REASON_TIMEOUT: add_failure(t, "timeout", &out->why); break;
    case REASON_SIGNAL: add_failure(t, "signal", &out->why); break;
    case REASON_UNSUPPORTED: add_failure(t, "unsupported", &out->why); break;
    case REASON_ENDED:
    case REASON_CALL_ERROR:
    case REASON_RESET:
    case REASON_EXPECTED:
    case REASON_UNEXPECTED:
    case REASON_COPIES:
    case REASON_ERROR: add_failure(t, "error", &out->why); break;
    }
}

/* Empty, and not a burden for ever because one was large. */
static void reuse(struct text *t)
{
    if (t->cap > KEPT_LEN)
        text_free(t);
    t->len = 0;
}

/* Which of the snapshots the request is for. */
static int find_snapshot(const struct server *v, int *out, struct err *e)
{
    const struct jsonin_value *name = v->request.snapshot;
    int i;

    for (i = 0; name != NULL; i++) {
        if (i == v->snaps_n)
            return err_usage(e, "request: snapshot: none of that name (%s)", name->s);
        if (strlen(v->o->operands[i]) == name->len && memcmp(v->o->operands[i], name->s, name->len) == 0)
            break;
    }
    *out = i;
    return 0;
}

/* Have the guest of a snapshot in its saved state. */
static int start_guest(struct server *v, int i, struct outcome *out, struct err *e)
{
    const struct snapshot *snap = &v->snaps[i];

    /* The one that is loaded is guarded, and with it what the machine has mapped. */
    if (snap != v->session.vm.snap && snapfile_guard(snap, v->o->operands[i], e) != 0)
        return -1;
    return session_switch(&v->session, snap, out, e);
}

/* Make the call that was asked for and add what came of it. -1: the host failed; nothing was added. */
static int call(struct server *v, int i, struct err *e)
{
    struct session *s = &v->session;
    struct msg_result result;
    struct outcome out;
    struct err why;

    run_outcome(&s->vm, &out);
    if (v->request.restore || v->spoilt || s->vm.snap != &v->snaps[i]) {
        v->spoilt = true;
        if (start_guest(v, i, &out, e) != 0)
            return -1;
    }
    if (out.reason != REASON_ENDED) {
        add_outcome(&v->answer, &out);
        return 0;
    }
    v->spoilt = true;
    if (session_call(s, &v->request.call, &result, &out, &why) != 0) {
        if (why.status != STATUS_USAGE) {
            /* The next request gets another machine, unless it would be the second in a row that does not run. */
            if (s->vm.machine.broken && v->proven) {
                v->proven = false;
                add_failure(&v->answer, "error", &why);
                return 0;
            }
            *e = why;
            return -1;
        }
        /* The arguments did not fit; the guest has not run. */
        v->spoilt = false;
        add_failure(&v->answer, "bad-request", &why);
        return 0;
    }
    v->proven = true;
    v->spoilt = out.reason != REASON_ENDED;
    if (v->spoilt)
        add_outcome(&v->answer, &out);
    else
        add_result(&v->answer, &result);
    return 0;
}

static int answer_request(struct server *v, int i, struct err *e)
{
    struct console *console = &v->session.console;
    int result;

    console_gather(console, &v->output, OUTPUT_MAX_LEN);
    client_watch(&v->client, true);
    result = call(v, i, e);
    client_watch(&v->client, false);
    if (result != 0)
        add_failure(&v->answer, "error", e);
    if (v->output.len != 0)
        add_string(&v->answer, "output", v->output.s, v->output.len);
    if (console->cut)
        text_add(&v->answer, ",\"output_truncated\":true");
    return result;
}

/* One answer to what client_line said. 0: serve on. -1: *e says why not, and the answer too if it could. */
static int answer_line(struct server *v, enum came came, char *line, size_t len, struct err *e)
{
    uint64_t start = host_monotonic();
    struct text *t = &v->answer;
    struct err why;
    int result = 0, i = 0;

    reuse(t);
    reuse(&v->output);
    v->request.id = NULL;
    if (came == CAME_TOO_LONG)
        result = err_set(&why, STATUS_USAGE, "request: line too long (at most %zu bytes)", CLIENT_LINE_MAX);
    else if ((result = request_read(line, len, &v->request, &why)) == 0)
        result = find_snapshot(v, &i, &why);
    text_add(t, "{\"id\":");
    request_add_id(&v->request, t);
    if (result != 0) {
        add_failure(t, "bad-request", &why);
        result = 0;
    } else {
        result = answer_request(v, i, e);
    }
    text_add(t, ",\"us\":%" PRIu64 "}\n", (host_monotonic() - start) / 1000);
    if (client_is_gone())
        return client_end_gone(e);
    if (t->failed || v->output.failed)
        return result != 0 ? result : err_set(e, STATUS_HOST, "host memory: no room for the answer");
    if (client_write(&v->client, t->s, t->len, &why) == CAME_FAILURE && result == 0) {
        *e = why;
        return -1;
    }
    return result;
}

static int serve(struct server *v, enum status *status, struct err *e)
{
    enum came came;
    size_t len = 0;
    char *line = NULL;

    while (stop_why(&v->session.stop) == STOP_NONE) {
        came = client_line(&v->client, &line, &len, e);
        if (came == CAME_FAILURE)
            return -1;
        if (came == CAME_END) {
            *status = STATUS_OK;
            return 0;
        }
        if (came != CAME_STOP && answer_line(v, came, line, len, e) != 0)
            return -1;
    }
    if (client_is_gone())
        return client_end_gone(e);
    *status = stop_why(&v->session.stop) == STOP_SIGINT ? STATUS_INTERRUPTED : STATUS_TERMINATED;
    return 0;
}

/* A failure that may be one file's among several. */
static int about(const struct server *v, int i, struct err *e)
{
    return v->snaps_n > 1 ? err_wrap(e, "%s", v->o->operands[i]) : -1;
}

/*
 * Each is made ready before anybody asks: a host that cannot run it is no
 * matter of one request. The first is the last, and may stay.
 */
static int start_all(struct server *v, struct err *e)
{
    struct outcome out = {.reason = REASON_ENDED};
    int i;

    console_gather(&v->session.console, &v->output, OUTPUT_MAX_LEN);
    for (i = v->snaps_n - 1; i >= 0; i--)
        if (start_guest(v, i, &out, e) != 0)
            return about(v, i, e);
    v->spoilt = out.reason != REASON_ENDED;
    return 0;
}

static int open_and_serve(struct server *v, enum status *status, struct err *e)
{
    int last = v->snaps_n - 1, result = -1;

    if (session_open(&v->session, v->o, &v->snaps[last], true, e) != 0)
        return about(v, last, e);
    if (client_open(&v->client, &v->session.stop, e) == 0) {
        result = start_all(v, e);
        if (result == 0)
            result = serve(v, status, e);
        client_close(&v->client);
    }
    session_close(&v->session);
    return result;
}

/* All files are open from the start; the last one is the one that is guarded. */
static int read_all(struct server *v, struct err *e)
{
    const struct options *o = v->o;

    while (v->snaps_n < o->operands_n) {
        const char *path = o->operands[v->snaps_n];
        struct snapshot *snap = &v->snaps[v->snaps_n];

        if (snapfile_read(path, o->verify, snap, NULL, e) != 0)
            return -1;
        v->snaps_n++;
        if (snap->bare != NULL)
            return err_usage(e, "%s: a bare kernel takes no calls (%s)", path,
                             bare_format_name(snap->bare->start.format));
        if (snapfile_guard(snap, path, e) != 0)
            return -1;
        if (o->cow_host && o->operands_n > 1 && vm_prepare(snap, e) != 0)
            return about(v, v->snaps_n - 1, e);
    }
    return 0;
}

int cmd_serve(const struct options *o, enum status *status, struct err *e)
{
    struct server *v;
    int result;

    if (o->operands_n > FILES_MAX)
        return err_usage(e, "serve: too many files (%d, at most %d)", o->operands_n, FILES_MAX);
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return err_memory(e, "server");
    v->o = o;
    result = read_all(v, e);
    if (result == 0)
        result = open_and_serve(v, status, e);
    while (v->snaps_n != 0)
        snapshot_free(&v->snaps[--v->snaps_n]);
    text_free(&v->answer);
    text_free(&v->output);
    free(v);
    return result;
}
