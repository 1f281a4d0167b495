/*
 * Runs the benchmark where there is no shell, as in the lab: in each round one
 * sample of every row that needs KVM, one after the other.
 *
 *   bench [--rounds N] [--runs N] [--calls N] [--exits N] [--ms N] [--gap MS] [--pages N] [--clones N]
 *         [--kind KIND] [--check 1] [--plant ROW] [--vmm PATH] [--samples DIR]
 *
 *   --runs N        how often a program is started for one sample, which is the median of them
 *   --kind KIND     only guests of that kind
 *   --vmm PATH      the binary whose start is timed
 *
 * The rest goes to the programs beside this one, which take the samples: method, create (raw ioctls), product
 * and density (the library). floor, and `vmm run`, are timed from here, from their start to their end. Prints the records
 * of rows.h; nothing is judged, but a program that fails or finds wrong work makes the status 1.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "tests/bench/rows.h"
#include "tests/bench/spawn.h"

#define RUNS_MAX 100

struct bench {
    unsigned rounds, runs;
    const char *vmm, *samples;
    char beside[400]; /* the folder of this program, with a slash */
    int argc;
    char **argv;
};

/* A program that is started. */
struct row {
    const char *id, *base, *text, *program, *word, *last;
};

static const struct row rows[] = {
    {"process", "-", "bound: start and end of a static process that does nothing", "floor", "nothing", NULL},
    {"hello-naive", "-",
     "hello by raw ioctls in naive order with all of KVM's CPUID table (floor.c lists them), process",
     "floor", "hello", NULL},
    {"hello-naive-nocpuid", "-", "the same without a CPUID table", "floor", "hello", "nocpuid"},
    {"hello-split", "hello-naive-nocpuid",
     "the same with a split irqchip, an empty CPUID table, and teardown left behind", "floor", "hello",
     "split"},
    {"hello", "hello-naive-nocpuid", "vmm run of hello, process start to end", "vmm", "run", NULL},
};

#define RSS    "run-rss"
#define ROWS_N (sizeof(rows) / sizeof(rows[0]))
_Static_assert(ROWS_N == 5, "a prime: steps of any length come to every row");

static const char *const kinds[] = {"amd64", "i686", "i686-identity", "amd64-user"};
/* The last is for the first round only: it takes its time, and memory is no matter of chance. */
static const char *const programs[] = {"product", "method", "create", "density"};

#define PROGRAMS_N (sizeof(programs) / sizeof(programs[0]))

/* --- programs that are timed ------------------------------------------------------------------------ */

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

/* A hello of a few instructions, linked at fixed addresses: floor does not relocate. */
static void make_command(const struct bench *b, const struct row *row, const char *kind, struct command *c)
{
    bool is_floor = strcmp(row->program, "floor") == 0;
    char path[600];

    c->n = 0;
    snprintf(path, sizeof(path), "%sfloor", b->beside);
    add_word(c, is_floor ? path : b->vmm);
    add_word(c, row->word);
    if (strcmp(row->word, "nothing") == 0)
        return;
    if (is_floor)
        add_word(c, kind);
    snprintf(path, sizeof(path), "%s/leanhello-%s.elf", b->samples, kind);
    add_word(c, path);
    if (row->last != NULL)
        add_word(c, row->last);
}

/* Start to end; its output goes to `out`, with what it says of errors if it is to be quiet. False when it did
 * not end with status 0. */
static bool run_program(char *const *argv, int out, bool quiet, double *ns, long *rss_kib)
{
    posix_spawn_file_actions_t actions;
    uint64_t start;
    struct rusage usage = {.ru_maxrss = 0};
    int status = 0;
    pid_t pid;
    bool ok;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (quiet)
        posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    start = rows_clock(CLOCK_MONOTONIC);
    ok = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) == 0 &&
         wait4(pid, &status, 0, &usage) == pid && status == 0;
    *ns = (double)(rows_clock(CLOCK_MONOTONIC) - start);
    *rss_kib = usage.ru_maxrss;
    posix_spawn_file_actions_destroy(&actions);
    return ok;
}

/* What a program prints, at most what fits; false when it fails. */
static bool ask_program(char *const *argv, bool quiet, char *text, size_t text_len)
{
    double ns;
    long rss;
    int fds[2];
    ssize_t n;
    bool ok;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    ok = run_program(argv, fds[1], quiet, &ns, &rss);
    close(fds[1]);
    n = read(fds[0], text, text_len - 1);
    close(fds[0]);
    text[n > 0 ? n : 0] = '\0';
    return ok;
}

/* All must say the same, or they are not the same guest; NULL or what is wrong. */
static const char *compare_hellos(const struct bench *b, const char *kind)
{
    char first[256] = "", text[256];

    for (unsigned i = 0; i < ROWS_N; i++) {
        struct command c;

        make_command(b, &rows[i], kind, &c);
        if (strcmp(rows[i].word, "nothing") == 0)
            continue;
        if (!ask_program(c.argv, false, text, sizeof(text)) || text[0] == '\0')
            return "a program that runs hello failed";
        if (first[0] == '\0')
            memcpy(first, text, sizeof(first));
        if (strcmp(first, text) != 0)
            return "what the guests print differs";
    }
    return NULL;
}

