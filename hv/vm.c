/* A machine with a guest in it. See vm.h for the contract. */
#include "hv/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "boot/gdt.h"
#include "boot/x86.h"
#include "hv/host.h"
#include "hv/snapfile.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "mem/num.h"

/* The largest snapshot whose memory is copied for each VM. */
#define COPY_MAX ((uint64_t)1 << 20)

static bool is_paged(const struct vm *vm)
{
    return vm->snap->plan.rules->model == MODEL_PAGED;
}

/* Whether the guest writes to the snapshot region itself. */
static bool has_copy(const struct vm *vm)
{
    return !is_paged(vm) || vm->cow_host;
}

static const struct region *tables_of(const struct vm *vm)
{
    return vm->cow_host ? &vm->own->tables : &vm->snap->tables;
}

/* Whether large tables in scratch are its own only where the guest, or the CPU for it, writes to them. */
static bool maps_tables(const struct vm *vm)
{
    return vm->snap->has_tables_fd && !vm->cow_host;
}

/*
 * The memory of an identity guest is its own. A small one is copied: that is
 * faster than to fault its pages in. Of a large one in a file, a VM has what
 * its guest writes, and shares the rest with everyone; any other large one is
 * where a capture can take it, if the host lets us. A guest that writes
 * nothing there has all of it from whoever has the snapshot, unless that may change.
 */
static int map_copy(struct vm *vm, struct err *e)
{
    const struct snapshot *s = vm->snap;
    uint64_t len = s->plan.snapshot_len;
    struct err ignored;

    vm->copy_of_file = has_copy(vm) && s->has_fd && len > COPY_MAX;
    if (!has_copy(vm)) {
        if (region_map_file(&vm->view, s->file_fd, s->memory_off, len, e) != 0)
            return -1;
        snapfile_guard_copy(&vm->view);
        return 0;
    }
    if (!vm->copy_of_file) {
        vm->base_open =
            !is_paged(vm) && len > COPY_MAX && pristine_open(&vm->base, len, &vm->copy, &ignored) == 0;
        return vm->base_open ? 0 : region_map(&vm->copy, len, e);
    }
    if (region_map_file_private(&vm->copy, s->file_fd, s->memory_off, len, e) != 0)
        return -1;
    snapfile_guard_copy(&vm->copy);
    return 0;
}

/* What a page of scratch is reset to: tables, and what is placed behind them; all else is zero. */
static const uint8_t *scratch_source(const void *ctx, uint64_t off)
{
    const struct vm *vm = (const struct vm *)ctx;
    const struct snapshot *s = vm->snap;

    off -= s->plan.pt_off;
    if (off < s->tables.len)
        return tables_of(vm)->base + off;
    off -= s->plan.pt_len;
    return off < s->placed.len ? s->placed.base + off : NULL;
}

static const uint8_t *memory_source(const void *ctx, uint64_t off)
{
    return ((const struct vm *)ctx)->snap->memory.base + off;
}

static const uint8_t *extra_source(const void *ctx, uint64_t off)
{
    const struct vm *vm = (const struct vm *)ctx;

    return vm->snap->memory.base + vm->own->sources[off / PAGE_LEN] * PAGE_LEN;
}

/* The guest's writes are noted by KVM, the host's by the view. */
static int track(struct vm *vm, struct gpa at, const struct region *mem,
                 const uint8_t *(*source)(const void *ctx, uint64_t off), const void *ctx, struct err *e)
{
    if (track_add(&vm->track, at, mem, source, ctx, e) != 0)
        return -1;
    gmem_watch(vm->mem, at, &vm->track.area[vm->track.areas_n - 1].touched);
    return 0;
}

