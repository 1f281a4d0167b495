/* Image to generation-0 snapshot. See image.h for the contract. */
#include "boot/image.h"

#include <inttypes.h>
#include <string.h>

#include "boot/elf.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "mem/num.h"
#include "paging/build.h"

int image_plan(const uint8_t *file, uint64_t file_len, const char *name, const struct image_options *opt,
               struct elf_image *elf, const struct guest_kind **kind, struct layout *plan, struct err *e)
{
    struct plan_sizes sizes = opt->sizes;
    const struct guest_kind *k;
    struct elf_image img;
    struct layout l;

    if (elf_parse(file, file_len, name, &img, e) != 0 || guest_find(&img, opt->paging, name, &k, e) != 0)
        return -1;
    sizes.image_fixed = !img.pie;
    sizes.image_base = img.vaddr_base;
    sizes.image_len = img.span_len;
    sizes.init_data_len = opt->init_data_len;
    if (layout_make(k->rules, &sizes, &l, e) != 0)
        return err_wrap(e, "%s", name);
    *elf = img;
    *kind = k;
    *plan = l;
    return 0;
}

static void put_pointer(uint8_t *at, struct guest_ptr p)
{
    store_le64(at, p.v);
}

/* The PEB in its long form for every kind: guests that do not know the file list ignore it. */
static void write_peb(const struct layout *l, uint8_t *peb)
{
    store_le64(peb + PEB_INPUT_SIZE, l->sizes.input_len);
    put_pointer(peb + PEB_INPUT_PTR, layout_pointer(l, AREA_SCRATCH, 0));
    store_le64(peb + PEB_OUTPUT_SIZE, l->sizes.output_len);
    put_pointer(peb + PEB_OUTPUT_PTR, layout_pointer(l, AREA_SCRATCH, l->output_off));
    store_le64(peb + PEB_INIT_SIZE, l->sizes.init_data_len);
    put_pointer(peb + PEB_INIT_PTR, layout_pointer(l, AREA_SNAPSHOT, l->init_off));
    store_le64(peb + PEB_HEAP_SIZE, l->sizes.heap_len);
    put_pointer(peb + PEB_HEAP_PTR, layout_pointer(l, AREA_SNAPSHOT, l->heap_off));
    store_le64(peb + PEB_FILES_COUNT, 0);
    put_pointer(peb + PEB_FILES_PTR, layout_pointer(l, AREA_SNAPSHOT, l->peb_off + PEB_FILES));
}

/*
 * The tables of ABI 1.4, in its order: image, PEB, heap, init data, scratch.
 * The PEB is read-only where the ABI lets it be, so a guest cannot lose it.
 */
static int build_tables(const struct guest_kind *k, const struct layout *l, uint8_t *tables, struct err *e)
{
    const struct {
        enum area area;
        uint64_t off, len;
        unsigned rights;
    } row[] = {
        {AREA_SNAPSHOT, 0, l->peb_off, PT_COW | PT_EXEC},
        {AREA_SNAPSHOT, l->peb_off, PAGE_LEN, 0},
        {AREA_SNAPSHOT, l->heap_off, l->init_off - l->heap_off, PT_COW},
        {AREA_SNAPSHOT, l->init_off, l->snapshot_len - l->init_off, 0},
        {AREA_SCRATCH, 0, l->sizes.scratch_len, PT_WRITE},
    };
    struct pt_build b;
    unsigned i;

    if (build_init(&b, k->geom, tables, layout_gpa(l, AREA_SCRATCH, l->pt_off), l->pt_len, e) != 0)
        return -1;
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        if (row[i].len != 0 &&
            build_map(&b, layout_gva(l, row[i].area, row[i].off), layout_gpa(l, row[i].area, row[i].off),
                      row[i].len, row[i].rights, e) != 0)
            return -1;
    if (build_used(&b) != l->pt_len)
        return err_set(e, STATUS_HOST,
                       "layout: page tables have another size than planned (%" PRIu64 ", %" PRIu64 ")",
                       build_used(&b), l->pt_len);
    return 0;
}

int image_build(const uint8_t *file, uint64_t file_len, const char *name, const struct image_options *opt,
                struct snapshot *out, struct err *e)
{
    struct snapshot s = {0};
    struct elf_image elf = {.segments_n = 0};
    const struct layout *l = &s.plan;
    struct region all;
    int result = -1;

    if (image_plan(file, file_len, name, opt, &elf, &s.kind, &s.plan, e) != 0)
        return -1;
    if (region_map(&all, l->snapshot_len + l->pt_len, e) != 0)
        return -1;
    s.memory = all;
    region_split(&s.memory, l->snapshot_len, &s.tables);
    region_populate(s.tables.base, l->pt_len);
    if (elf_load(&elf, file, file_len, l->base.v, name, s.memory.base, e) != 0)
        goto out;
    write_peb(l, s.memory.base + l->peb_off);
    if (opt->init_data_len != 0)
        memcpy(s.memory.base + l->init_off, opt->init_data, opt->init_data_len);
    if ((l->pt_len != 0 && build_tables(s.kind, l, s.tables.base, e) != 0) || region_seal(&all, e) != 0)
        goto out;
    s.promises = elf.promises;
    s.sregs = guest_first_sregs(s.kind, l);
    s.entry = layout_pointer(l, AREA_SNAPSHOT, elf.entry - elf.vaddr_base);
    s.peb = layout_pointer(l, AREA_SNAPSHOT, l->peb_off);
    *out = s;
    result = 0;
out:
    if (result != 0)
        snapshot_free(&s);
    return result;
}
