/*
 * The rows of the benchmark that need KVM: the product's own paths, by its
 * library or its binary, beside the bound rows, for which it starts floor.
 *
 *   bench [--rounds N] [--exits N] [--calls N] [--runs N] [--vmm PATH] [--samples DIR]
 *
 * Every sample is taken in a process of its own, since how fast an exit is
 * can depend on the process. `floor` is expected beside this program. Prints
 * the records of rows.h; nothing is judged here.
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot/snapshot.h"
#include "hv/call.h"
#include "hv/capture.h"
#include "hv/console.h"
#include "hv/load.h"
#include "hv/options.h"
#include "hv/probe.h"
#include "hv/run.h"
#include "hv/snapfile.h"
#include "hv/stop.h"
#include "hv/vm.h"
#include "mem/num.h"
#include "tests/bench/rows.h"

#define RUNS_MAX 100

struct bench {
    unsigned rounds, runs;
    unsigned long exits, calls;
    const char *vmm, *samples;
    char floor[512];
};

/* How a sample ended: a number, or a reason why there is none. */
struct sample {
    double ns;
    char reason[400]; /* "" when there is a number */
};

struct row {
    const char *id, *base, *unit, *text;
    struct sample (*take)(const struct bench *b, const struct row *row, const char *kind);
    const char *function; /* rows that call the guest: what is called */
    bool many;            /* ... with how often to call the host, once; else it is called that often */
    bool restores;        /* rows that restore: by themselves, or, with pages 0, and call */
    unsigned pages;       /* ... how many the guest has dirtied each time */
    bool irqchip;         /* rows that make a machine: with interrupt controllers and a PIT */
    const char *words[3]; /* rows that start a program: its name and first word, and its last */
};

static struct sample failed(const char *reason)
{
    struct sample s = {.ns = 0};

    snprintf(s.reason, sizeof(s.reason), "%s", reason);
    for (char *p = s.reason; *p != '\0'; p++)
        if (*p == '\n' || *p == '\t')
            *p = ' ';
    return s;
}

/* --- programs ------------------------------------------------------------------------------------- */

/* Start a program with its output going to `out` and wait for it; false when it did not end with status 0. */
static bool run_program(char *const *argv, int out)
{
    posix_spawn_file_actions_t actions;
    int status = 0;
    pid_t pid;
    bool ok;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    ok = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) == 0 && waitpid(pid, &status, 0) == pid &&
         status == 0;
    posix_spawn_file_actions_destroy(&actions);
    return ok;
}

/* What a program prints, at most what fits; false when it fails. */
static bool ask_program(char *const *argv, char *text, size_t text_len)
{
    int fds[2];
    ssize_t n;
    bool ok;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    ok = run_program(argv, fds[1]);
    close(fds[1]);
    n = read(fds[0], text, text_len - 1);
    close(fds[0]);
    text[n > 0 ? n : 0] = '\0';
    return ok;
}

/* How often a row that restores does: where a run writes to many pages, that takes its time. */
static unsigned long restores_of(const struct bench *b, const struct row *row)
{
    return b->calls * 10 / (10 + row->pages) + 3;
}

static struct sample take_floor_restore(const struct bench *b, const struct row *row, const char *kind)
{
    char number[32], pages[32], text[64], program[512], word[] = "restore", name[32];
    char *argv[] = {program, word, name, pages, number, NULL};
    struct sample s = {.ns = 0};

    snprintf(program, sizeof(program), "%s", b->floor);
    snprintf(name, sizeof(name), "%s", kind);
    snprintf(pages, sizeof(pages), "%u", row->pages);
    snprintf(number, sizeof(number), "%lu", restores_of(b, row));
    if (!ask_program(argv, text, sizeof(text)))
        return failed("floor failed");
    s.ns = strtod(text, NULL);
    return s;
}

static struct sample take_exit(const struct bench *b, const struct row *row, const char *kind)
{
    char number[32], text[64], program[512], word[] = "exit", name[32];
    char *argv[] = {program, word, name, number, NULL};
    struct sample s = {.ns = 0};

