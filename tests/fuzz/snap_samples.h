/*
 * Snapshots made by hand for the tests of snapshot files: one of a first start
 * and one of a guest that was captured, of each kind, with every field set to
 * something. And what any snapshot promises, told once more with the numbers
 * of the ABI and the manuals.
 */
#ifndef TESTS_FUZZ_SNAP_SAMPLES_H
#define TESTS_FUZZ_SNAP_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/snapdecode.h"
#include "boot/snapshot.h"
#include "mem/bytes.h"
#include "mem/crc32c.h"

#define SAMPLE_MEMORY_LEN 0x2f000u /* of a captured paged guest: two chunks and most of a third */
#define SAMPLE_PT_LEN     0x5000u
#define SAMPLE_PLACED_LEN 0x2000u

/* The same of a bare kernel's. */
static inline bool bare_keeps_promises(const struct snapshot *s)
{
    const struct bare_machine *m = s->bare;

    return s->kind == NULL && m->ram_len >= 0x100000 && m->ram_len <= 0xfec00000 && m->ram_len % 4096 == 0 &&
           s->plan.snapshot_len == m->ram_len && s->plan.pt_len == 0 && s->plan.placed_len == 0 &&
           (unsigned)m->start.format < 4 && m->state_len != 0 && m->state_len <= sizeof(m->state) &&
           m->devices_len != 0 && m->devices_len <= sizeof(m->devices) && s->sregs.cr8 <= 15 &&
           (s->sregs.apic_base & 0x400) == 0 && s->sregs.cr0 == m->start.sregs.cr0 &&
           s->sregs.idt.base == m->start.sregs.idt.base;
}

/* Whether these could be a snapshot's fields; the regions are not looked at. For decoded ones: aborts nowhere. */
static inline bool sample_keeps_promises(const struct snapshot *s)
{
    const char *kind = s->bare != NULL ? "" : s->kind->name;
    bool paged = strcmp(kind, "i686-identity") != 0, wide = strcmp(kind, "amd64") == 0;
    uint64_t tables = s->plan.scratch_gpa.v + s->plan.pt_off, top = wide ? 0x1000000000 : 0xfee00000;
    uint64_t cr0 = s->sregs.cr0, cr4 = s->sregs.cr4, efer = s->sregs.efer, host_page;
    unsigned i, j;

    if (s->bare != NULL)
        return bare_keeps_promises(s);
    host_page = s->plan.sizes.scratch_len - 0x3000;
    if (s->plan.scratch_gpa.v != top - s->plan.sizes.scratch_len || s->plan.base.v < 0x1000 ||
        s->plan.base.v % 4096 != 0 || s->plan.snapshot_len == 0 || s->plan.snapshot_len % 4096 != 0 ||
        s->plan.base.v >= s->plan.scratch_gpa.v ||
        s->plan.snapshot_len > s->plan.scratch_gpa.v - s->plan.base.v)
        return false;
    if (s->plan.pt_off != s->plan.sizes.input_len + s->plan.sizes.output_len || s->plan.pt_off > host_page ||
        s->plan.pt_len > host_page - s->plan.pt_off ||
        s->plan.placed_len > host_page - s->plan.pt_off - s->plan.pt_len ||
        s->plan.free_off != s->plan.pt_off + s->plan.pt_len + s->plan.placed_len)
        return false;
    if ((cr0 & 1) == 0 || (cr0 >> 31 & 1) != paged || (paged && (cr0 >> 16 & 1) == 0) || cr0 >> 32 != 0)
        return false;
    if ((cr4 >> 5 & 1) != wide || (cr4 >> 12 & 1) != 0 || (efer >> 8 & 1) != wide || (efer >> 10 & 1) != wide)
        return false;
    if ((s->sregs.apic_base & 0x400) != 0 || s->sregs.cs.l != wide || s->sregs.cr8 > 15 || s->msrs_n > 16)
        return false;
    if (!wide &&
        (s->entry.v >> 32 != 0 || s->dispatch >> 32 != 0 || s->call_sp >> 32 != 0 || s->peb.v >> 32 != 0))
        return false;
    for (i = 0; i < s->msrs_n; i++) {
        uint32_t m = s->msrs[i].index;

        if (m != 0x10 && (m < 0x174 || m > 0x176) && (m < 0xc0000081 || m > 0xc0000084) && m != 0xc0000102)
            return false;
        for (j = 0; j < i; j++)
            if (s->msrs[j].index == m)
                return false;
    }
    if (!paged)
        return s->roots_n == 0 && s->plan.pt_len == 0 && s->plan.placed_len == 0;
    if (s->roots_n > 256 || s->root_active >= (s->roots_n == 0 ? 1 : s->roots_n))
        return false;
    for (i = 0; i <= s->roots_n; i++) {
        uint64_t root = i == s->roots_n ? s->sregs.cr3 : s->roots[i].v;

        if (root % 4096 != 0 || root < tables || root - tables >= s->plan.pt_len)
            return false;
        for (j = 0; j < i && i < s->roots_n; j++)
            if (s->roots[j].v == root)
                return false;
    }
    return s->roots_n == 0 || s->roots[s->root_active].v == s->sregs.cr3;
}

