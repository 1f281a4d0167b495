/*
 * Snapshot files of the past, golden/format1-KIND.txt, that every reader has to
 * read as what they are. They are never written anew: a reader that cannot read
 * them is wrong, or the format has a new number and this test a new folder.
 *
 * A line is an offset and the bytes there, both in hex; all others are zero.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/snapfile.h"
#include "tests/fuzz/snap_samples.h"
#include "tests/tap.h"

#define FILE_MAX 0x120000u

static const struct golden {
    const char *kind;
    uint64_t file_len, base, snapshot_len, cr3, entry, peb, dispatch, call_sp, cr0, cr4, efer;
    unsigned roots_n;
    uint64_t roots[3];
    uint32_t memory_crc, tables_crc, placed_crc;
} golden[] = {
    {"amd64",
     106500,
     0x4000,
     0x4000,
     0xffffc1000,
     0x4040,
     0x6000,
     0xffffffff80123456,
     0xfffffffffffffe00,
     0x80050033,
     0x620,
     0xd01,
     3,
     {0xffffc2000, 0xffffc1000, 0xffffc0000},
     0x166d1788,
     0xe7793f85,
     0x9c06709a},
    {"i686",
     106500,
     0x1000,
     0x4000,
     0xfedc1000,
     0x1040,
     0x3000,
     0xc0123456,
     0xfffffe00,
     0x80010011,
     0x200,
     0,
     3,
     {0xfedc2000, 0xfedc1000, 0xfedc0000},
     0x166d1788,
     0xbe3df806,
     0x9c06709a},
    {"i686-identity",
     90116,
     0x1000,
     0x6000,
     0x77000,
     0x1040,
     0x3000,
     0xc0123456,
     0xfffffe00,
     0x11,
     0x200,
     0,
     0,
     {0},
     0x60bb6fac,
     0,
     0},
};

#define GOLDEN_N (sizeof(golden) / sizeof(golden[0]))

static uint8_t bytes[FILE_MAX];

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool load(const char *kind, uint64_t file_len)
{
    const char *dir = getenv("GOLDEN");
    char path[300], line[200], *p;
    uint64_t off;
    FILE *f;

    memset(bytes, 0, sizeof(bytes));
    snprintf(path, sizeof(path), "%s/format1-%s.txt", dir != NULL ? dir : "tests/unit/golden", kind);
    f = fopen(path, "re");
    if (!CHECK(f != NULL))
        return false;
    while (fgets(line, sizeof(line), f) != NULL) {
        off = strtoull(line, &p, 16);
        for (p += *p == ' '; hex_digit(p[0]) >= 0 && hex_digit(p[1]) >= 0; p += 2, off++) {
            if (!CHECK(off < file_len))
                break;
            bytes[off] = (uint8_t)(hex_digit(p[0]) << 4 | hex_digit(p[1]));
        }
        CHECK(*p == '\n');
    }
    fclose(f);
    return CHECK_EQ(load_le64(bytes + 32), file_len);
}

static void check_fields(const struct golden *g, const struct snapshot *s, const struct snapfile_info *info)
{
    uint64_t top = strcmp(g->kind, "amd64") == 0 ? 0x1000000000 : 0xfee00000;
    unsigned i;

    CHECK_STR(s->kind->name, g->kind);
    CHECK_EQ(info->created_ns, 1234567890123456789);
    CHECK_STR(info->producer, "vmm");
    CHECK_EQ(s->generation, 0x1122334455667788);
    CHECK(s->takes_calls);
    CHECK_EQ(s->plan.base.v, g->base);
    CHECK_EQ(s->plan.snapshot_len, g->snapshot_len);
    CHECK_EQ(s->plan.sizes.scratch_len, 0x48000);
    CHECK_EQ(s->plan.sizes.input_len, 0x4000);
    CHECK_EQ(s->plan.sizes.output_len, 0x4000);
    CHECK_EQ(s->plan.sizes.heap_len, 0x2000);
    CHECK_EQ(s->plan.sizes.init_data_len, 0x321);
    CHECK_EQ(s->plan.scratch_gpa.v, top - 0x48000);
    CHECK_EQ(s->plan.pt_len, g->roots_n != 0 ? 0x5000 : 0);
    CHECK_EQ(s->plan.placed_len, g->roots_n != 0 ? 0x1000 : 0);
    CHECK_EQ(s->entry.v, g->entry);
    CHECK_EQ(s->peb.v, g->peb);
    CHECK_EQ(s->dispatch, g->dispatch);
    CHECK_EQ(s->call_sp, g->call_sp);
    CHECK_EQ(s->sregs.cr0, g->cr0);
    CHECK_EQ(s->sregs.cr2, 0xdeadb000);
    CHECK_EQ(s->sregs.cr3, g->cr3);
    CHECK_EQ(s->sregs.cr4, g->cr4);
    CHECK_EQ(s->sregs.cr8, 5);
    CHECK_EQ(s->sregs.efer, g->efer);
    CHECK_EQ(s->sregs.apic_base, 0xfee00900);
    CHECK(s->sregs.gs.base == 0x5678000 && s->sregs.gs.limit == 0x1fff && s->sregs.gs.selector == 0x33 &&
          s->sregs.gs.type == 3 && s->sregs.gs.dpl == 3 && s->sregs.gs.s && s->sregs.gs.present &&
          s->sregs.gs.db && !s->sregs.gs.g && s->sregs.gs.avl && !s->sregs.gs.l);
    CHECK(s->sregs.ldt.base == 0x9000 && s->sregs.ldt.limit == 0x27 && s->sregs.ldt.type == 2);
    CHECK(s->sregs.gdt.base == 0xa000 && s->sregs.gdt.limit == 0x37);
    CHECK(s->sregs.idt.base == 0xb000 && s->sregs.idt.limit == 0x7ff);
    CHECK_EQ(s->sregs.fs.base, 0x1234000);
    CHECK(s->msrs_n == 3 && s->msrs[0].index == 0x10 && s->msrs[0].value == 0x123456789abcdef0 &&
          s->msrs[1].index == 0x174 && s->msrs[1].value == 8 && s->msrs[2].index == 0xc0000082 &&
          s->msrs[2].value == 0xffffffff80001000);
    CHECK_EQ(s->root_active, g->roots_n != 0 ? 1 : 0);
    if (CHECK_EQ(s->roots_n, g->roots_n))
        for (i = 0; i < g->roots_n; i++)
            CHECK_EQ(s->roots[i].v, g->roots[i]);
}

/* As it is; a file is for one vendor's CPUs, and this one's vendor makes none. */
static void check_head(const struct golden *g)
{
    const struct snap_cpu cpu = {.vendor = "GenuineGuest"};
    struct snapfile_info info;
    struct err e = {.text = ""};
    struct snapshot s;

    if (!CHECK_EQ(snap_decode(bytes, SNAP_CHUNK_LEN, g->file_len, "golden", &cpu, &s, &info, &e), 0))
        printf("# %s\n", e.text);
    else
        check_fields(g, &s, &info);
}

