/*
 * The ELF decoder: one pass that can fail from bytes to struct elf_image, then
 * a copy that has nothing left to doubt. The dynamic section and relocations
 * are in elf_reloc.c.
 */
#include "boot/elf.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "boot/elf_file.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/num.h"

#define ADDRESSES_32 ((uint64_t)1 << 32) /* end of a 32-bit address space */

/* What the program headers seen so far had, beyond what elf_image keeps. */
struct found {
    bool vmm_note, dynamic;
    uint64_t dynamic_vaddr, dynamic_len;
};

/* The class says how long a word is, so it is settled, with the rest of e_ident, before any word is read. */
static int ident_decode(struct elf_file *f, struct err *e)
{
    unsigned header_len;

    if (f->len == 0)
        return elf_refuse(f, e, "empty file");
    if (f->len < EI_NIDENT || memcmp(f->bytes, ELFMAG, SELFMAG) != 0)
        return elf_refuse(f, e, "not an ELF file (%" PRIu64 " bytes, no ELF header at the start)", f->len);
    if (f->bytes[EI_CLASS] != ELFCLASS32 && f->bytes[EI_CLASS] != ELFCLASS64)
        return elf_refuse(f, e, "neither a 32-bit nor a 64-bit ELF file (class %u, wanted %u or %u)",
                          f->bytes[EI_CLASS], ELFCLASS32, ELFCLASS64);
    if (f->bytes[EI_DATA] != ELFDATA2LSB)
        return elf_refuse(f, e, "not little-endian (data encoding %u, wanted %u)", f->bytes[EI_DATA],
                          ELFDATA2LSB);
    if (f->bytes[EI_VERSION] != EV_CURRENT)
        return elf_refuse(f, e, "unknown ELF version in e_ident (%u, wanted %u)", f->bytes[EI_VERSION],
                          EV_CURRENT);
    f->wide = f->bytes[EI_CLASS] == ELFCLASS64;
    f->word_len = f->wide ? 8 : 4;
    header_len = f->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
    if (f->len < header_len)
        return elf_refuse(f, e, "not an ELF file (%" PRIu64 " bytes, its header alone has %u)", f->len,
                          header_len);
    return 0;
}

/* Both classes have the same fields in the same order around three words. */
static struct elf_header header_decode(const struct elf_file *f)
{
    const size_t words = 24;
    const uint8_t *tail = f->bytes + words + 3 * f->word_len + 4; /* behind e_flags */

    return (struct elf_header){
        .type = load_le16(f->bytes + 16),
        .machine = load_le16(f->bytes + 18),
        .version = load_le32(f->bytes + 20),
        .entry = elf_word(f, words),
        .phoff = elf_word(f, words + f->word_len),
        .shoff = elf_word(f, words + 2 * f->word_len),
        .ehsize = load_le16(tail),
        .phentsize = load_le16(tail + 2),
        .phnum = load_le16(tail + 4),
        .shentsize = load_le16(tail + 6),
        .shnum = load_le16(tail + 8),
        .shstrndx = load_le16(tail + 10),
    };
}

/* p_flags sits behind p_type in one class and before p_align in the other; the words keep their order. */
struct elf_phdr elf_phdr(const struct elf_file *f, uint64_t off)
{
    const size_t n = f->word_len;

    return (struct elf_phdr){
        .type = load_le32(f->bytes + off),
        .off = elf_word(f, off + n),
        .vaddr = elf_word(f, off + 2 * n),
        .paddr = elf_word(f, off + 3 * n),
        .file_len = elf_word(f, off + 4 * n),
        .mem_len = elf_word(f, off + 5 * n),
        .align = elf_word(f, off + (f->wide ? 48 : 28)),
    };
}

static const char *machine_name(unsigned machine)
{
    switch (machine) {
    case EM_386: return "i386";
    case EM_X86_64: return "x86-64";
    case EM_ARM: return "arm";
    case EM_AARCH64: return "aarch64";
    case EM_RISCV: return "riscv";
    default: return "another machine";
    }
}

