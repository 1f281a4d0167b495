/* Children of a batch. See batchjob.h. */
#include "hv/batchjob.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/host.h"
#include "mem/format.h"

#define GRACE_NS ((uint64_t)2000000000u)

/* In the child. */
static void become_test(int out, pid_t parent, const sigset_t *mask)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        kill(getpid(), SIGKILL);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    for (fd = STDOUT_FILENO; fd <= 2; fd++)
        dup2(out, fd);
    sigprocmask(SIG_SETMASK, mask, NULL);
}

int batchjob_start(struct batchjob *j, const struct batch_test *t, uint64_t limit_ns, const sigset_t *mask,
                   struct verdict_of_test *out, struct err *e)
{
    pid_t parent = getpid(), pid;
    char *output = malloc(BATCHJOB_OUTPUT_MAX);
    int ends[2];

    if (output == NULL)
        return err_memory(e, t->name);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        err_host(e, "%s: cannot make a pipe", t->name);
        free(output);
        return -1;
    }
    pid = _Fork();
    if (pid == 0)
        become_test(ends[1], parent, mask);
    if (pid < 0)
        err_host(e, "%s: cannot fork", t->name);
    close(ends[1]);
    if (pid <= 0) {
        close(ends[0]);
        free(output);
        return pid == 0 ? 1 : -1;
    }
    setpgid(pid, pid); /* whoever is first: a stop may come before the child has run */
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *j = (struct batchjob){
        .test = t, .out = out, .pid = pid, .from = ends[0], .limit_ns = limit_ns, .output = output};
    j->begun_ns = host_monotonic();
    j->deadline_ns = limit_ns == BATCH_NO_LIMIT ? UINT64_MAX : j->begun_ns + limit_ns;
    return 0;
}

/* --- its output -------------------------------------------------------------------------------------- */

/* Look for the text in what is kept. Half of that is dropped at a time, and no text is longer than a half. */
static void look(struct batchjob *j)
{
    size_t len = strlen(j->test->text), i;

    for (i = 0; !j->found && i + len <= j->output_len; i++)
        j->found = memcmp(j->output + i, j->test->text, len) == 0;
}

void batchjob_read(struct batchjob *j)
{
    ssize_t n;

    while (j->from >= 0) {
        if (j->output_len == BATCHJOB_OUTPUT_MAX) {
            look(j);
            j->output_len = BATCHJOB_OUTPUT_MAX / 2;
            memmove(j->output, j->output + j->output_len, j->output_len);
            j->cut = true;
        }
        n = read(j->from, j->output + j->output_len, BATCHJOB_OUTPUT_MAX - j->output_len);
        if (n > 0) {
            j->output_len += (size_t)n;
        } else if (n == 0) {
            close(j->from);
            j->from = -1;
        } else if (errno != EINTR) {
            return;
        }
    }
}

/* --- its end ----------------------------------------------------------------------------------------- */

void batchjob_stop(struct batchjob *j, bool at_once)
{
    /* A child that is asked takes what it started with it; one that is killed cannot. */
    kill(at_once ? -j->pid : j->pid, at_once ? SIGKILL : SIGTERM);
    j->asked = true;
    j->deadline_ns = at_once ? UINT64_MAX : host_monotonic() + GRACE_NS;
}

void batchjob_check_time(struct batchjob *j)
{
    if (host_monotonic() < j->deadline_ns)
        return;
    j->late = j->late || !j->asked;
    batchjob_stop(j, j->asked);
}

/* The first message of ours in what it printed, else its status. */
static void say_why(const struct batchjob *j, struct verdict_of_test *v)
{
    const char *s = j->output, *end = s + j->output_len;

    while (s < end) {
        const char *line_end = memchr(s, '\n', (size_t)(end - s));
        struct text t = TEXT_EMPTY;

        line_end = line_end != NULL ? line_end : end;
        if (line_end - s > 5 && memcmp(s, "vmm: ", 5) == 0) {
            text_add_escaped(&t, s + 5, (size_t)(line_end - s) - 5);
            format_text(v->why, sizeof(v->why), "%s", t.s != NULL ? t.s : "");
            text_free(&t);
            return;
        }
        s = line_end + 1;
    }
    format_text(v->why, sizeof(v->why), "status %d", v->status);
}

static bool is_skip(const struct batch_test *t, int status)
{
    if ((unsigned)status == t->status)
        return false;
    /* The images of a unittests.cfg are built for one architecture. */
    return status == STATUS_UNSUPPORTED || (t->flat && status == BATCH_FLAT_SKIPPED) ||
           (t->arch != NULL && status == STATUS_NOT_FOUND);
}

static void judge(struct batchjob *j, int wstatus)
{
    struct verdict_of_test *v = j->out;
    const struct batch_test *t = j->test;

    v->ms = (host_monotonic() - j->begun_ns) / 1000000;
    v->status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
    v->verdict = VERDICT_FAILED;
    look(j);
    if (j->late) {
        v->status = STATUS_TIMEOUT;
        format_text(v->why, sizeof(v->why), "still running after %" PRIu64 " ms", j->limit_ns / 1000000);
    } else if (j->asked) {
        v->verdict = VERDICT_NONE;
    } else if (WIFSIGNALED(wstatus)) {
        format_text(v->why, sizeof(v->why), "killed by signal %d", WTERMSIG(wstatus));
    } else if (is_skip(t, v->status)) {
        v->verdict = VERDICT_SKIPPED;
        say_why(j, v);
    } else if ((unsigned)v->status != t->status) {
        format_text(v->why, sizeof(v->why), "status %d, wanted %u", v->status, t->status);
    } else if (!j->found) {
        format_text(v->why, sizeof(v->why), "the output has no \"%.100s\"", t->text);
    } else {
        v->verdict = VERDICT_PASSED;
    }
    if (v->verdict == VERDICT_FAILED)
        text_add_bytes(&v->output, j->output, j->output_len);
}

bool batchjob_end(struct batchjob *j)
{
    siginfo_t info = {.si_pid = 0};
    int wstatus = 0;

    if (waitid(P_PID, (id_t)j->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return false;
    /* Before it is reaped: until then nobody else can have its number. */
    kill(-j->pid, SIGKILL);
    while (waitpid(j->pid, &wstatus, 0) < 0 && errno == EINTR)
        ;
    batchjob_read(j);
    if (j->from >= 0)
        close(j->from);
    j->from = -1;
    judge(j, wstatus);
    free(j->output);
    j->output = NULL;
    j->pid = 0;
    return true;
}
