/*
 * boot/multiboot: the header in all its forms, where the kernel goes and how it
 * starts, against the Multiboot Specification 0.6.96. What the kernel is told
 * is in test_multiboot_info.c.
 */
#include "tests/unit/multiboot_images.h"

static void test_registers(void)
{
    tap_case("a kernel starts in flat 32-bit mode with the magic number in EAX and the information in EBX");
    make_plain_raw();
    ACCEPT_RAW();
    check_protected_mode(0x08, 0x10);
    CHECK_EQ(start.regs.rax, 0x2badb002);
    CHECK(start.regs.rbx != 0 && start.regs.rbx % 4 == 0 && start.regs.rbx + 116 <= 0x9fc00);
    CHECK_EQ(start.regs.rip, 0x100100);
    CHECK(ram_is_left_alone());
}

static void test_addresses(void)
{
    tap_case("without load_end_addr and bss_end_addr all of the file is loaded");
    make_plain_raw();
    ACCEPT_RAW();
    CHECK(ram_holds(0x100000, raw.bytes, 0x3000));
    CHECK(ram_is_zero(0x103000, ram_len));

    tap_case("load_end_addr ends what is loaded");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x100ffd, 0, 0x100ffc);
    ACCEPT_RAW();
    CHECK(ram_holds(0x100000, raw.bytes, 0xffd));
    CHECK(ram_is_zero(0x100ffd, ram_len));

    tap_case("modules go above bss_end_addr");
    {
        const struct bare_file module = {"m", "", raw.bytes, 5};

        make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x101000, 0x104001, 0x100100);
        opt.modules = &module;
        opt.modules_n = 1;
        ACCEPT_RAW();
        CHECK_EQ(ram32(ram32(start.regs.rbx + 24)), 0x105000);
        CHECK(ram_is_zero(0x101000, 0x105000));
        opt_reset();
    }

    tap_case("the header's place in file and memory says where loading starts in the file");
    make_raw(0x3000, 0x1240, 0x200040, 0x200000, 0x200400, 0, 0x200000);
    ACCEPT_RAW();
    CHECK(ram_holds(0x200000, raw.bytes + 0x1200, 0x400));
    CHECK(ram_is_zero(0x100000, 0x200000) && ram_is_zero(0x200400, ram_len));
    make_raw(0x3000, 0x1240, 0x200040, 0x200000, 0, 0, 0x201dff);
    ACCEPT_RAW();
    CHECK(ram_holds(0x200000, raw.bytes + 0x1200, 0x1e00));
    make_raw(0x3000, 0x1240, 0x200000, 0x200000, 0, 0, 0x200000);
    ACCEPT_RAW();
    CHECK(ram_holds(0x200000, raw.bytes + 0x1240, 0x1dc0));

    tap_case("a load_addr outside the file is refused");
    make_raw(0x3000, 0x40, 0x100040, 0x100041, 0, 0, 0x100100);
    REFUSE_RAW(
        "k.img: load_addr is not in the file (load_addr 0x100041, header_addr 0x100040, header at 0x40)");
    make_raw(0x3000, 0x40, 0x100041, 0x100000, 0, 0, 0x100100);
    REFUSE_RAW("load_addr is not in the file");
    make_raw(0x3000, 0x40, 0xffffffff, 0, 0, 0, 0x100100);
    REFUSE_RAW("load_addr is not in the file");

    tap_case("a load_end_addr outside the file is refused");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x103000, 0, 0x100100);
    ACCEPT_RAW();
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x103001, 0, 0x100100);
    REFUSE_RAW("load_end_addr is not in the file (0x103001, 0x100000 plus 12288 bytes): truncated?");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0xfffff, 0, 0x100100);
    REFUSE_RAW("load_end_addr is not in the file");

    tap_case("a bss_end_addr below the data's end is refused");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x101000, 0x101000, 0x100100);
    ACCEPT_RAW();
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x101000, 0x100fff, 0x100100);
    REFUSE_RAW("bss_end_addr is below the end of the data (0x100fff, 0x101000)");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0, 0x102fff, 0x100100);
    REFUSE_RAW("bss_end_addr is below the end of the data");

    tap_case("an entry_addr outside the kernel is refused");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x101000, 0x102000, 0x101fff);
    ACCEPT_RAW();
    CHECK_EQ(start.regs.rip, 0x101fff);
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x101000, 0x102000, 0x102000);
    REFUSE_RAW("entry_addr is outside the kernel (0x102000, 0x2000 bytes at 0x100000)");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0x101000, 0, 0xfffff);
    REFUSE_RAW("entry_addr is outside the kernel");

    tap_case("a kernel outside RAM or where a PC has none is refused");
    make_raw(0x3000, 0x40, 0x7fd040, 0x7fd000, 0, 0, 0x7fd000);
    ACCEPT_RAW();
    make_raw(0x3000, 0x40, 0x7fd041, 0x7fd001, 0, 0, 0x7fd001);
    REFUSE_RAW("the kernel lies outside RAM (0x3000 bytes at 0x7fd001, RAM ends at 0x800000)");
    make_raw(0x3000, 0x40, 0x100040, 0x100000, 0, 0xffffffff, 0x100000);
    REFUSE_RAW("outside RAM");
    make_raw(0x3000, 0x40, 0xfffff040, 0xfffff000, 0, 0, 0xfffff000);
    REFUSE_RAW("outside RAM");
    make_raw(0x3000, 0x40, 0x540, 0x500, 0, 0, 0x500);
    ACCEPT_RAW();
    make_raw(0x3000, 0x40, 0x53f, 0x4ff, 0, 0, 0x500);
    REFUSE_RAW("the kernel lies where a PC has no memory for kernels (0x3000 bytes at 0x4ff");
    make_raw(0x3000, 0x40, 0x9cc40, 0x9cc00, 0, 0, 0x9cc00);
    ACCEPT_RAW();
    make_raw(0x3000, 0x40, 0x9cc41, 0x9cc01, 0, 0, 0x9cc01);
    REFUSE_RAW("no memory for kernels");
    make_raw(0x3000, 0x40, 0xff040, 0xff000, 0, 0, 0xff000);
    REFUSE_RAW("no memory for kernels");

    tap_case("the header's addresses count even if the file is an ELF file");
    make_elf(0x100, ADDRESSES);
    put32(made.bytes + 0x10c, 0x200100);
    put32(made.bytes + 0x110, 0x200000);
    put32(made.bytes + 0x114, 0);
    put32(made.bytes + 0x118, 0);
    put32(made.bytes + 0x11c, 0x200123);
    ACCEPT_ELF();
    CHECK_EQ(start.regs.rip, 0x200123);
    CHECK(ram_holds(0x200000, made.bytes, made.len));
}