/* Tables with writable leaves, and the pages that they need beyond those of the snapshot. */
static int make_tables(const struct snapshot *s, struct hostcow *out, struct err *e)
{
    const struct layout *l = &s->plan;
    const struct gpa cr3 = gpa_make(s->sregs.cr3);
    const struct hostcow_in in = {
        .geom = s->kind->geom,
        .mode = vm_paging_mode(s->kind, &s->sregs),
        .tables = &s->tables,
        .tables_gpa = layout_gpa(l, AREA_SCRATCH, l->pt_off),
        .roots = s->roots_n != 0 ? s->roots : &cr3,
        .roots_n = s->roots_n != 0 ? s->roots_n : 1,
        .pages_gpa = l->base,
        .pages_n = l->snapshot_len / PAGE_LEN,
        .extra_gpa = layout_gpa(l, AREA_SNAPSHOT, l->snapshot_len),
    };

    return hostcow_make(&in, out, e);
}

int vm_prepare(struct snapshot *snap, struct err *e)
{
    return snap->kind == NULL || snap->kind->geom == NULL ? 0 : make_tables(snap, &snap->cow, e);
}

static int open_cow(struct vm *vm, struct err *e)
{
    const struct layout *l = &vm->snap->plan;
    uint64_t start = layout_gpa(l, AREA_SNAPSHOT, l->snapshot_len).v, len;

    vm->own = vm->snap->cow.tables.len != 0 ? &vm->snap->cow : &vm->made;
    if (vm->own == &vm->made && make_tables(vm->snap, &vm->made, e) != 0)
        return -1;
    len = vm->own->extra_n * PAGE_LEN;
    if (len == 0)
        return 0;
    if (len > l->scratch_gpa.v - start ||
        ((vm->irqchip || vm->machine.hidden_apic) && num_overlap(start, len, APIC_ACCESS_PAGE, PAGE_LEN)))
        return err_image(
            e, "--cow host: no room for the pages that several addresses share (0x%" PRIx64 "-0x%" PRIx64 ")",
            start, start + len);
    return region_map(&vm->extra, len, e);
}

/* A stretch of the guest's memory. */
static int map_stretch(struct vm *vm, struct gpa at, const struct region *mem, bool writable,
                       const uint8_t *(*source)(const void *ctx, uint64_t off), struct err *e)
{
    if (slots_map(&vm->slots, at, mem->len, mem->base, !writable, e) != 0 ||
        gmem_add(vm->mem, at, mem->len, mem->base, writable, e) != 0)
        return -1;
    return writable && vm->track.machine != NULL ? track(vm, at, mem, source, vm, e) : 0;
}

static int map_memory(struct vm *vm, bool pool, struct err *e)
{
    const struct layout *l = &vm->snap->plan;
    struct gpa base = layout_gpa(l, AREA_SNAPSHOT, 0), scratch = layout_gpa(l, AREA_SCRATCH, 0);

    if (region_map(&vm->scratch, l->sizes.scratch_len, e) != 0)
        return -1;
    if (maps_tables(vm) &&
        pristine_put(&(struct pristine){.fd = vm->snap->tables_fd, .len = vm->snap->tables.len},
                     vm->scratch.base + l->pt_off, e) != 0)
        return -1;
    if ((has_copy(vm) || (pool && vm->snap->has_fd)) && map_copy(vm, e) != 0)
        return -1;
    if (vm->cow_host && open_cow(vm, e) != 0)
        return -1;
    if (region_map(&vm->messages, l->sizes.input_len + l->sizes.output_len, e) != 0)
        return -1;
    vm->mem = gmem_new();
    if (vm->mem == NULL)
        return err_memory(e, "view of the guest");
    if (vm->machine.dirty.by != DIRTY_NOT)
        track_open(&vm->track, &vm->machine, &vm->slots);
    if (map_stretch(vm, base,
                    has_copy(vm)        ? &vm->copy
                    : vm->view.len != 0 ? &vm->view
                                        : &vm->snap->memory,
                    has_copy(vm), memory_source, e) != 0 ||
        map_stretch(vm, scratch, &vm->scratch, true, scratch_source, e) != 0)
        return -1;
    return vm->extra.len == 0 ? 0
                              : map_stretch(vm, layout_gpa(l, AREA_SNAPSHOT, l->snapshot_len), &vm->extra,
                                            true, extra_source, e);
}

