/* boot/microvm: the contract of Nanvix's VMM field by field, and what does not fit it. */
#include "tests/unit/bare_check.h"

#define TEXT_OFF 0x200
#define TEXT_LEN 0x100

static struct made made; /* too large for a stack */
static uint8_t bytes[0x3001];

/* Boot code at `low`, entered at its start, and the kernel proper at 1 MiB. */
static void make(uint64_t low)
{
    made_start(&made, false, ET_EXEC, 3);
    made_align(&made, TEXT_OFF);
    made_grow(&made, 2 * TEXT_LEN);
    fill_pattern(made.bytes + TEXT_OFF, 2 * TEXT_LEN, 50);
    made_segment(&made, 0, TEXT_OFF, low, low, TEXT_LEN, TEXT_LEN);
    made_segment(&made, 1, TEXT_OFF + TEXT_LEN, 0xc0100000, 0x100000, TEXT_LEN, 0x1080);
    MADE_EHDR(&made, e_entry, low);
}

#define ACCEPT_MADE()     ACCEPT(BARE_MICROVM, made.bytes, made.len)
#define REFUSE_MADE(text) REFUSE(BARE_MICROVM, made.bytes, made.len, STATUS_IMAGE, text)

static void check_real(const struct cpu_segment *s, unsigned type, bool system)
{
    CHECK_EQ(s->base, 0);
    CHECK_EQ(s->limit, 0xffff);
    CHECK_EQ(s->selector, 0);
    CHECK_EQ(s->type, type);
    CHECK(s->s == !system && s->present && !s->db && !s->g && !s->l && s->dpl == 0);
}

static void test_start(void)
{
    const struct cpu_sregs *s = &start.sregs;

    tap_case("a kernel starts in the state of a reset, with CS at 0 and the magic number in EAX");
    make(0x8000);
    ACCEPT_MADE();
    check_real(&s->cs, 11, false);
    check_real(&s->ds, 3, false);
    check_real(&s->es, 3, false);
    check_real(&s->fs, 3, false);
    check_real(&s->gs, 3, false);
    check_real(&s->ss, 3, false);
    check_real(&s->tr, 11, true);
    check_real(&s->ldt, 2, true);
    CHECK(s->gdt.base == 0 && s->gdt.limit == 0xffff && s->idt.base == 0 && s->idt.limit == 0xffff);
    CHECK_EQ(s->cr0, 0x60000010);
    CHECK(s->cr3 == 0 && s->cr4 == 0 && s->efer == 0 && s->apic_base == 0);
    CHECK_EQ(start.regs.rip, 0x8000);
    CHECK_EQ(start.regs.rflags, 2);
    CHECK_EQ(start.regs.rax, 0x0c00ffee);
    CHECK_EQ(start.regs.rbx, 0);
    CHECK(!start.irqchip);

    tap_case("segments go to their physical addresses, and nothing else is in RAM");
    CHECK(ram_holds(0x8000, made.bytes + TEXT_OFF, TEXT_LEN));
    CHECK(ram_holds(0x100000, made.bytes + TEXT_OFF + TEXT_LEN, TEXT_LEN));
    CHECK(ram_is_zero(0, 0x8000) && ram_is_zero(0x8100, 0x100000) && ram_is_zero(0x100100, ram_len));

    tap_case("an image may lie in page 0 and where a PC has a screen");
    make(0);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0);
    CHECK(ram_holds(0, made.bytes + TEXT_OFF, TEXT_LEN));
    MADE_PHDR(&made, 1, p_paddr, 0xb8000);
    ACCEPT_MADE();
    CHECK(ram_holds(0xb8000, made.bytes + TEXT_OFF + TEXT_LEN, TEXT_LEN));

    tap_case("an entry point that IP cannot hold, or in no segment, is refused");
    make(0xff80);
    MADE_EHDR(&made, e_entry, 0xffff);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rip, 0xffff);
    MADE_EHDR(&made, e_entry, 0x10000);
    REFUSE_MADE("k.img: entry point is in no segment below 64 KiB, where 16-bit code can start (0x10000)");
    MADE_EHDR(&made, e_entry, 0xff7f);
    REFUSE_MADE("entry point is in no segment below 64 KiB");

    tap_case("an image that is not an i386 executable, or does not fit, is refused");
    make(0x8000);
    MADE_EHDR(&made, e_type, ET_DYN);
    REFUSE_MADE("not an executable with fixed addresses");
    make(0x8000);
    MADE_PHDR(&made, 1, p_paddr, 0x8000);
    REFUSE_MADE("segment 1 overlaps another piece");
    MADE_PHDR(&made, 1, p_paddr, ram_len);
    REFUSE_MADE("segment 1 lies outside RAM");
    made_start(&made, true, ET_EXEC, 1);
    made_segment(&made, 0, 0, 0x8000, 0x8000, 1, 1);
    REFUSE_MADE("a 64-bit ELF file");

    tap_case("an image that is cut short anywhere is refused");
    make(0x8000);
    for (made.len--; made.len > 0; made.len--)
        CHECK(load_raw(BARE_MICROVM, made.bytes, made.len) == -1 && err.status == STATUS_IMAGE);
}

