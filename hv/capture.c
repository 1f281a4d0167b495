/* Capturing a guest. See capture.h. */
#include "hv/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hv/state.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "mem/num.h"
#include "paging/compact.h"

#define CR3_ADDR_MASK (~(uint64_t)PAGE_MASK)

/* The roots a guest has, the active one among them. */
struct roots {
    struct gpa gpa[HOST_PAGE_ROOTS_MAX];
    unsigned n, active;
    bool listed; /* by the guest; else it is CR3 alone */
};

static int bad_list(struct err *e, const char *what, uint64_t value)
{
    return err_image(e, "snapshot: the guest's list of page-table roots: %s (0x%" PRIx64 ")", what, value);
}

/* Whether a page of the guest's memory is one that the host writes to: an I/O stack's, or one at the top. */
static bool is_hosts(const struct layout *l, struct gpa page)
{
    uint64_t off = page.v - l->scratch_gpa.v;

    return page.v >= l->scratch_gpa.v && (off < l->pt_off || off >= layout_top_off(l, SCRATCH_HOST_PAGE));
}

/*
 * Take the guest's list, ABI 2.5. The page is the guest's to scribble on, so it
 * is copied once and only the copy is looked at; without its mark it is no list.
 */
static int read_roots(struct vm *vm, uint64_t cr3, struct roots *out, struct err *e)
{
    uint8_t page[HOST_PAGE_GDT];
    struct roots r = {.n = 0};
    unsigned i, j;
    bool found = false;

    memcpy(page, vm_scratch(vm, layout_top_off(&vm->snap->plan, SCRATCH_HOST_PAGE)), sizeof(page));
    if (load_le64(page + HOST_PAGE_ROOTS_MAGIC) != HOST_PAGE_ROOTS_VALUE) {
        *out = (struct roots){.gpa = {gpa_make(cr3)}, .n = 1};
        return 0;
    }
    r.n = load_le32(page + HOST_PAGE_ROOTS_N);
    /* No guest has no root: whoever has CR3 alone leaves the mark out. */
    if (r.n == 0)
        return bad_list(e, "no roots", r.n);
    if (r.n > HOST_PAGE_ROOTS_MAX)
        return bad_list(e, "too many roots", r.n);
    r.active = load_le32(page + HOST_PAGE_ROOT_ACTIVE);
    if (r.active >= r.n)
        return bad_list(e, "the active root is not in it", r.active);
    for (i = 0; i < r.n; i++) {
        r.gpa[i] = gpa_make(load_le64(page + HOST_PAGE_ROOTS + (size_t)8 * i));
        if (!num_is_page_aligned(r.gpa[i].v))
            return bad_list(e, "a root is not page aligned", r.gpa[i].v);
        if (!gmem_contains(vm->mem, r.gpa[i], PAGE_LEN))
            return bad_list(e, "a root is not in the guest's memory", r.gpa[i].v);
        if (is_hosts(&vm->snap->plan, r.gpa[i]))
            return bad_list(e, "a root is in scratch that is the host's", r.gpa[i].v);
        for (j = 0; j < i; j++)
            if (r.gpa[j].v == r.gpa[i].v)
                return bad_list(e, "a root is there twice", r.gpa[i].v);
        found = found || r.gpa[i].v == cr3;
    }
    if (!found)
        return bad_list(e, "CR3 is not in it", cr3);
    if (r.gpa[r.active].v != cr3)
        return bad_list(e, "the active root is not CR3", r.gpa[r.active].v);
    r.listed = true;
    *out = r;
    return 0;
}

/* The window's leaves are as the first start made them: writable, and not executable where that can be said. */
static struct compact_in compact_input(const struct vm *vm, const struct snapshot *s,
                                       const struct roots *roots)
{
    const struct layout *l = &vm->snap->plan;

    return (struct compact_in){
        .geom = vm->snap->kind->geom,
        .mode = vm_paging_mode(vm->snap->kind, &s->sregs),
        .mem = vm->mem,
        .roots = roots->gpa,
        .roots_n = roots->n,
        .window = layout_gva(l, AREA_SCRATCH, 0),
        .scratch_gpa = l->scratch_gpa,
        .scratch_len = l->sizes.scratch_len,
        .window_rights = PT_WRITE,
        .never_kept = {gva_make(l->rules->dropped_start), l->rules->dropped_len},
        .tables_gpa = layout_gpa(l, AREA_SCRATCH, l->pt_off),
        .alloc_end = layout_gpa(l, AREA_SCRATCH, layout_top_off(l, SCRATCH_HOST_PAGE)),
        .pages_gpa = l->base,
        .pages_max = (l->scratch_gpa.v - l->base.v) / PAGE_LEN,
    };
}

