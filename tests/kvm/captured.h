/*
 * Guests with a past, for the tests of snapshots: what is called before a
 * capture and what after, and what was said, as text that can be compared.
 */
#ifndef TESTS_KVM_CAPTURED_H
#define TESTS_KVM_CAPTURED_H

#include "hv/capture.h"
#include "hv/snapfile.h"
#include "tests/kvm/calling.h"

#define SCRIPT_CALLS_MAX 24
#define TRANSCRIPT_LEN   4096

struct script_call {
    const char *name; /* NULL ends a list */
    unsigned args_n;
    uint32_t args[2];
};

struct script {
    const char *sample;
    bool paged_only; /* there is no identity kind of it */
    bool repeats;    /* the setup twice leaves what it leaves once */
    struct script_call setup[SCRIPT_CALLS_MAX], probe[SCRIPT_CALLS_MAX];
};

/*
 * A probe tells all that the setup left behind, and ends with what ends the
 * guest, if anything: the next restore has to make up for that, too.
 */
static const struct script scripts[] = {
    {
        .sample = "cow",
        .repeats = true,
        .setup = {{"fill", 1, {7}}, {"add", 2, {3, 5}}},
        .probe = {{"page_sum", 1, {3}},
                  {"sum", 0, {0}},
                  {"add", 2, {4, 9}},
                  {"sum", 0, {0}},
                  {"add", 2, {0, 1}},
                  {"fill", 1, {9}},
                  {"sum", 0, {0}}},
    },
    {
        .sample = "multiroot",
        .repeats = true,
        .paged_only = true,
        .setup = {{"enter", 1, {2}},
                  {"write_kernel", 2, {1, 77}},
                  {"write_common", 2, {3, 78}},
                  {"write_private", 2, {2, 55}}},
        .probe = {{"roots", 0, {0}},
                  {"active", 0, {0}},
                  {"read_kernel", 1, {0}},
                  {"read_kernel", 1, {3}},
                  {"read_common", 1, {0}},
                  {"read_common", 1, {2}},
                  {"read_private", 1, {0}},
                  {"read_private", 1, {1}},
                  {"read_private", 1, {2}},
                  {"read_private", 1, {3}},
                  {"write_kernel", 2, {0, 1234}},
                  {"read_kernel", 1, {1}},
                  {"read_kernel", 1, {2}},
                  {"write_common", 2, {1, 4321}},
                  {"read_common", 1, {0}},
                  {"read_common", 1, {3}},
                  {"write_private", 2, {1, 7}},
                  {"read_private", 1, {1}},
                  {"read_private", 1, {0}},
                  {"enter", 1, {1}},
                  {"active", 0, {0}},
                  {"roots", 0, {0}}},
    },
    {
        .sample = "shared",
        .repeats = true,
        .paged_only = true,
        .setup = {{"write_a", 1, {4}}},
        .probe = {{"same", 0, {0}},
                  {"read_b", 0, {0}},
                  {"read_r", 0, {0}},
                  {"write_b", 1, {9}},
                  {"read_a", 0, {0}},
                  {"read_r", 0, {0}},
                  {"write_a", 1, {10}},
                  {"read_b", 0, {0}},
                  {"same", 0, {0}},
                  {"write_r", 1, {1}}},
    },
    {
        .sample = "rodata",
        .paged_only = true,
        .setup = {{"count", 0, {0}}},
        .probe = {{"sum", 0, {0}},
                  {"flags", 0, {0}},
                  {"count", 0, {0}},
                  {"count", 0, {0}},
                  {"sum", 0, {0}},
                  {"flags", 0, {0}},
                  {"write", 1, {1030}}},
    },
    {
        .sample = "lineage",
        .setup = {{"count", 0, {0}}, {"count", 0, {0}}},
        .probe = {{"count", 0, {0}}, {"no_such_function", 0, {0}}, {"count", 0, {0}}},
    },
    {
        .sample = "dirty",
        .repeats = true,
        .setup = {{"dirty", 1, {5}}},
        .probe = {{"count", 0, {0}},
                  {"dirty", 1, {9}},
                  {"count", 0, {0}},
                  {"dirty", 1, {32}},
                  {"count", 0, {0}},
                  {"dirty", 1, {33}}},
    },
    {
        .sample = "ring3",
        .repeats = true,
        .paged_only = true,
        .setup = {{"map_kept", 2, {55, 2}}, {"read_kept", 0, {0}}},
        .probe = {{"read_kept", 0, {0}},
                  {"peek_kept", 0, {0}},
                  {"map_kept", 2, {66, 1}},
                  {"read_kept", 0, {0}},
                  {"map_fresh", 2, {5, 0}},
                  {"read_fresh", 0, {0}}},
    },
    {
        .sample = "calls",
        .setup = {{"count", 0, {0}}, {"count", 0, {0}}},
        .probe = {{"count", 0, {0}},
                  {"echo_uint", 1, {7}},
                  {"deep", 1, {20}},
                  {"fail", 0, {0}},
                  {"count", 0, {0}},
                  {"undefined", 0, {0}}},
    },
    {.sample = "hello", .probe = {{"any", 0, {0}}}},
    {.sample = "peb", .probe = {{"any", 0, {0}}}},
    {.sample = "scratch", .probe = {{"any", 0, {0}}}},
};

#define SCRIPTS_N (sizeof(scripts) / sizeof(scripts[0]))

