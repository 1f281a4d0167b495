/*
 * Judges a compaction by what a guest can see, with the reference walker: the
 * same pages at the same addresses with the same rights, the same pages and
 * tables shared; and the two worlds still the same after both guests have
 * written, each handling its copy-on-write faults. Then compacts the result
 * once more, which must change nothing but addresses.
 */
#ifndef TESTS_COMPACT_CHECK_H
#define TESTS_COMPACT_CHECK_H

#include "paging/compact.h"
#include "tests/unit/worlds.h"

#define CC_PAGES_MAX 8192

/* A page that a root maps outside the window, or an entry that is not present but not 0. */
struct cc_item {
    unsigned root;
    uint64_t va;
    bool marker;
    uint64_t pa;
    bool write, user, exec, cow;
    bool large;
    uint64_t raw;
    uint64_t entry_pa;
};

struct cc_list {
    struct cc_item *items;
    size_t n;
    size_t room;
    uint8_t *is_table; /* by page number of the world */
    bool too_long;     /* tables that are linked in many places make more addresses than one can compare */
};

#ifndef CC_STEPS_MAX
#define CC_STEPS_MAX 30000
#endif

static inline void cc_add(struct cc_list *l, const struct cc_item *item)
{
    if (l->n == l->room) {
        l->room = l->room ? l->room * 2 : 1024;
        l->items = realloc(l->items, l->room * sizeof(*l->items));
        if (l->items == NULL)
            abort();
    }
    l->items[l->n++] = *item;
}

static inline void cc_free(struct cc_list *l)
{
    free(l->items);
    free(l->is_table);
    *l = (struct cc_list){0};
}

/* Everything the roots map outside the window, addresses ascending. */
static inline void cc_collect(const struct world *w, struct cc_list *l)
{
    unsigned steps = 0;

    *l = (struct cc_list){.is_table = calloc(world_pages_n(w), 1)};
    if (l->is_table == NULL)
        abort();
    for (unsigned r = 0; r < w->roots_n; r++) {
        struct ref_answer a;
        uint64_t va = 0;

        do {
            uint64_t start;

            if (steps++ == CC_STEPS_MAX || l->n > CC_STEPS_MAX) {
                l->too_long = true;
                return;
            }
            a = world_walk(w, w->roots[r], va);
            start = va & ~(a.span - 1);
            if (world_window_part(w, start, a.span) == 2) { /* on to the end of the window */
                va = w->window + (w->scratch_len - 1);
                a.span = W_PAGE;
                continue;
            }
            for (unsigned i = 0; i < a.tables_n; i++)
                l->is_table[world_page_number(w, a.tables[i])] = 1;
            if (a.result == REF_FOUND) {
                for (uint64_t off = 0; off < a.span; off += W_PAGE)
                    if (!world_in_window(w, start + off))
                        cc_add(l, &(struct cc_item){r, start + off, false, a.pa - (va - start) + off, a.write,
                                                    a.user, a.exec, a.cow, a.page_len > W_PAGE, a.raw,
                                                    a.entry_pa});
            } else if (a.result == REF_ABSENT && a.raw != 0) {
                cc_add(l, &(struct cc_item){.root = r, .va = start, .marker = true, .raw = a.raw});
            } else if (a.result == REF_ABSENT) {
                unsigned index = (unsigned)(a.entry_pa % W_PAGE) / w->entry_len;

                va = start + (world_next_entry(w, a.entry_pa, index) - index - 1) * a.span;
                if (w->mode.is_amd64 && (va >> 47 & 1))
                    va |= 0xffff000000000000u;
            }
        } while (ref_next(w->mode, &va, &a));
    }
}

/* Bits of a leaf that must survive: all but the address, A, D, RW, NX and the available three. */
static inline uint64_t cc_kept_bits(const struct world *w, const struct cc_item *item)
{
    uint64_t keep = w->mode.is_amd64 ? 0x7ff000000000011cu : 0x11c; /* 62:52, G, PCD, PWT, US */
    uint64_t kept = item->raw & keep;

    if (item->raw & (item->large ? 0x1000 : 0x80))
        kept |= 0x80; /* PAT */
    return kept;
}

/* A one-to-one relation between pages of two worlds. */
struct cc_relation {
    uint64_t *there; /* by page number of the one world, page of the other, or 0 */
    uint64_t *back;
};

