/* The address plan. See layout.h for the picture and the contract. */
#include "mem/layout.h"

#include <inttypes.h>

#include "mem/assert.h"
#include "mem/guest_abi.h"
#include "mem/num.h"

/* The words, the boot stack, the counter and the host page share three pages and never a byte. */
_Static_assert(SCRATCH_RNG_WORD < SCRATCH_STACK_TOP, "words end where the boot stack starts");
_Static_assert(SCRATCH_BOOT_STACK >= SCRATCH_STACK_TOP + 8, "the boot stack starts below its top");
_Static_assert(SCRATCH_CANARY_WORD == SCRATCH_COUNTER_WORD - 8, "the canary is the word above the counter");
_Static_assert(SCRATCH_CANARY_WORD >= SCRATCH_STACK_TOP + 0xfd0,
               "the boot stack keeps the ABI's 0xfd0 bytes");
_Static_assert(SCRATCH_COUNTER_WORD % 8 == 0 && SCRATCH_CANARY_WORD % 8 == 0, "words are aligned");
_Static_assert(SCRATCH_COUNTER_WORD <= SCRATCH_HOST_PAGE - PAGE_LEN, "the counter lies above the host page");
_Static_assert(SCRATCH_HOST_PAGE == SCRATCH_RESERVED_PAGES * PAGE_LEN,
               "the allocator ends below the host page");
_Static_assert(HOST_PAGE_ROOTS + 8 * HOST_PAGE_ROOTS_MAX <= HOST_PAGE_GDT,
               "the root list ends below the GDT");
_Static_assert(HOST_PAGE_RANDOM + HOST_PAGE_RANDOM_LEN <= HOST_PAGE_ROOTS_N,
               "random bytes end below the list");
_Static_assert(HOST_PAGE_GDT + HOST_PAGE_GDT_LEN <= PAGE_LEN, "the GDT is inside the host page");
_Static_assert(HOST_PAGE_GDT == SCRATCH_HOST_PAGE - 0x2100, "the ABI puts the GDT 0x2100 below the top");
_Static_assert(SCRATCH_FREE_PAGES > SCRATCH_RESERVED_PAGES,
               "the smallest scratch has room for the top pages");
_Static_assert(I686_PHYS_TOP <= APIC_ACCESS_PAGE, "i686 scratch ends below the pages KVM owns");
_Static_assert(AMD64_PHYS_TOP - ((uint64_t)16 << 30) > APIC_ACCESS_PAGE + PAGE_LEN,
               "amd64 scratch starts above the pages KVM owns");

struct plan_sizes layout_default_sizes(void)
{
    return (struct plan_sizes){
        .input_len = INPUT_LEN_DEFAULT,
        .output_len = OUTPUT_LEN_DEFAULT,
        .heap_len = HEAP_LEN_DEFAULT,
        .scratch_len = SCRATCH_LEN_DEFAULT,
    };
}

/*
 * Tables for two ranges of virtual addresses, both non-empty and `a` below
 * `b`: one root, and at each lower level one table for each distinct prefix.
 */
static uint64_t count_tables(const struct table_shape *t, uint64_t a, uint64_t a_last, uint64_t b,
                             uint64_t b_last)
{
    uint64_t n;
    unsigned level;

    if (t->levels == 0)
        return 0;
    n = 1;
    for (level = 1; level < t->levels; level++) {
        unsigned shift = PAGE_SHIFT + level * t->index_bits;
        uint64_t shared = (a_last >> shift) == (b >> shift);

        n += (a_last >> shift) - (a >> shift) + 1 + (b_last >> shift) - (b >> shift) + 1 - shared;
    }
    return n;
}

static uint64_t plan_base(const struct plan_rules *rules, const struct plan_sizes *s)
{
    return s->image_fixed ? s->image_base : rules->base_default;
}

/* Bytes that a scratch of `scratch` bytes has to hold: stacks, the ABI's free pages and its own tables. */
static uint64_t scratch_need(const struct layout *l, uint64_t scratch)
{
    const struct plan_rules *r = l->rules;
    uint64_t base = l->base.v;

    return l->pt_off + SCRATCH_FREE_PAGES * PAGE_LEN +
           PAGE_LEN * count_tables(&r->tables, base, base + l->snapshot_len - 1, r->virt_top - scratch,
                                   r->virt_top - 1);
}

/*
 * The smallest scratch of at least `from` bytes that holds what it has to. A
 * larger scratch may need another table, so it grows until it does; past the
 * guest's memory it ends, and does not fit anyway.
 */
static uint64_t scratch_holding(const struct layout *l, uint64_t from)
{
    uint64_t len = from;

    while (len < l->rules->phys_top && len < scratch_need(l, len))
        len = scratch_need(l, len);
    return len;
}

/*
 * The largest scratch that fits above the snapshot region; 0 when none does.
 * One page more of scratch may take several more of tables, so a scratch can
 * be too small where a slightly smaller one is not.
 */
