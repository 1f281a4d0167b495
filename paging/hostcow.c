/* Two passes over the tables: who is mapped how often, and then the leaves. See hostcow.h. */
#include "paging/hostcow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem/num.h"

#define SEVERAL 2

struct pass {
    const struct hostcow_in *in;
    struct hostcow *out;
    uint32_t *order; /* numbers of the tables that were reached */
    uint32_t order_n, tables_n;
    uint8_t *level; /* of each table, 0: not reached */
    uint8_t *uses;  /* leaves of each page, SEVERAL: that or more */
    uint64_t leaves_n;
    struct err *e;
};

static int reach(struct pass *p, uint64_t gpa, unsigned level)
{
    uint64_t number = (gpa - p->in->tables_gpa.v) / PAGE_LEN;

    if (gpa < p->in->tables_gpa.v || number >= p->tables_n)
        return 0;
    if (p->level[number] != 0 && p->level[number] != level)
        return err_set(p->e, STATUS_IMAGE, "snapshot: a page table is used at two levels (0x%" PRIx64 ")",
                       gpa);
    if (p->level[number] == 0)
        p->order[p->order_n++] = (uint32_t)number;
    p->level[number] = (uint8_t)level;
    return 0;
}

/* Whether a leaf maps a page of the snapshot region, and which. */
static bool find_page(const struct pass *p, const struct pte *pte, uint64_t *page)
{
    *page = (pte->pa.v - p->in->pages_gpa.v) / PAGE_LEN;
    return pte->kind == PTE_LEAF && pte->len == PAGE_LEN && pte->pa.v >= p->in->pages_gpa.v &&
           *page < p->in->pages_n;
}

/* See where the entries of a table lead, or, with that known of all tables, open its leaves. */
static int go_through(struct pass *p, uint32_t table, bool open)
{
    const struct pt_geom *g = p->in->geom;
    unsigned level = p->level[table], i;
    uint64_t page;

    for (i = 0; i < g->entries_n; i++) {
        uint8_t *entry = p->out->tables.base + table * PAGE_LEN + (size_t)i * g->entry_len;
        uint64_t raw = pte_load(g, entry);
        struct pte pte = pte_decode(g, level, p->in->mode, raw);
        bool is_page = find_page(p, &pte, &page);

        if (!open) {
            if (pte.kind == PTE_TABLE && reach(p, pte.pa.v, level - 1) != 0)
                return -1;
            if (is_page && p->uses[page] < SEVERAL)
                p->uses[page]++;
            p->leaves_n += is_page;
        } else if (is_page && (pte.rights & PT_COW) != 0) {
            uint64_t gpa = pte.pa.v;

            if (p->uses[page] == SEVERAL) {
                gpa = p->in->extra_gpa.v + p->out->extra_n * PAGE_LEN;
                p->out->sources[p->out->extra_n++] = (uint32_t)page;
            }
            raw &= ~(g->level[level].leaf_pa | PTE_COW);
            pte_store(g, entry, raw | gpa | PTE_RW | PTE_D);
        }
    }
    return 0;
}

static int no_memory(struct err *e)
{
    return err_memory(e, "page tables");
}

static int make(struct pass *p)
{
    const struct hostcow_in *in = p->in;
    unsigned r;
    uint32_t i;

    p->order = calloc(p->tables_n, sizeof(*p->order));
    p->level = calloc(p->tables_n, 1);
    p->uses = calloc(in->pages_n, 1);
    if (p->order == NULL || p->level == NULL || p->uses == NULL)
        return no_memory(p->e);
    if (region_map(&p->out->tables, in->tables->len, p->e) != 0)
        return -1;
    memcpy(p->out->tables.base, in->tables->base, in->tables->len);
    for (r = 0; r < in->roots_n; r++)
        if (reach(p, in->roots[r].v & in->geom->table_pa, in->geom->levels) != 0)
            return -1;
    for (i = 0; i < p->order_n; i++)
        if (go_through(p, p->order[i], false) != 0)
            return -1;
    p->out->sources = calloc(p->leaves_n + 1, sizeof(*p->out->sources));
    if (p->out->sources == NULL)
        return no_memory(p->e);
    for (i = 0; i < p->order_n; i++)
        go_through(p, p->order[i], true);
    return 0;
}

int hostcow_make(const struct hostcow_in *in, struct hostcow *out, struct err *e)
{
    struct hostcow h = {.extra_n = 0};
    struct pass p = {.in = in, .out = &h, .tables_n = (uint32_t)(in->tables->len / PAGE_LEN), .e = e};
    int result = make(&p);

    free(p.order);
    free(p.level);
    free(p.uses);
    if (result != 0)
        hostcow_free(&h);
    else
        *out = h;
    return result;
}

void hostcow_free(struct hostcow *h)
{
    region_unmap(&h->tables);
    free(h->sources);
    h->sources = NULL;
    h->extra_n = 0;
}