static inline struct cc_relation cc_relation_new(const struct world *a, const struct world *b)
{
    struct cc_relation r = {calloc(world_pages_n(a), 8), calloc(world_pages_n(b), 8)};

    if (r.there == NULL || r.back == NULL)
        abort();
    return r;
}

static inline void cc_relation_free(struct cc_relation *r)
{
    free(r->there);
    free(r->back);
}

static inline bool cc_relate(struct cc_relation *r, const struct world *a, uint64_t pa, const struct world *b,
                             uint64_t pb)
{
    uint64_t *there = &r->there[world_page_number(a, pa)];
    uint64_t *back = &r->back[world_page_number(b, pb)];

    pa = pa / W_PAGE * W_PAGE;
    pb = pb / W_PAGE * W_PAGE;
    if (*there == 0 && *back == 0) {
        *there = pb;
        *back = pa;
    }
    return *there == pb && *back == pa;
}

/* How much two worlds have to be the same. */
enum cc_how {
    CC_SAME,    /* to the guest: CoW is as good as writable */
    CC_EXACTLY, /* CoW is CoW */
    CC_WRITTEN, /* CC_SAME, but of the contents only the pages count that a guest wrote to */
};

/* NULL, or what is wrong with `new`. */
static inline const char *cc_compare_lists(const struct world *old, const struct cc_list *a,
                                           const struct world *new, const struct cc_list *b, enum cc_how how)
{
    struct cc_relation pages, tables;
    const char *wrong = NULL;

    if (a->too_long || b->too_long)
        return NULL;
    if (a->n != b->n)
        return "another number of pages is mapped";
    pages = cc_relation_new(old, new);
    tables = cc_relation_new(old, new);
    for (size_t i = 0; i < a->n && wrong == NULL; i++) {
        const struct cc_item *o = &a->items[i], *n = &b->items[i];
        bool table, first = !o->marker && pages.there[world_page_number(old, o->pa)] == 0;

        if (o->root != n->root || o->va != n->va || o->marker != n->marker)
            wrong = "other addresses are mapped";
        else if (o->marker)
            wrong = o->raw != n->raw ? "a marker changed" : NULL;
        else if ((how == CC_EXACTLY ? o->write != n->write || o->cow != n->cow
                                    : (o->write | o->cow) != (n->write | n->cow)) ||
                 o->user != n->user || o->exec != n->exec)
            wrong = "rights changed";
        else if (world_page(new, n->pa) == NULL)
            wrong = "a page is mapped to nowhere";
        else if (cc_kept_bits(old, o) != cc_kept_bits(new, n))
            wrong = "bits of a leaf changed";
        else if (o->raw & 0xe00 && !o->cow && (o->raw & 2) && (o->raw & 0xe02) != (n->raw & 0xe02))
            wrong = "marks of a writable leaf changed";
        else if (!(o->raw & 2) && (o->raw & 0xe02) != (n->raw & 0xe02))
            wrong = "marks of a leaf changed";
        else if (!(n->raw & 0x20) || ((o->raw & 0x40) && !(n->raw & 0x40)))
            wrong = "A or D was lost";
        else if (n->pa >= new->span[0].at && n->pa < new->span[0].at + new->span[0].pages *W_PAGE &&
                 (n->raw & 2))
            wrong = "a page of the snapshot region is writable";
        else if (!cc_relate(&pages, old, o->pa, new, n->pa))
            wrong = "pages are no longer the same for the same leaves";
        else if (!o->large && !cc_relate(&tables, old, o->entry_pa, new, n->entry_pa))
            wrong = "tables are no longer shared as they were";
        if (wrong != NULL || o->marker)
            continue;
        table = a->is_table[world_page_number(old, o->pa)];
        if (table != (bool)b->is_table[world_page_number(new, n->pa)])
            wrong = "a page is a table in one world only";
        else if (how == CC_WRITTEN && !world_was_written(old, o->pa) && !world_was_written(new, n->pa))
            continue;
        else if (!table && first && !world_same_page(world_page(old, o->pa), world_page(new, n->pa)))
            wrong = "contents of a page changed";
    }
    cc_relation_free(&pages);
    cc_relation_free(&tables);
    return wrong;
}

static inline const char *cc_compare(const struct world *old, const struct world *new, enum cc_how how)
{
    struct cc_list a, b;
    const char *wrong;

    cc_collect(old, &a);
    cc_collect(new, &b);
    wrong = cc_compare_lists(old, &a, new, &b, how);
    cc_free(&a);
    cc_free(&b);
    return wrong;
}

