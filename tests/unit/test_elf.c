/*
 * boot/elf: every refusal and both sides of every limit, for both classes.
 * Files that nobody edited by hand are in test_elf_files.c.
 *
 *     test_elf                  run the tests
 *     test_elf --corpus DIR     write the files of the table into DIR, as seeds for fuzz_elf
 */
#include "boot/elf.h"

#include <elf.h>
#include <stdlib.h>

#include "tests/fuzz/make_elf.h"
#include "tests/tap.h"

static struct made made; /* too large for a stack */
static const char *corpus_dir;
static unsigned corpus_n;

/* A copy of exactly `len` bytes, so that a sanitizer sees the first one too many. Never NULL. */
static uint8_t *copy_exact(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len);

    if (len == 0)
        copy = realloc(copy, 1);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, len);
    return copy;
}

static void corpus_write(const struct made *m, const char *what)
{
    char path[512];
    FILE *out;
    char *c;

    if (m->len > 4096)
        return;
    snprintf(path, sizeof(path), "%s/%03u-%s-%.60s", corpus_dir, corpus_n++, m->wide ? "64" : "32", what);
    for (c = path + strlen(corpus_dir) + 1; *c != '\0'; c++)
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789", *c) == NULL)
            *c = '-';
    out = fopen(path, "wb");
    if (out == NULL || fwrite(m->bytes, 1, m->len, out) != m->len || fclose(out) != 0)
        abort();
}

/* `text` NULL: must decode. Otherwise must be refused with that in the message, and touch nothing. */
static bool parse(const struct made *m, const char *text, struct elf_image *elf, int line)
{
    uint8_t *copy = copy_exact(m->bytes, m->len);
    struct elf_image out, before;
    struct err e, untouched;
    int rc;

    memset(&before, 0xa5, sizeof(before));
    memset(&untouched, 0xa5, sizeof(untouched));
    out = before;
    e = untouched;
    if (corpus_dir != NULL)
        corpus_write(m, text == NULL ? "accepted" : text);
    rc = elf_parse(copy, m->len, "t.elf", &out, &e);
    free(copy);
    if (text == NULL) {
        if (!tap_check(rc == 0, __FILE__, line, "the file is accepted"))
            printf("#   %s\n", e.text);
        else
            tap_check(memcmp(&e, &untouched, sizeof(e)) == 0, __FILE__, line, "the error is untouched");
        if (rc == 0 && elf != NULL)
            *elf = out;
        return rc == 0;
    }
    tap_check(memcmp(&out, &before, sizeof(out)) == 0, __FILE__, line, "the result is untouched");
    if (!tap_check(rc == -1, __FILE__, line, "the file is refused")) {
        printf("#   wanted: %s\n", text);
        return false;
    }
    tap_check_u64(e.status, STATUS_IMAGE, __FILE__, line, "status");
    if (!tap_check(strncmp(e.text, "t.elf: ", 7) == 0 && strstr(e.text, text) != NULL, __FILE__, line,
                   "the message names the cause"))
        printf("#   \"%s\" has no \"%s\"\n", e.text, text);
    return false;
}

#define ACCEPTED(m, elf) parse((m), NULL, (elf), __LINE__)
#define REFUSED(m, text) parse((m), (text), NULL, __LINE__)

/* A position independent sample with one edit, and what becomes of it. */
#define EDIT_REFUSED(text, ...)          \
    do {                                 \
        made_sample(m, wide, ET_DYN, 0); \
        __VA_ARGS__;                     \
        REFUSED(m, text);                \
    } while (0)
#define EDIT_ACCEPTED(...)               \
    do {                                 \
        made_sample(m, wide, ET_DYN, 0); \
        __VA_ARGS__;                     \
        ACCEPTED(m, NULL);               \
    } while (0)

static void name_case(bool wide, const char *sentence)
{
    char name[200];

    snprintf(name, sizeof(name), "%s (ELF%s)", sentence, wide ? "64" : "32");
    tap_case(name);
}

/* Load into a buffer of exactly span_len; NULL when refused. The caller frees it. */
static uint8_t *load(const struct made *m, const struct elf_image *elf, uint64_t base, struct err *e)
{
    uint8_t *copy = copy_exact(m->bytes, m->len), *image = calloc(1, elf->span_len);
    uint64_t i, nonzero = 0;

    if (image == NULL)
        abort();
    if (elf_load(elf, copy, m->len, base, "t.elf", image, e) != 0) {
        for (i = 0; i < elf->span_len; i++)
            nonzero += image[i] != 0;
        CHECK_EQ(nonzero, 0);
        free(image);
        image = NULL;
    }
    free(copy);
    return image;
}