/* How much memory the guest can write to. */
static uint64_t writable_pages(const struct vm *vm)
{
    const struct layout *l = &vm->snap->plan;

    return (l->sizes.scratch_len + (has_copy(vm) ? l->snapshot_len : 0)) / PAGE_LEN;
}

static enum dirty_by choose_dirty(const struct vm *vm, const struct vm_options *opt)
{
    if (!opt->warm || opt->track == TRACK_COPY)
        return DIRTY_NOT;
    return opt->track == TRACK_LOG || (opt->track == TRACK_BEST && vm->shadows) ? DIRTY_BY_LOG
                                                                                : DIRTY_BY_RING;
}

/* Whether the guest does not sleep, and neither its memory nor its APIC base is in the way. */
static bool can_hide_apic(const struct vm *vm)
{
    const struct snapshot *s = vm->snap;
    const struct layout *l = &s->plan;

    return (s->promises & PROMISE_OUT) != 0 && !vm->irqchip && (s->sregs.apic_base & APIC_BASE_ENABLE) == 0 &&
           !num_overlap(l->base.v, l->snapshot_len, APIC_ACCESS_PAGE, PAGE_LEN) &&
           !num_overlap(l->scratch_gpa.v, l->sizes.scratch_len, APIC_ACCESS_PAGE, PAGE_LEN);
}

static int make_machine(struct vm *vm, const struct vm_options *opt, struct err *e)
{
    const struct snapshot *s = vm->snap;
    const struct machine_options mo = {.phys_bits = s->kind->phys_bits,
                                       .plain_cpu = (s->promises & PROMISE_CPU) != 0,
                                       .hidden_apic = can_hide_apic(vm),
                                       .irqchip = vm->irqchip,
                                       .dirty = choose_dirty(vm, opt),
                                       .pages_n = writable_pages(vm)};
    int result;

    if (machine_open(&vm->machine, vm->kvm_fd, &mo, e) != 0)
        return -1;
    slots_init(&vm->slots, &vm->machine, vm->irqchip, false);
    if (map_memory(vm, opt->pool, e) != 0)
        return -1;
    result = machine_add_cpu(&vm->machine, vm->kvm_fd, &mo, e);
    if (result != 0)
        return result;
    return state_filter_msrs(&vm->machine, s->kind, e);
}

int vm_open(struct vm *out, int kvm_fd, const struct snapshot *snap, const struct vm_options *opt,
            struct err *e)
{
    struct vm *vm = out;
    int result;

    *vm = (struct vm){
        .snap = snap,
        .machine = MACHINE_CLOSED,
        .base = PRISTINE_CLOSED,
        .kvm_fd = kvm_fd,
        .irqchip = opt->irqchip,
        .warm = opt->warm,
        .cow_host = opt->cow_host && snap->kind->geom != NULL,
        .shadows = opt->warm && kvm_shadows_tables(kvm_fd),
    };
    result = make_machine(vm, opt, e);
    if (result == 0 && vm->warm &&
        (state_take_baseline(&vm->baseline, kvm_fd, &vm->machine, snap->kind,
                             vm->irqchip ? PART_OF_IRQCHIP : PART_OF_ALL, e) != 0 ||
         state_fit_baseline(&vm->baseline, &vm->machine, snap, vm->irqchip, e) != 0))
        result = -1;
    if (result != 0)
        vm_close(vm);
    else if (vm->warm)
        state_choose_drop(&vm->baseline, &vm->machine, vm->shadows);
    /* Once: from then on no machine has one. */
    return result == MACHINE_SHOWS_APIC ? vm_open(out, kvm_fd, snap, opt, e) : result;
}

