/*
 * A growing array of tables, and the recursion that lays the window into them,
 * as deep as there are levels.
 */
#include "paging/rebuild.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem/num.h"
#include "paging/pte.h"

void rebuild_init(struct rebuild *r, const struct pt_geom *g, struct gpa at, uint32_t tables_max)
{
    *r = (struct rebuild){.geom = g, .at = at, .tables_max = tables_max};
}

void rebuild_free(struct rebuild *r)
{
    free(r->bytes);
    free(r->tables);
    *r = (struct rebuild){0};
}

int rebuild_refuse_full(const struct rebuild *r, struct err *e)
{
    return err_image(
        e, "snapshot: no room in scratch for the page tables (more than %" PRIu32 " pages at 0x%" PRIx64 ")",
        r->tables_max, r->at.v);
}

static int refuse_no_memory(uint32_t room, struct err *e)
{
    return err_set(e, STATUS_HOST, "snapshot: no host memory for page tables (%" PRIu32 " pages)", room);
}

static int grow(struct rebuild *r, struct err *e)
{
    uint32_t room = r->tables_room == 0 ? 16 : r->tables_room * 2;
    struct rebuild_table *tables = reallocarray(r->tables, room, sizeof(*tables));
    uint8_t *bytes;

    if (tables == NULL)
        return refuse_no_memory(room, e);
    r->tables = tables;
    bytes = reallocarray(r->bytes, room, PAGE_LEN);
    if (bytes == NULL)
        return refuse_no_memory(room, e);
    r->bytes = bytes;
    r->tables_room = room;
    return 0;
}

int rebuild_add(struct rebuild *r, struct gva va, unsigned level, bool of_window, uint32_t *number,
                struct err *e)
{
    if (r->tables_n == r->tables_max)
        return rebuild_refuse_full(r, e);
    if (r->tables_n == r->tables_room && grow(r, e) < 0)
        return -1;
    memset(r->bytes + r->tables_n * PAGE_LEN, 0, PAGE_LEN);
    r->tables[r->tables_n] = (struct rebuild_table){va, level, of_window};
    *number = r->tables_n++;
    return 0;
}

struct gpa rebuild_gpa(const struct rebuild *r, uint32_t number)
{
    return gpa_make(r->at.v + number * PAGE_LEN);
}

uint32_t rebuild_number(const struct rebuild *r, uint64_t pointer)
{
    return (uint32_t)(((pointer & r->geom->table_pa) - r->at.v) / PAGE_LEN);
}

static uint8_t *entry_ptr(const struct rebuild *r, uint32_t number, unsigned index)
{
    return r->bytes + number * PAGE_LEN + (uint64_t)index * r->geom->entry_len;
}

uint64_t rebuild_load(const struct rebuild *r, uint32_t number, unsigned index)
{
    return pte_load(r->geom, entry_ptr(r, number, index));
}

void rebuild_store(struct rebuild *r, uint32_t number, unsigned index, uint64_t raw)
{
    pte_store(r->geom, entry_ptr(r, number, index), raw);
}

/* What does not change on the way down. */
struct window {
    struct rebuild *r;
    struct va_range range;
    struct gpa to;
    unsigned rights;
    uint32_t first_root;
    bool is_first; /* the root being filled is the first */
    struct err *e;
};

/* What the first root, which is finished, has in its table of `level` for `va`. */
static uint64_t first_roots_pointer(const struct window *w, unsigned level, struct gva va)
{
    const struct pt_geom *g = w->r->geom;
    uint32_t table = w->first_root;

    for (unsigned above = g->levels; above > level; above--)
        table = rebuild_number(w->r, rebuild_load(w->r, table, geom_index(g, above, va)));
    return rebuild_load(w->r, table, geom_index(g, level, va));
}

/* Make sure that an entry leads to a table and lets the window's rights through; *below is that table. */
static int open_pointer(struct window *w, uint32_t table, unsigned level, unsigned index, struct gva va,
                        uint32_t *below)
{
    struct rebuild *r = w->r;
    uint64_t raw = rebuild_load(r, table, index);

    if (raw == 0) {
        if (rebuild_add(r, va, level - 1, true, below, w->e) < 0)
            return -1;
        rebuild_store(r, table, index,
                      pte_make_pointer(r->geom, rebuild_gpa(r, *below), w->rights & PT_USER));
        return 0;
    }
    if (((raw & PTE_RW) == 0 && (w->rights & PT_WRITE)) || ((raw & r->geom->nx) && (w->rights & PT_EXEC)))
        return err_set(w->e, STATUS_IMAGE,
                       "snapshot: guest address 0x%" PRIx64
                       ": the scratch window does not work below this page-table entry (flags 0x%" PRIx64 ")",
                       va.v, raw & ~r->geom->table_pa);
    *below = rebuild_number(r, raw);
    return 0;
}

static int fill(struct window *w, uint32_t table, unsigned level, struct gva base)
{
    const struct pt_geom *g = w->r->geom;
    uint64_t span = geom_entry_span(g, level);
    struct gva last = gva_make(w->range.start.v + (w->range.len - 1));
    /* The table has a part of the window; the root has all of it. */
    bool from_start = level == g->levels || base.v < w->range.start.v;
    bool to_last = level == g->levels || base.v + (g->entries_n * span - 1) > last.v;
    unsigned i = from_start ? geom_index(g, level, w->range.start) : 0;
    unsigned i_last = to_last ? geom_index(g, level, last) : g->entries_n - 1;

    for (; i <= i_last; i++) {
        struct gva va = geom_canonical(g, base.v + i * span);
        bool inside = va_range_holds(&w->range, va, span);
        uint32_t below = 0;

        if (level == 1) {
            struct gpa pa = gpa_make(w->to.v + (va.v - w->range.start.v));

            rebuild_store(w->r, table, i, pte_make_leaf(g, 1, pa, w->rights));
        } else if (inside && rebuild_load(w->r, table, i) != 0) {
            continue; /* roots share this table: it is filled */
        } else if (inside && !w->is_first) {
            rebuild_store(w->r, table, i, first_roots_pointer(w, level, va));
        } else if (open_pointer(w, table, level, i, va, &below) < 0 || fill(w, below, level - 1, va) < 0) {
            return -1;
        }
    }
    return 0;
}

int rebuild_window(struct rebuild *r, const uint32_t *roots, unsigned roots_n, const struct va_range *window,
                   struct gpa to, unsigned rights, struct err *e)
{
    struct window w = {.r = r,
                       .range = *window,
                       .to = to,
                       .rights = rights,
                       .first_root = roots[0],
                       .is_first = true,
                       .e = e};

    for (unsigned i = 0; i < roots_n; i++) {
        if (fill(&w, roots[i], r->geom->levels, gva_make(0)) < 0)
            return -1;
        w.is_first = false;
    }
    return 0;
}
