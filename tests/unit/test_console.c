/*
 * hv/console: when output leaves the buffer, what becomes of slow, closed and
 * full readers, and that a stop ends a wait. Pipes and timers are real.
 */
#include "hv/console.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "hv/expect.h"
#include "hv/host.h"
#include "tests/tap.h"

#define MS ((uint64_t)1000000)

static struct kvm_run run;
static struct machine machine = {.vm_fd = -1, .vcpu_fd = -1, .run = &run, .run_len = sizeof(run)};
static struct stop stop;
static struct console console;
static int in, out; /* the reader's end and the writer's */
static char got[200000];

static void sleep_ms(unsigned ms)
{
    uint64_t end = host_monotonic() + ms * MS;

    while (host_monotonic() < end) {
        struct timespec t = {.tv_nsec = 1000000};

        nanosleep(&t, NULL);
    }
}

static void open_console(void)
{
    struct err e;
    int fd[2];

    if (pipe(fd) != 0 || stop_open(&stop, &e) != 0)
        abort();
    in = fd[0];
    out = fd[1];
    if (fcntl(in, F_SETFL, O_NONBLOCK) != 0)
        abort();
    run.immediate_exit = 0;
    stop_watch(&stop, &machine);
    console_init(&console, out, &stop);
}

static void close_console(void)
{
    stop_close(&stop);
    close(in);
    close(out);
}

/* What has come out so far, as a string. */
static const char *taken(void)
{
    size_t n = 0;
    ssize_t r;

    while ((r = read(in, got + n, sizeof(got) - 1 - n)) > 0)
        n += (size_t)r;
    got[n] = '\0';
    return got;
}

static int put(uint32_t scalar)
{
    struct err e = {.text = ""};

    return console_put(&console, scalar, &e);
}

static int put_all(const char *s)
{
    int result = 0;

    for (; *s != '\0' && result == 0; s++)
        result = put((unsigned char)*s);
    return result;
}

static int flush(void)
{
    struct err e = {.text = "untouched"};
    int result = console_flush(&console, &e);

    CHECK_STR(e.text, "untouched");
    return result;
}

static void test_flushing(void)
{
    unsigned i;

    tap_case("output waits for a newline and leaves with it");
    open_console();
    CHECK(put_all("hello") == 0);
    CHECK_STR(taken(), "");
    CHECK(put('\n') == 0);
    CHECK_STR(taken(), "hello\n");
    CHECK(put_all("a\nb\nc") == 0);
    CHECK_STR(taken(), "a\nb\n");

    tap_case("output leaves when asked, and once");
    CHECK(flush() == 0);
    CHECK_STR(taken(), "c");
    CHECK(flush() == 0);
    CHECK_STR(taken(), "");

    tap_case("output leaves at 4 KiB, and not a byte earlier");
    for (i = 0; i < 4095; i++)
        put('x');
    CHECK_STR(taken(), "");
    put('y');
    CHECK_EQ(strlen(taken()), 4096);
    CHECK(got[0] == 'x' && got[4094] == 'x' && got[4095] == 'y');
    put('z');
    CHECK_STR(taken(), "");
    flush();
    CHECK_STR(taken(), "z");

    tap_case("a character that does not fit any more is not torn apart");
    for (i = 0; i < 4094; i++)
        put('x');
    put(0x20ac);
    CHECK_EQ(strlen(taken()), 4094);
    flush();
    CHECK_STR(taken(), "\xe2\x82\xac");
    for (i = 0; i < 4093; i++)
        put('x');
    put(0x20ac);
    CHECK_EQ(strlen(taken()), 4096);
    CHECK_STR(got + 4093, "\xe2\x82\xac");

    tap_case("bytes come out as they are, zero too");
    {
        static const uint8_t bytes[] = {'a', 0, 0xff, '\n', 'b'};
        struct err e;

        CHECK(console_write(&console, bytes, 5, &e) == 0);
        taken();
        CHECK(memcmp(got, bytes, 4) == 0 && got[4] == '\0');
        CHECK(console_write(&console, bytes, 0, &e) == 0);
        flush();
        CHECK_STR(taken(), "b");
    }
    close_console();
}

static void test_scalars(void)
{
    static const struct {
        uint32_t scalar;
        const char *bytes;
    } row[] = {
        {0x41, "A"},
        {0x7f, "\x7f"},
        {0x80, "\x80"},
        {0xe9, "\xe9"},
        {0xff, "\xff"},
        {0x100, "\xc4\x80"},
        {0x7ff, "\xdf\xbf"},
        {0x800, "\xe0\xa0\x80"},
        {0x20ac, "\xe2\x82\xac"},
        {0xd7ff, "\xed\x9f\xbf"},
        {0xe000, "\xee\x80\x80"},
        {0xffff, "\xef\xbf\xbf"},
        {0x10000, "\xf0\x90\x80\x80"},
        {0x1f600, "\xf0\x9f\x98\x80"},
        {0x10ffff, "\xf4\x8f\xbf\xbf"},
    };
    size_t i;

    tap_case("a value below 0x100 is that byte, any other is UTF-8");
    open_console();
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        CHECK(put(row[i].scalar) == 0);
        CHECK(flush() == 0);
        CHECK_STR(taken(), row[i].bytes);
    }
    close_console();
}

