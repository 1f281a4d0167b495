/*
 * boot/pvh: each field against Xen's x86/HVM direct boot ABI, the note in all
 * its forms and both classes of ELF.
 */
#include "tests/unit/bare_check.h"

#define ENTRY_NOTE 18
#define TEXT_OFF   0x400
#define TEXT_LEN   0x200
#define TEXT_MEM   0x1800

static struct made made; /* too large for a stack */
static size_t note_off;

/* A kernel at 2 MiB, with a note of `desc_len` bytes behind one of somebody else's. */
static void make(bool wide, uint64_t entry, uint32_t desc_len)
{
    made_start(&made, wide, ET_EXEC, 3);
    made_align(&made, 16);
    note_off = made_note(&made, "Xen", 5, "4.4", 4, 4);
    made_note(&made, "GNU", ENTRY_NOTE, "\1\2\3", 4, 4);
    made_note(&made, "Xen", ENTRY_NOTE, &entry, desc_len, 4);
    made_phdr(&made, 0, PT_NOTE, note_off, 0, made.len - note_off, made.len - note_off, 4);
    made_align(&made, TEXT_OFF);
    made_grow(&made, TEXT_LEN);
    fill_pattern(made.bytes + TEXT_OFF, TEXT_LEN, 21);
    made_segment(&made, 1, TEXT_OFF, wide ? 0xffffffff81000000 : 0xc1000000, 0x200000, TEXT_LEN, TEXT_MEM);
    MADE_EHDR(&made, e_entry, 0x12345678); /* another protocol's */
}

#define ACCEPT_MADE()     ACCEPT(BARE_PVH, made.bytes, made.len)
#define REFUSE_MADE(text) REFUSE(BARE_PVH, made.bytes, made.len, STATUS_IMAGE, text)

static void test_entry(void)
{
    unsigned wide;

    for (wide = 0; wide < 2; wide++) {
        char name[96];

        snprintf(name, sizeof(name), "an ELF%u kernel is loaded and entered at physical addresses",
                 wide ? 64 : 32);
        tap_case(name);
        make(wide != 0, 0x200010, wide != 0 ? 8 : 4);
        ACCEPT_MADE();
        CHECK_EQ(start.regs.rip, 0x200010);
        CHECK(ram_holds(0x200000, made.bytes + TEXT_OFF, TEXT_LEN));
        CHECK(ram_is_zero(0x200000 + TEXT_LEN, ram_len) && ram_is_zero(0x100000, 0x200000));
        CHECK(ram_is_left_alone());
        make(wide != 0, 0x200010, wide != 0 ? 4 : 8);
        ACCEPT_MADE();
        CHECK_EQ(start.regs.rip, 0x200010);

        snprintf(name, sizeof(name), "an ELF%u kernel that is cut short anywhere is refused", wide ? 64 : 32);
        tap_case(name);
        for (; made.len > 0; made.len--)
            CHECK(made.len == TEXT_OFF + TEXT_LEN || load_raw(BARE_PVH, made.bytes, made.len) == -1);
    }

    tap_case("the registers are those of the boot ABI");
    make(false, 0x200000, 4);
    ACCEPT_MADE();
    check_protected_mode(0x08, 0x10);
    CHECK_EQ(start.sregs.tr.base, 0);
    CHECK_EQ(start.sregs.tr.limit, 0x67);
    CHECK(start.regs.rax == 0 && start.regs.rcx == 0 && start.regs.rsi == 0);

    tap_case("an entry point outside the segments is refused");
    make(false, 0x200000 + TEXT_MEM - 1, 4);
    ACCEPT_MADE();
    make(false, 0x200000 + TEXT_MEM, 4);
    REFUSE_MADE("k.img: the PVH entry point is in no segment (0x201800)");
    make(false, 0x1fffff, 4);
    REFUSE_MADE("the PVH entry point is in no segment");
    make(true, 0x100200000, 8);
    REFUSE_MADE("the PVH entry point is in no segment (0x100200000)");

    tap_case("a file without the note, or with one of another length, is refused");
    make(false, 0x200000, 2);
    REFUSE_MADE("the note with the PVH entry point has the wrong length (2, wanted 4 or 8)");
    MADE_PHDR(&made, 0, p_type, PT_NULL);
    REFUSE_MADE("no PVH entry point: the ELF file has no Xen note of type 18");
    make(false, 0x200000, 4);
    MADE_PHDR(&made, 0, p_offset, made.len);
    REFUSE_MADE("no PVH entry point");

    tap_case("segments outside RAM or 32 bits, and over each other, are refused");
    make(true, 0x200000, 8);
    made_segment(&made, 2, 0, 0, 0x100000000, 1, 1);
    REFUSE_MADE("segment 2 lies outside RAM (0x1 bytes at 0x100000000");
    made_segment(&made, 2, 0, 0, UINT64_MAX, 1, 1);
    REFUSE_MADE("segment 2 lies outside RAM");
    made_segment(&made, 2, 0, 0, 0x300000, 0, UINT64_MAX);
    REFUSE_MADE("segment 2 lies outside RAM");
    made_segment(&made, 2, UINT64_MAX, 0, 0x300000, 1, 1);
    REFUSE_MADE("segment 2 is outside the file");
    made_segment(&made, 2, 0, 0, 0x200000 + TEXT_MEM, 1, 1);
    ACCEPT_MADE();
    made_segment(&made, 2, 0, 0, 0x200000 + TEXT_MEM - 1, 1, 1);
    REFUSE_MADE("segment 2 overlaps another piece");
}

