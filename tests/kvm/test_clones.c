/*
 * Many processes that run one saved guest at the same time share its memory:
 * each costs a small fraction of it. And nothing of the host's can write there.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "mem/crc32c.h"
#include "tests/kvm/captured.h"
#include "tests/kvm/proc.h"

#define DATA_LEN     ((uint64_t)64 << 20)
#define CLONES       (scale_is_lab() ? 40u : 200u)
#define CLONES_MAX   200
#define LARGEST_PART 256 /* of the guest's memory: what a clone may cost at most */
#define DIRTY        3   /* pages that each clone writes */

/* The proportional and the whole share of a process, KiB each. */
static bool look_at(pid_t pid, uint64_t *pss, uint64_t *rss)
{
    *pss = *rss = 0;
    return proc_kib(pid, "smaps_rollup", "Pss:", pss) && proc_kib(pid, "smaps_rollup", "Rss:", rss);
}

/* --- a guest of 64 MB in a file --------------------------------------------------------------------- */

/* Save one that has had its first start, and open the file. The memory behind it is data that no page repeats. */
static bool make_large(int kvm_fd, const char *kind, struct snapshot *out)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    uint64_t *data = malloc(DATA_LEN), seed = 3, i;
    bool made;

    if (!CHECK(data != NULL))
        return false;
    for (i = 0; i < DATA_LEN / sizeof(*data); i++)
        data[i] = tap_random(&seed);
    io.sizes.scratch_len = (uint64_t)1 << 20;
    io.init_data = (const uint8_t *)data;
    io.init_data_len = DATA_LEN;
    made = captured_new(kvm_fd, "dirty", kind, &io, 0, out);
    free(data);
    if (made && !captured_through_file(out)) {
        snapshot_free(out);
        made = false;
    }
    return made && CHECK(out->memory.len > DATA_LEN);
}

/* --- clones ----------------------------------------------------------------------------------------- */

static volatile uint64_t sum;

/* A whole run of it, and every page looked at; then it stays until `wait` ends. */
static void be_clone(const struct snapshot *snap, int ready, int wait)
{
    const uint8_t *memory;
    struct err e = {.text = ""};
    struct calling c;
    uint64_t off;
    char byte = 'n';
    int fd = -1;
    ssize_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (kvm_open(&fd, &e) == 0 && captured_open(&c, fd, snap)) {
        if (captured_restore(&c) && calling_call1(&c, "dirty", DIRTY) == STATUS_OK &&
            calling_call0(&c, "count") == STATUS_OK && c.result.value.bits == DIRTY)
            byte = 'y';
        memory = c.vm.copy.len != 0 ? c.vm.copy.base : snap->memory.base;
        for (off = 0; off < snap->memory.len; off += 4096)
            sum += memory[off];
    }
    if (write(ready, &byte, 1) != 1)
        _exit(1);
    /* A kick of the run that has ended may still come. */
    do
        n = read(wait, &byte, 1);
    while (n < 0 && errno == EINTR);
    _exit(n == 0 ? 0 : 1);
}

/* The sum of what `n` clones and this process cost, KiB; 0 when something went wrong. */
static uint64_t cost_of(const struct snapshot *snap, unsigned n)
{
    uint64_t pss, rss, total = 0;
    int ready[2], wait[2], status;
    pid_t pids[CLONES_MAX];
    unsigned i, begun = 0;
    char byte;

    if (!CHECK(pipe2(ready, O_CLOEXEC) == 0) || !CHECK(pipe2(wait, O_CLOEXEC) == 0))
        return 0;
    fflush(stdout);
    for (i = 0; i < n; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(wait[1]);
            be_clone(snap, ready[1], wait[0]);
        }
        if (!CHECK(pids[i] > 0))
            break;
        begun++;
    }
    close(ready[1]);
    close(wait[0]);
    for (i = 0; i < begun && CHECK(read(ready[0], &byte, 1) == 1); i++)
        CHECK(byte == 'y');
    CHECK(look_at(getpid(), &pss, &rss));
    total = pss;
    for (i = 0; i < begun; i++) {
        /* Or there would be nothing to share. */
        if (CHECK(look_at(pids[i], &pss, &rss)))
            CHECK(rss >= DATA_LEN / 1024);
        total += pss;
    }
    close(wait[1]);
    for (i = 0; i < begun; i++)
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
    close(ready[0]);
    return total;
}

static void clones(int kvm_fd, const struct kvm_case *kc)
{
    struct snapshot snap;
    uint64_t one, all, each;
    unsigned n = CLONES;

    if (!make_large(kvm_fd, kc->kind, &snap))
        return;
    if (proc_open()) {
        one = cost_of(&snap, 1);
        all = cost_of(&snap, n);
        if (CHECK(all > one)) {
            each = (all - one) / (n - 1);
            printf("# PSS per extra clone: %" PRIu64 " KiB (%s, %u clones of %" PRIu64 " KiB, %" PRIu64
                   " KiB together)\n",
                   each, kc->kind, n, snap.memory.len / 1024, all);
            CHECK(each < snap.memory.len / 1024 / LARGEST_PART);
        }
        proc_close();
    }
    snapshot_free(&snap);
}