    (void)row;
    snprintf(program, sizeof(program), "%s", b->floor);
    snprintf(name, sizeof(name), "%s", kind);
    snprintf(number, sizeof(number), "%lu", b->exits);
    if (!ask_program(argv, text, sizeof(text)))
        return failed("floor failed");
    s.ns = strtod(text, NULL);
    return s;
}

/* The command line of a row that starts a program, and the words it is made of. */
struct command {
    char words[5][600];
    char *argv[6];
    unsigned n;
};

static void add_word(struct command *c, const char *word)
{
    snprintf(c->words[c->n], sizeof(c->words[0]), "%s", word);
    c->argv[c->n] = c->words[c->n];
    c->argv[++c->n] = NULL;
}

/* The sample hello, linked at fixed addresses: floor does not relocate. */
static void make_command(const struct bench *b, const struct row *row, const char *kind, struct command *c)
{
    bool is_floor = strcmp(row->words[0], "floor") == 0;
    char path[600];

    c->n = 0;
    snprintf(path, sizeof(path), "%s/hello%s-%s.elf", b->samples, strcmp(kind, "amd64") == 0 ? "-fixed" : "",
             kind);
    add_word(c, is_floor ? b->floor : b->vmm);
    add_word(c, row->words[1]);
    if (strcmp(row->words[1], "nothing") != 0) {
        if (is_floor)
            add_word(c, kind);
        add_word(c, path);
        if (row->words[2] != NULL)
            add_word(c, row->words[2]);
    }
}

/* Start to end of a process. */
static struct sample take_run(const struct bench *b, const struct row *row, const char *kind)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct sample s = {.ns = 0};
    struct command c;
    uint64_t start;

    make_command(b, row, kind, &c);
    start = rows_clock(CLOCK_MONOTONIC);
    if (!run_program(c.argv, null))
        s = failed("the program failed");
    else
        s.ns = (double)(rows_clock(CLOCK_MONOTONIC) - start);
    close(null);
    return s;
}

/* Make a machine and take it apart again. What the controllers cost is paid by guests that want them. */
static struct sample take_machine(const struct bench *b, const struct row *row, const char *kind)
{
    const struct machine_options opt = {.phys_bits = 36, .irqchip = row->irqchip, .pit = row->irqchip};
    unsigned long n = b->calls / 10 + 1, i;
    struct sample s = {.ns = 0};
    struct err e = {.text = ""};
    int kvm_fd = -1;
    uint64_t start;

    (void)kind;
    if (kvm_open(&kvm_fd, &e) != 0)
        return failed(e.text);
    start = rows_clock(CLOCK_MONOTONIC);
    for (i = 0; i < n && s.reason[0] == '\0'; i++) {
        struct machine m = MACHINE_CLOSED;

        if (machine_open(&m, kvm_fd, &opt, &e) != 0)
            s = failed(e.text);
        machine_close(&m);
    }
    s.ns = (double)(rows_clock(CLOCK_MONOTONIC) - start) / (double)n;
    close(kvm_fd);
    return s;
}

/* --- calls ---------------------------------------------------------------------------------------- */

struct called {
    struct vm vm;
    struct stop stop;
    struct console console;
    struct host_functions host;
    struct service service;
    struct run_env env;
    struct outcome out;
};

/* Put a guest of `snap` into a VM, with its output going to `fd`, and let it come to where it takes calls. */
static int run_snapshot(struct called *c, const struct snapshot *snap, int kvm_fd, int fd, struct err *e)
{
    const struct vm_options vo = {.irqchip = false, .warm = true};

    if (stop_open(&c->stop, e) != 0)
        return -1;
    console_init(&c->console, fd, &c->stop);
    c->host = (struct host_functions){.console = &c->console, .stop = &c->stop};
    c->service = (struct service){.host = &c->host, .log = &c->console};
    if (vm_open(&c->vm, kvm_fd, snap, &vo, e) != 0)
        return -1;
    c->env = (struct run_env){.vm = &c->vm, .stop = &c->stop, .console = &c->console, .service = &c->service};
    c->out = run_outcome(&c->vm);
    if (vm_restore(&c->vm, e) != 0 || (!c->vm.ready && run_init(&c->env, &c->out, e) != 0))
        return -1;
    if (!c->vm.ready)
        return err_set(e, STATUS_HOST, "init did not end well: %s",
                       c->out.reason == REASON_ABORTED ? "the guest aborted" : c->out.why.text);
    return 0;
}

