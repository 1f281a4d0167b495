/*
 * Linux bzImages by the 32-bit boot protocol ("The Linux/x86 Boot Protocol"):
 * the protected-mode part is entered directly, with ESI pointing at the zero
 * page, which holds the file's own setup header and what the loader adds.
 * Offsets up to 0x290 are the same in the file and in the zero page.
 */
#include <inttypes.h>
#include <string.h>

#include "boot/bare_place.h"
#include "boot/gdt.h"
#include "mem/bytes.h"
#include "mem/num.h"

#define SECTOR_LEN         512
#define HEADER_OFF         0x1f1
#define HEADER_END_MAX     0x290 /* the zero page has other things from here on */
#define HEADER_SETUP_SECTS 0x1f1
#define HEADER_SYSSIZE     0x1f4 /* in 16 bytes; 32 bits since 2.04 */
#define HEADER_VID_MODE    0x1fa
#define HEADER_JUMP        0x201 /* how far the header goes on behind 0x202 */
#define HEADER_VERSION     0x206
#define HEADER_LOADER      0x210
#define HEADER_LOADFLAGS   0x211
#define HEADER_CODE32      0x214
#define HEADER_RAMDISK     0x218
#define HEADER_RAMDISK_LEN 0x21c
#define HEADER_CMDLINE     0x228
#define HEADER_INITRD_LAST 0x22c /* initrd_addr_max, since 2.03 */
#define HEADER_ALIGNMENT   0x230 /* since 2.05, as is: */
#define HEADER_RELOCATABLE 0x234
#define HEADER_XLOADFLAGS  0x236 /* since 2.12 */
#define HEADER_CMDLINE_LEN 0x238 /* since 2.06 */
#define HEADER_PREF        0x258 /* since 2.10, as is: */
#define HEADER_INIT_SIZE   0x260

#define LOADFLAGS_HIGH     0x01u /* the protected-mode part goes to 1 MiB */
#define XLOADFLAGS_64      0x01u /* has a 64-bit entry point: a 64-bit kernel */
#define LOADER_UNKNOWN     0xff  /* type_of_loader of one without a number */
#define VID_MODE_NORMAL    0xffff

#define ZERO_PAGE_E820_N   0x1e8
#define ZERO_PAGE_E820     0x2d0
#define E820_ENTRY_LEN     20

#define BOOT_CS            0x10
#define BOOT_DS            0x18
#define BOOT_GDT_LEN       0x20

/* What the setup header says, with the protocol's defaults for fields that are younger than it. */
struct setup {
    unsigned version;
    uint64_t setup_len, header_end; /* in the file */
    uint64_t payload_len;           /* the protected-mode part: the rest of the file */
    uint64_t entry_off;             /* into the payload */
    uint64_t cmdline_max;           /* without the NUL */
    uint64_t initrd_last;           /* the last address an initrd may take */
    bool relocatable;
    uint64_t alignment, preferred,
        init_len; /* of relocatable kernels; where and how much a kernel unpacks to */
};

/* Where the fields of a version end. */
static uint64_t header_end_of(unsigned version)
{
    if (version >= 0x20a)
        return HEADER_INIT_SIZE + 4;
    if (version >= 0x206)
        return HEADER_CMDLINE_LEN + 4;
    return version >= 0x205 ? HEADER_XLOADFLAGS : HEADER_ALIGNMENT;
}

static void fields_read(const uint8_t *file, struct setup *s)
{
    s->cmdline_max = 255;
    s->initrd_last = load_le32(file + HEADER_INITRD_LAST);
    s->alignment = 1;
    s->preferred = BARE_HIGH;
    if (s->version >= 0x205 && file[HEADER_RELOCATABLE] != 0) {
        s->relocatable = true;
        s->alignment = load_le32(file + HEADER_ALIGNMENT);
    }
    if (s->version >= 0x206)
        s->cmdline_max = load_le32(file + HEADER_CMDLINE_LEN);
    if (s->version >= 0x20a) {
        s->preferred = load_le64(file + HEADER_PREF);
        s->init_len = load_le32(file + HEADER_INIT_SIZE);
    }
}