static void test_header(void)
{
    uint32_t bit;

    tap_case("a header is found up to the last offset at which all of it is in the first 8192 bytes");
    make_elf(8180, 0);
    ACCEPT_ELF();
    make_elf(8184, 0);
    REFUSE_ELF("k.img: no multiboot header in the first 8192 bytes");
    make_raw(0x5000, 8160, 0x100000 + 8160, 0x100000, 0, 0, 0x100000);
    ACCEPT_RAW();
    make_raw(0x5000, 8164, 0x100000 + 8164, 0x100000, 0, 0, 0x100000);
    REFUSE_RAW(
        "the multiboot header is not all in the first 8192 bytes (32 bytes at 0x1fe4, file has 20480)");
    make_elf(8144, VIDEO);
    ACCEPT_ELF();
    make_elf(8148, VIDEO);
    REFUSE_ELF("the multiboot header is not all in the first 8192 bytes (48 bytes at 0x1fd4");

    tap_case("a header at offset 0 or 4 is found, one that is not 32-bit aligned is not");
    make_raw(0x3000, 0, 0x100000, 0x100000, 0, 0, 0x100100);
    ACCEPT_RAW();
    make_raw(0x3000, 4, 0x100004, 0x100000, 0, 0, 0x100100);
    ACCEPT_RAW();
    make_raw(0x3000, 6, 0x100006, 0x100000, 0, 0, 0x100100);
    REFUSE_RAW("no multiboot header");

    tap_case("a header that ends with the file is read, one that does not is refused");
    make_raw(0x60, 0x40, 0x100040, 0x100000, 0, 0, 0x100000);
    ACCEPT_RAW();
    make_raw(0x5f, 0x40, 0x100040, 0x100000, 0, 0, 0x100000);
    REFUSE_RAW("the multiboot header is not all in the first 8192 bytes (32 bytes at 0x40, file has 95)");

    tap_case("a wrong checksum is refused, unless a good header follows");
    make_plain_raw();
    raw.bytes[0x48] ^= 1;
    REFUSE_RAW("the multiboot header at 0x40 has a wrong checksum");
    put_header(raw.bytes, 0x80, ADDRESSES);
    put32(raw.bytes + 0x8c, 0x100080);
    put32(raw.bytes + 0x90, 0x100000);
    put32(raw.bytes + 0x94, 0);
    put32(raw.bytes + 0x98, 0);
    put32(raw.bytes + 0x9c, 0x100222);
    ACCEPT_RAW();
    CHECK_EQ(start.regs.rip, 0x100222);

    tap_case("each required flag that the specification does not define is refused");
    for (bit = 3; bit < 16; bit++) {
        make_plain_raw();
        put_header(raw.bytes, 0x40, ADDRESSES | 1u << bit);
        REFUSE_RAW("the multiboot header wants what vmm does not have (flags 0x");
    }

    tap_case("each optional flag that the specification does not define is let be");
    for (bit = 17; bit < 32; bit++) {
        make_plain_raw();
        put_header(raw.bytes, 0x40, ADDRESSES | 3 | 1u << bit);
        ACCEPT_RAW();
    }

    tap_case("a file without a header is refused");
    REFUSE(BARE_MULTIBOOT, raw.bytes, 0, STATUS_IMAGE, "no multiboot header");
}

