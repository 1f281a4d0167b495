/*
 * A large identity guest is captured without a copy, and again by copying what
 * was written since: each snapshot is what the memory was then, whatever the VM
 * does afterwards, and the VM goes on as if nothing had happened.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/kvm/captured.h"
#include "tests/kvm/memory.h"

#define HEAP_LEN ((uint64_t)4 << 20)
#define TIMES    4

/* kvm_case.n, beside how restores find out: who writes between two captures, and how they are made. */
#define BY_GUEST  1u
#define BY_HOST   2u
#define RESTORED  4u  /* the VM is restored before each capture but the first */
#define FROM_FILE 8u  /* its snapshot is from a file */
#define NO_MEMFD  16u /* its memory is no file's */
#define NO_PROC   32u /* /proc does not tell what it wrote */
#define WAY(what) ((uint64_t)(what) << 8)

static void set_limit(int what, rlim_t to)
{
    struct rlimit limit;

    CHECK(getrlimit(what, &limit) == 0);
    limit.rlim_cur = to < limit.rlim_max ? to : limit.rlim_max;
    CHECK(setrlimit(what, &limit) == 0);
}

static void write_as_host(struct calling *c, uint64_t *seed)
{
    const struct layout *l = &c->vm.snap->plan;
    static uint8_t bytes[3 * 4096];
    unsigned i, j;

    for (i = 0; i < 40; i++) {
        uint64_t at = tap_random(seed) % (HEAP_LEN - sizeof(bytes));
        size_t len = (i % 3 + 1) * 1365;

        /* Among them whole pages of zeros where there was something. */
        for (j = 0; j < sizeof(bytes); j++)
            bytes[j] = i % 4 == 0 ? 0 : (uint8_t)tap_random(seed);
        if (i % 4 == 0) {
            at &= ~(uint64_t)4095;
            len = sizeof(bytes);
        }
        CHECK(gmem_write(c->vm.mem, gpa_make(l->base.v + l->heap_off + at), bytes, len));
    }
}

static bool write_more(struct calling *c, unsigned n, uint64_t what, uint64_t *seed)
{
    static const uint32_t pages[TIMES + 1] = {700, 30, 900, 1, 300};

    if (n != 0 && (what & RESTORED) != 0 &&
        !(c->vm.snap->takes_calls ? captured_restore(c) : calling_start(c)))
        return false;
    if ((what & BY_HOST) != 0)
        write_as_host(c, seed);
    return (what & BY_GUEST) == 0 || (CHECK_EQ(calling_call1(c, "dirty", pages[n]), STATUS_OK) &&
                                      CHECK_EQ(calling_call1(c, "touch", 10 + n), STATUS_OK));
}

/* The guest's own memory, as KVM has it. */
static const uint8_t *bytes_of(const struct memory *m, const struct calling *c, uint64_t len)
{
    unsigned i;

    for (i = 0; i < m->n; i++)
        if (m->slot[i].at == c->vm.snap->plan.base.v && CHECK_EQ(m->slot[i].len, len))
            return m->slot[i].bytes;
    CHECK(false);
    return NULL;
}

static void same_as_then(const struct snapshot *s, const struct calling *c, const struct memory *then)
{
    const uint8_t *bytes = bytes_of(then, c, s->memory.len);

    CHECK(bytes != NULL && memcmp(s->memory.base, bytes, s->memory.len) == 0);
}

/* A VM of it starts with these bytes. */
static void restores(int kvm_fd, const struct snapshot *s, const struct memory *then)
{
    struct memory now = {.n = 0};
    struct calling d;

    if (!captured_open(&d, kvm_fd, s))
        return;
    if (captured_restore(&d) && take_memory(&now)) {
        const uint8_t *a = bytes_of(&now, &d, s->memory.len), *b = bytes_of(then, &d, s->memory.len);

        CHECK(a != NULL && b != NULL && memcmp(a, b, s->memory.len) == 0);
        CHECK_EQ(calling_call1(&d, "dirty", 1000), STATUS_OK);
    }
    free_memory(&now);
    calling_close(&d);
}