static int machine_check(const struct elf_file *f, const struct elf_header *h, struct err *e)
{
    if (h->machine != EM_386 && h->machine != EM_X86_64)
        return elf_refuse(f, e, "built for %s (machine %u, wanted %u for i386 or %u for x86-64)",
                          machine_name(h->machine), h->machine, EM_386, EM_X86_64);
    if (f->wide != (h->machine == EM_X86_64))
        return elf_refuse(f, e, "built for %s in a %u-bit ELF file (machine %u, class %u)",
                          machine_name(h->machine), f->wide ? 64 : 32, h->machine, f->bytes[EI_CLASS]);
    return 0;
}

static int header_check(const struct elf_file *f, const struct elf_header *h, struct err *e)
{
    const unsigned header_len = f->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
    const unsigned phdr_len = f->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

    if (machine_check(f, h, e) != 0)
        return -1;
    if (h->version != EV_CURRENT)
        return elf_refuse(f, e, "unknown ELF version (%u, wanted %u)", h->version, EV_CURRENT);
    if (h->type == ET_REL)
        return elf_refuse(f, e, "a relocatable object that still has to be linked (type %u, wanted %u or %u)",
                          h->type, ET_EXEC, ET_DYN);
    if (h->type != ET_EXEC && h->type != ET_DYN)
        return elf_refuse(f, e, "not an executable (type %u, wanted %u or %u)", h->type, ET_EXEC, ET_DYN);
    if (h->ehsize != header_len)
        return elf_refuse(f, e, "wrong ELF header length (%u, wanted %u)", h->ehsize, header_len);
    if (h->phnum == 0)
        return elf_refuse(f, e, "no program headers");
    if (h->phnum > ELF_HEADERS_MAX)
        return elf_refuse(f, e, "too many program headers (%u, limit %u)", h->phnum, ELF_HEADERS_MAX);
    if (h->phentsize != phdr_len)
        return elf_refuse(f, e, "wrong program header length (%u, wanted %u)", h->phentsize, phdr_len);
    if (!num_fits(h->phoff, (uint64_t)h->phnum * phdr_len, f->len))
        return elf_refuse(f, e,
                          "program headers outside the file (%u at 0x%" PRIx64 ", file has %" PRIu64
                          " bytes): truncated?",
                          h->phnum, h->phoff, f->len);
    if (h->shoff != 0 && !num_fits(h->shoff, (uint64_t)h->shnum * h->shentsize, f->len))
        return elf_refuse(f, e,
                          "section headers outside the file (%u of %u bytes at 0x%" PRIx64
                          ", file has %" PRIu64 " bytes): truncated?",
                          h->shnum, h->shentsize, h->shoff, f->len);
    return 0;
}

/* `n` is the program header's number. */
static int segment_check(const struct elf_file *f, unsigned n, const struct elf_phdr *p, struct err *e)
{
    uint64_t end;

    if (p->file_len > p->mem_len)
        return elf_refuse(f, e,
                          "segment %u has more bytes in the file than in memory (%" PRIu64 ", %" PRIu64 ")",
                          n, p->file_len, p->mem_len);
    if (p->align != 0 && !num_is_power_of_two(p->align))
        return elf_refuse(f, e, "segment %u: alignment is not a power of two (0x%" PRIx64 ")", n, p->align);
    if (!num_add(p->vaddr, p->mem_len, &end) || (!f->wide && end > ADDRESSES_32))
        return elf_refuse(f, e,
                          "segment %u ends past the address space (0x%" PRIx64 " bytes at 0x%" PRIx64 ")", n,
                          p->mem_len, p->vaddr);
    if (p->file_len == 0)
        return 0;
    if (!num_fits(p->off, p->file_len, f->len))
        return elf_refuse(f, e,
                          "segment %u is outside the file (%" PRIu64 " bytes at 0x%" PRIx64
                          ", file has %" PRIu64 " bytes): truncated?",
                          n, p->file_len, p->off, f->len);
    if (p->align > 1 && ((p->off ^ p->vaddr) & (p->align - 1)) != 0)
        return elf_refuse(f, e,
                          "segment %u: file offset and address disagree modulo the alignment (0x%" PRIx64
                          ", 0x%" PRIx64 ", alignment 0x%" PRIx64 ")",
                          n, p->off, p->vaddr, p->align);
    return 0;
}

