/* Bare kernels: from a format to its loader, and RAM in which pieces never meet. See bare.h and bare_place.h. */
#include "boot/bare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "boot/bare_place.h"
#include "boot/gdt.h"
#include "boot/x86.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/format.h"
#include "mem/num.h"

/* Page-aligned pieces go where the kernel is told about; what tells it may have any multiple of 16. */
#define INFO_ALIGN 16

const bool bare_is_built = true;

int bare_refuse(const struct bare_ram *r, struct err *e, const char *fmt, ...)
{
    char text[sizeof(e->text)];
    va_list ap;

    va_start(ap, fmt);
    format_text_v(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_image(e, "%s: %s", r->name, text);
}

int bare_no_modules(const struct bare_load *b, enum bare_format f, struct err *e)
{
    if (b->options->modules_n == 0)
        return 0;
    return err_usage(e, "%s: a %s image takes no modules", b->image->name, bare_format_name(f));
}

int bare_no_initrd(const struct bare_load *b, enum bare_format f, struct err *e)
{
    if (b->options->initrd == NULL)
        return 0;
    return err_usage(e, "%s: a %s image takes no initrd", b->image->name, bare_format_name(f));
}

/* The piece that [at, at + len), which does not wrap, would share a byte with; taken_n if there is none. */
static unsigned find_taken(const struct bare_ram *r, uint64_t at, uint64_t len)
{
    unsigned i;

    for (i = 0; i < r->taken_n; i++)
        if (num_overlap(at, len, r->taken[i].at, r->taken[i].end - r->taken[i].at))
            break;
    return i;
}

static int take(struct bare_ram *r, const char *what, uint64_t at, uint64_t len, struct err *e)
{
    if (len == 0)
        return 0;
    if (r->taken_n == BARE_TAKEN_MAX)
        return bare_refuse(r, e, "%s: too many pieces to load (limit %u)", what, BARE_TAKEN_MAX);
    r->taken[r->taken_n].at = at;
    r->taken[r->taken_n++].end = at + len;
    return 0;
}

int bare_claim(struct bare_ram *r, const char *what, uint64_t at, uint64_t len, struct err *e)
{
    unsigned i;

    if (!num_fits(at, len, r->len))
        return bare_refuse(
            r, e, "%s lies outside RAM (0x%" PRIx64 " bytes at 0x%" PRIx64 ", RAM ends at 0x%" PRIx64 ")",
            what, len, at, r->len);
    if (!r->anywhere && (at < BARE_LOW || (at < BARE_HIGH && at + len > BARE_LOW_END)))
        return bare_refuse(r, e,
                           "%s lies where a PC has no memory for kernels (0x%" PRIx64 " bytes at 0x%" PRIx64
                           ", wanted 0x%x-0x%x or above 0x%x)",
                           what, len, at, BARE_LOW, BARE_LOW_END, BARE_HIGH);
    i = find_taken(r, at, len);
    if (i < r->taken_n)
        return bare_refuse(r, e,
                           "%s overlaps another piece (0x%" PRIx64 " bytes at 0x%" PRIx64 ", 0x%" PRIx64
                           " bytes at 0x%" PRIx64 ")",
                           what, len, at, r->taken[i].end - r->taken[i].at, r->taken[i].at);
    if (take(r, what, at, len, e) != 0)
        return -1;
    if (at + len > r->kernel_end)
        r->kernel_end = at + len;
    return 0;
}

bool bare_find(const struct bare_ram *r, uint64_t from, uint64_t end, uint64_t len, uint64_t align,
               uint64_t *at)
{
    uint64_t to = from;
    unsigned i;

    /* Everything here is below RAM's end, so that rounding up cannot wrap. */
    for (;;) {
        to = (to + align - 1) & ~(align - 1);
        if (!num_fits(to, len, end))
            return false;
        i = find_taken(r, to, len);
        if (i == r->taken_n)
            break;
        to = r->taken[i].end;
    }
    *at = to;
    return true;
}

int bare_place(struct bare_ram *r, const char *what, uint64_t len, uint64_t *at, struct err *e)
{
    uint64_t to;

    if (!bare_find(r, r->kernel_end, r->len, len, PAGE_LEN, &to) &&
        !bare_find(r, BARE_HIGH, r->len, len, PAGE_LEN, &to))
        return bare_refuse(r, e,
                           "no room for %s (%" PRIu64 " bytes, RAM ends at 0x%" PRIx64
                           ", the kernel at 0x%" PRIx64 ")",
                           what, len, r->len, r->kernel_end);
    if (take(r, what, to, len, e) != 0)
        return -1;
    *at = to;
    return 0;
}

int bare_place_info(struct bare_ram *r, const char *what, uint64_t len, uint64_t *at, struct err *e)
{
    uint64_t to;

    if (!bare_find(r, BARE_INFO, BARE_LOW_END, len, INFO_ALIGN, &to))
        return bare_place(r, what, len, at, e);
    if (take(r, what, to, len, e) != 0)
        return -1;
    *at = to;
    return 0;
}

int bare_place_file(struct bare_ram *r, const struct bare_file *file, uint64_t *at, struct err *e)
{
    uint64_t to = 0;

    if (bare_place(r, file->name, file->len, &to, e) != 0)
        return -1;
    if (file->len != 0)
        memcpy(r->bytes + to, file->bytes, file->len);
    *at = to;
    return 0;
}

int bare_place_text(struct bare_ram *r, const char *what, const char *text, uint64_t *at, struct err *e)
{
    const uint64_t len = strlen(text) + 1;
    uint64_t to = 0;

    if (bare_place_info(r, what, len, &to, e) != 0)
        return -1;
    memcpy(r->bytes + to, text, len);
    *at = to;
    return 0;
}

unsigned bare_memory_map(uint64_t ram_len, uint8_t *to, size_t stride)
{
    const uint64_t ends[E820_MAX] = {BARE_LOW_END, BARE_HIGH, ram_len};
    uint64_t at = 0;
    unsigned i;

    for (i = 0; i < E820_MAX && at < ends[i]; i++) {
        store_le64(to, at);
        store_le64(to + 8, ends[i] - at);
        store_le32(to + 16, i == 1 ? E820_RESERVED : E820_RAM);
        at = ends[i];
        to += stride;
    }
    return i;
}

struct bare_start bare_start_flat(enum bare_format f, uint64_t entry)
{
    struct bare_start start = {
        .format = f,
        .regs = {.rip = entry, .rflags = RFLAGS_FIXED},
        .sregs = {.cr0 = CR0_ET | CR0_PE, .apic_base = APIC_BASE_RESET},
        .irqchip = true,
    };

    gdt_load(&start.sregs, &gdt_code32, &gdt_data32, &gdt_tss);
    return start;
}

int bare_load(enum bare_format f, const struct bare_file *image, const struct bare_options *o, uint8_t *ram,
              struct bare_start *out, struct err *e)
{
    static int (*const loaders[BARE_FORMATS_N])(struct bare_load *, struct bare_start *, struct err *) = {
        multiboot_load,
        microvm_load,
        pvh_load,
        linux_load,
    };
    struct bare_load b = {
        .image = image,
        .options = o,
        .ram = {.bytes = ram, .len = o->ram_len, .name = image->name, .kernel_end = BARE_HIGH},
    };

    assert(num_is_page_aligned(o->ram_len) && o->ram_len >= BARE_RAM_MIN && o->ram_len <= BARE_RAM_MAX);
    assert(o->modules_n <= BARE_MODULES_MAX);
    return loaders[f](&b, out, e);
}
