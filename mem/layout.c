/* The address plan. See layout.h for the picture and the contract. */
#include "mem/layout.h"

#include <assert.h>
#include <inttypes.h>

#include "mem/guest_abi.h"
#include "mem/num.h"

/* The words, the boot stack, the counter and the host page share three pages and never a byte. */
_Static_assert(SCRATCH_RNG_WORD < SCRATCH_STACK_TOP, "words end where the boot stack starts");
_Static_assert(SCRATCH_BOOT_STACK >= SCRATCH_STACK_TOP + 8, "the boot stack starts below its top");
_Static_assert(SCRATCH_CANARY_WORD == SCRATCH_COUNTER_WORD - 8, "the canary is the word above the counter");
_Static_assert(SCRATCH_CANARY_WORD >= SCRATCH_STACK_TOP + 0xfd0, "the boot stack keeps the ABI's 0xfd0 bytes");
_Static_assert(SCRATCH_COUNTER_WORD % 8 == 0 && SCRATCH_CANARY_WORD % 8 == 0, "words are aligned");
_Static_assert(SCRATCH_COUNTER_WORD <= SCRATCH_HOST_PAGE - PAGE_LEN, "the counter lies above the host page");
_Static_assert(SCRATCH_HOST_PAGE == SCRATCH_RESERVED_PAGES * PAGE_LEN, "the allocator ends below the host page");
_Static_assert(HOST_PAGE_ROOTS + 8 * HOST_PAGE_ROOTS_MAX <= HOST_PAGE_GDT, "the root list ends below the GDT");
_Static_assert(HOST_PAGE_RANDOM + HOST_PAGE_RANDOM_LEN <= HOST_PAGE_ROOTS_N, "random bytes end below the list");
_Static_assert(HOST_PAGE_GDT + HOST_PAGE_GDT_LEN <= PAGE_LEN, "the GDT is inside the host page");
_Static_assert(HOST_PAGE_GDT == SCRATCH_HOST_PAGE - 0x2100, "the ABI puts the GDT 0x2100 below the top");
_Static_assert(SCRATCH_FREE_PAGES > SCRATCH_RESERVED_PAGES, "the smallest scratch has room for the top pages");
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

/* The snapshot region's length: image, PEB, heap, init data, each from a page of its own. */
static bool snapshot_len(const struct plan_sizes *s, uint64_t *peb_off, uint64_t *heap_off, uint64_t *init_off,
                         uint64_t *len)
{
    uint64_t init_len;

    return num_page_up(s->image_len, peb_off) && num_add(*peb_off, PAGE_LEN, heap_off) &&
           num_add(*heap_off, s->heap_len, init_off) && num_page_up(s->init_data_len, &init_len) &&
           num_add(*init_off, init_len, len);
}

uint64_t layout_scratch_max(const struct plan_rules *rules, const struct plan_sizes *s)
{
    uint64_t peb, heap, init, len, end, max;

    if (!snapshot_len(s, &peb, &heap, &init, &len) || !num_add(plan_base(rules, s), len, &end) ||
        end >= rules->phys_top)
        return 0;
    max = rules->phys_top - end;
    return max < rules->region_max ? max : num_page_down(rules->region_max);
}

/* Bytes of tables for a snapshot region [base, base + len) and a scratch of `scratch` bytes. */
static uint64_t tables_len(const struct plan_rules *rules, uint64_t base, uint64_t len, uint64_t scratch)
{
    return PAGE_LEN * count_tables(&rules->tables, base, base + len - 1, rules->virt_top - scratch,
                                   rules->virt_top - 1);
}

uint64_t layout_scratch_min(const struct plan_rules *rules, const struct plan_sizes *s)
{
    uint64_t peb, heap, init, len, end, stacks, fixed, min;

    if (!snapshot_len(s, &peb, &heap, &init, &len) || !num_add(plan_base(rules, s), len, &end) ||
        end > rules->phys_top || !num_add(s->input_len, s->output_len, &stacks) ||
        !num_page_up(stacks, &stacks) || stacks > rules->region_max)
        return 0;
    fixed = stacks + SCRATCH_FREE_PAGES * PAGE_LEN;
    /* A larger scratch may need another table, so grow until it holds its own. */
    min = fixed;
    while (min < rules->phys_top && min < fixed + tables_len(rules, plan_base(rules, s), len, min))
        min = fixed + tables_len(rules, plan_base(rules, s), len, min);
    return min;
}

