/*
 * hv/slots against the pages that KVM owns. A foreign slot at 0xFEE00000 plays
 * KVM's part: with the hole everything maps around it, without the hole KVM
 * says EEXIST, and vmm says which page that is. Addresses are literal: the
 * plan's own constants judge nothing here.
 */
#include "hv/slots.h"

#include "mem/bytes.h"
#include "mem/region.h"
#include "tests/kvm/guests.h"
#include "tests/kvm/seam.h"

#define APIC   0xfee00000u
#define IOAPIC 0xfec00000u
#define PAGE   0x1000u
#define GIB    ((uint64_t)1 << 30)

static const uint64_t holes[] = {APIC, IOAPIC};

/* A machine with a foreign page where KVM's would be, and memory to map. */
static bool open_machine(int kvm_fd, struct machine *m, struct region *r, uint64_t len)
{
    const struct machine_options opt = {.phys_bits = 36};
    struct err e = {.text = ""};

    *m = MACHINE_CLOSED;
    seam.foreign_at = APIC;
    return guest_check(region_map(r, len, &e), &e) && guest_check(machine_open(m, kvm_fd, &opt, &e), &e) &&
           CHECK(seam.foreign_there);
}

static void close_machine(struct machine *m, struct region *r)
{
    machine_close(m);
    region_unmap(r);
}

static void check_named(const struct err *e)
{
    CHECK_EQ(e->status, 125);
    CHECK_HAS(e->text, "0xfee00000");
    CHECK_HAS(e->text, "APIC");
    CHECK_HAS(e->text, "File exists");
    CHECK(strchr(e->text, '\n') == NULL);
}

/* One region over the foreign page: refused by name without the hole, mapped around it with the hole. */
static void check_region(int kvm_fd, uint64_t at, uint64_t len, bool readonly)
{
    struct err e = {.text = ""};
    struct machine m;
    struct region r;
    struct slots s;

    if (open_machine(kvm_fd, &m, &r, len)) {
        slots_init(&s, &m, false, false);
        CHECK_EQ(slots_map(&s, gpa_make(at), len, r.base, readonly, &e), -1);
        check_named(&e);
        CHECK_EQ(seam.slots_n, 0);

        slots_init(&s, &m, true, false);
        guest_check(slots_map(&s, gpa_make(at), len, r.base, readonly, &e), &e);
        CHECK(seam_is_covered(at, len, r.base, holes, 1));
        CHECK_EQ(seam.slots_n, 2);
        CHECK_EQ(seam.slots[0].readonly, readonly);
        CHECK_EQ(seam.slots[1].readonly, readonly);
        guest_check(slots_unmap(&s, gpa_make(at), len, &e), &e);
        CHECK_EQ(seam.slots_n, 0);
    }
    close_machine(&m, &r);
}

static void bare_region(int kvm_fd, const struct kvm_case *c)
{
    (void)c;
    check_region(kvm_fd, 0, 4 * GIB + 0x10000000u, false);
}

static void snapshot_region(int kvm_fd, const struct kvm_case *c)
{
    (void)c;
    check_region(kvm_fd, 0x4000, 5 * GIB, true);
}

static void historical_region(int kvm_fd, const struct kvm_case *c)
{
    (void)c;
    check_region(kvm_fd, 0x100000000u - c->n, c->n, false);
}

/* The plan as it was before scratch was lowered; everything but the top is the identity kind's. */
static const struct plan_rules historical_rules = {
    .kind = "historical",
    .model = MODEL_IDENTITY,
    .base_default = 0x1000,
    .phys_top = 0x100000000u,
    .virt_top = 0x100000000u,
    .region_max = 0x100000000u - 0x1000,
};

/* The same through vm_open: with the controllers in the kernel there is a hole, without them there is none.
 */
