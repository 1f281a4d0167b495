/* Bare kernels from start to end, as run, snapshot and restore have it. See bare_load.h. */
#include <string.h>
#include <unistd.h>

#include "hv/bare.h"
#include "hv/bare_load.h"
#include "hv/expect.h"
#include "hv/progress.h"

/* All that a run needs, opened in this order and closed in the other one. */
struct bare_session {
    const struct options *o;
    struct stop stop;
    struct console console;
    struct expect expect;
    struct input input;
    struct bare bare;
};

/* One of the three, with a machine that is there. */
typedef int session_work(struct bare_session *s, struct outcome *out, struct err *e);

static int run_once(struct bare_session *s, struct outcome *out, struct err *e)
{
    *out = bare_outcome(&s->bare);
    expect_reset(&s->expect);
    if (bare_restore(&s->bare, e) != 0 || bare_run(&s->bare, s->o->timeout_ns, out, e) != 0)
        return -1;
    out->amid_line = s->console.amid_line;
    if (s->bare.env.point == POINT_NONE)
        expect_judge(&s->expect, out);
    return 0;
}

static int run_rounds(struct bare_session *s, struct outcome *out, struct err *e)
{
    uint64_t i, exits_n = 0, ran_ns = 0;

    out->status = STATUS_OK;
    if (s->o->repeat > 1)
        progress_begin("restore", s->o->repeat);
    for (i = 0; i < s->o->repeat && out->status == STATUS_OK; i++) {
        if (run_once(s, out, e) != 0)
            return -1;
        progress_step(i + 1);
        exits_n += out->exits_n;
        ran_ns += out->ran_ns;
    }
    out->exits_n = exits_n;
    out->ran_ns = ran_ns;
    return 0;
}

static int run_and_save(struct bare_session *s, struct outcome *out, struct err *e)
{
    const char *text = s->expect.texts_n != 0 ? s->expect.texts[0].given : "";

    if (run_once(s, out, e) != 0)
        return -1;
    if (s->bare.at_point && out->reason == REASON_EXPECTED)
        return bare_save(&s->bare, s->o->output, e);
    if (out->reason == REASON_ENDED || out->reason == REASON_RESET) {
        err_set(&out->why, STATUS_EXPECTATION, "guest: ended with status %d, before --at %s%s%s",
                (int)out->status, s->o->at, *text != '\0' ? ":" : "", text);
        out->reason = REASON_UNEXPECTED;
        out->status = out->why.status;
    } else if (out->why.hint[0] == '\0') {
        err_hint(&out->why, "it was not saved: it had not come to --at %s", s->o->at);
    }
    return 0;
}

static int work_in(struct bare_session *s, int kvm_fd, const struct bare_state *state, session_work *work,
                   struct outcome *out, struct err *e)
{
    const struct bare_env env = {
        .stop = &s->stop,
        .console = &s->console,
        .input = &s->input,
        .strict_io = s->o->strict_io,
        .point = s->o->point,
    };
    struct outcome oc;
    int result;

    if (bare_open(&s->bare, kvm_fd, state, &env, s->o->repeat > 1 || work == run_and_save, e) != 0)
        return -1;
    result = work(s, &oc, e);
    bare_close(&s->bare);
    if (result == 0)
        *out = oc;
    return result;
}

static int work_on(const struct options *o, const struct bare_state *state, session_work *work,
                   struct outcome *out, struct err *e)
{
    struct bare_session s = {.o = o, .expect = o->expect, .input = INPUT_NONE};
    int kvm_fd, result;

    if (kvm_open(&kvm_fd, e) != 0)
        return -1;
    if (stop_open(&s.stop, e) != 0) {
        close(kvm_fd);
        return -1;
    }
    if (o->point == POINT_SIGNAL)
        stop_take_asking(&s.stop);
    console_init(&s.console, o->console_fd, &s.stop);
    s.console.expect = &s.expect;
    if (o->input)
        input_open(&s.input, STDIN_FILENO);
    result = work_in(&s, kvm_fd, state, work, out, e);
    input_close(&s.input);
    stop_close(&s.stop);
    close(kvm_fd);
    return result;
}

static int work_on_image(const struct options *o, const struct load *l, session_work *work,
                         struct outcome *out, struct err *e)
{
    struct bare_state state = {.ram = PRISTINE_CLOSED};
    int result;

    if (bare_load_state(o, l, &state, e) != 0)
        return -1;
    result = work_on(o, &state, work, out, e);
    pristine_close(&state.ram);
    return result;
}

int bare_run_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e)
{
    return work_on_image(o, l, run_once, out, e);
}

int bare_save_image(const struct options *o, const struct load *l, struct outcome *out, struct err *e)
{
    if (o->point == POINT_NONE) {
        err_usage(e, "%s: where a bare kernel is to be saved is not said (%s)", o->image,
                  bare_format_name(l->format));
        return err_hint(e, "--at text:TEXT, port, signal or halt");
    }
    if (o->point == POINT_SIGNAL)
        stop_expect_asking();
    return work_on_image(o, l, run_and_save, out, e);
}

int bare_run_saved(const struct options *o, const struct snapshot *s, struct outcome *out, struct err *e)
{
    struct bare_state state;

    if (bare_from_snapshot(s, &state, e) != 0)
        return err_wrap(e, "%s", o->image);
    return work_on(o, &state, run_rounds, out, e);
}
