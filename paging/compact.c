/*
 * Four steps. (1) Walk all roots; every table gets a copy with the same bits,
 * pointers already leading to the copies, leaves holding the number of the
 * page they map instead of its address. (2) Make the window again. (3) Now the
 * number of tables is known: give each page its place. (4) Put the places into
 * the leaves. The guest's entries are read in step 1 only, once.
 */
#include "paging/compact.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem/assert.h"
#include "mem/num.h"
#include "mem/region.h"
#include "paging/pagemap.h"
#include "paging/rebuild.h"
#include "paging/spaces.h"

/* A page that some leaf outside the window maps. */
struct page {
    uint64_t from;
    uint64_t to;
    bool several; /* leaves */
    bool writable;
    bool marked;
    bool keeps_rw; /* lives in scratch: a writable leaf stays one */
};

struct compact {
    const struct compact_in *in;
    const struct pt_geom *g;
    struct err *e;
    struct va_range window;

    struct spaces *spaces;
    uint32_t *new_of; /* by number in spaces, number of the rebuilt table */
    uint32_t new_of_room;

    struct rebuild tables;

    struct page *pages;
    uint32_t pages_n;
    uint32_t pages_room;
    uint32_t pages_max;
    struct pagemap page_of; /* source page to its number + 1 */
};

static int no_memory(const struct compact *c)
{
    return err_set(c->e, STATUS_HOST,
                   "snapshot: no host memory to sort the guest's pages (%u tables, %u pages)",
                   c->tables.tables_n, c->pages_n);
}

/* A guest's pointer, led to another table. */
static uint64_t relink(const struct compact *c, uint64_t raw, uint32_t table)
{
    return (raw & ~c->g->table_pa) | PTE_A | rebuild_gpa(&c->tables, table).v;
}

/* The copy of the table that spaces has just numbered. */
static int add_copy(struct compact *c, uint32_t number_in_spaces, struct gva va, unsigned level,
                    uint32_t *number)
{
    if (number_in_spaces >= c->new_of_room) {
        uint32_t room = (number_in_spaces + 1) * 2;
        uint32_t *new_of = reallocarray(c->new_of, room, sizeof(*new_of));

        if (new_of == NULL)
            return no_memory(c);
        c->new_of = new_of;
        c->new_of_room = room;
    }
    if (rebuild_add(&c->tables, va, level, false, number, c->e) < 0)
        return -1;
    c->new_of[number_in_spaces] = *number;
    return 0;
}

static int refuse_page(const struct compact *c, unsigned root, struct gva va, struct gpa pa, const char *why)
{
    return err_set(c->e, STATUS_IMAGE,
                   "snapshot: guest address 0x%" PRIx64 ", root %u: maps 0x%" PRIx64 ", %s", va.v, root, pa.v,
                   why);
}

static int add_page(struct compact *c, struct gpa from)
{
    if (c->pages_n == c->pages_max)
        return err_set(c->e, STATUS_IMAGE, "snapshot: too many pages are mapped (more than %" PRIu32 ")",
                       c->pages_max);
    if (c->pages_n == c->pages_room) {
        uint32_t room = c->pages_room == 0 ? 1024 : c->pages_room * 2;
        struct page *pages = reallocarray(c->pages, room, sizeof(*pages));

        if (pages == NULL)
            return no_memory(c);
        c->pages = pages;
        c->pages_room = room;
    }
    c->pages[c->pages_n++] = (struct page){.from = from.v};
    return 0;
}

/* Note that a leaf at `va` maps the page at `pa`; *number is the number of that page. */
static int note_leaf(struct compact *c, unsigned root, struct gva va, struct gpa pa, uint64_t raw,
                     uint32_t *number)
{
    const struct compact_in *in = c->in;
    uint32_t *slot;
    struct page *page;

    if (!gmem_contains(in->mem, pa, PAGE_LEN))
        return refuse_page(c, root, va, pa, "which is not in the guest's memory");
    if (num_fits(pa.v - in->scratch_gpa.v, PAGE_LEN, in->scratch_len) &&
        (pa.v < in->tables_gpa.v || pa.v >= in->alloc_end.v))
        return refuse_page(c, root, va, pa, "a scratch page that is the host's and not kept");
    slot = pagemap_slot(&c->page_of, pa);
    if (slot == NULL)
        return no_memory(c);
    if (*slot != 0) {
        c->pages[*slot - 1].several = true;
    } else {
        if (add_page(c, pa) < 0)
            return -1;
        *slot = c->pages_n;
    }
    page = &c->pages[*slot - 1];
    if (raw & PTE_RW) {
        page->writable = true;
        page->marked |= (raw & PTE_AVL) != 0;
    }
    *number = *slot - 1;
    return 0;
}

/* Step 1. */