static void test_initrd(void)
{
    struct bare_file initrd = {"initrd", "", bytes, 0x3000};
    uint8_t *large = calloc(1, 0x1000000);

    opt.ram_len = 32 * MIB;
    opt.initrd = &initrd;
    make(0x8000);

    tap_case("the initrd is at 8 MiB, and EBX has its base and its pages");
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rbx, 0x00800003);
    CHECK(ram_holds(0x800000, bytes, 0x3000));
    initrd.len = 0x3001;
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rbx, 0x00800004);
    initrd.len = 1;
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rbx, 0x00800001);

    tap_case("a kernel that ends at 8 MiB has its initrd there, one that reaches further at 12 MiB");
    MADE_PHDR(&made, 1, p_memsz, 0x700000);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rbx, 0x00800001);
    MADE_PHDR(&made, 1, p_memsz, 0x700001);
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rbx, 0x00c00001);
    CHECK(ram_holds(0xc00000, bytes, 1));
    MADE_PHDR(&made, 1, p_memsz, 0xb00001);
    REFUSE_MADE("the initrd overlaps another piece (0x1000 bytes at 0xc00000");

    tap_case("an initrd of as many pages as EBX can say is placed, others are refused");
    make(0x8000);
    if (large == NULL)
        abort();
    initrd.bytes = large;
    initrd.len = 0xfff000;
    ACCEPT_MADE();
    CHECK_EQ(start.regs.rbx, 0x00800fff);
    initrd.len = 0xfff001;
    REFUSE_MADE("initrd: an initrd for microvm has 1 to 4095 pages (16773121 bytes)");
    initrd.len = 0;
    REFUSE_MADE("initrd: an initrd for microvm has 1 to 4095 pages (0 bytes)");

    tap_case("an initrd that RAM has no room for is refused");
    opt.ram_len = 8 * MIB + 0x3000;
    initrd.len = 0x3000;
    ACCEPT_MADE();
    initrd.len = 0x3001;
    REFUSE_MADE("the initrd lies outside RAM");
    opt_reset();
    free(large);
}

static void test_options(void)
{
    char args[258];

    memset(args, 'a', sizeof(args));
    make(0x8000);

    tap_case("arguments are in page 0, their length in front");
    opt.append = "one two";
    ACCEPT_MADE();
    CHECK_EQ(ram_word(0xefc, 2), 7);
    CHECK(ram_holds(0xf00, "one two", 7));
    CHECK(ram_is_zero(0, 0xefc) && ram_is_zero(0xefe, 0xf00) && ram_is_zero(0xf07, 0x8000));

    tap_case("arguments may fill page 0 to its end and no more");
    args[256] = '\0';
    opt.append = args;
    ACCEPT_MADE();
    CHECK_EQ(ram_word(0xefc, 2), 256);
    CHECK(ram_holds(0xf00, args, 256) && ram_is_zero(0x1000, 0x8000));
    args[256] = 'a';
    args[257] = '\0';
    REFUSE(BARE_MICROVM, made.bytes, made.len, STATUS_USAGE,
           "k.img: too long a command line for microvm (257 bytes, limit 256)");

    tap_case("arguments over the kernel are refused, and so are modules");
    opt.append = "a";
    make(0xefc - TEXT_LEN);
    ACCEPT_MADE();
    make(0xefd - TEXT_LEN);
    REFUSE_MADE("the command line overlaps another piece (0x104 bytes at 0xefc");
    make(0x1000);
    ACCEPT_MADE();
    opt_reset();
    opt.modules_n = 1;
    REFUSE(BARE_MICROVM, made.bytes, made.len, STATUS_USAGE, "k.img: a microvm image takes no modules");
    opt_reset();
}

int main(void)
{
    if (!bare_is_built_in())
        return without_loaders(BARE_MICROVM);
    fill_pattern(bytes, sizeof(bytes), 8);
    test_start();
    test_initrd();
    test_options();
    free(ram);
    return tap_done();
}
