/*
 * A person at the guest's serial line, for tests: starts a command, waits for
 * what it prints, types what a file says.
 *
 *     typist FILE
 *
 * The file has one step a line. All `arg` lines come first, one argument each,
 * so that an argument may hold blanks, which the lab's list does not let it:
 *
 *     arg /init
 *     arg run
 *     wait login:          read on until this was printed, behind what was waited for before
 *     type root            write this and a newline
 *     rounds 50            do all steps that often
 *
 * What the command prints is passed on as it comes. Its standard input stays
 * open until it ends, so that only it decides when that is. Typist ends with the
 * command's status, but with 1 when the command closed its output before all
 * steps were done. Whoever starts it bounds its time.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX  48
#define STEPS_MAX 32
#define LINE_LEN  1024

struct step {
    bool types; /* text is written, not waited for */
    char *text;
};

static char *args[ARGS_MAX + 1];
static struct step steps[STEPS_MAX];
static unsigned args_n, steps_n, step_now, rounds_n = 1;

/* What was printed and could still be the start of the text that is waited for. */
static char seen[2 * LINE_LEN];
static size_t seen_len;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "typist: %s: %s\n", what, why);
    exit(1);
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        die("memory", strerror(errno));
    return copy;
}

static void read_steps(const char *path)
{
    FILE *f = fopen(path, "re");
    char line[LINE_LEN];

    if (f == NULL)
        die(path, strerror(errno));
    while (fgets(line, sizeof(line), f) != NULL) {
        size_t len = strcspn(line, "\n");

        if (line[len] == '\0')
            die(path, "a line is too long or has no newline");
        line[len] = '\0';
        if (len == 0 || line[0] == '#')
            continue;
        if (strncmp(line, "arg ", 4) == 0 && args_n < ARGS_MAX && steps_n == 0)
            args[args_n++] = copy_of(line + 4);
        else if (strncmp(line, "rounds ", 7) == 0 && atoi(line + 7) > 0)
            rounds_n = (unsigned)atoi(line + 7);
        else if ((strncmp(line, "wait ", 5) == 0 || strncmp(line, "type ", 5) == 0) && len > 5 &&
                 steps_n < STEPS_MAX)
            steps[steps_n++] = (struct step){line[0] == 't', copy_of(line + 5)};
        else
            die(path, line);
    }
    if (ferror(f) || args_n == 0)
        die(path, "cannot be read, or has no command");
    fclose(f);
}

/* Returns false when nobody reads any more. */
static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Take every step that what was seen so far allows. */
static void take_steps(int keys)
{
    while (step_now < steps_n) {
        const char *text = steps[step_now].text;
        size_t len = strlen(text);

        if (steps[step_now].types) {
            /* A command that is gone is noticed where its output ends. */
            if (write_all(keys, text, len))
                (void)write_all(keys, "\n", 1);
        } else {
            const char *at = memmem(seen, seen_len, text, len);

            if (at == NULL) {
                if (seen_len >= len) {
                    memmove(seen, seen + seen_len - (len - 1), len - 1);
                    seen_len = len - 1;
                }
                return;
            }
            seen_len = (size_t)(seen + seen_len - (at + len));
            memmove(seen, at + len, seen_len);
        }
        step_now++;
        if (step_now == steps_n && --rounds_n != 0)
            step_now = 0;
    }
    seen_len = 0;
}

static pid_t start(int *keys, int *screen)
{
    int in[2], out[2];
    pid_t child;

    if (pipe(in) != 0 || pipe(out) != 0)
        die("pipe", strerror(errno));
    child = fork();
    if (child < 0)
        die("fork", strerror(errno));
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]);
        close(in[1]);
        close(out[0]);
        close(out[1]);
        execv(args[0], args);
        fprintf(stderr, "typist: %s: %s\n", args[0], strerror(errno));
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    *keys = in[1];
    *screen = out[0];
    return child;
}

int main(int argc, char **argv)
{
    int keys, screen, status;
    pid_t child;
    ssize_t n;

    if (argc != 2) {
        fprintf(stderr, "usage: typist FILE\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    read_steps(argv[1]);
    child = start(&keys, &screen);
    for (;;) {
        take_steps(keys);
        n = read(screen, seen + seen_len, LINE_LEN);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        (void)write_all(1, seen + seen_len, (size_t)n);
        seen_len += (size_t)n;
    }
    close(keys);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (step_now < steps_n) {
        fprintf(stderr, "typist: the command ended before it printed: %s\n", steps[step_now].text);
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
