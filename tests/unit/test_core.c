/*
 * Core files without KVM: guests at their start, or as far as a guest would
 * have come by editing its own tables; what gdb says of them; where a core goes.
 */
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/core_guests.h"

/* --- honest guests --------------------------------------------------------------------------------- */

static void test_start(const char *kind)
{
    struct core_file c;
    struct still s;
    const struct layout *l = &s.snap.plan;
    uint64_t window;
    const char *text = "";

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT) && write_core(&s, &c)) {
        window = s.virt_top - SCRATCH_LEN_DEFAULT;
        CHECK_EQ(c.wide, s.levels == 4);
        CHECK_EQ(c.machine, s.levels == 4 ? EM_X86_64 : EM_386);
        CHECK_EQ(c.mode, 0600);
        CHECK_EQ(core_flags(&c, &text), s.levels == 0 ? CORE_BY_PHYSICAL : 0);
        CHECK_HAS(text, s.levels == 0 ? "runs without page tables" : "by the guest's page tables");
        CHECK_EQ(c.loaded_len, l->snapshot_len + SCRATCH_LEN_DEFAULT);
        CHECK(same_bytes(&s, &c, l->base.v, l->base.v, l->snapshot_len));
        CHECK(same_bytes(&s, &c, window, s.phys_top - SCRATCH_LEN_DEFAULT, SCRATCH_LEN_DEFAULT));
        CHECK(core_find(&c, 0) == NULL && core_find(&c, l->base.v - 1) == NULL);
        CHECK(core_find(&c, window - 1) == NULL && core_find(&c, s.virt_top) == NULL);
        if (s.levels == 4) {
            CHECK_EQ(core_find(&c, l->base.v)->flags, PF_R | PF_W | PF_X);
            CHECK_EQ(core_find(&c, l->base.v + l->peb_off)->flags, PF_R);
            CHECK_EQ(core_find(&c, l->base.v + l->heap_off)->flags, PF_R | PF_W);
        } else if (s.levels == 2) {
            CHECK_EQ(core_find(&c, l->base.v)->flags, PF_R | PF_W | PF_X);
            CHECK_EQ(core_find(&c, l->base.v + l->peb_off)->flags, PF_R | PF_X);
        }
        /* A fresh guest is mostly zeros: image, PEB, tables and a few words are on disk. */
        CHECK(c.blocks * 512 < c.len / 2);
        core_close(&c);
    }
    let_go(&s);
}

static void test_copied(const char *kind)
{
    static const char marker[] = "this was written to the copy";
    struct core_file c, before = {.fd = -1};
    struct still s;
    const struct layout *l = &s.snap.plan;
    uint64_t at[3], copy;
    char bytes[sizeof(marker)];
    unsigned i;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT) && write_core(&s, &before)) {
        at[0] = l->base.v;
        at[1] = l->base.v + l->heap_off + 5 * PAGE;
        at[2] = l->base.v + l->heap_off + 4 * PAGE;
        for (i = 0; i < 3; i++) {
            copy = copy_page(&s, at[i]);
            memcpy(host_of(&s, copy) + 100 + i, marker, sizeof(marker));
        }
        if (write_core(&s, &c)) {
            for (i = 0; i < 3; i++) {
                CHECK(core_read(&c, at[i] + 100 + i, bytes, sizeof(bytes)));
                CHECK(memcmp(bytes, marker, sizeof(marker)) == 0);
            }
            CHECK(same_bytes(&s, &c, at[1] - 2 * PAGE, at[1] - 2 * PAGE, PAGE));
            CHECK(same_bytes(&s, &c, at[1] + PAGE, at[1] + PAGE, PAGE));
            /* Wherever the copies are, their neighbours are the same. */
            if (s.levels == 4)
                CHECK_EQ(core_find(&c, at[1])->va, l->base.v + l->heap_off);
            CHECK_EQ(c.segments_n, before.segments_n);
            CHECK_EQ(c.loaded_len, before.loaded_len);
            core_close(&c);
        }
        core_close(&before);
    }
    let_go(&s);
}

static void test_identity_write(void)
{
    struct core_file c;
    struct still s;

    if (stand(&s, "i686-identity", SCRATCH_LEN_DEFAULT)) {
        store_le32(s.vm.copy.base + 0x123, 0x600dc0de);
        if (write_core(&s, &c)) {
            CHECK_EQ(core_read_number(&c, s.snap.plan.base.v + 0x123, 4), 0x600dc0de);
            core_close(&c);
        }
    }
    let_go(&s);
}

