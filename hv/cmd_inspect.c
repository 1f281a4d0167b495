/* vmm inspect: the address plan of an image, drawn or as JSON. Needs no KVM. */
#include <inttypes.h>
#include <string.h>

#include "hv/bare_load.h"
#include "hv/cmd.h"
#include "hv/cmd_inspect_snapshot.h"
#include "hv/counter.h"
#include "hv/load.h"
#include "hv/snapfile.h"
#include "mem/guest_abi.h"
#include "mem/num.h"

#define ROWS_MAX 16

/* One range of the plan, in ascending physical order. */
struct row {
    const char *name;
    uint64_t gpa, len; /* len 0: not there */
    uint64_t seen;     /* as the guest sees it */
};

static struct row make_row(const struct layout *l, const char *name, enum area a, uint64_t off, uint64_t len)
{
    return (struct row){
        .name = name,
        .gpa = layout_gpa(l, a, off).v,
        .len = len,
        .seen = layout_pointer(l, a, off).v,
    };
}

static unsigned make_rows(const struct layout *l, struct row r[ROWS_MAX])
{
    uint64_t host_page = layout_top_off(l, SCRATCH_HOST_PAGE);
    unsigned n = 0;

    r[n++] = make_row(l, "image", AREA_SNAPSHOT, 0, l->peb_off);
    r[n++] = make_row(l, "PEB", AREA_SNAPSHOT, l->peb_off, PAGE_LEN);
    r[n++] = make_row(l, "heap", AREA_SNAPSHOT, l->heap_off, l->init_off - l->heap_off);
    r[n++] = make_row(l, "init data", AREA_SNAPSHOT, l->init_off, l->snapshot_len - l->init_off);
    r[n++] = make_row(l, "input stack", AREA_SCRATCH, 0, l->sizes.input_len);
    r[n++] = make_row(l, "output stack", AREA_SCRATCH, l->output_off, l->sizes.output_len);
    r[n++] = make_row(l, "page tables", AREA_SCRATCH, l->pt_off, l->pt_len);
    r[n++] = make_row(l, "free", AREA_SCRATCH, l->free_off, host_page - l->free_off);
    r[n++] = make_row(l, "host page", AREA_SCRATCH, host_page, PAGE_LEN);
    r[n++] = make_row(l, counter_page_name, AREA_SCRATCH, host_page + PAGE_LEN, PAGE_LEN);
    r[n++] = make_row(l, "stack, words", AREA_SCRATCH, host_page + 2 * PAGE_LEN, PAGE_LEN);
    return n;
}

static void add_text(const struct options *o, const struct guest_kind *k, const struct elf_image *elf,
                     const struct layout *l, uint64_t max, struct text *out)
{
    struct row r[ROWS_MAX];
    unsigned n = make_rows(l, r), i;
    int w = (int)k->addr_digits;
    uint64_t last = 0;

    text_add(out, "%s: %s, %s, entry 0x%" PRIx64 "%s%s\n", o->image, k->name,
             elf->pie ? "position independent" : "fixed addresses",
             l->base.v + (elf->entry - elf->vaddr_base),
             elf->abi_version[0] != '\0' ? ", built for ABI " : "", elf->abi_version);
    text_add(out, "%-14s %-*s  %-*s  %10s\n", "", 2 * w + 1, "physical", 2 * w + 1, "as the guest sees it",
             "size");
    for (i = 0; i < n; i++) {
        if (r[i].len == 0)
            continue;
        if (r[i].gpa != last)
            text_add(out, "%-14s %0*" PRIx64 "-%0*" PRIx64 "\n", last == 0 ? "(null guard)" : "(nothing)", w,
                     last, w, r[i].gpa - 1);
        text_add(out, "%-14s %0*" PRIx64 "-%0*" PRIx64 "  %0*" PRIx64 "-%0*" PRIx64 "  %9" PRIu64 "K\n",
                 r[i].name, w, r[i].gpa, w, r[i].gpa + r[i].len - 1, w, r[i].seen, w,
                 r[i].seen + r[i].len - 1, r[i].len >> 10);
        last = r[i].gpa + r[i].len;
    }
    if (o->irqchip == IRQCHIP_ON)
        text_add(out, "%-14s %0*x-%0*" PRIx64 "  (owned by KVM)\n", "APIC page", w, APIC_ACCESS_PAGE, w,
                 APIC_ACCESS_PAGE + PAGE_LEN - 1);
    text_add(out, "scratch: %" PRIu64 "K, largest that fits %" PRIu64 "K\n", l->sizes.scratch_len >> 10,
             max >> 10);
}

static void add_json(const struct options *o, const struct guest_kind *k, const struct elf_image *elf,
                     const struct layout *l, uint64_t max, struct text *out)
{
    struct row r[ROWS_MAX];
    unsigned n = make_rows(l, r), i;
    bool first = true;

    text_add(out, "{\"version\":1,\"image\":");
    text_add_json(out, o->image, strlen(o->image));
    text_add(out, ",\"kind\":\"%s\",\"position_independent\":%s,\"entry\":\"0x%" PRIx64 "\",\"abi_version\":",
             k->name, elf->pie ? "true" : "false", l->base.v + (elf->entry - elf->vaddr_base));
    text_add_json(out, elf->abi_version, strlen(elf->abi_version));
    text_add(out, ",\"scratch\":%" PRIu64 ",\"scratch_max\":%" PRIu64 ",\"holes\":[", l->sizes.scratch_len,
             max);
    if (o->irqchip == IRQCHIP_ON)
        text_add(out, "{\"name\":\"APIC page\",\"gpa\":\"0x%x\",\"len\":%" PRIu64 "}", APIC_ACCESS_PAGE,
                 PAGE_LEN);
    text_add(out, "],\"ranges\":[");
    for (i = 0; i < n; i++) {
        if (r[i].len == 0)
            continue;
        text_add(out,
                 "%s{\"name\":\"%s\",\"gpa\":\"0x%" PRIx64 "\",\"seen\":\"0x%" PRIx64 "\",\"len\":%" PRIu64
                 "}",
                 first ? "" : ",", r[i].name, r[i].gpa, r[i].seen, r[i].len);
        first = false;
    }
    text_add(out, "]}\n");
}

static int inspect_image(const struct options *o, const struct load *l, struct text *out, struct err *e)
{
    const struct guest_kind *kind;
    struct elf_image elf;
    struct layout plan;
    uint64_t max;

    if (l->bare)
        return bare_inspect(o, l, out, e);
    if (load_plan(o, l, &elf, &kind, &plan, e) != 0)
        return -1;
    max = layout_scratch_max(plan.rules, &plan.sizes);
    if (o->json)
        add_json(o, kind, &elf, &plan, max, out);
    else
        add_text(o, kind, &elf, &plan, max, out);
    return 0;
}

int cmd_inspect(const struct options *o, struct text *out, struct err *e)
{
    struct load l;
    int result;

    if (snapfile_is(o->image)) {
        const char *wrong = o->abi_only != NULL ? o->abi_only : o->bare_only;

        if (wrong != NULL)
            return err_usage(e, "--%s: only for images (%s is a snapshot)", wrong, o->image);
        return inspect_snapshot(o, out, e);
    }
    if (load_image(o, &l, e) != 0)
        return -1;
    result = o->verify ? err_usage(e, "--verify: only for snapshots (%s is none)", o->image)
                       : inspect_image(o, &l, out, e);
    load_free(&l);
    return result;
}
