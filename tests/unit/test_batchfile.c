/*
 * hv/batchfile: what a line of a batch is and what is refused, and what of
 * kvm-unit-tests' unittests.cfg can run here. Nothing is run.
 */
#include "hv/batchfile.h"

#include <stdlib.h>

#include "tests/tap.h"

static char *text;
static struct batch batch;
static struct err error;

/* A copy of exactly its size, so that a sanitizer sees a byte too far. */
static int parse_bytes(const char *s, size_t len)
{
    free(text);
    batchfile_free(&batch);
    text = malloc(len + 1);
    if (text == NULL)
        abort();
    memcpy(text, s, len);
    text[len] = '\0';
    error = (struct err){.status = STATUS_OK};
    return batchfile_parse(text, len, &batch, &error);
}

static int parse(const char *s)
{
    return parse_bytes(s, strlen(s));
}

/* The words of a test, with | between them. */
static const char *words_of(const struct batch_test *t)
{
    static char all[1024];
    size_t n = 0;
    int i;

    all[0] = '\0';
    for (i = 0; i < t->words_n; i++)
        n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", i != 0 ? "|" : "", t->words[i]);
    CHECK(t->words[t->words_n] == NULL);
    return all;
}

static const char *reason_of(const struct batch_test *t)
{
    static char reason[256];

    snprintf(reason, sizeof(reason), "%s%s", t->skip != NULL ? t->skip : "",
             t->skip != NULL ? t->skip_what : "");
    return reason;
}

static void test_lines(void)
{
    const struct batch_test *t;

    tap_case("a line is a test: six fields, blanks around them meaning nothing");
    CHECK_EQ(
        parse("# name | ...\n\n  first one | smoke  i686| 139 |500ms| some text | run --call 'a b' x.elf \r\n"
              "second||||| restore y # z"),
        0);
    CHECK_EQ(batch.tests_n, 2);
    t = batch.tests;
    CHECK_STR(t->name, "first one");
    CHECK_STR(t->groups, "smoke  i686");
    CHECK_EQ(t->status, 139);
    CHECK_EQ(t->limit_ns, 500000000);
    CHECK_STR(t->text, "some text");
    CHECK_STR(words_of(t), "run|--call|a b|x.elf");
    CHECK(t->skip == NULL && t->checks == NULL && t->arch == NULL && !t->flat);
    t = t->next;
    CHECK_STR(t->name, "second");
    CHECK_STR(t->groups, "");
    CHECK_EQ(t->status, 0);
    CHECK_EQ(t->limit_ns, 0);
    CHECK_STR(t->text, "");
    CHECK_STR(words_of(t), "restore|y");
    CHECK(t->next == NULL);

    tap_case("the text may hold bars");
    CHECK_EQ(parse("n | g | 1 | 2s | a | b|c | run x"), 0);
    CHECK_STR(batch.tests->text, "a | b|c");
    CHECK_STR(words_of(batch.tests), "run|x");

    tap_case("a group is a whole word");
    CHECK(batchfile_in_group(batch.tests, "g"));
    CHECK_EQ(parse("n | ab cd | | | | run x"), 0);
    CHECK(batchfile_in_group(batch.tests, "ab"));
    CHECK(batchfile_in_group(batch.tests, "cd"));
    CHECK(!batchfile_in_group(batch.tests, "a"));
    CHECK(!batchfile_in_group(batch.tests, "abc"));
    CHECK(!batchfile_in_group(batch.tests, "ab cd"));

    tap_case("a file without tests is none");
    CHECK_EQ(parse(""), 0);
    CHECK_EQ(batch.tests_n, 0);
    CHECK(batch.tests == NULL);
    CHECK_EQ(parse("\n# x\n"), 0);
    CHECK_EQ(batch.tests_n, 0);
}

