/*
 * Makes small ELF files of both classes, good and bad, for the tests of
 * boot/elf. Written with the structs of <elf.h> on a little-endian host, so it
 * shares nothing with the decoder but the specification.
 */
#ifndef TESTS_FUZZ_MAKE_ELF_H
#define TESTS_FUZZ_MAKE_ELF_H

#include <assert.h>
#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MADE_MAX 0x60000

struct made {
    bool wide;
    size_t len;
    /* File offsets of the parts of made_sample. */
    size_t text_off, data_off, dynamic_off, relocs_off, note_off, version_off;
    uint8_t bytes[MADE_MAX];
};

static inline void made_put(struct made *m, size_t off, size_t len, uint64_t v)
{
    assert(off <= MADE_MAX - len && len <= sizeof(v));
    memcpy(m->bytes + off, &v, len);
}

static inline size_t made_word_len(const struct made *m)
{
    return m->wide ? 8 : 4;
}

#define MADE_PUT(m, off, type, field, v)                                                               \
    made_put((m), (off) + ((m)->wide ? offsetof(Elf64_##type, field) : offsetof(Elf32_##type, field)), \
             (m)->wide ? sizeof(((Elf64_##type *)0)->field) : sizeof(((Elf32_##type *)0)->field), (v))
#define MADE_LEN(m, type) ((m)->wide ? sizeof(Elf64_##type) : sizeof(Elf32_##type))

/* Set a field of the ELF header, of program header i, of dynamic entry i, of the sample's relocation i. */
#define MADE_EHDR(m, field, v)    MADE_PUT(m, (size_t)0, Ehdr, field, v)
#define MADE_PHDR(m, i, field, v) MADE_PUT(m, MADE_LEN(m, Ehdr) + (i)*MADE_LEN(m, Phdr), Phdr, field, v)
#define MADE_DYN(m, i, tag, v)    made_dyn((m), (m)->dynamic_off + (i)*MADE_LEN(m, Dyn), (tag), (v))

static inline size_t made_reloc_len(const struct made *m)
{
    return m->wide ? sizeof(Elf64_Rela) : sizeof(Elf32_Rel);
}

static inline void made_dyn(struct made *m, size_t off, uint64_t tag, uint64_t v)
{
    MADE_PUT(m, off, Dyn, d_tag, tag);
    MADE_PUT(m, off, Dyn, d_un, v);
}

/* Write one relocation; a REL one has its addend in the image, so `addend` is left out there. */
static inline void made_reloc(struct made *m, size_t off, uint64_t where, uint32_t type, uint32_t symbol,
                              uint64_t addend)
{
    if (m->wide) {
        made_put(m, off, 8, where);
        made_put(m, off + 8, 8, (uint64_t)symbol << 32 | type);
        made_put(m, off + 16, 8, addend);
    } else {
        made_put(m, off, 4, where);
        made_put(m, off + 4, 4, symbol << 8 | type);
    }
}

/* Append zero bytes; returns their offset. */
static inline size_t made_grow(struct made *m, size_t len)
{
    size_t off = m->len;

    assert(len <= MADE_MAX - off);
    m->len += len;
    return off;
}

static inline void made_align(struct made *m, size_t align)
{
    made_grow(m, (align - m->len % align) % align);
}

static inline void made_phdr(struct made *m, unsigned i, uint32_t type, uint64_t off, uint64_t vaddr,
                             uint64_t file_len, uint64_t mem_len, uint64_t align)
{
    MADE_PHDR(m, i, p_type, type);
    MADE_PHDR(m, i, p_flags, 7);
    MADE_PHDR(m, i, p_offset, off);
    MADE_PHDR(m, i, p_vaddr, vaddr);
    MADE_PHDR(m, i, p_paddr, vaddr);
    MADE_PHDR(m, i, p_filesz, file_len);
    MADE_PHDR(m, i, p_memsz, mem_len);
    MADE_PHDR(m, i, p_align, align);
}

/* An ELF header and room for `phdrs_n` program headers of type PT_NULL. */
static inline void made_start(struct made *m, bool wide, unsigned type, unsigned phdrs_n)
{
    memset(m, 0, sizeof(*m));
    m->wide = wide;
    memcpy(m->bytes, ELFMAG, SELFMAG);
    m->bytes[EI_CLASS] = wide ? ELFCLASS64 : ELFCLASS32;
    m->bytes[EI_DATA] = ELFDATA2LSB;
    m->bytes[EI_VERSION] = EV_CURRENT;
    MADE_EHDR(m, e_type, type);
    MADE_EHDR(m, e_machine, wide ? EM_X86_64 : EM_386);
    MADE_EHDR(m, e_version, EV_CURRENT);
    MADE_EHDR(m, e_phoff, MADE_LEN(m, Ehdr));
    MADE_EHDR(m, e_ehsize, MADE_LEN(m, Ehdr));
    MADE_EHDR(m, e_phentsize, MADE_LEN(m, Phdr));
    MADE_EHDR(m, e_phnum, phdrs_n);
    made_grow(m, MADE_LEN(m, Ehdr) + phdrs_n * MADE_LEN(m, Phdr));
}

/* Append a note, its parts padded to `align`; returns its offset. */
static inline size_t made_note(struct made *m, const char *name, uint32_t type, const void *desc,
                               uint32_t desc_len, size_t align)
{
    uint32_t name_len = (uint32_t)strlen(name) + 1;
    size_t off = made_grow(m, 12);

    made_put(m, off, 4, name_len);
    made_put(m, off + 4, 4, desc_len);
    made_put(m, off + 8, 4, type);
    memcpy(m->bytes + made_grow(m, name_len), name, name_len);
    made_align(m, align);
    memcpy(m->bytes + made_grow(m, desc_len), desc, desc_len);
    made_align(m, align);
    return off;
}

/* Append a section header table, as a linker does last: a null entry and two more. */
static inline void made_sections(struct made *m)
{
    made_align(m, 8);
    MADE_EHDR(m, e_shoff, m->len);
    MADE_EHDR(m, e_shentsize, MADE_LEN(m, Shdr));
    MADE_EHDR(m, e_shnum, 3);
    made_grow(m, 3 * MADE_LEN(m, Shdr));
}

/* Program headers of made_sample, then its dynamic entries. */
enum {
    MADE_TEXT,
    MADE_DATA,
    MADE_DYNAMIC,
    MADE_NOTE,
    MADE_VERSION,
    MADE_TLS,
    MADE_STACK,
    MADE_SPARE,
    MADE_PHDRS
};
enum { MADE_REL, MADE_RELSZ, MADE_RELENT, MADE_JMPREL, MADE_PLTRELSZ, MADE_OTHER, MADE_NULL, MADE_DYNS };

#define MADE_GAP     0x1000 /* between the addresses of text and data, beyond their distance in the file */
#define MADE_BSS_LEN 0x40
#define MADE_WORDS   4 /* words of data; relocations: 0 of word 0, 1 NONE, 2 of the last word of .bss */
#define MADE_RELOCS  3

/* The address of file offset `off` of the data segment, in a sample that starts at `base`. */
static inline uint64_t made_data_vaddr(uint64_t base, size_t off)
{
    return base + MADE_GAP + off;
}

/*
 * A file with one of everything that is accepted, at addresses from `base`
 * (page aligned). With fixed addresses (ET_EXEC) it has no relocations.
 */
static inline void made_sample(struct made *m, bool wide, unsigned type, uint64_t base)
{
    const uint32_t flags = 0;
    const size_t align = 0x1000;
    size_t w = wide ? 8 : 4, data_len, i;
    bool pie = type == ET_DYN;

    made_start(m, wide, type, MADE_PHDRS);
    made_align(m, 8);
    m->note_off = made_note(m, "VMM", 1, &flags, 4, 4);
    made_align(m, 8);
    m->version_off = made_note(m, "Hyperlight", 1, "0.15.0", 7, 8);
    m->text_off = made_grow(m, 24);
    memset(m->bytes + m->text_off, 0x90, 24);
    MADE_EHDR(m, e_entry, base + m->text_off);
    made_phdr(m, MADE_TEXT, PT_LOAD, 0, base, m->len, m->len, align);

    made_align(m, 8);
    m->data_off = made_grow(m, MADE_WORDS * w);
    for (i = 0; i < MADE_WORDS; i++)
        made_put(m, m->data_off + i * w, w, 0x1234 + i);
    m->dynamic_off = made_grow(m, MADE_DYNS * 2 * w);
    m->relocs_off = made_grow(m, pie ? MADE_RELOCS * made_reloc_len(m) : 0);
    data_len = m->len - m->data_off;
    made_phdr(m, MADE_DATA, PT_LOAD, m->data_off, made_data_vaddr(base, m->data_off), data_len,
              data_len + MADE_BSS_LEN, align);
    made_phdr(m, MADE_DYNAMIC, PT_DYNAMIC, m->dynamic_off, made_data_vaddr(base, m->dynamic_off),
              MADE_DYNS * 2 * w, MADE_DYNS * 2 * w, w);
    MADE_DYN(m, MADE_REL, wide ? DT_RELA : DT_REL, made_data_vaddr(base, m->relocs_off));
    MADE_DYN(m, MADE_RELSZ, wide ? DT_RELASZ : DT_RELSZ, pie ? MADE_RELOCS * made_reloc_len(m) : 0);
    MADE_DYN(m, MADE_RELENT, wide ? DT_RELAENT : DT_RELENT, made_reloc_len(m));
    MADE_DYN(m, MADE_JMPREL, DT_JMPREL, 0);
    MADE_DYN(m, MADE_PLTRELSZ, DT_PLTRELSZ, 0);
    MADE_DYN(m, MADE_OTHER, DT_FLAGS, DF_TEXTREL);
    MADE_DYN(m, MADE_NULL, DT_NULL, 0);
    if (pie) {
        made_reloc(m, m->relocs_off, made_data_vaddr(base, m->data_off), 8, 0, 0x40);
        made_reloc(m, m->relocs_off + made_reloc_len(m), UINT64_MAX, 0, 0, 0);
        made_reloc(m, m->relocs_off + 2 * made_reloc_len(m), made_data_vaddr(base, m->len) + MADE_BSS_LEN - w,
                   8, 0, 0x1000);
    }
    made_phdr(m, MADE_NOTE, PT_NOTE, m->note_off, base + m->note_off, 20, 20, 4);
    made_phdr(m, MADE_VERSION, PT_NOTE, m->version_off, base + m->version_off, 32, 32, 8);
    made_phdr(m, MADE_TLS, PT_TLS, 0, 0, 0, 0, 4);
    made_phdr(m, MADE_STACK, PT_GNU_STACK, 0, 0, 0, 0, 16);
    made_sections(m);
}

#endif
