/*
 * Saving a snapshot when things go wrong: every call into the kernel of a save
 * fails once, with each error that it may have; the writer is killed; two
 * write at once; the file may grow no further. Afterwards there is the old
 * file or the new one, whole, and nothing else.
 */
#include "hv/snapfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/snap_samples.h"
#include "tests/tap.h"

static char dir[] = "/tmp/test-snapsave-XXXXXX";
static char path[256];
static struct snapshot before, after;
static struct err e;

/* --- the calls of a save, counted and failing when told --------------------------------------------------------- */

static const char *log_names[256]; /* of the calls since start() */
static unsigned calls_n, fail_call;
static int fail_errno;
static bool counting, short_writes, keep_failing;

static bool fail_now(const char *name)
{
    if (!counting)
        return false;
    if (calls_n < 256)
        log_names[calls_n] = name;
    calls_n++;
    if (fail_call == 0 || (calls_n != fail_call && !(keep_failing && calls_n > fail_call)))
        return false;
    errno = fail_errno;
    return true;
}

static int result_of(long r)
{
    return (int)r;
}

int openat(int fd, const char *name, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if ((flags & O_CREAT) != 0) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    return fail_now("openat") ? -1 : result_of(syscall(SYS_openat, fd, name, flags, mode));
}

int flock(int fd, int how)
{
    return fail_now("flock") ? -1 : result_of(syscall(SYS_flock, fd, how));
}

int ftruncate(int fd, off_t len)
{
    return fail_now("ftruncate") ? -1 : result_of(syscall(SYS_ftruncate, fd, len));
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t off)
{
    if (short_writes && counting && len > 1000)
        len = 1000;
    return fail_now("pwrite") ? -1 : syscall(SYS_pwrite64, fd, p, len, off);
}

int fchmod(int fd, mode_t mode)
{
    return fail_now("fchmod") ? -1 : result_of(syscall(SYS_fchmod, fd, mode));
}

int fsync(int fd)
{
    if (fail_now("fsync"))
        return -1;
    /* It takes most of the time of a save; the tests that count do without. */
    return counting ? 0 : result_of(syscall(SYS_fsync, fd));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return fail_now("renameat") ? -1 : result_of(syscall(SYS_renameat, from_dir, from, to_dir, to));
}

int unlinkat(int fd, const char *name, int flags)
{
    return fail_now("unlinkat") ? -1 : result_of(syscall(SYS_unlinkat, fd, name, flags));
}

static int save_counted(const struct snapshot *s, unsigned fail, int errnum)
{
    int result;

    e = (struct err){.text = ""};
    calls_n = 0;
    fail_call = fail;
    fail_errno = errnum;
    counting = true;
    result = snapfile_write(s, path, &e);
    counting = false;
    return result;
}

/* --- what is there afterwards ------------------------------------------------------------------------------------- */

/* Which snapshot the file holds: 'o' the old one, 'n' the new one, '-' no file, '?' anything else. */
static char holds(void)
{
    struct snapshot s;
    struct err why;
    char answer = '?';

    if (snapfile_read(path, true, &s, NULL, &why) != 0) {
        if (why.status == STATUS_NOT_FOUND)
            return '-';
        printf("# %s\n", why.text);
        return '?';
    }
    if (sample_same(&s, &before))
        answer = 'o';
    else if (sample_same(&s, &after))
        answer = 'n';
    snapshot_free(&s);
    return answer;
}

/* Names in the folder beside the file. */
static unsigned others(void)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    unsigned n = 0;

    while (d != NULL && (entry = readdir(d)) != NULL)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
             strcmp(entry->d_name, "saved.snap") != 0;
    if (d != NULL)
        closedir(d);
    return n;
}

static unsigned open_files(void)
{
    unsigned n = 0;
    int fd;

    for (fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_each_call(bool exists)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    unsigned n, i, calls, fds = open_files();
    char name[128], want;

    snprintf(name, sizeof(name), "whichever call of a save fails, %s stays and nothing else",
             exists ? "the old file" : "no file");
    tap_case(name);
    CHECK_EQ(save_counted(&after, 0, 0), 0);
    calls = calls_n;
    if (!CHECK(calls > 12 && calls < 256))
        return;
    /* Nothing is renamed that is not on the disk. */
    CHECK_STR(log_names[calls - 4], "fchmod");
    CHECK_STR(log_names[calls - 3], "fsync");
    CHECK_STR(log_names[calls - 2], "renameat");
    CHECK_STR(log_names[calls - 1], "fsync");
    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        for (n = 1; n <= calls; n++) {
            const char *call;
            char now;

            unlink(path);
            if (exists && !CHECK_EQ(save_counted(&before, 0, 0), 0))
                return;
            want = exists ? 'o' : '-';
            CHECK_EQ(save_counted(&after, n, errors[i]), -1);
            call = log_names[n - 1];
            now = holds();
            /* Past the rename only the directory's place on the disk is in doubt. */
            if (n == calls)
                want = 'n';
            if (!CHECK(now == want) || !CHECK_EQ(others(), 0) || !CHECK_EQ(e.status, STATUS_HOST))
                printf("# call %u, %s, %s: '%c', %s\n", n, call, strerror(errors[i]), now, e.text);
            CHECK_HAS(e.text, "saved.snap: ");
            CHECK_HAS(e.text, strerror(errors[i]));
        }
    }
    CHECK_EQ(open_files(), fds);
}