static void test_header(bool wide)
{
    struct made *m = &made;
    size_t header_len = wide ? 64 : 52;

    name_case(wide, "what is no ELF file is refused");
    EDIT_REFUSED("empty file", m->len = 0);
    EDIT_REFUSED("not an ELF file (1 bytes", m->len = 1);
    EDIT_REFUSED("not an ELF file (15 bytes, no ELF header", m->len = 15);
    EDIT_REFUSED("not an ELF file (16 bytes, its header alone", m->len = 16);
    EDIT_REFUSED("not an ELF file", m->len = header_len - 1);
    EDIT_REFUSED("program headers outside the file", m->len = header_len);
    EDIT_REFUSED("not an ELF file", m->bytes[0] = 0x7e);
    EDIT_REFUSED("not an ELF file", m->bytes[3] = 'f');

    name_case(wide, "the class, byte order and version must be known");
    EDIT_REFUSED("(class 0,", m->bytes[EI_CLASS] = 0);
    EDIT_REFUSED("(class 3,", m->bytes[EI_CLASS] = 3);
    EDIT_REFUSED("not little-endian (data encoding 2", m->bytes[EI_DATA] = ELFDATA2MSB);
    EDIT_REFUSED("not little-endian (data encoding 0", m->bytes[EI_DATA] = 0);
    EDIT_REFUSED("in e_ident (0, wanted 1)", m->bytes[EI_VERSION] = 0);
    EDIT_REFUSED("unknown ELF version (2, wanted 1)", MADE_EHDR(m, e_version, 2));

    name_case(wide, "a file for another machine is refused by name and number");
    EDIT_REFUSED("built for aarch64 (machine 183, wanted 3", MADE_EHDR(m, e_machine, 183));
    EDIT_REFUSED("built for arm (machine 40,", MADE_EHDR(m, e_machine, 40));
    EDIT_REFUSED("built for riscv (machine 243,", MADE_EHDR(m, e_machine, 243));
    EDIT_REFUSED("built for another machine (machine 8,", MADE_EHDR(m, e_machine, 8));
    if (wide)
        EDIT_REFUSED("built for i386 in a 64-bit ELF file (machine 3", MADE_EHDR(m, e_machine, 3));
    else
        EDIT_REFUSED("built for x86-64 in a 32-bit ELF file (machine 62", MADE_EHDR(m, e_machine, 62));

    name_case(wide, "only executables are loaded");
    EDIT_REFUSED("still has to be linked (type 1,", MADE_EHDR(m, e_type, ET_REL));
    EDIT_REFUSED("not an executable (type 0,", MADE_EHDR(m, e_type, ET_NONE));
    EDIT_REFUSED("not an executable (type 4,", MADE_EHDR(m, e_type, ET_CORE));

    name_case(wide, "header lengths must be those of the class");
    EDIT_REFUSED("wrong ELF header length", MADE_EHDR(m, e_ehsize, header_len - 1));
    EDIT_REFUSED("wrong ELF header length", MADE_EHDR(m, e_ehsize, header_len + 1));
    EDIT_REFUSED("wrong program header length", MADE_EHDR(m, e_phentsize, MADE_LEN(m, Phdr) - 1));
    EDIT_REFUSED("wrong program header length", MADE_EHDR(m, e_phentsize, MADE_LEN(m, Phdr) + 1));

    name_case(wide, "program headers are some, not too many, and in the file");
    EDIT_REFUSED("no program headers", MADE_EHDR(m, e_phnum, 0));
    EDIT_REFUSED("too many program headers (65535, limit 256)", MADE_EHDR(m, e_phnum, PN_XNUM));
    EDIT_REFUSED("program headers outside the file", MADE_EHDR(m, e_phoff, m->len));
    EDIT_REFUSED("program headers outside the file", MADE_EHDR(m, e_phoff, UINT64_MAX));
    EDIT_REFUSED("program headers outside the file",
                 MADE_EHDR(m, e_phoff, m->len - MADE_PHDRS * MADE_LEN(m, Phdr) + 1));
    made_sample(m, wide, ET_DYN, 0);
    memmove(m->bytes + made_grow(m, MADE_PHDRS * MADE_LEN(m, Phdr)), m->bytes + header_len,
            MADE_PHDRS * MADE_LEN(m, Phdr));
    MADE_EHDR(m, e_phoff, m->len - MADE_PHDRS * MADE_LEN(m, Phdr));
    ACCEPTED(m, NULL);
    made_start(m, wide, ET_DYN, 256);
    made_phdr(m, 255, PT_LOAD, 0, 0, m->len, m->len, 1);
    ACCEPTED(m, NULL);
    made_start(m, wide, ET_DYN, 257);
    made_phdr(m, 255, PT_LOAD, 0, 0, m->len, m->len, 1);
    REFUSED(m, "too many program headers (257, limit 256)");

    name_case(wide, "a section header table that does not end inside the file proves that it was cut");
    EDIT_REFUSED("section headers outside the file", m->len--);
    EDIT_REFUSED("section headers outside the file", MADE_EHDR(m, e_shoff, UINT64_MAX));
    EDIT_REFUSED("section headers outside the file", MADE_EHDR(m, e_shnum, 4));
    EDIT_REFUSED("section headers outside the file", MADE_EHDR(m, e_shnum, 0);
                 MADE_EHDR(m, e_shoff, m->len + 1));
    EDIT_ACCEPTED(MADE_EHDR(m, e_shnum, 0); MADE_EHDR(m, e_shoff, m->len));
    EDIT_ACCEPTED(MADE_EHDR(m, e_shoff, 0); MADE_EHDR(m, e_shnum, UINT16_MAX));
}