/* The whole file, made out for this host. */
static void check_file(const struct golden *g)
{
    char path[] = "/tmp/golden-XXXXXX";
    int fd = mkstemp(path);
    struct snapfile_info info;
    struct err e = {.text = ""};
    struct snapshot s;
    uint64_t compat = load_le64(bytes + sample_entry(bytes, 4) + 8);

    memcpy(bytes + compat, snapfile_host_cpu().vendor, 12);
    sample_repair(bytes, SNAP_CHUNK_LEN);
    if (!CHECK(fd >= 0) || !CHECK(pwrite(fd, bytes, g->file_len, 0) == (ssize_t)g->file_len))
        return;
    close(fd);
    if (!CHECK_EQ(snapfile_read(path, true, &s, &info, &e), 0)) {
        printf("# %s\n", e.text);
    } else {
        check_fields(g, &s, &info);
        CHECK_EQ(crc32c(0, s.memory.base, s.memory.len), g->memory_crc);
        CHECK_EQ(crc32c(0, s.tables.base, s.tables.len), g->tables_crc);
        CHECK_EQ(crc32c(0, s.placed.base, s.placed.len), g->placed_crc);
        CHECK(memcmp(s.memory.base, "a page of the guest", 19) == 0);
        snapshot_free(&s);
    }
    CHECK(unlink(path) == 0);
}

