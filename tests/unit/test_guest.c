/*
 * boot/guest, boot/gdt, boot/x86: the kinds and their first registers against
 * the ABI's table as literals, descriptors byte by byte, and bits against the
 * kernel's own header.
 */
#include "boot/guest.h"

#include <asm/processor-flags.h>
#include <stdlib.h>

#include "boot/gdt.h"
#include "boot/x86.h"
#include "tests/tap.h"

static const struct guest_kind *kind_named(const char *name)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

static bool has_i686(void)
{
    return kind_named("i686") != NULL;
}

static void test_kinds(void)
{
    tap_case("the kinds are amd64 and, where the binary has them, i686 and i686-identity, in this order");
    CHECK_STR(guest_kind_at(0)->name, "amd64");
    CHECK((guest_kind_at(1) != NULL) == (guest_i686_kinds[0] != NULL));
    if (strncmp(VMM_FLAVOUR, "i686", 4) == 0)
        CHECK(has_i686());
    if (strncmp(VMM_FLAVOUR, "amd64", 5) == 0)
        CHECK(!has_i686());
    if (guest_kind_at(1) != NULL) {
        CHECK_STR(guest_kind_at(1)->name, "i686");
        CHECK_STR(guest_kind_at(2)->name, "i686-identity");
        CHECK(guest_kind_at(3) == NULL);
    }
    CHECK(guest_kind_at(7) == NULL);
    CHECK(guest_kind_at(UINT32_MAX) == NULL);

    tap_case("each kind has the ABI's tops, bases, memory model and address width");
    {
        static const struct {
            const char *name;
            enum elf_machine machine;
            uint64_t base, phys_top, virt_top;
            unsigned phys_bits, digits, levels;
            enum memory_model model;
        } row[] = {
            {"amd64", ELF_X86_64, 0x4000, 0x1000000000, 0xfffffffffffff000, 36, 16, 4, MODEL_PAGED},
            {"i686", ELF_I386, 0x1000, 0xfee00000, 0x100000000, 32, 8, 2, MODEL_PAGED},
            {"i686-identity", ELF_I386, 0x1000, 0xfee00000, 0xfee00000, 32, 8, 0, MODEL_IDENTITY},
        };
        size_t i;

        for (i = 0; i < 3; i++) {
            const struct guest_kind *k = kind_named(row[i].name);

            if (k == NULL)
                continue;
            CHECK_EQ(k->machine, row[i].machine);
            CHECK_STR(k->rules->kind, row[i].name);
            CHECK_EQ(k->rules->base_default, row[i].base);
            CHECK_EQ(k->rules->phys_top, row[i].phys_top);
            CHECK_EQ(k->rules->virt_top, row[i].virt_top);
            CHECK_EQ(k->rules->model, row[i].model);
            CHECK_EQ(k->rules->tables.levels, row[i].levels);
            CHECK_EQ(k->phys_bits, row[i].phys_bits);
            CHECK_EQ(k->addr_digits, row[i].digits);
            CHECK((k->geom == NULL) == (row[i].levels == 0));
            if (k->geom != NULL) {
                CHECK_EQ(k->geom->levels, row[i].levels);
                CHECK_EQ(k->rules->tables.index_bits, k->geom->index_bits);
            }
        }
    }
}

/* What guest_find says: the kind's name, or the status as text. */
static const char *found(enum elf_machine machine, bool identity, enum guest_paging paging, struct err *e)
{
    struct elf_image *elf = calloc(1, sizeof(*elf));
    const struct guest_kind *k = NULL;
    const char *name = "refused, and the result touched";
    int rc;

    if (elf == NULL)
        abort();
    elf->machine = machine;
    elf->identity = identity;
    *e = (struct err){.text = "untouched"};
    rc = guest_find(elf, paging, "g.elf", &k, e);
    free(elf);
    if (rc == 0)
        name = strcmp(e->text, "untouched") == 0 ? k->name : "found, and the error touched";
    else if (k == NULL)
        name = e->status == STATUS_USAGE ? "usage" : e->status == STATUS_IMAGE ? "image" : "another status";
    return name;
}

