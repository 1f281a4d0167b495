/*
 * The two ways through a guest's tables: down to one address, and through all
 * of them with an explicit stack as deep as there are levels.
 */
#include "paging/walk.h"

enum walk_result walk_lookup(const struct pt_geom *g, struct pt_mode mode, const struct gmem *m,
                             struct gpa root, struct gva va, struct walk_leaf *out)
{
    struct gpa table = gpa_make(root.v & g->table_pa);
    unsigned rights = PT_RIGHTS_ALL;
    unsigned level = g->levels;
    struct gpa at;
    struct pte p;
    uint64_t raw;

    if (!geom_is_canonical(g, va))
        return WALK_ABSENT;
    for (;; level--) {
        at = gpa_make(table.v + (uint64_t)geom_index(g, level, va) * g->entry_len);
        if (!gmem_read_entry(m, at, g->entry_len, &raw))
            return WALK_UNREADABLE;
        p = pte_decode(g, level, mode, raw);
        if (p.kind == PTE_ABSENT)
            return WALK_ABSENT;
        if (p.kind == PTE_MALFORMED)
            return WALK_MALFORMED;
        rights = pte_rights_and(rights, p.rights);
        if (p.kind == PTE_LEAF)
            break;
        table = p.pa;
    }
    *out = (struct walk_leaf){
        .pa = gpa_make(p.pa.v + (va.v & (p.len - 1))),
        .page_len = p.len,
        .rights = rights,
        .raw = raw,
        .entry_pa = at,
    };
    return WALK_FOUND;
}

/* One table on the way down, copied when it was entered: later changes are not seen. */
struct frame {
    uint64_t raw[PT_ENTRIES_MAX];
    struct gpa table;
    uint64_t va; /* of its first entry */
    unsigned rights;
    unsigned next; /* index */
};

static enum walk_what what_is(const struct pte *p)
{
    switch (p->kind) {
    case PTE_TABLE: return WALK_SEES_TABLE;
    case PTE_LEAF: return WALK_SEES_LEAF;
    case PTE_ABSENT: return WALK_SEES_MARKER;
    case PTE_MALFORMED: break;
    }
    return WALK_SEES_MALFORMED;
}

struct walk {
    const struct pt_geom *geom;
    const struct gmem *mem;
    uint64_t *budget;
    walk_visit *visit;
    void *ctx;
    unsigned depth; /* frames in use */
    struct frame stack[PT_LEVELS_MAX];
};

/* Read the table that `entry` points to onto the stack. WALK_END_ALL: go on, whether it could be read or not.
 */
static enum walk_end enter(struct walk *w, const struct walk_entry *entry)
{
    struct frame *f = &w->stack[w->depth];
    struct walk_entry lost = *entry;

    if (*w->budget == 0)
        return WALK_END_BUDGET;
    --*w->budget;
    f->table = entry->pte.pa;
    f->va = entry->va.v;
    f->rights = entry->rights;
    f->next = 0;
    if (gmem_read_entries(w->mem, f->table, w->geom->entry_len, w->geom->entries_n, f->raw)) {
        w->depth++;
        return WALK_END_ALL;
    }
    lost.what = WALK_SEES_UNREADABLE;
    return w->visit(w->ctx, &lost) == WALK_STOP ? WALK_END_STOPPED : WALK_END_ALL;
}

enum walk_end walk_root(const struct pt_geom *g, struct pt_mode mode, const struct gmem *m, struct gpa root,
                        uint64_t *budget, walk_visit *visit, void *ctx)
{
    struct walk w = {.geom = g, .mem = m, .budget = budget, .visit = visit, .ctx = ctx};
    struct walk_entry entry = {
        .level = g->levels + 1,
        .pte = {.kind = PTE_TABLE, .pa = gpa_make(root.v & g->table_pa), .rights = PT_RIGHTS_ALL},
        .raw = root.v,
        .rights = PT_RIGHTS_ALL,
    };
    const unsigned entries_n = g->entries_n;
    enum walk_end end = enter(&w, &entry);

    while (end == WALK_END_ALL && w.depth != 0) {
        struct frame *f = &w.stack[w.depth - 1];
        unsigned level = g->levels + 1 - w.depth;
        unsigned index = f->next;
        enum walk_next next;

        while (index < entries_n && f->raw[index] == 0)
            index++;
        if (index == entries_n) {
            w.depth--;
            continue;
        }
        f->next = index + 1;
        entry.index = index;
        entry.raw = f->raw[index];
        entry.pte = pte_decode(g, level, mode, entry.raw);
        entry.what = what_is(&entry.pte);
        entry.va = geom_canonical(g, f->va + (uint64_t)entry.index * geom_entry_span(g, level));
        entry.level = level;
        entry.table = f->table;
        entry.rights = pte_rights_and(f->rights, entry.pte.rights);
        next = visit(ctx, &entry);
        if (next == WALK_STOP)
            end = WALK_END_STOPPED;
        else if (next == WALK_ON && entry.what == WALK_SEES_TABLE)
            end = enter(&w, &entry);
    }
    return end;
}
