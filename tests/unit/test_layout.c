/*
 * mem/layout: the ABI's worked numbers as literals, what is refused and in
 * which words, and pointers by memory model.
 */
#include "mem/layout.h"

#include "mem/guest_abi.h"
#include "tests/unit/layout_worked.h"

/* ABI 1.7, in its order. `through`: the page tables as the guest sees them; 0 where there are none. */
struct row {
    const char *kind;
    uint64_t s, gpa, seen, output, pt_gpa, through, pt_len, first_free, size_word, stack, counter,
        counter_gpa;
};

static const struct row rows[] = {
    {"amd64", 0x48000, 0xffffb8000, 0xfffffffffffb7000, 0xfffffffffffbb000, 0xffffc0000, 0xfffffffffffbf000,
     0x7000, 0xffffc7000, 0xffffffffffffeff8, 0xffffffffffffefc8, 0xffffffffffffdff8, 0xfffffeff8},
    {"amd64", 0x6882000, 0xff977e000, 0xfffffffff977d000, 0xfffffffff9781000, 0xff9786000, 0xfffffffff9785000,
     0x3b000, 0xff97c1000, 0xffffffffffffeff8, 0xffffffffffffefc8, 0xffffffffffffdff8, 0xfffffeff8},
    {"i686", 0x48000, 0xfedb8000, 0xfffb8000, 0xfffbc000, 0xfedc0000, 0xfffc0000, 0x3000, 0xfedc3000,
     0xfffffff8, 0xffffffc8, 0xffffeff8, 0xfedfeff8},
    {"i686", 0x6882000, 0xf857e000, 0xf977e000, 0xf9782000, 0xf8586000, 0xf9786000, 0x1d000, 0xf85a3000,
     0xfffffff8, 0xffffffc8, 0xffffeff8, 0xfedfeff8},
    {"i686-identity", 0x48000, 0xfedb8000, 0xfedb8000, 0xfedbc000, 0xfedc0000, 0xfedc0000, 0, 0xfedc0000,
     0xfedffff8, 0xfedfffc8, 0xfedfeff8, 0xfedfeff8},
    {"i686-identity", 0x6882000, 0xf857e000, 0xf857e000, 0xf8582000, 0xf8586000, 0xf8586000, 0, 0xf8586000,
     0xfedffff8, 0xfedfffc8, 0xfedfeff8, 0xfedfeff8},
};

static uint64_t seen(const struct layout *l, enum area a, uint64_t off)
{
    return layout_pointer(l, a, off).v;
}

static void check_row(const struct plan_rules *rules, const struct row *r)
{
    struct abi_sizes s = worked;
    struct layout l;

    s.scratch = r->s;
    l = make(rules, &s);
    CHECK_EQ(layout_gpa(&l, AREA_SCRATCH, 0).v, r->gpa);
    CHECK_EQ(seen(&l, AREA_SCRATCH, 0), r->seen);
    CHECK_EQ(seen(&l, AREA_SCRATCH, l.output_off), r->output);
    CHECK_EQ(layout_gpa(&l, AREA_SCRATCH, l.pt_off).v, r->pt_gpa);
    CHECK_EQ(seen(&l, AREA_SCRATCH, l.pt_off), r->through);
    CHECK_EQ(l.pt_len, r->pt_len);
    CHECK_EQ(layout_gpa(&l, AREA_SCRATCH, l.free_off).v, r->first_free);
    CHECK_EQ(seen(&l, AREA_SCRATCH, layout_top_off(&l, SCRATCH_SIZE_WORD)), r->size_word);
    CHECK_EQ(layout_top_off(&l, SCRATCH_SIZE_WORD), r->s - 8);
    CHECK_EQ(seen(&l, AREA_SCRATCH, layout_top_off(&l, SCRATCH_BOOT_STACK)), r->stack);
    CHECK_EQ(seen(&l, AREA_SCRATCH, layout_top_off(&l, SCRATCH_COUNTER_WORD)), r->counter);
    CHECK_EQ(layout_gpa(&l, AREA_SCRATCH, layout_top_off(&l, SCRATCH_COUNTER_WORD)).v, r->counter_gpa);
    CHECK_EQ(layout_top_off(&l, SCRATCH_COUNTER_WORD), r->s - 0x1008);
    CHECK_EQ(layout_area_len(&l, AREA_SCRATCH), r->s);
}

