/*
 * hv/snapfile: files written and read back, and everything a file can be
 * instead: cut off, damaged, of another kind, another file altogether, or
 * shrinking while it is used.
 */
#include "hv/snapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/cmd_inspect_snapshot.h"
#include "tests/fuzz/snap_samples.h"
#include "tests/tap.h"

static char dir[] = "/tmp/test-snapfile-XXXXXX";
static char path[256], other[256];
static struct snapshot sample;
static struct err e;

/* The bytes of the file at `path`. */
static uint8_t *bytes;
static uint64_t bytes_len;

/* fstat, which cuts the file to `cut_len` bytes after call `cut_call`, from 1; 0 = never. */
static unsigned stats_n, cut_call;
static uint64_t cut_len;

int fstat(int fd, struct stat *st)
{
    int result = (int)syscall(SYS_fstat, fd, st);

    if (++stats_n == cut_call && truncate(path, (off_t)cut_len) != 0)
        return -1;
    return result;
}

static void load(void)
{
    int fd = open(path, O_RDONLY);
    struct stat st = {.st_size = 0};

    free(bytes);
    bytes_len = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    bytes = malloc(bytes_len + 1);
    if (bytes == NULL || pread(fd, bytes, bytes_len, 0) != (ssize_t)bytes_len)
        bytes_len = 0;
    close(fd);
}

/* Put `len` of the bytes into the other file, from scratch. */
static bool store(uint64_t len)
{
    int fd;
    bool done;

    unlink(other);
    fd = open(other, O_WRONLY | O_CREAT | O_EXCL, 0600);
    done = fd >= 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len;
    close(fd);
    return done;
}

static bool save(const char *kind)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        if (strcmp(k->name, kind) == 0) {
            snapshot_free(&sample);
            e = (struct err){.text = ""};
            if (!CHECK(sample_make(k, true, &sample)) || !CHECK_EQ(snapfile_write(&sample, path, &e), 0)) {
                printf("# %s\n", e.text);
                return false;
            }
            load();
            return CHECK(bytes_len != 0);
        }
    }
    return false;
}

/* Whether the file is refused with one line about it, and leaves the result alone. */
static bool refuses(const char *name, bool verify, enum status status)
{
    struct snapfile_info info = {.created_ns = 7};
    struct snapshot s = {.generation = 77};
    int result;

    e = (struct err){.text = ""};
    result = snapfile_read(name, verify, &s, &info, &e);
    if (result == -1 && e.status == status && strncmp(e.text, name, strlen(name)) == 0 &&
        strchr(e.text, '\n') == NULL && s.generation == 77 && s.memory.base == NULL && info.created_ns == 7)
        return true;
    printf("# %d, status %d: %s\n", result, e.status, e.text);
    if (result == 0)
        snapshot_free(&s);
    return false;
}

static bool reads(const char *name, bool verify)
{
    struct snapshot s;
    bool same;

    e = (struct err){.text = ""};
    if (snapfile_read(name, verify, &s, NULL, &e) != 0) {
        printf("# %s\n", e.text);
        return false;
    }
    same = sample_same(&s, &sample);
    snapshot_free(&s);
    return same;
}

static void test_round_trip(const struct guest_kind *k, bool captured)
{
    struct snapfile_info info;
    struct snapshot s;
    struct stat st;
    char name[128];

    snprintf(name, sizeof(name), "%s %s guest is read as it was saved", captured ? "a captured" : "a new",
             k->name);
    tap_case(name);
    snapshot_free(&sample);
    e = (struct err){.text = "untouched"};
    if (!CHECK(sample_make(k, captured, &sample)))
        return;
    CHECK_EQ(snapfile_write(&sample, path, &e), 0);
    CHECK_STR(e.text, "untouched");
    CHECK(snapfile_is(path));
    if (!CHECK_EQ(snapfile_read(path, true, &s, &info, &e), 0)) {
        printf("# %s\n", e.text);
        return;
    }
    CHECK(sample_same(&s, &sample));
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0444 && (uint64_t)st.st_size == info.file_len);
    CHECK(strncmp(info.producer, "vmm ", 4) == 0);
    CHECK(info.created_ns > 1600000000000000000);
    CHECK_STR(info.cpu.vendor, snapfile_host_cpu().vendor);
    CHECK(strlen(info.cpu.vendor) == 12 && !info.other_cpu);
    /* Nothing can be written to what came from the file, nor to the file through it. */
    CHECK(mprotect(s.memory.base, 4096, PROT_READ | PROT_WRITE) == 0);
    s.memory.base[0] ^= 1;
    snapshot_free(&s);
    CHECK(s.memory.base == NULL);
    CHECK(reads(path, true));
}

