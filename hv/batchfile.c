/* Reading the file of a batch. See batchfile.h. */
#include "hv/batchfile.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/args.h"
#include "hv/words.h"
#include "mem/format.h"

#define FIELDS_N        6
#define FLAT_MEMORY_MAX ((uint64_t)4076 << 20) /* what a bare kernel may have */
#define QUOTES          "\"\"\""               /* around a value of several lines */

/* A file that is being read. */
struct reader {
    char *at;
    unsigned line;
    struct batch batch;
    struct batch_test **last;
};

/* Cut the blanks off both ends. */
static char *trim(char *s)
{
    char *end = s + strlen(s);

    while (end > s && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    while (isspace((unsigned char)*s))
        s++;
    return s;
}

/* The next line, trimmed; NULL at the end of the text. */
static char *next_line(struct reader *r)
{
    char *line = r->at, *end = strchrnul(line, '\n');

    if (*line == '\0')
        return NULL;
    r->at = *end == '\0' ? end : end + 1;
    *end = '\0';
    r->line++;
    return trim(line);
}

/* A new test at the end of the batch. */
static struct batch_test *add_test(struct reader *r, const char *name, struct err *e)
{
    struct batch_test *t;

    /* TAP would take what follows for a directive. */
    if (name[0] == '\0' || strchr(name, '#') != NULL) {
        err_usage(e, "no name, or one with a # in it (%s)", name);
        return NULL;
    }
    if (r->batch.tests_n == BATCH_TESTS_MAX) {
        err_usage(e, "too many tests (limit %d)", BATCH_TESTS_MAX);
        return NULL;
    }
    t = (struct batch_test *)calloc(1, sizeof(*t));
    if (t == NULL) {
        err_memory(e, name);
        return NULL;
    }
    t->name = name;
    t->groups = t->text = "";
    *r->last = t;
    r->last = &t->next;
    r->batch.tests_n++;
    return t;
}

/* --- a file of our own ----------------------------------------------------------------------------- */

/* The text, which is the last but one, may hold a | of its own. */
static bool split_fields(char *line, char *fields[FIELDS_N])
{
    char *last = strrchr(line, '|'), *bar;
    unsigned i;

    for (i = 0; i < FIELDS_N - 1; i++) {
        bar = i < FIELDS_N - 2 ? strchr(line, '|') : last;
        if (bar == NULL || bar > last || (i < FIELDS_N - 2 && bar == last))
            return false;
        *bar = '\0';
        fields[i] = trim(line);
        line = bar + 1;
    }
    fields[i] = trim(line);
    return true;
}

static int take_test(struct reader *r, char *line, struct err *e)
{
    char *fields[FIELDS_N];
    struct batch_test *t;
    uint64_t status = 0;

    if (!split_fields(line, fields))
        return err_usage(e, "not \"name | groups | status | limit | text | command line\"");
    t = add_test(r, fields[0], e);
    if (t == NULL)
        return -1;
    if (fields[2][0] != '\0' && args_number("status", fields[2], 255, &status, e) != 0)
        return err_usage(e, "not a status (%s, wanted 0 to 255)", fields[2]);
    if (fields[3][0] != '\0' && args_duration("limit", fields[3], &t->limit_ns, e) != 0)
        return err_usage(e, "not a limit (%s, wanted a number and ms, s or m)", fields[3]);
    t->groups = fields[1];
    t->status = (unsigned)status;
    t->text = fields[4];
    if (strlen(t->text) > BATCH_TEXT_MAX)
        return err_usage(e, "the text is too long (limit %d bytes)", BATCH_TEXT_MAX);
    t->words_n = words_split(fields[5], t->words, BATCH_WORDS_MAX);
    if (t->words_n == WORDS_UNCLOSED)
        return err_usage(e, "a quote has no end");
    if (t->words_n == WORDS_TOO_MANY)
        return err_usage(e, "too many words (limit %d)", BATCH_WORDS_MAX);
    if (t->words_n == 0)
        return err_usage(e, "no command line");
    if (strcmp(t->words[0], "batch") == 0)
        return err_usage(e, "a batch does not run batches");
    return 0;
}

/* --- unittests.cfg ----------------------------------------------------------------------------------- */

enum key {
    KEY_FILE,
    KEY_SMP,
    KEY_PARAMS,
    KEY_ARGS,
    KEY_ARCH,
    KEY_GROUPS,
    KEY_TIMEOUT,
    KEY_CHECK,
    KEY_ACCEL,
    KEYS_N
};

/* One section: the values as they stand in the file, NULL where there is none. */
struct section {
    char *name, *values[KEYS_N];
};

/* The value that goes on to the next three quotes, over as many lines as that takes. */
static char *join_lines(struct reader *r, char *value)
{
    char *at;

    for (at = value; strncmp(at, QUOTES, 3) != 0; at++) {
        char *end = at;

        if (*at == '\\' && at[1] == '\0')
            *at = ' ';
        if (*at != '\0')
            continue;
        at = next_line(r);
        if (at == NULL)
            return value;
        memset(end, ' ', (size_t)(at - end));
        at--;
    }
    *at = '\0';
    return value;
}

/* Take "key = value"; what is not known is passed over, as kvm-unit-tests does. */
static void take_value(struct reader *r, struct section *s, char *line)
{
    static const struct {
        char name[13];
        unsigned char key;
    } keys[] = {
        {"file", KEY_FILE},          {"smp", KEY_SMP},         {"extra_params", KEY_PARAMS},
        {"qemu_params", KEY_PARAMS}, {"test_args", KEY_ARGS},  {"arch", KEY_ARCH},
        {"groups", KEY_GROUPS},      {"timeout", KEY_TIMEOUT}, {"check", KEY_CHECK},
        {"accel", KEY_ACCEL},
    };
    char *value = strchr(line, '=');
    unsigned i;

    if (value == NULL)
        return;
    *value = '\0';
    line = trim(line);
    value = trim(value + 1);
    if (strncmp(value, QUOTES, 3) == 0)
        value = join_lines(r, value + 3);
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(line, keys[i].name) == 0)
            s->values[keys[i].key] = value;
}