static void test_segments(bool wide)
{
    struct made *m = &made;
    struct elf_image elf;
    uint64_t top = wide ? UINT64_MAX - 0xfff : UINT32_MAX - 0xfff, data_len;
    char text[120];
    uint8_t *image;
    struct err e;
    unsigned i;

    name_case(wide, "a segment's bytes are inside the file, and not more than its memory");
    EDIT_REFUSED("more bytes in the file than in memory", MADE_PHDR(m, MADE_TEXT, p_memsz, m->data_off - 9));
    EDIT_REFUSED("more bytes in the file than in memory", MADE_PHDR(m, MADE_SPARE, p_type, PT_LOAD);
                 MADE_PHDR(m, MADE_SPARE, p_filesz, 1));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_TEXT, p_filesz, m->len); MADE_PHDR(m, MADE_TEXT, p_memsz, m->len));
    EDIT_REFUSED("segment 0 is outside the file", MADE_PHDR(m, MADE_TEXT, p_filesz, m->len + 1);
                 MADE_PHDR(m, MADE_TEXT, p_memsz, m->len + 1));
    EDIT_REFUSED("segment 0 is outside the file", MADE_PHDR(m, MADE_TEXT, p_offset, 0 - (uint64_t)0x1000));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_TEXT, p_offset, 0 - (uint64_t)0x1000);
                  MADE_PHDR(m, MADE_TEXT, p_filesz, 0));

    name_case(wide, "a segment's alignment is a power of two which offset and address agree on");
    EDIT_REFUSED("not a power of two (0x3)", MADE_PHDR(m, MADE_TEXT, p_align, 3));
    EDIT_REFUSED("not a power of two (0x1001)", MADE_PHDR(m, MADE_DATA, p_align, 0x1001));
    EDIT_REFUSED("modulo the alignment", MADE_PHDR(m, MADE_DATA, p_align, 0x2000));
    EDIT_REFUSED("modulo the alignment", MADE_PHDR(m, MADE_TEXT, p_vaddr, 1));
    EDIT_REFUSED("modulo the alignment", MADE_PHDR(m, MADE_TEXT, p_vaddr, 1);
                 MADE_PHDR(m, MADE_TEXT, p_align, 2));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_TEXT, p_vaddr, 1); MADE_PHDR(m, MADE_TEXT, p_align, 1));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_TEXT, p_vaddr, 1); MADE_PHDR(m, MADE_TEXT, p_align, 0));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_TEXT, p_vaddr, 1); MADE_PHDR(m, MADE_TEXT, p_filesz, 0));

    name_case(wide, "a segment may end where the address space does, and not later");
    made_start(m, wide, ET_EXEC, 1);
    made_phdr(m, 0, PT_LOAD, 0, top, 16, wide ? 0xfff : 0x1000, 0);
    MADE_EHDR(m, e_entry, top);
    if (ACCEPTED(m, &elf))
        CHECK_EQ(elf.span_len, wide ? 0xfff : 0x1000);
    MADE_PHDR(m, 0, p_memsz, wide ? 0x1000 : 0x1001);
    REFUSED(m, "segment 0 ends past the address space");
    MADE_PHDR(m, 0, p_memsz, UINT64_MAX);
    REFUSED(m, "segment 0 ends past the address space");
    MADE_PHDR(m, 0, p_memsz, 0x1001);
    MADE_PHDR(m, 0, p_filesz, 0);
    REFUSED(m, "segment 0 ends past the address space");

    name_case(wide, "segments may touch and share a page, and not a byte");
    made_sample(m, wide, ET_DYN, 0);
    MADE_PHDR(m, MADE_SPARE, p_type, PT_LOAD);
    MADE_PHDR(m, MADE_SPARE, p_memsz, 0x10);
    MADE_PHDR(m, MADE_SPARE, p_vaddr, made_data_vaddr(0, m->data_off) - 0x10);
    ACCEPTED(m, NULL);
    MADE_PHDR(m, MADE_SPARE, p_memsz, 0x11);
    REFUSED(m, "segments overlap");
    data_len = m->relocs_off + MADE_RELOCS * made_reloc_len(m) - m->data_off + MADE_BSS_LEN;
    MADE_PHDR(m, MADE_SPARE, p_vaddr, made_data_vaddr(0, m->data_off) + data_len);
    ACCEPTED(m, NULL);
    MADE_PHDR(m, MADE_SPARE, p_vaddr, made_data_vaddr(0, m->data_off) + data_len - 1);
    REFUSED(m, "segments overlap");
    MADE_PHDR(m, MADE_SPARE, p_vaddr, made_data_vaddr(0, m->data_off));
    snprintf(text, sizeof(text),
             "segments overlap (0x%" PRIx64 " bytes at 0x%" PRIx64 ", 0x11 bytes at 0x%" PRIx64 ")", data_len,
             made_data_vaddr(0, m->data_off), made_data_vaddr(0, m->data_off));
    REFUSED(m, text);

    name_case(wide, "segments may come in any order and are handed out ascending");
    made_start(m, wide, ET_DYN, 4);
    made_phdr(m, 0, PT_LOAD, 0, 0x5800, 0, 0x10, 0);
    made_phdr(m, 1, PT_LOAD, 0, 0x2234, 4, 0x20, 0);
    made_phdr(m, 2, PT_LOAD, 0, 0x9000, 0, 0, 0);
    made_phdr(m, 3, PT_LOAD, 1, 0x3000, 4, 0x30, 0);
    MADE_EHDR(m, e_entry, 0x5800);
    if (ACCEPTED(m, &elf)) {
        CHECK_EQ(elf.segments_n, 3);
        CHECK_EQ(elf.segments[0].vaddr, 0x2234);
        CHECK_EQ(elf.segments[1].vaddr, 0x3000);
        CHECK_EQ(elf.segments[1].file_off, 1);
        CHECK_EQ(elf.segments[1].file_len, 4);
        CHECK_EQ(elf.segments[1].mem_len, 0x30);
        CHECK_EQ(elf.segments[2].vaddr, 0x5800);
        CHECK_EQ(elf.vaddr_base, 0x2000);
        CHECK_EQ(elf.span_len, 0x3810);
        CHECK(elf.paddr_is_vaddr);
    }
    MADE_PHDR(m, 3, p_paddr, 0x4000);
    if (ACCEPTED(m, &elf))
        CHECK(!elf.paddr_is_vaddr);

    name_case(wide, "64 segments are accepted and 65 refused");
    made_start(m, wide, ET_DYN, 67);
    for (i = 0; i < 65; i++)
        made_phdr(m, i, PT_LOAD, 0, 0x1000 * (65 - i), 1, 1, 0);
    MADE_PHDR(m, 17, p_memsz, 0);
    MADE_PHDR(m, 17, p_filesz, 0);
    MADE_EHDR(m, e_entry, 0x1000);
    if (ACCEPTED(m, &elf)) {
        CHECK_EQ(elf.segments_n, 64);
        image = load(m, &elf, 0x1000, &e);
        CHECK(image != NULL && image[0] == 0x7f && image[0x40000] == 0x7f);
        free(image);
    }
    MADE_EHDR(m, e_entry, 0x1001);
    REFUSED(m, "entry point is in no segment");
    MADE_EHDR(m, e_entry, 0x1000);
    made_phdr(m, 66, PT_DYNAMIC, 0, 0x1000, 16, 16, 0);
    REFUSED(m, "dynamic section is not in the file's part");
    made_phdr(m, 65, PT_LOAD, 0, 0x100000, 1, 1, 0);
    REFUSED(m, "too many segments (limit 64)");

    name_case(wide, "there is a segment, and the entry point is in one");
    made_start(m, wide, ET_DYN, 1);
    REFUSED(m, "no loadable segment");
    made_phdr(m, 0, PT_LOAD, 0, 0, 0, 0, 0);
    REFUSED(m, "no loadable segment");
    made_phdr(m, 0, PT_LOAD, 0, 0x2010, 8, 8, 0);
    MADE_EHDR(m, e_entry, 0x2010);
    ACCEPTED(m, NULL);
    MADE_EHDR(m, e_entry, 0x2017);
    ACCEPTED(m, NULL);
    MADE_EHDR(m, e_entry, 0x200f);
    REFUSED(m, "entry point is in no segment (0x200f)");
    MADE_EHDR(m, e_entry, 0x2018);
    REFUSED(m, "entry point is in no segment (0x2018)");

    name_case(wide, "fixed addresses start at 0x1000 or above");
    made_sample(m, wide, ET_EXEC, 0x1000);
    if (ACCEPTED(m, &elf)) {
        CHECK(!elf.pie);
        CHECK_EQ(elf.vaddr_base, 0x1000);
        CHECK_EQ(elf.relocs.len, 0);
    }
    made_start(m, wide, ET_EXEC, 1);
    made_phdr(m, 0, PT_LOAD, 0, 0xfff, 8, 8, 0);
    MADE_EHDR(m, e_entry, 0x1000);
    REFUSED(m, "page 0, which is the guest's null guard (0xfff, lowest 0x1000)");
    MADE_EHDR(m, e_type, ET_DYN);
    ACCEPTED(m, NULL);

    name_case(wide, "an interpreter, thread-local storage and a second dynamic section are refused");
    EDIT_REFUSED("PT_INTERP", MADE_PHDR(m, MADE_SPARE, p_type, PT_INTERP));
    EDIT_REFUSED("PT_TLS, 1 bytes", MADE_PHDR(m, MADE_TLS, p_memsz, 1));
    EDIT_REFUSED("two dynamic sections", MADE_PHDR(m, MADE_SPARE, p_type, PT_DYNAMIC));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_SPARE, p_type, PT_GNU_RELRO));
}