/* What is restored comes from a file. */
static int put_through_file(struct snapshot *s, struct err *e)
{
    char path[] = "/tmp/bench-XXXXXX";
    int fd = mkstemp(path), result;

    if (fd < 0)
        return err_set(e, STATUS_HOST, "%s: cannot create", path);
    close(fd);
    result = snapfile_write(s, path, e);
    if (result == 0)
        result = snapfile_read(path, false, s, NULL, e);
    unlink(path);
    return result;
}

/*
 * A guest that has ended its init; never closed, for the process ends. For rows that restore it is one
 * that was captured then, with room for what it dirties.
 */
static int start_guest(struct called *c, const struct bench *b, const struct row *row, const char *kind,
                       int fd, struct err *e)
{
    static struct snapshot snap, captured;
    struct options o = options_default();
    struct load image;
    char path[600];
    int kvm_fd;

    snprintf(path, sizeof(path), "%s/%s-%s.elf", b->samples, row->pages != 0 ? "dirty" : "calls", kind);
    o.image = path;
    if (row->pages != 0) {
        o.sizes.heap_len = ((uint64_t)row->pages + 32) * PAGE_LEN;
        o.sizes.scratch_len += ((uint64_t)row->pages + 64) * PAGE_LEN;
    }
    if (load_image(&o, &image, e) != 0 || load_snapshot(&o, &image, &snap, e) != 0 ||
        kvm_open(&kvm_fd, e) != 0 || run_snapshot(c, &snap, kvm_fd, fd, e) != 0)
        return -1;
    if (!row->restores)
        return 0;
    if (capture_make(&c->vm, &captured, e) != 0 || put_through_file(&captured, e) != 0)
        return -1;
    vm_close(&c->vm);
    stop_close(&c->stop);
    return run_snapshot(c, &captured, kvm_fd, fd, e);
}

/* Call the row's function; `argument` goes with it if the row says so. */
static int call_once(struct called *c, const struct row *row, unsigned long argument, struct err *e)
{
    struct msg_call call = {
        .name = (const uint8_t *)row->function,
        .name_len = (uint32_t)strlen(row->function),
        .params_n = row->many || row->pages != 0 ? 1 : 0,
        .params = {{.type = MSG_UINT, .bits = argument}},
    };
    struct msg_result result;

    if (call_guest(&c->env, &call, &result, &c->out, e) != 0)
        return -1;
    if (c->out.reason != REASON_ENDED)
        return err_set(e, STATUS_HOST, "the call did not end well: %s",
                       c->out.reason == REASON_ABORTED ? "the guest aborted" : c->out.why.text);
    if (result.is_error)
        return err_set(e, STATUS_HOST, "guest error: %.*s", (int)result.text_len, (const char *)result.text);
    return 0;
}

/* Restores alone, after a run each, or restores and calls. */
static int time_restores(const struct bench *b, const struct row *row, const char *kind, double *ns,
                         struct err *e)
{
    unsigned long n = restores_of(b, row);
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    static struct called c;
    uint64_t start = 0, spent = 0;

    if (start_guest(&c, b, row, kind, fd, e) != 0)
        return -1;
    for (unsigned long i = 0; i < n + n / 10 + 1; i++) {
        if (row->pages != 0 && call_once(&c, row, row->pages, e) != 0)
            return -1;
        start = rows_clock(CLOCK_MONOTONIC);
        if (vm_restore(&c.vm, e) != 0 || (row->pages == 0 && call_once(&c, row, 0, e) != 0))
            return -1;
        spent = i == n / 10 ? 0 : spent + (rows_clock(CLOCK_MONOTONIC) - start);
    }
    *ns = (double)spent / (double)n;
    return 0;
}

static int time_calls(const struct bench *b, const struct row *row, const char *kind, double *ns,
                      struct err *e)
{
    unsigned long n = row->many ? 1 : b->calls;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    static struct called c;
    uint64_t start;