static void check_memory_map(uint64_t at)
{
    static const struct {
        uint64_t at, len;
        uint32_t type;
    } wanted[] = {{0, 0x9fc00, 1}, {0x9fc00, 0x60400, 2}, {0x100000, 0x700000, 1}};
    unsigned i;

    for (i = 0; i < 3; i++, at += 24) {
        CHECK_EQ(ram64(at), wanted[i].at);
        CHECK_EQ(ram64(at + 8), wanted[i].len);
        CHECK_EQ(ram32(at + 16), wanted[i].type);
        CHECK_EQ(ram32(at + 20), 0);
    }
}

static void test_start_info(void)
{
    static uint8_t bytes[0x2001];
    const struct bare_file initrd = {"i", "", bytes, 0x1234};
    const struct bare_file modules[2] = {{"a", "x y", bytes + 1, 0x2000}, {"b", "", bytes, 0}};
    uint64_t i, list;

    fill_pattern(bytes, sizeof(bytes), 77);
    make(false, 0x200000, 4);

    tap_case("the start info of a kernel without modules has the command line and the memory map");
    opt.append = "console=ttyS0 quiet";
    ACCEPT_MADE();
    i = start.regs.rbx;
    CHECK(i != 0 && i % 8 == 0);
    CHECK_EQ(ram32(i), 0x336ec578);
    CHECK_EQ(ram32(i + 4), 1);
    CHECK_EQ(ram32(i + 8), 0);
    CHECK_EQ(ram32(i + 12), 0);
    CHECK_EQ(ram64(i + 16), 0);
    CHECK_STR(ram_text(ram64(i + 24)), "console=ttyS0 quiet");
    CHECK_EQ(ram64(i + 32), 0);
    CHECK_EQ(ram32(i + 48), 3);
    CHECK_EQ(ram32(i + 52), 0);
    check_memory_map(ram64(i + 40));

    tap_case("without arguments the command line is empty");
    opt_reset();
    ACCEPT_MADE();
    CHECK_STR(ram_text(ram64(start.regs.rbx + 24)), "");

    tap_case("the initrd is the first module, and all are at page boundaries above the kernel");
    opt.initrd = &initrd;
    opt.modules = modules;
    opt.modules_n = 2;
    ACCEPT_MADE();
    i = start.regs.rbx;
    CHECK_EQ(ram32(i + 12), 3);
    list = ram64(i + 16);
    CHECK_EQ(ram64(list), 0x202000);
    CHECK_EQ(ram64(list + 8), 0x1234);
    CHECK_EQ(ram64(list + 16), 0);
    CHECK_EQ(ram64(list + 24), 0);
    CHECK(ram_holds(0x202000, bytes, 0x1234));
    CHECK_EQ(ram64(list + 32), 0x204000);
    CHECK_EQ(ram64(list + 40), 0x2000);
    CHECK_STR(ram_text(ram64(list + 48)), "x y");
    CHECK_EQ(ram64(list + 56), 0);
    CHECK(ram_holds(0x204000, bytes + 1, 0x2000));
    CHECK_EQ(ram64(list + 64) % 4096, 0);
    CHECK_EQ(ram64(list + 72), 0);
    check_memory_map(ram64(i + 40));
    CHECK(ram_holds(0x200000, made.bytes + TEXT_OFF, TEXT_LEN) && ram_is_zero(0x200000 + TEXT_LEN, 0x202000));
    CHECK(ram_is_left_alone());

    tap_case("modules for which there is no room are refused");
    opt.ram_len = 3 * MIB;
    made_segment(&made, 2, 0, 0, 0x202000, 0, 0xfa000);
    ACCEPT_MADE();
    made_segment(&made, 2, 0, 0, 0x203000, 0, 0xfd000);
    made_segment(&made, 0, 0, 0, 0x100000, 0, 0x100000);
    REFUSE_MADE("no PVH entry point");
    make(false, 0x200000, 4);
    made_segment(&made, 2, 0, 0, 0x100000, 0, 0x100000);
    MADE_PHDR(&made, 1, p_memsz, 0x100000);
    REFUSE_MADE("no room for i (4660 bytes, RAM ends at 0x300000, the kernel at 0x300000)");
    opt_reset();
}

int main(void)
{
    if (!bare_is_built_in())
        return without_loaders(BARE_PVH);
    test_entry();
    test_start_info();
    free(ram);
    return tap_done();
}