static void test_worked_numbers(void)
{
    const struct guest_kind *g;
    struct abi_sizes s = worked;
    struct layout l;
    size_t i;

    tap_case("every number of the ABI's worked example comes out, for both sizes of scratch");
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rules_named(rows[i].kind) != NULL)
            check_row(rules_named(rows[i].kind), &rows[i]);

    tap_case("the snapshot region is image, PEB, heap and init data from the base on");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        uint64_t base = strcmp(g->name, "amd64") == 0 ? 0x4000 : 0x1000;

        s = worked;
        l = make(g->rules, &s);
        CHECK_EQ(layout_gpa(&l, AREA_SNAPSHOT, 0).v, base);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, 0), base);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.peb_off), base + 0x10000);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.heap_off), base + 0x11000);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.init_off), base + 0x31000);
        CHECK_EQ(layout_gpa(&l, AREA_SNAPSHOT, l.snapshot_len).v, base + 0x31000);
        CHECK_EQ(layout_area_len(&l, AREA_SNAPSHOT), 0x31000);
        s.fixed = true;
        s.fixed_base = 0x1000;
        s.image = 0xf001;
        s.init = 1;
        l = make(g->rules, &s);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.peb_off), 0x11000);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.heap_off), 0x12000);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.init_off), 0x32000);
        CHECK_EQ(seen(&l, AREA_SNAPSHOT, l.snapshot_len), 0x33000);
    }

    tap_case("the defaults are the ABI's");
    {
        struct plan_sizes d = layout_default_sizes();

        CHECK_EQ(d.input_len, 0x4000);
        CHECK_EQ(d.output_len, 0x4000);
        CHECK_EQ(d.heap_len, 0x20000);
        CHECK_EQ(d.scratch_len, 0x48000);
        CHECK(d.init_data_len == 0 && d.image_base == 0 && d.image_len == 0 && !d.image_fixed && !d.apic);
    }
}

/* Change one size of the worked example and see the refusal. */
static void refuse(const struct plan_rules *r, const struct abi_sizes *s, enum status status,
                   const char *text)
{
    struct err e;

    CHECK_EQ(status_of(r, s, &e), status);
    CHECK_HAS(e.text, text);
}

#define REFUSE(rules, field, value, status, text) \
    do {                                          \
        struct abi_sizes s_ = worked;             \
                                                  \
        s_.field = (value);                       \
        refuse((rules), &s_, (status), (text));   \
    } while (0)

static void test_refusals(void)
{
    const struct guest_kind *g;

    tap_case("a size that is no page multiple is refused by its name");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        REFUSE(g->rules, in, 0x4001, STATUS_USAGE, "input stack is not a multiple of 4K (16385 bytes)");
        REFUSE(g->rules, out, 0x4fff, STATUS_USAGE, "output stack is not a multiple of 4K (20479 bytes)");
        REFUSE(g->rules, heap, 1, STATUS_USAGE, "heap is not a multiple of 4K (1 bytes)");
        REFUSE(g->rules, scratch, 0x48800, STATUS_USAGE, "scratch is not a multiple of 4K");
    }

    tap_case("a stack of 8K is the smallest");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        struct abi_sizes s = worked;
        struct err e;

        s.in = s.out = 0x2000;
        CHECK_EQ(status_of(g->rules, &s, &e), 0);
        REFUSE(g->rules, in, 0x1000, STATUS_USAGE, "input stack is too small (4K, at least 8K)");
        REFUSE(g->rules, out, 0, STATUS_USAGE, "output stack is too small (0K, at least 8K)");
        REFUSE(g->rules, scratch, 0, STATUS_USAGE, "scratch is too small (0K, at least 4K)");
    }

    tap_case("a heap of nothing and a heap of one page are both fine");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        struct abi_sizes s = worked;
        struct layout l;

        s.heap = 0;
        l = make(g->rules, &s);
        CHECK_EQ(l.init_off, l.heap_off);
        s.heap = 0x1000;
        l = make(g->rules, &s);
        CHECK_EQ(l.init_off, l.heap_off + 0x1000);
    }

    tap_case("a size above what the kind allows is refused with the limit");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        uint64_t max = abi_kind_named(g->name)->region_max;
        char text[96];

        snprintf(text, sizeof(text), "is too large for %s guests (%" PRIu64 "K, at most %" PRIu64 "K)",
                 g->name, (max >> 10) + 4, max >> 10);
        REFUSE(g->rules, in, max + 0x1000, STATUS_USAGE, text);
        REFUSE(g->rules, out, max + 0x1000, STATUS_USAGE, text);
        REFUSE(g->rules, heap, max + 0x1000, STATUS_USAGE, text);
        REFUSE(g->rules, scratch, max + 0x1000, STATUS_USAGE, text);
        REFUSE(g->rules, scratch, UINT64_MAX - 0xfff, STATUS_USAGE, "scratch is too large");
    }

    tap_case("stacks that fit alone and not together are refused for the scratch they need");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        uint64_t max = abi_kind_named(g->name)->region_max;
        struct abi_sizes s = worked;

        s.heap = 0;
        s.image = 1;
        s.in = s.out = max;
        s.scratch = max - 0x2000;
        refuse(g->rules, &s, STATUS_USAGE, "too small");
        s.in = max;
        s.out = 0x2000;
        refuse(g->rules, &s, STATUS_USAGE, "too small");
        s.in = s.out = max / 8192 * 4096;
        refuse(g->rules, &s, STATUS_USAGE, "too small");
    }

    tap_case("an empty image is refused");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++)
        REFUSE(g->rules, image, 0, STATUS_IMAGE, "the image is empty");

    tap_case("a snapshot region above what the kind allows is refused; of exactly that it is not");
    {
        const struct plan_rules *r = rules_named("amd64");
        struct abi_sizes s = worked;
        struct err e;

        s.heap = 0x3ffffc000 - 0x11000;
        s.scratch = 0x4000000;
        CHECK_EQ(status_of(r, &s, &e), 0);
        s.init = 1;
        refuse(r, &s, STATUS_IMAGE,
               "snapshot region 0x4000-0x400001000 is too large (16777204K, at most 16777200K)");
    }
}

