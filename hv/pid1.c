/* The first process of a machine; see pid1.h for the contract. */
#include "hv/pid1.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "hv/args.h"
#include "hv/file.h"
#include "hv/words.h"
#include "mem/format.h"

#define GRACE_MS              5000 /* between asking a command to end and giving up on it */

#define STATUS_CANNOT_EXECUTE 126

/* A file as words, and as lines of them. */
struct list {
    char *text;
    char *words[PID1_LIST_LEN_MAX / 2 + PID1_LINES_MAX + 2]; /* each line's end with NULL */
    char **lines[PID1_LINES_MAX];
    unsigned lines_n;
};

struct speaker {
    pid1_say *say;
    void *ctx;
};

/* --- descriptors and devices --------------------------------------------------------------------- */

bool pid1_is_init(void)
{
    return getpid() == 1 && reboot(RB_DISABLE_CAD) == 0;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/*
 * The kernel mounts devtmpfs by itself only where it mounts a root, not over an
 * initramfs. Without devtmpfs in the kernel the nodes are made by hand.
 */
static void fill_dev(void)
{
    static const struct {
        const char *path;
        unsigned major, minor;
        mode_t mode;
    } nodes[] = {
        {"/dev/console", 5, 1, 0600},
        {"/dev/null", 1, 3, 0666},
        {"/dev/kvm", 10, 232, 0600},
    };

    if (exists("/dev/null") && exists("/dev/kvm"))
        return;
    mkdir("/dev", 0755);
    if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755") == 0 || errno == EBUSY)
        return;
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        mknod(nodes[i].path, S_IFCHR | nodes[i].mode, makedev(nodes[i].major, nodes[i].minor));
}

void pid1_open_console(void)
{
    static const struct {
        const char *path;
        int flags;
    } choices[] = {
        {"/dev/console", O_RDWR | O_NOCTTY},
        {"/dev/null", O_RDWR},
        {"/", O_RDONLY | O_DIRECTORY},
    };

    fill_dev();
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) != -1)
            continue;
        /* An open takes the lowest free descriptor, and those below are all open by now. */
        for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++)
            if (open(choices[i].path, choices[i].flags) != -1) /* NOLINT: stays open in every child */
                break;
    }
}

/* --- command line -------------------------------------------------------------------------------- */

/* The value of `word` if it is `name`=value, else NULL. */
static const char *value_of(const char *word, const char *name)
{
    size_t len = strlen(name);

    return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

const char *const pid1_ends[] = {"poweroff", "reboot", "halt", "panic", NULL};

/* The words argv[i] to argv[argc - 1]. */
static int parse_words(int i, int argc, char **argv, pid1_is_command *is_command, struct pid1_options *io,
                       struct err *e)
{
    struct pid1_options o = *io;
    bool has_list = false;
    uint64_t limit_ns;
    int end;

    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *kmod = value_of(argv[i], "--kmod"), *list = value_of(argv[i], "--list");
        const char *limit = value_of(argv[i], "--limit"), *on_exit = value_of(argv[i], "--on-exit");

        if (kmod == NULL && list == NULL && limit == NULL && on_exit == NULL)
            return err_usage(e,
                             "init: unknown word \"%s\" (known: --kmod=PATH, --list=PATH, --limit=DURATION, "
                             "--on-exit=poweroff|reboot|halt|panic)",
                             argv[i]);
        if ((kmod != NULL && *kmod == '\0') || (list != NULL && *list == '\0'))
            return err_usage(e, "init: %s needs a path", argv[i]);
        if (kmod != NULL && o.kmods_n == PID1_KMODS_MAX)
            return err_usage(e, "init: too many --kmod (limit %d)", PID1_KMODS_MAX);
        if (list != NULL && has_list)
            return err_usage(e, "init: --list given twice");
        if (kmod != NULL) {
            o.kmods[o.kmods_n++] = kmod;
        } else if (list != NULL) {
            o.list = list;
            o.command = NULL;
            has_list = true;
        } else if (limit != NULL) {
            if (args_duration("limit", limit, &limit_ns, e) != 0)
                return err_wrap(e, "init");
            o.limit_ms = limit_ns / 1000000;
        } else {
            for (end = 0; pid1_ends[end] != NULL && strcmp(on_exit, pid1_ends[end]) != 0; end++)
                ;
            if (pid1_ends[end] == NULL)
                return err_usage(e, "init: unknown choice (%s, wanted poweroff, reboot, halt or panic)",
                                 argv[i]);
            o.end = (enum pid1_end)end;
        }
    }
    if (i < argc && argv[i][0] != '/' && !is_command(argv[i]))
        return err_usage(e, "init: unknown command \"%s\"", argv[i]);
    if (i < argc && has_list)
        return err_usage(e, "init: --list and a command do not go together");
    if (argc - i > PID1_WORDS_MAX)
        return err_usage(e, "init: too many words (limit %d)", PID1_WORDS_MAX);
    if (i < argc) {
        o.command = argv + i;
        o.list = NULL;
    }
    *io = o;
    return 0;
}

