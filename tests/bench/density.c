/*
 * What one more live clone of a 64 MB snapshot costs in memory of the process.
 *
 *   density [--clones N] [--kind KIND] [--first N] [--samples DIR] [--rows 0]
 *
 * Each clone is a process that was forked from one that has the snapshot's file mapped, as those of vmm restore
 * --copies are: it opens a VM, restores it, makes one call, which writes 3 pages, and stays while all are
 * counted. A sample is the PSS of all clones and that process, less that of one clone and it, per further
 * clone, less the pages that its guest wrote. Memory of the kernel's is not in it.
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "hv/kvm.h"
#include "hv/probe.h"
#include "tests/bench/called.h"
#include "tests/kvm/proc.h"

#define DATA_LEN   ((uint64_t)64 << 20)
#define DIRTY      3u
#define CLONES_MAX 4000u

static const char *const id = "clone-memory";

/* Die with the parent, and stay until it closes the other end of `wait`. */
static void be_clone(const struct snapshot *snap, int ready, int wait)
{
    const uint32_t dirty = DIRTY;
    struct err e = {.text = ""};
    static struct called c;
    char byte = 'n';
    int kvm_fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (kvm_open(&kvm_fd, &e) == 0 && called_open(&c, &e) == 0 && called_start(&c, snap, kvm_fd, &e) == 0 &&
        called_call(&c, "dirty", &dirty, NULL, &e) == 0)
        byte = 'y';
    else
        fprintf(stderr, "density: %s\n", e.text);
    if (write(ready, &byte, 1) != 1)
        _exit(1);
    while (read(wait, &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

static uint64_t pss_of(pid_t pid)
{
    uint64_t kib = 0;

    if (!proc_kib(pid, "smaps_rollup", "Pss:", &kib)) {
        fprintf(stderr, "density: no smaps_rollup of a clone\n");
        exit(1);
    }
    return kib;
}

/* What `n` clones and this process have, KiB; 0 when a clone failed. */
static uint64_t pss_with(const struct snapshot *snap, unsigned n)
{
    static pid_t pids[CLONES_MAX];
    int ready[2], wait[2];
    unsigned begun = 0, good = 0;
    uint64_t sum = 0;
    char byte;

    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(wait, O_CLOEXEC) != 0)
        return 0;
    fflush(stdout);
    while (begun < n) {
        pids[begun] = fork();
        if (pids[begun] == 0) {
            close(wait[1]);
            be_clone(snap, ready[1], wait[0]);
        }
        if (pids[begun] < 0)
            break;
        begun++;
    }
    close(ready[1]);
    close(wait[0]);
    for (unsigned i = 0; i < begun && read(ready[0], &byte, 1) == 1; i++)
        good += byte == 'y';
    if (good == n)
        sum = pss_of(getpid());
    for (unsigned i = 0; i < begun && good == n; i++)
        sum += pss_of(pids[i]);
    close(wait[1]);
    for (unsigned i = 0; i < begun; i++)
        waitpid(pids[i], NULL, 0);
    close(ready[0]);
    return sum;
}

static int take(const char *samples, const char *kind, unsigned clones, unsigned round)
{
    const struct called_guest g = {.samples = samples, .name = "dirty", .kind = kind, .heap_len = DATA_LEN};
    static struct snapshot snap;
    struct err e = {.text = ""};
    static struct called c;
    uint64_t one, all;
    int kvm_fd;

    if (kvm_open(&kvm_fd, &e) != 0 || called_open(&c, &e) != 0 ||
        called_capture(&c, &g, kvm_fd, &snap, &e) != 0) {
        rows_fail(id, kind, e.text);
        return 1;
    }
    /* There is one of these in a process, and each clone opens its own. */
    stop_close(&c.stop);
    close(kvm_fd);
    one = pss_with(&snap, 1);
    all = one != 0 ? pss_with(&snap, clones) : 0;
    if (all <= one) {
        rows_fail(id, kind, "not all clones came up");
        return 1;
    }
    rows_sample(id, kind, round, (double)(all - one) / (clones - 1) - DIRTY * 4.0);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned clones = (unsigned)rows_number(argc, argv, "--clones", 1000);
    unsigned rounds = (unsigned)rows_number(argc, argv, "--rounds", 1);
    const char *only = rows_word(argc, argv, "--kind", "");
    const struct guest_kind *k;
    struct err e = {.text = ""};
    int status = 0, kvm_fd = -1;
    char text[128];

    if (clones < 2 || clones > CLONES_MAX) {
        fprintf(stderr, "density: --clones is from 2 to %u\n", CLONES_MAX);
        return 64;
    }
    snprintf(text, sizeof(text),
             "user memory of a live clone of a 64 MB snapshot beyond what it wrote, %u clones", clones);
    if (rows_number(argc, argv, "--rows", 1) != 0)
        rows_row(id, "-", "KB", text);
    for (unsigned i = 0; rounds != 0 && (k = guest_kind_at(i)) != NULL; i++) {
        if (only[0] != '\0' && strcmp(only, k->name) != 0)
            continue;
        if (kvm_fd < 0 && kvm_open(&kvm_fd, &e) != 0)
            rows_skip(id, k->name, e.text);
        else if (strcmp(k->name, "i686") == 0 && probe_paging32(kvm_fd, &e) <= 0)
            rows_skip(id, k->name, "this KVM does not do 32-bit paging");
        else if (proc_open()) {
            status |= take(rows_word(argc, argv, "--samples", "build/i686-counter/samples"), k->name, clones,
                           (unsigned)rows_number(argc, argv, "--first", 0));
            proc_close();
        }
    }
    return status;
}