/* The guest writes: straight, or to a copy of its own as ABI 6.2 says. False when it cannot. */
static inline bool cc_write(struct world *w, const struct cc_item *item, uint64_t value)
{
    uint64_t page = item->pa;

    if (item->cow) {
        uint64_t copy = world_alloc(w);
        uint64_t addr = w->mode.is_amd64 ? 0xffffffffff000u : 0xfffff000u;

        if (copy == 0)
            return false;
        memcpy(world_page_rw(w, copy), world_page(w, page), W_PAGE);
        world_write(w, item->entry_pa, copy | (item->raw & ~(addr | 0x200)) | 2);
        page = copy;
    }
    memcpy(world_page_mark(w, page, WORLD_WRITTEN) + 2048, &value, sizeof(value));
    return true;
}

/* What a page of a list is mapped to now: writing moves pages, and through shared tables those of others. */
static inline void cc_refresh(const struct world *w, struct cc_item *item)
{
    struct ref_answer a = world_walk(w, w->roots[item->root], item->va);

    item->pa = a.pa;
    item->write = a.write;
    item->cow = a.cow;
    item->raw = a.raw;
    item->entry_pa = a.entry_pa;
}

/* Write at the same addresses in both worlds, of which the lists are. */
static inline void cc_write_both(struct world *old, const struct cc_list *a, struct world *new,
                                 const struct cc_list *b, uint64_t random, unsigned writes_n)
{
    for (unsigned i = 0; i < 8 * writes_n && !a->too_long && !b->too_long && a->n != 0; i++) {
        struct cc_item *o, *n;

        random = random * 6364136223846793005u + 1442695040888963407u;
        o = &a->items[(random >> 33) % a->n];
        n = &b->items[(random >> 33) % a->n];
        if (o->marker || old->next_free + W_PAGE >= old->alloc_end ||
            new->next_free + W_PAGE >= new->alloc_end)
            continue;
        cc_refresh(old, o);
        cc_refresh(new, n);
        if (!(o->write || o->cow) || (o->large && o->cow) || a->is_table[world_page_number(old, o->pa)])
            continue;
        cc_write(old, o, random);
        cc_write(new, n, random);
    }
}

static inline struct compact_in cc_plan(const struct world *w, const struct pt_geom *g, const struct gmem *m,
                                        const struct gpa *roots)
{
    for (unsigned i = 0; i < w->roots_n; i++)
        ((struct gpa *)(uintptr_t)roots)[i] = gpa_make(w->roots[i]);
    return (struct compact_in){
        .geom = g,
        .mode = {.pse = w->mode.pse,
                 .nxe = w->mode.nxe,
                 .wp = w->wp,
                 .page1g = w->mode.page1g,
                 .phys_bits = w->mode.phys_bits},
        .mem = m,
        .roots = roots,
        .roots_n = w->roots_n,
        .window = gva_make(w->window),
        .scratch_gpa = gpa_make(w->scratch),
        .scratch_len = w->scratch_len,
        .window_rights = PT_WRITE,
        .tables_gpa = gpa_make(w->tables_at),
        .alloc_end = gpa_make(w->room ? w->tables_at + w->room * W_PAGE : w->alloc_end),
        .pages_gpa = gpa_make(0x1000),
        .pages_max = w->room ? w->room : CC_PAGES_MAX,
    };
}

/* The guest that a restore of `out` makes. */
static inline void cc_restore(const struct world *old, const struct gmem *m, const struct compact_out *out,
                              struct world *new)
{
    static const uint8_t zeros[W_PAGE];
    uint64_t room = 64;
    struct err e;

    world_init(new, old->mode, old->scratch_len / W_PAGE);
    while (room < out->pages_n + 1)
        room *= 2;
    world_add_span(new, 0x1000, room); /* a round number, so that it is found again */
    new->span[0].pages = out->pages_n;
    world_add_span(new, new->scratch, new->scratch_len / W_PAGE);
    for (unsigned i = 0; i < out->roots_n; i++)
        new->roots[i] = out->roots[i].v;
    new->roots_n = out->roots_n;
    memset(new->span[0].dirty, 1, out->pages_n);
    for (uint64_t at = new->tables_at; at < out->free_gpa.v; at += W_PAGE)
        world_page_rw(new, at);
    memcpy(world_page(new, new->tables_at), out->tables, out->tables_len);
    new->next_free = out->free_gpa.v;
    if (new->tables_at + out->tables_len + out->placed_n * W_PAGE != new->next_free)
        abort();
    if (compact_copy(m, out->pages, out->pages_n, new->span[0].host, &e) < 0 ||
        compact_copy(m, out->placed, out->placed_n, world_page(new, new->tables_at) + out->tables_len, &e) <
            0 ||
        memcmp(new->span[0].host + out->pages_n *W_PAGE, zeros, W_PAGE) != 0)
        abort();
}

