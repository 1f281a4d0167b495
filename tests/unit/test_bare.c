/* boot/bare_detect: telling images apart, in every flavour. */
#include "tests/unit/bare_check.h"

static struct made made; /* too large for a stack */

static void put_multiboot(uint8_t *at, uint32_t checksum_off)
{
    put32(at, 0x1badb002);
    put32(at + 4, 3);
    put32(at + 8, 0u - 0x1badb002 - 3 + checksum_off);
}

/* The format of an exact copy; BARE_FORMATS_N if it has none, and then the result must be untouched. */
static unsigned detect(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = exact_copy(bytes, len);
    enum bare_format f = BARE_FORMATS_N;
    bool found = bare_detect(copy, len, &f);

    free(copy);
    CHECK(found == (f != BARE_FORMATS_N));
    return f;
}

static unsigned detect_made(void)
{
    return detect(made.bytes, made.len);
}

/* An i386 executable with room for a header at 0x200, entered at `entry`, its segment at `vaddr` and `paddr`. */
static void make(unsigned type, uint64_t entry, uint64_t vaddr, uint64_t paddr)
{
    made_start(&made, false, type, 3);
    made_align(&made, 0x200);
    made_grow(&made, 0x100);
    made_segment(&made, 0, 0x200, vaddr, paddr, 0x100, 0x100);
    MADE_EHDR(&made, e_entry, entry);
}

static void add_note(unsigned i, const char *owner, uint32_t type)
{
    size_t off = made_note(&made, owner, type, "\0\0\0", 4, 4);

    made_phdr(&made, i, PT_NOTE, off, 0, made.len - off, made.len - off, 4);
}

static void test_detect_raw(void)
{
    static uint8_t raw[0x4000];

    tap_case("formats have names");
    CHECK_STR(bare_format_name(BARE_MULTIBOOT), "multiboot");
    CHECK_STR(bare_format_name(BARE_MICROVM), "microvm");
    CHECK_STR(bare_format_name(BARE_PVH), "pvh");
    CHECK_STR(bare_format_name(BARE_LINUX), "linux");

    tap_case("zeros, text and an empty file are no bare kernels");
    CHECK_EQ(detect(raw, 0), BARE_FORMATS_N);
    CHECK_EQ(detect(raw, 1), BARE_FORMATS_N);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_FORMATS_N);
    CHECK_EQ(detect((const uint8_t *)"#!/bin/sh\n", 10), BARE_FORMATS_N);

    tap_case("a multiboot header is found if its three words are in the first 8192 bytes, aligned");
    put_multiboot(raw + 8180, 0);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_MULTIBOOT);
    CHECK_EQ(detect(raw, 8192), BARE_MULTIBOOT);
    CHECK_EQ(detect(raw, 8191), BARE_FORMATS_N);
    memset(raw, 0, sizeof(raw));
    put_multiboot(raw + 8184, 0);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_FORMATS_N);
    memset(raw, 0, sizeof(raw));
    put_multiboot(raw + 0x42, 0);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_FORMATS_N);

    tap_case("a multiboot header with a wrong checksum counts as one");
    memset(raw, 0, sizeof(raw));
    put_multiboot(raw + 0x40, 1);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_MULTIBOOT);

    tap_case("Linux's magic number counts with the boot flag in front only, and before multiboot's");
    memcpy(raw + 0x202, "HdrS", 4);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_MULTIBOOT);
    raw[0x1fe] = 0x55;
    raw[0x1ff] = 0xaa;
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_LINUX);
    CHECK_EQ(detect(raw, 0x206), BARE_LINUX);
    put_multiboot(raw + 0x40, 0);
    CHECK_EQ(detect(raw, sizeof(raw)), BARE_LINUX);
    CHECK_EQ(detect(raw, 0x205), BARE_MULTIBOOT);
}

static void test_detect_elf(void)
{
    unsigned type;

    tap_case("guests of the ABI are no bare kernels");
    made_sample(&made, false, ET_DYN, 0);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    made_sample(&made, false, ET_EXEC, 0x400000);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    made_sample(&made, true, ET_DYN, 0);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    make(ET_EXEC, 0x8000, 0x8000, 0x8000);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);

    tap_case("an ELF file with a multiboot header, good or bad, is multiboot");
    make(ET_EXEC, 0x100000, 0x100000, 0x100000);
    put_multiboot(made.bytes + 0x200, 0);
    CHECK_EQ(detect_made(), BARE_MULTIBOOT);
    put_multiboot(made.bytes + 0x200, 1);
    CHECK_EQ(detect_made(), BARE_MULTIBOOT);

    tap_case("Xen's note with an entry point makes a file PVH, unless it has a good multiboot header");
    add_note(1, "Xen", 18);
    CHECK_EQ(detect_made(), BARE_PVH);
    put_multiboot(made.bytes + 0x200, 0);
    CHECK_EQ(detect_made(), BARE_MULTIBOOT);
    make(ET_EXEC, 0x100000, 0x100000, 0x100000);
    add_note(1, "Xen", 17);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    add_note(2, "Xen", 18);
    CHECK_EQ(detect_made(), BARE_PVH);
    made.len--;
    CHECK_EQ(detect_made(), BARE_FORMATS_N);

    tap_case("a note of the ABI makes a file the ABI's, whatever else is in it");
    for (type = 1; type < 3; type++) {
        make(ET_EXEC, 0, 0, 0);
        put_multiboot(made.bytes + 0x200, 0);
        add_note(1, "Xen", 18);
        CHECK_EQ(detect_made(), BARE_MULTIBOOT);
        add_note(2, type == 1 ? "VMM" : "Hyperlight", type);
        CHECK_EQ(detect_made(), BARE_FORMATS_N);
    }

    tap_case("an executable that the ABI would not place and 16-bit code can enter is microvm");
    make(ET_EXEC, 0xfff, 0xfff, 0xfff);
    CHECK_EQ(detect_made(), BARE_MICROVM);
    make(ET_EXEC, 0x1000, 0x1000, 0x1000);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    make(ET_EXEC, 0xffff, 0x8000, 0x8001);
    CHECK_EQ(detect_made(), BARE_MICROVM);
    make(ET_EXEC, 0x10000, 0x8000, 0x8001);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    make(ET_DYN, 0, 0, 0x100);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    make(ET_EXEC, 0x8000, 0x8000, 0x8000);
    made_segment(&made, 1, 0, 0, 0, 0, 0);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    made_segment(&made, 1, 0, 0xc0000000, 0x100000, 0, 1);
    CHECK_EQ(detect_made(), BARE_MICROVM);
    add_note(2, "Xen", 6);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);
    made_start(&made, true, ET_EXEC, 1);
    made_segment(&made, 0, 0, 0, 0x1000, 1, 1);
    CHECK_EQ(detect_made(), BARE_FORMATS_N);

    tap_case("a file that is cut short anywhere is no more than what is left of it");
    make(ET_EXEC, 0, 0, 0);
    add_note(1, "Xen", 18);
    for (made.len--; made.len > 0; made.len--) {
        unsigned f = detect_made();

        CHECK(f == BARE_FORMATS_N || (f == BARE_MICROVM && made.len >= 52 + 3 * 32));
    }
}

int main(void)
{
    test_detect_raw();
    test_detect_elf();
    if (!bare_is_built_in())
        return without_loaders(BARE_MULTIBOOT);
    return tap_done();
}