static int keep_leaf(struct compact *c, unsigned root, uint32_t table, unsigned index, struct gva va,
                     struct gpa pa, uint64_t raw)
{
    uint32_t number = 0;

    if (note_leaf(c, root, va, pa, raw, &number) < 0)
        return -1;
    rebuild_store(&c->tables, table, index, (raw & ~c->g->level[1].leaf_pa) | number * PAGE_LEN);
    return 0;
}

/*
 * A table of `level` whose leaves do what one large leaf of the level above
 * did. `flags` are those of a 4 KiB leaf. Parts that are cut are left out.
 */
static int split(struct compact *c, unsigned root, unsigned level, struct gva va, struct gpa pa,
                 uint64_t flags, uint32_t *number)
{
    uint64_t span = geom_entry_span(c->g, level);
    uint32_t table;

    if (rebuild_add(&c->tables, va, level, false, &table, c->e) < 0)
        return -1;
    for (unsigned i = 0; i < c->g->entries_n; i++, va.v += span, pa.v += span) {
        uint32_t below;

        if (spaces_is_cut(c->spaces, va, span))
            continue;
        if (level == 1) {
            if (keep_leaf(c, root, table, i, va, pa, flags) < 0)
                return -1;
        } else {
            if (split(c, root, level - 1, va, pa, flags, &below) < 0)
                return -1;
            rebuild_store(&c->tables, table, i,
                          pte_make_pointer(c->g, rebuild_gpa(&c->tables, below), flags & PTE_US));
        }
    }
    *number = table;
    return 0;
}

static int keep_large_leaf(struct compact *c, unsigned root, uint32_t table, const struct walk_entry *entry)
{
    const struct pt_level *l = &c->g->level[entry->level];
    uint64_t flags = entry->raw & ~(l->leaf_pa | l->leaf_pa_high | PTE_PS | PTE_PAT_LARGE);
    uint32_t number;

    if (entry->raw & PTE_PAT_LARGE)
        flags |= PTE_PAT;
    if (split(c, root, entry->level - 1, entry->va, entry->pte.pa, flags, &number) < 0)
        return -1;
    rebuild_store(&c->tables, table, entry->index,
                  pte_make_pointer(c->g, rebuild_gpa(&c->tables, number), flags & PTE_US));
    return 0;
}

static int refuse_entry(const struct compact *c, const struct spaces_entry *s, const char *what)
{
    const struct walk_entry *entry = s->entry;

    return err_set(c->e, STATUS_IMAGE,
                   "snapshot: guest address 0x%" PRIx64 ", root %u: %s (entry 0x%" PRIx64 ", level %u)",
                   entry->va.v, s->root, what, entry->raw, entry->level);
}

static int keep_alias(struct compact *c, const struct spaces_entry *s)
{
    const struct walk_entry *entry = s->entry;
    const struct spaces_table *first = spaces_table(c->spaces, s->table);
    uint64_t span;

    if (entry->level > c->g->levels)
        return 0;
    if (first->level != entry->level - 1)
        return refuse_entry(c, s, "a page table used at two levels, such as a self-map, cannot be kept");
    span = geom_entry_span(c->g, entry->level);
    if (first->va.v != entry->va.v &&
        (spaces_touches_cut(c->spaces, first->va, span) || spaces_touches_cut(c->spaces, entry->va, span)))
        return refuse_entry(c, s, "a page table that is partly in the scratch window is used twice");
    rebuild_store(&c->tables, c->new_of[s->in_table], entry->index,
                  relink(c, entry->raw, c->new_of[s->table]));
    return 0;
}

static int keep_table(struct compact *c, const struct spaces_entry *s)
{
    const struct walk_entry *entry = s->entry;
    uint32_t number = 0;

    if (entry->level > c->g->levels)
        return 0;
    if (add_copy(c, s->table, entry->va, entry->level - 1, &number) < 0)
        return -1;
    rebuild_store(&c->tables, c->new_of[s->in_table], entry->index, relink(c, entry->raw, number));
    return 0;
}

static int keep_marker(struct compact *c, const struct spaces_entry *s)
{
    const struct walk_entry *entry = s->entry;

    if (spaces_touches_cut(c->spaces, entry->va, geom_entry_span(c->g, entry->level)))
        return refuse_entry(c, s, "an entry that is not present covers part of the scratch window");
    rebuild_store(&c->tables, c->new_of[s->in_table], entry->index, entry->raw);
    return 0;
}

static int keep(struct compact *c, const struct spaces_entry *s)
{
    const struct walk_entry *entry = s->entry;

    switch (s->what) {
    case SPACES_TABLE: return keep_table(c, s);
    case SPACES_ALIAS: return keep_alias(c, s);
    case SPACES_MARKER: return keep_marker(c, s);
    case SPACES_LEAF:
        if (entry->level > 1)
            return keep_large_leaf(c, s->root, c->new_of[s->in_table], entry);
        return keep_leaf(c, s->root, c->new_of[s->in_table], entry->index, entry->va, entry->pte.pa,
                         entry->raw);
    case SPACES_MALFORMED: return refuse_entry(c, s, "malformed page-table entry");
    case SPACES_UNREADABLE: break;
    }
    return refuse_entry(c, s, "its page table is not in the guest's memory");
}

