/*
 * Multiboot 1 (Multiboot Specification 0.6.96): ELF32 kernels by their program
 * headers, all others by the addresses in the header itself ("a.out kludge").
 * Section numbers below are the specification's.
 */
#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "boot/bare_place.h"
#include "mem/bytes.h"
#include "mem/format.h"
#include "mem/num.h"

/* 3.1.2: the header's flags. The loader must know each of the lower 16 that is set. */
#define HEADER_PAGE_ALIGN 0x00000001u /* modules at page boundaries: they always are */
#define HEADER_MEMORY     0x00000002u /* mem_* and mmap_*: they always are there */
#define HEADER_VIDEO      0x00000004u /* a video mode, which is a wish: the answer is the text screen */
#define HEADER_ADDRESSES  0x00010000u
#define HEADER_KNOWN      (HEADER_PAGE_ALIGN | HEADER_MEMORY | HEADER_VIDEO)
#define HEADER_REQUIRED   0x0000ffffu

/* 3.3: the boot information. boot_device, drives, config_table, APM and VBE are absent. */
#define INFO_LEN              116
#define INFO_FLAGS            0
#define INFO_MEM_LOWER        4
#define INFO_MEM_UPPER        8
#define INFO_CMDLINE          16
#define INFO_MODS_COUNT       20
#define INFO_MODS_ADDR        24
#define INFO_ELF_NUM          28
#define INFO_ELF_SIZE         32
#define INFO_ELF_ADDR         36
#define INFO_ELF_SHNDX        40
#define INFO_MMAP_LENGTH      44
#define INFO_MMAP_ADDR        48
#define INFO_LOADER_NAME      64
#define INFO_FB_ADDR          88
#define INFO_FB_PITCH         96
#define INFO_FB_WIDTH         100
#define INFO_FB_HEIGHT        104
#define INFO_FB_BPP           108
#define INFO_FB_TYPE          109
#define INFO_HAS_MEMORY       0x0001u
#define INFO_HAS_CMDLINE      0x0004u
#define INFO_HAS_MODS         0x0008u
#define INFO_HAS_ELF_SECTIONS 0x0020u
#define INFO_HAS_MMAP         0x0040u
#define INFO_HAS_LOADER_NAME  0x0200u
#define INFO_HAS_FRAMEBUFFER  0x1000u

#define MODULE_LEN            16 /* start, end, string, reserved */
#define MMAP_ENTRY_LEN        24 /* size, which does not count itself, base, length, type */
#define SECTION_ALIGN         16
#define LOADED_EAX            0x2badb002u /* 3.2 */

/* What the kernel's header says. */
struct header {
    uint64_t off; /* in the file */
    uint32_t flags;
    uint32_t addr, load, load_end, bss_end, entry; /* with HEADER_ADDRESSES */
};

static int header_read(const struct bare_load *b, struct header *out, struct err *e)
{
    const uint8_t *file = b->image->bytes;
    struct header h = {0};
    uint64_t len = MULTIBOOT_HEADER_LEN;

    if (!multiboot_find(file, b->image->len, false, &h.off)) {
        if (multiboot_find(file, b->image->len, true, &h.off))
            return bare_refuse(&b->ram, e, "the multiboot header at 0x%" PRIx64 " has a wrong checksum",
                               h.off);
        return bare_refuse(&b->ram, e, "no multiboot header in the first %u bytes", MULTIBOOT_SEARCH_LEN);
    }
    h.flags = load_le32(file + h.off + 4);
    if ((h.flags & HEADER_REQUIRED & ~HEADER_KNOWN) != 0)
        return bare_refuse(&b->ram, e,
                           "the multiboot header wants what vmm does not have (flags 0x%x, known 0x%x)",
                           h.flags & HEADER_REQUIRED, HEADER_KNOWN);
    if ((h.flags & HEADER_ADDRESSES) != 0)
        len = 32;
    if ((h.flags & HEADER_VIDEO) != 0)
        len = 48;
    if (!num_fits(h.off, len, b->image->len) || !num_fits(h.off, len, MULTIBOOT_SEARCH_LEN))
        return bare_refuse(&b->ram, e,
                           "the multiboot header is not all in the first %u bytes (%" PRIu64
                           " bytes at 0x%" PRIx64 ", file has %" PRIu64 ")",
                           MULTIBOOT_SEARCH_LEN, len, h.off, b->image->len);
    if ((h.flags & HEADER_ADDRESSES) != 0) {
        h.addr = load_le32(file + h.off + 12);
        h.load = load_le32(file + h.off + 16);
        h.load_end = load_le32(file + h.off + 20);
        h.bss_end = load_le32(file + h.off + 24);
        h.entry = load_le32(file + h.off + 28);
    }
    *out = h;
    return 0;
}

