/* boot/multiboot: each field of the boot information against the Multiboot Specification 0.6.96, section 3.3. */
#include "tests/unit/multiboot_images.h"

static void test_information(void)
{
    uint64_t i, at;

    tap_case("the boot information says what is there and nothing else");
    opt.append = "console=com0 -s";
    make_plain_raw();
    ACCEPT_RAW();
    i = start.regs.rbx;
    CHECK_EQ(ram32(i), 0x24d); /* memory, command line, modules, memory map, boot loader's name */
    CHECK_EQ(ram32(i + 4), 639);
    CHECK_EQ(ram32(i + 8), 7 * 1024);
    CHECK_EQ(ram32(i + 12), 0);
    CHECK_STR(ram_text(ram32(i + 16)), "k.img console=com0 -s");
    CHECK_EQ(ram32(i + 20), 0);
    CHECK(ram_is_zero(i + 28, i + 44));
    CHECK_EQ(ram32(i + 44), 3 * 24);
    CHECK(ram_is_zero(i + 52, i + 64));
    CHECK_STR(ram_text(ram32(i + 64)), "vmm");
    CHECK(ram_is_zero(i + 68, i + 116));
    opt_reset();

    tap_case("without arguments the command line is the image's name");
    ACCEPT_RAW();
    CHECK_STR(ram_text(ram32(start.regs.rbx + 16)), "k.img");

    tap_case("the memory map has low memory, what a PC keeps, and all above 1 MiB");
    at = ram32(start.regs.rbx + 48);
    CHECK_EQ(ram32(at), 20);
    CHECK_EQ(ram64(at + 4), 0);
    CHECK_EQ(ram64(at + 12), 0x9fc00);
    CHECK_EQ(ram32(at + 20), 1);
    CHECK_EQ(ram32(at + 24), 20);
    CHECK_EQ(ram64(at + 28), 0x9fc00);
    CHECK_EQ(ram64(at + 36), 0x60400);
    CHECK_EQ(ram32(at + 44), 2);
    CHECK_EQ(ram32(at + 48), 20);
    CHECK_EQ(ram64(at + 52), 0x100000);
    CHECK_EQ(ram64(at + 60), 0x700000);
    CHECK_EQ(ram32(at + 68), 1);

    tap_case("in 1 MiB of RAM a kernel in low memory is told that there is nothing above");
    opt.ram_len = MIB;
    make_raw(0x3000, 0x40, 0x7c40, 0x7c00, 0, 0, 0x7c00);
    ACCEPT_RAW();
    CHECK_EQ(ram32(start.regs.rbx + 8), 0);
    CHECK_EQ(ram32(start.regs.rbx + 44), 2 * 24);
    opt_reset();

    tap_case("a kernel that wants a video mode gets the text screen");
    make_elf(0x100, VIDEO);
    ACCEPT_ELF();
    i = start.regs.rbx;
    CHECK_EQ(ram32(i) & 0x1800, 0x1000);
    CHECK(ram_is_zero(i + 72, i + 88));
    CHECK_EQ(ram64(i + 88), 0xb8000);
    CHECK_EQ(ram32(i + 96), 160);
    CHECK_EQ(ram32(i + 100), 80);
    CHECK_EQ(ram32(i + 104), 25);
    CHECK_EQ(ram_word(i + 108, 1), 16);
    CHECK_EQ(ram_word(i + 109, 1), 2);

    tap_case("a kernel that fills low memory finds the information above itself");
    make_raw(0x3000, 0x40, 0x10040, 0x10000, 0x11000, 0x9fc00, 0x10000);
    ACCEPT_RAW();
    CHECK(start.regs.rbx >= 0x100000 && start.regs.rbx < ram_len);
    CHECK_STR(ram_text(ram32(start.regs.rbx + 16)), "k.img");
    CHECK(ram_is_zero(0x11000, 0x100000));

    tap_case("information for which there is no room is refused");
    make_raw(0x3000, 0x40, 0x10040, 0x10000, 0x11000, 0x9fc00, 0x10000);
    opt.ram_len = MIB;
    REFUSE_RAW("no room for the boot information (116 bytes");
    opt_reset();
}