static void test_refused(void)
{
    static const struct {
        const char *line, *why;
    } rows[] = {
        {"a", "line 3: not \"name |"},
        {"a | b | 0 | 1s | run x", "not \"name |"},
        {"| | | | | run x", "no name"},
        {"a # b | | | | | run x", "a # in it (a # b)"},
        {"a | | x | | | run x", "not a status (x"},
        {"a | | 256 | | | run x", "not a status (256"},
        {"a | | -1 | | | run x", "not a status (-1"},
        {"a | | | 5 | | run x", "not a limit (5"},
        {"a | | | 0s | | run x", "not a limit (0s"},
        {"a | | | | |", "no command line"},
        {"a | | | | | # run", "no command line"},
        {"a | | | | | run 'x", "a quote has no end"},
        {"a | | | | | batch x", "does not run batches"},
    };
    static char big[BATCH_TEXT_MAX + 64];
    size_t i, len;
    char file[256];

    tap_case("a line that is no test is refused with its number, and nothing is left");
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(file, sizeof(file), "\nok | | | | | run x\n%s\nok | | | | | run x\n", rows[i].line);
        CHECK_EQ(parse(file), -1);
        CHECK_EQ(error.status, STATUS_USAGE);
        CHECK_HAS(error.text, "line 3: ");
        CHECK_HAS(error.text, rows[i].why);
    }
    CHECK_EQ(parse_bytes("a | | | | | run x\0y", 20), -1);
    CHECK_HAS(error.text, "NUL");

    tap_case("as many words as fit are taken, and one more is refused");
    len = (size_t)sprintf(big, "a | | | | |");
    for (i = 0; i < BATCH_WORDS_MAX; i++)
        len += (size_t)sprintf(big + len, " w");
    CHECK_EQ(parse(big), 0);
    CHECK_EQ(batch.tests->words_n, BATCH_WORDS_MAX);
    sprintf(big + len, " w");
    CHECK_EQ(parse(big), -1);
    CHECK_HAS(error.text, "too many words (limit 64)");

    tap_case("a text of the longest length is taken, and one byte more is refused");
    memset(big, 'x', sizeof(big));
    memcpy(big, "a | | | | ", 10);
    memcpy(big + 10 + BATCH_TEXT_MAX, "| run x", 8);
    CHECK_EQ(parse(big), 0);
    CHECK_EQ(strlen(batch.tests->text), BATCH_TEXT_MAX);
    memcpy(big + 10 + BATCH_TEXT_MAX, "x| run x", 9);
    CHECK_EQ(parse(big), -1);
    CHECK_HAS(error.text, "the text is too long");
}

static void test_many(void)
{
    static char many[(BATCH_TESTS_MAX + 1) * 16];
    size_t len = 0;
    int i;

    tap_case("as many tests as fit are taken, and one more is refused");
    for (i = 0; i < BATCH_TESTS_MAX; i++)
        len += (size_t)sprintf(many + len, "n|||||run\n");
    CHECK_EQ(parse(many), 0);
    CHECK_EQ(batch.tests_n, BATCH_TESTS_MAX);
    sprintf(many + len, "n|||||run\n");
    CHECK_EQ(parse(many), -1);
    CHECK_HAS(error.text, "line 4097: too many tests (limit 4096)");
}

/* One section each: what it is run with, or why not. */
static const struct {
    const char *section, *words, *reason;
} sections[] = {
    {"file = a.flat", "run|--format=multiboot|--memory|128M|a.flat", ""},
    {"file=a.flat\nsmp=1\naccel = kvm\narch = i386", "run|--format=multiboot|--memory|128M|a.flat", ""},
    {"file = a.flat\nextra_params = -append 'cpu id' -m 2048 -cpu max",
     "run|--format=multiboot|--memory|2048M|--append|cpu id|a.flat", ""},
    {"file = a.flat\nextra_params = -enable-kvm -m 2g -cpu host --append \"-x* -y\"",
     "run|--format=multiboot|--memory|2G|--append|-x* -y|a.flat", ""},
    {"file = a.flat\nqemu_params = -m 64M\ntest_args = '-a 1'",
     "run|--format=multiboot|--memory|64M|--append|-a 1|a.flat", ""},
    {"file = a.flat\nqemu_params = \"\"\"-cpu max \\\n  -m 64M\\\n -append 'x\"y' \"\"\"\narch = x86_64",
     "run|--format=multiboot|--memory|64M|--append|x\"y|a.flat", ""},
    {"file = a.flat\nqemu_params = \"\"\"-cpu max", "run|--format=multiboot|--memory|128M|a.flat", ""},
    {"file = a.flat\nunknown = 5\nnonsense", "run|--format=multiboot|--memory|128M|a.flat", ""},
    {"smp = 1", "", "has no file"},
    {"file = a.flat\nsmp = 2", "", "needs smp = 2"},
    {"file = a.flat\nsmp = $MAX_SMP", "", "needs smp = $MAX_SMP"},
    {"file = a.flat\narch = arm64", "", "is for arm64"},
    {"file = a.flat\naccel = tcg", "", "needs accel = tcg"},
    {"file = a.flat\ngroups = smoke migration", "", "is of group smoke migration"},
    {"file = a.flat\nextra_params = -cpu qemu64,+x2apic", "", "needs QEMU's qemu64,+x2apic"},
    {"file = a.flat\nextra_params = -cpu host,-pcid", "", "needs QEMU's host,-pcid"},
    {"file = a.flat\nextra_params = -device edu", "", "needs QEMU's -device"},
    {"file = a.flat\nextra_params = -machine vmport=on -cpu max", "", "needs QEMU's -machine"},
    {"file = a.flat\nextra_params = -m 4g", "", "needs QEMU's -m"},
    {"file = a.flat\nextra_params = -m 4076", "run|--format=multiboot|--memory|4076M|a.flat", ""},
    {"file = a.flat\nextra_params = -m 4077", "", "needs QEMU's -m"},
    {"file = a.flat\nextra_params = -m 0", "", "needs QEMU's -m"},
    {"file = a.flat\nextra_params = -m 2048,slots=2,maxmem=999999", "", "needs QEMU's -m"},
    {"file = a.flat\nextra_params = -append", "", "needs QEMU's -append"},
    {"file = a.flat\nextra_params = --append \"1 `date +%s`\"", "",
     "needs a shell for --append \"1 `date +%s`\""},
    {"file = a.flat\nextra_params = -append 'x", "", "parameters that cannot be read"},
    {"file = a.flat\ntest_args = a b", "", "needs test_args = a"},
    {"file = a.flat\ntimeout = 2h", "", "needs timeout = 2h"},
};