/* 3.1.3: the header's own place in file and memory says which byte of the file goes to load_addr. */
static int load_by_header(struct bare_load *b, const struct header *h, uint64_t *entry, struct err *e)
{
    uint64_t off, file_len, mem_len;

    if (h->addr < h->load || h->addr - h->load > h->off)
        return bare_refuse(
            &b->ram, e,
            "load_addr is not in the file (load_addr 0x%x, header_addr 0x%x, header at 0x%" PRIx64 ")",
            h->load, h->addr, h->off);
    off = h->off - (h->addr - h->load);
    file_len = b->image->len - off;
    if (h->load_end != 0) {
        if (h->load_end < h->load || h->load_end - h->load > file_len)
            return bare_refuse(&b->ram, e,
                               "load_end_addr is not in the file (0x%x, 0x%x plus %" PRIu64
                               " bytes): truncated?",
                               h->load_end, h->load, file_len);
        file_len = h->load_end - h->load;
    }
    mem_len = file_len;
    if (h->bss_end != 0) {
        if (h->bss_end < h->load || h->bss_end - h->load < file_len)
            return bare_refuse(&b->ram, e, "bss_end_addr is below the end of the data (0x%x, 0x%" PRIx64 ")",
                               h->bss_end, h->load + file_len);
        mem_len = h->bss_end - h->load;
    }
    if (h->entry < h->load || h->entry - h->load >= mem_len)
        return bare_refuse(&b->ram, e, "entry_addr is outside the kernel (0x%x, 0x%" PRIx64 " bytes at 0x%x)",
                           h->entry, mem_len, h->load);
    if (bare_claim(&b->ram, "the kernel", h->load, mem_len, e) != 0)
        return -1;
    memcpy(b->ram.bytes + h->load, b->image->bytes + off, file_len);
    *entry = h->entry;
    return 0;
}

/* Kernels for the upper half give a virtual entry point, others a physical one. */
static int load_by_segments(struct bare_load *b, struct elf_file *f, struct elf_header *h, uint64_t *entry,
                            struct err *e)
{
    struct elf_phdr p;

    if (bare_elf_open(b, false, f, h, e) != 0 || bare_elf_load(&b->ram, f, h, e) != 0)
        return -1;
    if (bare_elf_find(f, h, false, h->entry, &p)) {
        *entry = h->entry - p.vaddr + p.paddr;
    } else if (bare_elf_find(f, h, true, h->entry, &p)) {
        *entry = h->entry;
    } else {
        return bare_refuse(&b->ram, e, "entry point is in no segment (0x%" PRIx64 ")", h->entry);
    }
    return 0;
}

/* Whether a section is in the file and in no segment: symbols, their names, debugging information. */
static bool section_is_extra(const uint8_t *s)
{
    return load_le32(s + offsetof(Elf32_Shdr, sh_type)) != SHT_NOBITS &&
           (load_le32(s + offsetof(Elf32_Shdr, sh_flags)) & SHF_ALLOC) == 0 &&
           load_le32(s + offsetof(Elf32_Shdr, sh_size)) != 0;
}

static uint64_t section_room(const uint8_t *s)
{
    return (load_le32(s + offsetof(Elf32_Shdr, sh_size)) + (uint64_t)SECTION_ALIGN - 1) &
           ~(uint64_t)(SECTION_ALIGN - 1);
}

