/*
 * ELF files: what may be loaded, where its bytes go, and what is refused.
 * ELF32 and ELF64 are decoded into one plain struct; afterwards nobody asks
 * which it was. Only program headers count (segments, notes, the dynamic
 * section); sections and symbols are not looked at.
 *
 *     guest:  vaddr_base + bias                            + span_len
 *               |   [ segment 0 )      [ segment 1: file bytes | zeros )
 *     image:    0 ...................................... span_len
 *
 * bias is 0 for an image with fixed addresses (ET_EXEC); a position independent
 * one (ET_DYN without an interpreter) goes to any page, which is all that is
 * promised: a p_align above a page is checked but not honoured.
 */
#ifndef BOOT_ELF_H
#define BOOT_ELF_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"
#include "mem/guest_abi.h"

/* EM_386 is always ELFCLASS32 and EM_X86_64 always ELFCLASS64. */
enum elf_machine {
    ELF_I386,
    ELF_X86_64,
};

#define ELF_SEGMENTS_MAX    64
#define ELF_HEADERS_MAX     256                 /* program headers of all types */
#define ELF_SPAN_MAX        ((uint64_t)1 << 34) /* 16 GiB, the most a guest's region can be */
#define ELF_ABI_VERSION_LEN 32

/* A PT_LOAD with mem_len != 0. file_len <= mem_len; the rest is zero. */
struct elf_segment {
    uint64_t vaddr, mem_len;
    uint64_t file_off, file_len;
};

struct elf_image {
    enum elf_machine machine;
    bool pie;            /* may be placed at any page; otherwise at vaddr_base only, which is not page 0 */
    uint64_t vaddr_base; /* lowest vaddr rounded down to a page */
    uint64_t span_len;   /* from vaddr_base to the end of the highest segment; not rounded, never 0 */
    uint64_t entry;      /* before any bias; inside a segment */
    unsigned segments_n; /* never 0 */
    struct elf_segment segments[ELF_SEGMENTS_MAX]; /* ascending, no byte in two of them */
    bool paddr_is_vaddr; /* every segment asks for its vaddr as physical address too */
    struct {
        uint64_t file_off, vaddr, len; /* len 0 = none; otherwise a multiple of entry_len */
        unsigned entry_len;
        bool has_addend; /* true: Elf64_Rela; false: Elf32_Rel, the addend is the word in the image */
    } relocs;
    bool identity;                         /* our own note says: runs with paging off (i386 only) */
    unsigned promises;                     /* of our own note: some of PROMISES_ALL */
    char abi_version[ELF_ABI_VERSION_LEN]; /* of Hyperlight's version note, "" without one; printable ASCII */
};

/*
 * Our own note: name "VMM" with its NUL, type 1, four bytes of flags.
 * Hyperlight's: name "Hyperlight" with its NUL, type 1, the version as a string.
 */
#define ELF_NOTE_VMM_NAME        "VMM"
#define ELF_NOTE_HYPERLIGHT_NAME "Hyperlight"
#define ELF_NOTE_TYPE            1
#define ELF_NOTE_FLAGS           (NOTE_FLAG_IDENTITY | NOTE_FLAG_OUT | NOTE_FLAG_CPU)

/* What a guest promises, in the order of the note's flags. Nothing is done about one that breaks its word. */
#define PROMISE_OUT \
    1u /* init and calls end by OUT 108, never by HLT; no MSR is used that boot/msrs.c does not list */
#define PROMISE_CPU  2u /* CPUID is asked for nothing that a CPU for amd64 may lack */
#define PROMISES_ALL 3u

/*
 * Decode and check all of an ELF file: headers, segments, notes, and each
 * relocation. `file` may be at any alignment; `name` is for messages.
 *
 * Everything that is not understood or does not fit is refused (STATUS_IMAGE)
 * with the numbers in question. A section header table counts only as proof
 * that the file was not cut short. On success *out holds nothing that could
 * still be wrong about this file.
 */
int elf_parse(const uint8_t *file, uint64_t file_len, const char *name, struct elf_image *out, struct err *e);

/*
 * Fill `image`, span_len zero bytes, with the segments and relocate them as
 * loaded with vaddr_base at guest address `base`: a page, and vaddr_base
 * itself unless elf->pie. `elf` must come from elf_parse of these very bytes.
 *
 * -1 (STATUS_IMAGE), with `image` untouched, when the guest's address space
 * ends before the image would: 2^32 for i386 (an end of exactly 2^32 fits),
 * 2^64 - 1 for x86-64.
 */
int elf_load(const struct elf_image *elf, const uint8_t *file, uint64_t file_len, uint64_t base,
             const char *name, uint8_t *image, struct err *e);

#endif
