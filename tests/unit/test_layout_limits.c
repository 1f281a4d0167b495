/*
 * mem/layout: the smallest and the largest scratch, exact to the page; tables
 * counted as paging/build takes them; random plans against the ABI's text.
 */
#include "mem/layout.h"

#include <assert.h>

#include "paging/build.h"
#include "tests/unit/layout_worked.h"

static void test_smallest(void)
{
    static const struct {
        const char *kind;
        uint64_t min;
    } known[] = {{"amd64", 0x14000 + 0x7000}, {"i686", 0x14000 + 0x3000}, {"i686-identity", 0x14000}};
    struct abi_sizes s = worked;
    const struct guest_kind *g;
    struct err e;
    size_t i;

    tap_case("the smallest scratch is stacks, twelve pages and the tables; a page less is refused");
    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct plan_rules *r = rules_named(known[i].kind);
        char wanted[64];

        if (r == NULL)
            continue;
        CHECK_EQ(scratch_min(r, &s), known[i].min);
        s.scratch = known[i].min;
        CHECK_EQ(status_of(r, &s, &e), 0);
        s.scratch -= 0x1000;
        CHECK_EQ(status_of(r, &s, &e), STATUS_USAGE);
        snprintf(wanted, sizeof(wanted), "(%uK, at least %uK", (unsigned)(s.scratch >> 10),
                 (unsigned)(known[i].min >> 10));
        CHECK_HAS(e.text, wanted);
    }

    tap_case("the smallest scratch does not depend on the scratch that was asked for");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        s = worked;
        s.scratch = 0x1000;
        CHECK_EQ(scratch_min(g->rules, &s), scratch_min(g->rules, &worked));
        s.scratch = 0x6882000;
        CHECK_EQ(scratch_min(g->rules, &s), scratch_min(g->rules, &worked));
    }

    tap_case("there is no smallest scratch when the other sizes do not fit the address space");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        s = worked;
        s.fixed = true;
        s.fixed_base = 0xfffffffffffff000;
        CHECK_EQ(scratch_min(g->rules, &s), 0);
        s.fixed_base = 0xffffffffffff0000;
        s.image = 0x20000;
        CHECK_EQ(scratch_min(g->rules, &s), 0);
        s = worked;
        s.in = UINT64_MAX - 0xfff;
        CHECK_EQ(scratch_min(g->rules, &s), 0);
        s.in = UINT64_MAX - 0x4000 - 5;
        CHECK_EQ(scratch_min(g->rules, &s), 0);
        s = worked;
        s.init = UINT64_MAX;
        CHECK_EQ(scratch_min(g->rules, &s), 0);
        s = worked;
        s.fixed = true;
        s.fixed_base = g->rules->phys_top - 0x30000;
        CHECK_EQ(scratch_min(g->rules, &s), 0);
    }
}

static void test_largest(void)
{
    const struct guest_kind *g;

    tap_case("the largest scratch fits and a page more is refused with both ranges and that size");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        const struct abi_kind *k = abi_kind_named(g->name);
        static const uint64_t heaps[] = {0, 0x20000, 0x10000000, 0x80000000, 0xf0000000};
        size_t i;

        for (i = 0; i < sizeof(heaps) / sizeof(heaps[0]); i++) {
            struct abi_sizes s = worked;
            struct abi_plan m;
            char size[32];
            uint64_t max;
            struct err e;

            s.heap = heaps[i];
            max = scratch_max(g->rules, &s);
            s.scratch = max;
            CHECK_EQ(status_of(g->rules, &s, &e), 0);
            s.scratch += 0x1000;
            abi_judge(k, &s, &m);
            if (k->p_top == 0xfee00000) {
                CHECK_EQ(max, 0xfee00000 - 0x1000 - 0x10000 - 0x1000 - heaps[i]);
                CHECK_EQ(status_of(g->rules, &s, &e), STATUS_IMAGE);
                CHECK(names_range(e.text, m.base, m.end));
                CHECK(names_range(e.text, m.scratch, m.top));
                snprintf(size, sizeof(size), ": %uK)", (unsigned)(max >> 10));
                CHECK_HAS(e.text, size);
                CHECK_HAS(e.hint, "--scratch");
            } else {
                CHECK_EQ(max, 0x3ffffc000);
                CHECK_EQ(status_of(g->rules, &s, &e), STATUS_USAGE);
                CHECK_HAS(e.text, "scratch is too large for amd64 guests (16777204K, at most 16777200K)");
            }
        }
    }

    tap_case("an image high in amd64's memory limits scratch as well");
    {
        const struct plan_rules *r = rules_named("amd64");
        struct abi_sizes s = worked;
        struct err e;

        s.fixed = true;
        s.fixed_base = 0xf00000000;
        CHECK_EQ(scratch_max(r, &s), 0x100000000 - 0x31000);
        s.scratch = 0x100000000 - 0x31000;
        CHECK_EQ(status_of(r, &s, &e), 0);
        s.scratch += 0x1000;
        CHECK_EQ(status_of(r, &s, &e), STATUS_IMAGE);
        CHECK_HAS(e.text, "snapshot region 0xf00000000-0xf00031000 overlaps scratch 0xf00030000-0x1000000000 "
                          "(largest scratch that fits: 4194108K)");
    }
}