/* --- one that is restored in place ------------------------------------------------------------------- */

/* What a guest writes is not in the snapshot, and gone with the next restore. */
static void nothing_shows(int kvm_fd, const struct kvm_case *kc)
{
    struct snapshot snap;
    struct calling c;
    uint32_t crc;
    unsigned i;

    if (!make_large(kvm_fd, kc->kind, &snap))
        return;
    crc = crc32c(0, snap.memory.base, snap.memory.len);
    if (captured_open(&c, kvm_fd, &snap)) {
        for (i = 0; i < 3 && tap_ok && captured_restore(&c); i++) {
            CHECK_EQ(calling_call0(&c, "count"), STATUS_OK);
            CHECK_EQ(c.result.value.bits, 0);
            CHECK_EQ(calling_call1(&c, "dirty", 10 + i), STATUS_OK);
            CHECK_EQ(calling_call0(&c, "count"), STATUS_OK);
            CHECK_EQ(c.result.value.bits, 10 + i);
        }
        CHECK_EQ(i, 3);
        if (captured_restore(&c) && c.vm.copy.len != 0)
            CHECK(memcmp(c.vm.copy.base, snap.memory.base, snap.memory.len) == 0);
        calling_close(&c);
    }
    CHECK_EQ(crc32c(0, snap.memory.base, snap.memory.len), crc);
    snapshot_free(&snap);
}

/* --- a stray write ---------------------------------------------------------------------------------- */

/* How a process ends that writes there. */
static int write_to(volatile uint8_t *p)
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *p ^= 1;
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status;
}

static void check_dies(const char *what, uint8_t *at)
{
    int status = write_to(at);

    if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV))
        printf("# %s: status 0x%x\n", what, (unsigned)status);
}

/* Captured and from a file, with a VM that runs it: at the first and the last byte, by all names. */
static void stray_write(int kvm_fd, const struct kvm_case *kc)
{
    const struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct snapshot snap;
    struct calling c;
    unsigned i, j, shared = 0;

    if (!captured_new(kvm_fd, kc->n != 0 ? "shared" : "dirty", kc->kind, &io, 0, &snap))
        return;
    for (i = 0; i < 2 && tap_ok; i++) {
        if (i == 1 && !captured_through_file(&snap))
            break;
        seam_reset();
        if (!captured_open(&c, kvm_fd, &snap))
            break;
        captured_restore(&c);
        check_dies("first byte", snap.memory.base);
        check_dies("last byte", snap.memory.base + snap.memory.len - 1);
        if (snap.tables.len != 0)
            check_dies("tables", snap.tables.base);
        if (kc->n != 0 && CHECK(snap.placed.len != 0))
            check_dies("placed pages", snap.placed.base);
        /* What KVM has as read-only memory is the snapshot itself. */
        for (j = 0; j < seam.slots_n; j++) {
            if (!seam.slots[j].readonly)
                continue;
            shared++;
            CHECK_EQ(seam.slots[j].host, (uintptr_t)snap.memory.base);
            check_dies("slot", (uint8_t *)(uintptr_t)seam.slots[j].host);
        }
        CHECK_EQ(calling_call0(&c, kc->n != 0 ? "same" : "count"), STATUS_OK);
        calling_close(&c);
    }
    CHECK_EQ(shared, strcmp(kc->kind, "i686-identity") == 0 ? 0 : 2);
    snapshot_free(&snap);
}

static const struct kvm_case cases[] = {
    {"amd64: clones of a 64 MB snapshot share its memory", .run = clones, .kind = "amd64"},
    {"i686-identity: clones of a 64 MB snapshot share its memory", .run = clones, .kind = "i686-identity"},
    {"i686: clones of a 64 MB snapshot share its memory", .run = clones, .paging32 = true, .kind = "i686"},
    {"amd64: what a guest writes is gone with the next restore", .run = nothing_shows, .kind = "amd64"},
    {"i686-identity: what a guest writes is gone with the next restore", .run = nothing_shows,
     .kind = "i686-identity"},
    {"i686: what a guest writes is gone with the next restore", .run = nothing_shows, .paging32 = true,
     .kind = "i686"},
    {"amd64: a stray write of the host into a snapshot dies", .run = stray_write, .kind = "amd64", .n = 1},
    {"i686-identity: a stray write of the host into a snapshot dies", .run = stray_write,
     .kind = "i686-identity"},
    {"i686: a stray write of the host into a snapshot dies", .run = stray_write, .paging32 = true,
     .kind = "i686", .n = 1},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
