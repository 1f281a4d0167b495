/*
 * The rows of the benchmark about page tables, which need no KVM: building,
 * walking and compacting a guest's address space, per page that it maps,
 * beside a plain copy of the same pages in the same order.
 *
 *   tables [--rounds N] [--large N]
 *
 * Sizes are 1 K to 64 K pages; --large 1 adds 1 M, for which 9 GB must be free.
 * A guest maps its pages copy-on-write, in the order of their physical
 * addresses or, in the rows called scattered, in a random one; its scratch is
 * as small as the tables let it be. All memory was touched before it is timed.
 * Each result is checked once: the pages walked and stored, and every byte
 * that was copied. Times are the processor's, not the clock's: nothing here
 * waits. Prints the records of rows.h.
 */
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/gmem.h"
#include "mem/num.h"
#include "paging/build.h"
#include "paging/compact.h"
#include "paging/walk.h"
#include "tests/bench/rows.h"

#define SAMPLE_NS    20000000u /* a sample repeats what it times for so long */
#define WINDOW_PAGES 72u       /* of scratch besides tables */

/* One guest. */
struct space {
    const struct pt_geom *geom;
    struct pt_mode mode;
    char name[32];
    uint64_t pages_n, tables_n;
    uint64_t scratch_len;
    struct gpa base, scratch_gpa;
    struct gva scratch_gva;
    uint8_t *pages, *scratch, *to;
    uint32_t *order; /* by number of the virtual page, number of its physical one */
    bool scattered;
    struct gmem *mem;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "tables: %s: %s\n", what, why);
    exit(1);
}

/* Bytes that are there: zero pages would all be the same one, which a copy finds in the cache. */
static uint8_t *map_memory(uint64_t len, uint64_t seed)
{
    uint64_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("memory", "the host has not enough");
    for (uint64_t i = 0; i < len / 8; i++)
        p[i] = seed += 0x9e3779b97f4a7c15u;
    return (uint8_t *)p;
}

/* Map every page in its turn, and the scratch window. */
static void build(struct space *s, struct pt_build *b)
{
    struct err e = {.text = ""};
    uint64_t run = s->scattered ? 1 : s->pages_n;
    int result = build_init(b, s->geom, s->scratch, s->scratch_gpa, s->scratch_len, &e);

    for (uint64_t i = 0; i < s->pages_n && result == 0; i += run)
        result =
            build_map(b, gva_make(s->base.v + i * PAGE_LEN), gpa_make(s->base.v + s->order[i] * PAGE_LEN),
                      run * PAGE_LEN, PT_COW | PT_EXEC, &e);
    if (result == 0)
        result = build_map(b, s->scratch_gva, s->scratch_gpa, s->scratch_len, PT_WRITE, &e);
    if (result != 0)
        die("build", e.text);
}

static enum walk_next count_leaf(void *ctx, const struct walk_entry *entry)
{
    uint64_t *n = ctx;

    *n += entry->what == WALK_SEES_LEAF;
    return WALK_ON;
}

static uint64_t walk(const struct space *s)
{
    uint64_t budget = UINT64_MAX, n = 0;

    if (walk_root(s->geom, s->mode, s->mem, s->scratch_gpa, &budget, count_leaf, &n) != WALK_END_ALL)
        die("walk", "did not see everything");
    return n;
}

/* Decide where everything goes, without a copy. The caller frees *out. */
static void plan(const struct space *s, struct compact_out *out)
{
    const struct compact_in in = {
        .geom = s->geom,
        .mode = s->mode,
        .mem = s->mem,
        .roots = &s->scratch_gpa,
        .roots_n = 1,
        .window = s->scratch_gva,
        .scratch_gpa = s->scratch_gpa,
        .scratch_len = s->scratch_len,
        .window_rights = PT_WRITE,
        .tables_gpa = s->scratch_gpa,
        .alloc_end = gpa_make(s->scratch_gpa.v + s->scratch_len),
        .pages_gpa = s->base,
        .pages_max = s->pages_n,
    };
    struct err e = {.text = ""};

    if (compact_make(&in, out, &e) != 0)
        die("compact", e.text);
}

