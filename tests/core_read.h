/*
 * A reader of core files for the tests, from the structs of <elf.h> and
 * <sys/procfs.h> and nothing of vmm's; and a way to hear what gdb says.
 */
#ifndef TESTS_CORE_READ_H
#define TESTS_CORE_READ_H

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tap.h"

#define CORE_NOTE_BYTES 4096

struct core_segment {
    uint64_t va, len, off;
    uint32_t flags;
};

struct core_file {
    int fd;
    bool wide;
    unsigned machine;
    uint64_t len, blocks; /* of the file; blocks of 512 bytes it takes on disk */
    unsigned mode;
    struct core_segment *segments;
    unsigned segments_n;
    uint64_t loaded_len; /* sum over the segments */
    uint8_t notes[CORE_NOTE_BYTES];
    uint64_t notes_len;
};

static inline bool core_pread(const struct core_file *c, void *out, uint64_t len, uint64_t off)
{
    return pread(c->fd, out, len, (off_t)off) == (ssize_t)len;
}

static inline void core_close(struct core_file *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->segments);
    c->segments = NULL;
    c->fd = -1;
}

/* Program header `i` whatever the class. */
static inline bool core_header(const struct core_file *c, uint64_t phoff, unsigned i, Elf64_Phdr *out)
{
    Elf32_Phdr n;

    if (c->wide)
        return core_pread(c, out, sizeof(*out), phoff + i * sizeof(*out));
    if (!core_pread(c, &n, sizeof(n), phoff + i * sizeof(n)))
        return false;
    *out =
        (Elf64_Phdr){n.p_type, n.p_flags, n.p_offset, n.p_vaddr, n.p_paddr, n.p_filesz, n.p_memsz, n.p_align};
    return true;
}

/* Open the core and check what must hold for every one. */
static inline bool core_open(const char *path, struct core_file *out)
{
    struct core_file c = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    uint64_t phoff, last_end = 0, data_end = 4096;
    unsigned phnum, i, bad = 0;
    Elf64_Phdr ph;
    struct stat st;
    union {
        unsigned char ident[EI_NIDENT];
        Elf32_Ehdr narrow;
        Elf64_Ehdr wide;
    } h;

    *out = c;
    if (!CHECK(c.fd >= 0) || !CHECK(fstat(c.fd, &st) == 0) || !CHECK(core_pread(&c, &h, sizeof(h), 0)))
        return false;
    c.len = (uint64_t)st.st_size;
    c.blocks = (uint64_t)st.st_blocks;
    c.mode = st.st_mode & 07777;
    c.wide = h.ident[EI_CLASS] == ELFCLASS64;
    c.machine = c.wide ? h.wide.e_machine : h.narrow.e_machine;
    phoff = c.wide ? h.wide.e_phoff : h.narrow.e_phoff;
    phnum = c.wide ? h.wide.e_phnum : h.narrow.e_phnum;
    CHECK(memcmp(h.ident, ELFMAG, SELFMAG) == 0 && h.ident[EI_DATA] == ELFDATA2LSB);
    CHECK_EQ(c.wide ? h.wide.e_type : h.narrow.e_type, ET_CORE);
    CHECK_EQ(c.wide ? h.wide.e_phentsize : h.narrow.e_phentsize,
             c.wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
    CHECK(phnum > 0 && phnum < PN_XNUM);
    CHECK_EQ(c.len, phoff + phnum * (c.wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)));
    if (!CHECK(core_header(&c, phoff, 0, &ph)) ||
        !CHECK(ph.p_type == PT_NOTE && ph.p_filesz <= sizeof(c.notes)))
        return false;
    c.notes_len = ph.p_filesz;
    CHECK(core_pread(&c, c.notes, c.notes_len, ph.p_offset));
    c.segments = calloc(phnum, sizeof(*c.segments));
    for (i = 1; i < phnum; i++) {
        if (!core_header(&c, phoff, i, &ph))
            break;
        /* Ascending, apart from each other, bytes one behind the other, none twice. */
        bad += ph.p_type != PT_LOAD || ph.p_filesz != ph.p_memsz || ph.p_filesz == 0 ||
               ph.p_offset != data_end || ph.p_vaddr % 4096 != 0 || ph.p_filesz % 4096 != 0 ||
               (i != 1 && ph.p_vaddr < last_end) || (i != 1 && last_end == 0) || (ph.p_flags & PF_R) == 0;
        last_end = ph.p_vaddr + ph.p_filesz;
        data_end += ph.p_filesz;
        c.loaded_len += ph.p_filesz;
        c.segments[c.segments_n++] = (struct core_segment){ph.p_vaddr, ph.p_filesz, ph.p_offset, ph.p_flags};
    }
    CHECK_EQ(c.segments_n, phnum - 1);
    CHECK_EQ(bad, 0);
    CHECK_EQ(data_end, phoff);
    *out = c;
    return true;
}