static void cannot(struct batch_test *t, const char *why, const char *what)
{
    t->skip = why;
    t->skip_what = what;
    t->words_n = 0;
    t->words[0] = NULL;
}

/* QEMU's -m, in MiB or with a suffix, as an option of ours. */
static bool take_memory(struct batch_test *t, const char *value)
{
    size_t len = strlen(value);
    char last = len != 0 ? value[len - 1] : '\0';
    struct err ignored;
    uint64_t bytes;

    if (len > sizeof(t->made) - 2)
        return false;
    format_text(t->made, sizeof(t->made), "%s%s", value, isdigit((unsigned char)last) ? "M" : "");
    if (last == 'g' || last == 'm')
        t->made[len - 1] = (char)(last - 'a' + 'A');
    return args_size("memory", t->made, &bytes, &ignored) == 0 && bytes <= FLAT_MEMORY_MAX;
}

/* QEMU's names for the CPU that is there. */
static bool is_this_cpu(const char *name)
{
    return strcmp(name, "max") == 0 || strcmp(name, "host") == 0 || strcmp(name, "host,migratable=no") == 0;
}

/* What of QEMU's command line can be said to vmm. */
static void take_params(struct batch_test *t, char *params, char *file, char *append)
{
    char *words[BATCH_WORDS_MAX + 1];
    int i, n = words_split(params, words, BATCH_WORDS_MAX);

    for (i = 0; i < n; i++) {
        const char *word = words[i] + (words[i][0] == '-' && words[i][1] == '-'), *value = words[i + 1];

        if (strcmp(word, "-enable-kvm") == 0)
            continue;
        if (value != NULL && strcmp(word, "-append") == 0)
            append = words[++i];
        else if (value != NULL && ((strcmp(word, "-m") == 0 && take_memory(t, value)) ||
                                   (strcmp(word, "-cpu") == 0 && is_this_cpu(value))))
            i++;
        else
            return cannot(t, "needs QEMU's ", strcmp(word, "-cpu") == 0 && value != NULL ? value : word);
    }
    if (n < 0)
        return cannot(t, "parameters that cannot be read", "");
    t->words_n = 0;
    t->words[t->words_n++] = (char *)"run";
    t->words[t->words_n++] = (char *)"--format=multiboot";
    t->words[t->words_n++] = (char *)"--memory";
    t->words[t->words_n++] = t->made[0] != '\0' ? t->made : (char *)"128M";
    if (append != NULL) {
        t->words[t->words_n++] = (char *)"--append";
        t->words[t->words_n++] = append;
    }
    t->words[t->words_n++] = file;
}