void vm_close(struct vm *vm)
{
    /* The machine goes first: while it lives, KVM may write to the memory behind its slots. */
    machine_close(&vm->machine);
    state_free_baseline(&vm->baseline);
    track_close(&vm->track);
    gmem_free(vm->mem);
    vm->mem = NULL;
    region_unmap(&vm->scratch);
    region_unmap(&vm->extra);
    hostcow_free(&vm->made);
    region_unmap(&vm->copy);
    region_unmap(&vm->view);
    snapfile_guard_copy(&vm->copy);
    vm->copy_of_file = false;
    pristine_close(&vm->base);
    region_unmap(&vm->messages);
    vm->usable = vm->ready = false;
}

const uint8_t *vm_scratch(const struct vm *vm, uint64_t off)
{
    return vm->scratch.base + off;
}

uint8_t *vm_scratch_rw(struct vm *vm, uint64_t off, uint64_t len)
{
    return gmem_span_rw(vm->mem, layout_gpa(&vm->snap->plan, AREA_SCRATCH, off), len);
}

/* The page at `distance` from the top of scratch, for writing. */
static uint8_t *top_page(struct vm *vm, uint64_t distance)
{
    return vm_scratch_rw(vm, layout_top_off(&vm->snap->plan, distance), PAGE_LEN);
}

static void write_words(struct vm *vm, uint32_t random)
{
    const struct snapshot *s = vm->snap;
    const struct layout *l = &s->plan;
    uint8_t *end = top_page(vm, PAGE_LEN) + PAGE_LEN;

    store_le64(end - SCRATCH_SIZE_WORD, l->sizes.scratch_len);
    store_le64(end - SCRATCH_ALLOCATOR_WORD, layout_gpa(l, AREA_SCRATCH, l->free_off).v);
    store_le64(end - SCRATCH_PT_BASE_WORD, is_paged(vm) ? layout_gpa(l, AREA_SCRATCH, l->pt_off).v : 0);
    store_le64(end - SCRATCH_GENERATION_WORD, s->generation);
    /* A first start has no earlier life whose random state it could share, so it gets no request to reseed. */
    store_le64(end - SCRATCH_RNG_WORD, s->generation == 0 ? 0 : RNG_REQUEST | random);
}

/* The guest's list of roots, in its order, where they are now. */
static void write_roots(const struct snapshot *s, uint8_t *page)
{
    unsigned i;

    if (s->roots_n == 0)
        return;
    store_le32(page + HOST_PAGE_ROOTS_N, s->roots_n);
    store_le32(page + HOST_PAGE_ROOT_ACTIVE, s->root_active);
    store_le64(page + HOST_PAGE_ROOTS_MAGIC, HOST_PAGE_ROOTS_VALUE);
    for (i = 0; i < s->roots_n; i++)
        store_le64(page + HOST_PAGE_ROOTS + (size_t)8 * i, s->roots[i].v);
}

static void write_host_page(struct vm *vm, const uint8_t *random)
{
    uint8_t *page = top_page(vm, SCRATCH_HOST_PAGE);

    store_le64(page + HOST_PAGE_MAGIC, HOST_PAGE_MAGIC_VALUE);
    store_le64(page + HOST_PAGE_WALL_CLOCK, host_wall_clock());
    if (vm->snap->kind->gdt)
        gdt_write32(page + HOST_PAGE_GDT);
    write_roots(vm->snap, page);
    memcpy(page + HOST_PAGE_RANDOM, random, HOST_PAGE_RANDOM_LEN);
}

/* Of scratch, where the tables and what is placed behind them end. */
static uint64_t placed_end(const struct layout *l)
{
    return l->pt_off + l->pt_len + l->placed_len;
}

/* Those that are copies of others, and what is placed in scratch. `used`: where nothing is there may be something. */
static void fill_pages(struct vm *vm, bool used)
{
    uint64_t end = placed_end(&vm->snap->plan), off;

    if (end < vm->placed_end)
        end = vm->placed_end;

    if (!used && !maps_tables(vm))
        region_populate(vm->scratch.base + vm->snap->plan.pt_off, end - vm->snap->plan.pt_off);
    for (off = 0; off < vm->extra.len; off += PAGE_LEN)
        memcpy(vm->extra.base + off, extra_source(vm, off), PAGE_LEN);
    for (off = vm->snap->plan.pt_off; off < end; off += PAGE_LEN) {
        const uint8_t *from = scratch_source(vm, off);
        uint8_t *to = vm->scratch.base + off;

        if (from == NULL && used)
            memset(to, 0, PAGE_LEN);
        else if (from != NULL && (!maps_tables(vm) || pristine_differ(to, from)))
            memcpy(to, from, PAGE_LEN);
    }
}

