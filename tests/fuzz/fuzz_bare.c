/*
 * Fuzzes the loaders of bare kernels: any image is refused, or is whole in RAM
 * afterwards with all that belongs to it, each byte in its place, and entered
 * inside itself.
 *
 * An input is two bytes of switches and an image. The first: bits 0-1 the
 * format; 2 as detected instead; 3-4 how many modules; 5 an initrd; 6 arguments;
 * 7 make a multiboot checksum right. The second: bits 0-2 MiB of RAM beyond
 * the first two; 3-7 the length of modules and initrd.
 */
#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/bare.h"

#define RAM_MAX   ((uint64_t)9 << 20)
#define IMAGE_MAX 0x8000u
#define ARGS      "one two=3"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t ram[RAM_MAX], piece[3][0x8000];
static uint8_t *image;
static size_t image_len;
static struct bare_file modules[3], initrd;
static struct bare_options opt;

static void demand(int promise)
{
    if (!promise)
        abort();
}

static uint64_t word(uint64_t at, size_t len)
{
    uint64_t v = 0;

    demand(at <= opt.ram_len && len <= opt.ram_len - at);
    memcpy(&v, ram + at, len);
    return v;
}

static uint32_t file32(size_t at)
{
    uint32_t v;

    demand(at + 4 <= image_len);
    memcpy(&v, image + at, 4);
    return v;
}

static void demand_bytes(uint64_t at, const void *bytes, uint64_t len)
{
    demand(at <= opt.ram_len && len <= opt.ram_len - at && (len == 0 || memcmp(ram + at, bytes, len) == 0));
}

static void demand_zeros(uint64_t at, uint64_t len)
{
    demand(at <= opt.ram_len && len <= opt.ram_len - at);
    for (; len > 0; len--)
        demand(ram[at++] == 0);
}

static void demand_text(uint64_t at, const char *text)
{
    demand_bytes(at, text, strlen(text) + 1);
}

/* Each segment is where it asks to be, and `entry` in one of them. ELF64 by the same offsets as <elf.h> has. */
static void check_segments(uint64_t entry)
{
    int wide = image[EI_CLASS] == ELFCLASS64, inside = 0;
    Elf64_Ehdr h64;
    Elf32_Ehdr h32;
    unsigned i, n;

    if (wide)
        memcpy(&h64, image, sizeof(h64));
    else
        memcpy(&h32, image, sizeof(h32));
    n = wide ? h64.e_phnum : h32.e_phnum;
    for (i = 0; i < n; i++) {
        Elf64_Phdr p;
        Elf32_Phdr p32;

        if (wide) {
            memcpy(&p, image + h64.e_phoff + i * sizeof(p), sizeof(p));
        } else {
            memcpy(&p32, image + h32.e_phoff + i * sizeof(p32), sizeof(p32));
            p = (Elf64_Phdr){.p_type = p32.p_type,
                             .p_offset = p32.p_offset,
                             .p_paddr = p32.p_paddr,
                             .p_filesz = p32.p_filesz,
                             .p_memsz = p32.p_memsz};
        }
        if (p.p_type != PT_LOAD || p.p_memsz == 0)
            continue;
        demand(p.p_filesz == 0 || (p.p_offset <= image_len && p.p_filesz <= image_len - p.p_offset));
        if (p.p_filesz != 0)
            demand_bytes(p.p_paddr, image + p.p_offset, p.p_filesz);
        demand_zeros(p.p_paddr + p.p_filesz, p.p_memsz - p.p_filesz);
        inside |= entry >= p.p_paddr && entry - p.p_paddr < p.p_memsz;
    }
    demand(inside);
}

/* The header's offset in the file: the first with a right checksum. */
static size_t multiboot_header(void)
{
    size_t at = 0;

    while (file32(at) != 0x1badb002 || file32(at) + file32(at + 4) + file32(at + 8) != 0)
        at += 4;
    demand(at <= 8192 - 12);
    return at;
}

static void check_multiboot(const struct bare_start *s)
{
    size_t h = multiboot_header();
    uint64_t info = s->regs.rbx, list, i;

    if ((file32(h + 4) & 0x10000) != 0) {
        uint32_t load = file32(h + 16), load_end = file32(h + 20), bss_end = file32(h + 24);
        size_t off = h - (file32(h + 12) - load);
        uint64_t n = load_end != 0 ? load_end - load : image_len - off;
        uint64_t mem = bss_end != 0 ? bss_end - load : n;

        demand(off + n <= image_len && n <= mem);
        demand_bytes(load, image + off, n);
        demand_zeros(load + n, mem - n);
        demand(s->regs.rip == file32(h + 28) && s->regs.rip >= load && s->regs.rip - load < mem);
    } else {
        check_segments(s->regs.rip);
    }
    demand(s->regs.rax == 0x2badb002 && (file32(h + 4) & 0xfff8) == 0);
    demand_text(word(info + 16, 4), *opt.append != '\0' ? "fuzz " ARGS : "fuzz");
    demand(word(info + 20, 4) == opt.modules_n);
    demand(word(info + 8, 4) == (opt.ram_len >> 10) - 1024);
    list = word(info + 24, 4);
    for (i = 0; i < opt.modules_n; i++, list += 16) {
        demand(word(list, 4) % 4096 == 0 && word(list + 4, 4) - word(list, 4) == modules[i].len);
        demand_bytes(word(list, 4), modules[i].bytes, modules[i].len);
        demand_text(word(list + 8, 4), *modules[i].args != '\0' ? modules[i].args : modules[i].name);
    }
    if ((word(info, 4) & 0x20) != 0)
        demand_bytes(word(info + 36, 4) + 16, image + file32(32) + 16, 24); /* of section 0, behind sh_addr */
}