static void test_span(void)
{
    struct made *m = &made;
    struct elf_image elf;

    tap_case("segments may span 16 GiB and not a byte more");
    made_start(m, true, ET_DYN, 2);
    made_phdr(m, 0, PT_LOAD, 0, 0x1800, 8, 8, 0);
    made_phdr(m, 1, PT_LOAD, 0, 0x1000 + ((uint64_t)16 << 30) - 8, 0, 8, 0);
    MADE_EHDR(m, e_entry, 0x1800);
    if (ACCEPTED(m, &elf))
        CHECK_EQ(elf.span_len, (uint64_t)16 << 30);
    MADE_PHDR(m, 1, p_memsz, 9);
    REFUSED(m, "span too much memory (0x400000001 bytes, limit 0x400000000)");
}

static void test_dynamic(bool wide)
{
    struct made *m = &made;
    struct elf_image elf;
    uint64_t rel = wide ? DT_RELA : DT_REL, relsz = wide ? DT_RELASZ : DT_RELSZ;
    uint64_t relent = wide ? DT_RELAENT : DT_RELENT;
    uint64_t entry_len = wide ? 24 : 8, w = wide ? 8 : 4;
    uint64_t file_end;

    name_case(wide, "the relocation table is found");
    made_sample(m, wide, ET_DYN, 0);
    if (ACCEPTED(m, &elf)) {
        CHECK_EQ(elf.machine, wide ? ELF_X86_64 : ELF_I386);
        CHECK(elf.pie);
        CHECK_EQ(elf.entry, m->text_off);
        CHECK_EQ(elf.relocs.file_off, m->relocs_off);
        CHECK_EQ(elf.relocs.vaddr, made_data_vaddr(0, m->relocs_off));
        CHECK_EQ(elf.relocs.len, 3 * entry_len);
        CHECK_EQ(elf.relocs.entry_len, entry_len);
        CHECK_EQ(elf.relocs.has_addend, wide);
    }
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_DYNAMIC, p_type, PT_NULL));

    name_case(wide, "the dynamic section lies in the file's part of a segment and has an end");
    made_sample(m, wide, ET_DYN, 0);
    file_end = m->relocs_off + 3 * entry_len;
    EDIT_REFUSED("dynamic section is not in the file's part", MADE_PHDR(m, MADE_DYNAMIC, p_vaddr, 0x100000));
    EDIT_REFUSED("dynamic section is not in the file's part",
                 MADE_PHDR(m, MADE_DYNAMIC, p_vaddr, UINT64_MAX));
    EDIT_REFUSED("dynamic section is not in the file's part",
                 MADE_PHDR(m, MADE_DYNAMIC, p_filesz, UINT64_MAX));
    EDIT_REFUSED("dynamic section is not in the file's part",
                 MADE_PHDR(m, MADE_DYNAMIC, p_filesz, file_end - m->dynamic_off + 1));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_DYNAMIC, p_filesz, file_end - m->dynamic_off));
    EDIT_REFUSED("no end (DT_NULL)", MADE_PHDR(m, MADE_DYNAMIC, p_filesz, MADE_DYNS * 2 * w - 1));
    EDIT_REFUSED("no end (DT_NULL)", MADE_PHDR(m, MADE_DYNAMIC, p_filesz, 0));
    EDIT_REFUSED("no end (DT_NULL)", MADE_DYN(m, MADE_NULL, DT_DEBUG, 0));

    name_case(wide, "what only a dynamic linker could do is refused by name");
    EDIT_REFUSED("DT_NEEDED", MADE_DYN(m, MADE_OTHER, DT_NEEDED, 1));
    EDIT_REFUSED("DT_JMPREL 0x10", MADE_DYN(m, MADE_JMPREL, DT_JMPREL, 0x10));
    EDIT_REFUSED("DT_PLTRELSZ 0x18", MADE_DYN(m, MADE_PLTRELSZ, DT_PLTRELSZ, 0x18));
    EDIT_REFUSED("DT_RELR, tag 35", MADE_DYN(m, MADE_OTHER, 35, 0));
    EDIT_REFUSED("DT_RELR, tag 36", MADE_DYN(m, MADE_OTHER, 36, 0));
    EDIT_REFUSED("DT_RELR, tag 37", MADE_DYN(m, MADE_OTHER, 37, 0));
    EDIT_ACCEPTED(MADE_DYN(m, MADE_OTHER, DT_SYMTAB, 0x12345));
    EDIT_ACCEPTED(MADE_DYN(m, MADE_NULL, 38, 0); MADE_DYN(m, MADE_OTHER, DT_NULL, 0));

    name_case(wide, "the other class's kind of relocations is refused unless empty");
    EDIT_REFUSED("the other machine's kind", MADE_DYN(m, MADE_OTHER, wide ? DT_RELSZ : DT_RELASZ, entry_len));
    EDIT_ACCEPTED(MADE_DYN(m, MADE_OTHER, wide ? DT_RELSZ : DT_RELASZ, 0));
    EDIT_ACCEPTED(MADE_DYN(m, MADE_OTHER, wide ? DT_REL : DT_RELA, 0x1000));

    name_case(wide, "the entries of the relocation table come once, together, and with the right lengths");
    EDIT_REFUSED(wide ? "DT_RELA twice" : "DT_REL twice", MADE_DYN(m, MADE_OTHER, rel, 0));
    EDIT_REFUSED(wide ? "DT_RELASZ twice" : "DT_RELSZ twice", MADE_DYN(m, MADE_OTHER, relsz, 0));
    EDIT_REFUSED(wide ? "DT_RELAENT twice" : "DT_RELENT twice", MADE_DYN(m, MADE_OTHER, relent, 0));
    EDIT_REFUSED("only half of", MADE_DYN(m, MADE_REL, DT_DEBUG, 0));
    EDIT_REFUSED("only half of", MADE_DYN(m, MADE_RELSZ, DT_DEBUG, 0));
    EDIT_REFUSED("wrong relocation length", MADE_DYN(m, MADE_RELENT, DT_DEBUG, 0));
    EDIT_REFUSED("wrong relocation length", MADE_DYN(m, MADE_RELENT, relent, entry_len - 1));
    EDIT_REFUSED("wrong relocation length", MADE_DYN(m, MADE_RELENT, relent, entry_len + 1));
    EDIT_REFUSED("no multiple of its entries", MADE_DYN(m, MADE_RELSZ, relsz, entry_len + 1));
    EDIT_REFUSED("no multiple of its entries", MADE_DYN(m, MADE_RELSZ, relsz, entry_len - 1));
    EDIT_ACCEPTED(MADE_DYN(m, MADE_RELSZ, relsz, 0); MADE_DYN(m, MADE_REL, rel, 0x999999));
    EDIT_ACCEPTED(MADE_DYN(m, MADE_RELSZ, relsz, entry_len));

    name_case(wide, "the relocation table lies in the file's part of one segment");
    EDIT_REFUSED("relocation table is not in the file's part", MADE_DYN(m, MADE_RELSZ, relsz, 4 * entry_len));
    EDIT_REFUSED("relocation table is not in the file's part",
                 MADE_DYN(m, MADE_REL, rel, made_data_vaddr(0, file_end) - 3 * entry_len + 1));
    EDIT_REFUSED("relocation table is not in the file's part", MADE_DYN(m, MADE_REL, rel, UINT64_MAX - 7));
    EDIT_REFUSED("relocation table is not in the file's part",
                 MADE_DYN(m, MADE_RELSZ, relsz, (wide ? UINT64_MAX : UINT32_MAX) / entry_len * entry_len));
}

