/* What a snapshot has to promise. See snapcheck.h. */
#include "boot/snapcheck.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "boot/msrs.h"
#include "boot/x86.h"
#include "mem/num.h"
#include "paging/geom.h"

/* Bits a guest may have set: those its CPU may have and that a snapshot can bring back. */
#define CR0_ALL          0xe005003fu /* SDM 3A, "Control Registers" */
#define CR4_ALL          0x00770fffu /* up to PKE, without LA57, VMXE and SMXE */
#define EFER_ALL         0x0020cd01u /* SCE LME LMA NXE, AMD's FFXSR, TCE and AIBRSE */

#define APIC_BASE_BSP    0x100u /* SDM 4, IA32_APIC_BASE */
#define APIC_BASE_X2APIC 0x400u

/* --- the plan ---------------------------------------------------------------------------------------- */

static int same(const char *name, uint64_t claimed, uint64_t is, struct err *e)
{
    if (claimed == is)
        return 0;
    return err_image(e, "%s: not where these sizes put it (0x%" PRIx64 ", 0x%" PRIx64 ")", name, claimed, is);
}

static int compare_plans(const struct layout *claimed, const struct layout *is, struct err *e)
{
    if (same("snapshot region", claimed->base.v, is->base.v, e) != 0 ||
        same("PEB", claimed->peb_off, is->peb_off, e) != 0 ||
        same("heap", claimed->heap_off, is->heap_off, e) != 0 ||
        same("init data", claimed->init_off, is->init_off, e) != 0 ||
        same("scratch", claimed->scratch_gpa.v, is->scratch_gpa.v, e) != 0 ||
        same("scratch as the guest sees it", claimed->scratch_gva.v, is->scratch_gva.v, e) != 0 ||
        same("output stack", claimed->output_off, is->output_off, e) != 0 ||
        same("page tables", claimed->pt_off, is->pt_off, e) != 0)
        return -1;
    return same("free memory", claimed->free_off, is->free_off, e);
}

int snapshot_check_plan(const struct guest_kind *k, const struct layout *claimed, struct layout *out,
                        struct err *e)
{
    struct layout first, l;

    if (layout_make(k->rules, &claimed->sizes, &first, e) != 0) {
        /* Sizes nobody gave on this command line: neither a mistake there nor a hint what to do about it. */
        e->status = STATUS_IMAGE;
        e->hint[0] = '\0';
        return -1;
    }
    /* Without page tables nothing is packed: the region stays as it was planned. */
    if (k->geom == NULL &&
        (claimed->snapshot_len != first.snapshot_len || claimed->pt_len != 0 || claimed->placed_len != 0))
        return err_image(
            e, "an %s guest cannot have these lengths (0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ")", k->name,
            claimed->snapshot_len, claimed->pt_len, claimed->placed_len);
    if (layout_captured(&first, claimed->snapshot_len, claimed->pt_len, claimed->placed_len, &l, e) != 0 ||
        compare_plans(claimed, &l, e) != 0)
        return -1;
    *out = l;
    return 0;
}

/* --- registers --------------------------------------------------------------------------------------- */

static int wrong(const struct snapshot *s, const char *what, uint64_t v, struct err *e)
{
    return err_image(e, "%s cannot be that of an %s guest (0x%" PRIx64 ")", what, s->kind->name, v);
}

/* Addresses are as wide as the guest's, and canonical where that means something. */
static bool is_address(const struct guest_kind *k, uint64_t v)
{
    return k->geom != NULL ? geom_is_canonical(k->geom, gva_make(v)) : v <= UINT32_MAX;
}

#define SREG(name)                                   \
    {                                                \
#name, offsetof(struct snapshot, sregs.name) \
    }

static int check_addresses(const struct snapshot *s, struct err *e)
{
    static const struct {
        char name[10];
        uint16_t off;
    } row[] = {
        SREG(cs.base),
        SREG(ds.base),
        SREG(es.base),
        SREG(fs.base),
        SREG(gs.base),
        SREG(ss.base),
        SREG(tr.base),
        SREG(ldt.base),
        SREG(gdt.base),
        SREG(idt.base),
        {"entry", offsetof(struct snapshot, entry)},
        {"peb", offsetof(struct snapshot, peb)},
        {"dispatch", offsetof(struct snapshot, dispatch)},
        {"call_sp", offsetof(struct snapshot, call_sp)},
    };
    unsigned i;

    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        uint64_t v;

        memcpy(&v, (const uint8_t *)s + row[i].off, sizeof(v));
        if (!is_address(s->kind, v))
            return wrong(s, row[i].name, v, e);
    }
    /* A 32-bit guest has no more of CR2 than that; a 64-bit one may put anything there. */
    if ((s->kind->efer & EFER_LMA) == 0 && s->sregs.cr2 > UINT32_MAX)
        return wrong(s, "cr2", s->sregs.cr2, e);
    return 0;
}

static int check_x2apic(const struct cpu_sregs *r, struct err *e)
{
    if ((r->apic_base & APIC_BASE_X2APIC) == 0)
        return 0;
    return err_image(e, "the guest has turned x2APIC on (APIC base 0x%" PRIx64 ")", r->apic_base);
}