/* Map a region and fill it: pages of noise, every third a page of zeros. */
static inline bool sample_fill(struct region *r, uint64_t len, uint64_t seed)
{
    struct err e;
    uint64_t i;

    if (len == 0)
        return true;
    if (region_map(r, len, &e) != 0)
        return false;
    for (i = 0; i < len; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        r->base[i] = i / 4096 % 3 == 1 ? 0 : (uint8_t)(seed >> 56);
    }
    return region_seal(r, &e) == 0;
}

/* What a guest that ran leaves: all it may have in its registers, three roots. */
static inline void sample_capture(struct snapshot *s)
{
    static const struct cpu_msr msrs[] = {
        {0x10, 0x123456789abcdef0}, {0x174, 8}, {0xc0000082, 0xffffffff80001000}};
    bool wide = strcmp(s->kind->name, "amd64") == 0;
    uint64_t tables = s->plan.scratch_gpa.v + s->plan.pt_off;
    unsigned i;

    s->generation = 0x1122334455667788;
    s->takes_calls = true;
    s->dispatch = wide ? 0xffffffff80123456 : 0xc0123456;
    s->call_sp = wide ? 0xfffffffffffffe00 : 0xfffffe00;
    s->sregs.fs.base = 0x1234000;
    s->sregs.gs = (struct cpu_segment){.base = 0x5678000,
                                       .limit = 0x1fff,
                                       .selector = 0x33,
                                       .type = 3,
                                       .dpl = 3,
                                       .s = true,
                                       .present = true,
                                       .db = true,
                                       .g = false,
                                       .avl = true};
    s->sregs.ldt =
        (struct cpu_segment){.base = 0x9000, .limit = 0x27, .selector = 0x28, .type = 2, .present = true};
    s->sregs.gdt = (struct cpu_table){.base = 0xa000, .limit = 0x37};
    s->sregs.idt = (struct cpu_table){.base = 0xb000, .limit = 0x7ff};
    s->sregs.cr2 = 0xdeadb000;
    s->sregs.cr8 = 5;
    s->sregs.cr4 |= 0x200;
    s->sregs.apic_base = 0xfee00900;
    memcpy(s->msrs, msrs, sizeof(msrs));
    s->msrs_n = 3;
    if (s->plan.pt_len == 0) {
        s->sregs.cr3 = 0x77000;
        return;
    }
    for (i = 0; i < 3; i++)
        s->roots[i].v = tables + 0x1000 * (2 - i);
    s->roots_n = 3;
    s->root_active = 1;
    s->sregs.cr3 = s->roots[1].v;
}

/* The caller frees it. */
static inline bool sample_make(const struct guest_kind *k, bool captured, struct snapshot *out)
{
    struct plan_sizes sizes = layout_default_sizes();
    struct err e;

    sizes.image_len = 0x5123;
    sizes.init_data_len = 0x1234;
    sizes.heap_len = 0x9000;
    memset(out, 0, sizeof(*out));
    out->kind = k;
    if (layout_make(k->rules, &sizes, &out->plan, &e) != 0 ||
        (captured && k->geom != NULL &&
         layout_captured(&out->plan, SAMPLE_MEMORY_LEN, SAMPLE_PT_LEN, SAMPLE_PLACED_LEN, &out->plan, &e) !=
             0) ||
        !sample_fill(&out->memory, out->plan.snapshot_len, 1) ||
        !sample_fill(&out->tables, out->plan.pt_len, 2) ||
        !sample_fill(&out->placed, out->plan.placed_len, 3))
        return false;
    out->sregs = guest_first_sregs(k, &out->plan);
    out->entry = layout_pointer(&out->plan, AREA_SNAPSHOT, 0x40);
    out->peb = layout_pointer(&out->plan, AREA_SNAPSHOT, out->plan.peb_off);
    if (captured)
        sample_capture(out);
    return true;
}