static void test_find(void)
{
    struct err e;

    tap_case("an amd64 image runs with paging, and paging off is a usage error");
    CHECK_STR(found(ELF_X86_64, false, GUEST_PAGING_AUTO, &e), "amd64");
    CHECK_STR(found(ELF_X86_64, false, GUEST_PAGING_ON, &e), "amd64");
    CHECK_STR(found(ELF_X86_64, false, GUEST_PAGING_OFF, &e), "usage");
    CHECK_STR(e.text, "g.elf: amd64 guests cannot run with paging off");
    CHECK_STR(e.hint, "");

    tap_case("a machine without a kind is refused and the hint names the switch to build with");
    CHECK_STR(found((enum elf_machine)(ELF_X86_64 + 1), false, GUEST_PAGING_AUTO, &e), "image");
    CHECK_STR(e.text, "g.elf: this vmm has no i686 guests");
    CHECK_STR(e.hint, "use a vmm built with I686_GUEST=1");

    if (!has_i686()) {
        tap_case("a binary without i686 kinds refuses an i686 image and names the switch to build with");
        CHECK_STR(found(ELF_I386, false, GUEST_PAGING_AUTO, &e), "image");
        CHECK_STR(e.text, "g.elf: this vmm has no i686 guests");
        CHECK_HAS(e.hint, "I686_GUEST=1");
        CHECK_STR(found(ELF_I386, true, GUEST_PAGING_AUTO, &e), "image");
        CHECK_STR(found(ELF_I386, false, GUEST_PAGING_OFF, &e), "image");
        CHECK_HAS(e.hint, "I686_GUEST=1");
        return;
    }
    tap_case("an i686 image is paged unless its note says otherwise");
    CHECK_STR(found(ELF_I386, false, GUEST_PAGING_AUTO, &e), "i686");
    CHECK_STR(found(ELF_I386, true, GUEST_PAGING_AUTO, &e), "i686-identity");

    tap_case("what the user says about paging beats the note");
    CHECK_STR(found(ELF_I386, false, GUEST_PAGING_ON, &e), "i686");
    CHECK_STR(found(ELF_I386, true, GUEST_PAGING_ON, &e), "i686");
    CHECK_STR(found(ELF_I386, false, GUEST_PAGING_OFF, &e), "i686-identity");
    CHECK_STR(found(ELF_I386, true, GUEST_PAGING_OFF, &e), "i686-identity");
}

static bool segment_is(const struct cpu_segment *s, const struct cpu_segment *want)
{
    return s->base == want->base && s->limit == want->limit && s->selector == want->selector &&
           s->type == want->type && s->dpl == want->dpl && s->s == want->s && s->present == want->present &&
           s->db == want->db && s->l == want->l && s->g == want->g && s->avl == want->avl;
}

static struct cpu_sregs first_sregs(const struct guest_kind *k)
{
    struct plan_sizes sizes = layout_default_sizes();
    struct layout l;
    struct err e;

    sizes.image_len = 0x10000;
    if (layout_make(k->rules, &sizes, &l, &e) != 0)
        abort();
    return guest_first_sregs(k, &l);
}

static void test_sregs(void)
{
    static const struct cpu_segment null = {0};
    static const struct cpu_segment code64 = {.type = 11, .s = true, .present = true, .l = true};
    static const struct cpu_segment code32 = {
        .selector = 8, .limit = 0xffffffff, .type = 11, .s = true, .present = true, .db = true, .g = true};
    static const struct cpu_segment data32 = {
        .selector = 16, .limit = 0xffffffff, .type = 3, .s = true, .present = true, .db = true, .g = true};
    static const struct cpu_segment tr = {.limit = 0xffff, .type = 11, .present = true};
    static const struct {
        const char *name;
        const struct cpu_segment *code, *data;
        uint64_t cr0, cr3, cr4, efer, gdt_base;
        uint16_t gdt_limit;
    } row[] = {
        {"amd64", &code64, &null, 0x80050033, 0xffffc0000, 0x620, 0xd01, 0, 0},
        {"i686", &code32, &data32, 0x80010011, 0xfedc0000, 0, 0, 0x100000000 - 0x2100, 0x17},
        {"i686-identity", &code32, &data32, 0x11, 0, 0, 0, 0xfee00000 - 0x2100, 0x17},
    };
    size_t i;

    tap_case("the first system registers are those of the ABI's table");
    for (i = 0; i < 3; i++) {
        const struct guest_kind *k = kind_named(row[i].name);
        struct cpu_sregs s;

        if (k == NULL)
            continue;
        s = first_sregs(k);
        CHECK(segment_is(&s.cs, row[i].code));
        CHECK(segment_is(&s.ds, row[i].data));
        CHECK(segment_is(&s.es, row[i].data));
        CHECK(segment_is(&s.ss, row[i].data));
        CHECK(segment_is(&s.fs, row[i].data));
        CHECK(segment_is(&s.gs, row[i].data));
        CHECK(segment_is(&s.tr, &tr));
        CHECK(segment_is(&s.ldt, &null));
        CHECK_EQ(s.cr0, row[i].cr0);
        CHECK_EQ(s.cr3, row[i].cr3);
        CHECK_EQ(s.cr4, row[i].cr4);
        CHECK_EQ(s.efer, row[i].efer);
        CHECK_EQ(s.gdt.base, row[i].gdt_base);
        CHECK_EQ(s.gdt.limit, row[i].gdt_limit);
        CHECK(s.idt.base == 0 && s.idt.limit == 0 && s.cr2 == 0 && s.cr8 == 0 && s.apic_base == 0);
    }
}