/*
 * Each root sees all of scratch. One address in each table of the window goes through the reference walker;
 * the entries beside it have to be the same but for the address. Tables wholly inside the window are everyone's.
 */
static inline const char *cc_window(const struct world *w)
{
    uint64_t span = world_entry_span(w, 2);

    for (unsigned r = 0; r < w->roots_n; r++) {
        for (uint64_t off = 0, next; off < w->scratch_len; off = next) {
            uint64_t va = w->window + off;
            struct ref_answer a = world_walk(w, w->roots[r], va);

            next = (va | (span - 1)) - w->window + 1;
            if (next > w->scratch_len)
                next = w->scratch_len;
            if (a.result != REF_FOUND || a.pa != w->scratch + off || !a.write || a.cow || a.user ||
                a.exec != !(w->mode.is_amd64 && w->mode.nxe) || a.page_len != W_PAGE)
                return "the window is not what it should be";
            if (!world_entries_count_up(w, a.entry_pa, a.raw, (next - off) / W_PAGE))
                return "the window is not the same everywhere";
            if (r != 0 && world_window_part(w, va & ~(span - 1), span) == 2 &&
                a.entry_pa != world_walk(w, w->roots[0], va).entry_pa)
                return "a table of the window is there twice";
        }
    }
    return NULL;
}

/*
 * Compact a world and judge the result. A refusal is an answer: *refused says
 * so and *e why. `writes_n` is how often the two guests write; `again_too`: also
 * compact the result.
 */
static inline const char *cc_check(struct world *old, const struct pt_geom *g, uint64_t seed,
                                   unsigned writes_n, bool again_too, bool *refused, struct err *e)
{
    struct gpa roots[W_ROOTS_MAX];
    struct gmem *m = world_gmem(old), *m2;
    struct compact_in in = cc_plan(old, g, m, roots);
    struct compact_out out, again;
    struct world new, third;
    struct cc_list a, b, c;
    const char *wrong;

    *refused = compact_make(&in, &out, e) < 0;
    if (*refused) {
        gmem_free(m);
        return e->status == STATUS_IMAGE && strncmp(e->text, "snapshot: ", 10) == 0 ? NULL
                                                                                    : "refused the wrong way";
    }
    cc_restore(old, m, &out, &new);
    gmem_free(m);
    cc_collect(old, &a);
    cc_collect(&new, &b);
    wrong = cc_compare_lists(old, &a, &new, &b, CC_SAME);
    if (wrong == NULL)
        wrong = cc_window(&new);

    m2 = world_gmem(&new);
    in = cc_plan(&new, g, m2, roots);
    if (wrong == NULL && again_too && compact_make(&in, &again, e) < 0) {
        wrong = "the result cannot be compacted";
    } else if (wrong == NULL && again_too) {
        cc_restore(&new, m2, &again, &third);
        cc_collect(&third, &c);
        wrong = cc_compare_lists(&new, &b, &third, &c, CC_EXACTLY);
        cc_free(&c);
        if (wrong == NULL && (again.pages_n != out.pages_n || again.placed_n != out.placed_n ||
                              again.tables_len != out.tables_len || again.free_gpa.v != out.free_gpa.v))
            wrong = "compacting again changed a size";
        for (uint64_t i = 0; i < again.pages_n && wrong == NULL; i++)
            if (again.pages[i].v != 0x1000 + i * W_PAGE)
                wrong = "compacting again moved a page";
        world_free(&third);
        compact_free(&again);
    }
    gmem_free(m2);
    if (wrong == NULL) {
        cc_write_both(old, &a, &new, &b, seed, writes_n);
        wrong = cc_compare(old, &new, CC_WRITTEN);
    }
    cc_free(&a);
    cc_free(&b);
    world_free(&new);
    compact_free(&out);
    return wrong;
}

#endif