static int setup_check(const struct bare_ram *r, const uint8_t *file, const struct setup *s, struct err *e)
{
    const uint64_t syssize = load_le32(file + HEADER_SYSSIZE);
    const uint32_t code32 = load_le32(file + HEADER_CODE32);

    if ((file[HEADER_LOADFLAGS] & LOADFLAGS_HIGH) == 0)
        return bare_refuse(r, e, "a zImage, which loads below 1 MiB (loadflags 0x%x, wanted bit 0)",
                           file[HEADER_LOADFLAGS]);
    if (s->version >= 0x20c && (load_le16(file + HEADER_XLOADFLAGS) & XLOADFLAGS_64) != 0)
        return bare_refuse(r, e, "a 64-bit kernel (xloadflags 0x%x, wanted bit 0 clear)",
                           load_le16(file + HEADER_XLOADFLAGS));
    /* syssize is rounded up. */
    if (s->version >= 0x204 && syssize != 0 && s->payload_len <= (syssize - 1) * 16)
        return bare_refuse(r, e,
                           "the kernel is not all in the file (%" PRIu64 " bytes, syssize says %" PRIu64
                           "): truncated?",
                           s->payload_len, syssize * 16);
    if (code32 < BARE_HIGH || code32 - BARE_HIGH >= s->payload_len)
        return bare_refuse(r, e, "code32_start is not in the kernel (0x%x, %" PRIu64 " bytes at 0x%x)",
                           code32, s->payload_len, BARE_HIGH);
    if (!num_is_power_of_two(s->alignment))
        return bare_refuse(r, e, "kernel_alignment is not a power of two (0x%" PRIx64 ")", s->alignment);
    return 0;
}

static int setup_read(const struct bare_load *b, struct setup *out, struct err *e)
{
    const uint8_t *file = b->image->bytes;
    const uint64_t len = b->image->len;
    struct setup s = {0};

    if (len < LINUX_MAGIC_OFF + 4 || load_le16(file + LINUX_BOOT_FLAG_OFF) != 0xaa55 ||
        memcmp(file + LINUX_MAGIC_OFF, LINUX_MAGIC, 4) != 0)
        return bare_refuse(&b->ram, e, "not a bzImage (no setup header at 0x%x)", HEADER_OFF);
    s.setup_len = (uint64_t)((file[HEADER_SETUP_SECTS] != 0 ? file[HEADER_SETUP_SECTS] : 4) + 1) * SECTOR_LEN;
    if (len <= s.setup_len)
        return bare_refuse(&b->ram, e,
                           "no kernel behind the setup code (%" PRIu64 " bytes, setup has %" PRIu64
                           "): truncated?",
                           len, s.setup_len);
    s.payload_len = len - s.setup_len;
    s.version = load_le16(file + HEADER_VERSION);
    if (s.version < 0x203)
        return bare_refuse(&b->ram, e, "boot protocol too old (0x%x, wanted 0x203)", s.version);
    s.header_end = LINUX_MAGIC_OFF + (uint64_t)file[HEADER_JUMP];
    if (s.header_end < header_end_of(s.version))
        return bare_refuse(&b->ram, e,
                           "setup header too short for its version (ends at 0x%" PRIx64 ", wanted 0x%" PRIx64
                           ")",
                           s.header_end, header_end_of(s.version));
    if (s.header_end > HEADER_END_MAX)
        s.header_end = HEADER_END_MAX;
    fields_read(file, &s);
    if (setup_check(&b->ram, file, &s, e) != 0)
        return -1;
    s.entry_off = load_le32(file + HEADER_CODE32) - BARE_HIGH;
    *out = s;
    return 0;
}

/* Where a relocatable kernel wants to be, or as low as it may if RAM ends before. */
static uint64_t relocated(const struct setup *s, uint64_t need, uint64_t ram_len)
{
    const uint64_t mask = s->alignment - 1;
    const uint64_t wanted = s->preferred > BARE_HIGH ? s->preferred : BARE_HIGH;

    if (wanted < ram_len && num_fits((wanted + mask) & ~mask, need, ram_len))
        return (wanted + mask) & ~mask;
    return (BARE_HIGH + mask) & ~mask;
}

/* A kernel that is not relocatable unpacks itself to pref_address, whatever is there. */
static int place_kernel(struct bare_load *b, const struct setup *s, uint64_t *at, struct err *e)
{
    const uint64_t need = s->payload_len > s->init_len ? s->payload_len : s->init_len;
    uint64_t load = BARE_HIGH, end = load + s->payload_len, unpacked_end;

    if (s->relocatable) {
        load = relocated(s, need, b->ram.len);
        end = load + need;
    } else if (s->init_len != 0) {
        if (s->preferred < BARE_HIGH || !num_add(s->preferred, s->init_len, &unpacked_end))
            return bare_refuse(&b->ram, e,
                               "pref_address is no place for a kernel (0x%" PRIx64 ", lowest 0x%x)",
                               s->preferred, BARE_HIGH);
        if (unpacked_end > end)
            end = unpacked_end;
    }
    if (bare_claim(&b->ram, "the kernel", load, end - load, e) != 0)
        return -1;
    memcpy(b->ram.bytes + load, b->image->bytes + s->setup_len, s->payload_len);
    *at = load;
    return 0;
}

