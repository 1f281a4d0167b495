/* The first process of a machine; see pid1.h for the contract. */
#include "hv/pid1.h"

#include <errno.h>
#include <fcntl.h>
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

#include "mem/assert.h"
#include "mem/format.h"

#define GRACE_MS              5000 /* between asking a command to end and giving up on it */

#define STATUS_CANNOT_EXECUTE 126

struct list {
    char text[PID1_LIST_LEN_MAX + 1]; /* lines end in NUL; comments and outer blanks are cut off */
    const char *lines[PID1_LINES_MAX];
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

int pid1_parse(int argc, char **argv, struct pid1_options *out, struct err *e)
{
    struct pid1_options o = {.self = argc > 0 ? argv[0] : "/init", .limit_ms = PID1_LIMIT_MS};
    int first = 1;

    while (first < argc && argv[first][0] != '-')
        first++;
    if (first == argc)
        first = 1;
    for (int i = first; i < argc; i++) {
        const char *kmod = value_of(argv[i], "--kmod");
        const char *list = value_of(argv[i], "--list");

        if (kmod == NULL && list == NULL)
            return err_set(e, STATUS_USAGE,
                           "init: unknown word \"%s\" on the kernel's command line "
                           "(known after --: --kmod=PATH, --list=PATH)",
                           argv[i]);
        if (kmod != NULL ? *kmod == '\0' : *list == '\0')
            return err_set(e, STATUS_USAGE, "init: %s needs a path", argv[i]);
        if (kmod != NULL && o.kmods_n == PID1_KMODS_MAX)
            return err_set(e, STATUS_USAGE, "init: too many --kmod (limit %d)", PID1_KMODS_MAX);
        if (list != NULL && o.list != NULL)
            return err_set(e, STATUS_USAGE, "init: --list given twice");
        if (kmod != NULL)
            o.kmods[o.kmods_n++] = kmod;
        else
            o.list = list;
    }
    *out = o;
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

static void load_module(const char *path, const struct speaker *s)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1) {
        speak(s, "vmm: %s: cannot open module: %s", path, strerror(errno));
        return;
    }
    if (syscall(SYS_finit_module, fd, "", 0) == -1) {
        /* ENOENT here is about a symbol, and its usual text would send the reader after a file. */
        if (errno == ENOENT)
            speak(s,
                  "vmm: %s: cannot load module: a symbol it needs is missing (is a module it depends on "
                  "loaded before it?)",
                  path);
        else if (errno != EEXIST)
            speak(s, "vmm: %s: cannot load module: %s", path, strerror(errno));
    }
    close(fd);
}

/* --- the list ------------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/*
 * Cut the next word out of *at. Returns NULL at the end of the line, else the
 * word, with its length in *len and *at behind it.
 */
static const char *next_word(const char **at, size_t *len)
{
    const char *word = *at;
    const char *end;

    while (is_blank(*word))
        word++;
    if (*word == '\0' || *word == '#')
        return NULL;
    for (end = word; *end != '\0' && !is_blank(*end); end++)
        ;
    *at = end;
    *len = (size_t)(end - word);
    return word;
}

/* Take one line, NUL-terminated, into the list; `number` is its place in the file. */
static int take_line(struct list *l, char *line, unsigned number, struct err *e)
{
    const char *at = line;
    size_t len = 0;
    unsigned words_n = 0;

    while (next_word(&at, &len) != NULL)
        words_n++;
    if (words_n == 0)
        return 0;
    if (words_n > PID1_WORDS_MAX)
        return err_set(e, STATUS_USAGE, "line %u: too many words (%u, limit %d)", number, words_n,
                       PID1_WORDS_MAX);
    if (l->lines_n == PID1_LINES_MAX)
        return err_set(e, STATUS_USAGE, "line %u: too many commands (limit %d)", number, PID1_LINES_MAX);
    line[at - line] = '\0'; /* behind the last word */
    while (is_blank(*line))
        line++;
    l->lines[l->lines_n++] = line;
    return 0;
}

