/* Flat segments and their descriptors. See gdt.h. */
#include "boot/gdt.h"

#include "boot/x86.h"
#include "mem/bytes.h"

const struct cpu_segment gdt_code32 = {
    .selector = GDT_CODE_SELECTOR,
    .limit = 0xffffffff,
    .type = SEG_TYPE_CODE_RX_A,
    .s = true,
    .present = true,
    .db = true,
    .g = true,
};

const struct cpu_segment gdt_data32 = {
    .selector = GDT_DATA_SELECTOR,
    .limit = 0xffffffff,
    .type = SEG_TYPE_DATA_RW_A,
    .s = true,
    .present = true,
    .db = true,
    .g = true,
};

const struct cpu_segment gdt_code64 = {
    .type = SEG_TYPE_CODE_RX_A,
    .s = true,
    .present = true,
    .l = true,
};

const struct cpu_segment gdt_tss = {
    .limit = 0xffff,
    .type = SEG_TYPE_TSS_BUSY,
    .present = true,
};

void gdt_load(struct cpu_sregs *s, const struct cpu_segment *code, const struct cpu_segment *data,
              const struct cpu_segment *task)
{
    s->cs = *code;
    s->ds = s->es = s->fs = s->gs = s->ss = *data;
    s->tr = *task;
}

uint64_t gdt_encode(const struct cpu_segment *s)
{
    uint64_t limit = s->g ? s->limit >> 12 : s->limit;
    uint64_t access = s->type | (uint64_t)s->s << 4 | (uint64_t)s->dpl << 5 | (uint64_t)s->present << 7;
    uint64_t flags = (uint64_t)s->avl | (uint64_t)s->l << 1 | (uint64_t)s->db << 2 | (uint64_t)s->g << 3;

    return (limit & 0xffff) | (s->base & 0xffffff) << 16 | access << 40 | (limit >> 16 & 0xf) << 48 |
           flags << 52 | (s->base >> 24 & 0xff) << 56;
}

void gdt_write32(uint8_t out[GDT32_LEN])
{
    store_le64(out, 0);
    store_le64(out + GDT_CODE_SELECTOR, gdt_encode(&gdt_code32));
    store_le64(out + GDT_DATA_SELECTOR, gdt_encode(&gdt_data32));
}
