/*
 * Every mapping is made in two passes over the same steps: the first looks for
 * reasons to refuse and counts the tables that are missing, the second writes.
 * So a refusal leaves the arena as it was.
 */
#include "paging/build.h"

#include <inttypes.h>
#include <string.h>

#include "mem/num.h"

/* One request and how far it has come. */
struct job {
    const struct pt_mode *mode; /* NULL: 4 KiB leaves only */
    uint64_t va;
    uint64_t pa;
    uint64_t left; /* bytes */
    unsigned rights;
};

static uint8_t *entry_ptr(const struct pt_build *b, uint64_t table, unsigned level, uint64_t va)
{
    return b->tables + table + (uint64_t)geom_index(b->geom, level, gva_make(va)) * b->geom->entry_len;
}

/* Offset in the arena of the table that an entry points to. */
static uint64_t table_of(const struct pt_build *b, uint64_t raw)
{
    return (raw & b->geom->table_pa) - b->tables_gpa.v;
}

int build_init(struct pt_build *b, const struct pt_geom *g, uint8_t *tables, struct gpa tables_gpa,
               uint64_t tables_len, struct err *e)
{
    if (!num_is_page_aligned(tables_gpa.v) || !num_is_page_aligned(tables_len) || tables_len == 0)
        return err_image(
            e, "page tables: not whole pages (0x%" PRIx64 " bytes at 0x%" PRIx64 ", pages of 0x%" PRIx64 ")",
            tables_len, tables_gpa.v, PAGE_LEN);
    if (!num_fits(tables_gpa.v, tables_len, g->pa_end))
        return err_image(e,
                         "page tables: an entry cannot reach them (0x%" PRIx64 " bytes at 0x%" PRIx64
                         ", limit 0x%" PRIx64 ")",
                         tables_len, tables_gpa.v, g->pa_end);
    *b = (struct pt_build){g, tables, tables_gpa, tables_len, PAGE_LEN};
    memset(tables, 0, PAGE_LEN);
    return 0;
}

uint64_t build_used(const struct pt_build *b)
{
    return b->used;
}

/* The level at which the next leaf of a job goes: the largest that fits. */
static unsigned leaf_level(const struct pt_geom *g, const struct job *j)
{
    unsigned level = 1;

    if (j->mode == NULL)
        return 1;
    while (level < g->levels && pte_level_has_leaf(g, level + 1, *j->mode)) {
        uint64_t span = geom_entry_span(g, level + 1);

        if (((j->va | j->pa) & (span - 1)) != 0 || j->left < span)
            break;
        level++;
    }
    return level;
}

static void job_advance(struct job *j, uint64_t len)
{
    j->va += len;
    j->pa += len;
    j->left -= len;
}

static int refuse_overlap(const struct job *j, uint64_t raw, struct err *e)
{
    return err_image(e,
                     "page tables: guest address 0x%" PRIx64 " is mapped already (entry 0x%" PRIx64
                     ", wanted 0x%" PRIx64 ")",
                     j->va, raw, j->pa);
}

/*
 * First pass. Counts in *missing the tables that the second one will take: a
 * table is new if the last step that went through the same virtual range at
 * its level did not go through a missing one already.
 */
static int check_job(const struct pt_build *b, struct job j, uint64_t *missing, struct err *e)
{
    const struct pt_geom *g = b->geom;
    uint64_t counted[PT_LEVELS_MAX + 1]; /* by level: the table counted last, by its place in the space */

    memset(counted, 0xff, sizeof(counted));
    while (j.left != 0) {
        unsigned leaf = leaf_level(g, &j);
        uint64_t want = pte_make_leaf(g, leaf, gpa_make(j.pa), j.rights);
        uint64_t table = 0;
        bool there = true;

        for (unsigned level = g->levels; level > leaf; level--) {
            uint64_t raw = there ? pte_load(g, entry_ptr(b, table, level, j.va)) : 0;

            if (raw == 0) {
                uint64_t place = j.va >> g->level[level].shift;

                there = false;
                *missing += counted[level] != place;
                counted[level] = place;
            } else if (raw & PTE_PS) {
                return refuse_overlap(&j, raw, e);
            } else {
                table = table_of(b, raw);
            }
        }
        if (there) {
            uint64_t raw = pte_load(g, entry_ptr(b, table, leaf, j.va));

            if (raw != 0 && raw != want)
                return refuse_overlap(&j, raw, e);
        }
        job_advance(&j, geom_entry_span(g, leaf));
    }
    return 0;
}

