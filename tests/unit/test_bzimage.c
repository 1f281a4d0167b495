/*
 * boot/bzimage: each field of the setup header that a loader reads or writes,
 * against "The Linux/x86 Boot Protocol", in the versions that have it.
 */
#include "tests/unit/bare_check.h"

#define SETUP_LEN   0x600 /* a boot sector and two sectors of setup */
#define PAYLOAD_LEN 0x2340

static uint8_t image[SETUP_LEN + PAYLOAD_LEN + 0x1000];
static size_t image_len;

static void put16(uint8_t *at, unsigned v)
{
    memcpy(at, &v, 2);
}

/* A kernel of protocol 2.12 as Linux 6 has it: relocatable, wants to be at 4 MiB. */
static void make(unsigned version)
{
    fill_pattern(image, sizeof(image), 33);
    image_len = SETUP_LEN + PAYLOAD_LEN;
    image[0x1f1] = 2;
    put32(image + 0x1f4, (PAYLOAD_LEN + 15) / 16);
    put16(image + 0x1fe, 0xaa55);
    image[0x200] = 0xeb;
    image[0x201] = 0x66;
    memcpy(image + 0x202, "HdrS", 4);
    put16(image + 0x206, version);
    image[0x211] = 1;
    put32(image + 0x214, 0x100000);
    put32(image + 0x22c, 0x37ffffff);
    put32(image + 0x230, 0x200000);
    image[0x234] = 1;
    image[0x235] = 13;
    put16(image + 0x236, 0);
    put32(image + 0x238, 40);
    put32(image + 0x258, 0x400000);
    put32(image + 0x25c, 0);
    put32(image + 0x260, 0x100000);
}

static void make_fixed(void)
{
    make(0x20c);
    image[0x234] = 0;
    put32(image + 0x258, 0x100000);
}

#define ACCEPT_MADE()     ACCEPT(BARE_LINUX, image, image_len)
#define REFUSE_MADE(text) REFUSE(BARE_LINUX, image, image_len, STATUS_IMAGE, text)

static void test_start(void)
{
    const struct cpu_sregs *s = &start.sregs;
    uint64_t z;

    tap_case("a kernel starts in flat 32-bit mode with the zero page in ESI");
    make(0x20c);
    ACCEPT_MADE();
    check_protected_mode(0x10, 0x18);
    CHECK_EQ(start.regs.rip, 0x400000);
    CHECK(start.regs.rbp == 0 && start.regs.rdi == 0 && start.regs.rbx == 0);
    CHECK(ram_holds(0x400000, image + SETUP_LEN, PAYLOAD_LEN));
    CHECK(ram_is_left_alone());

    tap_case("the descriptors of the segments are in memory, where GDTR points");
    CHECK_EQ(s->gdt.limit, 0x1f);
    CHECK_EQ(ram64(s->gdt.base), 0);
    CHECK_EQ(ram64(s->gdt.base + 0x10), 0x00cf9b000000ffff);
    CHECK_EQ(ram64(s->gdt.base + 0x18), 0x00cf93000000ffff);

    tap_case("the zero page has the file's setup header, and zeros before and behind it");
    z = start.regs.rsi;
    CHECK(z != 0 && z + 4096 <= 0x9fc00);
    CHECK(ram_is_zero(z, z + 0x1e8) && ram_is_zero(z + 0x1e9, z + 0x1f1));
    CHECK(ram_holds(z + 0x1f1, image + 0x1f1, 0x1fa - 0x1f1));
    CHECK(ram_holds(z + 0x1fc, image + 0x1fc, 0x210 - 0x1fc));
    CHECK(ram_holds(z + 0x211, image + 0x211, 0x214 - 0x211));
    CHECK(ram_holds(z + 0x220, image + 0x220, 0x228 - 0x220));
    CHECK(ram_holds(z + 0x22c, image + 0x22c, 0x268 - 0x22c));
    CHECK(ram_is_zero(z + 0x268, z + 0x2d0));

    tap_case("the loader's fields of the setup header are filled in");
    CHECK_EQ(ram_word(z + 0x1fa, 2), 0xffff);
    CHECK_EQ(ram_word(z + 0x210, 1), 0xff);
    CHECK_EQ(ram32(z + 0x214), 0x400000);
    CHECK_EQ(ram32(z + 0x218), 0);
    CHECK_EQ(ram32(z + 0x21c), 0);
    CHECK_STR(ram_text(ram32(z + 0x228)), "");

    tap_case("the memory map has low memory, what a PC keeps, and all above 1 MiB");
    CHECK_EQ(ram_word(z + 0x1e8, 1), 3);
    CHECK(ram64(z + 0x2d0) == 0 && ram64(z + 0x2d8) == 0x9fc00 && ram32(z + 0x2e0) == 1);
    CHECK(ram64(z + 0x2e4) == 0x9fc00 && ram64(z + 0x2ec) == 0x60400 && ram32(z + 0x2f4) == 2);
    CHECK(ram64(z + 0x2f8) == 0x100000 && ram64(z + 0x300) == 0x700000 && ram32(z + 0x308) == 1);
    CHECK(ram_is_zero(z + 0x30c, z + 0x1000));

    tap_case("a header that claims to be longer than any is cut where the zero page has other things");
    image[0x201] = 0xff;
    ACCEPT_MADE();
    z = start.regs.rsi;
    CHECK(ram_holds(z + 0x22c, image + 0x22c, 0x290 - 0x22c));
    CHECK(ram_is_zero(z + 0x290, z + 0x2d0));
}