/* Where relocation 0 of the sample writes, and what it is. */
static void relocation(struct made *m, uint64_t where, uint32_t type, uint32_t symbol)
{
    made_reloc(m, m->relocs_off, where, type, symbol, 0);
}

static void test_relocs(bool wide)
{
    struct made *m = &made;
    uint64_t w = wide ? 8 : 4, data, end;

    made_sample(m, wide, ET_DYN, 0);
    data = made_data_vaddr(0, m->data_off);
    end = made_data_vaddr(0, m->relocs_off) + MADE_RELOCS * made_reloc_len(m) + MADE_BSS_LEN;

    name_case(wide, "only relocations that add the bias are done");
    EDIT_REFUSED("relocation 0 is of an unknown type (1, wanted 8)", relocation(m, data, 1, 0));
    EDIT_REFUSED("relocation 0 is of an unknown type (7, wanted 8)", relocation(m, data, 7, 0));
    EDIT_REFUSED("relocation 0 is of an unknown type (42, wanted 8)", relocation(m, data, 42, 0));
    EDIT_REFUSED("relocation 0 is relative and has a symbol (1)", relocation(m, data, 8, 1));
    EDIT_ACCEPTED(relocation(m, UINT64_MAX, 0, 5));

    name_case(wide, "a relocation changes a whole word inside one segment's memory");
    EDIT_ACCEPTED(relocation(m, data, 8, 0));
    EDIT_ACCEPTED(relocation(m, data + 1, 8, 0));
    EDIT_ACCEPTED(relocation(m, 0, 8, 0));
    EDIT_ACCEPTED(relocation(m, end - w, 8, 0));
    EDIT_REFUSED("relocation 0 changes bytes outside every segment", relocation(m, data - 1, 8, 0));
    EDIT_REFUSED("relocation 0 changes bytes outside every segment", relocation(m, end - w + 1, 8, 0));
    EDIT_REFUSED("relocation 0 changes bytes outside every segment", relocation(m, end, 8, 0));
    EDIT_REFUSED("relocation 0 changes bytes outside every segment", relocation(m, UINT64_MAX, 8, 0));
    EDIT_REFUSED("relocation 0 changes bytes outside every segment", relocation(m, 0 - w, 8, 0));
    EDIT_REFUSED("relocation 0 changes bytes outside every segment",
                 MADE_PHDR(m, MADE_SPARE, p_type, PT_LOAD);
                 MADE_PHDR(m, MADE_SPARE, p_memsz, 0x100); MADE_PHDR(m, MADE_SPARE, p_vaddr, end);
                 relocation(m, end - 1, 8, 0));
    EDIT_REFUSED("relocation 2 changes bytes outside every segment",
                 made_reloc(m, m->relocs_off + 2 * made_reloc_len(m), end, 8, 0, 0));

    name_case(wide, "an image with fixed addresses has no relocations that do something");
    EDIT_REFUSED("relocation 0 in an image with fixed addresses (type 8)", MADE_EHDR(m, e_type, ET_EXEC);
                 MADE_PHDR(m, MADE_TEXT, p_vaddr, 0x1000); MADE_EHDR(m, e_entry, 0x1000);
                 MADE_PHDR(m, MADE_TEXT, p_filesz, 16); MADE_PHDR(m, MADE_TEXT, p_memsz, 16));
    EDIT_ACCEPTED(MADE_EHDR(m, e_type, ET_EXEC); MADE_PHDR(m, MADE_TEXT, p_vaddr, 0x1000);
                  MADE_EHDR(m, e_entry, 0x1000); MADE_PHDR(m, MADE_TEXT, p_filesz, 16);
                  MADE_PHDR(m, MADE_TEXT, p_memsz, 16); relocation(m, data, 0, 0);
                  made_reloc(m, m->relocs_off + 2 * made_reloc_len(m), 0, 0, 0, 0));
}

