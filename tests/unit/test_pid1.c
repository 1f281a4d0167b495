/*
 * hv/pid1: the words of an init, and the list of commands. What only a machine's
 * init may do (mounts, modules, power) is proven by the lab, which boots it.
 *
 * The commands of a list run this very program: with arguments it is a command.
 */
#include "hv/pid1.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tap.h"

static char folder[] = "/tmp/test_pid1.XXXXXX";
static char list_path[64];
static char heard_path[64];
static char pid_path[64];
static const char *self;

/* --- the commands -------------------------------------------------------------------------------- */

static void write_pid(const char *path)
{
    char text[32];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (write(fd, text, (size_t)len) != len)
        _exit(99);
    close(fd);
}

static int be_command(int argc, char **argv)
{
    const char *verb = argv[1];
    sigset_t mask;

    if (strcmp(verb, "exit") == 0 && argc == 3)
        return atoi(argv[2]);
    if (strcmp(verb, "args") == 0)
        return argc - 2;
    if (strcmp(verb, "signal") == 0 && argc == 3) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(atoi(argv[2]), SIG_DFL);
        raise(atoi(argv[2]));
    }
    if (strcmp(verb, "hang") == 0) {
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    if (strcmp(verb, "wait-term") == 0) {
        kill(getppid(), SIGTERM);
        for (;;)
            pause();
    }
    if (strcmp(verb, "mask") == 0) {
        sigprocmask(SIG_BLOCK, NULL, &mask);
        return sigismember(&mask, SIGTERM) || sigismember(&mask, SIGCHLD) || sigismember(&mask, SIGINT);
    }
    if (strcmp(verb, "leave-child") == 0 && argc == 3) {
        if (fork() == 0) {
            write_pid(argv[2]);
            for (;;)
                pause();
        }
        while (access(argv[2], F_OK) != 0)
            poll(NULL, 0, 1);
        return 0;
    }
    if (strcmp(verb, "fds") == 0) {
        int n = 0;

        for (int fd = 3; fd < 64; fd++)
            n += fcntl(fd, F_GETFD) != -1;
        return n;
    }
    return 98;
}

/* --- the listener -------------------------------------------------------------------------------- */

static char heard[65536];
static int heard_fd = -1;

static void hear(void *ctx, const char *line)
{
    int *calls = (int *)ctx;

    (*calls)++;
    if (write(heard_fd, line, strlen(line)) < 0 || write(heard_fd, "\n", 1) < 0)
        abort();
}

