/*
 * What one more live clone of a 64 MB snapshot costs in memory of the process.
 *
 *   density [--clones N] [--kind KIND] [--first N] [--samples DIR] [--rows 0]
 *
 * Each clone is a process that was forked from one that has the snapshot's file mapped, as those of vmm restore
 * --copies are: it opens a VM, restores it, makes one call, which writes to 3 pages of the heap, and stays
 * while all are counted. A sample is the PSS of all clones and that process, less that of one clone and it, per
 * further clone, less the pages that were written in it. Memory of the kernel's is not in it.
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
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

/* How many pages were written in it, by its guest and for it: KVM and the view of its memory tell. */
static int32_t dirty_pages(struct called *c, struct err *e)
{
    uint32_t n = 0;

    if (track_look(&c->vm.track, e) != 0)
        return -1;
    for (unsigned i = 0; i < c->vm.track.areas_n; i++)
        n += c->vm.track.area[i].touched.n;
    return (int32_t)n;
}

/* Die with the parent, and stay until it closes the other end of `wait`. */
static void be_clone(const struct snapshot *snap, int ready, int wait)
{
    const uint32_t dirty = DIRTY;
    struct err e = {.text = ""};
    static struct called c;
    int32_t pages = -1;
    int kvm_fd;
    char byte;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (kvm_open(&kvm_fd, &e) == 0 && called_open(&c, &e) == 0 && called_start(&c, snap, kvm_fd, &e) == 0 &&
        called_call(&c, "dirty", &dirty, NULL, &e) == 0)
        pages = dirty_pages(&c, &e);
    if (pages < 0)
        fprintf(stderr, "density: %s\n", e.text);
    if (write(ready, &pages, sizeof(pages)) != sizeof(pages))
        _exit(1);
    /* A kick of the run that has ended may still come. */
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

/* What `n` clones and this process have beyond what was written in them, KiB; 0 when a clone failed. */
static uint64_t pss_with(const struct snapshot *snap, unsigned n)
{
    pid_t *pids;
    int ready[2], wait[2];
    unsigned begun = 0, good = 0;
    uint64_t sum = 0, dirty = 0;
    int32_t pages;

    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(wait, O_CLOEXEC) != 0)
        return 0;
    /* Shared, or each clone has a copy of what its parent writes there. */
    pids = mmap(NULL, CLONES_MAX * sizeof(*pids), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pids == MAP_FAILED)
        return 0;
    fflush(stdout);
    while (begun < n) {
        pid_t pid = fork();

        if (pid == 0) {
            close(wait[1]);
            be_clone(snap, ready[1], wait[0]);
        }
        if (pid < 0)
            break;
        pids[begun++] = pid;
    }
    close(ready[1]);
    close(wait[0]);
    for (unsigned i = 0; i < begun && read(ready[0], &pages, sizeof(pages)) == sizeof(pages); i++) {
        good += pages >= 0;
        dirty += pages >= 0 ? (uint64_t)pages : 0;
    }
    if (good == n)
        sum = pss_of(getpid());
    for (unsigned i = 0; i < begun && good == n; i++)
        sum += pss_of(pids[i]);
    close(wait[1]);
    for (unsigned i = 0; i < begun; i++)
        waitpid(pids[i], NULL, 0);
    munmap(pids, CLONES_MAX * sizeof(*pids));
    close(ready[0]);
    return sum - dirty * 4;
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
    rows_sample(id, kind, round, (double)(all - one) / (clones - 1));
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
             "user memory of a live clone of a 64 MB snapshot beyond its dirty pages, %u clones", clones);
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