static uint64_t scratch_largest(const struct layout *l)
{
    uint64_t end = l->base.v + l->snapshot_len, max, min;

    if (end >= l->rules->phys_top)
        return 0;
    max = l->rules->phys_top - end;
    if (max > l->rules->region_max)
        max = num_page_down(l->rules->region_max);
    min = scratch_holding(l, l->pt_off + SCRATCH_FREE_PAGES * PAGE_LEN);
    while (max >= min && scratch_holding(l, max) != max)
        max -= PAGE_LEN;
    return max >= min ? max : 0;
}

static int check_size(const struct plan_rules *rules, const char *what, uint64_t len, uint64_t min,
                      struct err *e)
{
    if (!num_is_page_aligned(len))
        return err_usage(e, "layout: %s is not a multiple of 4K (%" PRIu64 " bytes)", what, len);
    if (len < min)
        return err_usage(e, "layout: %s is too small (%" PRIu64 "K, at least %" PRIu64 "K)", what, len >> 10,
                         min >> 10);
    if (len > rules->region_max)
        return err_usage(e, "layout: %s is too large for %s guests (%" PRIu64 "K, at most %" PRIu64 "K)",
                         what, rules->kind, len >> 10, rules->region_max >> 10);
    return 0;
}

/* Lay out the snapshot region: image, PEB, heap, init data, each from a page of its own. */
static int place_parts(struct layout *l, struct err *e)
{
    const struct plan_sizes *s = &l->sizes;
    uint64_t base = plan_base(l->rules, s), init_len, end;

    if (s->image_len == 0)
        return err_image(e, "layout: the image is empty");
    if (!num_page_up(s->image_len, &l->peb_off) || !num_add(l->peb_off, PAGE_LEN, &l->heap_off) ||
        !num_add(l->heap_off, s->heap_len, &l->init_off) || !num_page_up(s->init_data_len, &init_len) ||
        !num_add(l->init_off, init_len, &l->snapshot_len) || !num_add(base, l->snapshot_len, &end))
        return err_image(e,
                         "layout: the image with heap and init data wraps around 2^64 (at 0x%" PRIx64
                         ", %" PRIu64 " bytes)",
                         base, s->image_len);
    l->base = gpa_make(base);
    return 0;
}

/* Everything that does not depend on the size of scratch. */
static int place_snapshot(struct layout *l, struct err *e)
{
    const struct plan_rules *rules = l->rules;
    const struct plan_sizes *s = &l->sizes;
    uint64_t base, image_end, end;

    if (check_size(rules, "input stack", s->input_len, STACK_LEN_MIN, e) != 0 ||
        check_size(rules, "output stack", s->output_len, STACK_LEN_MIN, e) != 0 ||
        check_size(rules, "heap", s->heap_len, 0, e) != 0 || place_parts(l, e) != 0)
        return -1;
    base = l->base.v;
    image_end = base + s->image_len;
    end = base + l->snapshot_len;
    if (base < BASE_MIN || !num_is_page_aligned(base))
        return err_image(e, "layout: the image starts at 0x%" PRIx64 " (page aligned, at least 0x%x wanted)",
                         base, BASE_MIN);
    if (image_end > rules->phys_top)
        return err_image(
            e, "layout: image 0x%" PRIx64 "-0x%" PRIx64 " ends past the guest's memory (0x%" PRIx64 ")", base,
            image_end, rules->phys_top);
    if (end - base > rules->region_max)
        return err_image(e,
                         "layout: snapshot region 0x%" PRIx64 "-0x%" PRIx64 " is too large (%" PRIu64
                         "K, at most %" PRIu64 "K)",
                         base, end, (end - base) >> 10, rules->region_max >> 10);
    if (s->apic && num_overlap(base, end - base, APIC_ACCESS_PAGE, PAGE_LEN)) {
        err_image(
            e, "layout: snapshot region 0x%" PRIx64 "-0x%" PRIx64 " overlaps the APIC page 0x%x-0x%" PRIx64,
            base, end, APIC_ACCESS_PAGE, APIC_ACCESS_PAGE + PAGE_LEN);
        return err_hint(e, "run without --irqchip=on, or make the image or heap smaller");
    }
    /* No sum of two stacks wraps: each is at most region_max. */
    l->output_off = s->input_len;
    l->pt_off = s->input_len + s->output_len;
    return 0;
}