/* All of memory, whatever it holds. */
static int fill_memory(struct vm *vm, struct err *e)
{
    const struct snapshot *s = vm->snap;

    if (vm->used && region_clear(&vm->scratch, e) != 0)
        return -1;
    if (vm->used && vm->copy_of_file && region_clear(&vm->copy, e) != 0)
        return -1;
    if (!vm->used && vm->base_open)
        region_fill(vm->copy.base, s->memory.base, s->memory.len);
    else if (has_copy(vm) && !vm->copy_of_file)
        memcpy(vm->copy.base, s->memory.base, s->memory.len);
    fill_pages(vm, vm->placed_end != 0);
    vm->used = true;
    vm->filled = vm->track.machine != NULL;
    return 0;
}

static int restore_memory(struct vm *vm, struct err *e)
{
    const struct snapshot *s = vm->snap;
    const struct layout *l = &s->plan;
    uint8_t random[HOST_PAGE_RANDOM_LEN + 4];

    if (host_random(random, sizeof(random), e) != 0)
        return -1;
    if ((vm->filled ? track_reset(&vm->track, e) : fill_memory(vm, e)) != 0)
        return -1;
    store_le64(vm_scratch_rw(vm, 0, 8), IO_STACK_EMPTY);
    store_le64(vm_scratch_rw(vm, l->output_off, 8), IO_STACK_EMPTY);
    write_words(vm, load_le32(random + HOST_PAGE_RANDOM_LEN));
    write_host_page(vm, random);
    return 0;
}

/* What KVM derived from the tables that were in scratch goes with the slots they were in. */
static int remap_scratch(struct vm *vm, struct err *e)
{
    struct gpa at = layout_gpa(&vm->snap->plan, AREA_SCRATCH, 0);

    if (slots_unmap(&vm->slots, at, vm->scratch.len, e) != 0)
        return -1;
    if (vm->filled)
        track_renewed(&vm->track);
    return slots_map(&vm->slots, at, vm->scratch.len, vm->scratch.base, false, e);
}

/* Learn what was written, before a snapshot is restored. */
static int end_run(struct vm *vm, struct err *e)
{
    if (!vm->ran)
        return 0;
    if (machine_finish(&vm->machine, e) != 0 || (vm->filled && track_look(&vm->track, e) != 0))
        return -1;
    return vm->shadows ? remap_scratch(vm, e) : 0;
}

/* All of it, of a guest whose last run has ended. */
static int put_state(struct vm *vm, struct err *e)
{
    const struct snapshot *s = vm->snap;

    if (restore_memory(vm, e) != 0 || state_restore(&vm->machine, s, vm->ran ? &vm->baseline : NULL, e) != 0)
        return -1;
    vm->baseline.untried = false;
    vm->flush_tlb = is_paged(vm) && s->generation != 0;
    vm->dispatch = s->dispatch;
    vm->call_sp = s->call_sp;
    vm->usable = vm->fpu_reset = true;
    vm->ready = s->takes_calls;
    return 0;
}

int vm_restore(struct vm *vm, struct err *e)
{
    assert(vm->warm || !vm->ran);
    vm->usable = vm->ready = false;
    return end_run(vm, e) != 0 ? -1 : put_state(vm, e);
}

/* --- another snapshot -------------------------------------------------------------------------------- */