static inline const struct core_segment *core_find(const struct core_file *c, uint64_t va)
{
    unsigned i;

    for (i = 0; i < c->segments_n; i++)
        if (va >= c->segments[i].va && va - c->segments[i].va < c->segments[i].len)
            return &c->segments[i];
    return NULL;
}

/* Read memory of the guest; false when one of the bytes is in no segment. */
static inline bool core_read(const struct core_file *c, uint64_t va, void *out, uint64_t len)
{
    uint8_t *to = (uint8_t *)out;

    while (len != 0) {
        const struct core_segment *s = core_find(c, va);
        uint64_t n;

        if (s == NULL)
            return false;
        n = s->len - (va - s->va) < len ? s->len - (va - s->va) : len;
        if (!core_pread(c, to, n, s->off + (va - s->va)))
            return false;
        to += n;
        va += n;
        len -= n;
    }
    return true;
}

static inline uint64_t core_read_number(const struct core_file *c, uint64_t va, unsigned len)
{
    uint64_t v = 0;

    if (!core_read(c, va, &v, len))
        CHECK(!"the address is in the core");
    return v;
}

/* Contents of the note, NULL when there is none. */
static inline const uint8_t *core_note(const struct core_file *c, const char *name, uint32_t type,
                                       uint64_t *len)
{
    uint64_t at = 0;

    while (at + sizeof(Elf64_Nhdr) <= c->notes_len) {
        const char *its_name = (const char *)c->notes + at + sizeof(Elf64_Nhdr);
        const uint8_t *bytes;
        Elf64_Nhdr n;

        memcpy(&n, c->notes + at, sizeof(n));
        bytes = c->notes + at + sizeof(n) + (n.n_namesz + 3u) / 4 * 4;
        at += sizeof(n) + (n.n_namesz + 3u) / 4 * 4 + (n.n_descsz + 3u) / 4 * 4;
        if (at > c->notes_len)
            break;
        if (n.n_type == type && n.n_namesz == strlen(name) + 1 && strcmp(its_name, name) == 0) {
            *len = n.n_descsz;
            return bytes;
        }
    }
    return NULL;
}

/* Flags and sentence of vmm's own note. */
static inline uint32_t core_flags(const struct core_file *c, const char **text)
{
    uint64_t len = 0;
    const uint8_t *note = core_note(c, "VMM", 0x314d4d56, &len);
    uint32_t flags;

    if (!CHECK(note != NULL && len > 48 && note[len - 1] == 0))
        return UINT32_MAX;
    memcpy(&flags, note + 4, sizeof(flags));
    *text = (const char *)note + 48;
    return flags;
}

