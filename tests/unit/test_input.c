/* hv/input: what is there is read and nothing is waited for; terminals get back what they had. */
#include "hv/input.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tap.h"

#define TTY_KEYS_N 17 /* that the kernel knows; the C library has room for more */

static uint8_t got[64];

static void test_pipe(void)
{
    struct input in = INPUT_NONE;
    int fd[2];

    tap_case("no input is nothing, for ever");
    CHECK_EQ(input_take(&in, got, sizeof(got)), 0);
    input_close(&in);
    CHECK_EQ(in.fd, -1);

    tap_case("what is there is taken, up to the room there is");
    CHECK(pipe(fd) == 0);
    input_open(&in, fd[0]);
    CHECK_EQ(in.tty, -1);
    CHECK(write(fd[1], "hello", 5) == 5);
    CHECK_EQ(input_take(&in, got, 2), 2);
    CHECK(memcmp(got, "he", 2) == 0);
    CHECK_EQ(input_take(&in, got, 0), 0);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 3);
    CHECK(memcmp(got, "llo", 3) == 0);

    tap_case("an empty pipe is not waited for, and looked at again only after a tick");
    CHECK_EQ(input_take(&in, got, sizeof(got)), 0);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 0);
    input_tick(&in);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 1);

    tap_case("others see the descriptor as it was: it blocks");
    CHECK_EQ(fcntl(fd[0], F_GETFL) & O_NONBLOCK, 0);

    tap_case("after the last byte comes nothing any more");
    CHECK(write(fd[1], "z", 1) == 1);
    close(fd[1]);
    input_tick(&in);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 1);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 0);
    CHECK_EQ(in.fd, -1);
    input_tick(&in);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 0);
    input_close(&in);
    close(fd[0]);

    tap_case("a descriptor that cannot be read ends the input");
    fd[0] = open("/", O_RDONLY | O_DIRECTORY);
    input_open(&in, fd[0]);
    CHECK_EQ(input_take(&in, got, sizeof(got)), 0);
    CHECK_EQ(in.fd, -1);
    close(fd[0]);
}

static bool same(const struct termios *a, const struct termios *b)
{
    return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
           a->c_lflag == b->c_lflag && memcmp(a->c_cc, b->c_cc, TTY_KEYS_N) == 0;
}

/* In a session of its own whose terminal is `tty`; returns a mask of what did not hold. */
static int in_session(int master, const char *tty)
{
    struct input in = INPUT_NONE;
    struct termios before, during, after;
    int fd, wrong = 0;

    setsid();
    fd = open(tty, O_RDWR);
    if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) != 0 || tcsetpgrp(fd, getpgrp()) != 0 ||
        tcgetattr(fd, &before) != 0)
        return 64;
    input_open(&in, fd);
    tcgetattr(fd, &during);
    wrong |= in.tty != fd || (during.c_lflag & (ECHO | ICANON)) != 0 || (during.c_iflag & ICRNL) != 0;
    wrong |= ((during.c_lflag & ISIG) == 0 || during.c_cc[VINTR] != 0x1d) << 1;
    wrong |= (during.c_oflag != before.c_oflag) << 2;
    /* Keys come one by one, those that mean something to a line as well. */
    wrong |= (write(master, "a\r\003\004", 4) != 4) << 3;
    wrong |= (input_take(&in, got, sizeof(got)) != 4 || memcmp(got, "a\r\003\004", 4) != 0) << 4;
    input_close(&in);
    tcgetattr(fd, &after);
    wrong |= !same(&before, &after) << 5;
    return wrong;
}

static void test_terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), status = -1;
    char tty[64] = "";
    pid_t pid;

    tap_case("a terminal hands over keys as they are pressed, keeps ^] for itself, and is put back");
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    CHECK(ptsname_r(master, tty, sizeof(tty)) == 0);
    pid = fork();
    if (pid == 0)
        _exit(in_session(master, tty));
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);

    tap_case("a terminal that is not ours is left alone");
    {
        struct input in = INPUT_NONE;
        struct termios before, during;
        int fd = open(tty, O_RDWR | O_NOCTTY);

        tcgetattr(fd, &before);
        input_open(&in, fd);
        tcgetattr(fd, &during);
        CHECK_EQ(in.tty, -1);
        CHECK(same(&before, &during));
        input_close(&in);
        close(fd);
    }
    close(master);
}

int main(void)
{
    test_pipe();
    test_terminal();
    return tap_done();
}