static void test_bare(void)
{
    struct snapfile_info info;
    struct snapshot s;

    tap_case("a bare kernel is read as it was saved");
    snapshot_free(&sample);
    e = (struct err){.text = "untouched"};
    if (!CHECK(sample_make_bare(&sample)))
        return;
    CHECK_EQ(snapfile_write(&sample, path, &e), 0);
    CHECK_STR(e.text, "untouched");
    if (!CHECK_EQ(snapfile_read(path, true, &s, &info, &e), 0)) {
        printf("# %s\n", e.text);
        return;
    }
    CHECK(sample_same(&s, &sample));
    snapshot_free(&s);
    CHECK(s.bare == NULL);
    load();
    bytes[0x10000 + 4096 * 3] ^= 1;
    CHECK(store(bytes_len) && refuses(other, true, STATUS_IMAGE));
    CHECK_HAS(e.text, "pages do not match");
    snapshot_free(&sample);
}

static void test_holes(void)
{
    struct snapshot big = {.kind = sample.kind};
    struct plan_sizes sizes = layout_default_sizes();
    struct stat st;

    tap_case("pages of zeros take no room on the disk, and nothing of the host is in the file");
    sizes.image_len = (uint64_t)64 << 20;
    e = (struct err){.text = ""};
    big.kind = guest_kind_at(0);
    if (!CHECK(layout_make(big.kind->rules, &sizes, &big.plan, &e) == 0) ||
        !CHECK(region_map(&big.memory, big.plan.snapshot_len, &e) == 0) ||
        !CHECK(region_map(&big.tables, big.plan.pt_len, &e) == 0))
        return;
    big.sregs = guest_first_sregs(big.kind, &big.plan);
    memset(big.memory.base + ((uint64_t)32 << 20), 0x55, 4096);
    big.memory.base[((uint64_t)48 << 20) - 1] = 1; /* the last byte of a page */
    CHECK_EQ(snapfile_write(&big, path, &e), 0);
    CHECK(stat(path, &st) == 0 && st.st_size > (off_t)64 << 20);
    CHECK(st.st_blocks * 512 < 100 << 10);
    snapshot_free(&sample);
    sample = big;
    CHECK(reads(path, true));
    load();
    CHECK(memmem(bytes, bytes_len, dir, strlen(dir)) == NULL);
}

