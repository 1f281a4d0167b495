/*
 * At least 10,000 plans of every shape: each is free of overlaps, by a map of
 * intervals made from the slots that KVM would get and the literal numbers of
 * the ABI, or it is refused with a reason. No KVM is touched.
 */
#include "boot/guest.h"
#include "hv/slots.h"
#include "mem/layout.h"
#include "tests/kvm/slot_seam.h"
#include "tests/plan_check.h"

#define PLANS_N 15000

/* Where the fake host mappings of the two regions start: far apart, so that no offset hides a mistake. */
#define HOST_SNAPSHOT 0x200000000000u
#define HOST_SCRATCH  0x500000000000u

struct interval {
    const char *what;
    u128 start, end;
    uint64_t host; /* where its first byte lies on the host */
    bool readonly;
};

#define INTERVALS_MAX 16

static const char *map_plan(struct slots *slots, struct machine *machine, const struct layout *l, bool apic)
{
    bool readonly = l->rules->model == MODEL_PAGED;
    struct err e;

    seam_reset();
    seam.foreign = apic ? 0xfee00000 : 0;
    *machine = (struct machine){.vm_fd = SEAM_FD, .vcpu_fd = -1, .slots_max = 32};
    slots_init(slots, machine, apic, false);
    if (slots_map(slots, layout_gpa(l, AREA_SNAPSHOT, 0), layout_area_len(l, AREA_SNAPSHOT),
                  (const void *)(uintptr_t)HOST_SNAPSHOT, readonly, &e) != 0)
        return "KVM refused the snapshot region";
    if (slots_map(slots, layout_gpa(l, AREA_SCRATCH, 0), layout_area_len(l, AREA_SCRATCH),
                  (const void *)(uintptr_t)HOST_SCRATCH, false, &e) != 0)
        return "KVM refused scratch";
    return NULL;
}

/* What lies where, by the ABI: offsets of the plan, addresses and lengths from the model. */
static unsigned list(const struct abi_plan *m, const struct layout *l, bool paged, bool apic,
                     struct interval *v)
{
    u128 base = m->base, scratch = m->scratch;
    unsigned n = 0;

    v[n++] = (struct interval){"null guard", 0, 0x1000, 0, false};
    v[n++] = (struct interval){"image", base, m->peb, HOST_SNAPSHOT, paged};
    v[n++] = (struct interval){"PEB", base + l->peb_off, base + l->peb_off + 4096, HOST_SNAPSHOT + l->peb_off,
                               paged};
    v[n++] = (struct interval){"heap", base + l->heap_off, m->init, HOST_SNAPSHOT + l->heap_off, paged};
    v[n++] = (struct interval){"init data", base + l->init_off, m->end, HOST_SNAPSHOT + l->init_off, paged};
    v[n++] = (struct interval){"input stack", scratch, m->out, HOST_SCRATCH, false};
    v[n++] = (struct interval){"output stack", scratch + l->output_off, m->tables,
                               HOST_SCRATCH + l->output_off, false};
    v[n++] =
        (struct interval){"page tables", scratch + l->pt_off, m->first_free, HOST_SCRATCH + l->pt_off, false};
    v[n++] = (struct interval){"free pages", scratch + l->free_off, m->top - 0x3000,
                               HOST_SCRATCH + l->free_off, false};
    v[n++] = (struct interval){"host page", m->top - 0x3000, m->top - 0x2000,
                               HOST_SCRATCH + (uint64_t)(m->top - scratch) - 0x3000, false};
    v[n++] = (struct interval){"counter page", m->top - 0x2000, m->top - 0x1000,
                               HOST_SCRATCH + (uint64_t)(m->top - scratch) - 0x2000, false};
    v[n++] = (struct interval){"boot stack", m->top - 0x1000, m->top,
                               HOST_SCRATCH + (uint64_t)(m->top - scratch) - 0x1000, false};
    if (apic)
        v[n++] = (struct interval){"APIC page", 0xfee00000, 0xfee01000, 0, false};
    return n;
}

static const char *check_backing(const struct interval *v)
{
    u128 at = v->start;

    while (at < v->end) {
        uint64_t host = 0, n;
        bool readonly = false;

        n = seam_backed((uint64_t)at, &host, &readonly);
        if (v->host == 0)
            return n != 0 ? "a slot backs what nothing may back" : NULL;
        if (n == 0)
            return "a page of the plan has no slot";
        if (host != v->host + (uint64_t)(at - v->start))
            return "a page of the plan is backed by another page of the host";
        if (readonly != v->readonly)
            return "a slot has the wrong rights";
        at += n;
    }
    return NULL;
}

/* What is wrong with an accepted plan; NULL: nothing. */
static const char *check_map(const struct abi_kind *k, const struct abi_sizes *s, const struct abi_plan *m,
                             const struct layout *l)
{
    struct interval v[INTERVALS_MAX];
    unsigned n = list(m, l, k->paged, s->apic, v), i, j;
    struct machine machine;
    struct slots slots;
    const char *wrong = map_plan(&slots, &machine, l, s->apic);
    uint64_t mapped = 0;

    if (wrong != NULL)
        return wrong;
    for (i = 0; i < n; i++) {
        if (v[i].end < v[i].start)
            return v[i].what;
        for (j = 0; j < i; j++)
            if (v[i].start < v[j].end && v[j].start < v[i].end)
                return v[i].what;
        wrong = check_backing(&v[i]);
        if (wrong != NULL)
            return wrong;
    }
    /* The 36 bits of amd64 and the 32 of i686, and no byte beyond the two regions. */
    for (i = 0; i < SEAM_SLOTS_N; i++)
        mapped += seam.slot[i].memory_size;
    if (mapped != (uint64_t)(m->end - m->base) + s->scratch)
        return "the slots have another length than the regions";
    if (m->top > (k->index_bits == 9 ? (u128)1 << 36 : (u128)1 << 32))
        return "the plan ends past the guest's physical addresses";
    return NULL;
}