/* Nobody can write to what the first capture took. */
static void is_sealed(const struct snapshot *s)
{
    CHECK(pwrite(s->file_fd, "x", 1, 0) == -1);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->file_fd, 0) == MAP_FAILED);
    CHECK(ftruncate(s->file_fd, 4096) == -1);
}

static bool open_large(struct calling *c, int kvm_fd, const struct kvm_case *kc, struct snapshot *file)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    bool ok;

    calling_track = (int)(kc->n >> 8);
    io.sizes.heap_len = HEAP_LEN;
    if ((kc->n & NO_MEMFD) != 0) {
        signal(SIGXFSZ, SIG_IGN);
        set_limit(RLIMIT_FSIZE, HEAP_LEN / 2);
    }
    ok = calling_open(c, kvm_fd, "dirty", kc->kind, &io, false);
    set_limit(RLIMIT_FSIZE, RLIM_INFINITY);
    if (!ok || !calling_start(c) || (kc->n & FROM_FILE) == 0)
        return ok;
    ok = CHECK_EQ(calling_call1(c, "dirty", 500), STATUS_OK) && captured_make(c, file);
    calling_close(c);
    if (!ok)
        return false;
    if (captured_through_file(file) && captured_open(c, kvm_fd, file) && captured_restore(c))
        return true;
    snapshot_free(file);
    return false;
}

/* Each capture is what the memory was then, whatever is done afterwards and in whichever order things end. */
static void again_and_again(int kvm_fd, const struct kvm_case *kc)
{
    struct memory then[TIMES] = {{.n = 0}}, first = {.n = 0}, now = {.n = 0};
    struct snapshot file = {.kind = NULL}, s[TIMES];
    struct calling c;
    uint64_t seed = 5;
    unsigned i, n = 0;

    if (!open_large(&c, kvm_fd, kc, &file))
        return;
    CHECK_EQ(c.vm.base.fd < 0, (kc->n & (NO_MEMFD | FROM_FILE)) != 0);
    c.vm.track.period = 3;
    /* Between a restore and init there is nothing that a guest did. */
    if (guest_check(vm_restore(&c.vm, &c.e), &c.e) && take_memory(&first) &&
        (c.vm.ready || calling_start(&c))) {
        for (; n < TIMES && write_more(&c, n, kc->n, &seed) && take_memory(&then[n]); n++) {
            bool made;

            if ((kc->n & NO_PROC) != 0 && n != 0)
                set_limit(RLIMIT_NOFILE, 0);
            made = captured_make(&c, &s[n]);
            set_limit(RLIMIT_NOFILE, 1024);
            if (!made)
                break;
            same_as_then(&s[n], &c, &then[n]);
            memory_is(&then[n], c.vm.snap->plan.scratch_gpa.v);
        }
        CHECK_EQ(n, TIMES);
        if (n == TIMES && s[0].has_fd)
            is_sealed(&s[0]);
        CHECK(s[0].has_fd == ((kc->n & (NO_MEMFD | FROM_FILE)) == 0));
        write_more(&c, TIMES, kc->n | BY_GUEST | BY_HOST, &seed);
        for (i = 0; i < n; i++)
            same_as_then(&s[i], &c, &then[i]);
        /* It is put back as if nothing had been captured. */
        for (i = 0; i < 5; i++) {
            guest_check(vm_restore(&c.vm, &c.e), &c.e);
            memory_is(&first, c.vm.snap->plan.scratch_gpa.v);
            CHECK((c.vm.ready || calling_start(&c)) && calling_call1(&c, "dirty", 900) == STATUS_OK);
        }
    }
    /* One capture ends before its VM, the others live on. */
    if (n > 2)
        snapshot_free(&s[kc->n & BY_HOST]);
    calling_close(&c);
    for (i = 0; i < n; i++) {
        if (n > 2 && i == (kc->n & BY_HOST))
            continue;
        restores(kvm_fd, &s[i], &then[i]);
        if (captured_through_file(&s[i]))
            restores(kvm_fd, &s[i], &then[i]);
        snapshot_free(&s[i]);
    }
    for (i = 0; i < TIMES; i++)
        free_memory(&then[i]);
    free_memory(&first);
    free_memory(&now);
    snapshot_free(&file);
    calling_track = TRACK_BEST;
}