static void test_ticks(void)
{
    unsigned i;

    tap_case("a character without a newline asks for a kick, which comes soon; a flushed one does not");
    open_console();
    put('x');
    CHECK(stop.tick_armed);
    for (i = 0; i < 500 && ((volatile struct kvm_run *)&run)->immediate_exit == 0; i++)
        sleep_ms(1);
    CHECK(run.immediate_exit != 0);
    CHECK(flush() == 0);
    CHECK(!stop.tick_armed);
    CHECK_STR(taken(), "x");
    put('\n');
    CHECK(!stop.tick_armed);
    close_console();
}

/* --- readers that are slow or gone ------------------------------------------------------------------------
 */
static void block_signals(sigset_t *old)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
}

/* Runs beside the test, with all signals blocked, so that they come to the writer. */
static pthread_t beside(void *(*fn)(void *))
{
    pthread_t t;
    sigset_t old;

    block_signals(&old);
    if (pthread_create(&t, NULL, fn, NULL) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return t;
}

static size_t drain_wanted;

static void *drain_late(void *arg)
{
    size_t n = 0;

    (void)arg;
    sleep_ms(80);
    while (n < drain_wanted) {
        ssize_t r = read(in, got + n, drain_wanted - n < 1000 ? drain_wanted - n : 1000);

        if (r > 0)
            n += (size_t)r;
        else
            sleep_ms(1);
    }
    got[n] = '\0';
    return NULL;
}

static void *interrupt_late(void *arg)
{
    (void)arg;
    sleep_ms(40);
    kill(getpid(), SIGINT);
    return NULL;
}

/* Fill the pipe to the last byte; the writer's end is left as blocking as asked. Returns the bytes. */
static size_t fill(bool blocking)
{
    static const char junk[4096];
    size_t n = 0;
    ssize_t w;

    fcntl(out, F_SETFL, O_NONBLOCK);
    while ((w = write(out, junk, sizeof(junk))) > 0)
        n += (size_t)w;
    while ((w = write(out, junk, 1)) > 0)
        n += (size_t)w;
    fcntl(out, F_SETFL, blocking ? 0 : O_NONBLOCK);
    return n;
}

static void test_slow_readers(void)
{
    unsigned blocking;

    tap_case(
        "a slow reader is waited for and gets everything, on a blocking descriptor and on one that is not");
    for (blocking = 0; blocking < 2; blocking++) {
        pthread_t reader;
        uint64_t start;
        size_t full;
        unsigned i;

        open_console();
        full = fill(blocking != 0);
        drain_wanted = full + 4096;
        reader = beside(drain_late);
        start = host_monotonic();
        for (i = 0; i < 4096; i++)
            put('a' + i % 26);
        CHECK(host_monotonic() - start >= 40 * MS);
        CHECK_EQ(console.n, 0);
        pthread_join(reader, NULL);
        CHECK_EQ(strlen(got + full), 4096);
        for (i = 0; i < 4096 && got[full + i] == 'a' + (char)(i % 26); i++)
            ;
        CHECK_EQ(i, 4096);
        close_console();
    }
}

#define LONG_LEN ((size_t)10 << 20)

static uint64_t long_sum, long_seen;

/* Takes LONG_LEN bytes, in pieces of all sizes and with pauses, and hashes them. */
static void *drain_slowly(void *arg)
{
    static uint8_t bytes[70000];
    uint64_t seed = 3;
    unsigned pieces = 0;
    ssize_t n;

    (void)arg;
    fcntl(in, F_SETFL, 0);
    while (long_seen < LONG_LEN && (n = read(in, bytes, 1 + tap_random(&seed) % sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            long_sum = (long_sum ^ bytes[i]) * 0x100000001b3u;
        long_seen += (uint64_t)n;
        if (++pieces % 16 == 0)
            sleep_ms(1);
    }
    return NULL;
}

static void test_long_output(void)
{
    uint64_t seed = 4, sum = 0;
    pthread_t reader;
    size_t at = 0;
    struct err e;

    tap_case("10 MB arrive whole at a slow reader");
    open_console();
    long_sum = long_seen = 0;
    reader = beside(drain_slowly);
    while (at < LONG_LEN) {
        uint8_t bytes[300];
        size_t n = 1 + tap_random(&seed) % sizeof(bytes), i;

        if (n > LONG_LEN - at)
            n = LONG_LEN - at;
        for (i = 0; i < n; i++) {
            bytes[i] = (uint8_t)tap_random(&seed);
            sum = (sum ^ bytes[i]) * 0x100000001b3u;
        }
        if (!CHECK(console_write(&console, bytes, n, &e) == 0))
            break;
        at += n;
    }
    CHECK(flush() == 0);
    pthread_join(reader, NULL);
    CHECK_EQ(long_seen, LONG_LEN);
    CHECK_EQ(long_sum, sum);
    close_console();
}

static void test_expect(void)
{
    struct expect x = EXPECT_NOTHING;
    struct err e;

    tap_case("who expects something sees each byte once, before it is written out");
    open_console();
    console.expect = &x;
    CHECK(expect_add(&x, "\xe2\x82\xac!", 4, false, &e) == 0);
    put(0x20ac);
    CHECK(!expect_is_decided(&x));
    put('!');
    CHECK(expect_is_decided(&x));
    flush();
    CHECK_STR(taken(), "\xe2\x82\xac!");
    expect_free(&x);
    close_console();
}

static void test_stops(void)
{
    unsigned blocking, how;

    tap_case("a time limit or a signal ends the wait for a reader that never reads; what it did not take is "
             "dropped");
    for (blocking = 0; blocking < 2; blocking++)
        for (how = 0; how < 2; how++) {
            pthread_t other = 0;
            uint64_t start;
            struct err e;
            unsigned i;
            int result;

            open_console();
            fill(blocking != 0);
            if (how == 0)
                CHECK(stop_arm(&stop, 40 * MS, &e) == 0);
            else
                other = beside(interrupt_late);
            start = host_monotonic();
            CHECK(put_all("lost") == 0);
            result = flush();
            CHECK_EQ(result, CONSOLE_STOPPED);
            CHECK(host_monotonic() - start >= 30 * MS);
            CHECK(host_monotonic() - start < 3000 * MS);
            CHECK_EQ(stop_why(&stop), how == 0 ? STOP_TIMEOUT : STOP_SIGINT);
            CHECK_EQ(console.n, 0);
            if (how == 1)
                pthread_join(other, NULL);
            CHECK(put_all("lost") == 0);
            CHECK_EQ(put('\n'), CONSOLE_STOPPED);
            CHECK_EQ(console_write(&console, (const uint8_t *)"a\nb", 3, &e), CONSOLE_STOPPED);
            CHECK_EQ(console.n, 0);
            for (i = 0; i < 4095; i++)
                put('x');
            CHECK_EQ(put(0x20ac), CONSOLE_STOPPED);
            CHECK_EQ(console.n, 0);
            close_console();
        }

    tap_case("a stop that came before the wait does not take away what a reader has room for");
    open_console();
    raise(SIGINT);
    CHECK(put_all("last words") == 0);
    CHECK(flush() == 0);
    CHECK_STR(taken(), "last words");
    close_console();

    tap_case("an interruption that is no stop does not end the wait");
    {
        pthread_t reader;

        open_console();
        drain_wanted = fill(true) + 1;
        reader = beside(drain_late);
        put('x'); /* its tick interrupts the write */
        CHECK(flush() == 0);
        pthread_join(reader, NULL);
        CHECK(got[drain_wanted - 1] == 'x');
        close_console();
    }
}

static void test_errors(void)
{
    struct err e = {.text = ""};

    tap_case("a reader that is gone is a failure of the host, told once");
    signal(SIGPIPE, SIG_IGN);
    open_console();
    put_all("lost");
    close(in);
    CHECK(console_flush(&console, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "guest output: cannot write: ");
    CHECK_HAS(e.text, strerror(EPIPE));
    CHECK_EQ(console.n, 0);
    CHECK(flush() == 0);
    CHECK(put('x') == 0);
    CHECK(put('\n') == -1);
    in = open("/dev/null", O_RDONLY);
    close_console();

    tap_case("a full device is a failure of the host, from a put as from a flush");
    open_console();
    close(out);
    out = open("/dev/full", O_WRONLY);
    console.fd = out;
    e.text[0] = '\0';
    put('x');
    CHECK(console_put(&console, '\n', &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, strerror(ENOSPC));
    {
        static const uint8_t lines[] = {'a', '\n', 'b'};

        CHECK(console_write(&console, lines, 3, &e) == -1);
        CHECK_EQ(console.n, 0);
    }
    close_console();
}

static void *give_up(void *arg)
{
    (void)arg;
    sleep_ms(60000);
    printf("Bail out! a wait did not end\n");
    fflush(stdout);
    _exit(1);
}

int main(void)
{
    beside(give_up);
    test_flushing();
    test_scalars();
    test_ticks();
    test_slow_readers();
    test_long_output();
    test_expect();
    test_stops();
    test_errors();
    return tap_done();
}
