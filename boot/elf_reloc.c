/*
 * The dynamic section of an ELF file and the relocations it names. A guest has
 * no dynamic linker: only what a static, position independent program needs,
 * adding the bias to words, is understood; the rest is refused by name.
 */
#include "boot/elf_file.h"

#include <elf.h>
#include <inttypes.h>

#include "mem/bytes.h"
#include "mem/num.h"

/* Newer than some copies of <elf.h>: gABI, "Dynamic Section". */
enum {
    TAG_RELRSZ = 35,
    TAG_RELR = 36,
    TAG_RELRENT = 37,
};

/* The entries that name one table. */
struct table {
    uint64_t vaddr, len, entry_len;
    bool has_vaddr, has_len, has_entry_len;
};

struct dynamic {
    struct table rel, rela;
};

struct reloc {
    uint64_t offset, addend; /* addend 0 where the image holds it */
    uint32_t type, symbol;
};

/* R_386_NONE is R_X86_64_NONE, and both classes gave RELATIVE the number 8. */
_Static_assert(R_386_NONE == R_X86_64_NONE && R_386_RELATIVE == R_X86_64_RELATIVE,
               "one number, two machines");

static int value_take(const struct elf_file *f, uint64_t value, uint64_t *slot, bool *has, const char *tag,
                      struct err *e)
{
    if (*has)
        return elf_refuse(f, e, "dynamic section has %s twice", tag);
    *has = true;
    *slot = value;
    return 0;
}

static int entry_take(const struct elf_file *f, uint64_t tag, uint64_t v, struct dynamic *d, struct err *e)
{
    struct table *rel = &d->rel, *rela = &d->rela;

    switch (tag) {
    case DT_RELA: return value_take(f, v, &rela->vaddr, &rela->has_vaddr, "DT_RELA", e);
    case DT_RELASZ: return value_take(f, v, &rela->len, &rela->has_len, "DT_RELASZ", e);
    case DT_RELAENT: return value_take(f, v, &rela->entry_len, &rela->has_entry_len, "DT_RELAENT", e);
    case DT_REL: return value_take(f, v, &rel->vaddr, &rel->has_vaddr, "DT_REL", e);
    case DT_RELSZ: return value_take(f, v, &rel->len, &rel->has_len, "DT_RELSZ", e);
    case DT_RELENT: return value_take(f, v, &rel->entry_len, &rel->has_entry_len, "DT_RELENT", e);
    case DT_NEEDED: return elf_refuse(f, e, "needs a shared library (DT_NEEDED), link it statically");
    case DT_JMPREL:
    case DT_PLTRELSZ:
        if (v != 0)
            return elf_refuse(f, e, "has procedure linkage relocations (%s 0x%" PRIx64 ")",
                              tag == DT_JMPREL ? "DT_JMPREL" : "DT_PLTRELSZ", v);
        return 0;
    case TAG_RELR:
    case TAG_RELRSZ:
    case TAG_RELRENT:
        return elf_refuse(f, e,
                          "has packed relocations (DT_RELR, tag %" PRIu64
                          "), link it without -z pack-relative-relocs",
                          tag);
    default: return 0;
    }
}

static int dynamic_decode(const struct elf_file *f, uint64_t off, uint64_t len, struct dynamic *d,
                          struct err *e)
{
    const size_t entry_len = 2 * f->word_len;

    for (; len >= entry_len; off += entry_len, len -= entry_len) {
        uint64_t tag = elf_word(f, off);

        if (tag == DT_NULL)
            return 0;
        if (entry_take(f, tag, elf_word(f, off + f->word_len), d, e) != 0)
            return -1;
    }
    return elf_refuse(f, e, "dynamic section has no end (DT_NULL)");
}

static struct reloc reloc_decode(const struct elf_file *f, uint64_t off)
{
    uint64_t info = elf_word(f, off + f->word_len);

    if (f->wide)
        return (struct reloc){.offset = elf_word(f, off),
                              .type = (uint32_t)info,
                              .symbol = (uint32_t)(info >> 32),
                              .addend = elf_word(f, off + 16)};
    return (struct reloc){.offset = elf_word(f, off), .type = info & 0xff, .symbol = (uint32_t)info >> 8};
}