static void test_places(void)
{
    const struct guest_kind *g;

    tap_case("an image on page 0, or not on a page, is refused");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        struct abi_sizes s = worked;
        struct err e;

        s.fixed = true;
        s.fixed_base = 0;
        refuse(g->rules, &s, STATUS_IMAGE, "the image starts at 0x0 (page aligned, at least 0x1000 wanted)");
        s.fixed_base = 0x1800;
        refuse(g->rules, &s, STATUS_IMAGE, "the image starts at 0x1800");
        s.fixed_base = 0x1000;
        CHECK_EQ(status_of(g->rules, &s, &e), 0);
    }

    tap_case("an image that runs into scratch is named with its own range, not the region's");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        const struct abi_kind *k = abi_kind_named(g->name);
        struct abi_sizes s = worked;
        char range[96];
        struct err e;

        s.fixed = true;
        s.fixed_base = k->p_top - 0x48000 - 0xf000;
        refuse(g->rules, &s, STATUS_IMAGE, "layout: image 0x");
        snprintf(range, sizeof(range),
                 "image 0x%" PRIx64 "-0x%" PRIx64 " overlaps scratch 0x%" PRIx64 "-0x%" PRIx64, s.fixed_base,
                 s.fixed_base + 0x10000, k->p_top - 0x48000, k->p_top);
        refuse(g->rules, &s, STATUS_IMAGE, range);
        s.fixed_base -= 0x1000;
        refuse(g->rules, &s, STATUS_IMAGE, "layout: snapshot region 0x");
        s.fixed_base = k->p_top - 0x48000 - 0x31000;
        CHECK_EQ(status_of(g->rules, &s, &e), 0);
        s.fixed_base += 0x1000;
        refuse(g->rules, &s, STATUS_IMAGE, "overlaps scratch");
    }

    tap_case("an image that ends past the guest's memory is refused");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        const struct abi_kind *k = abi_kind_named(g->name);
        struct abi_sizes s = worked;

        s.fixed = true;
        s.fixed_base = k->p_top - 0xf000;
        refuse(g->rules, &s, STATUS_IMAGE, "ends past the guest's memory");
        s.fixed_base = k->p_top - 0x10000;
        refuse(g->rules, &s, STATUS_IMAGE, "overlaps scratch");
    }

    tap_case("images that wrap 2^32 or 2^64, or end exactly there, are refused");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        static const struct {
            uint64_t base, len;
        } edge[] = {{0xfffff000, 0x1000},          {0xfffff000, 0x2000},         {0x1000, 0xfffff000},
                    {0x1000, 0x100000000},         {0xffff0000, UINT64_MAX},     {0xfffffffffffff000, 0x1000},
                    {0xfffffffffffff000, 0xfff},   {0xfffffffffffff000, 0x2000}, {0x1000, UINT64_MAX},
                    {0x1000, 0xfffffffffffff000},  {0x1000, UINT64_MAX - 0xfff}, {0xffffffffffffe000, 0xfff},
                    {0x8000000000000000, 1u << 31}};
        size_t i;

        for (i = 0; i < sizeof(edge) / sizeof(edge[0]); i++) {
            struct abi_sizes s = worked;
            struct abi_plan m;
            struct layout l;
            bool accepted;

            s.fixed = true;
            s.fixed_base = edge[i].base;
            s.image = edge[i].len;
            CHECK(plan_agrees(g, &s, &accepted, &l, &m));
            if (edge[i].base > 0x100000000 || edge[i].len > 0x100000000)
                CHECK(!accepted);
            s.init = UINT64_MAX - i;
            CHECK(plan_agrees(g, &s, &accepted, &l, &m) && !accepted);
            s.init = UINT64_MAX - 0x40000 - i * 0x1000;
            CHECK(plan_agrees(g, &s, &accepted, &l, &m) && !accepted);
        }
    }

    tap_case(
        "with a local APIC an amd64 snapshot region may touch its page from both sides and not share it");
    {
        const struct plan_rules *r = rules_named("amd64");
        struct abi_sizes s = worked;
        struct err e;

        s.fixed = s.apic = true;
        s.fixed_base = 0xfee00000 - 0x31000;
        CHECK_EQ(status_of(r, &s, &e), 0);
        s.fixed_base += 0x1000;
        refuse(r, &s, STATUS_IMAGE,
               "snapshot region 0xfedd0000-0xfee01000 overlaps the APIC page 0xfee00000-0xfee01000");
        CHECK_EQ(status_of(r, &s, &e), STATUS_IMAGE);
        CHECK_HAS(e.hint, "--irqchip");
        s.fixed_base = 0xfee00000;
        refuse(r, &s, STATUS_IMAGE, "overlaps the APIC page");
        s.fixed_base = 0xfee01000;
        CHECK_EQ(status_of(r, &s, &e), 0);
        s.fixed_base = 0xfee00000;
        s.apic = false;
        CHECK_EQ(status_of(r, &s, &e), 0);
    }

    tap_case("with a local APIC i686 scratch may still end right below its page");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        struct abi_sizes s = worked;
        struct err e;

        s.apic = true;
        CHECK_EQ(status_of(g->rules, &s, &e), 0);
        s.scratch = 0x6882000;
        CHECK_EQ(status_of(g->rules, &s, &e), 0);
    }
}

