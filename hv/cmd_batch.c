/* vmm batch: a file of tests, run in children of this process. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hv/batchjob.h"
#include "hv/cmd.h"
#include "hv/file.h"
#include "hv/host.h"
#include "hv/progress.h"
#include "hv/words.h"
#include "mem/format.h"

#define LIMIT_NS   ((uint64_t)60 * 1000000000u)
#define TAIL_LEN   4096 /* how much of a failed test's output is shown */
#define CHECKS_MAX 16
#define SHOW_MS    1000
#define VALUE_MAX  255

/* A batch that runs. */
struct run {
    const struct options *o;
    struct batch batch;
    struct verdict_of_test *results; /* of the tests, in their order */
    struct batch_test *next;
    const struct batch_test *to_print;
    unsigned begun_n, printed_n, running_n;
    unsigned counts[VERDICT_SKIPPED + 1];
    sigset_t mask;                     /* as it was */
    int stopped;                       /* the signal that ends it, or 0 */
    struct pollfd polls[1 + JOBS_MAX]; /* signals, then the jobs' output */
    struct batchjob jobs[JOBS_MAX];    /* o->jobs of them are in use */
};

static bool write_out(struct text *t, struct err *e)
{
    int result = 0;

    if (t->failed)
        result = err_memory(e, "what to print");
    else if (t->len != 0)
        result = file_write_all(STDOUT_FILENO, "standard output", t->s, t->len, e);
    text_free(t);
    return result == 0;
}

/* --- what is said -------------------------------------------------------------------------------------- */

static void add_output(struct text *t, const struct text *output)
{
    const char *s = output->s, *end = s + output->len, *line_end;

    if (output->len > TAIL_LEN) {
        s = end - TAIL_LEN;
        text_add(t, "#   ...\n");
    }
    for (; s < end; s = line_end + 1) {
        line_end = memchr(s, '\n', (size_t)(end - s));
        line_end = line_end != NULL ? line_end : end;
        text_add(t, "#   ");
        text_add_escaped(t, s, (size_t)(line_end - s));
        text_add(t, "\n");
    }
}

/* Every result that all before it are known of. */
static void add_results(struct run *r, struct text *t)
{
    while (r->to_print != NULL && r->results[r->printed_n].verdict != VERDICT_NONE) {
        const struct verdict_of_test *v = &r->results[r->printed_n++];
        bool failed = v->verdict == VERDICT_FAILED;

        if (failed) {
            text_add(t, "# ");
            text_add_escaped(t, v->why, strlen(v->why));
            text_add(t, "\n");
            add_output(t, &v->output);
        }
        text_add(t, "%s %u - %s%s%s\n", failed ? "not ok" : "ok", r->printed_n, r->to_print->name,
                 v->verdict == VERDICT_SKIPPED ? " # SKIP " : "",
                 v->verdict == VERDICT_SKIPPED ? v->why : "");
        r->to_print = r->to_print->next;
    }
}

static void add_counts(const struct run *r, struct text *t)
{
    text_add(t, "%u passed, %u failed, %u skipped", r->counts[VERDICT_PASSED], r->counts[VERDICT_FAILED],
             r->counts[VERDICT_SKIPPED]);
}

/* What is known by now. */
static bool show(struct run *r, struct err *e)
{
    struct text t = TEXT_EMPTY;

    add_results(r, &t);
    if (t.len != 0)
        progress_make_room(STDOUT_FILENO, (const uint8_t *)t.s, t.len);
    progress_step(r->printed_n);
    return write_out(&t, e);
}

static void add_report(const struct run *r, enum status status, struct text *t)
{
    static const char *const words[] = {"not run", "passed", "failed", "skipped"};
    const struct batch_test *test = r->batch.tests;
    unsigned i;

    text_add(t, "{\"version\":%d,\"status\":%d,\"passed\":%u,\"failed\":%u,\"skipped\":%u,\"tests\":[",
             REPORT_VERSION, (int)status, r->counts[VERDICT_PASSED], r->counts[VERDICT_FAILED],
             r->counts[VERDICT_SKIPPED]);
    for (i = 0; i < r->batch.tests_n; i++, test = test->next) {
        const struct verdict_of_test *v = &r->results[i];

        text_add(t, "%s{\"name\":", i != 0 ? "," : "");
        text_add_json(t, test->name, strlen(test->name));
        text_add(t, ",\"result\":\"%s\"", words[v->verdict]);
        if (v->verdict != VERDICT_NONE)
            text_add(t, ",\"status\":%d,\"ms\":%" PRIu64, v->status, v->ms);
        if (v->why[0] != '\0') {
            text_add(t, ",\"why\":");
            text_add_json(t, v->why, strlen(v->why));
        }
        if (v->verdict == VERDICT_FAILED) {
            text_add(t, ",\"output\":");
            text_add_json(t, v->output.s != NULL ? v->output.s : "", v->output.len);
        }
        text_add(t, "}");
    }
    text_add(t, "]}\n");
}

