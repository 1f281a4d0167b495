/* vmm inspect of a saved guest: sections, roots and what they map. Needs no KVM. */
#include "hv/cmd_inspect_snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "boot/x86.h"
#include "hv/bare.h"
#include "hv/snapfile.h"
#include "mem/gmem.h"
#include "mem/num.h"
#include "paging/walk.h"

#define TABLES_MAX 65536 /* that are read for the list of mappings */
#define RUNS_MAX   2000  /* mappings that are listed */

/* Neighbouring pages with the same rights: one line. */
struct run {
    uint64_t va, len;
    unsigned rights;
};

struct mappings {
    const struct layout *plan;
    struct run last;
    struct run *runs;
    unsigned n;
    uint64_t pages, window_pages;
    bool more; /* than are listed */
};

static void end_run(struct mappings *m)
{
    if (m->last.len == 0)
        return;
    if (m->n == RUNS_MAX)
        m->more = true;
    else
        m->runs[m->n++] = m->last;
    m->last.len = 0;
}

static enum walk_next see(void *ctx, const struct walk_entry *entry)
{
    struct mappings *m = (struct mappings *)ctx;

    if (entry->what != WALK_SEES_LEAF)
        return WALK_ON;
    /* The window is the same in every guest, and is said in one line. */
    if (entry->va.v - m->plan->scratch_gva.v < m->plan->sizes.scratch_len) {
        m->window_pages += entry->pte.len / PAGE_LEN;
        return WALK_ON;
    }
    m->pages += entry->pte.len / PAGE_LEN;
    if (m->last.len != 0 && m->last.va + m->last.len == entry->va.v && m->last.rights == entry->rights) {
        m->last.len += entry->pte.len;
        return WALK_ON;
    }
    end_run(m);
    m->last = (struct run){.va = entry->va.v, .len = entry->pte.len, .rights = entry->rights};
    return WALK_ON;
}

/* The guest's memory as a restore would lay it out: pages, tables and placed pages. */
static struct gmem *make_memory(const struct snapshot *s, struct err *e)
{
    const struct layout *l = &s->plan;
    struct gmem *m = gmem_new();

    if (m == NULL) {
        err_memory(e, "view of the guest");
        return NULL;
    }
    if (gmem_add(m, l->base, s->memory.len, s->memory.base, false, e) != 0 ||
        (s->tables.len != 0 &&
         gmem_add(m, layout_gpa(l, AREA_SCRATCH, l->pt_off), s->tables.len, s->tables.base, false, e) != 0) ||
        (s->placed.len != 0 && gmem_add(m, layout_gpa(l, AREA_SCRATCH, l->pt_off + l->pt_len), s->placed.len,
                                        s->placed.base, false, e) != 0)) {
        gmem_free(m);
        return NULL;
    }
    return m;
}

static void walk_one(const struct snapshot *s, const struct gmem *mem, struct gpa root, struct mappings *m)
{
    const struct pt_mode mode = {
        .pse = (s->sregs.cr4 & CR4_PSE) != 0,
        .nxe = (s->sregs.efer & EFER_NXE) != 0,
        .wp = true,
        .phys_bits = s->kind->phys_bits,
    };
    uint64_t budget = TABLES_MAX;

    m->n = 0;
    m->pages = m->window_pages = 0;
    m->more = false;
    if (walk_root(s->kind->geom, mode, mem, root, &budget, see, m) != WALK_END_ALL)
        m->more = true;
    end_run(m);
}

static void add_rights(unsigned rights, char text[8])
{
    text[0] = 'r';
    text[1] = (rights & PT_WRITE) != 0 ? 'w' : (rights & PT_COW) != 0 ? 'c' : '-';
    text[2] = (rights & PT_EXEC) != 0 ? 'x' : '-';
    text[3] = (rights & PT_USER) != 0 ? 'u' : '-';
    text[4] = '\0';
}

static void add_mappings(const struct options *o, const struct snapshot *s, const struct mappings *m,
                         struct text *out)
{
    int w = (int)s->kind->addr_digits;
    char rights[8];
    unsigned i;

    for (i = 0; i < m->n; i++) {
        const struct run *r = &m->runs[i];

        add_rights(r->rights, rights);
        if (o->json)
            text_add(out, "%s{\"va\":\"0x%" PRIx64 "\",\"len\":%" PRIu64 ",\"rights\":\"%s\"}",
                     i != 0 ? "," : "", r->va, r->len, rights);
        else
            text_add(out, "  %0*" PRIx64 "-%0*" PRIx64 " %s %9" PRIu64 "K\n", w, r->va, w, r->va + r->len - 1,
                     rights, r->len >> 10);
    }
}

static void add_roots(const struct options *o, const struct snapshot *s, const struct gmem *mem,
                      struct mappings *m, struct text *out)
{
    const struct gpa only = gpa_make(s->sregs.cr3 & ~(uint64_t)PAGE_MASK);
    const struct gpa *roots = s->roots_n != 0 ? s->roots : &only;
    unsigned n = s->roots_n != 0 ? s->roots_n : 1, i;

