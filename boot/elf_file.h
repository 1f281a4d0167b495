/*
 * What elf.c and elf_reloc.c share: the file being decoded, and where in it or
 * in the guest an address lies; and what elf_reloc.c does for elf.c. For these
 * two only; others include boot/elf.h.
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

/* err_set of STATUS_IMAGE with the file's name in front; returns -1. */
int elf_refuse(const struct elf_file *f, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

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