/* The copies of the roots come first and in the caller's order, whatever is found below them. */
static int add_roots(struct compact *c)
{
    uint32_t n = spaces_tables_n(c->spaces);
    uint32_t number;

    for (uint32_t i = 0; i < n; i++)
        if (add_copy(c, i, gva_make(0), c->g->levels, &number) < 0)
            return -1;
    return 0;
}

/* When the first entry is shown, spaces has numbered the roots and nothing else. */
static bool visit(void *ctx, const struct spaces_entry *entry)
{
    struct compact *c = ctx;

    if (c->tables.tables_n == 0 && add_roots(c) < 0)
        return false;
    return keep(c, entry) == 0;
}

static int walk_roots(struct compact *c)
{
    switch (spaces_walk(c->spaces, visit, c)) {
    case SPACES_END_ALL: return 0;
    case SPACES_END_STOPPED: return -1;
    case SPACES_END_BUDGET: return rebuild_refuse_full(&c->tables, c->e);
    case SPACES_END_NO_MEMORY: break;
    }
    return no_memory(c);
}

/* The rebuilt root for one of the caller's, which the walk has found. */
static uint32_t new_root(const struct compact *c, unsigned i)
{
    uint32_t number = 0;

    spaces_find_table(c->spaces, gpa_make(c->in->roots[i].v & c->g->table_pa), &number);
    return c->new_of[number];
}

/* Steps 3 and 4. */

static int place_pages(struct compact *c, struct compact_out *out)
{
    const struct compact_in *in = c->in;
    uint64_t pages_n = 0;
    uint64_t placed_n = 0;
    struct gpa behind = rebuild_gpa(&c->tables, c->tables.tables_n);

    for (uint32_t i = 0; i < c->pages_n; i++) {
        struct page *p = &c->pages[i];
        uint32_t number;

        p->keeps_rw = true;
        if (spaces_find_table(c->spaces, gpa_make(p->from), &number)) {
            p->to = rebuild_gpa(&c->tables, c->new_of[number]).v;
        } else if ((p->several && p->writable) || p->marked) {
            p->to = behind.v + placed_n * PAGE_LEN;
            out->placed[placed_n++] = gpa_make(p->from);
        } else {
            p->to = in->pages_gpa.v + pages_n * PAGE_LEN;
            out->pages[pages_n++] = gpa_make(p->from);
            p->keeps_rw = false;
        }
    }
    if (pages_n > in->pages_max)
        return err_set(c->e, STATUS_IMAGE,
                       "snapshot: too many pages are mapped (%" PRIu64 ", room for %" PRIu64 ")", pages_n,
                       in->pages_max);
    if (placed_n > c->tables.tables_max - c->tables.tables_n)
        return err_set(
            c->e, STATUS_IMAGE,
            "snapshot: no room in scratch behind the page tables for pages that several writable leaves "
            "map or that carry marks (%" PRIu64 " pages, room for %" PRIu32 ")",
            placed_n, c->tables.tables_max - c->tables.tables_n);
    out->pages_n = pages_n;
    out->placed_n = placed_n;
    out->free_gpa = gpa_make(behind.v + placed_n * PAGE_LEN);
    return 0;
}

static void place_leaves(struct compact *c)
{
    const struct pt_geom *g = c->g;

    for (uint32_t t = 0; t < c->tables.tables_n; t++) {
        const struct rebuild_table *table = &c->tables.tables[t];
        bool has_window;

        if (table->level != 1 || table->of_window)
            continue;
        has_window = va_range_touches(&c->window, table->va, g->entries_n * PAGE_LEN);
        for (unsigned i = 0; i < g->entries_n; i++) {
            uint64_t raw = rebuild_load(&c->tables, t, i);
            const struct page *page;

            if ((raw & PTE_P) == 0 ||
                (has_window && va_range_touches(&c->window, gva_make(table->va.v + i * PAGE_LEN), PAGE_LEN)))
                continue;
            page = &c->pages[(raw & g->level[1].leaf_pa) / PAGE_LEN];
            raw &= ~g->level[1].leaf_pa;
            if ((raw & PTE_RW) && !page->keeps_rw)
                raw = (raw & ~PTE_RW) | PTE_COW;
            rebuild_store(&c->tables, t, i, raw | g->leaf_ro | page->to);
        }
    }
}