/*
 * 3.3, "syms": the section headers, and the sections that no segment brings
 * along. A courtesy that a small RAM goes without. At most 65,535 sections of
 * 32-bit lengths: no sum here can wrap.
 */
static int place_sections(struct bare_load *b, const struct elf_file *f, const struct elf_header *h,
                          uint8_t *info, struct err *e)
{
    const uint8_t *table, *s;
    const uint64_t table_len = (uint64_t)h->shnum * sizeof(Elf32_Shdr);
    uint64_t len = (table_len + SECTION_ALIGN - 1) & ~(uint64_t)(SECTION_ALIGN - 1), at, to;
    struct err no_room;

    if (h->shoff == 0 || h->shnum == 0)
        return 0;
    if (h->shentsize != sizeof(Elf32_Shdr))
        return bare_refuse(&b->ram, e, "wrong section header length (%u, wanted %zu)", h->shentsize,
                           sizeof(Elf32_Shdr));
    table = f->bytes + h->shoff;
    to = len;
    for (s = table; s < table + table_len; s += sizeof(Elf32_Shdr)) {
        uint32_t off = load_le32(s + offsetof(Elf32_Shdr, sh_offset));
        uint32_t size = load_le32(s + offsetof(Elf32_Shdr, sh_size));

        if (!section_is_extra(s))
            continue;
        if (!num_fits(off, size, f->len))
            return bare_refuse(&b->ram, e,
                               "a section is outside the file (%u bytes at 0x%x, file has %" PRIu64
                               "): truncated?",
                               size, off, f->len);
        len += section_room(s);
    }
    if (bare_place(&b->ram, "the sections", len, &at, &no_room) != 0)
        return 0;
    memcpy(b->ram.bytes + at, table, table_len);
    to += at;
    for (s = table; s < table + table_len; s += sizeof(Elf32_Shdr)) {
        if (!section_is_extra(s))
            continue;
        memcpy(b->ram.bytes + to, f->bytes + load_le32(s + offsetof(Elf32_Shdr, sh_offset)),
               load_le32(s + offsetof(Elf32_Shdr, sh_size)));
        store_le32(b->ram.bytes + at + (s - table) + offsetof(Elf32_Shdr, sh_addr), (uint32_t)to);
        to += section_room(s);
    }
    store_le32(info + INFO_FLAGS, load_le32(info + INFO_FLAGS) | INFO_HAS_ELF_SECTIONS);
    store_le32(info + INFO_ELF_NUM, h->shnum);
    store_le32(info + INFO_ELF_SIZE, h->shentsize);
    store_le32(info + INFO_ELF_ADDR, (uint32_t)at);
    store_le32(info + INFO_ELF_SHNDX, h->shstrndx);
    return 0;
}

/* The image's name and the arguments behind it, as boot loaders do. */
static int place_cmdline(struct bare_load *b, uint64_t *at, struct err *e)
{
    const char *name = b->image->name, *append = b->options->append;
    const size_t len = strlen(name) + 1 + strlen(append) + 1;
    uint64_t to;

    if (bare_place_info(&b->ram, "the command line", len, &to, e) != 0)
        return -1;
    format_text((char *)b->ram.bytes + to, len, "%s%s%s", name, *append != '\0' ? " " : "", append);
    *at = to;
    return 0;
}

static int place_modules(struct bare_load *b, uint8_t *info, struct err *e)
{
    const struct bare_options *o = b->options;
    uint64_t list, at, text;
    unsigned i;

    if (bare_place_info(&b->ram, "the module list", (uint64_t)o->modules_n * MODULE_LEN, &list, e) != 0)
        return -1;
    for (i = 0; i < o->modules_n; i++) {
        const struct bare_file *m = &o->modules[i];
        uint8_t *entry = b->ram.bytes + list + (uint64_t)i * MODULE_LEN;

        if (bare_place_text(&b->ram, "a module's string", *m->args != '\0' ? m->args : m->name, &text, e) !=
                0 ||
            bare_place_file(&b->ram, m, &at, e) != 0)
            return -1;
        store_le32(entry, (uint32_t)at);
        store_le32(entry + 4, (uint32_t)(at + m->len));
        store_le32(entry + 8, (uint32_t)text);
    }
    store_le32(info + INFO_MODS_COUNT, o->modules_n);
    store_le32(info + INFO_MODS_ADDR, (uint32_t)list);
    return 0;
}

