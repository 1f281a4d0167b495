/*
 * What the readers of ELF files share: elf.c and elf_reloc.c for guests of the
 * ABI, the loaders of bare kernels with rules of their own. The file being
 * decoded, its headers and notes, where in it or in the guest an address lies;
 * and what elf_reloc.c does for elf.c. Others include boot/elf.h.
 */
#ifndef BOOT_ELF_FILE_H
#define BOOT_ELF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/elf.h"
#include "mem/error.h"

struct elf_file {
    const uint8_t *bytes;
    uint64_t len;
    const char *name;
    bool wide;       /* ELF64: words of 8 bytes instead of 4 */
    size_t word_len; /* 8 or 4 */
};

/* The file's header, of either class. */
struct elf_header {
    uint64_t entry, phoff, shoff;
    unsigned type, machine, version;
    unsigned ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

/* A program header, of either class. */
struct elf_phdr {
    uint32_t type;
    uint64_t off, vaddr, paddr, file_len, mem_len, align;
};

/* Both name and desc are inside the file. */
struct elf_note {
    uint32_t type, name_len, desc_len;
    const uint8_t *name, *desc;
};

/* err_set of STATUS_IMAGE with the file's name in front; returns -1. */
int elf_refuse(const struct elf_file *f, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Decode and check the header of f->bytes and fill in the rest of *f: an
 * executable for i386 or x86-64 in the class of that machine, whose program
 * headers (at most ELF_HEADERS_MAX) and section headers are inside the file.
 */
int elf_open(struct elf_file *f, struct elf_header *out, struct err *e);

/* The program header at file offset `off`, all of which must be inside the file. Nothing in it is checked. */
struct elf_phdr elf_phdr(const struct elf_file *f, uint64_t off);

/*
 * The note at *off, 0 for the first, of a PT_NOTE, and *off moved behind it.
 * 1; 0 when there is no further one; -1 when it is not inside segment and file.
 */
int elf_note_next(const struct elf_file *f, const struct elf_phdr *p, uint64_t *off, struct elf_note *out,
                  struct err *e);

/* Whether the note's name is `owner` with its NUL. */
bool elf_note_is_from(const struct elf_note *note, const char *owner);

/* The word at file offset `off`, zero-extended. All of it must be inside the file. */
uint64_t elf_word(const struct elf_file *f, uint64_t off);

/* Whether [vaddr, vaddr + len) lies inside the memory of one segment. */
bool elf_in_memory(const struct elf_image *elf, uint64_t vaddr, uint64_t len);

/* The same for the part of a segment that has bytes in the file: where in the file. */
bool elf_in_file(const struct elf_image *elf, uint64_t vaddr, uint64_t len, uint64_t *file_off);

/*
 * Decode the dynamic section, `len` bytes at `vaddr`, into out->relocs, and
 * check each relocation. The segments of *out must be final.
 */
int elf_relocs_parse(const struct elf_file *f, uint64_t vaddr, uint64_t len, struct elf_image *out,
                     struct err *e);

/* Relocate `image`, which holds the segments of `elf`, by `bias` (modulo the length of a word). */
void elf_relocs_apply(const struct elf_image *elf, const struct elf_file *f, uint64_t bias, uint8_t *image);

#endif
