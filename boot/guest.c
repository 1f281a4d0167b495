/* Choosing a kind and filling in its first registers from the data that describes it. */
#include "boot/guest.h"

#include <stddef.h>

#include "boot/gdt.h"
#include "mem/guest_abi.h"

_Static_assert(GDT32_LEN == HOST_PAGE_GDT_LEN, "the GDT has the ABI's length");

const struct guest_kind *guest_kind_at(unsigned i)
{
    unsigned n;

    for (n = 0; guest_amd64_kinds[n] != NULL; n++)
        if (n == i)
            return guest_amd64_kinds[n];
    i -= n;
    for (n = 0; guest_i686_kinds[n] != NULL; n++)
        if (n == i)
            return guest_i686_kinds[n];
    return NULL;
}

int guest_find(const struct elf_image *elf, enum guest_paging paging, const char *name,
               const struct guest_kind **out, struct err *e)
{
    bool identity = paging == GUEST_PAGING_OFF || (paging == GUEST_PAGING_AUTO && elf->identity);
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        if (k->machine == elf->machine && (k->geom == NULL) == identity) {
            *out = k;
            return 0;
        }
    }
    if (elf->machine == ELF_X86_64)
        return err_usage(e, "%s: amd64 guests cannot run with paging off", name);
    err_image(e, "%s: this vmm has no i686 guests", name);
    return err_hint(e, "use a vmm built with I686_GUEST=1");
}

struct cpu_sregs guest_first_sregs(const struct guest_kind *k, const struct layout *l)
{
    static const struct cpu_segment null = {0};
    struct cpu_sregs s = {.cr0 = k->cr0, .cr4 = k->cr4, .efer = k->efer};

    gdt_load(&s, k->code, k->data != NULL ? k->data : &null, &gdt_tss);
    if (k->geom != NULL)
        s.cr3 = layout_gpa(l, AREA_SCRATCH, l->pt_off).v;
    if (k->gdt) {
        uint64_t off = layout_top_off(l, SCRATCH_HOST_PAGE) + HOST_PAGE_GDT;

        s.gdt.base = layout_pointer(l, AREA_SCRATCH, off).v;
        s.gdt.limit = HOST_PAGE_GDT_LEN - 1;
    }
    return s;
}
