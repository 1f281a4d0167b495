/*
 * Fuzzes the ELF loader: any bytes are refused, or decode to a struct that
 * keeps the promises of boot/elf.h and loads into a buffer of exactly span_len.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/elf.h"

#define SPAN_LIMIT ((uint64_t)1 << 20) /* larger images are valid, and slow */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void demand(int promise)
{
    if (!promise)
        abort();
}

static void check_promises(const struct elf_image *elf, uint64_t file_len)
{
    const struct elf_segment *s = elf->segments;
    uint64_t end = 0, limit = elf->machine == ELF_I386 ? (uint64_t)1 << 32 : UINT64_MAX;
    int entry_inside = 0;
    unsigned i;

    demand(elf->segments_n > 0 && elf->segments_n <= ELF_SEGMENTS_MAX);
    demand(elf->vaddr_base % 4096 == 0 && s[0].vaddr - elf->vaddr_base < 4096);
    demand(elf->pie || elf->vaddr_base != 0);
    for (i = 0; i < elf->segments_n; i++) {
        demand(s[i].vaddr >= end && s[i].mem_len > 0 && s[i].mem_len <= limit - s[i].vaddr);
        demand(s[i].file_len <= s[i].mem_len);
        demand(s[i].file_len == 0 ||
               (s[i].file_len <= file_len && s[i].file_off <= file_len - s[i].file_len));
        entry_inside |= elf->entry >= s[i].vaddr && elf->entry - s[i].vaddr < s[i].mem_len;
        end = s[i].vaddr + s[i].mem_len;
    }
    demand(entry_inside && elf->span_len == end - elf->vaddr_base && elf->span_len <= ELF_SPAN_MAX);
    demand(!elf->identity || elf->machine == ELF_I386);
    demand(memchr(elf->abi_version, '\0', sizeof(elf->abi_version)) != NULL);
    demand(elf->relocs.len == 0 || elf->relocs.has_addend == (elf->machine == ELF_X86_64));
}

static void load(const struct elf_image *elf, const uint8_t *data, size_t len, uint64_t base)
{
    uint8_t *image = calloc(1, elf->span_len);
    struct err e;
    uint64_t i;

    demand(image != NULL);
    if (elf_load(elf, data, len, base, "fuzz", image, &e) != 0)
        for (i = 0; i < elf->span_len; i++)
            demand(image[i] == 0);
    free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct elf_image elf;
    struct err e = {.text = ""};

    if (elf_parse(data, len, "fuzz", &elf, &e) != 0) {
        demand(e.status == STATUS_IMAGE && strncmp(e.text, "fuzz: ", 6) == 0);
        return 0;
    }
    check_promises(&elf, len);
    if (elf.span_len > SPAN_LIMIT)
        return 0;
    if (elf.pie) {
        load(&elf, data, len, elf.machine == ELF_I386 ? 0x1000 : 0x4000);
        load(&elf, data, len, 0xfffff000); /* the end of what an i386 guest has */
    } else {
        load(&elf, data, len, elf.vaddr_base);
    }
    return 0;
}
