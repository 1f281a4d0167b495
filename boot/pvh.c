/*
 * Kernels for Xen's x86/HVM direct boot ABI (PVH): an ELF file of either class,
 * entered in 32-bit protected mode at the address in its note, with EBX
 * pointing at the start info ("struct hvm_start_info", version 1).
 */
#include <inttypes.h>

#include "boot/bare_place.h"
#include "mem/bytes.h"

#define START_INFO_LEN    56
#define START_MAGIC       0 /* 4 bytes each, up to: */
#define START_VERSION     4
#define START_NR_MODULES  12
#define START_MODLIST     16 /* 8 bytes each; flags at 8 and the RSDP at 32 stay 0 */
#define START_CMDLINE     24
#define START_MEMMAP      40
#define START_MEMMAP_N    48
#define START_MAGIC_VALUE 0x336ec578u
#define MODULE_LEN        32 /* address, length, command line, reserved: 8 bytes each */
#define MEMMAP_ENTRY_LEN  24 /* address, length: 8 bytes each; type, reserved: 4 */
#define TSS_LIMIT         0x67

/* The entry point is the note's word, of 4 or 8 bytes whatever the class, and physical. */
static int entry_read(const struct bare_load *b, const struct elf_file *f, const struct elf_header *h,
                      uint64_t *entry, struct err *e)
{
    struct elf_note note;
    struct elf_phdr p;
    uint64_t at;

    if (!bare_elf_note(f, h, PVH_NOTE_OWNER, PVH_NOTE_ENTRY, &note))
        return bare_refuse(&b->ram, e, "no PVH entry point: the ELF file has no Xen note of type %u",
                           PVH_NOTE_ENTRY);
    if (note.desc_len != 4 && note.desc_len != 8)
        return bare_refuse(
            &b->ram, e, "the note with the PVH entry point has the wrong length (%" PRIu32 ", wanted 4 or 8)",
            note.desc_len);
    at = note.desc_len == 8 ? load_le64(note.desc) : load_le32(note.desc);
    if (!bare_elf_find(f, h, true, at, &p))
        return bare_refuse(&b->ram, e, "the PVH entry point is in no segment (0x%" PRIx64 ")", at);
    *entry = at;
    return 0;
}

static int place_module(struct bare_load *b, const struct bare_file *m, uint8_t *entry, struct err *e)
{
    uint64_t at, text = 0;

    if (*m->args != '\0' && bare_place_text(&b->ram, "a module's command line", m->args, &text, e) != 0)
        return -1;
    if (bare_place_file(&b->ram, m, &at, e) != 0)
        return -1;
    store_le64(entry, at);
    store_le64(entry + 8, m->len);
    store_le64(entry + 16, text);
    return 0;
}

/* The initrd is the first module: that is where Linux looks for one. */
static int place_modules(struct bare_load *b, uint8_t *info, struct err *e)
{
    const struct bare_options *o = b->options;
    const unsigned first = o->initrd != NULL, n = first + o->modules_n;
    uint64_t list;
    unsigned i;

    if (n == 0)
        return 0;
    if (bare_place_info(&b->ram, "the module list", (uint64_t)n * MODULE_LEN, &list, e) != 0)
        return -1;
    for (i = 0; i < n; i++)
        if (place_module(b, i < first ? o->initrd : &o->modules[i - first],
                         b->ram.bytes + list + (uint64_t)i * MODULE_LEN, e) != 0)
            return -1;
    store_le32(info + START_NR_MODULES, n);
    store_le64(info + START_MODLIST, list);
    return 0;
}

static int place_info(struct bare_load *b, uint64_t *at, struct err *e)
{
    uint64_t to, cmdline, memmap;
    uint8_t *info;

    if (bare_place_info(&b->ram, "the start info", START_INFO_LEN, &to, e) != 0 ||
        bare_place_text(&b->ram, "the command line", b->options->append, &cmdline, e) != 0 ||
        bare_place_info(&b->ram, "the memory map", (uint64_t)E820_MAX * MEMMAP_ENTRY_LEN, &memmap, e) != 0)
        return -1;
    info = b->ram.bytes + to;
    if (place_modules(b, info, e) != 0)
        return -1;
    store_le32(info + START_MAGIC, START_MAGIC_VALUE);
    store_le32(info + START_VERSION, 1);
    store_le64(info + START_CMDLINE, cmdline);
    store_le64(info + START_MEMMAP, memmap);
    store_le32(info + START_MEMMAP_N, bare_memory_map(b->ram.len, b->ram.bytes + memmap, MEMMAP_ENTRY_LEN));
    *at = to;
    return 0;
}

int pvh_load(struct bare_load *b, struct bare_start *out, struct err *e)
{
    struct bare_start start;
    struct elf_header h;
    struct elf_file f;
    uint64_t entry = 0, info = 0;

    if (bare_elf_open(b, true, &f, &h, e) != 0 || entry_read(b, &f, &h, &entry, e) != 0 ||
        bare_elf_load(&b->ram, &f, &h, e) != 0 || place_info(b, &info, e) != 0)
        return -1;
    start = bare_start_flat(BARE_PVH, entry);
    start.regs.rbx = info;
    start.sregs.tr.limit = TSS_LIMIT;
    *out = start;
    return 0;
}