#define BARE_FILE_LEN 0x110040u

static void test_bare(void)
{
    const struct snap_cpu cpu = {.vendor = "GenuineGuest"};
    struct snapfile_info info;
    struct err e = {.text = ""};
    struct snapshot s;
    unsigned i;

    tap_case("bare: a file of format 1 is read as what it is");
    if (!load("bare", BARE_FILE_LEN))
        return;
    if (!bare_is_built) {
        CHECK_EQ(snap_decode(bytes, SNAP_CHUNK_LEN, BARE_FILE_LEN, "golden", &cpu, &s, &info, &e), -1);
        CHECK_HAS(e.text, "this vmm has no bare kernels (pvh)");
        return;
    }
    if (!CHECK_EQ(snap_decode(bytes, SNAP_CHUNK_LEN, BARE_FILE_LEN, "golden", &cpu, &s, &info, &e), 0)) {
        printf("# %s\n", e.text);
        return;
    }
    CHECK_EQ(info.created_ns, 1234567890123456789);
    CHECK_STR(info.producer, "vmm");
    CHECK_EQ(s.generation, 0x1122334455667788);
    CHECK(s.bare->start.format == BARE_PVH && s.bare->start.irqchip);
    CHECK_EQ(s.bare->ram_len, 0x100000);
    CHECK_EQ(s.bare->start.regs.rax, 0x0101010101010101);
    CHECK_EQ(s.bare->start.regs.rbp, 0x0808080808080808);
    CHECK_EQ(s.bare->start.regs.rip, 0x1111111111111111);
    CHECK_EQ(s.bare->start.regs.rflags, 0x1212121212121212);
    CHECK_EQ(s.sregs.cs.base, 0xc0000000);
    CHECK_EQ(s.sregs.idt.limit, 0x7ff);
    CHECK_EQ(s.sregs.cr0, 0x80050033);
    CHECK_EQ(s.sregs.apic_base, 0xfee00900);
    CHECK_EQ(s.bare->state_len, 40);
    CHECK_EQ(s.bare->devices_len, 20);
    for (i = 0; i < 20; i++)
        CHECK(s.bare->state[i] == (uint8_t)(i * 7) && s.bare->devices[i] == (uint8_t)(i * 11));
    CHECK_EQ(snap_section(&info, SNAP_MEMORY)->off, 0x10000);
    CHECK(memcmp(bytes + 0x10000, "a page of the guest", 19) == 0);
    snapshot_free(&s);
}

static bool has_kind(const char *name)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++)
        if (strcmp(k->name, name) == 0)
            return true;
    return false;
}

int main(void)
{
    char name[100];
    unsigned i;

    for (i = 0; i < GOLDEN_N; i++) {
        snprintf(name, sizeof(name), "%s: a file of format 1 is read as what it is", golden[i].kind);
        tap_case(name);
        if (!load(golden[i].kind, golden[i].file_len))
            continue;
        if (has_kind(golden[i].kind)) {
            check_head(&golden[i]);
            check_file(&golden[i]);
        } else {
            const struct snap_cpu cpu = {.vendor = "GenuineGuest"};
            struct snapfile_info info;
            struct err e = {.text = ""};
            struct snapshot s;

            /* A build without this kind says so. */
            CHECK_EQ(snap_decode(bytes, SNAP_CHUNK_LEN, golden[i].file_len, "golden", &cpu, &s, &info, &e),
                     -1);
            CHECK_HAS(e.text, "this vmm has no i686 guests");
        }
    }
    test_bare();
    return tap_done();
}