static void test_modules(void)
{
    static uint8_t bytes[3][0x2345];
    static const char *const args[3] = {"one two", "", "three"};
    const size_t lens[3] = {0x2345, 0x1000, 1};
    struct bare_file modules[BARE_MODULES_MAX];
    char name[3][8];
    uint64_t list, end = 0x103000;
    unsigned i;

    for (i = 0; i < 3; i++) {
        fill_pattern(bytes[i], sizeof(bytes[i]), 40 + i);
        snprintf(name[i], sizeof(name[i]), "m%u", i);
        modules[i] = (struct bare_file){name[i], args[i], bytes[i], lens[i]};
    }
    opt.modules = modules;
    opt.modules_n = 3;

    tap_case("modules are whole at page boundaries above the kernel, with their strings");
    make_plain_raw();
    ACCEPT_RAW();
    CHECK_EQ(ram32(start.regs.rbx) & 8, 8);
    CHECK_EQ(ram32(start.regs.rbx + 20), 3);
    list = ram32(start.regs.rbx + 24);
    for (i = 0; i < 3; i++, list += 16) {
        CHECK_EQ(ram32(list), end);
        CHECK_EQ(ram32(list + 4), end + lens[i]);
        CHECK(ram_holds(end, bytes[i], lens[i]));
        CHECK_STR(ram_text(ram32(list + 8)), *args[i] != '\0' ? args[i] : name[i]);
        CHECK_EQ(ram32(list + 12), 0);
        end = (end + lens[i] + 0xfff) & ~(uint64_t)0xfff;
    }
    CHECK(ram_holds(0x100000, raw.bytes, raw.len));
    CHECK(ram_is_left_alone());

    tap_case("above a kernel that ends inside a page modules start with the next one");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0, 0x104001, 0x100100);
    ACCEPT_RAW();
    CHECK_EQ(ram32(ram32(start.regs.rbx + 24)), 0x105000);

    tap_case("below a kernel at the end of RAM there is room for modules too");
    make_raw(0x3000, 0x40, 0x7fd040, 0x7fd000, 0, 0, 0x7fd000);
    ACCEPT_RAW();
    CHECK_EQ(ram32(ram32(start.regs.rbx + 24)), 0x100000);
    CHECK(ram_holds(0x7fd000, raw.bytes, raw.len));

    tap_case("modules that fill RAM to the last page are placed, a page more is refused");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0, 0x7fb000, 0x100100);
    ACCEPT_RAW();
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0, 0x7fb001, 0x100100);
    REFUSE_RAW("no room for m2 (1 bytes, RAM ends at 0x800000, the kernel at 0x7fb001)");

    tap_case("a module may be empty");
    modules[1].len = 0;
    modules[1].bytes = NULL;
    make_plain_raw();
    ACCEPT_RAW();
    list = ram32(start.regs.rbx + 24);
    CHECK_EQ(ram32(list + 16), ram32(list + 20));
    CHECK_EQ(ram32(list + 16) % 4096, 0);

    tap_case("as many modules as there may be are all there");
    for (i = 0; i < BARE_MODULES_MAX; i++)
        modules[i] = (struct bare_file){"m", "", bytes[0] + i, 0x11};
    opt.modules_n = BARE_MODULES_MAX;
    ACCEPT_RAW();
    CHECK_EQ(ram32(start.regs.rbx + 20), BARE_MODULES_MAX);
    list = ram32(start.regs.rbx + 24);
    for (i = 0; i < BARE_MODULES_MAX; i++)
        CHECK(ram32(list + i * 16) == 0x103000 + i * 0x1000 &&
              ram_holds(0x103000 + i * 0x1000, bytes[0] + i, 0x11));
    opt_reset();

    tap_case("an initrd is refused as one");
    opt.initrd = modules;
    REFUSE(BARE_MULTIBOOT, raw.bytes, raw.len, STATUS_USAGE, "k.img: a multiboot image takes no initrd");
    opt_reset();
}

#define SHDR(m, i, field, v) MADE_PUT((m), sections_off + (i) * sizeof(Elf32_Shdr), Shdr, field, (v))

