/*
 * The pointers of the PEB, seen from both ends: the host writes a number of
 * its own at the start and the end of everything they lead to, through the
 * plan, and sample peb says what it read there. The addresses are compared
 * with the worked numbers of the ABI, literally.
 */
#include <sys/mman.h>

#include "mem/bytes.h"
#include "tests/kvm/guests.h"
#include "tests/kvm/seam.h"

#define SMALL     0x48000u
#define LARGE     0x6882000u
#define INPUT_LEN 0x4000u
#define HEAP_LEN  0x20000u
#define INIT_LEN  5000u /* not a whole page */
#define FILES_LEN (32 * 80u)

/* The magic number of each place; the host's seed is mixed in, so no run can profit from another's. */
enum place { INPUT, OUTPUT, INIT, HEAP, FILES, PLACES_N };

static const char *const names[PLACES_N] = {"input", "output", "init", "heap", "files"};

static uint64_t magic(enum place p, bool last)
{
    uint64_t state = 0x9eb0000u + 2u * (unsigned)p + last;

    return tap_random(&state);
}

static void put_magic(uint8_t *at, uint64_t len, unsigned skip, enum place p)
{
    store_le64(at + skip, magic(p, false));
    store_le64(at + len - 8, magic(p, true));
}

/* Where the guest must see input and output, and their physical address: guest ABI, "Worked numbers". */
static const struct worked {
    const char *kind;
    uint64_t scratch_len, input, output, input_gpa, snapshot_base;
} worked[] = {
    {"amd64", SMALL, 0xfffffffffffb7000, 0xfffffffffffbb000, 0xffffb8000, 0x4000},
    {"amd64", LARGE, 0xfffffffff977d000, 0xfffffffff9781000, 0xff977e000, 0x4000},
    {"i686", SMALL, 0xfffb8000, 0xfffbc000, 0xfedb8000, 0x1000},
    {"i686", LARGE, 0xf977e000, 0xf9782000, 0xf857e000, 0x1000},
    {"i686-identity", SMALL, 0xfedb8000, 0xfedbc000, 0xfedb8000, 0x1000},
    {"i686-identity", LARGE, 0xf857e000, 0xf8582000, 0xf857e000, 0x1000},
};

static const struct worked *find_worked(const struct kvm_case *c)
{
    unsigned i;

    for (i = 0; i < sizeof(worked) / sizeof(worked[0]); i++)
        if (strcmp(worked[i].kind, c->kind) == 0 && worked[i].scratch_len == c->n)
            return &worked[i];
    return NULL;
}

/* Magic for heap and file list. The snapshot is sealed by now: only a test may open it once more. */
static bool fill_snapshot(const struct snapshot *s)
{
    uint8_t *mem = s->memory.base;

    if (!CHECK(mprotect(mem, s->memory.len, PROT_READ | PROT_WRITE) == 0))
        return false;
    put_magic(mem + s->plan.heap_off, HEAP_LEN, 0, HEAP);
    put_magic(mem + s->plan.peb_off + 0x50, FILES_LEN, 0, FILES);
    return CHECK(mprotect(mem, s->memory.len, PROT_READ) == 0);
}

static void fill_scratch(struct vm *vm)
{
    put_magic(vm_scratch_rw(vm, 0, INPUT_LEN), INPUT_LEN, 16, INPUT);
    put_magic(vm_scratch_rw(vm, vm->snap->plan.output_off, INPUT_LEN), INPUT_LEN, 16, OUTPUT);
}

static void check_text(const char *text, const struct worked *w, const struct layout *l)
{
    uint64_t init = w->snapshot_base + l->init_off, heap = w->snapshot_base + l->heap_off;
    const uint64_t ptr[PLACES_N] = {w->input, w->output, init, heap, w->snapshot_base + l->peb_off + 0x50};
    const uint64_t len[PLACES_N] = {INPUT_LEN, INPUT_LEN, INIT_LEN, HEAP_LEN, FILES_LEN};
    char line[200];
    unsigned p;

    snprintf(line, sizeof(line), "scratch 0x%" PRIx64 "\n", w->scratch_len);
    CHECK_HAS(text, line);
    for (p = 0; p < PLACES_N; p++) {
        snprintf(line, sizeof(line), "\n%s 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 "\n",
                 names[p], ptr[p], len[p], magic((enum place)p, false), magic((enum place)p, true));
        if (!CHECK_HAS(text, line))
            printf("# wanted%s", line);
    }
    CHECK_HAS(text, "\npeb ok\n");
}