static int check_sizes(const struct plan_rules *rules, const struct plan_sizes *s, struct err *e)
{
    const struct {
        const char *what;
        uint64_t len, min;
    } row[] = {
        {"input stack", s->input_len, STACK_LEN_MIN},
        {"output stack", s->output_len, STACK_LEN_MIN},
        {"heap", s->heap_len, 0},
        {"scratch", s->scratch_len, PAGE_LEN},
    };
    unsigned i;

    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        if (!num_is_page_aligned(row[i].len))
            return err_set(e, STATUS_USAGE, "layout: %s is not a multiple of 4K (%" PRIu64 " bytes)",
                           row[i].what, row[i].len);
        if (row[i].len < row[i].min)
            return err_set(e, STATUS_USAGE, "layout: %s is too small (%" PRIu64 "K, at least %" PRIu64 "K)",
                           row[i].what, row[i].len >> 10, row[i].min >> 10);
        if (row[i].len > rules->region_max)
            return err_set(e, STATUS_USAGE, "layout: %s is too large for %s guests (%" PRIu64 "K, at most %" PRIu64 "K)",
                           row[i].what, rules->kind, row[i].len >> 10, rules->region_max >> 10);
    }
    return 0;
}

/* [base, end) against everything that is not the image's to take. `what` names the part that collides. */
static int check_snapshot_range(const struct plan_rules *rules, const struct plan_sizes *s, uint64_t base,
                                uint64_t image_end, uint64_t end, struct err *e)
{
    uint64_t scratch = rules->phys_top - s->scratch_len;
    uint64_t max = layout_scratch_max(rules, s);
    const char *what = image_end > scratch ? "image" : "snapshot region";
    uint64_t what_end = image_end > scratch ? image_end : end;

    if (base < BASE_MIN || !num_is_page_aligned(base))
        return err_set(e, STATUS_IMAGE, "layout: the image starts at 0x%" PRIx64 " (page aligned, at least 0x%x wanted)",
                       base, BASE_MIN);
    if (image_end > rules->phys_top)
        return err_set(e, STATUS_IMAGE,
                       "layout: image 0x%" PRIx64 "-0x%" PRIx64 " ends past the guest's memory (0x%" PRIx64 ")",
                       base, image_end, rules->phys_top);
    if (end - base > rules->region_max)
        return err_set(e, STATUS_IMAGE,
                       "layout: snapshot region 0x%" PRIx64 "-0x%" PRIx64 " is too large (%" PRIu64
                       "K, at most %" PRIu64 "K)",
                       base, end, (end - base) >> 10, rules->region_max >> 10);
    if (end > scratch) {
        err_set(e, STATUS_IMAGE,
                "layout: %s 0x%" PRIx64 "-0x%" PRIx64 " overlaps scratch 0x%" PRIx64 "-0x%" PRIx64
                " (largest scratch that fits: %" PRIu64 "K)",
                what, base, what_end, scratch, rules->phys_top, max >> 10);
        return err_hint(e, "give a smaller --scratch or --heap, or link the image lower");
    }
    if (s->apic && num_overlap(base, end - base, APIC_ACCESS_PAGE, PAGE_LEN)) {
        err_set(e, STATUS_IMAGE,
                "layout: snapshot region 0x%" PRIx64 "-0x%" PRIx64 " overlaps the APIC page 0x%x-0x%" PRIx64,
                base, end, APIC_ACCESS_PAGE, APIC_ACCESS_PAGE + PAGE_LEN);
        return err_hint(e, "run without --irqchip=on, or make the image or heap smaller");
    }
    return 0;
}

int layout_make(const struct plan_rules *rules, const struct plan_sizes *s, struct layout *out, struct err *e)
{
    struct layout l = {.rules = rules, .sizes = *s};
    uint64_t base = plan_base(rules, s), image_end, end, min;

    if (check_sizes(rules, s, e) != 0)
        return -1;
    if (s->image_len == 0)
        return err_set(e, STATUS_IMAGE, "layout: the image is empty");
    if (!num_add(base, s->image_len, &image_end) ||
        !snapshot_len(s, &l.peb_off, &l.heap_off, &l.init_off, &l.snapshot_len) ||
        !num_add(base, l.snapshot_len, &end))
        return err_set(e, STATUS_IMAGE, "layout: the image wraps around 2^64 (at 0x%" PRIx64 ", %" PRIu64 " bytes)",
                       base, s->image_len);
    if (check_snapshot_range(rules, s, base, image_end, end, e) != 0)
        return -1;
    min = layout_scratch_min(rules, s);
    if (s->scratch_len < min)
        return err_set(e, STATUS_USAGE,
                       "layout: scratch is too small (%" PRIu64 "K, at least %" PRIu64
                       "K for these stacks and page tables)",
                       s->scratch_len >> 10, min >> 10);

    l.base = gpa_make(base);
    l.scratch_gpa = gpa_make(rules->phys_top - s->scratch_len);
    l.scratch_gva = gva_make(rules->virt_top - s->scratch_len);
    l.output_off = s->input_len;
    l.pt_off = s->input_len + s->output_len;
    l.pt_len = tables_len(rules, base, l.snapshot_len, s->scratch_len);
    l.free_off = l.pt_off + l.pt_len;
    *out = l;
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