/* Every register has a value of its own, and is where <sys/procfs.h> and i386's order say. */
static void test_registers(const char *kind)
{
    struct core_file c;
    struct still s;
    uint64_t len = 0;
    const uint8_t *note;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT)) {
        s.regs = (struct cpu_regs){0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107, 0x108, 0x109,
                                   0x10a, 0x10b, 0x10c, 0x10d, 0x10e, 0x10f, 0x110, 0x111, 0x112};
        s.sregs.cs.selector = 0x21;
        s.sregs.ds.selector = 0x22;
        s.sregs.es.selector = 0x23;
        s.sregs.fs.selector = 0x24;
        s.sregs.gs.selector = 0x25;
        s.sregs.ss.selector = 0x26;
        s.sregs.fs.base = 0x31;
        s.sregs.gs.base = 0x32;
        s.sregs.cr2 = 0xbadadd;
        if (write_core(&s, &c)) {
            note = core_note(&c, "CORE", NT_PRSTATUS, &len);
            if (c.wide && CHECK(note != NULL) && CHECK_EQ(len, sizeof(struct elf_prstatus))) {
                static const unsigned wanted[] = {0x110, 0x10f, 0x10e, 0x10d, 0x108, 0x102, 0x10c,
                                                  0x10b, 0x10a, 0x109, 0x101, 0x103, 0x104, 0x105,
                                                  0x106, 0,     0x111, 0x21,  0x112, 0x107, 0x26,
                                                  0x31,  0x32,  0x22,  0x23,  0x24,  0x25};
                struct elf_prstatus p;
                unsigned i;

                memcpy(&p, note, sizeof(p));
                for (i = 0; i < 27; i++)
                    CHECK_EQ(p.pr_reg[i], i == 15 ? UINT64_MAX : wanted[i]);
                CHECK_EQ(p.pr_pid, 1);
                CHECK_EQ(p.pr_cursig, 0);
                CHECK_EQ(p.pr_fpvalid, 0);
            } else if (!c.wide && CHECK(note != NULL) && CHECK_EQ(len, sizeof(struct core_prstatus32))) {
                struct core_prstatus32 p;

                memcpy(&p, note, sizeof(p));
                CHECK(p.eax == 0x101 && p.ebx == 0x102 && p.ecx == 0x103 && p.edx == 0x104 &&
                      p.esi == 0x105 && p.edi == 0x106 && p.esp == 0x107 && p.ebp == 0x108 &&
                      p.eip == 0x111 && p.eflags == 0x112);
                CHECK(p.cs == 0x21 && p.ds == 0x22 && p.es == 0x23 && p.fs == 0x24 && p.gs == 0x25 &&
                      p.ss == 0x26);
                CHECK_EQ(p.orig_eax, UINT32_MAX);
                CHECK(p.pid == 1 && p.cursig == 0 && p.fpvalid == 0);
            }
            note = core_note(&c, "VMM", CORE_NOTE, &len);
            if (CHECK(note != NULL)) {
                CHECK_EQ(load_le32(note), 1);
                CHECK_EQ(load_le64(note + 8), s.sregs.cr0);
                CHECK_EQ(load_le64(note + 16), 0xbadadd);
                CHECK_EQ(load_le64(note + 24), s.sregs.cr3);
                CHECK_EQ(load_le64(note + 32), s.sregs.cr4);
                CHECK_EQ(load_le64(note + 40), s.sregs.efer);
            }
            note = core_note(&c, "CORE", NT_AUXV, &len);
            CHECK(note != NULL && load_le32(note) == AT_ENTRY);
            core_close(&c);
            s.snap.generation = 1;
            if (write_core(&s, &c)) {
                CHECK(core_note(&c, "CORE", NT_AUXV, &len) == NULL);
                core_close(&c);
            }
        }
    }
    let_go(&s);
}

