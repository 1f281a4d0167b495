/* What a snapshot file is, beside reading and writing it. See snapfile.h. */
#include "hv/snapfile.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem/bytes.h"
#include "mem/format.h"

bool snapfile_is(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    uint8_t magic[8];
    struct stat st;
    bool is;

    if (fd < 0)
        return false;
    is = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
         load_le64(magic) == SNAP_MAGIC;
    close(fd);
    return is;
}

struct snap_cpu snapfile_host_cpu(void)
{
    struct snap_cpu cpu = {.vendor = ""};
    unsigned a, b, c, d;

    __cpuid(0, a, b, c, d);
    store_le32(cpu.vendor, b);
    store_le32(cpu.vendor + 4, d);
    store_le32(cpu.vendor + 8, c);
    __cpuid(1, a, b, c, d);
    cpu.signature = a;
    return cpu;
}

/* --- a file that shrinks under us ------------------------------------------------------------------------ */

static struct {
    struct region memory, copy;
    char line[512];
    size_t line_len;
} guarded;

static bool holds(const struct region *r, const void *p)
{
    return (uintptr_t)p - (uintptr_t)r->base < r->len;
}

/*
 * Only what may be called in a signal handler. The interrupted code cannot go
 * on: the bytes it was reading are gone.
 */
static void lost_page(int signum, siginfo_t *info, void *context)
{
    (void)context;
    if (holds(&guarded.memory, info->si_addr) || holds(&guarded.copy, info->si_addr)) {
        if (write(STDERR_FILENO, guarded.line, guarded.line_len) < 0) {
            /* Nobody is left to tell; the status says it too. */
        }
        _exit(STATUS_HOST);
    }
    /* Not ours: on return the access faults again, and that is the end. */
    signal(signum, SIG_DFL);
}

int snapfile_guard(const struct snapshot *s, const char *path, struct err *e)
{
    struct sigaction sa = {.sa_sigaction = lost_page, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&sa.sa_mask);
    guarded.memory.len = guarded.copy.len = 0;
    guarded.line_len =
        format_text(guarded.line, sizeof(guarded.line), "vmm: %.400s: shrank while it was in use\n", path);
    if (sigaction(SIGBUS, &sa, NULL) != 0)
        return err_host(e, "signals: cannot handle SIGBUS");
    guarded.memory = s->memory;
    return 0;
}

void snapfile_guard_copy(const struct region *r)
{
    guarded.copy.len = 0;
    guarded.copy.base = r->base;
    guarded.copy.len = r->len;
}