/* --- running -------------------------------------------------------------------------------------------- */

static void count(struct run *r, const struct verdict_of_test *v)
{
    r->counts[v->verdict]++;
}

/* Whether the file at `path` holds `value`, as cat would tell a shell. */
static bool holds(const char *path, const char *value)
{
    char text[VALUE_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    return strcmp(text, value) == 0;
}

/* Whether every file of "PATH=VALUE ..." holds its value. */
static bool all_hold(const char *checks)
{
    char text[1024], *words[CHECKS_MAX + 1];
    int i, n;

    format_text(text, sizeof(text), "%s", checks);
    n = words_split(text, words, CHECKS_MAX);
    for (i = 0; i < n; i++) {
        char *value = strchr(words[i], '=');

        if (value == NULL)
            return false;
        *value = '\0';
        if (!holds(words[i], value + 1))
            return false;
    }
    return n >= 0;
}

/* Why this test is not to be started, in v->why; false when it is. */
static bool is_skipped(const struct run *r, const struct batch_test *t, struct verdict_of_test *v)
{
    const char *why = t->skip, *what = t->skip_what;

    if (why == NULL && t->flat && r->o->group == NULL && batchfile_in_group(t, "nodefault")) {
        why = "is of group ";
        what = "nodefault";
    } else if (why == NULL && t->checks != NULL && !all_hold(t->checks)) {
        why = "needs ";
        what = t->checks;
    }
    if (why == NULL)
        return false;
    format_text(v->why, sizeof(v->why), "%s%s", why, what);
    return true;
}

/* Start the next test in that job, or skip it. 1 in the child. */
static int begin(struct run *r, struct batchjob *j, struct err *e)
{
    const struct batch_test *t = r->next;
    struct verdict_of_test *v = &r->results[r->begun_n];
    uint64_t limit = t->limit_ns != 0 ? t->limit_ns : r->o->timeout_ns != 0 ? r->o->timeout_ns : LIMIT_NS;
    int result;

    if (is_skipped(r, t, v)) {
        v->verdict = VERDICT_SKIPPED;
        v->status = STATUS_UNSUPPORTED;
        count(r, v);
    } else {
        result = batchjob_start(j, t, limit, &r->mask, v, e);
        if (result != 0)
            return result;
        r->running_n++;
    }
    r->next = t->next;
    r->begun_n++;
    return 0;
}

static void stop_all(struct run *r, bool at_once)
{
    unsigned i;

    r->next = NULL;
    for (i = 0; i < r->o->jobs; i++)
        if (r->jobs[i].pid != 0)
            batchjob_stop(&r->jobs[i], at_once);
}

static void take_signals(struct run *r)
{
    struct signalfd_siginfo s;

    while (read(r->polls[0].fd, &s, sizeof(s)) == sizeof(s)) {
        if (s.ssi_signo == SIGCHLD)
            continue;
        stop_all(r, r->stopped != 0);
        r->stopped = (int)s.ssi_signo;
    }
}

/* How long poll may wait: until the next time limit, or until it is time to show that all is well. */
static int wait_ms(const struct run *r)
{
    uint64_t now = host_monotonic(), first = UINT64_MAX;
    unsigned i;

    for (i = 0; i < r->o->jobs; i++)
        if (r->jobs[i].pid != 0 && r->jobs[i].deadline_ns < first)
            first = r->jobs[i].deadline_ns;
    if (first <= now)
        return 0;
    first = (first - now) / 1000000 + 1;
    return first < SHOW_MS ? (int)first : SHOW_MS;
}

static void wait_for_jobs(struct run *r)
{
    unsigned i;

    for (i = 0; i < r->o->jobs; i++)
        r->polls[i + 1] = (struct pollfd){.fd = r->jobs[i].from, .events = POLLIN};
    poll(r->polls, r->o->jobs + 1, wait_ms(r));
    take_signals(r);
    for (i = 0; i < r->o->jobs; i++) {
        struct batchjob *j = &r->jobs[i];

        if (j->pid == 0)
            continue;
        batchjob_read(j);
        batchjob_check_time(j);
        if (batchjob_end(j)) {
            count(r, j->out);
            r->running_n--;
        }
    }
}

/* 1 in a child, whose test is r->next. After a failure nothing runs any more. */
static int run_tests(struct run *r, struct err *e)
{
    unsigned i;
    int result = 0;

    while (r->next != NULL || r->running_n != 0) {
        for (i = 0; i < r->o->jobs; i++)
            while (result == 0 && r->next != NULL && r->jobs[i].pid == 0)
                result = begin(r, &r->jobs[i], e);
        if (result > 0)
            return result;
        if (result == 0 && !show(r, e))
            result = -1;
        if (result < 0)
            stop_all(r, true);
        if (r->running_n != 0)
            wait_for_jobs(r);
    }
    return result != 0 ? result : show(r, e) ? 0 : -1;
}

static enum status sum_up(const struct run *r)
{
    if (r->stopped != 0)
        return r->stopped == SIGINT ? STATUS_INTERRUPTED : STATUS_TERMINATED;
    if (r->counts[VERDICT_FAILED] != 0)
        return STATUS_EXPECTATION;
    return r->counts[VERDICT_PASSED] != 0 ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* --- before and after ----------------------------------------------------------------------------------- */

/* Leave only the tests of that group. */
static void choose(struct batch *b, const char *group)
{
    struct batch_test **link = &b->tests, *t;

    while (group != NULL && (t = *link) != NULL) {
        if (batchfile_in_group(t, group)) {
            link = &t->next;
            continue;
        }
        *link = t->next;
        free(t);
        b->tests_n--;
    }
}

/* Paths in a batch count from where its file is. */
static int enter_folder(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? NULL : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int result = 0;

    if (slash != NULL && (folder == NULL || chdir(folder) != 0))
        result = err_host(e, "%s: cannot enter its folder", path);
    free(folder);
    return result;
}

static int open_signals(struct run *r, struct err *e)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction old;
    sigset_t set;
    unsigned i;

    /* Who was started with SIGCHLD ignored has children that go without a word. */
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
        if (sigaction(stops[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(&set, stops[i]);
    sigprocmask(SIG_BLOCK, &set, &r->mask);
    r->polls[0] = (struct pollfd){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .events = POLLIN};
    return r->polls[0].fd >= 0 ? 0 : err_host(e, "batch: cannot wait for signals");
}

static void print_end(struct run *r, struct text *t)
{
    if (r->stopped != 0)
        text_add(t, "Bail out! stopped by signal %d\n", r->stopped);
    text_add(t, "# ");
    add_counts(r, t);
    text_add(t, "\n");
}

static int run_batch(struct run *r, batch_run *run, struct text *report, enum status *status, struct err *e)
{
    struct text t = TEXT_EMPTY;
    unsigned i;
    int result;

    r->results = calloc(r->batch.tests_n, sizeof(*r->results));
    if (r->results == NULL)
        return err_memory(e, r->o->image);
    for (i = 0; i < r->o->jobs; i++)
        r->jobs[i].from = -1;
    r->next = r->batch.tests;
    r->to_print = r->next;
    if (open_signals(r, e) != 0)
        return -1;
    text_add(&t, "1..%u\n", r->batch.tests_n);
    progress_begin("tests", r->batch.tests_n);
    result = write_out(&t, e) ? run_tests(r, e) : -1;
    close(r->polls[0].fd);
    if (result > 0) {
        progress_copied();
        for (i = 0; i < r->o->jobs; i++)
            if (r->jobs[i].from >= 0)
                close(r->jobs[i].from);
        *status = (enum status)run(r->next->words_n, r->next->words);
        return result;
    }
    progress_end();
    sigprocmask(SIG_SETMASK, &r->mask, NULL);
    if (result != 0)
        return -1;
    *status = sum_up(r);
    add_report(r, *status, report);
    print_end(r, &t);
    return write_out(&t, e) ? 0 : -1;
}

static void free_run(struct run *r)
{
    unsigned i;

    for (i = 0; r->results != NULL && i < r->batch.tests_n; i++)
        text_free(&r->results[i].output);
    for (i = 0; i < r->o->jobs; i++)
        free(r->jobs[i].output);
    free(r->results);
    batchfile_free(&r->batch);
    free(r);
}

int cmd_batch(const struct options *o, batch_run *run, struct text *report, enum status *status,
              struct err *e)
{
    struct run *r = (struct run *)calloc(1, sizeof(*r));
    char *text = NULL;
    size_t len;
    int result;

    if (r == NULL)
        return err_memory(e, o->image);
    r->o = o;
    result = file_read_text(o->image, BATCH_LEN_MAX, &text, &len, e);
    if (result == 0 && batchfile_parse(text, len, &r->batch, e) != 0)
        result = err_wrap(e, "%s", o->image);
    choose(&r->batch, o->group);
    if (result == 0 && r->batch.tests_n == 0)
        result = err_usage(e, "%s: no test%s%s", o->image, o->group != NULL ? " of group " : "",
                           o->group != NULL ? o->group : "");
    if (result == 0)
        result = enter_folder(o->image, e);
    if (result == 0)
        result = run_batch(r, run, report, status, e);
    free_run(r);
    free(text);
    return result;
}