static void test_elf(void)
{
    unsigned i;

    tap_case("segments go to their physical addresses and a virtual entry point is translated");
    make_elf(0x100, 0);
    ACCEPT_ELF();
    CHECK_EQ(start.regs.rip, 0x100020);
    CHECK(ram_holds(0x100000, made.bytes + TEXT_OFF, TEXT_LEN));
    CHECK(ram_is_zero(0x100000 + TEXT_LEN, 0x102000));
    CHECK(ram_holds(0x102000, made.bytes + TEXT_OFF + TEXT_LEN, DATA_LEN));
    CHECK(ram_is_zero(0x102000 + DATA_LEN, ram_len));

    tap_case("an entry point in the second segment is translated by that segment");
    MADE_PHDR(&made, 1, p_paddr, 0x300000);
    MADE_EHDR(&made, e_entry, DATA_VA + 1);
    ACCEPT_ELF();
    CHECK_EQ(start.regs.rip, 0x300001);

    tap_case("a physical entry point is taken as it is");
    make_elf(0x100, 0);
    MADE_EHDR(&made, e_entry, 0x100010);
    ACCEPT_ELF();
    CHECK_EQ(start.regs.rip, 0x100010);
    MADE_EHDR(&made, e_entry, 0x102000 + DATA_MEM - 1);
    ACCEPT_ELF();

    tap_case("an entry point in no segment is refused");
    MADE_EHDR(&made, e_entry, 0x102000 + DATA_MEM);
    REFUSE_ELF("k.img: entry point is in no segment (0x102900)");
    MADE_EHDR(&made, e_entry, DATA_VA + DATA_MEM);
    REFUSE_ELF("entry point is in no segment");

    tap_case("segments that share a byte of memory are refused");
    make_elf(0x100, 0);
    MADE_PHDR(&made, 1, p_paddr, 0x100000 + TEXT_LEN);
    ACCEPT_ELF();
    MADE_PHDR(&made, 1, p_paddr, 0x100000 + TEXT_LEN - 1);
    REFUSE_ELF("segment 1 overlaps another piece (0x900 bytes at 0x10017f, 0x180 bytes at 0x100000)");
    MADE_PHDR(&made, 1, p_paddr, 0x100000 - DATA_MEM + 1);
    REFUSE_ELF("segment 1 lies where a PC has no memory");

    tap_case("a segment outside RAM is refused, whatever wraps");
    make_elf(0x100, 0);
    MADE_PHDR(&made, 1, p_paddr, 8 * MIB - DATA_MEM);
    ACCEPT_ELF();
    MADE_PHDR(&made, 1, p_paddr, 8 * MIB - DATA_MEM + 1);
    REFUSE_ELF("segment 1 lies outside RAM");
    MADE_PHDR(&made, 1, p_paddr, 0xfffffff0);
    REFUSE_ELF("segment 1 lies outside RAM");
    MADE_PHDR(&made, 1, p_paddr, 0x102000);
    MADE_PHDR(&made, 1, p_memsz, 0xffffffff);
    REFUSE_ELF("segment 1 lies outside RAM");

    tap_case("a segment with more bytes than memory, or bytes that the file does not have, is refused");
    make_elf(0x100, 0);
    MADE_PHDR(&made, 1, p_memsz, DATA_LEN);
    ACCEPT_ELF();
    MADE_PHDR(&made, 1, p_memsz, DATA_LEN - 1);
    REFUSE_ELF("segment 1 has more bytes in the file than in memory (288, 287)");
    make_elf(0x100, 0);
    MADE_PHDR(&made, 1, p_offset, made.len - DATA_LEN);
    ACCEPT_ELF();
    MADE_PHDR(&made, 1, p_offset, made.len - DATA_LEN + 1);
    REFUSE_ELF("segment 1 is outside the file");
    MADE_PHDR(&made, 1, p_offset, 0xffffffff);
    REFUSE_ELF("segment 1 is outside the file");

    tap_case("a segment of memory only may name any offset, one of no memory any address");
    make_elf(0x100, 0);
    made_segment(&made, 1, 0xffffff00, DATA_VA, 0x102000, 0, DATA_MEM);
    made_segment(&made, 2, 0, 0, 0, 0, 0);
    ACCEPT_ELF();

    tap_case("an ELF file that is not an i386 executable is refused");
    make_elf(0x100, 0);
    MADE_EHDR(&made, e_type, ET_DYN);
    REFUSE_ELF("not an executable with fixed addresses (type 3, wanted 2)");
    made_start(&made, true, ET_EXEC, 1);
    made_grow(&made, 0x400);
    put_header(made.bytes, 0x100, 0);
    REFUSE_ELF("a 64-bit ELF file, which this boot protocol cannot start");
    make_elf(0x100, 0);
    MADE_EHDR(&made, e_machine, EM_ARM);
    REFUSE_ELF("built for arm");
    make_elf(0x100, 0);
    made.bytes[0] = 0;
    REFUSE_ELF("not an ELF file");
    make_elf(0x100, 0);
    MADE_PHDR(&made, 0, p_type, PT_NULL);
    MADE_PHDR(&made, 1, p_type, PT_NULL);
    REFUSE_ELF("no loadable segment");

    tap_case("more segments than there are places for are refused");
    made_start(&made, false, ET_EXEC, 256);
    for (i = 1; i < 256; i++)
        made_segment(&made, i, 0, 0x100000 + i * 16, 0x100000 + i * 16, 1, 1);
    put_header(made.bytes, MADE_LEN(&made, Ehdr), 0); /* program header 0: of a type that nobody knows */
    MADE_EHDR(&made, e_entry, 0x100010);
    REFUSE_ELF("too many pieces to load (limit 256)");
    for (i = 200; i < 256; i++)
        MADE_PHDR(&made, i, p_type, PT_NULL);
    ACCEPT_ELF();
}