/* Relocation number `n`. */
static int reloc_check(const struct elf_file *f, const struct elf_image *elf, uint64_t n,
                       const struct reloc *r, struct err *e)
{
    if (r->type == R_X86_64_NONE)
        return 0;
    if (!elf->pie)
        return elf_refuse(f, e, "relocation %" PRIu64 " in an image with fixed addresses (type %" PRIu32 ")",
                          n, r->type);
    if (r->type != R_X86_64_RELATIVE)
        return elf_refuse(f, e, "relocation %" PRIu64 " is of an unknown type (%" PRIu32 ", wanted %u)", n,
                          r->type, R_X86_64_RELATIVE);
    if (r->symbol != 0)
        return elf_refuse(f, e, "relocation %" PRIu64 " is relative and has a symbol (%" PRIu32 ")", n,
                          r->symbol);
    if (!elf_in_memory(elf, r->offset, f->word_len))
        return elf_refuse(f, e,
                          "relocation %" PRIu64 " changes bytes outside every segment (%zu at 0x%" PRIx64 ")",
                          n, f->word_len, r->offset);
    return 0;
}

int elf_relocs_parse(const struct elf_file *f, uint64_t vaddr, uint64_t len, struct elf_image *out,
                     struct err *e)
{
    struct dynamic d = {0};
    const struct table *want = f->wide ? &d.rela : &d.rel;
    const struct table *other = f->wide ? &d.rel : &d.rela;
    const unsigned entry_len = f->wide ? sizeof(Elf64_Rela) : sizeof(Elf32_Rel);
    const char *tag = f->wide ? "DT_RELA" : "DT_REL";
    uint64_t off, i;

    if (!elf_in_file(out, vaddr, len, &off))
        return elf_refuse(f, e,
                          "dynamic section is not in the file's part of a segment (%" PRIu64
                          " bytes at 0x%" PRIx64 ")",
                          len, vaddr);
    if (dynamic_decode(f, off, len, &d, e) != 0)
        return -1;
    if (other->len != 0)
        return elf_refuse(f, e, "has relocations of the other machine's kind (%s, %" PRIu64 " bytes)",
                          f->wide ? "DT_REL" : "DT_RELA", other->len);
    if (want->has_vaddr != want->has_len)
        return elf_refuse(f, e, "has only half of %s and %sSZ", tag, tag);
    if (want->len == 0)
        return 0;
    if (want->entry_len != entry_len)
        return elf_refuse(f, e, "wrong relocation length (%sENT %" PRIu64 ", wanted %u)", tag,
                          want->entry_len, entry_len);
    if (want->len % entry_len != 0)
        return elf_refuse(f, e,
                          "relocation table is no multiple of its entries (%" PRIu64 " bytes, entry %u)",
                          want->len, entry_len);
    if (!elf_in_file(out, want->vaddr, want->len, &off))
        return elf_refuse(f, e,
                          "relocation table is not in the file's part of a segment (%" PRIu64
                          " bytes at 0x%" PRIx64 ")",
                          want->len, want->vaddr);
    for (i = 0; i < want->len / entry_len; i++) {
        struct reloc r = reloc_decode(f, off + i * entry_len);

        if (reloc_check(f, out, i, &r, e) != 0)
            return -1;
    }
    out->relocs.file_off = off;
    out->relocs.vaddr = want->vaddr;
    out->relocs.len = want->len;
    out->relocs.entry_len = entry_len;
    out->relocs.has_addend = f->wide;
    return 0;
}

void elf_relocs_apply(const struct elf_image *elf, const struct elf_file *f, uint64_t bias, uint8_t *image)
{
    uint64_t i;

    for (i = 0; i < elf->relocs.len; i += elf->relocs.entry_len) {
        struct reloc r = reloc_decode(f, elf->relocs.file_off + i);
        uint8_t *at;

        if (r.type == R_X86_64_NONE)
            continue;
        at = image + (r.offset - elf->vaddr_base);
        if (f->wide)
            store_le64(at, r.addend + bias);
        else
            store_le32(at, load_le32(at) + (uint32_t)bias);
    }
}