/* Every scratch from `from` to `to` by the model: the smallest and the largest that fit. */
static void scan(const struct guest_kind *g, struct abi_sizes s, uint64_t from, uint64_t to, uint64_t *min,
                 uint64_t *max)
{
    const struct abi_kind *k = abi_kind_named(g->name);
    struct abi_plan m;

    *min = *max = 0;
    for (s.scratch = from; s.scratch <= to; s.scratch += 0x1000) {
        if (abi_judge(k, &s, &m) != 0)
            continue;
        *max = s.scratch;
        if (*min == 0)
            *min = s.scratch;
    }
}

static void test_exact(void)
{
    const struct guest_kind *g;
    bool accepted;

    tap_case("smallest and largest are exact where few pages are left between image and stacks");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        const struct abi_kind *k = abi_kind_named(g->name);
        struct abi_sizes s = worked;
        uint64_t room, min, max;

        for (room = 0; room <= 40; room++) {
            s.fixed = true;
            s.fixed_base = k->p_top - room * 0x1000 - 0x31000;
            scan(g, s, 0x1000, 0x40000, &min, &max);
            CHECK_EQ(scratch_max(g->rules, &s), max);
            CHECK_EQ(scratch_min(g->rules, &s), min);
        }
    }

    tap_case("exact too where a page more of scratch takes one or two tables more");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        static const uint64_t edges[] = {0x200000, 0x400000, 0x800000, 0x40000000};
        size_t i;

        for (i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
            const struct abi_kind *k = abi_kind_named(g->name);
            struct abi_sizes s = worked;
            struct abi_plan m;
            unsigned n;

            s.scratch = edges[i] - 0x1000;
            abi_judge(k, &s, &m);
            for (n = 0; n < 12; n++) {
                uint64_t min, max, at, tables = (uint64_t)(m.first_free - m.tables);

                s.in = edges[i] - tables - 12 * 0x1000 - 0x4000 - 8 * 0x1000 + n * 0x1000;
                scan(g, s, edges[i] - 0x10000, edges[i] + 0x10000, &min, &max);
                CHECK_EQ(scratch_min(g->rules, &s), min);
                for (at = edges[i] - 0x8000; at <= edges[i] + 0x8000; at += 0x1000) {
                    struct layout l;

                    s.scratch = at;
                    CHECK(plan_agrees(g, &s, &accepted, &l, &m));
                }
            }
        }
    }

    tap_case("where the last page would take more tables than it brings, the largest leaves it out");
    {
        const struct guest_kind *g64 = guest_kind_at(0);
        struct abi_sizes s = worked;
        uint64_t min, max;
        struct abi_plan m;

        /* Exactly 1 GiB is left. All but its last page is full; that page would take two tables. */
        s.fixed = true;
        s.fixed_base = 0x1000000000 - 0x40000000 - 0x31000;
        s.scratch = 0x3ffff000;
        abi_judge(abi_kind_named("amd64"), &s, &m);
        s.in = 0x3ffff000 - 0x4000 - 12 * 0x1000 - (uint64_t)(m.first_free - m.tables);
        scan(g64, s, 0x3fff0000, 0x40000000, &min, &max);
        CHECK_EQ(min, 0x3ffff000);
        CHECK_EQ(max, 0x3ffff000);
        CHECK_EQ(scratch_max(g64->rules, &s), 0x3ffff000);
        CHECK_EQ(scratch_min(g64->rules, &s), 0x3ffff000);
        s.in -= 0x1000;
        scan(g64, s, 0x3fff0000, 0x40000000, &min, &max);
        CHECK_EQ(scratch_max(g64->rules, &s), max);
    }

    tap_case("no scratch is the largest when the snapshot region cannot be placed at all");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        struct abi_sizes s = worked;

        s.heap = abi_kind_named(g->name)->region_max;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
        s = worked;
        s.fixed = true;
        s.fixed_base = abi_kind_named(g->name)->p_top;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
        s.fixed_base = 0xfffffffffffff000;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
        s.fixed_base = 0;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
        s.fixed_base = 0x1800;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
        s = worked;
        s.init = UINT64_MAX;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
        s = worked;
        s.in = s.out = abi_kind_named(g->name)->region_max;
        CHECK_EQ(scratch_max(g->rules, &s), 0);
    }

    tap_case("no scratch is the largest when an amd64 snapshot region lies on the APIC page");
    {
        struct abi_sizes s = worked;

        s.fixed = s.apic = true;
        s.fixed_base = 0xfee00000;
        CHECK_EQ(scratch_max(rules_named("amd64"), &s), 0);
        s.apic = false;
        CHECK_EQ(scratch_max(rules_named("amd64"), &s), 0x3ffffc000);
    }
}

