/*
 * vmm: runs small guests on KVM. main, the command line and everything that is
 * printed or exits; what a command does is in hv/cmd_*.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/cmd.h"
#include "hv/counter.h"
#include "hv/file.h"
#include "hv/options.h"
#include "hv/pid1.h"
#include "hv/progress.h"
#include "hv/report.h"
#include "hv/text.h"
#include "hv/version.h"
#include "mem/assert.h"
#include "mem/error.h"
#include "mem/format.h"

#define GUEST_ABI   "0.15"
#define OPTIONS_MAX 64

static char standalone_word[] = "-standalone";

static const struct {
    const char *name;
    enum command_bit bit;
    const char *operands; /* as the help shows them; "" = takes none */
    const char *help;
} commands[] = {
    {"run", CMD_RUN, " IMAGE", "boot an image, run it to the end of its init, and call its functions"},
    {"snapshot", CMD_SNAPSHOT, " IMAGE", "do the same and save the guest as it is then"},
    {"restore", CMD_RESTORE, " FILE", "go on with a saved guest, once or many times"},
    {"serve", CMD_SERVE, " FILE...", "answer requests for calls, one JSON object a line, from saved guests"},
    {"inspect", CMD_INSPECT, " IMAGE|FILE", "show the address plan of an image, or what is in a snapshot"},
    {"-standalone", CMD_STANDALONE, "", "run, as runner scripts call a VMM: -standalone -kernel FILE"},
    {"batch", CMD_BATCH, " FILE", "run the tests of a file, one a line, and print TAP"},
    {"pack", CMD_PACK, " FILE... [-- OPTION...]",
     "write an initramfs: this program as init, images, what to do"},
    {"doctor", CMD_DOCTOR, "", "say which guests this host can run, and why not"},
    {"bench", CMD_BENCH, "", "say how fast calls, resets and new machines are here, beside KVM alone"},
};

#define COMMANDS_N (sizeof(commands) / sizeof(commands[0]))

static const struct option_row *const row_tables[] = {option_rows, counter_option_rows};

#define ROW_TABLES_N (sizeof(row_tables) / sizeof(row_tables[0]))

/* Messages go out in one write, so that those of several processes do not mix. */
static void print_fd(int fd, const struct text *t)
{
    struct err ignored;

    if (t->len != 0)
        file_write_all(fd, "", t->s, t->len, &ignored);
}

static int fail(const struct err *e)
{
    struct text t = TEXT_EMPTY;

    report_error(e, &t);
    print_fd(STDERR_FILENO, &t);
    text_free(&t);
    return (int)e->status;
}

/* Text a user asked for: a full disk or a closed pipe is an error, or the caller believes half of it. */
static int print_answer(struct text *t, int status)
{
    struct err e;

    if (t->failed)
        err_set(&e, STATUS_HOST, "host memory: no room for the answer");
    else if (t->len == 0 || file_write_all(STDOUT_FILENO, "standard output", t->s, t->len, &e) == 0)
        e.status = STATUS_OK;
    text_free(t);
    return e.status != STATUS_OK ? fail(&e) : status;
}

static void add_command_help(struct text *t, unsigned bit)
{
    unsigned i;
    const struct option_row *r;

    for (i = 0; i < ROW_TABLES_N; i++) {
        for (r = row_tables[i]; r->name != NULL; r++) {
            char left[64];

            if ((r->commands & bit) == 0 || (bit == CMD_STANDALONE && (r->commands & CMD_RUN) != 0))
                continue;
            format_text(left, sizeof(left), "%s%s%s%s",
                        r->name[1] == '\0' || bit == CMD_STANDALONE ? "-" : "--", r->name,
                        r->value != NULL ? " " : "", r->value != NULL ? r->value : "");
            text_add(t, "      %-26s %s\n", left, r->help);
        }
    }
}