static void check_pvh(const struct bare_start *s)
{
    uint64_t info = s->regs.rbx, n = opt.modules_n + (opt.initrd != NULL), list, i;

    check_segments(s->regs.rip);
    demand(word(info, 8) == 0x1336ec578 && word(info + 12, 4) == n && word(info + 48, 4) == 3);
    demand_text(word(info + 24, 8), opt.append);
    list = word(info + 16, 8);
    for (i = 0; i < n; i++, list += 32) {
        const struct bare_file *m = opt.initrd == NULL ? &modules[i] : i == 0 ? opt.initrd : &modules[i - 1];

        demand(word(list, 8) % 4096 == 0 && word(list + 8, 8) == m->len);
        demand_bytes(word(list, 8), m->bytes, m->len);
    }
}

static void check_linux(const struct bare_start *s)
{
    uint64_t z = s->regs.rsi, setup = (image[0x1f1] != 0 ? image[0x1f1] + 1u : 5u) * 512u;
    uint64_t load = s->regs.rip - (file32(0x214) - 0x100000);

    demand(setup < image_len && s->regs.rip >= load && s->regs.rip - load < image_len - setup);
    demand_bytes(load, image + setup, image_len - setup);
    demand_bytes(z + 0x1f1, image + 0x1f1, 0x1fa - 0x1f1);
    demand_bytes(z + 0x22c, image + 0x22c, 4);
    demand(word(z + 0x214, 4) == s->regs.rip && word(z + 0x1e8, 1) == 3);
    demand_text(word(z + 0x228, 4), opt.append);
    demand(opt.modules_n == 0);
    if (opt.initrd != NULL && initrd.len != 0) {
        demand(word(z + 0x21c, 4) == initrd.len && word(z + 0x218, 4) + initrd.len - 1 <= file32(0x22c));
        demand_bytes(word(z + 0x218, 4), initrd.bytes, initrd.len);
    }
    demand(word(s->sregs.gdt.base + 0x10, 8) == 0x00cf9b000000ffff);
}

static void check_microvm(const struct bare_start *s)
{
    check_segments(s->regs.rip);
    demand(s->regs.rip < 0x10000 && s->regs.rip == file32(24) && s->regs.rax == 0x0c00ffee);
    demand((s->regs.rbx != 0) == (opt.initrd != NULL));
    if (opt.initrd != NULL) {
        demand((s->regs.rbx & 0xfff) == (initrd.len + 4095) / 4096);
        demand_bytes(s->regs.rbx & ~(uint64_t)0xfff, initrd.bytes, initrd.len);
    }
    if (*opt.append != '\0')
        demand_bytes(0xf00, opt.append, strlen(opt.append));
}

/* Files of up to 31 units of 1025 bytes, so that they end anywhere in a page. */
static void choose_options(uint8_t a, uint8_t b)
{
    static const char *const args[3] = {"", "x y", ""};
    const uint64_t len = (uint64_t)(b >> 3) * 1025;
    uint32_t i, j;

    for (i = 0; i < 3; i++) {
        for (j = 0; j < sizeof(piece[i]); j += 4)
            memcpy(piece[i] + j, (uint32_t[]){j * 2654435761u + i + 1}, 4);
        modules[i] = (struct bare_file){"m", args[i], piece[i], len >> i};
    }
    initrd = (struct bare_file){"i", "", piece[0], len};
    opt = (struct bare_options){
        .ram_len = ((uint64_t)(b & 7) + 2) << 20,
        .append = (a & 0x40) != 0 ? ARGS : "",
        .modules = modules,
        .modules_n = a >> 3 & 3,
        .initrd = (a & 0x20) != 0 ? &initrd : NULL,
    };
}

/* The first word that is multiboot's magic number gets a checksum that is right. */
static void fix_checksum(void)
{
    size_t at;

    for (at = 0; at + 12 <= image_len; at += 4) {
        if (file32(at) == 0x1badb002) {
            uint32_t sum = 0u - file32(at) - file32(at + 4);

            memcpy(image + at + 8, &sum, 4);
            return;
        }
    }
}

static void check(enum bare_format f, const struct bare_start *s)
{
    demand(s->format == f && s->regs.rip < opt.ram_len && s->regs.rflags == 2);
    if (f != BARE_MICROVM) {
        demand(s->sregs.cr0 == 0x11 && s->irqchip);
        demand_zeros(0, 0x500);
        demand_zeros(0x9fc00, 0x60400);
    }
    switch (f) {
    case BARE_MULTIBOOT: check_multiboot(s); break;
    case BARE_MICROVM: check_microvm(s); break;
    case BARE_PVH: check_pvh(s); break;
    default: check_linux(s); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bare_file file = {"fuzz", "", NULL, 0};
    enum bare_format f;
    struct bare_start s;
    struct err e = {.text = ""};

    if (len < 2 || len - 2 > IMAGE_MAX)
        return 0;
    choose_options(data[0], data[1]);
    image_len = len - 2;
    image = malloc(image_len != 0 ? image_len : 1);
    demand(image != NULL);
    memcpy(image, data + 2, image_len);
    if ((data[0] & 0x80) != 0)
        fix_checksum();
    f = data[0] & 3;
    if ((data[0] & 4) != 0 && !bare_detect(image, image_len, &f)) {
        free(image);
        return 0;
    }
    file.bytes = image;
    file.len = image_len;
    memset(ram, 0, opt.ram_len);
    if (bare_load(f, &file, &opt, ram, &s, &e) == 0)
        check(f, &s);
    else
        demand((e.status == STATUS_IMAGE || e.status == STATUS_USAGE) && strstr(e.text, ": ") != NULL);
    free(image);
    return 0;
}
