/*
 * hv/hostfn: the built-in functions, commands and the values their output
 * becomes, and that what goes wrong in one is an error for the guest. Commands
 * themselves are tests/unit/test_hostcmd.c's.
 */
#include "hv/hostfn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tap.h"

#define FDS_MAX 256

static struct stop stop;
static struct console console;
static struct host_functions host;
static int reader;
static char dir[] = "/tmp/vmm-hostfn.XXXXXX";

/* Of the last call. */
static struct msg_result result;
static struct text storage;
static struct err e;

static void open_host(void)
{
    int fd[2];

    if (pipe2(fd, O_CLOEXEC) != 0 || fcntl(fd[0], F_SETFL, O_NONBLOCK) != 0 || stop_open(&stop, &e) != 0)
        abort();
    reader = fd[0];
    console_init(&console, fd[1], &stop);
    host = (struct host_functions){.console = &console, .stop = &stop};
}

static void close_host(void)
{
    stop_close(&stop);
    close(reader);
    close(console.fd);
    text_free(&storage);
    storage = TEXT_EMPTY;
}

static bool printed(const char *wanted)
{
    static char got[70000];
    ssize_t n;

    console_flush(&console, &e);
    n = read(reader, got, sizeof(got) - 1);
    got[n > 0 ? n : 0] = '\0';
    return CHECK_STR(got, wanted);
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    int fd;

    for (fd = 0; fd < FDS_MAX; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

#define INT(v)   ((struct msg_value){.type = MSG_INT, .bits = (uint64_t)(int64_t)(v)})
#define UINT(v)  ((struct msg_value){.type = MSG_UINT, .bits = (v)})
#define STR(s)   ((struct msg_value){.type = MSG_STRING, .data = (const uint8_t *)(s), .len = sizeof(s) - 1})
#define BYTES(s) ((struct msg_value){.type = MSG_BYTES, .data = (const uint8_t *)(s), .len = sizeof(s) - 1})

static int call(const char *name, enum msg_type returns, const struct msg_value *params, unsigned params_n)
{
    struct msg_call c = {
        .name = (const uint8_t *)name,
        .name_len = (uint32_t)strlen(name),
        .to_host = true,
        .returns = returns,
        .params_n = params_n,
    };
    unsigned fds_n = count_fds(), i;
    int r;

    for (i = 0; i < params_n; i++)
        c.params[i] = params[i];
    text_free(&storage);
    storage = TEXT_EMPTY;
    e = (struct err){.text = ""};
    result = (struct msg_result){.is_error = false};
    r = hostfn_call(&host, &c, &result, &storage, &e);
    CHECK_EQ(count_fds(), fds_n);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    if (r >= 0)
        CHECK_STR(e.text, "");
    /* Whatever it is, a guest can be sent it. */
    if (r == 0)
        CHECK(msg_result_len(&result) != 0);
    return r;
}

/* The call is an error for the guest that has this in its text. */
static bool is_error(const char *part)
{
    char text[300];
    uint32_t n = result.text_len < sizeof(text) - 1 ? result.text_len : sizeof(text) - 1;

    if (!CHECK(result.is_error) || !CHECK_EQ(result.code, 17))
        return false;
    memcpy(text, result.text, n);
    text[n] = '\0';
    return CHECK(strstr(text, part) != NULL) || (printf("# \"%s\", wanted \"%s\"\n", text, part), false);
}

static bool is_number(enum msg_type type, uint64_t bits)
{
    return CHECK(!result.is_error) && CHECK_EQ(result.value.type, type) && CHECK_EQ(result.value.bits, bits);
}

static bool is_data(enum msg_type type, const char *data, size_t len)
{
    return CHECK(!result.is_error) && CHECK_EQ(result.value.type, type) && CHECK_EQ(result.value.len, len) &&
           CHECK(len == 0 || memcmp(result.value.data, data, len) == 0);
}

static void test_print(void)
{
    struct msg_value v[2] = {STR("some text\n"), STR("more")};

    tap_case("HostPrint prints its string as it is and returns its length in bytes");
    open_host();
    CHECK_EQ(call("HostPrint", MSG_INT, v, 1), 0);
    is_number(MSG_INT, 10);
    printed("some text\n");
    v[0] = STR("gr\xc3\xbc\xc3\x9f");
    CHECK_EQ(call("HostPrint", MSG_VOID, v, 1), 0);
    is_number(MSG_INT, 6);
    printed("gr\xc3\xbc\xc3\x9f");
    v[0] = STR("");
    CHECK_EQ(call("HostPrint", MSG_INT, v, 1), 0);
    is_number(MSG_INT, 0);
    printed("");

    tap_case("HostPrint of anything but one string is an error for the guest");
    CHECK_EQ(call("HostPrint", MSG_INT, v, 0), 0);
    is_error("wrong arguments, wanted HostPrint(string)");
    CHECK_EQ(call("HostPrint", MSG_INT, v, 2), 0);
    is_error("wrong arguments, wanted HostPrint(string)");
    v[0] = BYTES("x");
    CHECK_EQ(call("HostPrint", MSG_INT, v, 1), 0);
    is_error("wrong arguments, wanted HostPrint(string)");
    printed("");

    tap_case("output that cannot be written is the host's failure, not the guest's");
    v[0] = STR("line\n");
    close(reader);
    CHECK_EQ(call("HostPrint", MSG_INT, v, 1), -1);
    CHECK_EQ(e.status, 125);
    CHECK_HAS(e.text, "guest output: cannot write");
    reader = dup(console.fd);
    close_host();

    tap_case("a stop ends a print that waits for a reader");
    {
        static char large[200000];

        open_host();
        memset(large, 'x', sizeof(large));
        v[0] = (struct msg_value){.type = MSG_STRING, .data = (const uint8_t *)large, .len = sizeof(large)};
        CHECK(stop_arm(&stop, 50000000, &e) == 0);
        CHECK_EQ(call("HostPrint", MSG_INT, v, 1), HOSTFN_STOPPED);
        close_host();
    }
}

static void test_time_and_random(void)
{
    struct msg_value v[2] = {UINT(16), UINT(16)};
    struct timespec now;
    uint8_t first[16] = {0};
    uint64_t seen;

    open_host();
    tap_case("HostTime is the wall clock in ns");
    CHECK_EQ(call("HostTime", MSG_ULONG, v, 0), 0);
    clock_gettime(CLOCK_REALTIME, &now);
    seen = result.value.bits;
    CHECK_EQ(result.value.type, MSG_ULONG);
    CHECK(seen <= (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    CHECK(seen + 10000000000u > (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    CHECK_EQ(call("HostTime", MSG_ULONG, v, 1), 0);
    is_error("wrong arguments, wanted HostTime()");

    tap_case("HostRandom gives as many bytes as asked for, up to 65536, and others each time");
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    if (CHECK_EQ(result.value.type, MSG_BYTES) && CHECK_EQ(result.value.len, 16))
        memcpy(first, result.value.data, 16);
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    CHECK(result.value.len == 16 && memcmp(first, result.value.data, 16) != 0);
    v[0] = UINT(0);
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    is_data(MSG_BYTES, "", 0);
    v[0] = UINT(65536);
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    CHECK_EQ(result.value.len, 65536);
    v[0] = UINT(65537);
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    is_error("HostRandom(uint), at most 65536");
    v[0] = UINT(UINT32_MAX);
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    is_error("HostRandom(uint), at most 65536");
    v[0] = INT(5);
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 1), 0);
    is_error("HostRandom(uint), at most 65536");
    CHECK_EQ(call("HostRandom", MSG_BYTES, v, 2), 0);
    is_error("HostRandom(uint), at most 65536");
    close_host();
}

static void test_names(void)
{
    static char many[HOST_COMMANDS_MAX + 1][16];
    unsigned i;

    open_host();
    tap_case("a name that is not known is an error for the guest, however near it comes to one that is");
    CHECK(hostfn_add(&host, "name=echo it", &e) == 0);
    CHECK_EQ(call("nam", MSG_STRING, NULL, 0), 0);
    is_error("no host function nam");
    CHECK_EQ(call("names", MSG_STRING, NULL, 0), 0);
    is_error("no host function names");
    CHECK_EQ(call("hostprint", MSG_INT, NULL, 0), 0);
    is_error("no host function hostprint");
    CHECK_EQ(call("HostPrin", MSG_INT, NULL, 0), 0);
    is_error("no host function HostPrin");
    CHECK_EQ(call("HostPrint2", MSG_INT, NULL, 0), 0);
    is_error("no host function HostPrint2");
    CHECK_EQ(call("", MSG_STRING, NULL, 0), 0);
    is_error("no host function ");
    CHECK_EQ(call("name", MSG_STRING, NULL, 0), 0);
    is_data(MSG_STRING, "it", 2);

    tap_case("a name is given once, is not built in, and has a command");
    e = (struct err){.text = ""};
    CHECK_EQ(hostfn_add(&host, "name=true", &e), -1);
    CHECK_EQ(e.status, 64);
    CHECK_STR(e.text, "--host-fn: name given twice");
    CHECK_EQ(hostfn_add(&host, "HostTime=date", &e), -1);
    CHECK_STR(e.text, "--host-fn: HostTime is built in");
    for (i = 0; i < 4; i++) {
        static const char *const bad[] = {"", "name", "=command", "other="};

        CHECK_EQ(hostfn_add(&host, bad[i], &e), -1);
        CHECK_EQ(e.status, 64);
        CHECK_HAS(e.text, "--host-fn: not NAME=COMMAND (");
    }
    CHECK_EQ(host.commands_n, 1);
    CHECK_EQ(hostfn_add(&host, "HostTim=echo a=b", &e), 0);
    CHECK_EQ(call("HostTim", MSG_STRING, NULL, 0), 0);
    is_data(MSG_STRING, "a=b", 3);

    tap_case("there are 32 commands at most");
    for (i = 2; i < HOST_COMMANDS_MAX; i++) {
        snprintf(many[i], sizeof(many[i]), "c%u=echo %u", i, i);
        CHECK_EQ(hostfn_add(&host, many[i], &e), 0);
    }
    CHECK_EQ(hostfn_add(&host, "one-more=true", &e), -1);
    CHECK_STR(e.text, "--host-fn: too many (at most 32)");
    CHECK_EQ(call("c31", MSG_UINT, NULL, 0), 0);
    is_number(MSG_UINT, 31);
    close_host();
}

/* A command that runs these lines of a shell, under the name f. */
static void add_script(const char *lines)
{
    static char spec[80];
    FILE *f;

    snprintf(spec, sizeof(spec), "f=%s/script", dir);
    f = fopen(spec + 2, "we");
    if (f == NULL || fprintf(f, "#!/bin/sh\n%s\n", lines) < 0 || fclose(f) != 0 || chmod(spec + 2, 0700) != 0)
        abort();
    host.commands_n = 0;
    if (hostfn_add(&host, spec, &e) != 0)
        abort();
}

static void test_results(void)
{
    static const struct {
        const char *lines;
        enum msg_type type;
        uint64_t bits;
    } numbers[] = {
        {"echo -2147483648", MSG_INT, 0xffffffff80000000},
        {"printf 4294967295", MSG_UINT, 0xffffffff},
        {"echo -1; echo; echo", MSG_LONG, UINT64_MAX},
        {"echo 18446744073709551615", MSG_ULONG, UINT64_MAX},
        {"echo -0.0", MSG_FLOAT, 0x80000000},
        {"echo 'nan(0x7ff0000000000001)'", MSG_DOUBLE, 0x7ff0000000000001},
        {"echo true", MSG_BOOL, 1},
        {"echo whatever", MSG_VOID, 0},
        {"true", MSG_VOID, 0},
    };
    static const struct {
        const char *lines;
        enum msg_type type;
        const char *text;
    } wrong[] = {
        {"echo 2147483648", MSG_INT, "the command's output is no int"},
        {"echo -1", MSG_UINT, "the command's output is no uint"},
        {"true", MSG_UINT, "the command's output is no uint"},
        {"echo 1 2", MSG_LONG, "the command's output is no long"},
        {"printf '1\\0'", MSG_INT, "the command's output is no int"},
        {"printf 'a\\0b'", MSG_STRING, "the command's output is no string"},
        {"printf '\\377'", MSG_STRING, "the command's output is no string"},
        {"echo maybe", MSG_BOOL, "the command's output is no bool"},
        {"echo x; exit 3", MSG_STRING, "f: it ended with status 3"},
    };
    unsigned i;

    open_host();
    tap_case("what a command writes becomes a value of the type that the guest expects");
    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        add_script(numbers[i].lines);
        CHECK_EQ(call("f", numbers[i].type, NULL, 0), 0);
        if (!is_number(numbers[i].type, numbers[i].bits))
            printf("# %s\n", numbers[i].lines);
    }
    add_script("echo '  two words '; echo");
    CHECK_EQ(call("f", MSG_STRING, NULL, 0), 0);
    is_data(MSG_STRING, "  two words ", 12);
    CHECK_EQ(call("f", MSG_BYTES, NULL, 0), 0);
    is_data(MSG_BYTES, "  two words \n\n", 14);
    add_script("true");
    CHECK_EQ(call("f", MSG_STRING, NULL, 0), 0);
    is_data(MSG_STRING, "", 0);
    CHECK_EQ(call("f", MSG_BYTES, NULL, 0), 0);
    is_data(MSG_BYTES, "", 0);
    add_script("printf 'a\\0\\377\\n'");
    CHECK_EQ(call("f", MSG_BYTES, NULL, 0), 0);
    is_data(MSG_BYTES, "a\0\xff\n", 4);
    add_script("echo @/etc/passwd");
    CHECK_EQ(call("f", MSG_BYTES, NULL, 0), 0);
    is_data(MSG_BYTES, "@/etc/passwd\n", 13);

    tap_case("and is an error for the guest when it is no such value");
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        add_script(wrong[i].lines);
        CHECK_EQ(call("f", wrong[i].type, NULL, 0), 0);
        if (!is_error(wrong[i].text))
            printf("# %s\n", wrong[i].lines);
    }

    tap_case("what a command is told of a failure is text that a guest can read");
    host.commands_n = 0;
    CHECK(hostfn_add(&host, "f=/no\xff/such\nprogram", &e) == 0);
    CHECK_EQ(call("f", MSG_STRING, NULL, 0), 0);
    is_error("f: cannot start /no\\xff/such?program: ");
    close_host();
}

static void test_arguments(void)
{
    static const struct {
        struct msg_value v;
        const char *seen;
        size_t len;
    } args[] = {
        {{.type = MSG_INT, .bits = (uint64_t)-5}, "-5", 2},
        {{.type = MSG_ULONG, .bits = UINT64_MAX}, "18446744073709551615", 20},
        {{.type = MSG_BOOL, .bits = 1}, "true", 4},
        {{.type = MSG_FLOAT, .bits = 0x80000000}, "-0", 2},
        {{.type = MSG_STRING, .data = (const uint8_t *)"a\0b\n", .len = 4}, "a\0b\n", 4},
        {{.type = MSG_STRING}, "", 0},
        {{.type = MSG_BYTES, .data = (const uint8_t *)"\0\xff", .len = 2}, "\0\xff", 2},
        {{.type = MSG_BYTES}, "", 0},
    };
    const struct msg_value two[] = {INT(1), INT(2)};
    unsigned i;

    open_host();
    tap_case("a command finds its argument on its standard input, bytes raw and all else as text");
    CHECK(hostfn_add(&host, "f=cat", &e) == 0);
    for (i = 0; i < sizeof(args) / sizeof(args[0]); i++) {
        CHECK_EQ(call("f", MSG_BYTES, &args[i].v, 1), 0);
        is_data(MSG_BYTES, args[i].seen, args[i].len);
    }
    CHECK_EQ(call("f", MSG_BYTES, NULL, 0), 0);
    is_data(MSG_BYTES, "", 0);

    tap_case("a command takes one argument at most");
    CHECK_EQ(call("f", MSG_BYTES, two, 2), 0);
    is_error("wrong arguments, wanted at most one");

    tap_case("a stop ends a command, and is no result");
    host.commands_n = 0;
    CHECK(hostfn_add(&host, "f=sleep 60", &e) == 0);
    CHECK(stop_arm(&stop, 50000000, &e) == 0);
    CHECK_EQ(call("f", MSG_VOID, NULL, 0), HOSTFN_STOPPED);
    close_host();
}

int main(void)
{
    char command[64];

    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL)
        abort();
    test_print();
    test_time_and_random();
    test_names();
    test_results();
    test_arguments();
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    if (system(command) != 0)
        return 1;
    return tap_done();
}