static void test_gdb(const char *kind)
{
    const char *wide[] = {"rax ",        "0x101",           "rip ", "0x4111", "PEB {0x4000, 0x4000}",
                          "TOP 0x48000", "HEAP 0x600dc0de", NULL};
    const char *narrow[] = {"eax ",        "0x101",           "eip ", "0x1111", "PEB {0x4000, 0x4000}",
                            "TOP 0x48000", "HEAP 0x600dc0de", NULL};
    char commands[1024];
    struct core_file c;
    struct still s;
    const struct layout *l = &s.snap.plan;
    const char *word;
    uint64_t heap;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT)) {
        heap = l->base.v + l->heap_off + 3 * PAGE + 8;
        store_le32(s.levels != 0 ? host_of(&s, copy_page(&s, heap)) + 8 : host_of(&s, heap), 0x600dc0de);
        s.regs.rax = 0x101;
        s.regs.rip = l->base.v + 0x111;
        word = s.levels == 4 ? "unsigned long long" : "unsigned";
        snprintf(commands, sizeof(commands),
                 "-ex 'info registers' -ex 'printf \"PEB {0x%%x, 0x%%x}\\n\", *(unsigned *)0x%" PRIx64 ", "
                 "*(unsigned *)0x%" PRIx64 "' "
                 "-ex 'printf \"TOP 0x%%x\\n\", *(unsigned *)(%s)0x%" PRIx64 "' "
                 "-ex 'printf \"HEAP 0x%%x\\n\", *(unsigned *)0x%" PRIx64 "'",
                 l->base.v + l->peb_off + PEB_INPUT_SIZE, l->base.v + l->peb_off + PEB_OUTPUT_SIZE, word,
                 s.virt_top - SCRATCH_SIZE_WORD, heap);
        if (write_core(&s, &c)) {
            core_has_in_order(core_ask_gdb(sample_path, core_path, commands), s.levels == 4 ? wide : narrow);
            core_close(&c);
        }
    }
    let_go(&s);
}

/* Guest memory that touches, in host memory that does not. */
static void test_two_mappings(const char *kind)
{
    const uint64_t half = SCRATCH_LEN_DEFAULT / 2;
    struct region other = {NULL, 0};
    struct err e = {.text = ""};
    struct core_file c = {.fd = -1};
    struct still s;
    const struct layout *l = &s.snap.plan;
    uint8_t *second;
    bool ok;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT) && check_ok(region_map(&other, half, &e), &e)) {
        second = s.vm.scratch.base + half;
        memset(second - 3 * PAGE, 0x33, 6 * PAGE);
        memcpy(other.base, second, half);
        memset(second, 0xee, half);
        s.sregs.cr0 &= ~(uint64_t)CR0_PG; /* or the tables would cut it into pages */
        gmem_clear(s.vm.mem);
        ok =
            check_ok(gmem_add(s.vm.mem, l->base, l->snapshot_len, s.snap.memory.base, false, &e), &e) &&
            check_ok(gmem_add(s.vm.mem, l->scratch_gpa, half, s.vm.scratch.base, true, &e), &e) &&
            check_ok(gmem_add(s.vm.mem, gpa_make(l->scratch_gpa.v + half), half, other.base, true, &e), &e) &&
            write_core(&s, &c);
        memcpy(second, other.base, half);
        CHECK(ok && same_bytes(&s, &c, s.phys_top - 2 * half, s.phys_top - 2 * half, 2 * half));
        core_close(&c);
    }
    region_unmap(&other);
    let_go(&s);
}

/* --- odd guests ------------------------------------------------------------------------------------ */

static void test_no_memory_behind(const char *kind)
{
    struct core_file c, before = {.fd = -1};
    struct still s;

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT) && write_core(&s, &before)) {
        map_page(&s, 0x40000000, 0xc0000000, 0x63);
        map_page(&s, 0x40001000, s.phys_top - PAGE, 0x63);
        map_page(&s, 0x40002000, s.phys_top, 0x63);
        map_page(&s, 0x40003000, 0, 0x63);
        if (write_core(&s, &c)) {
            CHECK(core_find(&c, 0x40000000) == NULL && core_find(&c, 0x40002000) == NULL &&
                  core_find(&c, 0x40003000) == NULL);
            CHECK(same_bytes(&s, &c, 0x40001000, s.phys_top - PAGE, PAGE));
            CHECK_EQ(c.loaded_len, before.loaded_len + PAGE);
            core_close(&c);
        }
        core_close(&before);
    }
    let_go(&s);
}

/* A large leaf that begins before scratch and one that ends behind it: only the part that is memory is there.
 */