int pid1_parse(int argc, char **argv, pid1_is_command *is_command, struct pid1_options *io, struct err *e)
{
    int i = 1;

    while (i < argc && argv[i][0] != '-' && argv[i][0] != '/' && !is_command(argv[i]))
        i++;
    return parse_words(i, argc, argv, is_command, io, e);
}

int pid1_read(const char *path, pid1_is_command *is_command, struct pid1_options *io, struct err *e)
{
    enum { WORDS_MAX = PID1_WORDS_MAX + PID1_KMODS_MAX + 3 };
    struct pid1_options o = *io;
    size_t len;
    int n;

    if (!exists(path))
        return 0;
    if (file_read_text(path, PID1_LIST_LEN_MAX, &o.text, &len, e) != 0)
        return -1;
    o.words = (char **)calloc(WORDS_MAX + 1, sizeof(*o.words));
    n = o.words == NULL ? WORDS_TOO_MANY : words_split(o.text, o.words, WORDS_MAX);
    if (n < 0)
        err_usage(e, n == WORDS_UNCLOSED ? "a quote has no end" : "too many words");
    if (n < 0 || parse_words(0, n, o.words, is_command, &o, e) != 0) {
        free(o.words);
        free(o.text);
        return err_wrap(e, "%s", path);
    }
    *io = o;
    return 0;
}

/* --- modules ------------------------------------------------------------------------------------- */

static void speak(const struct speaker *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void speak(const struct speaker *s, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    format_text_v(line, sizeof(line), fmt, ap);
    va_end(ap);
    s->say(s->ctx, line);
}

/* -1 only for a module that is not there: without the others all may still be well. */
static int load_module(const char *path, const struct speaker *s, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int errnum = errno;

    if (fd == -1)
        return err_set_errno(e, STATUS_UNSUPPORTED, errnum, "%s: cannot open module", path);
    if (syscall(SYS_finit_module, fd, "", 0) == -1 && errno != EEXIST) {
        /* ENOENT here is about a symbol, and its usual text would send the reader after a file. */
        speak(s, "vmm: %s: cannot load module: %s", path,
              errno != ENOENT ? strerror(errno)
                              : "a symbol it needs is missing (is a module it depends on loaded before it?)");
    }
    close(fd);
    return 0;
}

/* --- the list ------------------------------------------------------------------------------------ */

static void free_list(struct list *l)
{
    if (l != NULL)
        free(l->text);
    free(l);
}

/* Take one line, NUL-terminated, into the list, its words to *words; `number` is its place in the file. */
static int take_line(struct list *l, char *line, unsigned number, char ***words, struct err *e)
{
    int n = words_split(line, *words, PID1_WORDS_MAX);

    if (n == WORDS_UNCLOSED)
        return err_usage(e, "line %u: a quote has no end", number);
    if (n == WORDS_TOO_MANY)
        return err_usage(e, "line %u: too many words (limit %d)", number, PID1_WORDS_MAX);
    if (n == 0)
        return 0;
    if (l->lines_n == PID1_LINES_MAX)
        return err_usage(e, "line %u: too many commands (limit %d)", number, PID1_LINES_MAX);
    l->lines[l->lines_n++] = *words;
    *words += n + 1;
    return 0;
}

/* Split the first `len` bytes of l->text into commands. */
static int split_list(struct list *l, size_t len, struct err *e)
{
    char *line = l->text, **words = l->words;
    unsigned number = 1;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)l->text[i];

        if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
            return err_usage(e, "line %u: not text (byte 0x%02x)", number, c);
        if (c != '\n')
            continue;
        l->text[i] = '\0';
        if (take_line(l, line, number, &words, e) != 0)
            return -1;
        line = l->text + i + 1;
        number++;
    }
    l->text[len] = '\0';
    return take_line(l, line, number, &words, e);
}

