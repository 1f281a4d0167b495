/*
 * One plan of mem/layout against the model: accepted exactly when the model
 * finds nothing wrong, with the same numbers; otherwise refused with a status
 * and a text that fit one of the model's reasons. And random plans to try.
 */
#ifndef TESTS_PLAN_CHECK_H
#define TESTS_PLAN_CHECK_H

#include <stdlib.h>

#include "boot/guest.h"
#include "mem/layout.h"
#include "tests/abi_model.h"
#include "tests/tap.h"

static inline unsigned long test_scale(void)
{
    const char *s = getenv("TEST_SCALE");
    unsigned long n = s != NULL ? strtoul(s, NULL, 10) : 1;

    return n != 0 ? n : 1;
}

static inline struct plan_sizes plan_sizes_of(const struct abi_sizes *s)
{
    return (struct plan_sizes){
        .input_len = s->in,
        .output_len = s->out,
        .heap_len = s->heap,
        .scratch_len = s->scratch,
        .init_data_len = s->init,
        .image_base = s->fixed_base,
        .image_len = s->image,
        .image_fixed = s->fixed,
        .apic = s->apic,
    };
}

/* Whether each of `len` bytes is still UNTOUCHED, what they were set to before a call that has to leave them
 * alone. */
#define UNTOUCHED 0xa5

static inline bool is_untouched(const void *p, size_t len)
{
    const unsigned char *b = (const unsigned char *)p;
    size_t i;

    for (i = 0; i < len && b[i] == UNTOUCHED; i++)
        ;
    return i == len;
}

/* Whether `text` has the range "0xA-0xB". */
static inline bool names_range(const char *text, u128 a, u128 b)
{
    char range[64];

    snprintf(range, sizeof(range), "0x%" PRIx64 "-0x%" PRIx64, (uint64_t)a, (uint64_t)b);
    return strstr(text, range) != NULL;
}

static inline bool refusal_fits(unsigned bad, const struct abi_kind *k, const struct abi_sizes *s,
                                const struct abi_plan *m, const struct err *e)
{
    u128 scratch = (u128)k->p_top - s->scratch;
    const char *t = e->text;
    bool one_line = strchr(t, '\n') == NULL && t[0] != '\0' && t[strlen(t) - 1] != '.';

    if (!one_line || strncmp(t, "layout: ", 8) != 0)
        return false;
    if (strstr(t, "overlaps scratch") != NULL)
        return e->status == STATUS_IMAGE && (bad & ABI_ON_SCRATCH) && names_range(t, scratch, k->p_top) &&
               strstr(t, "largest scratch that fits") != NULL &&
               ((m->image_end > scratch && names_range(t, m->base, m->image_end)) ||
                (m->image_end <= scratch && names_range(t, m->base, m->end)));
    if (strstr(t, "overlaps the APIC page") != NULL)
        return e->status == STATUS_IMAGE && (bad & ABI_ON_APIC) && names_range(t, 0xfee00000, 0xfee01000) &&
               names_range(t, m->base, m->end);
    if (strstr(t, "scratch is too small") != NULL && s->scratch != 0)
        return e->status == STATUS_USAGE && (bad & ABI_TOO_SMALL);
    if (e->status == STATUS_USAGE)
        return (bad & ABI_BAD_SIZE) != 0;
    if (strstr(t, "image starts at") != NULL)
        return e->status == STATUS_IMAGE && (bad & ABI_BAD_BASE);
    if (strstr(t, "past the guest's memory") != NULL)
        return e->status == STATUS_IMAGE && (bad & ABI_PAST_END) && names_range(t, m->base, m->image_end);
    if (strstr(t, "wraps around 2^64") != NULL)
        return e->status == STATUS_IMAGE && m->end >= (u128)1 << 64;
    if (strstr(t, "is too large") != NULL || strstr(t, "is empty") != NULL)
        return e->status == STATUS_IMAGE && (bad & ABI_BAD_IMAGE);
    return false;
}

static inline bool numbers_fit(const struct layout *l, const struct guest_kind *g, const struct abi_sizes *s,
                               const struct abi_plan *m)
{
    return l->rules == g->rules && l->base.v == m->base && l->snapshot_len == m->end - m->base &&
           l->peb_off == m->peb - m->base && l->heap_off == m->heap - m->base &&
           l->init_off == m->init - m->base && l->scratch_gpa.v == m->scratch &&
           l->scratch_gva.v == (uint64_t)m->seen && l->output_off == m->out - m->scratch &&
           l->pt_off == m->tables - m->scratch && l->pt_len == m->tables_n * 4096 &&
           l->free_off == m->first_free - m->scratch && l->sizes.scratch_len == s->scratch;
}