/* As high as it may be, out of the way of a kernel that grows. */
static int place_initrd(struct bare_load *b, const struct setup *s, const struct bare_file *initrd,
                        uint64_t *at, struct err *e)
{
    const uint64_t end = s->initrd_last < b->ram.len ? s->initrd_last + 1 : b->ram.len;
    uint64_t to;

    if (initrd->len > end || num_page_down(end - initrd->len) < b->ram.kernel_end)
        return bare_refuse(&b->ram, e,
                           "no room for the initrd (%" PRIu64 " bytes, from the kernel's end at 0x%" PRIx64
                           " to 0x%" PRIx64 ")",
                           initrd->len, b->ram.kernel_end, end);
    to = num_page_down(end - initrd->len);
    if (bare_claim(&b->ram, "the initrd", to, initrd->len, e) != 0)
        return -1;
    if (initrd->len != 0)
        memcpy(b->ram.bytes + to, initrd->bytes, initrd->len);
    *at = to;
    return 0;
}

/* ESI and, because the protocol wants its descriptors in memory, the GDT. */
static int place_start(struct bare_load *b, uint64_t entry, uint64_t zero_page, struct bare_start *out,
                       struct err *e)
{
    struct bare_start start = bare_start_flat(BARE_LINUX, entry);
    struct cpu_sregs *s = &start.sregs;
    uint64_t gdt;

    if (bare_place_info(&b->ram, "the GDT", BOOT_GDT_LEN, &gdt, e) != 0)
        return -1;
    store_le64(b->ram.bytes + gdt + BOOT_CS, gdt_encode(&gdt_code32));
    store_le64(b->ram.bytes + gdt + BOOT_DS, gdt_encode(&gdt_data32));
    s->gdt = (struct cpu_table){.base = gdt, .limit = BOOT_GDT_LEN - 1};
    s->cs.selector = BOOT_CS;
    s->ds.selector = s->es.selector = s->fs.selector = s->gs.selector = s->ss.selector = BOOT_DS;
    start.regs.rsi = zero_page;
    *out = start;
    return 0;
}

int linux_load(struct bare_load *b, struct bare_start *out, struct err *e)
{
    const struct bare_file *initrd = b->options->initrd;
    const size_t cmdline_len = strlen(b->options->append);
    uint64_t kernel, zero_page, cmdline, ramdisk = 0;
    struct setup s = {0};
    uint8_t *z;

    if (bare_no_modules(b, BARE_LINUX, e) != 0 || setup_read(b, &s, e) != 0)
        return -1;
    if (cmdline_len > s.cmdline_max)
        return err_usage(e, "%s: too long a command line for this kernel (%zu bytes, limit %" PRIu64 ")",
                         b->image->name, cmdline_len, s.cmdline_max);
    if (place_kernel(b, &s, &kernel, e) != 0 ||
        (initrd != NULL && place_initrd(b, &s, initrd, &ramdisk, e) != 0) ||
        bare_place_info(&b->ram, "the zero page", PAGE_LEN, &zero_page, e) != 0 ||
        bare_place_text(&b->ram, "the command line", b->options->append, &cmdline, e) != 0)
        return -1;
    z = b->ram.bytes + zero_page;
    memcpy(z + HEADER_OFF, b->image->bytes + HEADER_OFF, s.header_end - HEADER_OFF);
    z[HEADER_LOADER] = LOADER_UNKNOWN;
    store_le16(z + HEADER_VID_MODE, VID_MODE_NORMAL);
    store_le32(z + HEADER_CODE32, (uint32_t)(kernel + s.entry_off));
    store_le32(z + HEADER_RAMDISK, (uint32_t)ramdisk);
    store_le32(z + HEADER_RAMDISK_LEN, initrd != NULL ? (uint32_t)initrd->len : 0);
    store_le32(z + HEADER_CMDLINE, (uint32_t)cmdline);
    z[ZERO_PAGE_E820_N] = (uint8_t)bare_memory_map(b->ram.len, z + ZERO_PAGE_E820, E820_ENTRY_LEN);
    return place_start(b, kernel + s.entry_off, zero_page, out, e);
}