/* Each entry has the length of what follows in front. */
static int place_memory_map(struct bare_load *b, uint8_t *info, struct err *e)
{
    uint64_t at;
    uint8_t *map;
    unsigned i, n;

    if (bare_place_info(&b->ram, "the memory map", (uint64_t)E820_MAX * MMAP_ENTRY_LEN, &at, e) != 0)
        return -1;
    map = b->ram.bytes + at;
    n = bare_memory_map(b->ram.len, map + 4, MMAP_ENTRY_LEN);
    for (i = 0; i < n; i++)
        store_le32(map + i * MMAP_ENTRY_LEN, MMAP_ENTRY_LEN - 4);
    store_le32(info + INFO_MMAP_LENGTH, n * MMAP_ENTRY_LEN);
    store_le32(info + INFO_MMAP_ADDR, (uint32_t)at);
    return 0;
}

static int place_info(struct bare_load *b, const struct header *h, uint64_t *at, struct err *e)
{
    uint32_t flags =
        INFO_HAS_MEMORY | INFO_HAS_CMDLINE | INFO_HAS_MODS | INFO_HAS_MMAP | INFO_HAS_LOADER_NAME;
    uint64_t to, cmdline, loader;
    uint8_t *info;

    if (bare_place_info(&b->ram, "the boot information", INFO_LEN, &to, e) != 0)
        return -1;
    info = b->ram.bytes + to;
    if (place_cmdline(b, &cmdline, e) != 0 ||
        bare_place_text(&b->ram, "the boot loader's name", "vmm", &loader, e) != 0 ||
        place_modules(b, info, e) != 0 || place_memory_map(b, info, e) != 0)
        return -1;
    store_le32(info + INFO_MEM_LOWER, BARE_LOW_END / 1024);
    store_le32(info + INFO_MEM_UPPER, (uint32_t)((b->ram.len - BARE_HIGH) / 1024));
    store_le32(info + INFO_CMDLINE, (uint32_t)cmdline);
    store_le32(info + INFO_LOADER_NAME, (uint32_t)loader);
    if ((h->flags & HEADER_VIDEO) != 0) {
        flags |= INFO_HAS_FRAMEBUFFER;
        store_le64(info + INFO_FB_ADDR, 0xb8000);
        store_le32(info + INFO_FB_PITCH, 160); /* bytes: a character and its colours */
        store_le32(info + INFO_FB_WIDTH, 80);  /* characters */
        store_le32(info + INFO_FB_HEIGHT, 25);
        info[INFO_FB_BPP] = 16;
        info[INFO_FB_TYPE] = 2; /* EGA text */
    }
    store_le32(info + INFO_FLAGS, flags);
    *at = to;
    return 0;
}

int multiboot_load(struct bare_load *b, struct bare_start *out, struct err *e)
{
    struct elf_header elf = {0};
    struct elf_file f = {0};
    struct bare_start start;
    struct header h = {0};
    uint64_t entry = 0, info = 0;

    if (bare_no_initrd(b, BARE_MULTIBOOT, e) != 0 || header_read(b, &h, e) != 0)
        return -1;
    if ((h.flags & HEADER_ADDRESSES) != 0 ? load_by_header(b, &h, &entry, e) != 0
                                          : load_by_segments(b, &f, &elf, &entry, e) != 0)
        return -1;
    if (place_info(b, &h, &info, e) != 0 || place_sections(b, &f, &elf, b->ram.bytes + info, e) != 0)
        return -1;
    start = bare_start_flat(BARE_MULTIBOOT, entry);
    start.regs.rax = LOADED_EAX;
    start.regs.rbx = info;
    *out = start;
    return 0;
}
