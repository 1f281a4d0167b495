/* Commands as host functions. See hostcmd.h. */
#include "hv/hostcmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_LEN_MAX 4096

/* How long its output may be silent before it is looked whether it still lives. */
#define SILENCE_MS 50

struct child {
    pid_t pid;
    int to, from; /* our ends of its stdin and stdout; -1 when closed */
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Split at blanks, in place. False when there are too many words, or none. */
static bool split(char *line, char *words[HOSTCMD_WORDS_MAX + 1])
{
    bool inside = false;
    unsigned n = 0;

    for (; *line != '\0'; line++) {
        bool blank = *line == ' ' || *line == '\t';

        if (!inside && !blank) {
            if (n == HOSTCMD_WORDS_MAX)
                return false;
            words[n++] = line;
        }
        if (blank)
            *line = '\0';
        inside = !blank;
    }
    words[n] = NULL;
    return n != 0;
}

/*
 * In the child: its own process group, no handler and nothing blocked or
 * ignored that its user has not ignored, and no descriptor beyond 2 (ours are
 * close-on-exec). Returns why it is not the command now.
 */
static int become(char *const words[], int in, int out)
{
    struct sigaction now;
    sigset_t none;
    int sig;

    for (sig = 1; sig < _NSIG; sig++)
        if (sigaction(sig, NULL, &now) == 0 &&
            (now.sa_handler != SIG_IGN || sig == SIGPIPE || sig == SIGXFSZ))
            signal(sig, SIG_DFL);
    if (setpgid(0, 0) != 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        return errno;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(words[0], words);
    return errno;
}

/*
 * Returns an errno value, or 0. We wait until the child is the command, and it
 * uses our memory for so long: a large guest is not copied, and the child can
 * say what went wrong. None of our handlers may run in it.
 */
static int spawn(char *const words[], int in, int out, pid_t *pid)
{
    volatile int errnum = 0;
    sigset_t all, before;
    pid_t child;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): posix_spawn does the same */
    if (child == 0) {
        errnum = become(words, in, out); /* NOLINT(clang-analyzer-unix.Vfork): and so does this */
        _exit(STATUS_NOT_FOUND);
    }
    if (child < 0)
        errnum = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (child > 0 && errnum != 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    if (errnum == 0)
        *pid = child;
    return errnum;
}

static int start(const char *command, struct child *out, struct err *why)
{
    char line[WORDS_LEN_MAX], *words[HOSTCMD_WORDS_MAX + 1];
    struct child c = {.to = -1, .from = -1};
    int in[2], from[2], errnum;

    if (strlen(command) >= sizeof(line))
        return err_set(why, STATUS_HOST, "command is too long (%zu bytes, at most %zu)", strlen(command),
                       sizeof(line) - 1);
    memcpy(line, command, strlen(command) + 1);
    if (!split(line, words))
        return err_set(why, STATUS_HOST, "command has no word, or more than %d", HOSTCMD_WORDS_MAX);
    if (pipe2(in, O_CLOEXEC) != 0)
        return err_host(why, "cannot make a pipe");
    if (pipe2(from, O_CLOEXEC) != 0) {
        err_host(why, "cannot make a pipe");
        close(in[0]);
        close(in[1]);
        return -1;
    }
    errnum = spawn(words, in[0], from[1], &c.pid);
    close(in[0]);
    close(from[1]);
    if (errnum != 0) {
        close(in[1]);
        close(from[0]);
        return err_set_errno(why, STATUS_HOST, errnum, "cannot start %s", words[0]);
    }
    c.to = in[1];
    c.from = from[0];
    fcntl(c.to, F_SETFL, O_NONBLOCK);
    fcntl(c.from, F_SETFL, O_NONBLOCK);
    *out = c;
    return 0;
}

/* Give some input. A child that does not read it all is its own business. */
static void feed(struct child *c, const uint8_t *input, size_t len, size_t *given)
{
    ssize_t n = write(c->to, input + *given, len - *given);

    if (n > 0)
        *given += (size_t)n;
    if (*given == len || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&c->to);
}

/* Take some output; its end closes our side. False when it is too much. */
static bool drain(struct child *c, struct text *out)
{
    char buffer[16384];
    ssize_t n = read(c->from, buffer, sizeof(buffer));

    if (n > 0) {
        text_add_bytes(out, buffer, (size_t)n);
        return out->len <= HOSTCMD_OUTPUT_MAX && !out->failed;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&c->from);
    return true;
}

/* It is not reaped by this. */
static bool has_ended(const struct child *c)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/*
 * Move bytes both ways until its output ends, or until it has ended itself and
 * only what it left running holds its output open.
 */
static enum hostcmd_end talk(struct child *c, const uint8_t *input, size_t len, const struct stop *stop,
                             struct text *out, struct err *why)
{
    size_t given = 0;
    bool ended = false;
    int n;

    if (len == 0)
        close_fd(&c->to);
    while (c->from >= 0) {
        struct pollfd p[2] = {{.fd = c->from, .events = POLLIN}, {.fd = c->to, .events = POLLOUT}};

        if (stop_why(stop) != STOP_NONE)
            return HOSTCMD_STOPPED;
        n = poll(p, 2, SILENCE_MS);
        if (n < 0)
            continue; /* a signal: the loop looks why */
        if (n == 0) {
            /* Its last words may have come between the two looks: one more round, then. */
            if (ended)
                break;
            ended = has_ended(c);
            continue;
        }
        if (p[1].revents != 0)
            feed(c, input, len, &given);
        if (p[0].revents != 0 && !drain(c, out)) {
            err_set(why, STATUS_HOST, "it wrote more than %zu bytes", HOSTCMD_OUTPUT_MAX);
            return HOSTCMD_FAILED;
        }
    }
    return HOSTCMD_OK;
}

/* It has closed its output: what is left is that it ends, for which a stop is the only limit. Not reaped yet.
 */
static enum hostcmd_end await_end(const struct child *c, const struct stop *stop)
{
    siginfo_t info;

    while (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOWAIT) < 0)
        if (stop_why(stop) != STOP_NONE)
            return HOSTCMD_STOPPED;
    return HOSTCMD_OK;
}

static enum hostcmd_end run(const char *command, const uint8_t *input, size_t input_len,
                            const struct stop *stop, struct text *out, struct err *why)
{
    struct child c = {.to = -1, .from = -1};
    enum hostcmd_end end;
    int wstatus = 0;

    if (start(command, &c, why) != 0)
        return HOSTCMD_FAILED;
    end = talk(&c, input, input_len, stop, out, why);
    close_fd(&c.to);
    close_fd(&c.from);
    if (end == HOSTCMD_OK)
        end = await_end(&c, stop);
    /*
     * Its group dies with it: after a stop the command itself, else what it left
     * running. It is reaped afterwards, so the group's number is still its own.
     */
    kill(-c.pid, SIGKILL);
    while (waitpid(c.pid, &wstatus, 0) < 0 && errno == EINTR)
        ;
    if (end != HOSTCMD_OK)
        return end;
    if (WIFSIGNALED(wstatus)) {
        err_set(why, STATUS_HOST, "it was killed by signal %d", WTERMSIG(wstatus));
        return HOSTCMD_FAILED;
    }
    if (WEXITSTATUS(wstatus) != 0) {
        err_set(why, STATUS_HOST, "it ended with status %d", WEXITSTATUS(wstatus));
        return HOSTCMD_FAILED;
    }
    return HOSTCMD_OK;
}

enum hostcmd_end hostcmd_run(const char *command, const uint8_t *input, size_t input_len,
                             const struct stop *stop, struct text *out, struct err *why)
{
    const struct sigaction wait_for_it = {.sa_handler = SIG_DFL};
    struct sigaction before;
    enum hostcmd_end end;

    /* Who was started with SIGCHLD ignored has children that go without a word, and would wait for ever. */
    sigaction(SIGCHLD, &wait_for_it, &before);
    end = run(command, input, input_len, stop, out, why);
    sigaction(SIGCHLD, &before, NULL);
    return end;
}