/* A VM of a snapshot that stays the caller's. As calling_open: false with nothing to close. */
static inline bool captured_open(struct calling *c, int kvm_fd, const struct snapshot *snap)
{
    const struct vm_options opt = {
        .irqchip = snap->plan.sizes.apic,
        .warm = true,
        .pool = calling_pool,
        .cow_host = calling_cow_host,
        .track = calling_track,
    };

    memset(c, 0, sizeof(*c));
    return calling_open_vm(c, kvm_fd, snap, &opt);
}

/* Restore a guest that takes calls at once. */
static inline bool captured_restore(struct calling *c)
{
    c->e = (struct err){.text = ""};
    return guest_check(vm_restore(&c->vm, &c->e), &c->e) && CHECK(c->vm.usable) && CHECK(c->vm.ready);
}

/* Capture a guest that can be captured; *s is the caller's. */
static inline bool captured_make(struct calling *c, struct snapshot *s)
{
    struct err e = {.text = ""};

    return guest_check(capture_make(&c->vm, s, &e), &e);
}

/* Of a new guest of the sample, asked `counts_n` times to "count": a snapshot, the caller's. False without one. */
static inline bool captured_new(int kvm_fd, const char *sample, const char *kind,
                                const struct image_options *io, unsigned counts_n, struct snapshot *s)
{
    struct calling c;
    bool made;

    if (!calling_open(&c, kvm_fd, sample, kind, io, io->sizes.apic))
        return false;
    made = calling_start(&c);
    while (made && counts_n-- != 0)
        made = CHECK_EQ(calling_call0(&c, "count"), STATUS_OK);
    made = made && captured_make(&c, s);
    calling_close(&c);
    return made;
}

/* The snapshot as it comes back from a file, which is gone afterwards; *s becomes that. */
static inline bool captured_through_file(struct snapshot *s)
{
    char path[] = "/tmp/captured-XXXXXX";
    struct err e = {.text = ""};
    struct snapshot from_file;
    bool ok;
    int fd = mkstemp(path);

    if (!CHECK(fd >= 0))
        return false;
    close(fd);
    ok = guest_check(snapfile_write(s, path, &e), &e) &&
         guest_check(snapfile_read(path, true, &from_file, NULL, &e), &e);
    unlink(path);
    if (!ok)
        return false;
    snapshot_free(s);
    *s = from_file;
    return true;
}

/* Make the calls of a list, and add what came of them to `text`, TRANSCRIPT_LEN bytes. */
static inline void captured_calls(struct calling *c, const struct script_call *calls, char *text)
{
    size_t used = strlen(text);
    unsigned i, j;

    for (i = 0; i < SCRIPT_CALLS_MAX && calls[i].name != NULL; i++) {
        struct msg_value v[2];
        enum status status;
        int n;

        if (!c->vm.ready) {
            snprintf(text + used, TRANSCRIPT_LEN - used, "%s: not ready; ", calls[i].name);
            return;
        }
        for (j = 0; j < calls[i].args_n; j++)
            v[j] = calling_uint(calls[i].args[j]);
        status = calling_call(c, calls[i].name, v, calls[i].args_n);
        n = snprintf(text + used, TRANSCRIPT_LEN - used,
                     "%s: status %d type %d 0x%" PRIx64 " error %" PRIu64 "; ", calls[i].name, status,
                     (int)c->result.value.type, c->result.value.bits, c->result.code);
        if (!CHECK(n > 0 && (size_t)n < TRANSCRIPT_LEN - used))
            return;
        used += (size_t)n;
    }
}

/* Whether the calls of a list say the same again. */
static inline bool captured_says(struct calling *c, const struct script_call *calls, const char *wanted)
{
    static char text[TRANSCRIPT_LEN];

    text[0] = '\0';
    captured_calls(c, calls, text);
    return CHECK_STR(text, wanted);
}

/* Whether two regions hold the same bytes. */
static inline bool captured_same_bytes(const struct region *a, const struct region *b)
{
    return CHECK_EQ(a->len, b->len) && (a->len == 0 || CHECK(memcmp(a->base, b->base, a->len) == 0));
}

/*
 * Cases for each script and each kind it has, with `n` the script's number;
 * *cases_n of them. `what` follows "KIND, SAMPLE: ".
 */
static inline const struct kvm_case *captured_cases(void (*run)(int kvm_fd, const struct kvm_case *c),
                                                    const char *what, const struct kvm_case *more,
                                                    unsigned more_n, unsigned *cases_n)
{
    static const char *const kinds[] = {"amd64", "i686-identity", "i686"};
    static struct kvm_case cases[3 * SCRIPTS_N + 64];
    static char names[3 * SCRIPTS_N][160];
    unsigned i, k, n = 0;

    for (i = 0; i < SCRIPTS_N; i++) {
        for (k = 0; k < 3; k++) {
            if (k == 1 && scripts[i].paged_only)
                continue;
            snprintf(names[n], sizeof(names[n]), "%s, %s: %s", kinds[k], scripts[i].sample, what);
            cases[n] =
                (struct kvm_case){.name = names[n], .run = run, .paging32 = k == 2, .kind = kinds[k], .n = i};
            n++;
        }
    }
    for (i = 0; i < more_n && n < sizeof(cases) / sizeof(cases[0]); i++)
        cases[n++] = more[i];
    *cases_n = n;
    return cases;
}

#endif
