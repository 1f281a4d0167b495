/* Multiboot kernels for the tests of boot/multiboot: one by the addresses in its header, one by segments. */
#ifndef TESTS_UNIT_MULTIBOOT_IMAGES_H
#define TESTS_UNIT_MULTIBOOT_IMAGES_H

#include "tests/unit/bare_check.h"

#define MAGIC     0x1badb002u
#define ADDRESSES 0x00010000u
#define VIDEO     0x00000004u

static struct made made; /* too large for a stack */

/* A header at `off`: its first three words. */
static inline void put_header(uint8_t *bytes, size_t off, uint32_t flags)
{
    put32(bytes + off, MAGIC);
    put32(bytes + off + 4, flags);
    put32(bytes + off + 8, 0u - MAGIC - flags);
}

/* A file of `len` bytes with a kludge header at `off`, into the words of which goes what follows. */
static struct {
    uint8_t bytes[0x6000];
    size_t len, off;
} raw;

static inline void make_raw(size_t len, size_t off, uint32_t header_addr, uint32_t load, uint32_t load_end,
                            uint32_t bss_end, uint32_t entry)
{
    uint8_t *h = raw.bytes + off;

    fill_pattern(raw.bytes, sizeof(raw.bytes), 9);
    raw.len = len;
    raw.off = off;
    put_header(raw.bytes, off, ADDRESSES);
    put32(h + 12, header_addr);
    put32(h + 16, load);
    put32(h + 20, load_end);
    put32(h + 24, bss_end);
    put32(h + 28, entry);
}

/* The file that all is well with: all of it at 1 MiB. */
static inline void make_plain_raw(void)
{
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0, 0, 0x100100);
}

#define ACCEPT_RAW()     ACCEPT(BARE_MULTIBOOT, raw.bytes, raw.len)
#define REFUSE_RAW(text) REFUSE(BARE_MULTIBOOT, raw.bytes, raw.len, STATUS_IMAGE, text)
#define ACCEPT_ELF()     ACCEPT(BARE_MULTIBOOT, made.bytes, made.len)
#define REFUSE_ELF(text) REFUSE(BARE_MULTIBOOT, made.bytes, made.len, STATUS_IMAGE, text)

#define TEXT_OFF         0x1000
#define TEXT_LEN         0x180
#define DATA_LEN         0x120
#define DATA_MEM         0x900
#define TEXT_VA          0xc0100000u
#define DATA_VA          0xc0102000u

/* A kernel for the upper half, loaded at 1 MiB, with its header at `header_off`. */
static inline void make_elf(size_t header_off, uint32_t flags)
{
    made_start(&made, false, ET_EXEC, 4);
    made_align(&made, TEXT_OFF);
    made_grow(&made, TEXT_LEN + DATA_LEN);
    if (made.len < header_off + 48)
        made_grow(&made, header_off + 48 - made.len);
    fill_pattern(made.bytes + TEXT_OFF, made.len - TEXT_OFF, 3);
    put_header(made.bytes, header_off, flags);
    made_segment(&made, 0, TEXT_OFF, TEXT_VA, 0x100000, TEXT_LEN, TEXT_LEN);
    made_segment(&made, 1, TEXT_OFF + TEXT_LEN, DATA_VA, 0x102000, DATA_LEN, DATA_MEM);
    made_phdr(&made, 2, PT_NOTE, 0, 0, 0, 0, 4);
    MADE_EHDR(&made, e_entry, TEXT_VA + 0x20);
}

#endif