/*
 * A process is short: each is started several times, in turn with the others, and not always behind the same one.
 * What that one left to be taken apart, or that it left the CPU asleep, is in the time of the next.
 */
static int time_programs(const struct bench *b, const char *kind, unsigned round)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), status = 0;
    double each[ROWS_N][RUNS_MAX];
    struct command c;
    long rss = 0, resident;

    for (unsigned run = 0; run < b->runs; run++) {
        for (unsigned n = 0; n < ROWS_N; n++) {
            unsigned i = n * (1 + run % (ROWS_N - 1)) % ROWS_N;

            make_command(b, &rows[i], kind, &c);
            if (!run_program(c.argv, null, false, &each[i][run], &resident)) {
                rows_fail(rows[i].id, kind, "the program failed");
                status = 1;
            }
            if (i == ROWS_N - 1)
                rss = resident;
        }
    }
    for (unsigned i = 0; i < ROWS_N && status == 0; i++)
        rows_sample(rows[i].id, kind, round, rows_median(each[i], b->runs));
    /* The last row is vmm's. What exec finds of this process, which is small, may be counted too. */
    if (status == 0)
        rows_sample(RSS, kind, round, (double)rss);
    close(null);
    return status;
}

/* --- programs that take samples --------------------------------------------------------------------- */

/* One round of a program, for one kind, or, without a round, what its rows are. */
static int run_sampler(const struct bench *b, const char *program, const char *kind, int round)
{
    static const char *const handed_on[] = {"--calls", "--exits", "--ms",     "--gap",
                                            "--pages", "--plant", "--clones", "--check"};
    char path[500], number[24];
    const char *words[SPAWN_WORDS_MAX] = {path, "--first",   number,     "--kind",
                                          kind, "--samples", b->samples, round < 0 ? "--rounds" : "--rows",
                                          "0"};
    size_t n = 9;

    snprintf(path, sizeof(path), "%s%s", b->beside, program);
    snprintf(number, sizeof(number), "%d", round < 0 ? 0 : round);
    for (size_t i = 0; i < sizeof(handed_on) / sizeof(handed_on[0]); i++) {
        const char *value = rows_word(b->argc, b->argv, handed_on[i], NULL);

        if (value != NULL) {
            words[n++] = handed_on[i];
            words[n++] = value;
        }
    }
    return spawn_and_wait(words, n) != 0;
}

/* Whether a guest of vmm's can be of that kind, and such guests run here. */
static bool runs_hello(const struct bench *b, const char *kind)
{
    struct command c;
    char text[256];

    if (strcmp(kind, "amd64-user") == 0)
        return false;
    make_command(b, &rows[1], kind, &c);
    return ask_program(c.argv, true, text, sizeof(text));
}

int main(int argc, char **argv)
{
    struct bench b = {
        .rounds = (unsigned)rows_number(argc, argv, "--rounds", 7),
        .runs = (unsigned)rows_number(argc, argv, "--runs", 10),
        .vmm = rows_word(argc, argv, "--vmm", "build/i686-counter/vmm"),
        .samples = rows_word(argc, argv, "--samples", "build/i686-counter/samples"),
        .argc = argc,
        .argv = argv,
    };
    const char *slash = strrchr(argv[0], '/'), *only = rows_word(argc, argv, "--kind", ""), *wrong;
    bool hello[sizeof(kinds) / sizeof(kinds[0])] = {false};
    int status = 0;

    if (b.runs == 0 || b.runs > RUNS_MAX) {
        fprintf(stderr, "bench: --runs is from 1 to %d\n", RUNS_MAX);
        return 64;
    }
    snprintf(b.beside, sizeof(b.beside), "%.*s", slash != NULL ? (int)(slash - argv[0] + 1) : 0, argv[0]);
    for (unsigned i = 0; i < ROWS_N; i++)
        rows_row(rows[i].id, rows[i].base, "us", rows[i].text);
    rows_row(RSS, "-", "KB", "vmm run of hello: memory that was resident at most");
    for (unsigned i = 0; i < PROGRAMS_N; i++)
        status |= run_sampler(&b, programs[i], "none", -1);
    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        hello[k] = runs_hello(&b, kinds[k]);
        wrong = hello[k] ? compare_hellos(&b, kinds[k]) : NULL;
        if (wrong == NULL)
            continue;
        fprintf(stderr, "bench: %s: %s\n", kinds[k], wrong);
        return 1;
    }
    for (unsigned round = 0; round < b.rounds; round++) {
        for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            if (only[0] != '\0' && strcmp(only, kinds[k]) != 0)
                continue;
            if (hello[k])
                status |= time_programs(&b, kinds[k], round);
            for (unsigned i = 0; i < (round == 0 ? PROGRAMS_N : PROGRAMS_N - 1); i++)
                status |= run_sampler(&b, programs[i], kinds[k], (int)round);
        }
    }
    return status;
}