/* Of one command, or with COMMANDS_N of all. */
static int help(unsigned command)
{
    struct text t = TEXT_EMPTY;
    unsigned i;

    text_add(&t, "usage: vmm COMMAND [OPTION...] [IMAGE]\n"
                 "       vmm --version | --help\n\n");
    for (i = 0; i < COMMANDS_N; i++) {
        if (command != COMMANDS_N && command != i)
            continue;
        text_add(&t, "  vmm %s [OPTION...]%s\n      %s\n", commands[i].name, commands[i].operands,
                 commands[i].help);
        add_command_help(&t, commands[i].bit);
    }
    text_add(
        &t,
        "\nSizes end in K, M or G. Exit status: a bare kernel's own; 0 ended, 64 usage, 77 this host cannot\n"
        "run it, 121 reset, 122 a call's error, 123 not as expected, 124 time limit, 125 host failure,\n"
        "126 file refused, 127 no such file, 130 SIGINT, 134 guest aborted, 139 guest faulted, 143 "
        "SIGTERM.\n");
    return print_answer(&t, 0);
}

static int version(void)
{
    struct text t = TEXT_EMPTY;

    text_add(&t, "vmm %s (%s), guest ABI %s\n", VMM_VERSION, VMM_FLAVOUR, GUEST_ABI);
    return print_answer(&t, 0);
}

/*
 * The option that `bit` takes by that name, or by the start of it when no other
 * starts so. Its number among all options; -1 when there is none.
 */
static int find_option(unsigned bit, const char *name, size_t len, const struct option_row **row)
{
    const struct option_row *r;
    int n = 0, found = -1;
    bool several = false;
    unsigned i;

    for (i = 0; i < ROW_TABLES_N; i++) {
        for (r = row_tables[i]; r->name != NULL; r++, n++) {
            if ((r->commands & bit) == 0 || strncmp(r->name, name, len) != 0)
                continue;
            several = found >= 0;
            found = n;
            *row = r;
            if (r->name[len] == '\0')
                return n;
        }
    }
    return several ? -1 : found;
}

/*
 * The options in front of the operands; *i is the index of the first operand
 * then. One dash or two, and a value behind "=" or in the next word.
 */
static int parse_options(char **argv, unsigned bit, struct options *o, int *i, struct err *e)
{
    bool given[OPTIONS_MAX] = {false};

    while (argv[*i] != NULL && argv[*i][0] == '-' && argv[*i][1] != '\0') {
        const char *word = argv[(*i)++], *name = word + (word[1] == '-' ? 2 : 1), *value = NULL;
        size_t len = (size_t)(strchrnul(name, '=') - name);
        const struct option_row *r;
        int n;

        if (*name == '\0')
            break; /* "--" */
        n = find_option(bit, name, len, &r);
        if (n < 0 || (name[len] == '=' && r->value == NULL)) {
            err_usage(e, "%s: unknown option %s", argv[0], word);
            return err_hint(e, "vmm --help lists the options of each command");
        }
        if (name[len] == '=')
            value = name + len + 1;
        else if (r->value != NULL && (value = argv[(*i)++]) == NULL)
            return err_usage(e, "%s: %s needs a value", argv[0], word);
        assert(n < OPTIONS_MAX);
        if (given[n] && !r->repeatable)
            return err_usage(e, "%s: --%s given twice", argv[0], r->name);
        given[n] = true;
        if ((r->commands & ONLY_ABI) != 0 && o->abi_only == NULL)
            o->abi_only = r->name;
        if ((r->commands & ONLY_BARE) != 0 && o->bare_only == NULL)
            o->bare_only = r->name;
        if (r->set(o, value, e) != 0)
            return -1;
    }
    return 0;
}

/* The index of the command, COMMANDS_N if there is none of that name. */
static unsigned find_command(const char *name)
{
    unsigned i = 0;

    while (i < COMMANDS_N && strcmp(commands[i].name, name) != 0)
        i++;
    return i;
}

static bool is_command(const char *word)
{
    return find_command(word) != COMMANDS_N;
}