/* Map what the plan says with paging/build; what it used. */
static uint64_t really_built(const struct guest_kind *g, const struct layout *l)
{
    uint8_t *tables = malloc(l->pt_len);
    struct pt_build b;
    struct err e;
    uint64_t used = 0;

    assert(tables != NULL);
    if (CHECK(build_init(&b, g->geom, tables, l->scratch_gpa, l->pt_len, &e) == 0) &&
        CHECK(build_map(&b, layout_gva(l, AREA_SNAPSHOT, 0), l->base, l->snapshot_len, PT_COW, &e) == 0) &&
        CHECK(build_map(&b, layout_gva(l, AREA_SCRATCH, 0), l->scratch_gpa, l->sizes.scratch_len, PT_WRITE,
                        &e) == 0))
        used = build_used(&b);
    free(tables);
    return used;
}

static void test_tables(void)
{
    const struct guest_kind *g;

    tap_case("the tables planned are the tables that paging/build takes");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
        static const struct {
            uint64_t base, heap, scratch;
        } at[] = {
            {0x1000, 0x20000, 0x48000},       {0x1000, 0x20000, 0x6882000},
            {0x1ff000, 0, 0x200000},          {0x1ef000, 0, 0x1ff000},
            {0x3ef000, 0x1000, 0x3ff000},     {0x3ee000, 0, 0x400000},
            {0x3fff0000, 0x400000, 0x401000}, {0x1000, 0x40000000, 0x1000000},
            {0x40000000, 0x3ef000, 0x800000}, {0x7ffef000, 0x1000, 0x10000000},
            {0x1000, 0x3fe000, 0x40000000},   {0xc0000000, 0x200000, 0x3fffe000},
        };
        size_t i;

        for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
            struct abi_sizes s = worked;
            struct layout l;

            s.fixed = true;
            s.fixed_base = at[i].base;
            s.heap = at[i].heap;
            s.scratch = at[i].scratch;
            if (scratch_max(g->rules, &s) < s.scratch)
                continue;
            l = make(g->rules, &s);
            if (g->geom == NULL)
                CHECK_EQ(l.pt_len, 0);
            else
                CHECK_EQ(l.pt_len, really_built(g, &l));
        }
    }

    tap_case("a table that snapshot region and scratch share is counted once");
    {
        /* No kind of the ABI is so narrow. Two levels, tables of 4 MiB; then three, with directories of 1
         * GiB. */
        struct plan_rules r = {.kind = "narrow",
                               .model = MODEL_PAGED,
                               .base_default = 0x1000,
                               .phys_top = 0x3c0000,
                               .virt_top = 0x3c0000,
                               .region_max = 0x3c0000,
                               .tables = {.levels = 2, .index_bits = 10}};

        CHECK_EQ(make(&r, &worked).pt_len, 0x2000);
        r.virt_top = 0x400000 + 0x48000;
        CHECK_EQ(make(&r, &worked).pt_len, 0x3000);
        r.virt_top = 0x400000 + 0x47000;
        CHECK_EQ(make(&r, &worked).pt_len, 0x3000);
        r.tables.levels = 3;
        r.tables.index_bits = 9;
        r.virt_top = 0x3c0000;
        CHECK_EQ(make(&r, &worked).pt_len, 0x4000); /* root, one directory, two tables of 2 MiB */
        r.virt_top = 0x40000000 + 0x48000;
        CHECK_EQ(make(&r, &worked).pt_len, 0x5000);
    }
}

static void test_random(void)
{
    uint64_t seed = 3;
    unsigned long n, total = 4000 * test_scale(), accepted_n = 0, wrong = 0, limits = 0;
    const struct guest_kind *g;

    tap_case("random plans are what the ABI's text makes of them, number by number, and so are their limits");
    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++)
        for (n = 0; n < total; n++) {
            const struct abi_kind *k = abi_kind_named(g->name);
            struct abi_sizes s;
            struct abi_plan m;
            struct layout l;
            bool accepted;
            uint64_t max;
            unsigned bad;

            random_sizes(&seed, k, &s);
            wrong += !plan_agrees(g, &s, &accepted, &l, &m);
            accepted_n += accepted;
            bad = abi_judge(k, &s, &m);
            if (bad & ~(unsigned)(ABI_ON_SCRATCH | ABI_TOO_SMALL))
                continue;
            max = scratch_max(g->rules, &s);
            s.scratch = max;
            limits += max != 0 && abi_judge(k, &s, &m) != 0;
            s.scratch = max + 0x1000;
            limits += abi_judge(k, &s, &m) == 0;
        }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(limits, 0);
    printf("# %lu of the plans were accepted\n", accepted_n);
    CHECK(accepted_n > total / 4);
}

int main(void)
{
    test_smallest();
    test_largest();
    test_exact();
    test_tables();
    test_random();
    return tap_done();
}