static void test_gdt(void)
{
    static const uint8_t wanted[24] = {0, 0,    0,    0, 0,    0,    0, 0, 0xff, 0xff, 0,    0,
                                       0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0,    0x93, 0xcf, 0};
    uint8_t bytes[26];

    tap_case("the 32-bit GDT is null, flat code 0x9B and flat data 0x93, byte for byte");
    memset(bytes, 0xa5, sizeof(bytes));
    gdt_write32(bytes + 1);
    CHECK(memcmp(bytes + 1, wanted, 24) == 0);
    CHECK(bytes[0] == 0xa5 && bytes[25] == 0xa5);
    CHECK_EQ(GDT32_LEN, 24);

    tap_case("a descriptor has each field where the manual puts it");
    {
        const struct {
            struct cpu_segment s;
            uint64_t raw;
        } row[] = {
            {{0}, 0},
            {{.base = 0x12345678}, 0x1200003456780000},
            {{.limit = 0xabcde}, 0x000a00000000bcde},
            {{.limit = 0xabcdefff, .g = true}, 0x008a00000000bcde},
            {{.type = 11}, 0x00000b0000000000},
            {{.s = true}, 0x0000100000000000},
            {{.dpl = 3}, 0x0000600000000000},
            {{.present = true}, 0x0000800000000000},
            {{.avl = true}, 0x0010000000000000},
            {{.l = true}, 0x0020000000000000},
            {{.db = true}, 0x0040000000000000},
            {{.selector = 0x28, .base = 0xff123456, .limit = 0x67, .type = 9, .present = true},
             0xff00891234560067},
        };
        size_t i;

        for (i = 0; i < sizeof(row) / sizeof(row[0]); i++)
            CHECK_EQ(gdt_encode(&row[i].s), row[i].raw);
    }
    CHECK_EQ(gdt_encode(&gdt_code64), 0x00209b0000000000);
    CHECK_EQ(gdt_encode(&gdt_tss), 0x00008b000000ffff);
}

static void test_bits(void)
{
    tap_case("control register bits are the kernel's");
    CHECK_EQ(CR0_PE, X86_CR0_PE);
    CHECK_EQ(CR0_MP, X86_CR0_MP);
    CHECK_EQ(CR0_ET, X86_CR0_ET);
    CHECK_EQ(CR0_NE, X86_CR0_NE);
    CHECK_EQ(CR0_WP, X86_CR0_WP);
    CHECK_EQ(CR0_AM, X86_CR0_AM);
    CHECK_EQ(CR0_NW, X86_CR0_NW);
    CHECK_EQ(CR0_CD, X86_CR0_CD);
    CHECK_EQ(CR0_PG, X86_CR0_PG);
    CHECK_EQ(CR4_PSE, X86_CR4_PSE);
    CHECK_EQ(CR4_PAE, X86_CR4_PAE);
    CHECK_EQ(CR4_PGE, X86_CR4_PGE);
    CHECK_EQ(CR4_OSFXSR, X86_CR4_OSFXSR);
    CHECK_EQ(CR4_OSXMMEXCPT, X86_CR4_OSXMMEXCPT);
    CHECK_EQ(RFLAGS_FIXED, X86_EFLAGS_FIXED);
    CHECK_EQ(RFLAGS_ZF, X86_EFLAGS_ZF);

    tap_case("EFER bits and the reset state are the manual's");
    CHECK_EQ(EFER_SCE, 1u << 0);
    CHECK_EQ(EFER_LME, 1u << 8);
    CHECK_EQ(EFER_LMA, 1u << 10);
    CHECK_EQ(EFER_NXE, 1u << 11);
    CHECK_EQ(RESET_RIP, 0xfff0);
    CHECK_EQ(RESET_CS_BASE, 0xffff0000);
}

int main(void)
{
    test_kinds();
    test_find();
    test_sregs();
    test_gdt();
    test_bits();
    return tap_done();
}
