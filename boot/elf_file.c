/* Reading an ELF file's words and finding an address in it. See elf_file.h. */
#include "boot/elf_file.h"

#include <stdarg.h>

#include "mem/bytes.h"
#include "mem/format.h"
#include "mem/num.h"

int elf_refuse(const struct elf_file *f, struct err *e, const char *fmt, ...)
{
    char text[sizeof(e->text)];
    va_list ap;

    va_start(ap, fmt);
    format_text_v(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_image(e, "%s: %s", f->name, text);
}

uint64_t elf_word(const struct elf_file *f, uint64_t off)
{
    return f->wide ? load_le64(f->bytes + off) : load_le32(f->bytes + off);
}

bool elf_in_memory(const struct elf_image *elf, uint64_t vaddr, uint64_t len)
{
    unsigned i;

    for (i = 0; i < elf->segments_n; i++) {
        const struct elf_segment *s = &elf->segments[i];

        if (vaddr >= s->vaddr && num_fits(vaddr - s->vaddr, len, s->mem_len))
            return true;
    }
    return false;
}

bool elf_in_file(const struct elf_image *elf, uint64_t vaddr, uint64_t len, uint64_t *file_off)
{
    unsigned i;

    for (i = 0; i < elf->segments_n; i++) {
        const struct elf_segment *s = &elf->segments[i];

        if (vaddr >= s->vaddr && num_fits(vaddr - s->vaddr, len, s->file_len)) {
            *file_off = s->file_off + (vaddr - s->vaddr);
            return true;
        }
    }
    return false;
}