struct tally {
    unsigned long plans_n, accepted_n, overlaps_n, wrong_n, over_2g_n;
};

static void try_plan(const struct guest_kind *g, const struct abi_sizes *s, struct tally *t)
{
    const struct abi_kind *k = abi_kind_named(g->name);
    const char *wrong = NULL;
    struct abi_plan m;
    struct layout l;
    bool accepted;

    t->plans_n++;
    if (!plan_agrees(g, s, &accepted, &l, &m)) {
        t->wrong_n++;
        return;
    }
    if (!accepted) {
        t->overlaps_n += (abi_judge(k, s, &m) & (ABI_ON_SCRATCH | ABI_ON_APIC)) != 0;
        return;
    }
    t->accepted_n++;
    t->over_2g_n += s->scratch > 0x80000000;
    wrong = check_map(k, s, &m, &l);
    if (wrong != NULL) {
        t->wrong_n++;
        printf("# %s: scratch 0x%" PRIx64 " heap 0x%" PRIx64 " image 0x%" PRIx64 " at 0x%" PRIx64 ": %s\n",
               g->name, s->scratch, s->heap, s->image, (uint64_t)m.base, wrong);
    }
}

static void sweep_grid(struct tally *t)
{
    static const uint64_t scratches[] = {
        0x13000,    0x14000,    0x16000,    0x17000,    0x1a000,    0x1b000,    0x48000,
        0x100000,   0x1200000,  0x1201000,  0x2000000,  0x6882000,  0x20000000, 0x40000000,
        0x80000000, 0xc0000000, 0xf9999000, 0xfedce000, 0xfedff000, 0xfee00000, 0x100000000};
    static const uint64_t heaps[] = {0,        0x1000,     0x20000,    0x3ee000,
                                     0x3ef000, 0x10000000, 0x78000000, 0xfe000000};
    static const uint64_t images[] = {1, 0xfff, 0x1000, 0x1001, 0x10000, 0x3fffff, 0x10000000};
    static const uint64_t bases[] = {0, 0x1000, 0x400000, 0x8000000, 0xfed00000};
    const struct guest_kind *g;
    unsigned i, h, im, b, more;

    for (unsigned kind = 0; (g = guest_kind_at(kind)) != NULL; kind++)
        for (i = 0; i < sizeof(scratches) / sizeof(scratches[0]); i++)
            for (h = 0; h < sizeof(heaps) / sizeof(heaps[0]); h++)
                for (im = 0; im < sizeof(images) / sizeof(images[0]); im++)
                    for (b = 0; b < sizeof(bases) / sizeof(bases[0]); b++)
                        for (more = 0; more < 2; more++) {
                            struct abi_sizes s = {.in = 0x4000,
                                                  .out = 0x4000,
                                                  .heap = heaps[h],
                                                  .scratch = scratches[i],
                                                  .init = more * 0x1234,
                                                  .image = images[im],
                                                  .fixed_base = bases[b],
                                                  .fixed = b != 0,
                                                  .apic = (i + h + im + b) % 2 != 0};

                            try_plan(g, &s, t);
                        }
}

int main(void)
{
    struct tally grid = {0}, random = {0};
    uint64_t seed = 20;
    const struct guest_kind *g;
    unsigned kinds_n = 1, kind; /* amd64 there always is */
    unsigned long n;

    while (guest_kind_at(kinds_n) != NULL)
        kinds_n++;

    tap_case("of a grid of plans each is free of overlaps or refused with a reason");
    sweep_grid(&grid);
    CHECK_EQ(grid.wrong_n, 0);
    CHECK(grid.accepted_n > grid.plans_n / 4 && grid.overlaps_n > grid.plans_n / 20 && grid.over_2g_n > 50);

    tap_case("of random plans, to 3.9 GiB of scratch and beyond, each is free of overlaps or refused with a "
             "reason");
    for (n = 0; n < PLANS_N * test_scale() / kinds_n; n++)
        for (kind = 0; (g = guest_kind_at(kind)) != NULL; kind++) {
            struct abi_sizes s;

            random_sizes(&seed, abi_kind_named(g->name), &s);
            try_plan(g, &s, &random);
        }
    CHECK_EQ(random.wrong_n, 0);
    CHECK(random.accepted_n > random.plans_n / 4 && random.overlaps_n > random.plans_n / 20);

    tap_case("those were at least 10,000 plans");
    printf("# %lu plans, %lu accepted (%lu with more than 2 GiB of scratch), %lu refused for an overlap\n",
           grid.plans_n + random.plans_n, grid.accepted_n + random.accepted_n,
           grid.over_2g_n + random.over_2g_n, grid.overlaps_n + random.overlaps_n);
    CHECK(random.plans_n >= 10000 && random.over_2g_n > 50);
    return tap_done();
}