/* *out is the caller's to free. */
static int read_list(const char *path, struct list **out, struct err *e)
{
    struct list *l = (struct list *)calloc(1, sizeof(*l));
    size_t len = 0;

    if (l == NULL)
        return err_memory(e, path);
    if (file_read_text(path, PID1_LIST_LEN_MAX, &l->text, &len, e) != 0) {
        free(l);
        return -1;
    }
    if (split_list(l, len, e) != 0) {
        free_list(l);
        return err_wrap(e, "%s", path);
    }
    *out = l;
    return 0;
}

/* --- one command --------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* In the child: become the command, of 1 to PID1_WORDS_MAX words. */
static void become(const char *self, char *const *words, const sigset_t *mask, const struct speaker *s)
{
    char *argv[PID1_WORDS_MAX + 2] = {(char *)self};
    unsigned argc = words[0][0] != '/';
    int errnum;

    while (*words != NULL)
        argv[argc++] = *words++;
    setsid();
    sigprocmask(SIG_SETMASK, mask, NULL); /* a blocked signal would stay blocked in the new program */
    execv(argv[0], argv);
    errnum = errno;
    speak(s, "vmm: %s: cannot execute: %s", argv[0], strerror(errnum));
    _exit(errnum == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_EXECUTE);
}

/*
 * Reap every child that has ended. True when `pid` was among them, with its
 * status in *status. What `pid` left in its session is killed before it is
 * reaped: until then nobody else can have its number.
 */
static bool reap(pid_t pid, int *status)
{
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        int raw = 0;

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1 || info.si_pid == 0)
            return false;
        if (info.si_pid == pid)
            kill(-pid, SIGKILL);
        if (waitpid(info.si_pid, &raw, 0) == info.si_pid && info.si_pid == pid) {
            *status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
            return true;
        }
    }
}

/* Wait for one of the signals in `set` or until `deadline` (now_ms); 0 when the time is up. */
static int wait_signal(const sigset_t *set, uint64_t deadline)
{
    uint64_t now = now_ms();
    uint64_t left = deadline > now ? deadline - now : 0;
    struct timespec t = {.tv_sec = (time_t)(left / 1000), .tv_nsec = (long)(left % 1000) * 1000000};
    int sig = sigtimedwait(set, NULL, &t);

    return sig == -1 ? 0 : sig;
}

static void signal_command(pid_t pid, int sig)
{
    kill(pid, sig); /* it may not have made its session yet */
    kill(-pid, sig);
}

/* Wait until command `n` has ended and return its status. *stop becomes the signal that asks to end the list.
 */
static int wait_command(const struct pid1_options *o, pid_t pid, unsigned n, const sigset_t *set, int *stop,
                        const struct speaker *s)
{
    uint64_t deadline = o->limit_ms != 0 ? now_ms() + o->limit_ms : UINT64_MAX;
    bool killed = false;
    int status = 128 + SIGKILL;

    while (!reap(pid, &status)) {
        int sig = wait_signal(set, deadline);

        if (sig == SIGTERM || sig == SIGINT) {
            if (*stop == 0 && !killed)
                deadline = now_ms() + GRACE_MS;
            *stop = sig;
            signal_command(pid, sig);
        } else if (now_ms() < deadline) {
            continue;
        } else if (!killed) {
            if (*stop != 0)
                speak(s, "vmm: command %u: killed (still running %d ms after signal %d)", n, GRACE_MS, *stop);
            else
                speak(s, "vmm: command %u: killed (ran longer than %" PRIu64 " ms)", n, o->limit_ms);
            signal_command(pid, SIGKILL);
            killed = true;
            deadline = now_ms() + GRACE_MS;
        } else {
            speak(s, "vmm: command %u: left behind (still there %d ms after it was killed)", n, GRACE_MS);
            break;
        }
    }
    return status;
}

