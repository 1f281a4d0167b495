/*
 * hv/hostcmd: commands that behave, and commands that do not read, do not stop
 * writing, do not end, die, or leave something behind. The commands are shell
 * scripts in a folder of their own. Whatever they do, no child and no
 * descriptor is left.
 */
#include "hv/hostcmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hv/host.h"
#include "tests/tap.h"

#define MS      ((uint64_t)1000000)
#define A_LOT   ((size_t)1 << 20)
#define FDS_MAX 256

static struct stop stop;
static char dir[] = "/tmp/vmm-hostcmd.XXXXXX";
static unsigned scripts_n;
static struct text out;
static struct err why;
static uint8_t *input;

static unsigned count_fds(void)
{
    unsigned n = 0;
    int fd;

    for (fd = 0; fd < FDS_MAX; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/* A command that runs these lines of a shell. */
static const char *script(const char *lines)
{
    static char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%u", dir, scripts_n++);
    f = fopen(path, "we");
    if (f == NULL || fprintf(f, "#!/bin/sh\n%s\n", lines) < 0 || fclose(f) != 0 || chmod(path, 0700) != 0)
        abort();
    return path;
}

/* Run with a time limit in ms, 0 = none. What it wrote is in `out`, and nothing of it is left. */
static enum hostcmd_end run(const char *command, size_t input_len, unsigned limit_ms)
{
    unsigned fds_n = count_fds();
    enum hostcmd_end end;
    struct err e;

    text_free(&out);
    out = TEXT_EMPTY;
    why = (struct err){.text = ""};
    if (stop_open(&stop, &e) != 0)
        abort();
    CHECK(stop_arm(&stop, limit_ms * MS, &e) == 0);
    end = hostcmd_run(command, input, input_len, &stop, &out, &why);
    stop_close(&stop);
    CHECK_EQ(count_fds(), fds_n);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    CHECK((end == HOSTCMD_FAILED) == (why.text[0] != '\0'));
    return end;
}

static bool said(const char *s)
{
    return CHECK_STR(out.s != NULL ? out.s : "", s);
}

/* A pipe that commands inherit: its reader finds the end when the last of them is gone. */
static int pipe_start(int *writer)
{
    int fd[2];

    if (pipe(fd) != 0 || fcntl(fd[0], F_SETFD, FD_CLOEXEC) != 0)
        abort();
    *writer = fd[1];
    return fd[0];
}

static bool pipe_ends(int reader, int writer)
{
    struct pollfd p = {.fd = reader, .events = POLLIN};
    bool ended;

    close(writer);
    ended = poll(&p, 1, 5000) == 1 && (p.revents & POLLHUP) != 0;
    close(reader);
    return ended;
}

static void test_honest(void)
{
    size_t i;

    tap_case("what goes in comes out, in any amount");
    CHECK_EQ(run("cat", 0, 0), HOSTCMD_OK);
    said("");
    CHECK_EQ(run("cat", A_LOT, 0), HOSTCMD_OK);
    CHECK_EQ(out.len, A_LOT);
    CHECK(out.len == A_LOT && memcmp(out.s, input, A_LOT) == 0);
    for (i = 1; i <= 3; i++) {
        CHECK_EQ(run("cat", i, 0), HOSTCMD_OK);
        CHECK(out.len == i && memcmp(out.s, input, i) == 0);
    }

    tap_case("words are split at blanks and mean nothing else");
    CHECK_EQ(run(" \techo  $HOME\t'a b' * ; ", 0, 0), HOSTCMD_OK);
    said("$HOME 'a b' * ;\n");

    tap_case("a command that reads nothing is no failure");
    CHECK_EQ(run("true", A_LOT, 0), HOSTCMD_OK);
    said("");
    CHECK_EQ(run(script("exec <&-; sleep 0.05; echo done"), A_LOT, 0), HOSTCMD_OK);
    said("done\n");

    tap_case("a command may write before it reads, and more than fits a pipe");
    CHECK_EQ(run(script("head -c 300000 /dev/zero; cat >/dev/null; echo x"), A_LOT, 0), HOSTCMD_OK);
    CHECK_EQ(out.len, 300002);

    tap_case("the command has descriptors 0, 1 and 2 and a SIGPIPE that kills");
    {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        CHECK_EQ(run(script("for i in 3 4 5 6 7 8 9; do (: <&$i) 2>/dev/null && echo $i; done; true"), 3, 0),
                 HOSTCMD_OK);
        said("");
        CHECK_EQ(run(script("kill -PIPE $$"), 0, 0), HOSTCMD_FAILED);
        CHECK_STR(why.text, "it was killed by signal 13");
        close(fd);
    }
}

static void test_failures(void)
{
    char line[5000];
    unsigned i;

    tap_case("a command that fails or dies is a failure that says how");
    CHECK_EQ(run("false", 0, 0), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it ended with status 1");
    CHECK_EQ(run(script("echo half; exit 200"), A_LOT, 0), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it ended with status 200");
    CHECK_EQ(run(script("echo half; kill -SEGV $$"), 0, 0), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it was killed by signal 11");
    CHECK_EQ(run(script("exec >&-; sleep 0.1; exit 3"), 0, 0), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it ended with status 3");

    tap_case("a command that cannot start is a failure that says why");
    CHECK_EQ(run("/no/such/program", 9, 0), HOSTCMD_FAILED);
    CHECK_STR(why.text, "cannot start /no/such/program: No such file or directory");
    CHECK_EQ(run("no-such-program-in-path", 0, 0), HOSTCMD_FAILED);
    CHECK_HAS(why.text, "cannot start no-such-program-in-path: ");
    CHECK_EQ(run("/tmp", 0, 0), HOSTCMD_FAILED);
    CHECK_HAS(why.text, "cannot start /tmp: ");
    CHECK_EQ(run("", 0, 0), HOSTCMD_FAILED);
    CHECK_EQ(run(" \t ", 0, 0), HOSTCMD_FAILED);
    CHECK_HAS(why.text, "no word");

    tap_case("a command has 32 words and 4095 bytes at most");
    memcpy(line, "echo", 4);
    for (i = 0; i < 32; i++)
        memcpy(line + 4 + (size_t)2 * i, " x", 2);
    line[4 + 2 * 31] = '\0';
    CHECK_EQ(run(line, 0, 0), HOSTCMD_OK);
    CHECK_EQ(out.len, 2 * 31);
    line[4 + 2 * 31] = ' ';
    line[4 + 2 * 32] = '\0';
    CHECK_EQ(run(line, 0, 0), HOSTCMD_FAILED);
    CHECK_HAS(why.text, "more than 32");
    memset(line, ' ', sizeof(line));
    memcpy(line, "true", 4);
    line[4095] = '\0';
    CHECK_EQ(run(line, 0, 0), HOSTCMD_OK);
    line[4095] = ' ';
    line[4096] = '\0';
    CHECK_EQ(run(line, 0, 0), HOSTCMD_FAILED);
    CHECK_HAS(why.text, "too long (4096 bytes, at most 4095)");

    tap_case("a command may write 64 MiB and no more");
    CHECK_EQ(run("head -c 67108864 /dev/zero", 0, 0), HOSTCMD_OK);
    CHECK_EQ(out.len, 67108864);
    CHECK_EQ(run("cat /dev/zero", 0, 0), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it wrote more than 67108864 bytes");

    tap_case("a status is told even to a program that was started with SIGCHLD ignored");
    signal(SIGCHLD, SIG_IGN);
    CHECK_EQ(run("false", 0, 5000), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it ended with status 1");
    CHECK_EQ(run("true", 0, 5000), HOSTCMD_OK);
    CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
}

/* Stopped after some 50 ms, long before it would have ended. */
static void check_stopped(const char *command, size_t input_len)
{
    uint64_t start = host_monotonic();

    CHECK_EQ(run(command, input_len, 50), HOSTCMD_STOPPED);
    CHECK(host_monotonic() - start >= 50 * MS);
    CHECK(host_monotonic() - start < 5000 * MS);
}

static void test_stops(void)
{
    int reader, writer;

    tap_case("a stop ends a command that waits, reads nothing, writes on or has closed its output");
    check_stopped("sleep 60", 0);
    check_stopped("sleep 60", A_LOT);
    check_stopped(script("while :; do echo x; sleep 0.01; done"), 0);
    check_stopped(script("exec >&- <&-; sleep 60"), A_LOT);

    tap_case("a stop ends a command that takes no hint, and all that it started");
    reader = pipe_start(&writer);
    check_stopped(script("trap '' TERM INT HUP QUIT\nsleep 60 &\n(trap '' TERM; sleep 60) &\nsleep 60"), 0);
    CHECK(pipe_ends(reader, writer));

    tap_case("a signal ends a command as well");
    {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
        const struct itimerspec soon = {.it_value = {.tv_nsec = 50000000}};
        struct sigaction keep = {.sa_handler = SIG_IGN};
        timer_t timer;

        sigaction(SIGHUP, &keep, NULL);
        if (CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)) {
            timer_settime(timer, 0, &soon, NULL);
            CHECK_EQ(run("sleep 60", 0, 0), HOSTCMD_STOPPED);
            timer_delete(timer);
        }
        signal(SIGHUP, SIG_DFL);
    }

    tap_case("a limit that has passed before the command starts ends it as well");
    {
        struct err e;

        if (stop_open(&stop, &e) != 0)
            abort();
        CHECK(stop_arm(&stop, 1, &e) == 0);
        while (stop_why(&stop) == STOP_NONE)
            ;
        text_free(&out);
        out = TEXT_EMPTY;
        CHECK_EQ(hostcmd_run("sleep 60", input, 10, &stop, &out, &why), HOSTCMD_STOPPED);
        stop_close(&stop);
        CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    }
}

static void test_left_behind(void)
{
    uint64_t start;
    int reader, writer;

    tap_case("what a command leaves running in the background goes when it does");
    reader = pipe_start(&writer);
    start = host_monotonic();
    CHECK_EQ(run(script("sleep 60 >/dev/null & echo started"), 0, 0), HOSTCMD_OK);
    said("started\n");
    CHECK(host_monotonic() - start < 5000 * MS);
    CHECK(pipe_ends(reader, writer));

    tap_case("even if it holds the command's output open");
    reader = pipe_start(&writer);
    start = host_monotonic();
    CHECK_EQ(run(script("(echo child; sleep 60) & sleep 0.02; echo parent"), A_LOT, 10000), HOSTCMD_OK);
    said("child\nparent\n");
    CHECK(host_monotonic() - start < 5000 * MS);
    CHECK(pipe_ends(reader, writer));
    CHECK_EQ(run(script("sleep 60 & exit 7"), 0, 10000), HOSTCMD_FAILED);
    CHECK_STR(why.text, "it ended with status 7");

    tap_case("and even if it has left the command's process group");
    start = host_monotonic();
    CHECK_EQ(run(script("setsid sleep 3 & sleep 0.1; echo parent"), 0, 10000), HOSTCMD_OK);
    said("parent\n");
    CHECK(host_monotonic() - start < 2500 * MS);
}

int main(void)
{
    char command[64];
    uint64_t seed = 3;
    size_t i;

    /* As the program does: a command that does not read must not be the end of it. */
    signal(SIGPIPE, SIG_IGN);
    input = malloc(A_LOT);
    if (input == NULL || mkdtemp(dir) == NULL)
        abort();
    for (i = 0; i < A_LOT; i++)
        input[i] = (uint8_t)tap_random(&seed);
    test_honest();
    test_failures();
    test_stops();
    test_left_behind();
    text_free(&out);
    free(input);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    if (system(command) != 0)
        return 1;
    return tap_done();
}