#define SAMPLE_RAM_LEN 0x120000u /* of a bare kernel: a multiple of nothing but pages and chunks */

/* A bare kernel's. The bytes of state and devices are any: nobody on this floor looks into them. */
static inline bool sample_make_bare(struct snapshot *out)
{
    struct bare_machine *m = calloc(1, sizeof(*m));
    uint64_t *regs;
    unsigned i;

    memset(out, 0, sizeof(*out));
    out->bare = m;
    if (m == NULL || !sample_fill(&out->memory, SAMPLE_RAM_LEN, 4))
        return false;
    out->plan.snapshot_len = m->ram_len = SAMPLE_RAM_LEN;
    out->generation = 0x1122334455667788;
    m->start.format = BARE_PVH;
    m->start.irqchip = true;
    regs = &m->start.regs.rax;
    for (i = 0; i < 18; i++)
        regs[i] = 0x0101010101010101 * (i + 1);
    out->sregs.cs = (struct cpu_segment){.base = 0xc0000000,
                                         .limit = UINT32_MAX,
                                         .selector = 8,
                                         .type = 11,
                                         .s = true,
                                         .present = true,
                                         .g = true};
    out->sregs.gs =
        (struct cpu_segment){.base = 0x5678000, .limit = 0x1fff, .selector = 0x33, .type = 3, .dpl = 3};
    out->sregs.gdt = (struct cpu_table){.base = 0xa000, .limit = 0x37};
    out->sregs.idt = (struct cpu_table){.base = 0xb000, .limit = 0x7ff};
    out->sregs.cr0 = 0x80050033;
    out->sregs.cr2 = 0xdeadb000;
    out->sregs.cr3 = 0x77000;
    out->sregs.cr4 = 0x690;
    out->sregs.cr8 = 5;
    out->sregs.apic_base = 0xfee00900;
    m->start.sregs = out->sregs;
    m->state_len = 7501;
    for (i = 0; i < m->state_len; i++)
        m->state[i] = (uint8_t)(i * 7);
    m->devices_len = 163;
    for (i = 0; i < m->devices_len; i++)
        m->devices[i] = (uint8_t)(i * 11);
    return true;
}

/* All but the registers, which stand twice. */
static inline bool sample_same_machine(const struct bare_machine *a, const struct bare_machine *b)
{
    return a->start.format == b->start.format && a->start.irqchip == b->start.irqchip &&
           memcmp(&a->start.regs, &b->start.regs, sizeof(a->start.regs)) == 0 && a->ram_len == b->ram_len &&
           a->state_len == b->state_len && memcmp(a->state, b->state, a->state_len) == 0 &&
           a->devices_len == b->devices_len && memcmp(a->devices, b->devices, a->devices_len) == 0;
}

static inline bool sample_same_region(const struct region *a, const struct region *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->base, b->base, a->len) == 0);
}

static inline bool sample_same_segment(const struct cpu_segment *a, const struct cpu_segment *b)
{
    return a->base == b->base && a->limit == b->limit && a->selector == b->selector && a->type == b->type &&
           a->dpl == b->dpl && a->s == b->s && a->present == b->present && a->db == b->db && a->l == b->l &&
           a->g == b->g && a->avl == b->avl;
}

static inline bool sample_same_sregs(const struct cpu_sregs *a, const struct cpu_sregs *b)
{
    return sample_same_segment(&a->cs, &b->cs) && sample_same_segment(&a->ds, &b->ds) &&
           sample_same_segment(&a->es, &b->es) && sample_same_segment(&a->fs, &b->fs) &&
           sample_same_segment(&a->gs, &b->gs) && sample_same_segment(&a->ss, &b->ss) &&
           sample_same_segment(&a->tr, &b->tr) && sample_same_segment(&a->ldt, &b->ldt) &&
           a->gdt.base == b->gdt.base && a->gdt.limit == b->gdt.limit && a->idt.base == b->idt.base &&
           a->idt.limit == b->idt.limit && a->cr0 == b->cr0 && a->cr2 == b->cr2 && a->cr3 == b->cr3 &&
           a->cr4 == b->cr4 && a->cr8 == b->cr8 && a->efer == b->efer && a->apic_base == b->apic_base;
}

