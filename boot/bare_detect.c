/* Telling bare kernels apart by their own headers. In every binary, so that each can say what it lacks. */
#include <elf.h>
#include <string.h>

#include "boot/bare_place.h"
#include "boot/elf.h"
#include "mem/bytes.h"
#include "mem/num.h"

#define MICROVM_ENTRY_END 0x10000u /* IP has 16 bits */

const char *bare_format_name(enum bare_format f)
{
    static const char *const names[BARE_FORMATS_N] = {"multiboot", "microvm", "pvh", "linux"};

    return names[f];
}

bool multiboot_find(const uint8_t *file, uint64_t len, bool damaged, uint64_t *off)
{
    const uint64_t end = len < MULTIBOOT_SEARCH_LEN ? len : MULTIBOOT_SEARCH_LEN;
    uint64_t at;

    for (at = 0; num_fits(at, MULTIBOOT_HEADER_LEN, end); at += 4) {
        const uint8_t *h = file + at;

        if (load_le32(h) != MULTIBOOT_MAGIC)
            continue;
        if (damaged || load_le32(h) + load_le32(h + 4) + load_le32(h + 8) == 0) {
            *off = at;
            return true;
        }
    }
    return false;
}

bool bare_elf_note(const struct elf_file *f, const struct elf_header *h, const char *owner, uint32_t type,
                   struct elf_note *out)
{
    struct elf_note note;
    struct err ignored;
    unsigned i;

    for (i = 0; i < h->phnum; i++) {
        struct elf_phdr p = elf_phdr(f, h->phoff + (uint64_t)i * h->phentsize);
        uint64_t off = 0;

        while (p.type == PT_NOTE && elf_note_next(f, &p, &off, &note, &ignored) > 0) {
            if (elf_note_is_from(&note, owner) && (type == 0 || note.type == type)) {
                *out = note;
                return true;
            }
        }
    }
    return false;
}

/* Whether the ABI's loader would refuse the addresses of an executable that a 16-bit jump can enter. */
static bool is_microvm(const struct elf_file *f, const struct elf_header *h)
{
    unsigned i;

    if (f->wide || h->type != ET_EXEC || h->entry >= MICROVM_ENTRY_END)
        return false;
    for (i = 0; i < h->phnum; i++) {
        struct elf_phdr p = elf_phdr(f, h->phoff + (uint64_t)i * h->phentsize);

        if (p.type == PT_LOAD && p.mem_len != 0 && (p.vaddr < PAGE_LEN || p.vaddr != p.paddr))
            return true;
    }
    return false;
}

bool bare_detect(const uint8_t *file, uint64_t len, enum bare_format *out)
{
    struct elf_file f = {.bytes = file, .len = len, .name = ""};
    struct elf_header h;
    struct elf_note note;
    struct err ignored;
    uint64_t off;
    bool elf = elf_open(&f, &h, &ignored) == 0, pvh;

    if (elf && (bare_elf_note(&f, &h, ELF_NOTE_VMM_NAME, 0, &note) ||
                bare_elf_note(&f, &h, ELF_NOTE_HYPERLIGHT_NAME, 0, &note)))
        return false;
    pvh = elf && bare_elf_note(&f, &h, PVH_NOTE_OWNER, PVH_NOTE_ENTRY, &note);
    if (len >= LINUX_MAGIC_OFF + 4 && load_le16(file + LINUX_BOOT_FLAG_OFF) == 0xaa55 &&
        memcmp(file + LINUX_MAGIC_OFF, LINUX_MAGIC, 4) == 0)
        *out = BARE_LINUX;
    else if (multiboot_find(file, len, !pvh, &off)) /* a damaged header counts where nothing else is known */
        *out = BARE_MULTIBOOT;
    else if (pvh)
        *out = BARE_PVH;
    else if (elf && is_microvm(&f, &h) && !bare_elf_note(&f, &h, PVH_NOTE_OWNER, 0, &note))
        *out = BARE_MICROVM;
    else
        return false;
    return true;
}