static void test_place(void)
{
    tap_case("a relocatable kernel is where it wants to be, rounded up to its alignment");
    make(0x20c);
    put32(image + 0x258, 0x400001);
    opt.ram_len = 16 * MIB;
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x600000);
    put32(image + 0x258, 0);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x200000);
    put32(image + 0x230, 0x1000);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x100000);

    tap_case("a relocatable kernel whose wish is past RAM's end is as low as it may");
    make(0x20c);
    opt.ram_len = 5 * MIB;
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x400000);
    opt.ram_len = 5 * MIB - 0x1000;
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x200000);
    CHECK_EQ(ram32(start.regs.rsi + 0x214), 0x200000);
    put32(image + 0x25c, 1);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x200000);
    put32(image + 0x258, 0xffffffff);
    put32(image + 0x25c, 0xffffffff);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x200000);
    opt.ram_len = 3 * MIB;
    ACCEPT_MADE();
    opt.ram_len = 3 * MIB - 0x1000;
    REFUSE_MADE("k.img: the kernel lies outside RAM (0x100000 bytes at 0x200000");
    opt_reset();

    tap_case("an alignment that is not a power of two is refused");
    make(0x20c);
    put32(image + 0x230, 0x201000);
    REFUSE_MADE("kernel_alignment is not a power of two (0x201000)");
    put32(image + 0x230, 0);
    REFUSE_MADE("kernel_alignment is not a power of two (0x0)");
    put32(image + 0x230, 0x80000000);
    REFUSE_MADE("the kernel lies outside RAM");

    tap_case("a kernel that is not relocatable is at 1 MiB");
    make_fixed();
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x100000);
    CHECK(ram_holds(0x100000, image + SETUP_LEN, PAYLOAD_LEN));
    put32(image + 0x258, 0x200000);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x100000);

    tap_case("what a kernel unpacks to has to be in RAM");
    put32(image + 0x258, 0x700000);
    ACCEPT_MADE();
    put32(image + 0x258, 0x700001);
    REFUSE_MADE("the kernel lies outside RAM");
    make_fixed();
    put32(image + 0x260, 0x700000);
    ACCEPT_MADE();
    put32(image + 0x260, 0x700001);
    REFUSE_MADE("the kernel lies outside RAM (0x700001 bytes at 0x100000, RAM ends at 0x800000)");
    put32(image + 0x258, 0xffffffff);
    put32(image + 0x25c, 0xffffffff);
    REFUSE_MADE("pref_address is no place for a kernel (0xffffffffffffffff");
    make_fixed();
    put32(image + 0x258, 0xfffff);
    REFUSE_MADE("pref_address is no place for a kernel (0xfffff");

    tap_case("a kernel may say how far into itself it is entered");
    make(0x20c);
    put32(image + 0x214, 0x100000 + PAYLOAD_LEN - 1);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x400000 + PAYLOAD_LEN - 1);
    CHECK_EQ(ram32(start.regs.rsi + 0x214), 0x400000 + PAYLOAD_LEN - 1);
    put32(image + 0x214, 0x100000 + PAYLOAD_LEN);
    REFUSE_MADE("code32_start is not in the kernel (0x102340, 9024 bytes at 0x100000)");
    put32(image + 0x214, 0xfffff);
    REFUSE_MADE("code32_start is not in the kernel");
}