static void test_cleanup_fails(void)
{
    unsigned n, calls;

    tap_case("what could not be removed either is removed by the next save");
    CHECK_EQ(save_counted(&before, 0, 0), 0);
    calls = calls_n;
    keep_failing = true;
    for (n = 1; n < calls; n++) {
        CHECK_EQ(save_counted(&after, n, EIO), -1);
        CHECK(holds() == 'o');
        CHECK(others() <= 1);
    }
    keep_failing = false;
    CHECK_EQ(save_counted(&after, 0, 0), 0);
    CHECK(holds() == 'n');
    CHECK_EQ(others(), 0);
}

static void test_small_things(void)
{
    struct rlimit old, limit = {.rlim_cur = 0x20000};
    char long_name[252], name[600];

    tap_case("a write that is done in parts is gone on with");
    short_writes = true;
    CHECK_EQ(save_counted(&before, 0, 0), 0);
    short_writes = false;
    CHECK(holds() == 'o');

    tap_case("a call that is interrupted is made again");
    {
        unsigned n, interrupted = 0;

        for (n = 1; n < 30; n++) {
            CHECK_EQ(save_counted(&before, 0, 0), 0);
            if (n > calls_n || strcmp(log_names[n - 1], "pwrite") != 0)
                continue;
            CHECK_EQ(save_counted(&after, 0, 0), 0);
            CHECK_EQ(save_counted(&before, n, EINTR), 0);
            CHECK(holds() == 'o');
            interrupted++;
        }
        CHECK(interrupted > 3);
    }

    tap_case("a directory whose file system cannot sync it is no failure");
    CHECK_EQ(save_counted(&after, 0, 0), 0);
    CHECK_EQ(save_counted(&before, calls_n, EINVAL), 0);
    CHECK(holds() == 'o');

    tap_case("a file that may not grow so long leaves the old one");
    getrlimit(RLIMIT_FSIZE, &old);
    limit.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK_EQ(snapfile_write(&after, path, &e), -1);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "cannot write: File too large");
    CHECK(holds() == 'o');
    CHECK_EQ(others(), 0);

    tap_case("what is not the name of a file to be is refused before anything is written");
    CHECK_EQ(snapfile_write(&after, dir, &e), -1);
    CHECK_HAS(e.text, "is there, and is not a regular file");
    CHECK_EQ(snapfile_write(&after, "/dev/null", &e), -1);
    CHECK_HAS(e.text, "is there, and is not a regular file");
    snprintf(name, sizeof(name), "%s/", dir);
    CHECK_EQ(snapfile_write(&after, name, &e), -1);
    CHECK_HAS(e.text, "not the name of a file");
    snprintf(name, sizeof(name), "%s/..", dir);
    CHECK_EQ(snapfile_write(&after, name, &e), -1);
    CHECK_HAS(e.text, "not the name of a file");
    CHECK_EQ(snapfile_write(&after, "", &e), -1);
    snprintf(name, sizeof(name), "%s/none/saved.snap", dir);
    CHECK_EQ(snapfile_write(&after, name, &e), -1);
    CHECK_HAS(e.text, "cannot open its directory: No such file");
    memset(long_name, 'a', 251);
    long_name[251] = '\0';
    snprintf(name, sizeof(name), "%s/%s", dir, long_name);
    CHECK_EQ(snapfile_write(&after, name, &e), -1);
    CHECK_HAS(e.text, "the name is too long (251 bytes, at most 250)");
    name[strlen(name) - 1] = '\0';
    CHECK_EQ(snapfile_write(&after, name, &e), 0);
    CHECK(unlink(name) == 0);
    CHECK_EQ(others(), 0);

    tap_case("a path without a directory is in the working directory");
    CHECK(chdir(dir) == 0);
    CHECK_EQ(snapfile_write(&after, "saved.snap", &e), 0);
    CHECK(chdir("/") == 0);
    CHECK(holds() == 'n');

    tap_case("a guest whose file would be refused is not saved");
    after.sregs.apic_base |= 0x400;
    CHECK_EQ(snapfile_write(&after, path, &e), -1);
    after.sregs.apic_base &= ~(uint64_t)0x400;
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_HAS(e.text, "x2APIC");
    CHECK(holds() == 'n');
}