/* The rest, once the snapshot region is placed. */
static int place_scratch(struct layout *l, struct err *e)
{
    const struct plan_rules *rules = l->rules;
    uint64_t len = l->sizes.scratch_len, base = l->base.v, end = base + l->snapshot_len;
    uint64_t image_end = base + l->sizes.image_len, scratch, fits;

    if (check_size(rules, "scratch", len, PAGE_LEN, e) != 0)
        return -1;
    scratch = rules->phys_top - len;
    if (end > scratch) {
        err_image(e,
                  "layout: %s 0x%" PRIx64 "-0x%" PRIx64 " overlaps scratch 0x%" PRIx64 "-0x%" PRIx64
                  " (largest scratch that fits: %" PRIu64 "K)",
                  image_end > scratch ? "image" : "snapshot region", base,
                  image_end > scratch ? image_end : end, scratch, rules->phys_top, scratch_largest(l) >> 10);
        return err_hint(e, "give a smaller --scratch or --heap, or link the image lower");
    }
    fits = scratch_holding(l, len);
    if (fits != len)
        return err_usage(e,
                         "layout: scratch is too small (%" PRIu64 "K, at least %" PRIu64
                         "K for these stacks and page tables)",
                         len >> 10, fits >> 10);
    l->scratch_gpa = gpa_make(scratch);
    l->scratch_gva = gva_make(rules->virt_top - len);
    l->pt_len = scratch_need(l, len) - l->pt_off - SCRATCH_FREE_PAGES * PAGE_LEN;
    l->free_off = l->pt_off + l->pt_len;
    return 0;
}

int layout_make(const struct plan_rules *rules, const struct plan_sizes *s, struct layout *out, struct err *e)
{
    struct layout l = {.rules = rules, .sizes = *s};

    if (place_snapshot(&l, e) != 0 || place_scratch(&l, e) != 0)
        return -1;
    *out = l;
    return 0;
}

uint64_t layout_scratch_max(const struct plan_rules *rules, const struct plan_sizes *s)
{
    struct layout l = {.rules = rules, .sizes = *s};
    struct err ignored;

    return place_snapshot(&l, &ignored) == 0 ? scratch_largest(&l) : 0;
}

uint64_t layout_scratch_min(const struct plan_rules *rules, const struct plan_sizes *s)
{
    struct layout l = {.rules = rules, .sizes = *s};
    struct err ignored;

    if (place_snapshot(&l, &ignored) != 0 || scratch_largest(&l) == 0)
        return 0;
    return scratch_holding(&l, l.pt_off + SCRATCH_FREE_PAGES * PAGE_LEN);
}

int layout_captured(const struct layout *l, uint64_t snapshot_len, uint64_t pt_len, uint64_t placed_len,
                    struct layout *out, struct err *e)
{
    struct layout n = *l;
    uint64_t room = l->sizes.scratch_len - SCRATCH_HOST_PAGE - l->pt_off, used;

    if (snapshot_len == 0 || !num_is_page_aligned(snapshot_len) || !num_is_page_aligned(pt_len) ||
        !num_is_page_aligned(placed_len))
        return err_image(
            e, "snapshot: a length is not a multiple of 4K (0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ")",
            snapshot_len, pt_len, placed_len);
    if (snapshot_len > l->scratch_gpa.v - l->base.v || snapshot_len > l->rules->region_max)
        return err_image(
            e, "snapshot: %" PRIu64 "K of pages do not fit below scratch (0x%" PRIx64 "-0x%" PRIx64 ")",
            snapshot_len >> 10, l->base.v, l->scratch_gpa.v);
    if (!num_add(pt_len, placed_len, &used) || used > room)
        return err_image(e,
                         "snapshot: page tables and shared pages do not fit scratch (%" PRIu64
                         "K and %" PRIu64 "K, %" PRIu64 "K there)",
                         pt_len >> 10, placed_len >> 10, room >> 10);
    if (l->sizes.apic && num_overlap(l->base.v, snapshot_len, APIC_ACCESS_PAGE, PAGE_LEN))
        return err_image(e, "snapshot: pages at 0x%" PRIx64 "-0x%" PRIx64 " overlap the APIC page 0x%x",
                         l->base.v, l->base.v + snapshot_len, APIC_ACCESS_PAGE);
    n.snapshot_len = snapshot_len;
    n.pt_len = pt_len;
    n.placed_len = placed_len;
    n.free_off = l->pt_off + used;
    *out = n;
    return 0;
}

uint64_t layout_area_len(const struct layout *l, enum area a)
{
    return a == AREA_SNAPSHOT ? l->snapshot_len : l->sizes.scratch_len;
}

struct gpa layout_gpa(const struct layout *l, enum area a, uint64_t off)
{
    assert(off <= layout_area_len(l, a));
    return gpa_make((a == AREA_SNAPSHOT ? l->base.v : l->scratch_gpa.v) + off);
}

struct gva layout_gva(const struct layout *l, enum area a, uint64_t off)
{
    assert(l->rules->model == MODEL_PAGED && off <= layout_area_len(l, a));
    return gva_make((a == AREA_SNAPSHOT ? l->base.v : l->scratch_gva.v) + off);
}

struct guest_ptr layout_pointer(const struct layout *l, enum area a, uint64_t off)
{
    if (l->rules->model == MODEL_PAGED)
        return (struct guest_ptr){layout_gva(l, a, off).v};
    return (struct guest_ptr){layout_gpa(l, a, off).v};
}

uint64_t layout_top_off(const struct layout *l, uint64_t distance)
{
    assert(distance <= l->sizes.scratch_len);
    return l->sizes.scratch_len - distance;
}