static void test_cfg(void)
{
    const struct batch_test *t;
    char file[512];
    unsigned i;

    tap_case("a section is run as a multiboot image, or says what it needs that is not here");
    for (i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        snprintf(file, sizeof(file), "# comment\n\n[one]\n%s\n", sections[i].section);
        CHECK_EQ(parse(file), 0);
        CHECK_EQ(batch.tests_n, 1);
        if (batch.tests_n != 1)
            continue;
        CHECK_STR(batch.tests->name, "one");
        CHECK_STR(words_of(batch.tests), sections[i].words);
        CHECK_STR(reason_of(batch.tests), sections[i].reason);
        CHECK(batch.tests->flat);
        CHECK_EQ(batch.tests->status, 1);
    }

    tap_case("sections follow each other, each with values of its own");
    CHECK_EQ(parse("[a]\nfile = a.flat\nsmp = 2\ngroups = x y\ntimeout = 90s\ncheck = /p=1 /q=2\n"
                   "#[b]\n#file = b.flat\n\n[c]\r\nfile = c.flat\r\ntimeout = 30\r\narch = x86_64\r\n"
                   "[d]\nfile = d.flat\ntimeout = 0\n"),
             0);
    CHECK_EQ(batch.tests_n, 3);
    t = batch.tests;
    CHECK_STR(t->name, "a");
    CHECK_STR(t->checks, "/p=1 /q=2");
    CHECK(batchfile_in_group(t, "y"));
    CHECK(t->skip != NULL);
    t = t->next;
    CHECK_STR(t->name, "c");
    CHECK(t->skip == NULL && t->checks == NULL);
    CHECK_STR(t->groups, "");
    CHECK_EQ(t->limit_ns, 30000000000);
    CHECK_STR(t->arch, "x86_64");
    CHECK_STR(words_of(t), "run|--format=multiboot|--memory|128M|c.flat");
    t = t->next;
    CHECK_EQ(t->limit_ns, BATCH_NO_LIMIT);
    CHECK(t->arch == NULL);

    tap_case("limits may have units");
    CHECK_EQ(parse("[a]\nfile = a.flat\ntimeout = 2m\n"), 0);
    CHECK_EQ(batch.tests->limit_ns, 120000000000);
    CHECK_EQ(parse("[a]\nfile = a.flat\ntimeout = 123456789012345678901234567890\n"), 0);
    CHECK_STR(reason_of(batch.tests), "needs timeout = 123456789012345678901234567890");

    tap_case("a name that TAP would misread is refused here too");
    CHECK_EQ(parse("[a # b]\nfile = a.flat\n"), -1);
    CHECK_HAS(error.text, "a # in it");
}

int main(void)
{
    test_lines();
    test_refused();
    test_many();
    test_cfg();
    batchfile_free(&batch);
    free(text);
    return tap_done();
}