static void test_header(void)
{
    static const struct {
        unsigned version, end;
    } ends[] = {{0x203, 0x230}, {0x204, 0x230}, {0x205, 0x236}, {0x206, 0x23c},
                {0x209, 0x23c}, {0x20a, 0x264}, {0x20f, 0x264}};
    unsigned i;
    size_t len;

    tap_case("setup has four sectors if the header does not say");
    make(0x20c);
    image[0x1f1] = 0;
    put32(image + 0x1f4, 0);
    ACCEPT_MADE();
    CHECK(ram_holds(0x400000, image + 5 * 512, SETUP_LEN + PAYLOAD_LEN - 5 * 512));

    tap_case("a file without magic number, boot flag or a kernel is refused");
    make(0x20c);
    image[0x202] = 'h';
    REFUSE_MADE("k.img: not a bzImage (no setup header at 0x1f1)");
    make(0x20c);
    image[0x1ff] = 0;
    REFUSE_MADE("not a bzImage");
    make(0x20c);
    put32(image + 0x1f4, 0);
    image_len = SETUP_LEN + 1;
    ACCEPT_MADE();
    image_len = SETUP_LEN;
    REFUSE_MADE("no kernel behind the setup code (1536 bytes, setup has 1536): truncated?");

    tap_case("a zImage and a 64-bit kernel are refused");
    make(0x20c);
    image[0x211] = 0xfe;
    REFUSE_MADE("a zImage, which loads below 1 MiB (loadflags 0xfe, wanted bit 0)");
    make(0x20c);
    put16(image + 0x236, 0x3e);
    ACCEPT_MADE();
    put16(image + 0x236, 0x3f);
    REFUSE_MADE("a 64-bit kernel (xloadflags 0x3f, wanted bit 0 clear)");
    put16(image + 0x206, 0x20b);
    ACCEPT_MADE();

    tap_case("a protocol before 2.03 is refused");
    make(0x203);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x100000);
    make(0x202);
    REFUSE_MADE("boot protocol too old (0x202, wanted 0x203)");

    tap_case("a setup header shorter than its version's fields is refused");
    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        make(ends[i].version);
        image[0x201] = (uint8_t)(ends[i].end - 0x202);
        ACCEPT_MADE();
        image[0x201]--;
        REFUSE_MADE("setup header too short for its version (ends at 0x");
    }

    tap_case("fields that are younger than the header's version mean nothing");
    make(0x204);
    put32(image + 0x230, 3);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x100000);
    make(0x205);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0x200000);
    make(0x209);
    put32(image + 0x260, 0xffffffff);
    ACCEPT_MADE();
    make(0x203);
    put32(image + 0x1f4, 0xffffffff);
    ACCEPT_MADE();

    tap_case("a file that lacks the end that the header speaks of is refused");
    make(0x20c);
    image_len = SETUP_LEN + PAYLOAD_LEN - PAYLOAD_LEN % 16 + 1;
    put32(image + 0x1f4, PAYLOAD_LEN / 16 + 1);
    ACCEPT_MADE();
    image_len--;
    REFUSE_MADE("the kernel is not all in the file (9024 bytes, syssize says 9040): truncated?");
    put32(image + 0x1f4, 0xffffffff);
    REFUSE_MADE("the kernel is not all in the file");

    tap_case("a file that is cut short anywhere is refused");
    make(0x20c);
    for (len = 0; len + 16 < image_len; len++)
        CHECK(load_raw(BARE_LINUX, image, len) == -1 && err.status == STATUS_IMAGE);
}