static void compact(const struct space *s)
{
    struct compact_out out;
    struct err e = {.text = ""};

    plan(s, &out);
    if (compact_copy(s->mem, out.pages, out.pages_n, s->to, &e) != 0)
        die("compact", e.text);
    compact_free(&out);
}

/* The bound: what a copy that knows everything has to do. */
static void copy(const struct space *s)
{
    if (!s->scattered) {
        memcpy(s->to, s->pages, s->pages_n * PAGE_LEN);
        return;
    }
    for (uint64_t i = 0; i < s->pages_n; i++)
        memcpy(s->to + i * PAGE_LEN, s->pages + s->order[i] * PAGE_LEN, PAGE_LEN);
}

/* --- what is timed -------------------------------------------------------------------------------- */

static void do_copy(struct space *s)
{
    copy(s);
    __asm__ volatile("" : : "r"(s->to) : "memory");
}

static void do_build(struct space *s)
{
    struct pt_build b;

    build(s, &b);
}

static void do_walk(struct space *s)
{
    walk(s);
}

static void do_plan(struct space *s)
{
    struct compact_out out;

    plan(s, &out);
    compact_free(&out);
}

static void do_compact(struct space *s)
{
    compact(s);
}

static const struct {
    const char *id, *scattered_id, *text;
    void (*run)(struct space *s);
} rows[] = {
    {"memcpy", "memcpy-scattered", "bound: a plain copy of the mapped pages", do_copy},
    {"build", NULL, "build_map of all pages and the window", do_build},
    {"walk", "walk-scattered", "walk_root over all entries", do_walk},
    {"plan", "plan-scattered", "compact_make: tables rebuilt, no page copied", do_plan},
    {"compact", "compact-scattered", "compact_make and compact_copy", do_compact},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

/* Nanoseconds per page; what is timed takes SAMPLE_NS or happens once. */
static double take(struct space *s, void (*run)(struct space *s))
{
    uint64_t start = rows_clock(CLOCK_PROCESS_CPUTIME_ID), ns;
    unsigned n = 0;

    do {
        run(s);
        n++;
        ns = rows_clock(CLOCK_PROCESS_CPUTIME_ID) - start;
    } while (ns < SAMPLE_NS);
    return (double)ns / n / (double)s->pages_n;
}

/* --- guests --------------------------------------------------------------------------------------- */

static void shuffle(struct space *s)
{
    uint64_t state = 1;

    for (uint64_t i = 0; i < s->pages_n; i++)
        s->order[i] = (uint32_t)i;
    for (uint64_t i = s->pages_n - 1; s->scattered && i > 0; i--) {
        uint64_t j;
        uint32_t swapped = s->order[i];

        state = state * 6364136223846793005u + 1442695040888963407u;
        j = (state >> 33) % (i + 1);
        s->order[i] = s->order[j];
        s->order[j] = swapped;
    }
}

static void make_space(struct space *s, const struct pt_geom *g, uint64_t pages_n, bool scattered)
{
    bool is_amd64 = g == &geom_amd64;
    uint64_t top = is_amd64 ? 0x1000000000 : 0xfee00000;
    uint64_t window_end = is_amd64 ? 0xfffffffffffff000 : 0x100000000;
    struct err e = {.text = ""};

    *s = (struct space){
        .geom = g, .pages_n = pages_n, .scattered = scattered, .base = gpa_make(is_amd64 ? 0x4000 : 0x1000)};
    s->mode = (struct pt_mode){.nxe = is_amd64, .wp = true, .phys_bits = is_amd64 ? 36 : 32};
    snprintf(s->name, sizeof(s->name), "%s %" PRIu64 "K", g->name, pages_n / 1024);
    s->tables_n = pages_n / g->entries_n + 16;
    s->scratch_len = (s->tables_n + WINDOW_PAGES) * PAGE_LEN;
    s->scratch_gpa = gpa_make(top - s->scratch_len);
    s->scratch_gva = gva_make(window_end - s->scratch_len);
    s->pages = map_memory(pages_n * PAGE_LEN, 1);
    s->to = map_memory(pages_n * PAGE_LEN, 2);
    s->scratch = map_memory(s->scratch_len, 3);
    s->order = calloc(pages_n, sizeof(*s->order));
    s->mem = gmem_new();
    if (s->order == NULL || s->mem == NULL ||
        gmem_add(s->mem, s->base, pages_n * PAGE_LEN, s->pages, true, &e) != 0 ||
        gmem_add(s->mem, s->scratch_gpa, s->scratch_len, s->scratch, true, &e) != 0)
        die("memory", e.text);
    shuffle(s);
}

static void free_space(struct space *s)
{
    munmap(s->pages, s->pages_n * PAGE_LEN);
    munmap(s->to, s->pages_n * PAGE_LEN);
    munmap(s->scratch, s->scratch_len);
    free(s->order);
    gmem_free(s->mem);
}

/* A figure for wrong work is worth nothing. */
static void check_space(struct space *s)
{
    struct compact_out out;
    struct pt_build b;

    build(s, &b);
    if (walk(s) != s->pages_n + s->scratch_len / PAGE_LEN)
        die(s->name, "the walk did not see each page once");
    plan(s, &out);
    if (out.pages_n != s->pages_n || out.placed_n != 0 || out.tables_len != build_used(&b))
        die(s->name, "compaction made another guest");
    compact_free(&out);
    memset(s->to, 0, s->pages_n * PAGE_LEN);
    compact(s);
    for (uint64_t i = 0; i < s->pages_n; i++)
        if (memcmp(s->to + i * PAGE_LEN, s->pages + s->order[i] * PAGE_LEN, PAGE_LEN) != 0)
            die(s->name, "compaction copied other bytes");
}

static void bench_space(const struct pt_geom *g, uint64_t pages_n, bool scattered, unsigned rounds)
{
    struct space s;

    make_space(&s, g, pages_n, scattered);
    check_space(&s);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < ROWS_N; i++) {
            const char *id = scattered ? rows[i].scattered_id : rows[i].id;

            if (id != NULL)
                rows_sample(id, s.name, round, take(&s, rows[i].run));
        }
    }
    free_space(&s);
}