/* Insert in order of address: the file's order means nothing. */
static int segment_add(const struct elf_file *f, struct elf_image *out, const struct elf_phdr *p,
                       struct err *e)
{
    unsigned i;

    if (out->segments_n == ELF_SEGMENTS_MAX)
        return elf_refuse(f, e, "too many segments (limit %u)", ELF_SEGMENTS_MAX);
    for (i = out->segments_n++; i > 0 && out->segments[i - 1].vaddr > p->vaddr; i--)
        out->segments[i] = out->segments[i - 1];
    out->segments[i] = (struct elf_segment){
        .vaddr = p->vaddr, .mem_len = p->mem_len, .file_off = p->off, .file_len = p->file_len};
    if (p->paddr != p->vaddr)
        out->paddr_is_vaddr = false;
    return 0;
}

/* What only all segments together show: overlap, span, and whether the entry point is in one. */
static int segments_finish(const struct elf_file *f, struct elf_image *out, struct err *e)
{
    const struct elf_segment *s = out->segments;
    const struct elf_segment *last = s + out->segments_n - 1;

    if (out->segments_n == 0)
        return elf_refuse(f, e, "no loadable segment");
    for (; s < last; s++)
        if (s[1].vaddr - s->vaddr < s->mem_len)
            return elf_refuse(f, e,
                              "segments overlap (0x%" PRIx64 " bytes at 0x%" PRIx64 ", 0x%" PRIx64
                              " bytes at 0x%" PRIx64 ")",
                              s->mem_len, s->vaddr, s[1].mem_len, s[1].vaddr);
    out->vaddr_base = num_page_down(out->segments[0].vaddr);
    out->span_len = last->vaddr + last->mem_len - out->vaddr_base;
    if (out->span_len > ELF_SPAN_MAX)
        return elf_refuse(f, e, "segments span too much memory (0x%" PRIx64 " bytes, limit 0x%" PRIx64 ")",
                          out->span_len, ELF_SPAN_MAX);
    if (!out->pie && out->vaddr_base < PAGE_LEN)
        return elf_refuse(f, e,
                          "has fixed addresses in page 0, which is the guest's null guard (0x%" PRIx64
                          ", lowest 0x%" PRIx64 ")",
                          out->segments[0].vaddr, PAGE_LEN);
    if (!elf_in_memory(out, out->entry, 1))
        return elf_refuse(f, e, "entry point is in no segment (0x%" PRIx64 ")", out->entry);
    return 0;
}

bool elf_note_is_from(const struct elf_note *note, const char *owner)
{
    size_t owner_len = strlen(owner) + 1;

    return note->name_len == owner_len && memcmp(note->name, owner, owner_len) == 0;
}

static int vmm_note_take(const struct elf_file *f, const struct elf_note *note, struct elf_image *out,
                         struct found *found, struct err *e)
{
    uint32_t flags;

