/* A guest's own page tables, as they are now. See vm.h. */
#include "boot/x86.h"
#include "hv/vm.h"
#include "mem/num.h"
#include "paging/walk.h"

/* Tables a search for one leaf may visit: enough for any honest guest, and no time at all. */
#define SEARCH_TABLES_MAX 65536

struct pt_mode vm_paging_mode(const struct guest_kind *kind, const struct cpu_sregs *s)
{
    return (struct pt_mode){
        .pse = (s->cr4 & CR4_PSE) != 0,
        .nxe = (s->efer & EFER_NXE) != 0,
        .wp = (s->cr0 & CR0_WP) != 0,
        .phys_bits = kind->phys_bits,
    };
}

bool vm_translate(const struct vm *vm, const struct cpu_sregs *s, struct gva va, struct gpa *pa)
{
    struct walk_leaf leaf;

    if (vm->snap->kind->geom == NULL || (s->cr0 & CR0_PG) == 0) {
        *pa = gpa_make(va.v);
        return true;
    }
    if (walk_lookup(vm->snap->kind->geom, vm_paging_mode(vm->snap->kind, s), vm->mem, gpa_make(s->cr3), va,
                    &leaf) != WALK_FOUND)
        return false;
    *pa = leaf.pa;
    return true;
}

struct leaf_search {
    uint64_t start, end; /* the snapshot region */
    struct gva va;
    struct gpa pa;
    bool found;
};

static enum walk_next search_leaf(void *ctx, const struct walk_entry *entry)
{
    struct leaf_search *s = (struct leaf_search *)ctx;

    if (entry->what != WALK_SEES_LEAF || (entry->rights & PT_WRITE) == 0 ||
        !num_overlap(entry->pte.pa.v, entry->pte.len, s->start, s->end - s->start))
        return WALK_ON;
    s->found = true;
    s->va = entry->va;
    s->pa = entry->pte.pa;
    return WALK_STOP;
}

bool vm_find_writable_snapshot_leaf(const struct vm *vm, const struct cpu_sregs *s, struct gva *va,
                                    struct gpa *pa)
{
    const struct layout *l = &vm->snap->plan;
    struct leaf_search search = {.start = l->base.v, .end = l->base.v + l->snapshot_len};
    uint64_t budget = SEARCH_TABLES_MAX;

    if (vm->copy.len != 0 || (s->cr0 & CR0_PG) == 0)
        return false;
    walk_root(vm->snap->kind->geom, vm_paging_mode(vm->snap->kind, s), vm->mem, gpa_make(s->cr3), &budget,
              search_leaf, &search);
    if (search.found) {
        *va = search.va;
        *pa = search.pa;
    }
    return search.found;
}