/* --- killed, and more than one ---------------------------------------------------------------------------------- */

static pid_t start_writer(const struct snapshot *s, unsigned times)
{
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int result = 0;

        while (times-- != 0)
            if (snapfile_write(s, path, &e) != 0 && strstr(e.text, "another process is saving to it") == NULL)
                result = 1;
        _exit(result);
    }
    return pid;
}

static void test_killed(unsigned rounds)
{
    unsigned i, seen_temp = 0, seen_old = 0, bad = 0;
    uint64_t seed = (uint64_t)getpid();
    int status;

    tap_case("a writer that is killed at any time leaves the old file or the new one, and the next save "
             "clears up");
    printf("# seed %d\n", getpid());
    for (i = 0; i < rounds; i++) {
        pid_t pid;

        if (!CHECK_EQ(snapfile_write(&before, path, &e), 0))
            printf("# %s\n", e.text);
        bad += others() != 0;
        pid = start_writer(&after, 1);
        usleep((useconds_t)(tap_random(&seed) % 12000));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        seen_temp += others() != 0;
        switch (holds()) {
        case 'o': seen_old++; break;
        case 'n': break;
        default: bad++;
        }
    }
    CHECK_EQ(bad, 0);
    printf("# of %u: %u left a temporary file, %u the old one\n", rounds, seen_temp, seen_old);
    CHECK_EQ(snapfile_write(&before, path, &e), 0);
    CHECK_EQ(others(), 0);
}

static void test_stale(void)
{
    char temp[300];
    int fd;

    tap_case("a temporary file that nobody writes is removed, whatever its mode; one that is being written "
             "is not");
    snprintf(temp, sizeof(temp), "%s/.saved.snap.tmp", dir);
    fd = open(temp, O_CREAT | O_RDWR, 0444);
    CHECK(fd >= 0 && pwrite(fd, "left", 4, 0) == 4);
    CHECK(flock(fd, LOCK_EX) == 0);
    CHECK_EQ(snapfile_write(&after, path, &e), -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "another process is saving to it");
    CHECK(holds() == 'o');
    CHECK_EQ(others(), 1);
    close(fd);
    CHECK_EQ(snapfile_write(&after, path, &e), 0);
    CHECK(holds() == 'n');
    CHECK_EQ(others(), 0);

    tap_case("what is in the way of a temporary file and is none is left alone");
    CHECK(mkdir(temp, 0700) == 0);
    CHECK_EQ(snapfile_write(&before, path, &e), -1);
    CHECK_HAS(e.text, "in the way");
    CHECK(rmdir(temp) == 0);
    CHECK(symlink("/dev/null", temp) == 0);
    CHECK_EQ(snapfile_write(&before, path, &e), -1);
    CHECK(unlink(temp) == 0);
    CHECK(holds() == 'n');
}

static void test_two(unsigned times)
{
    int a = -1, b = -1;
    pid_t first, second;

    tap_case("two that save to one path at a time leave one whole file, and fail only because of each other");
    first = start_writer(&before, times);
    second = start_writer(&after, times);
    waitpid(first, &a, 0);
    waitpid(second, &b, 0);
    CHECK_EQ(a, 0);
    CHECK_EQ(b, 0);
    CHECK(holds() == 'o' || holds() == 'n');
    CHECK_EQ(others(), 0);
}

int main(void)
{
    const struct guest_kind *k = guest_kind_at(0);
    const char *text = getenv("TEST_SCALE");
    unsigned scale = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 1;

    signal(SIGXFSZ, SIG_IGN);
    if (mkdtemp(dir) == NULL || !sample_make(k, false, &before) || !sample_make(k, true, &after))
        return 1;
    snprintf(path, sizeof(path), "%s/saved.snap", dir);
    test_each_call(true);
    test_each_call(false);
    test_cleanup_fails();
    test_small_things();
    test_killed(40 * scale);
    test_stale();
    test_two(20 * scale);
    unlink(path);
    rmdir(dir);
    snapshot_free(&before);
    snapshot_free(&after);
    return tap_done();
}