static void test_pointers(void)
{
    const struct guest_kind *g;

    tap_case(
        "a pointer is virtual for a guest that starts with page tables and physical for one that does not");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        const struct abi_kind *k = abi_kind_named(g->name);
        static const uint64_t scratch[] = {0x48000, 0x6882000};
        size_t i;

        for (i = 0; i < 2; i++) {
            struct abi_sizes s = worked;
            struct layout l;
            uint64_t off;

            s.scratch = scratch[i];
            l = make(g->rules, &s);
            for (off = 0; off <= scratch[i]; off += i == 0 ? 0x800 : 0x123000) {
                CHECK_EQ(layout_pointer(&l, AREA_SCRATCH, off).v, (uint64_t)(k->g_top - scratch[i] + off));
                CHECK_EQ(layout_gpa(&l, AREA_SCRATCH, off).v, k->p_top - scratch[i] + off);
                if (k->paged)
                    CHECK_EQ(layout_gva(&l, AREA_SCRATCH, off).v, layout_pointer(&l, AREA_SCRATCH, off).v);
            }
            for (off = 0; off <= l.snapshot_len; off += 0x800) {
                CHECK_EQ(layout_pointer(&l, AREA_SNAPSHOT, off).v, k->base + off);
                CHECK_EQ(layout_gpa(&l, AREA_SNAPSHOT, off).v, k->base + off);
                if (k->paged)
                    CHECK_EQ(layout_gva(&l, AREA_SNAPSHOT, off).v, k->base + off);
            }
        }
    }

    tap_case("words are placed by their distance from the top, up to the whole of scratch");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        struct layout l = make(g->rules, &worked);

        CHECK_EQ(layout_top_off(&l, 0), 0x48000);
        CHECK_EQ(layout_top_off(&l, 0x38), 0x47fc8);
        CHECK_EQ(layout_top_off(&l, 0x3000), 0x45000);
        CHECK_EQ(layout_top_off(&l, 0x48000), 0);
    }
}

int main(void)
{
    test_worked_numbers();
    test_refusals();
    test_places();
    test_pointers();
    return tap_done();
}