    if (found->vmm_note)
        return elf_refuse(f, e, "two VMM notes");
    if (note->type != ELF_NOTE_TYPE)
        return elf_refuse(f, e, "unknown VMM note (type %" PRIu32 ", wanted %u)", note->type, ELF_NOTE_TYPE);
    if (note->desc_len != 4)
        return elf_refuse(f, e, "VMM note has the wrong length (%" PRIu32 ", wanted 4)", note->desc_len);
    flags = load_le32(note->desc);
    if ((flags & ~(uint32_t)ELF_NOTE_FLAGS) != 0)
        return elf_refuse(f, e, "VMM note has unknown flags (0x%" PRIx32 ", known 0x%x)", flags,
                          ELF_NOTE_FLAGS);
    if ((flags & NOTE_FLAG_IDENTITY) != 0 && out->machine != ELF_I386)
        return elf_refuse(
            f, e, "VMM note wants paging off, which only i386 guests can do (flags 0x%" PRIx32 ")", flags);
    found->vmm_note = true;
    out->identity = (flags & NOTE_FLAG_IDENTITY) != 0;
    out->promises = flags / NOTE_FLAG_OUT;
    return 0;
}

static int hyperlight_note_take(const struct elf_file *f, const struct elf_note *note, struct elf_image *out,
                                struct err *e)
{
    uint32_t i;

    if (note->type != ELF_NOTE_TYPE)
        return 0;
    if (out->abi_version[0] != '\0')
        return elf_refuse(f, e, "two Hyperlight version notes");
    if (note->desc_len < 2 || note->desc_len > ELF_ABI_VERSION_LEN || note->desc[note->desc_len - 1] != '\0')
        return elf_refuse(f, e, "Hyperlight version note is not a string (%" PRIu32 " bytes, limit %u)",
                          note->desc_len, ELF_ABI_VERSION_LEN);
    for (i = 0; i + 1 < note->desc_len; i++)
        if (note->desc[i] < 0x20 || note->desc[i] > 0x7e)
            return elf_refuse(f, e, "Hyperlight version note has an unprintable character (0x%02x)",
                              note->desc[i]);
    memcpy(out->abi_version, note->desc, note->desc_len);
    return 0;
}

/*
 * Sums stay far below 2^64: an offset is less than the length of a buffer that
 * exists, and the two lengths have 32 bits.
 */
int elf_note_next(const struct elf_file *f, const struct elf_phdr *p, uint64_t *off, struct elf_note *out,
                  struct err *e)
{
    const uint64_t pad = p->align == 8 ? 7 : 3; /* everybody else's p_align means 4 */
    struct elf_note note;
    const uint8_t *at;
    uint64_t desc_off;

    if (!num_fits(p->off, p->file_len, f->len))
        return elf_refuse(f, e,
                          "notes are outside the file (%" PRIu64 " bytes at 0x%" PRIx64 ", file has %" PRIu64
                          " bytes): truncated?",
                          p->file_len, p->off, f->len);
    if (*off >= p->file_len || p->file_len - *off < sizeof(Elf32_Nhdr))
        return 0;
    at = f->bytes + p->off + *off;
    note = (struct elf_note){.name = at + sizeof(Elf32_Nhdr),
                             .name_len = load_le32(at),
                             .desc_len = load_le32(at + 4),
                             .type = load_le32(at + 8)};
    desc_off = (*off + sizeof(Elf32_Nhdr) + note.name_len + pad) & ~pad;
    if (!num_fits(desc_off, note.desc_len, p->file_len))
        return elf_refuse(f, e,
                          "note ends outside its segment (name %" PRIu32 " and %" PRIu32
                          " bytes at 0x%" PRIx64 " of 0x%" PRIx64 ")",
                          note.name_len, note.desc_len, *off, p->file_len);
    note.desc = f->bytes + p->off + desc_off;
    *off = (desc_off + note.desc_len + pad) & ~pad;
    *out = note;
    return 1;
}

static int notes_take(const struct elf_file *f, const struct elf_phdr *p, struct elf_image *out,
                      struct found *found, struct err *e)
{
    struct elf_note note = {0};
    uint64_t off = 0;
    int more;

    while ((more = elf_note_next(f, p, &off, &note, e)) > 0) {
        if (elf_note_is_from(&note, ELF_NOTE_VMM_NAME) && vmm_note_take(f, &note, out, found, e) != 0)
            return -1;
        if (elf_note_is_from(&note, ELF_NOTE_HYPERLIGHT_NAME) && hyperlight_note_take(f, &note, out, e) != 0)
            return -1;
    }
    return more;
}