static void take_timeout(struct batch_test *t, const char *value)
{
    size_t len = strlen(value);
    struct err ignored;
    char text[16];

    format_text(text, sizeof(text), "%s%s", value,
                len != 0 && isdigit((unsigned char)value[len - 1]) ? "s" : "");
    if (strcmp(value, "0") == 0)
        t->limit_ns = BATCH_NO_LIMIT;
    else if (len > sizeof(text) - 2 || args_duration("timeout", text, &t->limit_ns, &ignored) != 0)
        cannot(t, "needs timeout = ", value);
}

/* The section has ended: make a test of it. */
static int take_section(struct reader *r, const struct section *s, struct err *e)
{
    static char none[1];
    char *const *v = s->values, *params = v[KEY_PARAMS] != NULL ? v[KEY_PARAMS] : none;
    const char *arch = v[KEY_ARCH], *args = v[KEY_ARGS];
    char *append[2] = {NULL};
    struct batch_test *t;

    if (s->name == NULL)
        return 0;
    t = add_test(r, s->name, e);
    if (t == NULL)
        return -1;
    t->flat = true;
    t->status = 1; /* isa-debug-exit's way to say 0 */
    t->groups = v[KEY_GROUPS] != NULL ? v[KEY_GROUPS] : "";
    t->checks = v[KEY_CHECK];
    t->arch = arch;
    if (v[KEY_FILE] == NULL)
        cannot(t, "has no ", "file");
    else if (arch != NULL && strcmp(arch, "i386") != 0 && strcmp(arch, "x86_64") != 0)
        cannot(t, "is for ", arch);
    else if (v[KEY_ACCEL] != NULL && strcmp(v[KEY_ACCEL], "kvm") != 0)
        cannot(t, "needs accel = ", v[KEY_ACCEL]);
    else if (v[KEY_SMP] != NULL && strcmp(v[KEY_SMP], "1") != 0)
        cannot(t, "needs smp = ", v[KEY_SMP]);
    else if (batchfile_in_group(t, "migration") || batchfile_in_group(t, "panic"))
        cannot(t, "is of group ", t->groups);
    else if (strchr(params, '`') != NULL || strchr(params, '$') != NULL)
        cannot(t, "needs a shell for ", params);
    else if (args != NULL && words_split(v[KEY_ARGS], append, 1) != 1)
        cannot(t, "needs test_args = ", args);
    else
        take_params(t, params, v[KEY_FILE], append[0]);
    if (t->skip == NULL && v[KEY_TIMEOUT] != NULL)
        take_timeout(t, v[KEY_TIMEOUT]);
    return 0;
}

/* --- both -------------------------------------------------------------------------------------------- */

static int read_tests(struct reader *r, struct err *e)
{
    struct section s = {.name = NULL};
    bool is_cfg = false;
    char *line;

    while ((line = next_line(r)) != NULL) {
        size_t len = strlen(line);

        if (len == 0 || *line == '#')
            continue;
        is_cfg = is_cfg || (r->batch.tests_n == 0 && *line == '[');
        if (is_cfg && *line == '[' && line[len - 1] == ']') {
            if (take_section(r, &s, e) != 0)
                return -1;
            line[len - 1] = '\0';
            s = (struct section){.name = line + 1};
        } else if (is_cfg) {
            take_value(r, &s, line);
        } else if (take_test(r, line, e) != 0) {
            return -1;
        }
    }
    return take_section(r, &s, e);
}

int batchfile_parse(char *text, size_t len, struct batch *out, struct err *e)
{
    struct reader r = {.at = text};

    r.last = &r.batch.tests;
    if (memchr(text, '\0', len) != NULL)
        return err_usage(e, "not text (it holds a NUL byte)");
    if (read_tests(&r, e) != 0) {
        batchfile_free(&r.batch);
        return err_wrap(e, "line %u", r.line);
    }
    *out = r.batch;
    return 0;
}

void batchfile_free(struct batch *b)
{
    while (b->tests != NULL) {
        struct batch_test *t = b->tests;

        b->tests = t->next;
        free(t);
    }
    b->tests_n = 0;
}

bool batchfile_in_group(const struct batch_test *t, const char *group)
{
    size_t len = strlen(group);
    const char *word = t->groups, *s;

    for (s = word;; s++) {
        if (*s != '\0' && *s != ',' && !isblank((unsigned char)*s))
            continue;
        if (s != word && (size_t)(s - word) == len && memcmp(word, group, len) == 0)
            return true;
        if (*s == '\0')
            return false;
        word = s + 1;
    }
}