    if (start_guest(&c, b, row, kind, fd, e) != 0)
        return -1;
    for (unsigned long i = 0; i < n / 10 + 1; i++)
        if (call_once(&c, row, b->calls / 10 + 1, e) != 0)
            return -1;
    start = rows_clock(CLOCK_MONOTONIC);
    for (unsigned long i = 0; i < n; i++)
        if (call_once(&c, row, b->calls, e) != 0)
            return -1;
    *ns = (double)(rows_clock(CLOCK_MONOTONIC) - start) / (double)b->calls;
    return 0;
}

static struct sample take_calls(const struct bench *b, const struct row *row, const char *kind)
{
    struct sample s = failed("the process that took the sample died");
    struct err e = {.text = ""};
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return failed("no pipe");
    pid = fork();
    if (pid == 0) {
        s = (struct sample){.ns = 0};
        if ((row->restores ? time_restores : time_calls)(b, row, kind, &s.ns, &e) != 0)
            s = failed(e.text);
        _exit(write(fds[1], &s, sizeof(s)) == (ssize_t)sizeof(s) ? 0 : 1);
    }
    close(fds[1]);
    if (pid > 0) {
        struct sample got;

        if (read(fds[0], &got, sizeof(got)) == (ssize_t)sizeof(got))
            s = got;
        waitpid(pid, NULL, 0);
    }
    close(fds[0]);
    return s;
}

/* --- all of it ------------------------------------------------------------------------------------ */

/* A restore by how much the guest has dirtied, beside a raw copy of as much. */
#define RESTORE_ROWS(n, n_pages)                                                                      \
    {.id = "floor-restore-" #n,                                                                       \
     .base = "-",                                                                                     \
     .unit = "us",                                                                                    \
     .text = "bound: copy of " n_pages ", KVM_SET_SREGS and KVM_SET_REGS, raw ioctls",                \
     .take = take_floor_restore,                                                                      \
     .pages = n},                                                                                     \
    {                                                                                                 \
        .id = "restore-" #n, .base = "floor-restore-" #n, .unit = "us",                               \
        .text = "vm_restore of a guest that has dirtied " n_pages " of its heap", .take = take_calls, \
        .function = "dirty", .restores = true, .pages = n                                             \
    }