/* A capture for which the host lacks something: it says what, and the guest goes on and can be captured later. */
static void host_refuses(int kvm_fd, const struct kvm_case *kc)
{
    static const struct {
        const char *name;
        int limit;
    } lacks[] = {{"memory", RLIMIT_AS}, {"descriptors", RLIMIT_NOFILE}, {"seals", -1}};
    struct memory then = {.n = 0};
    struct snapshot s;
    struct calling c;
    unsigned i;

    for (i = 0; i < sizeof(lacks) / sizeof(lacks[0]) && tap_ok; i++) {
        unsigned fds = seam_count_fds();
        struct err e = {.text = ""};

        if (!open_large(&c, kvm_fd, kc, NULL))
            return;
        if (CHECK_EQ(calling_call1(&c, "dirty", 700), STATUS_OK) && take_memory(&then)) {
            if (lacks[i].limit >= 0)
                set_limit(lacks[i].limit, 0);
            else
                CHECK(fcntl(c.vm.base.fd, F_ADD_SEALS, F_SEAL_SEAL) == 0);
            CHECK_EQ(capture_make(&c.vm, &s, &e), -1);
            set_limit(RLIMIT_AS, RLIM_INFINITY);
            set_limit(RLIMIT_NOFILE, 1024);
            CHECK_EQ(e.status, STATUS_HOST);
            printf("# without %s: %s\n", lacks[i].name, e.text);
            CHECK(c.vm.ready);
            memory_is(&then, c.vm.snap->plan.scratch_gpa.v);
            free_memory(&then);
            CHECK_EQ(calling_call1(&c, "dirty", 800), STATUS_OK);
            if (lacks[i].limit >= 0 && take_memory(&then) && captured_make(&c, &s)) {
                same_as_then(&s, &c, &then);
                CHECK_EQ(calling_call1(&c, "dirty", 900), STATUS_OK);
                same_as_then(&s, &c, &then);
                snapshot_free(&s);
            }
            free_memory(&then);
        }
        calling_close(&c);
        CHECK_EQ(seam_count_fds(), fds);
    }
}

static const struct kvm_case cases[] = {
    {"i686-identity: captured again and again, the guest writes", .run = again_and_again,
     .kind = "i686-identity", .n = BY_GUEST},
    {"i686-identity: captured again and again, the host writes", .run = again_and_again,
     .kind = "i686-identity", .n = BY_HOST},
    {"i686-identity: captured again and again, both write", .run = again_and_again, .kind = "i686-identity",
     .n = BY_GUEST | BY_HOST},
    {"i686-identity: captured again and again, restored between", .run = again_and_again,
     .kind = "i686-identity", .n = BY_GUEST | BY_HOST | RESTORED},
    {"i686-identity: captured again and again, restored between by copying all", .run = again_and_again,
     .kind = "i686-identity", .n = BY_GUEST | BY_HOST | RESTORED | WAY(TRACK_COPY)},
    {"i686-identity: captured again and again, restored between by the log", .run = again_and_again,
     .kind = "i686-identity", .n = BY_GUEST | BY_HOST | RESTORED | WAY(TRACK_LOG)},
    {"i686-identity: captured again and again, from a file", .run = again_and_again, .kind = "i686-identity",
     .n = BY_GUEST | BY_HOST | RESTORED | FROM_FILE},
    {"i686-identity: captured again and again, and nothing tells what was written", .run = again_and_again,
     .kind = "i686-identity", .n = BY_GUEST | BY_HOST | NO_PROC},
    {"i686-identity: captured again and again, from a file, and nothing tells what was written",
     .run = again_and_again, .kind = "i686-identity", .n = BY_GUEST | RESTORED | FROM_FILE | NO_PROC},
    {"i686-identity: captured again and again, in memory that is no file's", .run = again_and_again,
     .kind = "i686-identity", .n = BY_GUEST | BY_HOST | NO_MEMFD},
    {"i686-identity: a capture that the host refuses says why, and the guest goes on", .run = host_refuses,
     .kind = "i686-identity"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