/* Whatever a header says, nothing may be written or entered outside RAM. */
static void test_hostile(void)
{
    static const uint32_t values[] = {0,          1,          3,          0x1000,    0xfffff,
                                      0x100000,   0x100001,   0x7fffff,   0x800000,  0x7fffffff,
                                      0x80000000, 0xfffff000, 0xfffffffe, 0xffffffff};
    unsigned n = sizeof(values) / sizeof(values[0]), i, j, k;
    size_t len;

    tap_case("two words of the header at a time may be anything");
    for (i = 12; i < 32; i += 4)
        for (j = 12; j < 32; j += 4)
            for (k = 0; k < n * n; k++) {
                make_plain_raw();
                put32(raw.bytes + 0x40 + i, values[k / n]);
                put32(raw.bytes + 0x40 + j, values[k % n]);
                opt.ram_len = MIB + 0x10000;
                if (load_raw(BARE_MULTIBOOT, raw.bytes, raw.len) == 0)
                    CHECK(start.regs.rip < ram_len && ram_is_left_alone());
                else
                    CHECK(err.status == STATUS_IMAGE && strncmp(err.text, "k.img: ", 7) == 0);
            }
    opt_reset();

    tap_case("a file with addresses that is cut short is refused, or all that is left of it is loaded");
    make_raw(0x200, 0x40, 0x100040, 0x100000, 0, 0, 0x100100);
    for (len = 0; len < raw.len; len++) {
        bool good = len >= 0x101;

        CHECK((load_raw(BARE_MULTIBOOT, raw.bytes, len) == 0) == good);
        CHECK(!good || (ram_holds(0x100000, raw.bytes, len) && ram_is_zero(0x100000 + len, ram_len)));
    }
    make_raw(0x200, 0x40, 0x100040, 0x100000, 0x100200, 0, 0x100100);
    for (len = 0; len < raw.len; len++)
        CHECK(load_raw(BARE_MULTIBOOT, raw.bytes, len) == -1 && err.status == STATUS_IMAGE);
}

int main(void)
{
    if (!bare_is_built_in())
        return without_loaders(BARE_MULTIBOOT);
    test_registers();
    test_addresses();
    test_header();
    test_elf();
    test_hostile();
    free(ram);
    return tap_done();
}