/* An ELF kernel with a null section, one in memory, bss that is not, one of symbols and one of strings. */
static size_t make_sections(void)
{
    size_t sections_off, symbols;

    make_elf(0x100, 0);
    symbols = made_grow(&made, 0x35);
    fill_pattern(made.bytes + symbols, 0x35, 99);
    made_align(&made, 4);
    sections_off = made_grow(&made, 5 * sizeof(Elf32_Shdr));
    MADE_EHDR(&made, e_shoff, sections_off);
    MADE_EHDR(&made, e_shentsize, sizeof(Elf32_Shdr));
    MADE_EHDR(&made, e_shnum, 5);
    MADE_EHDR(&made, e_shstrndx, 4);
    SHDR(&made, 1, sh_type, SHT_PROGBITS);
    SHDR(&made, 1, sh_flags, SHF_ALLOC);
    SHDR(&made, 1, sh_addr, TEXT_VA);
    SHDR(&made, 1, sh_offset, TEXT_OFF);
    SHDR(&made, 1, sh_size, TEXT_LEN);
    SHDR(&made, 2, sh_type, SHT_NOBITS);
    SHDR(&made, 2, sh_offset, 0xffffffff);
    SHDR(&made, 2, sh_size, 0xffffffff);
    SHDR(&made, 3, sh_type, SHT_SYMTAB);
    SHDR(&made, 3, sh_offset, symbols);
    SHDR(&made, 3, sh_size, 0x25);
    SHDR(&made, 4, sh_type, SHT_STRTAB);
    SHDR(&made, 4, sh_offset, symbols + 0x25);
    SHDR(&made, 4, sh_size, 0x10);
    return sections_off;
}

static void test_sections(void)
{
    size_t sections_off = make_sections();
    const struct bare_file module = {"m", "", raw.bytes, 0x1001};
    uint64_t i, table;
    uint32_t strings, symbols;

    tap_case("the section headers are in RAM, and the sections that no segment brings along");
    ACCEPT_ELF();
    i = start.regs.rbx;
    CHECK_EQ(ram32(i) & 0x30, 0x20);
    CHECK_EQ(ram32(i + 28), 5);
    CHECK_EQ(ram32(i + 32), 40);
    CHECK_EQ(ram32(i + 40), 4);
    table = ram32(i + 36);
    CHECK(table >= 0x102000 + DATA_MEM && table % 4 == 0);
    CHECK(ram_is_zero(table, table + 40));
    CHECK(ram_holds(table + 40, made.bytes + sections_off + 40, 80));
    CHECK_EQ(ram32(table + 40 + 12), TEXT_VA);
    symbols = ram32(table + 120 + 12);
    strings = ram32(table + 160 + 12);
    CHECK(symbols >= table + 200 && strings >= symbols + 0x25);
    CHECK(ram_holds(symbols, made.bytes + sections_off - 0x38, 0x25));
    CHECK(ram_holds(strings, made.bytes + sections_off - 0x38 + 0x25, 0x10));
    CHECK(ram_holds(table + 120 + 16, made.bytes + sections_off + 120 + 16, 24));

    tap_case("modules come first");
    opt.modules = &module;
    opt.modules_n = 1;
    ACCEPT_ELF();
    CHECK_EQ(ram32(ram32(start.regs.rbx + 24)), 0x103000);
    CHECK_EQ(ram32(start.regs.rbx + 36), 0x105000);
    opt_reset();

    tap_case("where RAM has no room for sections, there are none");
    MADE_PHDR(&made, 1, p_memsz, 0x800000 - 0x102000);
    MADE_PHDR(&made, 0, p_paddr, 0x90000);
    MADE_PHDR(&made, 1, p_paddr, 0x100000);
    MADE_PHDR(&made, 1, p_memsz, 0x700000);
    ACCEPT_ELF();
    CHECK_EQ(ram32(start.regs.rbx) & 0x30, 0);
    CHECK(ram_is_zero(start.regs.rbx + 28, start.regs.rbx + 44));

    tap_case("a section outside the file is refused");
    sections_off = make_sections();
    SHDR(&made, 3, sh_offset, made.len - 0x25);
    ACCEPT_ELF();
    SHDR(&made, 3, sh_offset, made.len - 0x24);
    REFUSE_ELF("a section is outside the file (37 bytes at 0x");
    SHDR(&made, 3, sh_offset, 0xfffffff0);
    REFUSE_ELF("a section is outside the file");

    tap_case("section headers of another length are refused");
    make_sections();
    MADE_EHDR(&made, e_shentsize, 32);
    REFUSE_ELF("wrong section header length (32, wanted 40)");
}

static void test_cut_short(void)
{
    size_t len;

    tap_case("an ELF file that is cut short anywhere is refused");
    make_sections();
    for (len = 0; len < made.len; len++)
        CHECK(load_raw(BARE_MULTIBOOT, made.bytes, len) == -1 && err.status == STATUS_IMAGE);
}

int main(void)
{
    if (!bare_is_built_in())
        return without_loaders(BARE_MULTIBOOT);
    test_information();
    test_modules();
    test_sections();
    test_cut_short();
    free(ram);
    return tap_done();
}
