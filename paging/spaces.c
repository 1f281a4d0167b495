/*
 * walk_root with a memory: every table page is noted when it is met first, and
 * the note decides whether walk_root goes there.
 */
#include "paging/spaces.h"

#include <stdlib.h>

#include "mem/num.h"
#include "paging/pagemap.h"

struct spaces {
    struct spaces_in in;
    struct spaces_table *tables;
    uint32_t tables_n;
    uint32_t tables_room;
    struct pagemap number_of; /* table page to its number + 1 */

    /* the walk under way */
    spaces_visit *visit;
    void *ctx;
    unsigned root;
    uint32_t path[PT_LEVELS_MAX + 1]; /* by level, number of the table the walk is in */
    enum spaces_end end;              /* why the visitor stopped walk_root */
};

struct spaces *spaces_new(const struct spaces_in *in)
{
    struct spaces *s = calloc(1, sizeof(*s));

    if (s != NULL)
        s->in = *in;
    return s;
}

void spaces_free(struct spaces *s)
{
    if (s == NULL)
        return;
    pagemap_free(&s->number_of);
    free(s->tables);
    free(s);
}

uint32_t spaces_tables_n(const struct spaces *s)
{
    return s->tables_n;
}

const struct spaces_table *spaces_table(const struct spaces *s, uint32_t number)
{
    return &s->tables[number];
}

bool spaces_find_table(const struct spaces *s, struct gpa page, uint32_t *number)
{
    uint32_t found = pagemap_get(&s->number_of, page);

    if (found == 0)
        return false;
    *number = found - 1;
    return true;
}

bool spaces_touches_cut(const struct spaces *s, struct gva va, uint64_t len)
{
    for (unsigned i = 0; i < s->in.cuts_n; i++)
        if (va_range_touches(&s->in.cuts[i], va, len))
            return true;
    return false;
}

bool spaces_is_cut(const struct spaces *s, struct gva va, uint64_t len)
{
    for (unsigned i = 0; i < s->in.cuts_n; i++)
        if (va_range_holds(&s->in.cuts[i], va, len))
            return true;
    return false;
}

/* Note a table that is in memory and was not met before. */
static enum spaces_end note_table(struct spaces *s, const struct spaces_table *table)
{
    uint32_t *slot;

    if (s->tables_n == s->in.tables_max)
        return SPACES_END_BUDGET;
    if (s->tables_n == s->tables_room) {
        uint32_t room = s->tables_room == 0 ? 64 : s->tables_room * 2;
        struct spaces_table *tables = reallocarray(s->tables, room, sizeof(*tables));

        if (tables == NULL)
            return SPACES_END_NO_MEMORY;
        s->tables = tables;
        s->tables_room = room;
    }
    slot = pagemap_slot(&s->number_of, table->pa);
    if (slot == NULL)
        return SPACES_END_NO_MEMORY;
    s->tables[s->tables_n++] = *table;
    *slot = s->tables_n;
    return SPACES_END_ALL;
}

static bool show(struct spaces *s, enum spaces_what what, const struct walk_entry *entry, uint32_t table)
{
    struct spaces_entry shown = {
        .what = what,
        .root = s->root,
        .entry = entry,
        .in_table = entry->level > s->in.geom->levels ? table : s->path[entry->level],
        .table = table,
    };

    if (s->visit(s->ctx, &shown))
        return true;
    s->end = SPACES_END_STOPPED;
    return false;
}

static enum walk_next meet_table(struct spaces *s, const struct walk_entry *entry)
{
    struct spaces_table met = {
        .pa = entry->pte.pa,
        .level = entry->level - 1,
        .root = s->root,
        .va = entry->va,
    };
    uint32_t number;

    if (spaces_find_table(s, met.pa, &number))
        return show(s, SPACES_ALIAS, entry, number) ? WALK_PAST : WALK_STOP;
    if (!gmem_contains(s->in.mem, met.pa, PAGE_LEN))
        return show(s, SPACES_UNREADABLE, entry, 0) ? WALK_PAST : WALK_STOP;
    s->end = note_table(s, &met);
    if (s->end != SPACES_END_ALL)
        return WALK_STOP;
    s->path[met.level] = s->tables_n - 1;
    return show(s, SPACES_TABLE, entry, s->tables_n - 1) ? WALK_ON : WALK_STOP;
}

static enum walk_next see(void *ctx, const struct walk_entry *entry)
{
    struct spaces *s = ctx;
    enum spaces_what what = SPACES_LEAF;

    if (entry->level <= s->in.geom->levels &&
        spaces_is_cut(s, entry->va, geom_entry_span(s->in.geom, entry->level)))
        return WALK_PAST;
    switch (entry->what) {
    case WALK_SEES_TABLE: return meet_table(s, entry);
    case WALK_SEES_LEAF: break;
    case WALK_SEES_MARKER: what = SPACES_MARKER; break;
    case WALK_SEES_MALFORMED: what = SPACES_MALFORMED; break;
    case WALK_SEES_UNREADABLE: what = SPACES_UNREADABLE; break;
    }
    return show(s, what, entry, 0) ? WALK_ON : WALK_STOP;
}

/* Number the roots before anything else, so that meeting one further down is recognised whatever the order.
 */
static enum spaces_end note_roots(struct spaces *s)
{
    const struct pt_geom *g = s->in.geom;

    for (unsigned i = 0; i < s->in.roots_n; i++) {
        struct spaces_table root = {
            .pa = gpa_make(s->in.roots[i].v & g->table_pa),
            .level = g->levels,
            .root = i,
        };
        uint32_t number;
        enum spaces_end end = SPACES_END_ALL;

        if (!spaces_find_table(s, root.pa, &number) && gmem_contains(s->in.mem, root.pa, PAGE_LEN))
            end = note_table(s, &root);
        if (end != SPACES_END_ALL)
            return end;
    }
    return SPACES_END_ALL;
}

/* Show a root itself; *walk says whether it is to be walked. */
static bool show_root(struct spaces *s, struct gpa root, uint32_t *number, bool *walk)
{
    const struct pt_geom *g = s->in.geom;
    struct walk_entry entry = {
        .what = WALK_SEES_TABLE,
        .level = g->levels + 1,
        .pte = {.kind = PTE_TABLE, .pa = gpa_make(root.v & g->table_pa), .rights = PT_RIGHTS_ALL},
        .raw = root.v,
        .rights = PT_RIGHTS_ALL,
    };

    *walk = false;
    if (!spaces_find_table(s, entry.pte.pa, number)) {
        entry.what = WALK_SEES_UNREADABLE;
        return show(s, SPACES_UNREADABLE, &entry, 0);
    }
    if (s->tables[*number].root != s->root)
        return show(s, SPACES_ALIAS, &entry, *number);
    *walk = true;
    return show(s, SPACES_TABLE, &entry, *number);
}

enum spaces_end spaces_walk(struct spaces *s, spaces_visit *visit, void *ctx)
{
    const struct spaces_in *in = &s->in;
    uint64_t budget = in->tables_max;

    s->visit = visit;
    s->ctx = ctx;
    s->end = note_roots(s);
    for (s->root = 0; s->root < in->roots_n && s->end == SPACES_END_ALL; s->root++) {
        uint32_t number;
        bool walk;

        if (!show_root(s, in->roots[s->root], &number, &walk) || !walk)
            continue;
        s->path[in->geom->levels] = number;
        /* Each table it reads was noted, so its budget cannot run out before that of note_table. */
        walk_root(in->geom, in->mode, in->mem, in->roots[s->root], &budget, see, s);
    }
    return s->end;
}