/* Whether `g` and the model agree on these sizes; *accepted says on what. Prints what is wrong. */
static inline bool plan_agrees(const struct guest_kind *g, const struct abi_sizes *s, bool *accepted,
                               struct layout *l, struct abi_plan *m)
{
    const struct abi_kind *k = abi_kind_named(g->name);
    struct plan_sizes sizes = plan_sizes_of(s);
    struct layout out;
    struct err e;
    unsigned bad;
    bool ok;
    int rc;

    memset(&out, UNTOUCHED, sizeof(out));
    memset(&e, UNTOUCHED, sizeof(e));
    bad = abi_judge(k, s, m);
    rc = layout_make(g->rules, &sizes, &out, &e);
    *accepted = rc == 0;
    if (rc == 0)
        ok = bad == 0 && numbers_fit(&out, g, s, m) && is_untouched(&e, sizeof(e));
    else
        ok = rc == -1 && bad != 0 && refusal_fits(bad, k, s, m, &e) && is_untouched(&out, sizeof(out));
    if (rc == 0)
        *l = out;
    if (!ok)
        printf("# %s: in 0x%" PRIx64 " out 0x%" PRIx64 " heap 0x%" PRIx64 " scratch 0x%" PRIx64
               " init 0x%" PRIx64 " image 0x%" PRIx64 " at 0x%" PRIx64
               " fixed %d apic %d: model 0x%x, layout %d: %s\n",
               g->name, s->in, s->out, s->heap, s->scratch, s->init, s->image, s->fixed_base, s->fixed,
               s->apic, bad, rc, rc == 0 ? "" : e.text);
    return ok;
}

static inline uint64_t random_below(uint64_t *seed, uint64_t n)
{
    return tap_random(seed) % (n != 0 ? n : 1);
}

/* A page multiple of any magnitude up to about `max`. */
static inline uint64_t random_pages(uint64_t *seed, uint64_t max)
{
    unsigned bits = 0;

    while (max >> bits != 0)
        bits++;
    return (tap_random(seed) >> (64 - 1 - random_below(seed, bits))) % (max + 1) & ~(uint64_t)4095;
}

/* The edges that matter: where scratch meets the snapshot region, and where it just holds its own tables. */
static inline uint64_t random_scratch(uint64_t *seed, const struct abi_kind *k, const struct abi_sizes *s)
{
    struct abi_sizes probe = *s;
    struct abi_plan m;
    uint64_t near = (random_below(seed, 9) - 4) * 4096;

    probe.scratch = 0x1000;
    abi_judge(k, &probe, &m);
    switch (random_below(seed, 8)) {
    case 0: return (uint64_t)(m.first_free - m.scratch) + 12 * 4096 + near + random_below(seed, 30) * 4096;
    case 1:
    case 2: return (uint64_t)(k->p_top - m.end) + near;
    case 3: return ((uint64_t)1 << (20 + random_below(seed, 15))) + near;
    case 4: return random_pages(seed, 0xf9999000); /* 3.9 GiB */
    case 5: return random_below(seed, 0xf9999) * 4096;
    case 6: return 0x48000 + random_below(seed, 2) * (0x6882000 - 0x48000);
    default: return random_below(seed, k->region_max / 4096 + 4) * 4096;
    }
}

/* Sizes of every magnitude, most of which go together, some of which cannot. */
static inline void random_sizes(uint64_t *seed, const struct abi_kind *k, struct abi_sizes *s)
{
    memset(s, 0, sizeof(*s));
    s->in = random_below(seed, 4) != 0 ? 0x2000 + random_pages(seed, 0x100000)
                                       : random_pages(seed, k->region_max);
    s->out = random_below(seed, 4) != 0 ? 0x2000 + random_pages(seed, 0x100000) : 0x4000;
    s->heap = random_below(seed, 4) != 0 ? random_pages(seed, 0x40000000)
                                         : random_pages(seed, k->region_max + 8192);
    s->image = random_below(seed, 4) != 0 ? 1 + random_below(seed, 0x400000)
                                          : (tap_random(seed) >> (30 + random_below(seed, 34))) + 1;
    s->init = random_below(seed, 2) != 0 ? 0 : tap_random(seed) >> (34 + random_below(seed, 30));
    s->fixed = random_below(seed, 2) != 0;
    s->fixed_base = random_below(seed, 3) != 0 ? 0x1000 + random_pages(seed, 0x10000000)
                                               : random_pages(seed, k->p_top + 0x100000);
    s->apic = random_below(seed, 2) != 0;
    if (random_below(seed, 40) == 0)
        s->in += 1 + random_below(seed, 4095);
    if (random_below(seed, 40) == 0)
        s->fixed_base += random_below(seed, 4096);
    s->scratch = random_scratch(seed, k, s);
    if (random_below(seed, 40) == 0)
        s->scratch += random_below(seed, 4096);
}

#endif