static void test_large(const char *kind)
{
    const uint64_t scratch_len = 6 << 20;
    struct core_file c;
    struct still s;
    uint64_t large, gpa, at;

    if (stand(&s, kind, scratch_len)) {
        s.sregs.cr4 |= CR4_PSE;
        large = s.levels == 4 ? 2 << 20 : 4 << 20;
        gpa = (s.phys_top - scratch_len) & ~(large - 1);
        if (s.levels == 4)
            gpa -= large; /* scratch begins at a multiple: one whole leaf before it, and on into it */
        for (at = 0; at < 4; at++)
            store_entry(&s, entry_of(&s, 0x40000000 + at * large, 2), (gpa + at * large) | 0xe3);
        if (write_core(&s, &c)) {
            const struct core_segment *seg;

            at = 0x40000000 + (s.phys_top - scratch_len - gpa);
            CHECK(core_find(&c, at - 1) == NULL);
            CHECK(same_bytes(&s, &c, at, s.phys_top - scratch_len, scratch_len));
            seg = core_find(&c, at);
            CHECK(seg != NULL && seg->va == at && seg->len == scratch_len);
            core_close(&c);
        }
        if (s.levels == 2) {
            s.sregs.cr4 &= ~(uint64_t)CR4_PSE;
            if (write_core(&s, &c)) {
                CHECK(core_find(&c, at) == NULL); /* without PSE it is a pointer to a table that is none */
                core_close(&c);
            }
        }
    }
    let_go(&s);
}

static void test_last_page(void)
{
    struct core_file c;
    struct still s;
    const struct core_segment *seg;

    if (stand(&s, "amd64", SCRATCH_LEN_DEFAULT)) {
        map_page(&s, 0xfffffffffffff000, s.phys_top - PAGE, 0x8000000000000063);
        if (write_core(&s, &c)) {
            seg = &c.segments[c.segments_n - 1];
            CHECK(seg->va == 0xfffffffffffff000 && seg->len == PAGE);
            CHECK(same_bytes(&s, &c, 0xfffffffffffff000, s.phys_top - PAGE, PAGE));
            CHECK(core_find(&c, 0xffffffffffffefff) != NULL);
            core_close(&c);
        }
    }
    let_go(&s);
}

/* A guest without usable tables; `spoil` says how. */
enum spoiled { PAGING_OFF, OTHER_FORMAT, ROOT_NOWHERE, ROOT_EMPTY, RESET, SPOILED_N };

static void test_spoiled(const char *kind, enum spoiled how)
{
    static const char *const texts[SPOILED_N] = {"paging was off", "of another format", "map none",
                                                 "map none", "KVM reset the registers"};
    static const char marker[] = "in the copy";
    struct core_file c;
    struct still s;
    const struct layout *l = &s.snap.plan;
    const char *text = "";
    uint64_t heap, copy;
    char bytes[sizeof(marker)];

    if (stand(&s, kind, SCRATCH_LEN_DEFAULT)) {
        heap = l->base.v + l->heap_off;
        copy = copy_page(&s, heap);
        memcpy(host_of(&s, copy), marker, sizeof(marker));
        switch (how) {
        case PAGING_OFF: s.sregs.cr0 &= ~(uint64_t)CR0_PG; break;
        case OTHER_FORMAT: s.sregs.cr4 ^= CR4_PAE; break;
        case ROOT_NOWHERE: s.sregs.cr3 = 0xc0000000; break;
        case ROOT_EMPTY: s.sregs.cr3 = take_page(&s); break;
        default:
            s.sregs = (struct cpu_sregs){.cr0 = CR0_CD | CR0_NW | CR0_ET};
            s.sregs.cs.base = RESET_CS_BASE;
            s.regs = (struct cpu_regs){.rip = RESET_RIP, .rflags = 2};
        }
        if (write_core(&s, &c)) {
            CHECK_EQ(core_flags(&c, &text), how == RESET ? CORE_FIRST_TABLES : CORE_BY_PHYSICAL);
            CHECK_HAS(text, texts[how]);
            CHECK(core_read(&c, how == RESET ? heap : copy, bytes, sizeof(bytes)));
            CHECK(memcmp(bytes, marker, sizeof(marker)) == 0);
            CHECK_EQ(c.loaded_len, l->snapshot_len + SCRATCH_LEN_DEFAULT);
            if (how != RESET)
                CHECK_EQ(core_find(&c, heap)->flags, PF_R | PF_W | PF_X);
            core_close(&c);
        }
    }
    let_go(&s);
}

/* --- where it goes --------------------------------------------------------------------------------- */

/* What is in the folder, ours aside. */
static bool nothing_else_is_there(void)
{
    char line[128];

    snprintf(line, sizeof(line), "test -z \"$(ls -A %s | grep -v '^core$')\"", folder);
    return system(line) == 0;
}