static void historical_plan(int kvm_fd, const struct kvm_case *c)
{
    struct plan_sizes sizes = layout_default_sizes();
    struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    unsigned fds;

    sizes.image_len = 0x10000;
    sizes.scratch_len = c->n;
    if (!guest_make_empty(guest_kind_at(0), &historical_rules, &sizes, &snap))
        return;
    CHECK_EQ(layout_gpa(&snap.plan, AREA_SCRATCH, 0).v, 0x100000000u - c->n);
    seam.foreign_at = APIC;
    fds = seam_count_fds();
    CHECK_EQ(vm_open(&vm, kvm_fd, &snap, &opt, &e), -1);
    check_named(&e);
    CHECK_EQ(seam_count_fds(), fds);

    seam_reset();
    seam.foreign_at = APIC;
    opt.irqchip = true;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK(seam_is_covered(0x100000000u - c->n, c->n, vm_scratch(&vm, 0), holes, 1));
        CHECK_EQ(seam.slots_n, 3);
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/*
 * An amd64 program of three pages, linked so that the page in the middle is
 * the hole. It prints the last word of its first page and the first of its
 * third, and ends.
 */
#define PROGRAM_AT  (APIC - PAGE)
#define PROGRAM_LEN (3 * PAGE)

static const uint8_t program[] = {
    0xb9, 0xfc, 0xff, 0xdf, 0xfe, /* mov ecx, 0xfedffffc */
    0x8b, 0x01, 0xe7, 0x67,       /* mov eax, [rcx]; out 103, eax */
    0xb9, 0x00, 0x10, 0xe0, 0xfe, /* mov ecx, 0xfee01000 */
    0x8b, 0x01, 0xe7, 0x67,       /* mov eax, [rcx]; out 103, eax */
    0x48, 0x83, 0xe4, 0xf0,       /* and rsp, -16 */
    0xe6, 0x6c, 0xf4,             /* out 108, al; hlt */
};

static void make_elf(uint8_t elf[PAGE + PROGRAM_LEN])
{
    memset(elf, 0, PAGE + PROGRAM_LEN);
    memcpy(elf, "\177ELF\2\1\1", 7);
    store_le16(elf + 16, 2);  /* e_type EXEC */
    store_le16(elf + 18, 62); /* e_machine */
    store_le32(elf + 20, 1);
    store_le64(elf + 24, PROGRAM_AT); /* e_entry */
    store_le64(elf + 32, 64);         /* e_phoff */
    store_le16(elf + 52, 64);
    store_le16(elf + 54, 56);
    store_le16(elf + 56, 1);
    store_le32(elf + 64, 1); /* p_type LOAD */
    store_le32(elf + 68, 7); /* p_flags RWX */
    store_le64(elf + 72, PAGE);
    store_le64(elf + 80, PROGRAM_AT);
    store_le64(elf + 88, PROGRAM_AT);
    store_le64(elf + 96, PROGRAM_LEN);
    store_le64(elf + 104, PROGRAM_LEN);
    store_le64(elf + 112, PAGE); /* p_align */
    memcpy(elf + PAGE, program, sizeof(program));
    store_le32(elf + PAGE + PAGE - 4, 'A');
    store_le32(elf + PAGE + PAGE, 'x'); /* in the hole: nobody's */
    store_le32(elf + PAGE + 2 * PAGE, 'B');
}

static void program_over_the_hole(int kvm_fd, const struct kvm_case *c)
{
    static uint8_t elf[PAGE + PROGRAM_LEN];
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct outcome out;
    struct snapshot snap;
    struct vm vm;
    char text[64];

    (void)c;
    make_elf(elf);
    /* The plan refuses such an image as soon as it knows of a local APIC; here it does not. */
    io.sizes.apic = true;
    CHECK_EQ(image_build(elf, sizeof(elf), "program", &io, &snap, &e), -1);
    CHECK_EQ(e.status, 126);
    CHECK_HAS(e.text, "0xfee00000");
    io.sizes.apic = false;
    if (!guest_check(image_build(elf, sizeof(elf), "program", &io, &snap, &e), &e))
        return;
    seam.foreign_at = APIC;
    CHECK_EQ(vm_open(&vm, kvm_fd, &snap, &opt, &e), -1);
    check_named(&e);

    seam_reset();
    seam.foreign_at = APIC;
    opt.irqchip = true;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK(seam_is_covered(PROGRAM_AT, snap.plan.snapshot_len, snap.memory.base, holes, 1));
        CHECK_EQ(seam.slots_n, 3);
        if (guest_check(vm_restore(&vm, &e), &e) && guest_run(&vm, text, sizeof(text), &out)) {
            CHECK_EQ(out.reason, REASON_ENDED);
            CHECK_STR(text, "AB");
        }
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/* Map a range with the holes of a machine, compare with the wanted pieces, unmap. */
static void check_edges(int kvm_fd, bool ioapic, uint64_t at, uint64_t len, unsigned pieces_n)
{
    struct err e = {.text = ""};
    struct machine m;
    struct region r;
    struct slots s;

    if (open_machine(kvm_fd, &m, &r, len)) {
        slots_init(&s, &m, true, ioapic);
        guest_check(slots_map(&s, gpa_make(at), len, r.base, false, &e), &e);
        if (!CHECK(seam_is_covered(at, len, r.base, holes, ioapic ? 2 : 1)) ||
            !CHECK_EQ(seam.slots_n, pieces_n))
            printf("# at 0x%" PRIx64 "-0x%" PRIx64 "\n", at, at + len);
        guest_check(slots_unmap(&s, gpa_make(at), len, &e), &e);
        CHECK_EQ(seam.slots_n, 0);
    }
    close_machine(&m, &r);
}

static void range_at_an_edge(int kvm_fd, const struct kvm_case *c)
{
    (void)c;
    check_edges(kvm_fd, false, APIC - 4 * PAGE, 4 * PAGE, 1); /* ends where the hole starts */
    check_edges(kvm_fd, false, APIC + PAGE, 4 * PAGE, 1);     /* starts where it ends */
    check_edges(kvm_fd, false, APIC, 4 * PAGE, 1);            /* starts with it */
    check_edges(kvm_fd, false, APIC - 4 * PAGE, 5 * PAGE, 1); /* ends with it */
    check_edges(kvm_fd, false, APIC - PAGE, 3 * PAGE, 2);     /* one page on each side */
    check_edges(kvm_fd, false, APIC, PAGE, 0);                /* is it */
    check_edges(kvm_fd, false, 0x1000, 16 * PAGE, 1);         /* is far below, */
    check_edges(kvm_fd, false, 0x100000000u, 16 * PAGE, 1);   /* and above */
}

static void both_holes(int kvm_fd, const struct kvm_case *c)
{
    (void)c;
    check_edges(kvm_fd, true, 0, 4 * GIB, 3);
    check_edges(kvm_fd, true, IOAPIC, 2 * PAGE, 1);
    check_edges(kvm_fd, true, IOAPIC, PAGE, 0);
    check_edges(kvm_fd, true, IOAPIC - PAGE, 2 * PAGE, 1);
    check_edges(kvm_fd, true, IOAPIC, APIC - IOAPIC + PAGE, 1);
    check_edges(kvm_fd, true, IOAPIC + PAGE, APIC - IOAPIC, 1);
    check_edges(kvm_fd, true, IOAPIC - PAGE, APIC - IOAPIC + 3 * PAGE, 3);
    check_edges(kvm_fd, false, IOAPIC - PAGE, 3 * PAGE, 1); /* for guests of the ABI RAM wins there */
}

/* ABI scratch beside a real in-kernel local APIC: one slot that ends where KVM's page starts. */
static void real_irqchip(int kvm_fd, const struct kvm_case *c)
{
    const struct vm_options opt = {.irqchip = true};
    const struct guest_kind *kind = guest_kind_named(c->kind);
    struct plan_sizes sizes = layout_default_sizes();
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    uint64_t top = strcmp(c->kind, "amd64") == 0 ? 0x1000000000u : APIC;

    sizes.image_len = 0x10000;
    sizes.scratch_len = c->n;
    sizes.apic = true;
    if (!CHECK(kind != NULL) || !guest_make_empty(kind, kind->rules, &sizes, &snap))
        return;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK(seam_is_covered(top - c->n, c->n, vm_scratch(&vm, 0), holes, 1));
        CHECK_EQ(seam.slots_n, 2);
        CHECK_EQ(seam.slots[0].readonly, strcmp(c->kind, "i686-identity") != 0);
        CHECK_EQ(seam.slots[1].readonly, false);
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

static const struct kvm_case cases[] = {
    {"a bare region over 0xfee00000 maps around it, and without the hole names it", .run = bare_region},
    {"an amd64 snapshot region over 0xfee00000 maps around it, and without the hole names it",
     .run = snapshot_region},
    {"scratch below the historical top of 4 GiB maps around 0xfee00000, and without the hole names it",
     .run = historical_region, .n = 0x6882000},
    {"a plan with the historical top opens with a local APIC, and without the hole names 0xfee00000",
     .run = historical_plan, .n = 0x6882000},
    {"an amd64 program linked over 0xfee00000 runs on both sides of the hole", .run = program_over_the_hole},
    {"a range that touches a hole has the pieces it should", .run = range_at_an_edge},
    {"a bare guest has two holes", .run = both_holes},
    {"i686 scratch of 64M lies beside a real local APIC", .run = real_irqchip, .kind = "i686", .n = 64 << 20},
    {"i686 scratch of 1G lies beside a real local APIC", .run = real_irqchip, .kind = "i686", .n = 1 << 30},
    {"i686-identity scratch of 64M lies beside a real local APIC", .run = real_irqchip,
     .kind = "i686-identity", .n = 64 << 20},
    {"i686-identity scratch of 1G lies beside a real local APIC", .run = real_irqchip,
     .kind = "i686-identity", .n = 1 << 30},
    {"amd64 scratch of 1G lies beside a real local APIC", .run = real_irqchip, .kind = "amd64", .n = 1 << 30},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