static const struct row rows[] = {
    {.id = "exit",
     .base = "-",
     .unit = "us",
     .text = "bound: KVM_RUN to an OUT and no register work, raw ioctls",
     .take = take_exit},
    {.id = "call",
     .base = "exit",
     .unit = "us",
     .text = "call_guest of a function that does nothing, result read",
     .take = take_calls,
     .function = "nothing"},
    {.id = "host-print",
     .base = "exit",
     .unit = "us",
     .text = "one HostPrint of the guest, of many in one call",
     .take = take_calls,
     .function = "storm",
     .many = true},
    {.id = "host-time",
     .base = "exit",
     .unit = "us",
     .text = "one HostTime of the guest, of many in one call",
     .take = take_calls,
     .function = "times",
     .many = true},
    {.id = "call-restore",
     .base = "exit",
     .unit = "us",
     .text = "vm_restore and call_guest of a function that does nothing",
     .take = take_calls,
     .function = "nothing",
     .restores = true},
    RESTORE_ROWS(1, "1 page"),
    RESTORE_ROWS(10, "10 pages"),
    RESTORE_ROWS(100, "100 pages"),
    RESTORE_ROWS(1000, "1000 pages"),
    {.id = "machine",
     .base = "-",
     .unit = "us",
     .text = "machine_open and machine_close, no interrupt controllers",
     .take = take_machine},
    {.id = "machine-irqchip",
     .base = "machine",
     .unit = "us",
     .text = "the same with in-kernel controllers and PIT, as bare kernels that need them have",
     .take = take_machine,
     .irqchip = true},
    {.id = "process",
     .base = "-",
     .unit = "us",
     .text = "bound: start and end of a static process that does nothing",
     .take = take_run,
     .words = {"floor", "nothing", NULL}},
    {.id = "hello-naive-nocpuid",
     .base = "-",
     .unit = "us",
     .text = "the same guest by raw ioctls in naive order, no CPUID table",
     .take = take_run,
     .words = {"floor", "hello", "nocpuid"}},
    {.id = "hello-naive",
     .base = "-",
     .unit = "us",
     .text = "the same guest by raw ioctls in naive order (floor.c lists them)",
     .take = take_run,
     .words = {"floor", "hello", NULL}},
    {.id = "hello",
     .base = "hello-naive",
     .unit = "us",
     .text = "vmm run of hello, process start to end",
     .take = take_run,
     .words = {"vmm", "run", NULL}},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

/* Both must say the same, or they are not the same guest; "" or what is wrong. */
static const char *compare_hellos(const struct bench *b, const char *kind)
{
    char first[256] = "", text[256];

    for (unsigned i = 0; i < ROWS_N; i++) {
        struct command c;

        if (strncmp(rows[i].id, "hello", 5) != 0)
            continue;
        make_command(b, &rows[i], kind, &c);
        if (!ask_program(c.argv, text, sizeof(text)) || text[0] == '\0')
            return "a program that runs hello failed";
        if (first[0] == '\0')
            memcpy(first, text, sizeof(first));
        if (strcmp(first, text) != 0)
            return "what the guests print differs";
    }
    return "";
}

static void skip_kind(const char *kind, const char *reason)
{
    for (unsigned i = 0; i < ROWS_N; i++)
        rows_skip(rows[i].id, kind, reason);
}

/* The samples of one round. A process is short: it is started several times, in turn with the others. */
static void bench_round(const struct bench *b, const char *kind, unsigned round, bool *skipped)
{
    double each[ROWS_N][RUNS_MAX];

    for (unsigned turn = 0; turn < b->runs; turn++) {
        for (unsigned i = 0; i < ROWS_N; i++) {
            struct sample s;

            if (skipped[i] || (turn != 0 && rows[i].take != take_run))
                continue;
            s = rows[i].take(b, &rows[i], kind);
            skipped[i] = s.reason[0] != '\0';
            if (skipped[i])
                rows_skip(rows[i].id, kind, s.reason);
            each[i][turn] = s.ns;
        }
    }
    for (unsigned i = 0; i < ROWS_N; i++)
        if (!skipped[i])
            rows_sample(rows[i].id, kind, round,
                        rows_median(each[i], rows[i].take == take_run ? b->runs : 1));
}

static int bench_kind(const struct bench *b, const char *kind)
{
    bool skipped[ROWS_N] = {false};
    const char *wrong = compare_hellos(b, kind);

    if (wrong[0] != '\0') {
        fprintf(stderr, "bench: %s: %s\n", kind, wrong);
        return 1;
    }
    for (unsigned round = 0; round < b->rounds; round++)
        bench_round(b, kind, round, skipped);
    return 0;
}

int main(int argc, char **argv)
{
    struct bench b = {
        .rounds = (unsigned)rows_number(argc, argv, "--rounds", 7),
        .exits = rows_number(argc, argv, "--exits", 5000),
        .calls = rows_number(argc, argv, "--calls", 200),
        .runs = (unsigned)rows_number(argc, argv, "--runs", 10),
        .vmm = rows_word(argc, argv, "--vmm", "build/i686-counter/vmm"),
        .samples = rows_word(argc, argv, "--samples", "build/i686-counter/samples"),
    };
    const char *slash = strrchr(argv[0], '/');
    const struct guest_kind *k;
    struct err e = {.text = ""};
    int kvm_fd = -1, paging32 = 0, status = 0;

    if (b.runs == 0 || b.runs > RUNS_MAX || b.calls == 0 || b.exits == 0) {
        fprintf(stderr, "bench: --exits, --calls and --runs are at least 1, --runs at most %d\n", RUNS_MAX);
        return 64;
    }
    snprintf(b.floor, sizeof(b.floor), "%.*sfloor", slash != NULL ? (int)(slash - argv[0] + 1) : 0, argv[0]);
    for (unsigned i = 0; i < ROWS_N; i++)
        rows_row(rows[i].id, rows[i].base, rows[i].unit, rows[i].text);
    if (kvm_open(&kvm_fd, &e) == 0)
        paging32 = probe_paging32(kvm_fd, &e);
    for (unsigned i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        if (kvm_fd < 0)
            skip_kind(k->name, e.text);
        else if (paging32 <= 0 && strcmp(k->name, "i686") == 0)
            skip_kind(k->name, "this KVM does not do 32-bit paging");
        else
            status |= bench_kind(&b, k->name);
    }
    return status;
}