static void check_refused(struct still *s, const char *path, const char *part)
{
    struct err e = {.text = ""}, early = {.text = ""};

    CHECK(core_check_path(path, &early) == -1);
    CHECK(core_write(&s->vm, &s->regs, &s->sregs, path, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, part);
    CHECK_STR(e.text, early.text);
    CHECK(strchr(e.text, '\n') == NULL);
}

static void test_paths(void)
{
    char path[PATH_MAX + 100];
    struct core_file c;
    struct still s;
    FILE *f;

    if (stand(&s, "amd64", SCRATCH_LEN_DEFAULT)) {
        check_refused(&s, folder, "not a regular file");
        check_refused(&s, "/dev/null", "not a regular file");
        check_refused(&s, "", "not the name of a file");
        snprintf(path, sizeof(path), "%s/none/core", folder);
        check_refused(&s, path, "none/core: cannot open its directory: No such file or directory");
        snprintf(path, sizeof(path), "%s/", core_path);
        check_refused(&s, path, "not the name of a file");
        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        check_refused(&s, path, "xxx");
        snprintf(path, sizeof(path), "%s/link", folder);
        CHECK(symlink("core", path) == 0);
        check_refused(&s, path, "not a regular file");
        unlink(path);

        f = fopen(core_path, "we");
        if (CHECK(f != NULL)) {
            fputs("an older file", f);
            fclose(f);
        }
        if (write_core(&s, &c))
            core_close(&c);
        CHECK(nothing_else_is_there());
    }
    let_go(&s);
}

/* A limit of the file's size stands in for a full disk: the same writes fail, and what was there stays. */
static void test_full(void)
{
    struct rlimit all, few;
    struct err e = {.text = ""};
    struct still s;
    char old[14] = "";
    uint64_t at;
    FILE *f;

    signal(SIGXFSZ, SIG_IGN);
    if (CHECK(getrlimit(RLIMIT_FSIZE, &all) == 0) && stand(&s, "amd64", SCRATCH_LEN_DEFAULT)) {
        memset(s.vm.scratch.base, 0x55, 0x8000);
        f = fopen(core_path, "we");
        if (CHECK(f != NULL)) {
            fputs("an older file", f);
            fclose(f);
        }
        few = all;
        for (at = 0; at < 0x80000; at += 0x6000) {
            few.rlim_cur = at;
            if (!CHECK(setrlimit(RLIMIT_FSIZE, &few) == 0))
                break;
            if (core_write(&s.vm, &s.regs, &s.sregs, core_path, &e) == 0)
                break;
            CHECK_EQ(e.status, STATUS_HOST);
            CHECK_HAS(e.text, "core: cannot write: File too large");
            CHECK(nothing_else_is_there());
        }
        setrlimit(RLIMIT_FSIZE, &all);
        CHECK(at > 0x6000 && at < 0x80000); /* it failed in several places, and then did not */
        f = fopen(core_path, "re");
        if (CHECK(f != NULL)) {
            CHECK(fread(old, 1, 4, f) == 4 && memcmp(old, ELFMAG, SELFMAG) == 0);
            fclose(f);
        }
    }
    let_go(&s);
}

/* --- every kind this flavour has ------------------------------------------------------------------- */

static void test_kind(const struct guest_kind *k)
{
    static const char *const spoiled[SPOILED_N] = {
        "whose paging is off", "whose tables have another format", "whose root is not memory",
        "whose root is empty", "whose registers KVM reset",
    };
    const char *kind = k->name;
    unsigned i;

    CASE("%s: a core holds all memory at the addresses of the ABI, zeros as holes", kind);
    test_start(kind);
    CASE("%s: a core holds every register in its place", kind);
    test_registers(kind);
    CASE("%s: gdb shows registers and memory", kind);
    test_gdb(kind);
    if (k->geom == NULL) {
        CASE("%s: what was written in place is shown", kind);
        test_identity_write();
        return;
    }
    CASE("%s: pages that were copied on write show the copy, in the segment of their neighbours", kind);
    test_copied(kind);
    CASE("%s: memory in two mappings of the host is shown as one", kind);
    test_two_mappings(kind);
    CASE("%s: pages without memory behind them are left out", kind);
    test_no_memory_behind(kind);
    CASE("%s: of a large page the part that is memory is shown", kind);
    test_large(kind);
    for (i = 0; i < SPOILED_N; i++) {
        CASE("%s: a guest %s still gives a useful core", kind, spoiled[i]);
        test_spoiled(kind, (enum spoiled)i);
    }
}

int main(void)
{
    const struct guest_kind *k;
    unsigned i;

    if (!make_folder())
        return 1;
    for (i = 0; (k = guest_kind_at(i)) != NULL; i++)
        test_kind(k);
    tap_case("amd64: the last page of the address space is a segment of its own");
    test_last_page();
    tap_case("a core replaces a regular file only, and leaves nothing else behind");
    test_paths();
    tap_case("a core that does not fit leaves what was there");
    test_full();
    remove_folder();
    return tap_done();
}