static void test_options(void)
{
    static uint8_t bytes[0x200000];
    struct bare_file initrd = {"initrd", "", bytes, 0x1801};
    uint64_t z;

    fill_pattern(bytes, sizeof(bytes), 5);
    make(0x20c);
    opt.initrd = &initrd;

    tap_case("the initrd is in the highest pages of RAM that hold it");
    ACCEPT_MADE();
    z = start.regs.rsi;
    CHECK_EQ(ram32(z + 0x218), 0x7fe000);
    CHECK_EQ(ram32(z + 0x21c), 0x1801);
    CHECK(ram_holds(0x7fe000, bytes, 0x1801));

    tap_case("the initrd ends by initrd_addr_max");
    put32(image + 0x22c, 0x6fffff);
    ACCEPT_MADE();
    CHECK_EQ(ram32(start.regs.rsi + 0x218), 0x6fe000);
    put32(image + 0x22c, 0x6ff7ff);
    ACCEPT_MADE();
    CHECK_EQ(ram32(start.regs.rsi + 0x218), 0x6fd000);
    put32(image + 0x22c, 0x6ff800);
    ACCEPT_MADE();
    CHECK_EQ(ram32(start.regs.rsi + 0x218), 0x6fe000);
    put32(image + 0x22c, 0xffffffff);
    ACCEPT_MADE();
    CHECK_EQ(ram32(start.regs.rsi + 0x218), 0x7fe000);

    tap_case("an initrd that would reach into what the kernel unpacks to is refused");
    put32(image + 0x22c, 0x501fff);
    ACCEPT_MADE();
    CHECK_EQ(ram32(start.regs.rsi + 0x218), 0x500000);
    put32(image + 0x22c, 0x500fff);
    REFUSE_MADE("no room for the initrd (6145 bytes, from the kernel's end at 0x500000 to 0x501000)");
    put32(image + 0x22c, 0);
    REFUSE_MADE("no room for the initrd");
    make(0x20c);
    initrd.len = sizeof(bytes);
    opt.ram_len = 7 * MIB;
    ACCEPT_MADE();
    opt.ram_len = 7 * MIB - 0x1000;
    REFUSE_MADE("no room for the initrd");
    opt_reset();

    tap_case("an empty initrd has no bytes");
    initrd.len = 0;
    initrd.bytes = NULL;
    opt.initrd = &initrd;
    ACCEPT_MADE();
    CHECK_EQ(ram32(start.regs.rsi + 0x21c), 0);
    opt_reset();

    tap_case("the command line may be as long as the kernel says");
    opt.append = "console=ttyS0 0123456789012345678901234";
    ACCEPT_MADE();
    CHECK_STR(ram_text(ram32(start.regs.rsi + 0x228)), opt.append);
    put32(image + 0x238, 39);
    ACCEPT_MADE();
    put32(image + 0x238, 38);
    REFUSE(BARE_LINUX, image, image_len, STATUS_USAGE,
           "k.img: too long a command line for this kernel (39 bytes, limit 38)");
    make(0x205);
    put32(image + 0x238, 1);
    ACCEPT_MADE();

    tap_case("before protocol 2.06 a command line has at most 255 bytes");
    {
        char text[257];

        memset(text, 'x', sizeof(text));
        text[255] = '\0';
        opt.append = text;
        ACCEPT_MADE();
        text[255] = 'x';
        text[256] = '\0';
        REFUSE(BARE_LINUX, image, image_len, STATUS_USAGE, "too long a command line");
    }
    opt_reset();

    tap_case("modules are refused");
    opt.modules_n = 1;
    REFUSE(BARE_LINUX, image, image_len, STATUS_USAGE, "k.img: a linux image takes no modules");
    opt_reset();
}

int main(void)
{
    if (!bare_is_built_in())
        return without_loaders(BARE_LINUX);
    test_start();
    test_place();
    test_header();
    test_options();
    free(ram);
    return tap_done();
}