static void test_notes(bool wide)
{
    static const char longest[] = "0123456789012345678901234567890";   /* 31 characters */
    static const char too_long[] = "01234567890123456789012345678901"; /* 32 */
    struct made *m = &made;
    struct elf_image elf;
    uint32_t flags = 1;

    name_case(wide, "our note chooses the identity kind, for i386 only");
    made_sample(m, wide, ET_DYN, 0);
    if (ACCEPTED(m, &elf)) {
        CHECK(!elf.identity);
        CHECK_STR(elf.abi_version, "0.15.0");
    }
    made_put(m, m->note_off + 16, 4, 1);
    if (wide)
        REFUSED(m, "wants paging off");
    else if (ACCEPTED(m, &elf))
        CHECK(elf.identity);

    name_case(wide, "our note says what the guest promises");
    for (flags = 0; flags < 8; flags += 2) {
        made_put(m, m->note_off + 16, 4, flags);
        if (ACCEPTED(m, &elf))
            CHECK(!elf.identity && elf.promises == flags / 2);
        made_put(m, m->note_off + 16, 4, flags | 1);
        if (wide)
            REFUSED(m, "wants paging off");
        else if (ACCEPTED(m, &elf))
            CHECK(elf.identity && elf.promises == flags / 2);
    }
    flags = 1;

    name_case(wide, "our note must be of the type, length and flags that are known, and single");
    EDIT_REFUSED("unknown VMM note (type 2", made_put(m, m->note_off + 8, 4, 2));
    EDIT_REFUSED("unknown flags (0x8, known 0x7)", made_put(m, m->note_off + 16, 4, 8));
    EDIT_REFUSED("unknown flags (0x80000000,", made_put(m, m->note_off + 16, 4, 0x80000000));
    EDIT_REFUSED("VMM note has the wrong length (3,", made_put(m, m->note_off + 4, 4, 3));
    EDIT_REFUSED("VMM note has the wrong length (0,", made_put(m, m->note_off + 4, 4, 0));
    EDIT_REFUSED("two VMM notes", MADE_PHDR(m, MADE_SPARE, p_type, PT_NOTE);
                 MADE_PHDR(m, MADE_SPARE, p_offset, m->note_off); MADE_PHDR(m, MADE_SPARE, p_filesz, 20));
    EDIT_ACCEPTED(made_put(m, m->note_off + 12, 1, 'X'); made_put(m, m->note_off + 16, 4, 7));

    name_case(wide, "the Hyperlight version is a printable string of 1 to 31 characters");
    EDIT_REFUSED("unprintable character (0x1f)", made_put(m, m->version_off + 24, 1, 0x1f));
    EDIT_REFUSED("unprintable character (0x7f)", made_put(m, m->version_off + 25, 1, 0x7f));
    EDIT_REFUSED("unprintable character (0x80)", made_put(m, m->version_off + 29, 1, 0x80));
    EDIT_REFUSED("unprintable character (0x00)", made_put(m, m->version_off + 26, 1, 0));
    EDIT_REFUSED("version note is not a string", made_put(m, m->version_off + 30, 1, 'x'));
    EDIT_REFUSED("version note is not a string", made_put(m, m->version_off + 4, 4, 0));
    EDIT_REFUSED("version note is not a string", made_put(m, m->version_off + 4, 4, 1);
                 made_put(m, m->version_off + 24, 1, 0));
    EDIT_REFUSED("two Hyperlight version notes", MADE_PHDR(m, MADE_NOTE, p_offset, m->version_off);
                 MADE_PHDR(m, MADE_NOTE, p_filesz, 32));
    EDIT_REFUSED("two Hyperlight version notes", MADE_PHDR(m, MADE_NOTE, p_offset, m->version_off);
                 MADE_PHDR(m, MADE_NOTE, p_filesz, 32); made_put(m, m->version_off + 4, 4, 2);
                 made_put(m, m->version_off + 24, 8, '1'));
    made_sample(m, wide, ET_DYN, 0);
    made_put(m, m->version_off + 8, 4, 2);
    if (ACCEPTED(m, &elf))
        CHECK_STR(elf.abi_version, "");
    EDIT_ACCEPTED(made_put(m, m->version_off + 4, 4, 2); made_put(m, m->version_off + 24, 2, '1'));
    EDIT_ACCEPTED(made_put(m, m->version_off + 24, 1, ' '); made_put(m, m->version_off + 25, 1, '~'));
    made_sample(m, wide, ET_DYN, 0);
    MADE_PHDR(m, MADE_VERSION, p_offset, m->len);
    made_note(m, "Hyperlight", 1, longest, sizeof(longest), 8);
    MADE_PHDR(m, MADE_VERSION, p_filesz, 56);
    if (ACCEPTED(m, &elf))
        CHECK_STR(elf.abi_version, longest);
    made_sample(m, wide, ET_DYN, 0);
    MADE_PHDR(m, MADE_VERSION, p_offset, m->len);
    made_note(m, "Hyperlight", 1, too_long, sizeof(too_long), 8);
    MADE_PHDR(m, MADE_VERSION, p_filesz, 64);
    REFUSED(m, "version note is not a string (33 bytes, limit 32)");

    name_case(wide, "notes stay inside their segment and the file");
    EDIT_REFUSED("notes are outside the file", MADE_PHDR(m, MADE_NOTE, p_offset, m->len));
    EDIT_REFUSED("notes are outside the file", MADE_PHDR(m, MADE_NOTE, p_filesz, UINT64_MAX));
    EDIT_REFUSED("note ends outside its segment", MADE_PHDR(m, MADE_NOTE, p_filesz, 19));
    EDIT_REFUSED("note ends outside its segment", MADE_PHDR(m, MADE_NOTE, p_filesz, 12));
    EDIT_REFUSED("note ends outside its segment", made_put(m, m->note_off, 4, UINT32_MAX));
    EDIT_REFUSED("note ends outside its segment", made_put(m, m->note_off + 4, 4, UINT32_MAX));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_NOTE, p_filesz, 11));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_NOTE, p_filesz, 20 + 11));
    EDIT_REFUSED("note ends outside its segment", MADE_PHDR(m, MADE_NOTE, p_filesz, 20 + 12));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_NOTE, p_filesz, 0));
    EDIT_ACCEPTED(MADE_PHDR(m, MADE_VERSION, p_filesz, 31));

    name_case(wide, "notes behind others are found at both alignments");
    made_sample(m, false, ET_DYN, 0);
    MADE_PHDR(m, MADE_NOTE, p_offset, m->len);
    made_note(m, "GNU", 3, "abcde", 5, 4);
    made_note(m, "VMMX", 1, "abc", 3, 4);
    made_note(m, "VMM", 1, &flags, 4, 4);
    MADE_PHDR(m, MADE_NOTE, p_filesz, 24 + 24 + 20);
    if (ACCEPTED(m, &elf))
        CHECK(elf.identity);
    made_sample(m, false, ET_DYN, 0);
    made_align(m, 8);
    MADE_PHDR(m, MADE_NOTE, p_align, 8);
    MADE_PHDR(m, MADE_NOTE, p_offset, m->len);
    made_note(m, "Xen", 3, "abcde", 5, 8);
    made_note(m, "VMMXX", 1, "a", 1, 8);
    made_note(m, "VMM", 1, &flags, 4, 8);
    MADE_PHDR(m, MADE_NOTE, p_filesz, 24 + 32 + 24);
    if (ACCEPTED(m, &elf))
        CHECK(elf.identity);
}