/* What is said of the commands of a list. */
static void announce(unsigned n, char *const *words, const struct speaker *s)
{
    struct text t = TEXT_EMPTY;

    text_add(&t, "BEGIN %u", n);
    for (; *words != NULL; words++)
        text_add(&t, " %s", *words);
    speak(s, "%s", t.failed ? "BEGIN" : t.s);
    text_free(&t);
}

static int run_command(const struct pid1_options *o, char *const *words, unsigned n, const sigset_t *set,
                       const sigset_t *outer, int *stop, const struct speaker *s)
{
    pid_t pid = _Fork();

    if (pid == 0)
        become(o->self, words, outer, s);
    if (pid != -1)
        return wait_command(o, pid, n, set, stop, s);
    speak(s, "vmm: command %u: cannot fork: %s", n, strerror(errno));
    return STATUS_CANNOT_EXECUTE;
}

/* The commands of a list, between lines that say where the output of each begins and ends. */
static int run_list(const struct pid1_options *o, const struct list *l, const sigset_t *set,
                    const sigset_t *outer, const struct speaker *s)
{
    unsigned n = 0;
    int stop = 0, worst = 0;

    while (l != NULL && n < l->lines_n && stop == 0) {
        char *const *words = l->lines[n++];
        int status;

        announce(n, words, s);
        status = run_command(o, words, n, set, outer, &stop, s);
        speak(s, "EXIT %u %d", n, status);
        if (status != 0 && (worst == 0 || worst == STATUS_UNSUPPORTED))
            worst = status;
    }
    speak(s, "END %u", n);
    return worst;
}

int pid1_run_commands(const struct pid1_options *o, pid1_say *say, void *ctx, int *status, struct err *e)
{
    const struct speaker s = {say, ctx};
    struct list *l = NULL;
    sigset_t set;
    sigset_t outer;
    int stop = 0;

    if (o->list != NULL && read_list(o->list, &l, e) != 0)
        return -1;

    /* Blocked signals wait for sigtimedwait; an init would otherwise never get those it has no handler for.
     */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, &outer);
    if (o->command != NULL)
        *status = run_command(o, o->command, 1, &set, &outer, &stop, &s);
    else
        *status = run_list(o, l, &set, &outer, &s);
    sigprocmask(SIG_SETMASK, &outer, NULL);
    free_list(l);
    return 0;
}

int pid1_run(const struct pid1_options *o, pid1_say *say, void *ctx, int *status, struct err *e)
{
    const struct speaker s = {say, ctx};

    pid1_open_console();
    for (unsigned i = 0; i < o->kmods_n; i++)
        if (load_module(o->kmods[i], &s, e) != 0)
            return -1;
    return pid1_run_commands(o, say, ctx, status, e);
}

/* The way to a panic that is one on purpose: to end the init would be another, and look like a crash. */
static void panic(void)
{
    int fd;

    if (!exists("/proc/sysrq-trigger")) {
        mkdir("/proc", 0555);
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
    }
    fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (fd != -1 && write(fd, "c", 1) == 1)
        poll(NULL, 0, 1000);
}

void pid1_end(enum pid1_end end)
{
    static const int ways[] = {RB_POWER_OFF, RB_AUTOBOOT, RB_HALT_SYSTEM, RB_POWER_OFF};

    tcdrain(1);
    sync();
    if (end == PID1_PANIC)
        panic();
    reboot(ways[end]);
    for (;;)
        pause();
}
