/*
 * hv/progress on a real terminal: which bytes come to it, and when, from the
 * process that has the job and from forks of it. Takes some seconds, because a
 * job has no bar before it has taken one.
 */
#include "hv/progress.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "hv/host.h"
#include "tests/tap.h"

#define ERASE "\r\033[K"

static int terminal, master;
static char got[4096];
static uint64_t begun; /* the job, or its bar */

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&t, &t) != 0)
        ;
}

static void open_terminal(void)
{
    struct termios raw;
    char name[64];

    master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 ||
        ptsname_r(master, name, sizeof(name)) != 0)
        abort();
    terminal = open(name, O_RDWR | O_NOCTTY);
    if (terminal < 0 || tcgetattr(terminal, &raw) != 0)
        abort();
    raw.c_oflag &= ~(tcflag_t)OPOST;
    if (tcsetattr(terminal, TCSANOW, &raw) != 0 || fcntl(master, F_SETFL, O_NONBLOCK) != 0)
        abort();
    progress_allow(terminal);
}

/* What has come to the terminal since the last call. */
static const char *seen(void)
{
    ssize_t n = read(master, got, sizeof(got) - 1);

    got[n > 0 ? n : 0] = '\0';
    return got;
}

/* The same of a fork that has room made for a line of the guest's. */
static const char *seen_of_copy(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        progress_copied();
        progress_step(70); /* the parent's work */
        progress_make_room(terminal, (const uint8_t *)"x\n", 2);
        progress_begin("inner", 5); /* nor has it a bar of its own */
        progress_end();
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
    return seen();
}

/* Whether this machine was too busy to see that nothing comes for `ms` after `begun`. */
static bool late(uint64_t ms)
{
    return host_monotonic() - begun >= ms * 1000000;
}

static void test_a_bar(void)
{
    char full[80] = ERASE "job [";

    tap_case("a bar comes after a second, ten times a second, and goes");
    begun = host_monotonic();
    progress_begin("job", 100);
    progress_step(50);
    CHECK(strcmp(seen(), "") == 0 || late(1000));
    sleep_ms(1050);
    begun = host_monotonic();
    progress_step(50);
    CHECK(strcmp(seen(), ERASE "job [####################                    ] 50%") == 0);
    progress_step(60); /* too soon after the last one */
    CHECK(strcmp(seen(), "") == 0 || late(100));
    sleep_ms(120);
    progress_step(100);
    memset(full + strlen(full), '#', 40);
    CHECK(strcmp(seen(), strcat(full, "] 100%")) == 0);
    progress_end();
    CHECK(strcmp(seen(), ERASE) == 0);
    progress_step(100);
    CHECK(strcmp(seen(), "") == 0);
}

static void test_room(void)
{
    const uint8_t half[] = "half", line[] = "line\n";

    tap_case("output and the bar do not share a line");
    begun = host_monotonic();
    progress_begin("job", 4);
    progress_make_room(terminal, line, 5);
    CHECK(strcmp(seen(), "") == 0 || late(1000)); /* nothing is there */
    sleep_ms(1050);
    progress_step(1);
    CHECK(strstr(seen(), " 25%") != NULL);
    progress_make_room(terminal, line, 0);
    CHECK(strcmp(seen(), "") == 0);
    progress_make_room(terminal, half, 4);
    CHECK(strcmp(seen(), ERASE) == 0);
    sleep_ms(120);
    progress_step(2); /* not amid a line */
    CHECK(strcmp(seen(), "") == 0);
    progress_make_room(terminal, line, 5);
    CHECK(strcmp(seen(), "") == 0);
    progress_step(2);
    CHECK(strstr(seen(), " 50%") != NULL);
    progress_end();
    seen();
}

/* A copy cannot know what its parent has drawn since, and must not leave a bar before its line. */
static void test_copies(void)
{
    tap_case("copies make room and draw nothing");
    begun = host_monotonic();
    progress_begin("job", 100);
    CHECK(strcmp(seen_of_copy(), "") == 0 || late(1000));
    sleep_ms(1050);
    CHECK(strcmp(seen_of_copy(), ERASE) == 0); /* the parent may have drawn by now */
    progress_step(50);
    CHECK(strstr(seen(), " 50%") != NULL);
    CHECK(strcmp(seen_of_copy(), ERASE) == 0); /* begun after the bar, and over before the next */
    sleep_ms(120);
    CHECK(strcmp(seen_of_copy(), ERASE) == 0);
    progress_end();
    CHECK(strcmp(seen(), ERASE) == 0);
    CHECK(strcmp(seen_of_copy(), "") == 0);
}

static void test_nowhere(void)
{
    tap_case("without a terminal there is none");
    progress_allow(-1);
    progress_begin("job", 10);
    sleep_ms(1050);
    progress_step(5);
    progress_end();
    CHECK(strcmp(seen(), "") == 0);
}

int main(void)
{
    open_terminal();
    test_a_bar();
    test_room();
    test_copies();
    test_nowhere();
    return tap_done();
}