/* What i386 has in its struct elf_prstatus and this host's headers do not tell. */
struct core_prstatus32 {
    struct elf_siginfo info;
    int16_t cursig;
    uint32_t sigpend, sighold;
    int32_t pid, ppid, pgrp, sid;
    int32_t times[4][2];
    uint32_t ebx, ecx, edx, esi, edi, ebp, eax, ds, es, fs, gs, orig_eax, eip, cs, eflags, esp, ss;
    int32_t fpvalid;
};
_Static_assert(sizeof(struct core_prstatus32) == 144, "as on i386");

/* Whether gdb can be run. */
static inline bool core_has_gdb(void)
{
    static int has = -1;

    if (has < 0)
        has = system("gdb --version >/dev/null 2>&1 </dev/null") == 0;
    return has == 1;
}

/* What gdb says to `commands` ("-ex ... -ex ...", quoted for the shell) about the core of `elf`. */
static inline const char *core_ask_gdb(const char *elf, const char *core, const char *commands)
{
    static char said[16384];
    char line[2048];
    size_t n = 0;
    FILE *f;

    said[0] = '\0';
    if (snprintf(line, sizeof(line), "timeout 60 gdb -nx -batch %s %s %s 2>&1 </dev/null", commands, elf,
                 core) >= (int)sizeof(line))
        return said;
    f = popen(line, "r");
    if (f == NULL)
        return said;
    n = fread(said, 1, sizeof(said) - 1, f);
    said[n] = '\0';
    pclose(f);
    return said;
}

/* Whether all `parts`, up to a NULL, come in this order; shows the text when not. */
static inline bool core_has_in_order(const char *text, const char *const *parts)
{
    const char *at = text;

    for (; *parts != NULL; parts++) {
        const char *found = strstr(at, *parts);

        if (found == NULL) {
            printf("# no \"%s\" (in its place) in:\n# ", *parts);
            for (; *text != '\0'; text++)
                printf(*text == '\n' ? "\n# " : "%c", *text);
            printf("\n");
            return CHECK(!"gdb says what it should");
        }
        at = found + strlen(*parts);
    }
    return CHECK(true);
}

/* Value of a symbol of an ELF file in memory. */
static inline bool core_find_symbol(const uint8_t *elf, const char *name, uint64_t *value, uint64_t *len)
{
    bool wide = elf[EI_CLASS] == ELFCLASS64;
    const Elf64_Ehdr *h64 = (const Elf64_Ehdr *)(const void *)elf;
    const Elf32_Ehdr *h32 = (const Elf32_Ehdr *)(const void *)elf;
    unsigned i, n = wide ? h64->e_shnum : h32->e_shnum;

    for (i = 0; i < n; i++) {
        const uint8_t *sh =
            elf + (wide ? h64->e_shoff + i * sizeof(Elf64_Shdr) : h32->e_shoff + i * sizeof(Elf32_Shdr));
        const Elf64_Shdr *s64 = (const Elf64_Shdr *)(const void *)sh;
        const Elf32_Shdr *s32 = (const Elf32_Shdr *)(const void *)sh;
        uint64_t off = wide ? s64->sh_offset : s32->sh_offset, size = wide ? s64->sh_size : s32->sh_size, at;
        uint64_t names;

        if ((wide ? s64->sh_type : s32->sh_type) != SHT_SYMTAB)
            continue;
        names = wide ? ((const Elf64_Shdr *)(const void *)(elf + h64->e_shoff))[s64->sh_link].sh_offset
                     : ((const Elf32_Shdr *)(const void *)(elf + h32->e_shoff))[s32->sh_link].sh_offset;
        for (at = 0; at < size; at += wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym)) {
            Elf64_Sym y64;
            Elf32_Sym y32;

            memcpy(&y64, elf + off + at, sizeof(y64));
            memcpy(&y32, elf + off + at, sizeof(y32));
            if (strcmp((const char *)elf + names + (wide ? y64.st_name : y32.st_name), name) == 0) {
                *value = wide ? y64.st_value : y32.st_value;
                *len = wide ? y64.st_size : y32.st_size;
                return true;
            }
        }
    }
    return false;
}

#endif
