/*
 * ELF files as bare kernels use them: by physical addresses, each segment where
 * it asks to be. What the ABI's guests must keep to beyond that (alignment,
 * virtual addresses, no dynamic section) is nobody's business here.
 */
#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "boot/bare_place.h"
#include "mem/format.h"
#include "mem/num.h"

int bare_elf_open(const struct bare_load *b, bool wide, struct elf_file *f, struct elf_header *h,
                  struct err *e)
{
    struct elf_file file = {.bytes = b->image->bytes, .len = b->image->len, .name = b->image->name};
    struct elf_header header;

    if (elf_open(&file, &header, e) != 0)
        return -1;
    if (file.wide && !wide)
        return bare_refuse(&b->ram, e, "a 64-bit ELF file, which this boot protocol cannot start");
    if (header.type != ET_EXEC)
        return bare_refuse(&b->ram, e, "not an executable with fixed addresses (type %u, wanted %u)",
                           header.type, ET_EXEC);
    *f = file;
    *h = header;
    return 0;
}

static struct elf_phdr phdr_at(const struct elf_file *f, const struct elf_header *h, unsigned i)
{
    return elf_phdr(f, h->phoff + (uint64_t)i * h->phentsize);
}

int bare_elf_load(struct bare_ram *r, const struct elf_file *f, const struct elf_header *h, struct err *e)
{
    bool any = false;
    unsigned i;

    for (i = 0; i < h->phnum; i++) {
        const struct elf_phdr p = phdr_at(f, h, i);
        char what[32];

        if (p.type != PT_LOAD || p.mem_len == 0)
            continue;
        if (p.file_len > p.mem_len)
            return bare_refuse(
                r, e, "segment %u has more bytes in the file than in memory (%" PRIu64 ", %" PRIu64 ")", i,
                p.file_len, p.mem_len);
        if (p.file_len != 0 && !num_fits(p.off, p.file_len, f->len))
            return bare_refuse(r, e,
                               "segment %u is outside the file (%" PRIu64 " bytes at 0x%" PRIx64
                               ", file has %" PRIu64 " bytes): truncated?",
                               i, p.file_len, p.off, f->len);
        format_text(what, sizeof(what), "segment %u", i);
        if (bare_claim(r, what, p.paddr, p.mem_len, e) != 0)
            return -1;
        if (p.file_len != 0)
            memcpy(r->bytes + p.paddr, f->bytes + p.off, p.file_len);
        any = true;
    }
    return any ? 0 : bare_refuse(r, e, "no loadable segment");
}

bool bare_elf_find(const struct elf_file *f, const struct elf_header *h, bool physical, uint64_t at,
                   struct elf_phdr *out)
{
    unsigned i;

    for (i = 0; i < h->phnum; i++) {
        const struct elf_phdr p = phdr_at(f, h, i);
        const uint64_t base = physical ? p.paddr : p.vaddr;

        if (p.type == PT_LOAD && at >= base && at - base < p.mem_len) {
            *out = p;
            return true;
        }
    }
    return false;
}
