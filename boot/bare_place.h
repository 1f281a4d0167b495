/*
 * What the loaders of bare kernels share: RAM with a note of what is where, the
 * ELF files that go into it, and the headers by which images are told apart.
 * For boot/bare*.c and the loaders only; others include boot/bare.h.
 */
#ifndef BOOT_BARE_PLACE_H
#define BOOT_BARE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/bare.h"
#include "boot/elf_file.h"
#include "mem/error.h"

#define BARE_LOW       0x00000500u /* below: interrupt vectors and the BIOS's data */
#define BARE_LOW_END   0x0009fc00u /* the last KiB of low memory is the extended BIOS data area's */
#define BARE_HIGH      0x00100000u
#define BARE_INFO      0x00010000u /* below: where kernels like to put what other processors start with */
#define BARE_TAKEN_MAX 256

/* RAM, and the pieces in it: no byte belongs to two. Pieces of no length take no place. */
struct bare_ram {
    uint8_t *bytes;
    uint64_t len;
    const char *name;    /* the image's, for messages */
    bool anywhere;       /* the kernel may lie in page 0 and in 0xA0000-0xFFFFF */
    uint64_t kernel_end; /* of the highest piece that bare_claim took, not below BARE_HIGH */
    unsigned taken_n;
    struct {
        uint64_t at, end;
    } taken[BARE_TAKEN_MAX];
};

/* What a loader works on. */
struct bare_load {
    const struct bare_file *image;
    const struct bare_options *options;
    struct bare_ram ram;
};

/* err_set of STATUS_IMAGE with the image's name in front; returns -1. */
int bare_refuse(const struct bare_ram *r, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* STATUS_USAGE if the user has modules or an initrd, which this format cannot pass on. */
int bare_no_modules(const struct bare_load *b, enum bare_format f, struct err *e);
int bare_no_initrd(const struct bare_load *b, enum bare_format f, struct err *e);

/* Take [at, at + len), where the image wants its `what`; refused outside RAM and over another piece. */
int bare_claim(struct bare_ram *r, const char *what, uint64_t at, uint64_t len, struct err *e);

/* The lowest place for `len` bytes from `from` on that ends by `end`; `align` is a power of two. Takes nothing. */
bool bare_find(const struct bare_ram *r, uint64_t from, uint64_t end, uint64_t len, uint64_t align,
               uint64_t *at);

/*
 * Take room for `what`: whole pages above the kernel, or above 1 MiB if it is
 * full there; for what the kernel is told, 16-aligned in low memory if it fits.
 */
int bare_place(struct bare_ram *r, const char *what, uint64_t len, uint64_t *at, struct err *e);
int bare_place_info(struct bare_ram *r, const char *what, uint64_t len, uint64_t *at, struct err *e);

/* Place a copy: of a file in whole pages, of a string with its NUL beside the other information. */
int bare_place_file(struct bare_ram *r, const struct bare_file *file, uint64_t *at, struct err *e);
int bare_place_text(struct bare_ram *r, const char *what, const char *text, uint64_t *at, struct err *e);

/*
 * Write the memory map as a BIOS has it (INT 15h, AX=E820h): start and length
 * of 8 bytes, type of 4. The entries are `stride` bytes apart; how many there
 * are, at most E820_MAX.
 */
enum { E820_RAM = 1, E820_RESERVED = 2, E820_MAX = 3 };
unsigned bare_memory_map(uint64_t ram_len, uint8_t *to, size_t stride);

/* 32-bit protected mode without paging or interrupts, flat segments; other registers are 0. */
struct bare_start bare_start_flat(enum bare_format f, uint64_t entry);

/* Place the segments of an executable by their physical addresses. */
int bare_elf_load(struct bare_ram *r, const struct elf_file *f, const struct elf_header *h, struct err *e);

/* The segment whose memory, counted by physical or virtual addresses, holds `at`. */
bool bare_elf_find(const struct elf_file *f, const struct elf_header *h, bool physical, uint64_t at,
                   struct elf_phdr *out);

/* Open the image as an ELF file with fixed addresses, of i386 and, where `wide` allows it, of x86-64. */
int bare_elf_open(const struct bare_load *b, bool wide, struct elf_file *f, struct elf_header *h,
                  struct err *e);

/*
 * The first note of an ELF file with this owner, of this type or of any (0).
 * False too when notes are damaged before it: then whoever loads says so.
 */
bool bare_elf_note(const struct elf_file *f, const struct elf_header *h, const char *owner, uint32_t type,
                   struct elf_note *out);

/* Multiboot 0.6.96, 3.1: the header lies in the first 8192 bytes, 32-bit aligned. */
#define MULTIBOOT_SEARCH_LEN 8192
#define MULTIBOOT_HEADER_LEN 12 /* what every header has: magic, flags, checksum */
#define MULTIBOOT_MAGIC      0x1badb002u

/* The first header whose checksum is right, or with `damaged` the first that has the magic number. */
bool multiboot_find(const uint8_t *file, uint64_t len, bool damaged, uint64_t *off);

/* The note that a kernel for PVH has: where it is entered, in 32-bit protected mode. */
#define PVH_NOTE_OWNER "Xen"
#define PVH_NOTE_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

/* Linux/x86 boot protocol, "The Real-Mode Kernel Header". */
#define LINUX_BOOT_FLAG_OFF 0x1fe
#define LINUX_MAGIC_OFF     0x202
#define LINUX_MAGIC         "HdrS"

int multiboot_load(struct bare_load *b, struct bare_start *out, struct err *e);
int microvm_load(struct bare_load *b, struct bare_start *out, struct err *e);
int pvh_load(struct bare_load *b, struct bare_start *out, struct err *e);
int linux_load(struct bare_load *b, struct bare_start *out, struct err *e);

#endif