/* The files of pack, and what is to be done with them. */
static int take_operands(int n, char **words, struct options *o, struct err *e)
{
    int i = 0;

    while (i < n && strcmp(words[i], "--") != 0)
        i++;
    o->operands = words;
    o->operands_n = i;
    if (i < n) {
        o->rest = words + i + 1;
        o->rest_n = n - i - 1;
    }
    if (i == 0)
        return err_usage(e, "pack: no image given");
    if (o->rest_n != 0 && o->rest[0][0] != '-' && !is_command(o->rest[0]))
        return err_usage(e, "pack: unknown command %s behind --", o->rest[0]);
    return 0;
}

/* The command line after the command's name. `argv[0]` is the command. */
static int parse(int argc, char **argv, unsigned command, struct options *o, struct err *e)
{
    int i = 1;

    o->standalone = commands[command].bit == CMD_STANDALONE;
    if (parse_options(argv, commands[command].bit, o, &i, e) != 0)
        return -1;
    if (commands[command].bit == CMD_PACK)
        return take_operands(argc - i, argv + i, o, e);
    if (o->standalone && o->image == NULL)
        return err_usage(e, "%s: no -kernel given", argv[0]);
    if (commands[command].operands[0] == '\0') {
        if (i != argc)
            return err_usage(e, "%s: unexpected operand %s", argv[0], argv[i]);
        return 0;
    }
    if (i == argc)
        return err_usage(e, "%s: no image given", argv[0]);
    o->image = argv[i];
    o->operands = argv + i;
    o->operands_n = argc - i;
    while (++i < argc) {
        if (commands[command].bit != CMD_SERVE || argv[i][0] == '-') {
            err_usage(e, "%s: unexpected operand %s", argv[0], argv[i]);
            return err_hint(e, "options come before the image");
        }
    }
    return 0;
}

static int write_report(int fd, const struct options *o, struct text *t, struct err *e)
{
    int result;

    if (t->failed)
        result = err_set(e, STATUS_HOST, "host memory: no room for the report");
    else
        result = file_write_all(fd, o->report, t->s, t->len, e);
    text_free(t);
    close(fd);
    return result;
}

/* A command that runs guests. */
typedef int command_run(const struct options *o, struct outcome *out, struct text *calls, struct err *e);

static int run_command(int argc, char **argv);