static void follow_pointers(int kvm_fd, const struct kvm_case *c)
{
    static uint8_t init[INIT_LEN];
    const struct worked *w = find_worked(c);
    struct image_options io = guest_options(c->n);
    const struct vm_options opt = {.irqchip = false, .warm = true};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct outcome out;
    struct vm vm;
    char text[4096];
    uint8_t seen[8];

    put_magic(init, sizeof(init), 0, INIT);
    io.init_data = init;
    io.init_data_len = sizeof(init);
    if (!CHECK(w != NULL) || !guest_build_sample("peb", c->kind, &io, &snap))
        return;
    if (fill_snapshot(&snap) && guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        if (guest_check(vm_restore(&vm, &e), &e)) {
            fill_scratch(&vm);
            /* The plan's bytes are at the ABI's physical addresses, too. */
            CHECK(gmem_read(vm.mem, gpa_make(w->input_gpa + 16), seen, 8));
            CHECK_EQ(load_le64(seen), magic(INPUT, false));
            CHECK(gmem_read(vm.mem, gpa_make(w->input_gpa + 2 * INPUT_LEN - 8), seen, 8));
            CHECK_EQ(load_le64(seen), magic(OUTPUT, true));
            if (guest_run(&vm, text, sizeof(text), &out)) {
                CHECK_EQ(out.reason, REASON_ENDED);
                check_text(text, w, &snap.plan);
            }
        }
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/* A guest that wrote to its heap changed its own copy: the next life starts as the first did. */
static void restored_heap(int kvm_fd, const struct kvm_case *c)
{
    const struct worked *w = find_worked(c);
    struct image_options io = guest_options(c->n);
    const struct vm_options opt = {.irqchip = false, .warm = true};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct outcome out;
    struct vm vm;
    char first[4096], second[4096];

    if (!CHECK(w != NULL) || !guest_build_sample("peb", c->kind, &io, &snap))
        return;
    if (fill_snapshot(&snap) && guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        if (guest_check(vm_restore(&vm, &e), &e) && guest_run(&vm, first, sizeof(first), &out) &&
            guest_check(vm_restore(&vm, &e), &e) && guest_run(&vm, second, sizeof(second), &out)) {
            CHECK_HAS(first, "peb ok");
            CHECK_STR(second, first);
        }
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

static const struct kvm_case cases[] = {
    {"amd64 with 0x48000 of scratch finds the host's bytes behind each pointer", .run = follow_pointers,
     .kind = "amd64", .n = SMALL},
    {"amd64 with 0x6882000 of scratch finds the host's bytes behind each pointer", .run = follow_pointers,
     .kind = "amd64", .n = LARGE},
    {"i686 with 0x48000 of scratch finds the host's bytes behind each pointer", .run = follow_pointers,
     .paging32 = true, .kind = "i686", .n = SMALL},
    {"i686 with 0x6882000 of scratch finds the host's bytes behind each pointer", .run = follow_pointers,
     .paging32 = true, .kind = "i686", .n = LARGE},
    {"i686-identity with 0x48000 of scratch finds the host's bytes behind each pointer",
     .run = follow_pointers, .kind = "i686-identity", .n = SMALL},
    {"i686-identity with 0x6882000 of scratch finds the host's bytes behind each pointer",
     .run = follow_pointers, .kind = "i686-identity", .n = LARGE},
    {"amd64 finds the same again after a restore", .run = restored_heap, .kind = "amd64", .n = SMALL},
    {"i686 finds the same again after a restore", .run = restored_heap, .paging32 = true, .kind = "i686",
     .n = SMALL},
    {"i686-identity finds the same again after a restore", .run = restored_heap, .kind = "i686-identity",
     .n = SMALL},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