    for (i = 0; i < n; i++) {
        walk_one(s, mem, roots[i], m);
        if (o->json) {
            text_add(out,
                     "%s{\"gpa\":\"0x%" PRIx64 "\",\"active\":%s,\"pages\":%" PRIu64
                     ",\"complete\":%s,\"mappings\":[",
                     i != 0 ? "," : "", roots[i].v, i == s->root_active ? "true" : "false", m->pages,
                     m->more ? "false" : "true");
            add_mappings(o, s, m, out);
            text_add(out, "]}");
            continue;
        }
        text_add(out, "root %u at 0x%" PRIx64 "%s: %" PRIu64 " pages, and %" PRIu64 " of scratch\n", i,
                 roots[i].v, i == s->root_active ? " (active)" : "", m->pages, m->window_pages);
        add_mappings(o, s, m, out);
        if (m->more)
            text_add(out, "  (more than is listed)\n");
    }
}

static void add_head(const struct options *o, const struct snapshot *s, const struct snapfile_info *info,
                     struct text *out)
{
    const char *kind = s->bare != NULL ? bare_format_name(s->bare->start.format) : s->kind->name;
    unsigned i;

    if (o->json) {
        text_add(out, "{\"version\":1,\"snapshot\":");
        text_add_json(out, o->image, strlen(o->image));
        text_add(out,
                 ",\"format\":%" PRIu32 ",\"kind\":\"%s\",\"generation\":%" PRIu64 ",\"created_ns\":%" PRIu64,
                 info->format, kind, s->generation, info->created_ns);
        if (s->bare != NULL)
            text_add(out, ",\"memory\":%" PRIu64 ",\"irqchip\":%s,\"at\":\"0x%" PRIx64 "\"", s->bare->ram_len,
                     s->bare->start.irqchip ? "true" : "false", s->bare->start.regs.rip);
        text_add(out, ",\"producer\":");
        text_add_json(out, info->producer, strlen(info->producer));
        text_add(out, ",\"pages\":%" PRIu64 ",\"placed_pages\":%" PRIu64 ",\"verified\":%s,\"sections\":[",
                 s->memory.len / PAGE_LEN, s->placed.len / PAGE_LEN, o->verify ? "true" : "false");
    } else {
        text_add(out, "%s: snapshot of a%s%s guest, generation %" PRIu64 ", format %" PRIu32 ", by %s%s\n",
                 o->image, s->bare != NULL ? " bare " : "n ", kind, s->generation, info->format,
                 info->producer, info->other_cpu ? ", on another model of CPU" : "");
        if (s->bare != NULL)
            text_add(out, "goes on at 0x%08" PRIx64 ", %" PRIu64 "K of RAM, interrupt controllers %s%s\n",
                     s->bare->start.regs.rip, s->bare->ram_len >> 10, s->bare->start.irqchip ? "on" : "off",
                     o->verify ? ", verified" : "");
        else
            text_add(out,
                     "takes calls at 0x%" PRIx64 ", stack 0x%" PRIx64 ", scratch %" PRIu64 "K, %" PRIu64
                     " pages%s\n",
                     s->dispatch, s->call_sp, s->plan.sizes.scratch_len >> 10, s->memory.len / PAGE_LEN,
                     o->verify ? ", verified" : "");
    }
    for (i = 0; i < info->sections_n; i++) {
        const struct snapfile_section *x = &info->sections[i];

        if (o->json)
            text_add(out, "%s{\"name\":\"%s\",\"off\":%" PRIu64 ",\"len\":%" PRIu64 "}", i != 0 ? "," : "",
                     x->name, x->off, x->len);
        else
            text_add(out, "section %-8s at %10" PRIu64 ", %10" PRIu64 " bytes\n", x->name, x->off, x->len);
    }
}

int inspect_snapshot(const struct options *o, struct text *out, struct err *e)
{
    struct snapfile_info info;
    struct mappings m = {.n = 0};
    struct gmem *mem = NULL;
    struct bare_state machine;
    struct snapshot s;
    int result = -1;

    if (snapfile_read(o->image, o->verify, &s, &info, e) != 0)
        return -1;
    m.plan = &s.plan;
    /* Tables may lie among the pages, which are the file. */
    if (snapfile_guard(&s, o->image, e) != 0)
        goto out;
    m.runs = calloc(RUNS_MAX, sizeof(*m.runs));
    if (m.runs == NULL) {
        err_memory(e, "mappings");
        goto out;
    }
    if (s.bare != NULL && bare_from_snapshot(&s, &machine, e) != 0) {
        err_wrap(e, "%s", o->image);
        goto out;
    }
    if (s.bare == NULL) {
        mem = make_memory(&s, e);
        if (mem == NULL)
            goto out;
    }
    add_head(o, &s, &info, out);
    if (o->json)
        text_add(out, "],\"roots\":[");
    if (s.kind != NULL && s.kind->geom != NULL)
        add_roots(o, &s, mem, &m, out);
    if (o->json)
        text_add(out, "]}\n");
    result = 0;
out:
    gmem_free(mem);
    free(m.runs);
    snapshot_free(&s);
    return result;
}