static void test_truncated(void)
{
    uint64_t seed = 3, at[300], bad = 0;
    unsigned i, n = 0;

    tap_case("a file that is cut off is refused, wherever that is");
    if (!save("amd64"))
        return;
    for (i = 0; i < 8; i++) {
        uint64_t entry = SAMPLE_TABLE + i * SAMPLE_ENTRY_LEN;

        at[n++] = load_le64(bytes + entry + 8);
        at[n++] = load_le64(bytes + entry + 8) + load_le64(bytes + entry + 16) - 1;
    }
    for (i = 0; i < 10; i++)
        at[n++] = i;
    at[n++] = 4095;
    at[n++] = 4096;
    at[n++] = bytes_len - 1;
    for (i = 0; i < 200; i++)
        at[n++] = tap_random(&seed) % bytes_len;
    for (i = 0; i < n; i++)
        if (!store(at[i]) || !refuses(other, false, STATUS_IMAGE)) {
            printf("# cut at 0x%" PRIx64 "\n", at[i]);
            bad++;
        }
    CHECK_EQ(bad, 0);

    tap_case("a file to which something was added is refused");
    bytes[bytes_len] = 0;
    CHECK(store(bytes_len + 1) && refuses(other, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "something was added");
}

static void test_damaged(void)
{
    uint64_t i, bad = 0, missed = 0, memory, tables;

    tap_case("a changed bit in the pages is found by verifying, one anywhere else always");
    if (!save("i686") && !save("amd64"))
        return;
    memory = load_le64(bytes + sample_entry(bytes, 5) + 8);
    tables = load_le64(bytes + sample_entry(bytes, 6) + 8);
    for (i = 0; i < bytes_len; i += i < 0x2000 ? 61 : 1009) {
        bool in_pages = i >= memory && i < tables;

        bytes[i] ^= (uint8_t)(1u << (i % 8));
        if (!store(bytes_len) || !refuses(other, true, STATUS_IMAGE))
            bad++;
        if (!in_pages && !refuses(other, false, STATUS_IMAGE))
            missed++;
        if (in_pages) {
            CHECK_HAS(e.text, "pages do not match their checksum (at 0x");
        }
        bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
    CHECK_EQ(bad, 0);
    CHECK_EQ(missed, 0);

    tap_case("the bytes of each section are covered to the last");
    for (i = 0; i < 8; i++) {
        uint64_t entry = SAMPLE_TABLE + i * SAMPLE_ENTRY_LEN;
        uint64_t last = load_le64(bytes + entry + 8) + load_le64(bytes + entry + 16) - 1;

        bytes[last] ^= 0x80;
        CHECK(store(bytes_len) && refuses(other, true, STATUS_IMAGE));
        bytes[last] ^= 0x80;
    }
    CHECK(store(bytes_len) && reads(other, true));
}

static void test_other_files(void)
{
    char name[300];

    tap_case("what is not a regular file is refused, and not waited for");
    if (!save("amd64"))
        return;
    snprintf(name, sizeof(name), "%s/link", dir);
    CHECK(symlink(path, name) == 0);
    CHECK(refuses(name, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "a symbolic link");
    CHECK(snapfile_is(name));
    unlink(name);
    CHECK(mkfifo(name, 0600) == 0);
    CHECK(refuses(name, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "not a regular file");
    CHECK(!snapfile_is(name));
    unlink(name);
    CHECK(refuses(dir, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "not a regular file");
    CHECK(!snapfile_is(dir));
    CHECK(refuses("/dev/zero", false, STATUS_IMAGE));
    CHECK(!snapfile_is("/dev/zero"));

    tap_case("a file that is not there is told from one that is refused");
    CHECK(refuses(name, false, STATUS_NOT_FOUND));
    CHECK_HAS(e.text, "cannot open: No such file");
    CHECK(!snapfile_is(name));
    snprintf(name, sizeof(name), "%s/below", path);
    CHECK(refuses(name, false, STATUS_NOT_FOUND));

    tap_case("another file is not a snapshot");
    CHECK(refuses("/proc/self/exe", false, STATUS_IMAGE));
    memcpy(bytes, "\177ELF", 4);
    CHECK(store(bytes_len) && refuses(other, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "not a snapshot file");
    CHECK(!snapfile_is(other));
    CHECK(store(0) && refuses(other, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "not a snapshot file");
    CHECK(!snapfile_is(other));
}

static void test_other_machine(void)
{
    uint64_t compat;

    tap_case("a file of another vendor's CPU is refused, and says which");
    if (!save("amd64"))
        return;
    compat = load_le64(bytes + sample_entry(bytes, 4) + 8);
    memcpy(bytes + compat, "SomeoneElse", 12);
    sample_repair(bytes, SNAP_CHUNK_LEN);
    CHECK(store(bytes_len) && refuses(other, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "another vendor's CPU (\"SomeoneElse\", this is \"");
    CHECK_HAS(e.text, snapfile_host_cpu().vendor);

    tap_case("a file of a later format is refused, and says which");
    load();
    store_le32(bytes + 8, 7);
    store_le32(bytes + 12, 6);
    sample_repair(bytes, SNAP_CHUNK_LEN);
    CHECK(store(bytes_len) && refuses(other, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "format 7 is for readers of format 6 (this vmm reads 1)");
}

/* --- a file that shrinks while it is used ------------------------------------------------------------------ */

static volatile uint8_t sink;

/* Child: use the snapshot after its file was cut to `len` bytes. What it says goes to `fd`. */
static void use_shrunk(uint64_t len, bool own_page, int fd)
{
    struct snapshot s;
    int cut;

    dup2(fd, STDERR_FILENO);
    if (snapfile_read(path, false, &s, NULL, &e) != 0 || snapfile_guard(&s, "a file", &e) != 0)
        _exit(99);
    cut = open(path, O_RDWR);
    if (cut < 0 || ftruncate(cut, (off_t)len) != 0)
        _exit(98);
    if (own_page) {
        uint8_t *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, cut, 1 << 30);

        sink = *(volatile uint8_t *)page;
    }
    sink = *(volatile uint8_t *)s.memory.base;
    sink = *(volatile uint8_t *)(s.memory.base + s.memory.len - 1);
    _exit(0);
}

/* Child: look into a file that is cut when it has been opened, and whose page tables lead into its pages. */
static void inspect_shrunk(int fd)
{
    struct options o = options_default();
    struct text t = TEXT_EMPTY;

    dup2(fd, STDERR_FILENO);
    o.image = path;
    stats_n = 0;
    cut_call = 2;
    cut_len = 0x10000;
    _exit(inspect_snapshot(&o, &t, &e) == 0 ? 0 : 99);
}

/* `len` 0: inspect. */
static int run_shrunk(uint64_t len, bool own_page, char *said, size_t said_len)
{
    int fds[2], status = -1;
    ssize_t n;
    pid_t pid;

    said[0] = '\0';
    if (!CHECK(pipe(fds) == 0))
        return -1;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL);
        if (len == 0)
            inspect_shrunk(fds[1]);
        use_shrunk(len, own_page, fds[1]);
    }
    close(fds[1]);
    n = read(fds[0], said, said_len - 1);
    said[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static void test_shrinks(void)
{
    char said[2000];
    int status;

    tap_case("a file that shrinks while its pages are used ends the process with a line, not with a signal");
    if (!save("amd64") || !CHECK(chmod(path, 0600) == 0))
        return;
    status = run_shrunk(0x10000, false, said, sizeof(said));
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 125);
    CHECK_STR(said, "vmm: a file: shrank while it was in use\n");

    tap_case("so does one that is inspected, where page tables among the pages are lost");
    if (!CHECK(mprotect(sample.tables.base, sample.tables.len, PROT_READ | PROT_WRITE) == 0))
        return;
    memset(sample.tables.base, 0, sample.tables.len);
    store_le64(sample.tables.base + (sample.sregs.cr3 - sample.plan.scratch_gpa.v - sample.plan.pt_off),
               sample.plan.base.v | 0x23);
    if (!CHECK_EQ(snapfile_write(&sample, path, &e), 0) || !CHECK(chmod(path, 0600) == 0))
        return;
    status = run_shrunk(0, false, said, sizeof(said));
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 125);
    CHECK_HAS(said, "saved.snap: shrank while it was in use\n");

    tap_case("a file that keeps its length can be used to its last page");
    if (!save("amd64") || !CHECK(chmod(path, 0600) == 0))
        return;
    status = run_shrunk(bytes_len, false, said, sizeof(said));
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_STR(said, "");

    tap_case("another mapping that loses its file still means a signal");
    if (!save("amd64") || !CHECK(chmod(path, 0600) == 0))
        return;
    status = run_shrunk(bytes_len, true, said, sizeof(said));
    CHECK(strstr(said, "a file:") == NULL);
    /* A sanitizer turns the signal into an exit of its own. */
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) ||
          (WIFEXITED(status) && WEXITSTATUS(status) == 1));

    tap_case("a file that shrank before it is read is refused");
    CHECK(truncate(path, (off_t)bytes_len - 4096) == 0);
    CHECK(refuses(path, false, STATUS_IMAGE));
    CHECK_HAS(e.text, "truncated");
}

static void test_shrinks_meanwhile(void)
{
    unsigned i, n;

    tap_case("a file that shrinks or grows while it is opened is refused");
    if (!save("amd64") || !CHECK(chmod(path, 0600) == 0))
        return;
    /* To nothing, into the head, the pages, the tables; and by a byte more, which only a second look finds. */
    for (i = 0; i < 5; i++) {
        static const uint64_t lens[] = {0, 5000, 0x11000, 0x40000};

        CHECK(store(bytes_len) && rename(other, path) == 0);
        stats_n = 0;
        cut_call = 1;
        cut_len = i < 4 ? lens[i] : bytes_len + 1;
        CHECK(refuses(path, i % 2 == 0, STATUS_IMAGE));
        CHECK(strstr(e.text, "shrank while it was read") != NULL ||
              strstr(e.text, "changed while it was read") != NULL);
        n = stats_n;
        cut_call = 0;
        CHECK(n >= 1 && n <= 2);
    }
}

int main(void)
{
    const struct guest_kind *k;
    unsigned i;

    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/saved.snap", dir);
    snprintf(other, sizeof(other), "%s/other.snap", dir);
    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        test_round_trip(k, false);
        test_round_trip(k, true);
    }
    if (bare_is_built)
        test_bare();
    test_holes();
    test_truncated();
    test_damaged();
    test_other_files();
    test_other_machine();
    test_shrinks_meanwhile();
    test_shrinks();
    unlink(path);
    unlink(other);
    tap_case("nothing else was left in the folder");
    CHECK(rmdir(dir) == 0);
    snapshot_free(&sample);
    free(bytes);
    return tap_done();
}