static void print_rows(bool scattered)
{
    char text[128];

    for (unsigned i = 0; i < ROWS_N; i++) {
        const char *id = scattered ? rows[i].scattered_id : rows[i].id;

        snprintf(text, sizeof(text), "%s%s", rows[i].text, scattered ? ", pages in random order" : "");
        if (id != NULL)
            rows_row(id, i == 0 ? "-" : scattered ? rows[0].scattered_id : rows[0].id, "ns/page", text);
    }
}

int main(int argc, char **argv)
{
    static const struct pt_geom *const geoms[] = {&geom_i686, &geom_amd64};
    static const uint64_t sizes[] = {1u << 10, 1u << 12, 1u << 14, 1u << 16};
    unsigned rounds = (unsigned)rows_number(argc, argv, "--rounds", 7);
    bool large = rows_number(argc, argv, "--large", 0) != 0;

    print_rows(false);
    print_rows(true);
    for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned scattered = 0; scattered < 2; scattered++)
            bench_space(geoms[i % 2], sizes[i / 2], scattered, rounds);
    /* 1 M pages are all that 32 bits address, and some of that is scratch. */
    for (unsigned scattered = 0; large && scattered < 2; scattered++) {
        bench_space(&geom_i686, 960u << 10, scattered, rounds);
        bench_space(&geom_amd64, 1u << 20, scattered, rounds);
    }
    return 0;
}