/* Whether it would have got the same machine, with memory at the same places that can be changed for its own. */
static bool has_same_shape(const struct vm *vm, const struct snapshot *new)
{
    const struct snapshot *old = vm->snap;
    const struct layout *a = &old->plan, *b = &new->plan;
    unsigned i;

    if (new->kind != old->kind || new->promises != old->promises || new->msrs_n != old->msrs_n ||
        ((new->sregs.apic_base ^ old->sregs.apic_base) & APIC_BASE_ENABLE) != 0 ||
        b->sizes.apic != a->sizes.apic || b->base.v != a->base.v || b->snapshot_len != a->snapshot_len ||
        b->scratch_gpa.v != a->scratch_gpa.v || b->sizes.scratch_len != a->sizes.scratch_len ||
        b->sizes.input_len != a->sizes.input_len || b->sizes.output_len != a->sizes.output_len ||
        (vm->cow_host && (new->cow.tables.len == 0 || new->cow.extra_n != vm->own->extra_n)))
        return false;
    for (i = 0; i < new->msrs_n; i++)
        if (new->msrs[i].index != old->msrs[i].index)
            return false;
    return vm->copy_of_file || vm->view.len != 0 ? new->has_fd : has_copy(vm);
}

/* What differs from one snapshot to the next. What the guest wrote is put back later, from the new one. */
static int take_over(struct vm *vm, const struct snapshot *snap, struct err *e)
{
    struct region *mapped = vm->copy_of_file ? &vm->copy : &vm->view;
    const struct layout *l = &vm->snap->plan;

    /* What a snapshot placed may be longer than what the next one does, also when scratch is as it was mapped. */
    if (vm->placed_end < placed_end(l))
        vm->placed_end = placed_end(l);
    state_refit_baseline(&vm->baseline, vm->snap, snap);
    vm->snap = snap;
    vm->own = &snap->cow;
    hostcow_free(&vm->made);
    if (mapped->len != 0) {
        if (region_remap_file(mapped, snap->file_fd, snap->memory_off, vm->copy_of_file, e) != 0)
            return -1;
        snapfile_guard_copy(mapped);
    }
    if (!vm->filled)
        return 0; /* all will be */
    if (vm->copy_of_file)
        track_forget(&vm->track, layout_gpa(l, AREA_SNAPSHOT, 0));
    else if (has_copy(vm))
        memcpy(vm->copy.base, snap->memory.base, snap->memory.len);
    fill_pages(vm, true);
    return 0;
}

int vm_switch(struct vm *vm, const struct snapshot *snap, struct err *e)
{
    assert(vm->warm);
    if (!has_same_shape(vm, snap))
        return VM_OTHER_SHAPE;
    vm->usable = vm->ready = false;
    if (end_run(vm, e) == 0 && take_over(vm, snap, e) == 0 && put_state(vm, e) == 0)
        return 0;
    vm_close(vm);
    return -1;
}

int vm_enter_init(struct vm *vm, unsigned log_filter, struct err *e)
{
    const struct layout *l = &vm->snap->plan;
    uint64_t seed;
    struct cpu_regs r = {
        .rip = vm->snap->entry.v,
        .rsp = layout_pointer(l, AREA_SCRATCH, layout_top_off(l, SCRATCH_BOOT_STACK)).v,
        .rdi = vm->snap->peb.v,
        .rdx = PAGE_LEN,
        .rcx = log_filter,
        .rflags = RFLAGS_FIXED,
    };

    if (host_random(&seed, sizeof(seed), e) != 0)
        return -1;
    r.rsi = seed;
    if (l->rules->virt_top <= (uint64_t)1 << 32)
        r.rsi &= UINT32_MAX;
    return machine_set_regs(&vm->machine, &r, e);
}

int vm_enter_call(struct vm *vm, struct err *e)
{
    const struct cpu_regs r = {
        .rip = vm->dispatch,
        .rsp = vm->call_sp,
        .rflags = RFLAGS_FIXED | (vm->flush_tlb ? RFLAGS_ZF : 0),
    };

    if (!vm->fpu_reset && machine_reset_fpu(&vm->machine, e) != 0)
        return -1;
    return machine_set_regs(&vm->machine, &r, e);
}