static uint64_t word_at(const uint8_t *p, bool wide)
{
    uint64_t v = 0;

    memcpy(&v, p, wide ? 8 : 4);
    return v;
}

static void test_load(bool wide)
{
    struct made *m = &made;
    uint64_t w = wide ? 8 : 4, end = wide ? UINT64_MAX - 0xfff : (uint64_t)1 << 32, data, span_pages;
    struct elf_image elf;
    struct err e = {.text = ""};
    uint8_t *image;

    name_case(wide, "a position independent image is copied and relocated");
    made_sample(m, wide, ET_DYN, 0x3000);
    data = made_data_vaddr(0, m->data_off);
    if (!ACCEPTED(m, &elf))
        return;
    CHECK_EQ(elf.vaddr_base, 0x3000);
    image = load(m, &elf, 0x8000, &e);
    if (CHECK(image != NULL)) {
        CHECK(memcmp(image, m->bytes, m->text_off + 24) == 0);
        CHECK_EQ(word_at(image + data, wide), wide ? 0x40 + 0x5000 : 0x1234 + 0x5000);
        CHECK_EQ(word_at(image + data + w, wide), 0x1235);
        CHECK_EQ(word_at(image + elf.span_len - w, wide), wide ? 0x1000 + 0x5000 : 0x5000);
        CHECK_EQ(word_at(image + elf.span_len - 2 * w, wide), 0);
        CHECK_EQ(word_at(image + m->text_off + 24 + 0x800, wide), 0);
    }
    free(image);

    name_case(wide, "the bias wraps when an image goes below its own addresses");
    image = load(m, &elf, 0x1000, &e);
    if (CHECK(image != NULL)) {
        CHECK_EQ(word_at(image + data, wide), wide ? (uint64_t)0x40 - 0x2000 : (uint32_t)(0x1234 - 0x2000));
        CHECK_EQ(word_at(image + elf.span_len - w, wide),
                 wide ? (uint64_t)0x1000 - 0x2000 : (uint32_t)-0x2000);
    }
    free(image);

    name_case(wide, "an image may end where the address space does, and not later");
    span_pages = (elf.span_len + 0xfff) & ~(uint64_t)0xfff;
    image = load(m, &elf, end - span_pages, &e);
    CHECK(image != NULL);
    free(image);
    CHECK_STR(e.text, "");
    image = load(m, &elf, end - span_pages + 0x1000, &e);
    CHECK_EQ(image != NULL, wide); /* ends inside the last page there is */
    free(image);
    image = load(m, &elf, UINT64_MAX - 0xfff, &e);
    CHECK(image == NULL);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_HAS(e.text, "t.elf: does not fit in the address space");

    name_case(wide, "a page multiple ending exactly at the end of addresses is judged by its last byte");
    made_start(m, wide, ET_DYN, 1);
    made_phdr(m, 0, PT_LOAD, 0, 0, 16, 0x2000, 0);
    if (ACCEPTED(m, &elf)) {
        image = load(m, &elf, (wide ? 0 : (uint64_t)1 << 32) - 0x2000, &e);
        CHECK_EQ(image != NULL, !wide); /* 2^64 is not a number we can hold */
        free(image);
    }

    name_case(wide, "an image with fixed addresses is copied as it is");
    made_sample(m, wide, ET_EXEC, 0x100000);
    if (ACCEPTED(m, &elf)) {
        image = load(m, &elf, 0x100000, &e);
        if (CHECK(image != NULL)) {
            CHECK(memcmp(image, m->bytes, m->text_off + 24) == 0);
            CHECK(memcmp(image + made_data_vaddr(0, m->data_off), m->bytes + m->data_off,
                         m->relocs_off - m->data_off) == 0);
        }
        free(image);
    }
}

int main(int argc, char **argv)
{
    int wide;

    if (argc == 3 && strcmp(argv[1], "--corpus") == 0)
        corpus_dir = argv[2];
    for (wide = 0; wide < 2; wide++) {
        test_header(wide);
        test_segments(wide);
        test_dynamic(wide);
        test_relocs(wide);
        test_notes(wide);
        if (wide)
            test_span();
        test_load(wide);
    }
    return tap_done();
}