/* Split the first `len` bytes of l->text into commands. */
static int split_list(struct list *l, size_t len, struct err *e)
{
    char *line = l->text;
    unsigned number = 1;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)l->text[i];

        if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
            return err_set(e, STATUS_USAGE, "line %u: not text (byte 0x%02x)", number, c);
        if (c != '\n')
            continue;
        l->text[i] = '\0';
        if (take_line(l, line, number, e) != 0)
            return -1;
        line = l->text + i + 1;
        number++;
    }
    l->text[len] = '\0';
    return take_line(l, line, number, e);
}

/* Fill l->text from the file and set *len. */
static int read_text(const char *path, struct list *l, size_t *len, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    ssize_t got = -1;

    if (fd == -1)
        return err_set_errno(e, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_HOST, errno, "cannot open");
    while (have < sizeof(l->text)) {
        got = read(fd, l->text + have, sizeof(l->text) - have);
        if (got == -1 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    if (got == -1)
        err_set_errno(e, STATUS_HOST, errno, "cannot read");
    close(fd);
    if (got == -1)
        return -1;
    if (have > PID1_LIST_LEN_MAX)
        return err_set(e, STATUS_USAGE, "list too long (limit %d bytes)", PID1_LIST_LEN_MAX);
    *len = have;
    return 0;
}

/* *out is the caller's to free. */
static int read_list(const char *path, struct list **out, struct err *e)
{
    struct list *l = (struct list *)calloc(1, sizeof(*l));
    size_t len = 0;

    if (l == NULL)
        return err_set(e, STATUS_HOST, "%s: out of memory", path);
    if (read_text(path, l, &len, e) != 0 || split_list(l, len, e) != 0) {
        free(l);
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

/* In the child: become the command. `line` has 1 to PID1_WORDS_MAX words. */
static void become(const char *self, const char *line, const sigset_t *mask, const struct speaker *s)
{
    char *argv[PID1_WORDS_MAX + 2];
    const char *at = line;
    const char *word;
    size_t len = 0;
    unsigned argc = 0;
    int errnum;

    if (*line != '/')
        argv[argc++] = strdup(self);
    while ((word = next_word(&at, &len)) != NULL)
        argv[argc++] = strndup(word, len);
    argv[argc] = NULL;
    assert(argc > 0);
    for (unsigned i = 0; i < argc; i++)
        if (argv[i] == NULL) {
            speak(s, "vmm: out of memory");
            _exit(STATUS_CANNOT_EXECUTE);
        }

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
    uint64_t deadline = now_ms() + o->limit_ms;
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
                speak(s, "vmm: command %u: killed (ran longer than %u ms)", n, o->limit_ms);
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

static void run_command(const struct pid1_options *o, const char *line, unsigned n, const sigset_t *set,
                        const sigset_t *outer, int *stop, const struct speaker *s)
{
    int status = STATUS_CANNOT_EXECUTE;
    pid_t pid;

    speak(s, "BEGIN %u %s", n, line);
    pid = _Fork();
    if (pid == 0)
        become(o->self, line, outer, s);
    else if (pid == -1)
        speak(s, "vmm: command %u: cannot fork: %s", n, strerror(errno));
    else
        status = wait_command(o, pid, n, set, stop, s);
    speak(s, "EXIT %u %d", n, status);
}

int pid1_run_list(const struct pid1_options *o, pid1_say *say, void *ctx, struct err *e)
{
    const struct speaker s = {say, ctx};
    struct list *l = NULL;
    sigset_t set;
    sigset_t outer;
    unsigned n = 0;
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

    while (l != NULL && n < l->lines_n && stop == 0) {
        n++;
        run_command(o, l->lines[n - 1], n, &set, &outer, &stop, &s);
    }
    speak(&s, "END %u", n);
    sigprocmask(SIG_SETMASK, &outer, NULL);
    free(l);
    return 0;
}

int pid1_run(const struct pid1_options *o, pid1_say *say, void *ctx, struct err *e)
{
    const struct speaker s = {say, ctx};

    pid1_open_console();
    for (unsigned i = 0; i < o->kmods_n; i++)
        load_module(o->kmods[i], &s);
    return pid1_run_list(o, say, ctx, e);
}

void pid1_end(void)
{
    tcdrain(1);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}