/* Program header number `n`. */
static int phdr_take(const struct elf_file *f, unsigned n, const struct elf_phdr *p, struct elf_image *out,
                     struct found *found, struct err *e)
{
    switch (p->type) {
    case PT_LOAD:
        if (segment_check(f, n, p, e) != 0)
            return -1;
        return p->mem_len == 0 ? 0 : segment_add(f, out, p, e);
    case PT_DYNAMIC:
        if (found->dynamic)
            return elf_refuse(f, e, "two dynamic sections");
        found->dynamic = true;
        found->dynamic_vaddr = p->vaddr;
        found->dynamic_len = p->file_len;
        return 0;
    case PT_INTERP: return elf_refuse(f, e, "wants a dynamic linker (PT_INTERP), link it statically");
    case PT_NOTE: return notes_take(f, p, out, found, e);
    case PT_TLS:
        /* Nobody would set up a thread pointer; an empty one asks for nothing. */
        if (p->mem_len != 0)
            return elf_refuse(f, e, "has thread-local storage (PT_TLS, %" PRIu64 " bytes)", p->mem_len);
        return 0;
    default: return 0; /* advice to a kernel, or to a debugger */
    }
}

int elf_open(struct elf_file *f, struct elf_header *out, struct err *e)
{
    struct elf_header h;

    if (ident_decode(f, e) != 0)
        return -1;
    h = header_decode(f);
    if (header_check(f, &h, e) != 0)
        return -1;
    *out = h;
    return 0;
}

int elf_parse(const uint8_t *file, uint64_t file_len, const char *name, struct elf_image *out, struct err *e)
{
    struct elf_file f = {.bytes = file, .len = file_len, .name = name};
    struct elf_image elf = {.paddr_is_vaddr = true};
    struct found found = {0};
    struct elf_header h;
    unsigned i;

    if (elf_open(&f, &h, e) != 0)
        return -1;
    elf.machine = f.wide ? ELF_X86_64 : ELF_I386;
    elf.pie = h.type == ET_DYN;
    elf.entry = h.entry;
    for (i = 0; i < h.phnum; i++) {
        struct elf_phdr p = elf_phdr(&f, h.phoff + (uint64_t)i * h.phentsize);

        if (phdr_take(&f, i, &p, &elf, &found, e) != 0)
            return -1;
    }
    if (segments_finish(&f, &elf, e) != 0)
        return -1;
    if (found.dynamic && elf_relocs_parse(&f, found.dynamic_vaddr, found.dynamic_len, &elf, e) != 0)
        return -1;
    *out = elf;
    return 0;
}

int elf_load(const struct elf_image *elf, const uint8_t *file, uint64_t file_len, uint64_t base,
             const char *name, uint8_t *image, struct err *e)
{
    const bool wide = elf->machine == ELF_X86_64;
    const struct elf_file f = {
        .bytes = file, .len = file_len, .name = name, .wide = wide, .word_len = wide ? 8 : 4};
    uint64_t end;
    unsigned i;

    assert(num_is_page_aligned(base));
    assert(elf->pie || base == elf->vaddr_base);
    if (!num_add(base, elf->span_len, &end) || (!wide && end > ADDRESSES_32))
        return elf_refuse(&f, e,
                          "does not fit in the address space there (0x%" PRIx64 " bytes at 0x%" PRIx64 ")",
                          elf->span_len, base);
    for (i = 0; i < elf->segments_n; i++) {
        const struct elf_segment *s = &elf->segments[i];

        assert(s->file_len == 0 || num_fits(s->file_off, s->file_len, file_len));
        if (s->file_len != 0)
            memcpy(image + (s->vaddr - elf->vaddr_base), file + s->file_off, s->file_len);
    }
    elf_relocs_apply(elf, &f, base - elf->vaddr_base, image);
    return 0;
}