static bool is_same_file(int a, int b)
{
    struct stat of_a, of_b;

    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

static void tell(const struct options *o, const struct outcome *out)
{
    struct text t = TEXT_EMPTY;
    size_t room;

    if (o->quiet && out->reason != REASON_ERROR && out->reason != REASON_UNSUPPORTED)
        return;
    /* Ours begins a line, where the guest's output goes there as well and stopped in the middle of one. */
    if (out->amid_line && is_same_file(o->console_fd, STDERR_FILENO))
        text_add(&t, "\n");
    room = t.len;
    report_text(out, &t);
    if (o->verbose && !o->quiet)
        report_unknown(out, &t);
    if (t.len > room) {
        progress_make_room(STDERR_FILENO, (const uint8_t *)t.s, t.len);
        print_fd(STDERR_FILENO, &t);
    }
    text_free(&t);
}

/* `run`: NULL for a batch, whose report is its own. */
static int main_run(command_run *run, struct options *o)
{
    struct text calls = TEXT_EMPTY, report = TEXT_EMPTY;
    struct outcome out = {.status = STATUS_OK};
    struct err e;
    int report_fd = -1, result;

    if ((o->report != NULL && file_open_output("report", o->report, &report_fd, &e) != 0) ||
        (o->console != NULL && file_open_output("console", o->console, &o->console_fd, &e) != 0))
        return fail(&e);
    progress_allow(o->quiet ? -1 : STDERR_FILENO);
    o->tell = tell;
    result = run != NULL ? run(o, &out, &calls, &e) : cmd_batch(o, run_command, &report, &out.status, &e);
    if (result > 0)
        return (int)out.status; /* a test of the batch */
    if (result < 0)
        out = outcome_of_error(&e);
    progress_end();
    if (report.len == 0) {
        tell(o, &out);
        if (report_fd >= 0)
            report_json(&out, &calls, &report);
        report.failed = report.failed || calls.failed;
        text_free(&calls);
    }
    if (report_fd >= 0 && write_report(report_fd, o, &report, &e) != 0)
        return fail(&e);
    text_free(&report);
    return (int)out.status;
}

static int main_command(unsigned command, struct options *o)
{
    struct text t = TEXT_EMPTY;
    enum status status = STATUS_OK;
    struct err e;
    int result;

    if ((commands[command].bit & (CMD_RUN | CMD_STANDALONE)) != 0 && !o->dry_run)
        return main_run(cmd_run, o);
    if (commands[command].bit == CMD_SNAPSHOT)
        return main_run(cmd_snapshot, o);
    if (commands[command].bit == CMD_RESTORE)
        return main_run(cmd_restore, o);
    if (commands[command].bit == CMD_BATCH)
        return main_run(NULL, o);
    if (commands[command].bit == CMD_PACK)
        result = cmd_pack(o, &e);
    else if (commands[command].bit == CMD_SERVE)
        result = cmd_serve(o, &status, &e);
    else if (commands[command].bit == CMD_DOCTOR)
        result = cmd_doctor(o, &t, &status, &e);
    else if (commands[command].bit == CMD_BENCH)
        result = cmd_bench(o, &t, &e);
    else
        result = cmd_inspect(o, &t, &e);
    if (result != 0) {
        text_free(&t);
        return fail(&e);
    }
    return print_answer(&t, (int)status);
}

static void say(void *ctx, const char *line)
{
    struct text t = TEXT_EMPTY;

    (void)ctx;
    text_add(&t, "%s\n", line);
    print_fd(STDOUT_FILENO, &t);
    text_free(&t);
}

static void main_pid1(int argc, char **argv) __attribute__((noreturn));
static void main_pid1(int argc, char **argv)
{
    struct pid1_options o = {.self = argc > 0 ? argv[0] : "/init"};
    struct text t = TEXT_EMPTY;
    struct err e;
    int status = 0;

    pid1_open_console();
    if (pid1_read("/" PID1_ARGS, is_command, &o, &e) != 0 ||
        pid1_parse(argc, argv, is_command, &o, &e) != 0 || pid1_run(&o, say, NULL, &status, &e) != 0)
        status = fail(&e);
    text_add(&t, "EXIT %d\n", status);
    print_fd(STDOUT_FILENO, &t);
    pid1_end(o.end);
}

/* A file opened later must not become descriptor 0, 1 or 2: what is printed would go into it. */
static void fill_standard_descriptors(void)
{
    int fd;

    for (fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
            return; /* no /dev/null: nothing better can be done */
}

/* Wherever it stands among its options, -standalone is the command. */
static void find_standalone(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "-standalone") != 0 && strcmp(argv[i], "--standalone") != 0; i++)
        ;
    if (i == argc)
        return;
    for (; i > 1; i--)
        argv[i] = argv[i - 1];
    argv[1] = standalone_word;
}

/* A command line of vmm, from the command on. */
static int run_command(int argc, char **argv)
{
    struct options o = options_default();
    unsigned command = find_command(argv[0]);
    struct err e;
    int status;

    if (command == COMMANDS_N) {
        err_set(&e, STATUS_USAGE, "unknown command %s", argv[0]);
        err_hint(&e, "vmm --help lists the commands");
        return fail(&e);
    }
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return help(command);
    o.log_fd = STDERR_FILENO;
    status = parse(argc, argv, command, &o, &e) == 0 ? main_command(command, &o) : fail(&e);
    options_free(&o);
    return status;
}

int main(int argc, char **argv)
{
    struct err e;

    if (pid1_is_init())
        main_pid1(argc, argv);
    fill_standard_descriptors();
    /* A reader that left and a file size limit are errors of a write, which says so. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        err_set(&e, STATUS_USAGE, "no command given");
        err_hint(&e, "vmm --help lists the commands");
        return fail(&e);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return help(COMMANDS_N);
    if (strcmp(argv[1], "--version") == 0)
        return version();
    if (argv[1][0] == '-')
        find_standalone(argc, argv);
    return run_command(argc - 1, argv + 1);
}