static void write_list(const void *text, size_t len)
{
    int fd = open(list_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (write(fd, text, len) != (ssize_t)len)
        abort();
    close(fd);
}

/* Run the list and return what was heard, "" if nothing. *result and *calls may be looked at afterwards. */
static int result;
static int calls;
static struct err error;

static int status;

static const char *run_options(const struct pid1_options *o, const char *text)
{
    ssize_t got;

    write_list(text, strlen(text));
    heard_fd = open(heard_path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    calls = 0;
    status = -1;
    error = (struct err){.status = STATUS_OK};
    result = pid1_run_commands(o, hear, &calls, &status, &error);
    got = pread(heard_fd, heard, sizeof(heard) - 1, 0);
    heard[got > 0 ? got : 0] = '\0';
    close(heard_fd);
    return heard;
}

static const char *run(const char *text, unsigned limit_ms)
{
    return run_options(&(struct pid1_options){.list = list_path, .self = self, .limit_ms = limit_ms}, text);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the cases ----------------------------------------------------------------------------------- */

static bool is_command(const char *word)
{
    return strcmp(word, "run") == 0;
}

/* The words of a kernel's command line, in place of what was there. */
static struct pid1_options parsed;
static int parse(const char *const *words)
{
    static char *argv[128];
    int argc = 1;

    argv[0] = (char *)"/init";
    for (; *words != NULL; words++)
        argv[argc++] = (char *)*words;
    argv[argc] = NULL;
    error = (struct err){.status = STATUS_OK};
    return pid1_parse(argc, argv, is_command, &parsed, &error);
}

/* "(none)" behind the last one, and if there is none. */
static const char *command_word(unsigned i)
{
    const char *word = parsed.command != NULL ? parsed.command[i] : NULL;

    return word != NULL ? word : "(none)";
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void test_parse(void)
{
    const char *many[PID1_WORDS_MAX + PID1_KMODS_MAX + 4] = {NULL};
    struct pid1_options before;

    tap_case("modules keep their order, and the list, the limit and the end are taken");
    parsed = (struct pid1_options){.self = "/init"};
    CHECK_EQ(PARSE("--kmod=/m/a.ko", "--kmod=/m/b.ko", "--list=/list", "--limit=2m", "--on-exit=halt"), 0);
    CHECK_EQ(parsed.kmods_n, 2);
    CHECK_STR(parsed.kmods[0], "/m/a.ko");
    CHECK_STR(parsed.kmods[1], "/m/b.ko");
    CHECK_STR(parsed.list, "/list");
    CHECK(parsed.command == NULL);
    CHECK_EQ(parsed.limit_ms, 120000);
    CHECK_EQ(parsed.end, PID1_HALT);
    CHECK_EQ(error.status, STATUS_OK);

    tap_case("each way to end has its name, and the last one said counts");
    CHECK_EQ(PARSE("--on-exit=panic"), 0);
    CHECK_EQ(parsed.end, PID1_PANIC);
    CHECK_EQ(PARSE("--on-exit=reboot"), 0);
    CHECK_EQ(parsed.end, PID1_REBOOT);
    CHECK_EQ(PARSE("--on-exit=halt", "--on-exit=poweroff"), 0);
    CHECK_EQ(parsed.end, PID1_POWEROFF);

    tap_case("no words at all, or only what the kernel left over, changes nothing");
    before = parsed;
    CHECK_EQ(parse((const char *const[]){NULL}), 0);
    CHECK_EQ(PARSE("nokaslr", "splash"), 0);
    CHECK(memcmp(&before, &parsed, sizeof(before)) == 0);

    tap_case("a refused command line leaves the options untouched");
    CHECK_EQ(PARSE("--kmod=/m/c.ko", "--on-exit=panic", "--lists=/list"), -1);
    CHECK_EQ(error.status, STATUS_USAGE);
    CHECK_HAS(error.text, "\"--lists=/list\"");
    CHECK(memcmp(&before, &parsed, sizeof(before)) == 0);

    tap_case("what is said again adds modules and replaces the list");
    CHECK_EQ(PARSE("nokaslr", "--kmod=/m/c.ko", "--list=/other"), 0);
    CHECK_EQ(parsed.kmods_n, 3);
    CHECK_STR(parsed.kmods[2], "/m/c.ko");
    CHECK_STR(parsed.list, "/other");

    tap_case("a command ends the options and takes the place of the list, and the other way round");
    CHECK_EQ(PARSE("nokaslr", "--on-exit=reboot", "run", "--on-exit=halt", "x"), 0);
    CHECK(parsed.list == NULL);
    CHECK_EQ(parsed.end, PID1_REBOOT);
    CHECK(parsed.command != NULL);
    CHECK_STR(command_word(0), "run");
    CHECK_STR(command_word(1), "--on-exit=halt");
    CHECK_STR(command_word(2), "x");
    CHECK_STR(command_word(3), "(none)");
    CHECK_EQ(PARSE("--list=/list"), 0);
    CHECK(parsed.command == NULL);

    tap_case("a command may stand alone, and be any program by its path");
    CHECK_EQ(PARSE("splash", "run", "x"), 0);
    CHECK_STR(command_word(0), "run");
    CHECK_EQ(PARSE("splash", "/bin/true"), 0);
    CHECK_STR(command_word(0), "/bin/true");

    tap_case("a bare word behind an option is refused unless it is a command");
    CHECK_EQ(PARSE("--on-exit=reboot", "ruin"), -1);
    CHECK_HAS(error.text, "unknown command \"ruin\"");

    tap_case("a second list, a list beside a command, an empty path and strange values are refused");
    CHECK_EQ(PARSE("--list=/a", "--list=/b"), -1);
    CHECK_HAS(error.text, "given twice");
    CHECK_EQ(PARSE("--list=/a", "run", "x"), -1);
    CHECK_HAS(error.text, "do not go together");
    CHECK_EQ(PARSE("--kmod="), -1);
    CHECK_HAS(error.text, "needs a path");
    CHECK_EQ(PARSE("--list="), -1);
    CHECK_HAS(error.text, "needs a path");
    CHECK_EQ(PARSE("--kmod"), -1);
    CHECK_HAS(error.text, "unknown word");
    CHECK_EQ(PARSE("--on-exit=sleep"), -1);
    CHECK_HAS(error.text, "unknown choice (--on-exit=sleep");
    CHECK_EQ(PARSE("--limit=5"), -1);
    CHECK_HAS(error.text, "init: --limit: ");

    tap_case("as many modules as fit are taken, and one more is refused");
    parsed = (struct pid1_options){.self = "/init"};
    for (int i = 0; i <= PID1_KMODS_MAX; i++)
        many[i] = "--kmod=/m";
    CHECK_EQ(parse(many), -1);
    CHECK_HAS(error.text, "too many --kmod");
    CHECK_EQ(parsed.kmods_n, 0);
    CHECK_EQ(parse(many + 1), 0);
    CHECK_EQ(parsed.kmods_n, PID1_KMODS_MAX);

    tap_case("as many words as fit are a command, and one more is refused");
    for (int i = 0; i <= PID1_WORDS_MAX; i++)
        many[i] = "run";
    CHECK_EQ(parse(many), -1);
    CHECK_HAS(error.text, "too many words (limit 64)");
    CHECK_EQ(parse(many + 1), 0);
}

static void free_args(void)
{
    free(parsed.text);
    free((void *)parsed.words);
}

static int read_args(const char *text)
{
    free_args();
    parsed = (struct pid1_options){.self = "/init"};
    error = (struct err){.status = STATUS_OK};
    write_list(text, strlen(text));
    return pid1_read(list_path, is_command, &parsed, &error);
}

static void test_read(void)
{
    tap_case("a file of words is read as a command line is, over lines and with quotes and comments");
    CHECK_EQ(
        read_args(
            "# modules\n--kmod=/m/a.ko\n'--kmod=/m/b c.ko' # two\n\n--on-exit=halt\nrun '--append=a \"b\"'\n"
            "\"/it's\"\n"),
        0);
    CHECK_EQ(parsed.kmods_n, 2);
    CHECK_STR(parsed.kmods[1], "/m/b c.ko");
    CHECK_EQ(parsed.end, PID1_HALT);
    CHECK(parsed.command != NULL);
    CHECK_STR(command_word(1), "--append=a \"b\"");
    CHECK_STR(command_word(2), "/it's");
    CHECK_STR(command_word(3), "(none)");

    tap_case("the kernel's command line goes on where the file ended");
    CHECK_EQ(PARSE("nokaslr", "--kmod=/m/d.ko", "--list=/l"), 0);
    CHECK_EQ(parsed.kmods_n, 3);
    CHECK_STR(parsed.kmods[0], "/m/a.ko");
    CHECK_EQ(parsed.end, PID1_HALT);
    CHECK(parsed.command == NULL);
    CHECK_STR(parsed.list, "/l");

    tap_case("an empty file and no file are no words");
    CHECK_EQ(read_args(""), 0);
    CHECK(parsed.command == NULL && parsed.list == NULL);
    unlink(list_path);
    CHECK_EQ(pid1_read(list_path, is_command, &parsed, &error), 0);
    CHECK_EQ(error.status, STATUS_OK);

    tap_case("what is wrong in the file is refused with its name; nothing in front is passed over");
    CHECK_EQ(read_args("nokaslr run x"), -1);
    CHECK_EQ(error.status, STATUS_USAGE);
    CHECK_HAS(error.text, list_path);
    CHECK_HAS(error.text, "unknown command \"nokaslr\"");
    CHECK_EQ(read_args("run 'x"), -1);
    CHECK_HAS(error.text, "a quote has no end");
    CHECK_EQ(read_args("--kmod=/a x y"), -1);
    CHECK_EQ(parsed.kmods_n, 0);
    free_args();
}

static void test_command(void)
{
    char *words[] = {(char *)"exit", (char *)"7", NULL};
    char *false_words[] = {(char *)"/bin/false", NULL};
    struct pid1_options o = {.self = self, .command = words};

    tap_case("one command by itself runs without a word about it, and its status is told");
    CHECK_STR(run_options(&o, ""), "");
    CHECK_EQ(result, 0);
    CHECK_EQ(status, 7);
    o.command = false_words;
    CHECK_STR(run_options(&o, ""), "");
    CHECK_EQ(status, 1);

    tap_case("a list's status is the first that is not 0, but 77 only without another");
    run("exit 0\nexit 0\n", 10000);
    CHECK_EQ(status, 0);
    run("exit 0\nexit 77\nexit 3\nexit 4\n", 10000);
    CHECK_EQ(status, 3);
    run("exit 77\nexit 0\n", 10000);
    CHECK_EQ(status, 77);

    tap_case("words of a list may be quoted");
    CHECK_STR(run("args 'a b' \"c 'd\" e'#'f\nexit '5'\n", 10000),
              "BEGIN 1 args a b c 'd e#f\nEXIT 1 3\nBEGIN 2 exit 5\nEXIT 2 5\nEND 2\n");
    CHECK_STR(run("exit 0\nargs 'a b\n", 10000), "");
    CHECK_HAS(error.text, ": line 2: a quote has no end");

    tap_case("without a limit a command may take its time");
    o = (struct pid1_options){.list = list_path, .self = self};
    CHECK_STR(run_options(&o, "/bin/sleep 0.3\n"), "BEGIN 1 /bin/sleep 0.3\nEXIT 1 0\nEND 1\n");

    tap_case("a module that is not there is named, and nothing is run");
    o = (struct pid1_options){.self = self, .command = words, .kmods = {"/nowhere/kvm.ko"}, .kmods_n = 1};
    status = -1;
    calls = 0;
    CHECK_EQ(pid1_run(&o, hear, &calls, &status, &error), -1);
    CHECK_EQ(error.status, STATUS_UNSUPPORTED);
    CHECK_HAS(error.text, "/nowhere/kvm.ko: cannot open module: No such file");
    CHECK_EQ(status, -1);
    CHECK_EQ(calls, 0);
}

static void test_list(void)
{
    static char big[PID1_LIST_LEN_MAX + 8];
    struct pid1_options none = {.self = self, .limit_ms = 1000};
    size_t len = 0;

    tap_case("each command is announced and its status told, in order");
    CHECK_STR(run("exit 0\nexit 7\nsignal 9\nsignal 6\n", 10000), "BEGIN 1 exit 0\nEXIT 1 0\n"
                                                                  "BEGIN 2 exit 7\nEXIT 2 7\n"
                                                                  "BEGIN 3 signal 9\nEXIT 3 137\n"
                                                                  "BEGIN 4 signal 6\nEXIT 4 134\nEND 4\n");
    CHECK_EQ(result, 0);
    CHECK_EQ(error.status, STATUS_OK);

    tap_case("comments and empty lines are no commands, and a last line needs no newline");
    CHECK_STR(run("# one\n\n \t \n  # two\n \targs  a\tb # c d\t\nargs a#b #\nexit 5", 10000),
              "BEGIN 1 args a b\nEXIT 1 2\nBEGIN 2 args a#b\nEXIT 2 1\nBEGIN 3 exit 5\nEXIT 3 5\nEND 3\n");

    tap_case("a first word with / in front is the program");
    CHECK_STR(run("/bin/false\n/bin/true x\n", 10000),
              "BEGIN 1 /bin/false\nEXIT 1 1\nBEGIN 2 /bin/true x\nEXIT 2 0\nEND 2\n");

    tap_case("a program that is not there is 127, one that is none is 126, and the list goes on");
    run("/nowhere/x\n/tmp\nexit 0\n", 10000);
    CHECK_HAS(heard, "vmm: /nowhere/x: cannot execute: No such file");
    CHECK_HAS(heard, "EXIT 1 127\n");
    CHECK_HAS(heard, "vmm: /tmp: cannot execute: ");
    CHECK_HAS(heard, "EXIT 2 126\n");
    CHECK_HAS(heard, "EXIT 3 0\nEND 3\n");

    tap_case("an empty list ends at once, and so does no list");
    CHECK_STR(run("", 10000), "END 0\n");
    heard_fd = open(heard_path, O_RDWR | O_TRUNC);
    CHECK_EQ(pid1_run_commands(&none, hear, &calls, &status, &error), 0);
    close(heard_fd);

    tap_case("a list that is not there is status 127 and names the file");
    unlink(list_path);
    none.list = list_path;
    CHECK_EQ(pid1_run_commands(&none, hear, &calls, &status, &error), -1);
    CHECK_EQ(error.status, STATUS_NOT_FOUND);
    CHECK_HAS(error.text, list_path);

    tap_case("a bad line anywhere is refused before the first command runs");
    CHECK_STR(run("exit 0\nexit 0\nexit \x01\n", 10000), "");
    CHECK_EQ(result, -1);
    CHECK_EQ(calls, 0);
    CHECK_HAS(error.text, ": line 3: not text (byte 0x01)");

    tap_case("as many words as fit are taken, and one more is refused");
    for (int i = 0; i < PID1_WORDS_MAX; i++)
        len += (size_t)sprintf(big + len, i == 0 ? "args" : " %d", i);
    CHECK_HAS(run(big, 10000), "\nEXIT 1 63\nEND 1\n");
    sprintf(big + len, " x");
    CHECK_STR(run(big, 10000), "");
    CHECK_HAS(error.text, ": line 1: too many words (limit 64)");

    tap_case("one command more than fits is refused");
    len = 0;
    for (int i = 0; i <= PID1_LINES_MAX; i++)
        len += (size_t)sprintf(big + len, "exit 0\n");
    CHECK_STR(run(big, 10000), "");
    CHECK_HAS(error.text, ": line 1025: too many commands (limit 1024)");

    tap_case("a list of the longest length is taken, and one byte more is refused");
    memset(big, '#', sizeof(big));
    big[PID1_LIST_LEN_MAX] = '\0';
    CHECK_STR(run(big, 10000), "END 0\n");
    big[PID1_LIST_LEN_MAX] = '#';
    big[PID1_LIST_LEN_MAX + 1] = '\0';
    CHECK_STR(run(big, 10000), "");
    CHECK_HAS(error.text, ": too large (262145 bytes, at most 262144)");
}

static void test_life(void)
{
    char line[128];
    uint64_t start;
    sigset_t before;
    sigset_t after;
    FILE *f;
    int pid = 0;

    tap_case("a command that hangs and ignores SIGTERM is killed at its limit, and the list goes on");
    start = now_ms();
    run("hang\nexit 3\n", 300);
    CHECK(now_ms() - start >= 300);
    CHECK(now_ms() - start < 4000);
    CHECK_STR(heard, "BEGIN 1 hang\nvmm: command 1: killed (ran longer than 300 ms)\nEXIT 1 137\n"
                     "BEGIN 2 exit 3\nEXIT 2 3\nEND 2\n");

    tap_case("a command starts with no signal blocked and no descriptor but 0-2");
    for (int fd = 3; fd < 64; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    CHECK_STR(run("mask\nfds\n", 10000), "BEGIN 1 mask\nEXIT 1 0\nBEGIN 2 fds\nEXIT 2 0\nEND 2\n");

    tap_case("what a command leaves running is killed with it");
    snprintf(line, sizeof(line), "leave-child %s\n", pid_path);
    CHECK_HAS(run(line, 10000), "EXIT 1 0\nEND 1\n");
    f = fopen(pid_path, "r");
    CHECK(f != NULL && fscanf(f, "%d", &pid) == 1 && pid > 1);
    if (f != NULL)
        fclose(f);
    /* Its parent is gone: whoever adopted it reaps it, if at all, in its own time. */
    snprintf(line, sizeof(line), "/proc/%d/stat", pid);
    for (int i = 0; i < 200 && pid > 1; i++) {
        char state = 'Z';

        f = fopen(line, "r");
        if (f != NULL && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = 'Z';
        if (f != NULL)
            fclose(f);
        if (state == 'Z')
            pid = 0;
        else
            poll(NULL, 0, 10);
    }
    CHECK_EQ(pid, 0);

    tap_case("SIGTERM ends the command that runs and the list with it");
    start = now_ms();
    CHECK_STR(run("wait-term\nexit 3\n", 60000), "BEGIN 1 wait-term\nEXIT 1 143\nEND 1\n");
    CHECK(now_ms() - start < 4000);
    CHECK_EQ(result, 0);

    tap_case("a child that is none of the commands' is reaped meanwhile");
    if (fork() == 0)
        _exit(1);
    CHECK_HAS(run("/bin/sleep 0.1\n", 10000), "EXIT 1 0\n");
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);

    tap_case("the signal mask is what it was");
    sigprocmask(SIG_BLOCK, NULL, &before);
    run("exit 0\n", 10000);
    sigprocmask(SIG_BLOCK, NULL, &after);
    for (int sig = 1; sig < 32; sig++)
        CHECK_EQ(sigismember(&before, sig), sigismember(&after, sig));

    tap_case("a long wait for a command takes no processor time");
    struct rusage used;
    struct rusage used_after;

    getrusage(RUSAGE_SELF, &used);
    run("/bin/sleep 0.5\n", 10000);
    getrusage(RUSAGE_SELF, &used_after);
    CHECK((used_after.ru_utime.tv_sec - used.ru_utime.tv_sec) * 1000000 + used_after.ru_utime.tv_usec -
              used.ru_utime.tv_usec + used_after.ru_stime.tv_usec - used.ru_stime.tv_usec <
          100000);
}

static void test_init(void)
{
    tap_case("a process that is not PID 1 is not the machine's init");
    CHECK(!pid1_is_init());
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return be_command(argc, argv);
    self = argv[0];
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(list_path, sizeof(list_path), "%s/list", folder);
    snprintf(heard_path, sizeof(heard_path), "%s/heard", folder);
    snprintf(pid_path, sizeof(pid_path), "%s/pid", folder);

    test_parse();
    test_read();
    test_command();
    test_list();
    test_life();
    test_init();

    unlink(list_path);
    unlink(heard_path);
    unlink(pid_path);
    rmdir(folder);
    return tap_done();
}
