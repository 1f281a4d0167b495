/* vmm pack: an initramfs that runs guests and nothing else. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "hv/cmd.h"
#include "hv/cpio.h"
#include "hv/file.h"
#include "hv/pid1.h"
#include "hv/save.h"
#include "hv/snapfile.h"
#include "hv/words.h"

#define SELF      "/proc/self/exe"
#define KMODS     "kmod"
#define LIST      "vmm.list"
#define FILES_MAX 1024

/* An initramfs that is being written. */
struct pack {
    const struct options *o;
    struct save to;
    struct cpio cpio;
    struct text args, list;
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Names in one folder, `own` among them: none may be there twice. */
static int check_names(char *const *paths, int n, const char *const *own, struct err *e)
{
    int i, j;

    for (i = 0; i < n; i++) {
        const char *name = base_name(paths[i]);

        if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            return err_usage(e, "pack: not the name of a file (%s)", paths[i]);
        for (j = 0; own[j] != NULL; j++)
            if (strcmp(own[j], name) == 0)
                return err_usage(e, "pack: %s would take the place of /%s", paths[i], name);
        for (j = 0; j < i; j++)
            if (strcmp(base_name(paths[j]), name) == 0)
                return err_usage(e, "pack: two files of one name (%s, %s)", paths[j], paths[i]);
    }
    return 0;
}

static int add_word(struct text *t, const char *folder, const char *word, const char *end, struct err *e)
{
    struct text whole = TEXT_EMPTY;
    bool quoted;

    text_add(&whole, "%s%s", folder, word);
    quoted = whole.failed || words_quote(t, whole.s);
    text_free(&whole);
    text_add(t, "%s", end);
    return quoted ? 0 : err_usage(e, "pack: a word that cannot be quoted (%s)", word);
}

/* The command line for one image, as one line of `t`. */
static int add_command(const struct options *o, const char *path, struct text *t, struct err *e)
{
    int i;

    text_add(t, "%s ", snapfile_is(path) ? "restore" : "run");
    for (i = 0; i < o->rest_n; i++)
        if (add_word(t, "", o->rest[i], " ", e) != 0)
            return -1;
    return add_word(t, "/", base_name(path), "\n", e);
}

/* What the init reads: modules, its end, and one command line or where the list of them is. */
static int make_args(struct pack *p, struct err *e)
{
    const struct options *o = p->o;
    unsigned k;
    int i;

    for (k = 0; k < o->kmods_n; k++)
        if (add_word(&p->args, "--kmod=/" KMODS "/", base_name(o->kmods[k]), "\n", e) != 0)
            return -1;
    if (o->on_exit != NULL)
        text_add(&p->args, "--on-exit=%s\n", o->on_exit);
    if (o->rest_n != 0 && o->rest[0][0] != '-') {
        for (i = 0; i < o->rest_n; i++)
            if (add_word(&p->args, "", o->rest[i], "\n", e) != 0)
                return -1;
        return 0;
    }
    if (o->operands_n == 1)
        return add_command(o, o->operands[0], &p->args, e);
    for (i = 0; i < o->operands_n; i++)
        if (add_command(o, o->operands[i], &p->list, e) != 0)
            return -1;
    text_add(&p->args, "--list=/" LIST "\n");
    return 0;
}

static int add_file(struct pack *p, const char *folder, const char *name, const char *path, unsigned mode,
                    struct err *e)
{
    struct text full = TEXT_EMPTY;
    struct file f;
    int result;

    if (file_read(path, CPIO_FILE_MAX, &f, e) != 0)
        return -1;
    text_add(&full, "%s%s", folder, name);
    result = full.failed ? err_set_errno(e, STATUS_HOST, ENOMEM, "host memory: %s", path)
                         : cpio_add(&p->cpio, full.s, S_IFREG | mode, f.map.base, f.len, e);
    text_free(&full);
    file_free(&f);
    return result;
}

static int add_all(struct pack *p, struct err *e)
{
    const struct options *o = p->o;
    unsigned k;
    int i;

    if (add_file(p, "", "init", SELF, 0755, e) != 0)
        return err_hint(e, "pack copies the running program, and finds it through /proc");
    if (cpio_add(&p->cpio, "dev", S_IFDIR | 0755, NULL, 0, e) != 0 ||
        cpio_add(&p->cpio, PID1_ARGS, S_IFREG | 0644, p->args.s, p->args.len, e) != 0 ||
        (p->list.len != 0 && cpio_add(&p->cpio, LIST, S_IFREG | 0644, p->list.s, p->list.len, e) != 0) ||
        (o->kmods_n != 0 && cpio_add(&p->cpio, KMODS, S_IFDIR | 0755, NULL, 0, e) != 0))
        return -1;
    for (k = 0; k < o->kmods_n; k++)
        if (add_file(p, KMODS "/", base_name(o->kmods[k]), o->kmods[k], 0644, e) != 0)
            return -1;
    for (i = 0; i < o->operands_n; i++)
        if (add_file(p, "", base_name(o->operands[i]), o->operands[i], 0644, e) != 0)
            return -1;
    return cpio_end(&p->cpio, e);
}

static int pack(struct pack *p, struct err *e)
{
    if (make_args(p, e) != 0)
        return -1;
    if (p->args.failed || p->list.failed)
        return err_memory(e, PID1_ARGS);
    if (save_begin(&p->to, p->o->output, 0, e) != 0)
        return -1;
    p->cpio.to = &p->to;
    if (add_all(p, e) == 0)
        return save_end(&p->to, 0644, e);
    save_cancel(&p->to);
    return -1;
}

int cmd_pack(const struct options *o, struct err *e)
{
    static const char *const own[] = {"init", "dev", "proc", "root", KMODS, LIST, PID1_ARGS, NULL};
    static const char *const none[] = {NULL};
    struct pack p = {.o = o};
    int result;

    if (o->output == NULL)
        return err_usage(e, "pack: no -o FILE given");
    if (o->operands_n > FILES_MAX)
        return err_usage(e, "pack: too many files (%d, at most %d)", o->operands_n, FILES_MAX);
    if (check_names(o->operands, o->operands_n, own, e) != 0 ||
        check_names((char *const *)o->kmods, (int)o->kmods_n, none, e) != 0)
        return -1;
    result = pack(&p, e);
    text_free(&p.args);
    text_free(&p.list);
    return result;
}