/* Map a region and fill it with pages of the guest. `n` 0 leaves it empty. */
static int copy_pages(const struct vm *vm, const struct gpa *pages, uint64_t n, struct region *out,
                      struct err *e)
{
    if (n == 0)
        return 0;
    if (region_map(out, n * PAGE_LEN, e) != 0 || compact_copy(vm->mem, pages, n, out->base, e) != 0)
        return -1;
    return region_seal(out, e);
}

static int take_packed(const struct vm *vm, const struct roots *roots, const struct compact_out *c,
                       struct snapshot *s, struct err *e)
{
    unsigned i;

    if (c->pages_n == 0)
        return err_image(e, "snapshot: the guest maps no memory of its own");
    if (layout_captured(&vm->snap->plan, c->pages_n * PAGE_LEN, c->tables_len, c->placed_n * PAGE_LEN,
                        &s->plan, e) != 0 ||
        copy_pages(vm, c->pages, c->pages_n, &s->memory, e) != 0 ||
        copy_pages(vm, c->placed, c->placed_n, &s->placed, e) != 0 ||
        region_map(&s->tables, c->tables_len, e) != 0)
        return -1;
    memcpy(s->tables.base, c->tables, c->tables_len);
    s->sregs.cr3 = c->roots[roots->active].v;
    if (roots->listed) {
        for (i = 0; i < roots->n; i++)
            s->roots[i] = c->roots[i];
        s->roots_n = roots->n;
        s->root_active = roots->active;
    }
    return region_seal(&s->tables, e);
}

static int capture_paged(struct vm *vm, struct snapshot *s, struct err *e)
{
    struct compact_out packed = {.pages_n = 0};
    struct compact_in in;
    struct roots *roots = calloc(1, sizeof(*roots));
    int result = -1;

    if (roots == NULL)
        return err_memory(e, "page-table roots");
    if (read_roots(vm, s->sregs.cr3 & CR3_ADDR_MASK, roots, e) != 0)
        goto out;
    in = compact_input(vm, s, roots);
    if (compact_make(&in, &packed, e) != 0)
        goto out;
    result = take_packed(vm, roots, &packed, s, e);
    compact_free(&packed);
out:
    free(roots);
    return result;
}

/*
 * What the guest wrote to until now is the snapshot's, and what it writes from
 * now on its own, at the same host address: Linux has KVM forget where that
 * was, so that each page is told of again (hv/track) when it is written.
 */
static int take_in_place(struct vm *vm, struct snapshot *s, struct err *e)
{
    s->file_fd = fcntl(vm->base.fd, F_DUPFD_CLOEXEC, 0);
    if (s->file_fd < 0)
        return err_host(e, "snapshot: cannot take the guest's memory");
    s->has_fd = true;
    if (pristine_map(&vm->base, &s->memory, e) != 0 || pristine_seal_under(&vm->base, &vm->copy, e) != 0)
        return -1;
    vm->base_open = false;
    return region_seal(&s->memory, e);
}

/* Scratch is not part of it. */
static int capture_identity(struct vm *vm, struct snapshot *s, struct err *e)
{
    struct pristine base = vm->base;

    if (layout_captured(&vm->snap->plan, vm->snap->plan.snapshot_len, 0, 0, &s->plan, e) != 0)
        return -1;
    if (vm->base_open)
        return take_in_place(vm, s, e);
    if (vm->copy_of_file)
        base = (struct pristine){vm->snap->file_fd, vm->snap->memory_off, vm->copy.len};
    return pristine_copy(&base, &vm->copy, &s->memory, e) != 0 ? -1 : region_seal(&s->memory, e);
}

int capture_make(struct vm *vm, struct snapshot *out, struct err *e)
{
    struct snapshot s = {.kind = vm->snap->kind};
    bool paged = vm->snap->kind->geom != NULL;

    if (!vm->ready)
        return err_image(e, "snapshot: the guest is not between calls");
    if (state_capture(&vm->machine, NULL, &s, e) != 0)
        return -1;
    if ((paged ? capture_paged(vm, &s, e) : capture_identity(vm, &s, e)) != 0) {
        snapshot_free(&s);
        return -1;
    }
    s.generation = vm->snap->generation + 1;
    s.promises = vm->snap->promises;
    s.takes_calls = true;
    s.entry = vm->snap->entry;
    s.peb = vm->snap->peb;
    s.dispatch = vm->dispatch;
    s.call_sp = vm->call_sp;
    *out = s;
    return 0;
}