/* What decides the memory model is as the kind has it; other bits are the guest's, as far as the CPU has them. */
static int check_control(const struct snapshot *s, struct err *e)
{
    const struct guest_kind *k = s->kind;
    const struct cpu_sregs *r = &s->sregs;
    const uint64_t model_cr0 = CR0_PG | CR0_PE, model_cr4 = CR4_PAE | CR4_LA57,
                   model_efer = EFER_LME | EFER_LMA;

    if (((r->cr0 ^ k->cr0) & model_cr0) != 0 || (k->geom != NULL && (r->cr0 & CR0_WP) == 0) ||
        (r->cr0 & ~(uint64_t)CR0_ALL) != 0 || (r->cr0 & (CR0_NW | CR0_CD)) == CR0_NW)
        return wrong(s, "cr0", r->cr0, e);
    if (((r->cr4 ^ k->cr4) & model_cr4) != 0 || (r->cr4 & ~(uint64_t)CR4_ALL) != 0)
        return wrong(s, "cr4", r->cr4, e);
    if (((r->efer ^ k->efer) & model_efer) != 0 || (r->efer & ~(uint64_t)EFER_ALL) != 0)
        return wrong(s, "efer", r->efer, e);
    if (r->cs.l != k->code->l || (r->cs.l && r->cs.db))
        return wrong(s, "cs.l", r->cs.l, e);
    if (check_x2apic(r, e) != 0)
        return -1;
    if ((r->apic_base & PAGE_MASK & ~(uint64_t)(APIC_BASE_BSP | APIC_BASE_ENABLE)) != 0 ||
        r->apic_base >> k->phys_bits != 0)
        return wrong(s, "apic_base", r->apic_base, e);
    return 0;
}

static int check_msrs(const struct snapshot *s, struct err *e)
{
    unsigned i, j;

    for (i = 0; i < s->msrs_n; i++) {
        const struct cpu_msr *m = &s->msrs[i];

        if (!guest_msr_is_captured(m->index))
            return err_image(e, "MSR 0x%" PRIx32 " is not part of a guest", m->index);
        if (guest_msr_is_address(m->index) && !geom_is_canonical(&geom_amd64, gva_make(m->value)))
            return err_image(e, "MSR 0x%" PRIx32 " is not a canonical address (0x%" PRIx64 ")", m->index,
                             m->value);
        for (j = 0; j < i; j++)
            if (s->msrs[j].index == m->index)
                return err_image(e, "MSR 0x%" PRIx32 " is there twice", m->index);
    }
    return 0;
}

/* --- roots ------------------------------------------------------------------------------------------- */

static int check_root(const struct snapshot *s, const char *name, uint64_t root, struct err *e)
{
    struct gpa tables = layout_gpa(&s->plan, AREA_SCRATCH, s->plan.pt_off);

    if (!num_is_page_aligned(root))
        return err_image(e, "%s is not page aligned (0x%" PRIx64 ")", name, root);
    if (root < tables.v || root - tables.v >= s->plan.pt_len)
        return err_image(e, "%s is not in the page tables (0x%" PRIx64 ", 0x%" PRIx64 "-0x%" PRIx64 ")", name,
                         root, tables.v, tables.v + s->plan.pt_len);
    return 0;
}

static int check_roots(const struct snapshot *s, struct err *e)
{
    unsigned i, j;

    if (s->kind->geom == NULL) {
        if (s->roots_n != 0 || s->root_active != 0)
            return err_image(e, "an %s guest has no page-table roots (%u)", s->kind->name, s->roots_n);
        if (s->sregs.cr3 > UINT32_MAX)
            return wrong(s, "cr3", s->sregs.cr3, e);
        return 0;
    }
    if (check_root(s, "cr3", s->sregs.cr3, e) != 0)
        return -1;
    for (i = 0; i < s->roots_n; i++) {
        if (check_root(s, "a page-table root", s->roots[i].v, e) != 0)
            return -1;
        for (j = 0; j < i; j++)
            if (s->roots[j].v == s->roots[i].v)
                return err_image(e, "a page-table root is there twice (0x%" PRIx64 ")", s->roots[i].v);
    }
    if (s->roots_n == 0 ? s->root_active != 0 : s->root_active >= s->roots_n)
        return err_image(e, "the active root is not in the list (%u, %u roots)", s->root_active, s->roots_n);
    if (s->roots_n != 0 && s->roots[s->root_active].v != s->sregs.cr3)
        return err_image(e, "the active root is not cr3 (0x%" PRIx64 ", 0x%" PRIx64 ")",
                         s->roots[s->root_active].v, s->sregs.cr3);
    return 0;
}

int snapshot_check_bare(const struct snapshot *s, struct err *e)
{
    uint64_t len = s->bare->ram_len;

    if (len < BARE_RAM_MIN || !num_is_page_aligned(len))
        return err_image(e, "RAM of this size cannot be a bare kernel's (0x%" PRIx64 ")", len);
    return check_x2apic(&s->sregs, e);
}

int snapshot_check(const struct snapshot *s, struct err *e)
{
    if (check_control(s, e) != 0 || check_addresses(s, e) != 0 || check_msrs(s, e) != 0)
        return -1;
    return check_roots(s, e);
}