static inline bool sample_same_plan(const struct layout *a, const struct layout *b)
{
    return a->rules == b->rules && a->sizes.input_len == b->sizes.input_len &&
           a->sizes.output_len == b->sizes.output_len && a->sizes.heap_len == b->sizes.heap_len &&
           a->sizes.scratch_len == b->sizes.scratch_len && a->sizes.init_data_len == b->sizes.init_data_len &&
           a->sizes.image_base == b->sizes.image_base && a->sizes.image_len == b->sizes.image_len &&
           a->sizes.image_fixed == b->sizes.image_fixed && a->sizes.apic == b->sizes.apic &&
           a->base.v == b->base.v && a->snapshot_len == b->snapshot_len && a->peb_off == b->peb_off &&
           a->heap_off == b->heap_off && a->init_off == b->init_off && a->scratch_gpa.v == b->scratch_gpa.v &&
           a->scratch_gva.v == b->scratch_gva.v && a->output_off == b->output_off && a->pt_off == b->pt_off &&
           a->pt_len == b->pt_len && a->placed_len == b->placed_len && a->free_off == b->free_off;
}

/* All but the regions. */
static inline bool sample_same_fields(const struct snapshot *a, const struct snapshot *b)
{
    unsigned i;

    if ((a->bare == NULL) != (b->bare == NULL) || (a->bare != NULL && !sample_same_machine(a->bare, b->bare)))
        return false;
    if (a->kind != b->kind || !sample_same_plan(&a->plan, &b->plan) || a->generation != b->generation ||
        !sample_same_sregs(&a->sregs, &b->sregs) || a->msrs_n != b->msrs_n || a->roots_n != b->roots_n ||
        a->root_active != b->root_active || a->takes_calls != b->takes_calls || a->entry.v != b->entry.v ||
        a->peb.v != b->peb.v || a->dispatch != b->dispatch || a->call_sp != b->call_sp ||
        a->promises != b->promises)
        return false;
    for (i = 0; i < a->msrs_n; i++)
        if (a->msrs[i].index != b->msrs[i].index || a->msrs[i].value != b->msrs[i].value)
            return false;
    for (i = 0; i < a->roots_n; i++)
        if (a->roots[i].v != b->roots[i].v)
            return false;
    return true;
}

static inline bool sample_same(const struct snapshot *a, const struct snapshot *b)
{
    return sample_same_fields(a, b) && sample_same_region(&a->memory, &b->memory) &&
           sample_same_region(&a->tables, &b->tables) && sample_same_region(&a->placed, &b->placed);
}

/* --- heads ----------------------------------------------------------------------------------------------- */

static const struct snap_cpu sample_cpu = {.vendor = "GenuineGuest", .signature = 0x123456};

/* The head of a file with `s`; the file's length. */
static inline uint64_t sample_head(const struct snapshot *s, uint8_t head[SNAP_CHUNK_LEN])
{
    const struct snap_stamp stamp = {.created_ns = 1234567890123, .producer = "the tests", .cpu = sample_cpu};

    memset(head, 0, SNAP_CHUNK_LEN);
    return snap_encode(s, &stamp, head);
}

/* Offsets of format 1, from its description. */
#define SAMPLE_TABLE     4096u
#define SAMPLE_ENTRY_LEN 32u

/* Where section `type` has its entry in the table; 0 when it has none. */
static inline uint64_t sample_entry(const uint8_t *head, uint32_t type)
{
    uint32_t n = load_le32(head + 48), i;

    for (i = 0; i < n && i < 32; i++)
        if (load_le32(head + SAMPLE_TABLE + i * SAMPLE_ENTRY_LEN) == type)
            return SAMPLE_TABLE + i * SAMPLE_ENTRY_LEN;
    return 0;
}

/* Make all checksums of the head right again, as far as its lengths let one. */
static inline void sample_repair(uint8_t *head, uint64_t head_len)
{
    uint32_t n = load_le32(head + 48), i;

    for (i = 0; i < n && i < 32; i++) {
        uint8_t *ent = head + SAMPLE_TABLE + i * SAMPLE_ENTRY_LEN;
        uint64_t off = load_le64(ent + 8), len = load_le64(ent + 16);

        if (off < head_len && len <= head_len - off)
            store_le32(ent + 24, crc32c(0, head + off, len));
    }
    if (n <= 32)
        store_le32(head + 52, crc32c(0, head + SAMPLE_TABLE, n * SAMPLE_ENTRY_LEN));
    store_le32(head + 4092, crc32c(0, head, 4092));
}

#endif