/* Steps 2 to 4: after the walk. */
static int finish(struct compact *c, struct compact_out *out)
{
    const struct compact_in *in = c->in;
    uint32_t *roots = calloc(in->roots_n, sizeof(*roots));
    /* While EFER.NXE is clear, NX is a reserved bit. */
    unsigned window_rights = in->window_rights | (in->mode.nxe ? 0 : PT_EXEC);

    out->roots = calloc(in->roots_n, sizeof(*out->roots));
    out->pages = calloc((size_t)c->pages_n + 1, sizeof(*out->pages));
    out->placed = calloc((size_t)c->pages_n + 1, sizeof(*out->placed));
    if (roots == NULL || out->roots == NULL || out->pages == NULL || out->placed == NULL) {
        free(roots);
        return no_memory(c);
    }
    for (unsigned i = 0; i < in->roots_n; i++) {
        roots[i] = new_root(c, i);
        out->roots[i] = rebuild_gpa(&c->tables, roots[i]);
    }
    out->roots_n = in->roots_n;
    if (rebuild_window(&c->tables, roots, in->roots_n, &c->window, in->scratch_gpa, window_rights, c->e) <
            0 ||
        place_pages(c, out) < 0) {
        free(roots);
        return -1;
    }
    free(roots);
    place_leaves(c);
    out->tables = c->tables.bytes;
    out->tables_len = c->tables.tables_n * PAGE_LEN;
    c->tables.bytes = NULL;
    return 0;
}

static void check_plan(const struct compact_in *in)
{
    const struct pt_geom *g = in->geom;

    assert(in->roots_n != 0);
    assert(num_is_page_aligned(in->window.v | in->scratch_gpa.v | in->scratch_len | in->tables_gpa.v |
                               in->alloc_end.v | in->pages_gpa.v | in->never_kept.start.v |
                               in->never_kept.len));
    assert(geom_has_range(g, in->window, in->scratch_len));
    assert(in->never_kept.len == 0 || geom_has_range(g, in->never_kept.start, in->never_kept.len));
    assert(num_fits(in->scratch_gpa.v, in->scratch_len, g->pa_end));
    assert(in->scratch_gpa.v <= in->tables_gpa.v && in->tables_gpa.v < in->alloc_end.v);
    assert(in->alloc_end.v <= in->scratch_gpa.v + in->scratch_len);
    assert(in->pages_max < UINT32_MAX / 2 && in->scratch_len / PAGE_LEN < UINT32_MAX / 2);
    assert(num_fits(in->pages_gpa.v, in->pages_max * PAGE_LEN, g->pa_end));
    assert(!num_overlap(in->pages_gpa.v, in->pages_max * PAGE_LEN, in->scratch_gpa.v, in->scratch_len));
}

int compact_make(const struct compact_in *in, struct compact_out *out, struct err *e)
{
    const struct va_range cuts[] = {{in->window, in->scratch_len}, in->never_kept};
    struct compact c = {
        .in = in,
        .g = in->geom,
        .e = e,
        .window = cuts[0],
    };
    const struct spaces_in spaces_in = {
        .geom = in->geom,
        .mode = in->mode,
        .mem = in->mem,
        .roots = in->roots,
        .roots_n = in->roots_n,
        .cuts = cuts,
        .cuts_n = 2,
        .tables_max = (uint32_t)((in->alloc_end.v - in->tables_gpa.v) / PAGE_LEN),
    };
    struct compact_out made = {0};
    int rc;

    check_plan(in);
    if (!in->mode.wp)
        return err_image(
            e, "snapshot: CR0.WP is clear: the guest writes to pages that its tables call read-only");
    c.pages_max = (uint32_t)in->pages_max + spaces_in.tables_max;
    rebuild_init(&c.tables, in->geom, in->tables_gpa, spaces_in.tables_max);
    c.spaces = spaces_new(&spaces_in);
    rc = c.spaces == NULL ? no_memory(&c) : walk_roots(&c);
    if (rc == 0)
        rc = finish(&c, &made);
    spaces_free(c.spaces);
    pagemap_free(&c.page_of);
    free(c.new_of);
    rebuild_free(&c.tables);
    free(c.pages);
    if (rc < 0)
        compact_free(&made);
    else
        *out = made;
    return rc;
}

int compact_copy(const struct gmem *m, const struct gpa *pages, uint64_t pages_n, uint8_t *to, struct err *e)
{
    for (uint64_t i = 0; i < pages_n; i++) {
        const uint8_t *page = gmem_span(m, pages[i], PAGE_LEN);

        if (page == NULL)
            return err_image(e, "snapshot: page 0x%" PRIx64 " is not in the guest's memory", pages[i].v);
        region_fill(to + i * PAGE_LEN, page, PAGE_LEN);
    }
    return 0;
}

void compact_free(struct compact_out *out)
{
    free(out->roots);
    free(out->tables);
    free(out->pages);
    free(out->placed);
    *out = (struct compact_out){0};
}