static void write_job(struct pt_build *b, struct job j)
{
    const struct pt_geom *g = b->geom;
    bool user = j.rights & PT_USER;

    while (j.left != 0) {
        unsigned leaf = leaf_level(g, &j);
        uint64_t table = 0;

        for (unsigned level = g->levels; level > leaf; level--) {
            uint8_t *p = entry_ptr(b, table, level, j.va);
            uint64_t raw = pte_load(g, p);

            if (raw == 0) {
                raw = pte_make_pointer(g, gpa_make(b->tables_gpa.v + b->used), user);
                memset(b->tables + b->used, 0, PAGE_LEN);
                b->used += PAGE_LEN;
            } else if (user) {
                raw |= g->pointer_user;
            }
            pte_store(g, p, raw);
            table = table_of(b, raw);
        }
        pte_store(g, entry_ptr(b, table, leaf, j.va), pte_make_leaf(g, leaf, gpa_make(j.pa), j.rights));
        job_advance(&j, geom_entry_span(g, leaf));
    }
}

static int map(struct pt_build *b, const struct job *j, struct err *e)
{
    const struct pt_geom *g = b->geom;
    uint64_t missing = 0;

    if ((j->rights & ~(unsigned)(PT_WRITE | PT_COW | PT_USER | PT_EXEC)) ||
        ((j->rights & PT_WRITE) && (j->rights & PT_COW)))
        return err_image(e, "page tables: guest address 0x%" PRIx64 ": rights contradict (0x%x)", j->va,
                         j->rights);
    if (!num_is_page_aligned(j->va | j->pa | j->left))
        return err_image(e,
                         "page tables: not whole pages (0x%" PRIx64 " bytes at 0x%" PRIx64
                         " for guest address 0x%" PRIx64 ")",
                         j->left, j->pa, j->va);
    if (j->left == 0)
        return 0;
    if (!geom_has_range(g, gva_make(j->va), j->left))
        return err_image(
            e, "page tables: guest address 0x%" PRIx64 ": no such address (0x%" PRIx64 " bytes, %u bits)",
            j->va, j->left, g->va_bits);
    if (!num_fits(j->pa, j->left, g->pa_end))
        return err_image(e,
                         "page tables: physical address 0x%" PRIx64 ": an entry cannot hold it (0x%" PRIx64
                         " bytes, limit 0x%" PRIx64 ")",
                         j->pa, j->left, g->pa_end);
    if (check_job(b, *j, &missing, e) < 0)
        return -1;
    if (missing > (b->tables_len - b->used) / PAGE_LEN)
        return err_image(e, "page tables: no room (0x%" PRIx64 " bytes needed, 0x%" PRIx64 " there)",
                         b->used + missing * PAGE_LEN, b->tables_len);
    write_job(b, *j);
    return 0;
}

int build_map(struct pt_build *b, struct gva va, struct gpa pa, uint64_t len, unsigned rights, struct err *e)
{
    const struct job j = {NULL, va.v, pa.v, len, rights};

    return map(b, &j, e);
}

int build_map_large(struct pt_build *b, struct pt_mode mode, struct gva va, struct gpa pa, uint64_t len,
                    unsigned rights, struct err *e)
{
    const struct job j = {&mode, va.v, pa.v, len, rights};

    return map(b, &j, e);
}

/* The number of the entry of `level` that covers `va`, counted through the whole space. */
static uint64_t entry_number(const struct pt_geom *g, unsigned level, uint64_t va)
{
    return (va & (((uint64_t)1 << g->va_bits) - 1)) >> g->level[level].shift;
}

int build_count(const struct pt_geom *g, const struct va_range *ranges, size_t ranges_n, uint64_t *tables_n,
                struct err *e)
{
    uint64_t n = 1;
    const struct va_range *before = NULL;

    for (size_t i = 0; i < ranges_n; i++) {
        const struct va_range *r = &ranges[i];
        uint64_t last = r->start.v + (r->len - 1);

        if (r->len == 0)
            continue;
        if (!num_is_page_aligned(r->start.v | r->len) || !geom_has_range(g, r->start, r->len) ||
            (before != NULL && r->start.v <= before->start.v + (before->len - 1)))
            return err_image(e,
                             "page tables: guest address 0x%" PRIx64
                             ": not whole pages in ascending order (0x%" PRIx64 " bytes)",
                             r->start.v, r->len);
        for (unsigned level = g->levels; level > 1; level--) {
            uint64_t first_entry = entry_number(g, level, r->start.v);

            n += entry_number(g, level, last) - first_entry + 1;
            if (before != NULL && entry_number(g, level, before->start.v + (before->len - 1)) == first_entry)
                n--;
        }
        before = r;
    }
    *tables_n = n;
    return 0;
}
