/*
 * boot/image: small ELF files through image_build for every kind; every byte
 * of the snapshot, every page of the address space and every register looked
 * at, against the numbers of the ABI. Then what is refused, and that nothing
 * is left behind, by mmap, mprotect and munmap of this program's own.
 */
#include "boot/image.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem/bytes.h"
#include "mem/gmem.h"
#include "paging/walk.h"
#include "tests/abi_model.h"
#include "tests/fuzz/make_elf.h"
#include "tests/plan_check.h"
#include "tests/tap.h"

static struct made made; /* too large for a stack */

/* --- host memory, counted and failing when told ---------------------------------------------------- */
static uint64_t mapped;    /* bytes, and not unmapped */
static unsigned calls_n;   /* of mmap and mprotect */
static unsigned fail_call; /* the call to fail, from 1; 0 = none */

static bool fail_now(void)
{
    calls_n++;
    if (calls_n != fail_call)
        return false;
    errno = ENOMEM;
    return true;
}

static long real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    long p;

    if ((flags & MAP_NORESERVE) != 0) {
        if (fail_now())
            return MAP_FAILED;
        mapped += len;
    }
    p = real_mmap(addr, len, prot, flags, fd, off);
    return (void *)p;
}

int mprotect(void *addr, size_t len, int prot)
{
    if (prot == PROT_READ && fail_now())
        return -1;
    return (int)syscall(SYS_mprotect, addr, len, prot);
}

/* Which mappings are ours cannot be told here, so image_build's are counted down by snapshot_free's own
 * calls. */
int munmap(void *addr, size_t len)
{
    mapped -= len;
    return (int)syscall(SYS_munmap, addr, len);
}

/* --- building ------------------------------------------------------------------------------------------ */
static struct image_options options(const struct guest_kind *k)
{
    return (struct image_options){
        .sizes = layout_default_sizes(),
        .paging = k == NULL || k->geom != NULL ? GUEST_PAGING_AUTO : GUEST_PAGING_OFF,
    };
}

/* A refusal: its status, 0 when built. Checks that the result is untouched and no region is left. */
static int status_of(const struct image_options *opt, struct err *e)
{
    struct snapshot s;
    uint64_t before = mapped;
    int rc;

    memset(&s, UNTOUCHED, sizeof(s));
    *e = (struct err){.text = ""};
    rc = image_build(made.bytes, made.len, "t.elf", opt, &s, e);
    if (rc == 0) {
        snapshot_free(&s);
        CHECK_EQ(mapped, before);
        return 0;
    }
    CHECK(rc == -1);
    CHECK(is_untouched(&s, sizeof(s)));
    CHECK_EQ(mapped, before);
    CHECK(strncmp(e->text, "t.elf: ", 7) == 0 || e->status == STATUS_HOST);
    return (int)e->status;
}

struct built {
    const struct guest_kind *kind;
    const struct abi_kind *abi;
    struct image_options opt;
    struct snapshot s;
    struct abi_plan m; /* from the file that was made */
    uint64_t entry;
    uint8_t *scratch;
    struct gmem *mem;
};

static bool is_wide(const struct guest_kind *k)
{
    return k->machine == ELF_X86_64;
}

/* From the program headers: what made_sample says about its highest segment. */
static uint64_t span_of_made(void)
{
    size_t at = MADE_LEN(&made, Ehdr) + MADE_DATA * MADE_LEN(&made, Phdr);
    const uint8_t *p = made.bytes + at;

    return made.wide ? load_le64(p + 16) + load_le64(p + 40) : (uint64_t)load_le32(p + 8) + load_le32(p + 20);
}

static const uint8_t init_data[5000] = {1, 2, 3, [4999] = 0x77};

static void build(struct built *b, const struct guest_kind *k, unsigned type, uint64_t base,
                  uint64_t init_len, uint64_t scratch_len)
{
    struct abi_sizes sizes;
    struct err e;

    memset(b, 0, sizeof(*b));
    made_sample(&made, is_wide(k), type, base);
    b->kind = k;
    b->abi = abi_kind_named(k->name);
    b->opt = options(k);
    b->opt.sizes.scratch_len = scratch_len;
    b->opt.init_data = init_data;
    b->opt.init_data_len = init_len;
    sizes = (struct abi_sizes){.in = 0x4000,
                               .out = 0x4000,
                               .heap = 0x20000,
                               .scratch = scratch_len,
                               .init = init_len,
                               .image = span_of_made() - base,
                               .fixed = type == ET_EXEC,
                               .fixed_base = base};
    if (abi_judge(b->abi, &sizes, &b->m) != 0)
        abort();
    b->entry = (uint64_t)b->m.base + made.text_off;
    if (!CHECK(image_build(made.bytes, made.len, "t.elf", &b->opt, &b->s, &e) == 0)) {
        printf("# %s\n", e.text);
        exit(tap_done());
    }
    b->scratch = calloc(1, scratch_len);
    b->mem = gmem_new();
    if (b->scratch == NULL || b->mem == NULL)
        abort();
    if (b->s.tables.len != 0)
        memcpy(b->scratch + 0x8000, b->s.tables.base, b->s.tables.len);
    CHECK(gmem_add(b->mem, gpa_make((uint64_t)b->m.base), b->s.memory.len, b->s.memory.base, false, &e) == 0);
    CHECK(gmem_add(b->mem, gpa_make((uint64_t)b->m.scratch), scratch_len, b->scratch, true, &e) == 0);
}

static void release(struct built *b)
{
    gmem_free(b->mem);
    free(b->scratch);
    snapshot_free(&b->s);
}

/* --- what was built --------------------------------------------------------------------------------------
 */
static void check_peb(const struct built *b)
{
    const struct abi_plan *m = &b->m;
    const uint8_t *peb = b->s.memory.base + (uint64_t)(m->peb - m->base);
    const uint64_t wanted[] = {0x4000,
                               (uint64_t)m->seen,
                               0x4000,
                               (uint64_t)m->seen + 0x4000,
                               b->opt.init_data_len,
                               (uint64_t)m->init,
                               0x20000,
                               (uint64_t)m->heap,
                               0,
                               (uint64_t)m->peb + 0x50};
    size_t i;

    for (i = 0; i < 10; i++)
        CHECK_EQ(load_le64(peb + 8 * i), wanted[i]);
    for (i = 0x50; i < 4096 && peb[i] == 0; i++)
        ;
    CHECK_EQ(i, 4096);
    CHECK_EQ(b->s.peb.v, m->peb);
}

/* Bytes that are not zero in [from, to) of the snapshot's memory. */
static uint64_t dirty(const struct built *b, u128 from, u128 to)
{
    uint64_t n = 0, i;

    for (i = (uint64_t)(from - b->m.base); i < (uint64_t)(to - b->m.base); i++)
        n += b->s.memory.base[i] != 0;
    return n;
}

static void check_bytes(const struct built *b)
{
    const struct abi_plan *m = &b->m;
    const uint8_t *init = b->s.memory.base + (uint64_t)(m->init - m->base);

    CHECK_EQ(b->s.memory.len, m->end - m->base);
    CHECK(memcmp(b->s.memory.base + made.text_off, made.bytes + made.text_off, 24) == 0);
    CHECK_EQ(dirty(b, m->image_end, m->peb), 0);
    CHECK_EQ(dirty(b, m->heap, m->init), 0);
    CHECK(memcmp(init, init_data, b->opt.init_data_len) == 0);
    CHECK_EQ(dirty(b, m->init + b->opt.init_data_len, m->end), 0);
}

/* ABI 1.4: the leaf of a page, without its address; 0 where nothing is mapped. */
static uint64_t wanted_leaf(const struct built *b, uint64_t va, uint64_t *pa)
{
    const struct abi_plan *m = &b->m;
    bool wide_entry = b->abi->levels == 4;
    uint64_t nx = wide_entry ? 0x8000000000000000 : 0;

    *pa = va;
    if (va >= m->base && va < m->peb)
        return wide_entry ? 0x261 : 0x221;
    if (va >= m->peb && va < m->heap)
        return (wide_entry ? 0x61 : 0x21) | nx;
    if (va >= m->heap && va < m->init)
        return (wide_entry ? 0x261 : 0x221) | nx;
    if (va >= m->init && va < m->end)
        return (wide_entry ? 0x61 : 0x21) | nx;
    if (va >= m->seen && va < b->abi->g_top) {
        *pa = (uint64_t)(m->scratch + (va - m->seen));
        return (wide_entry ? 0x63 : 0x23) | nx;
    }
    return 0;
}

static struct pt_mode mode_of(const struct built *b)
{
    return (struct pt_mode){.nxe = b->abi->levels == 4, .wp = true, .phys_bits = b->kind->phys_bits};
}

/* Look [from, to) up page by page; the number of pages that are not as they should be. */
static uint64_t look_up(const struct built *b, uint64_t from, uint64_t to)
{
    uint64_t wrong = 0, va = from;

    for (; va < to; va += 4096) {
        uint64_t pa, want = wanted_leaf(b, va, &pa);
        struct walk_leaf leaf = {.raw = 0};
        enum walk_result r =
            walk_lookup(b->kind->geom, mode_of(b), b->mem, gpa_make(b->s.sregs.cr3), gva_make(va), &leaf);

        if (want == 0 ? r != WALK_ABSENT : r != WALK_FOUND || leaf.raw != (want | pa) || leaf.pa.v != pa) {
            if (wrong++ < 3)
                printf("# 0x%" PRIx64 ": entry 0x%" PRIx64 ", wanted 0x%" PRIx64 "\n", va, leaf.raw,
                       want | pa);
        }
    }
    return wrong;
}

static enum walk_next count_leaf(void *ctx, const struct walk_entry *entry)
{
    uint64_t *n = ctx;

    n[0] += entry->what == WALK_SEES_LEAF;
    n[1] += entry->what != WALK_SEES_LEAF && entry->what != WALK_SEES_TABLE;
    n[2] += entry->what == WALK_SEES_TABLE;
    return WALK_ON;
}

static void check_tables(const struct built *b)
{
    const struct abi_plan *m = &b->m;
    uint64_t n[3] = {0}, budget = 100000;

    CHECK_EQ(b->s.tables.len, m->tables_n * 4096);
    CHECK_EQ(b->s.plan.pt_len, m->tables_n * 4096);
    CHECK_EQ(b->s.sregs.cr3, m->tables);
    CHECK_EQ(look_up(b, 0, (uint64_t)m->end + 0x100000), 0);
    CHECK_EQ(look_up(b, (uint64_t)m->seen - 0x100000, (uint64_t)(b->abi->g_top - 4096)), 0);
    CHECK_EQ(look_up(b, (uint64_t)(b->abi->g_top - 4096), (uint64_t)(b->abi->g_top - 4096) + 1), 0);
    CHECK(walk_root(b->kind->geom, mode_of(b), b->mem, gpa_make(b->s.sregs.cr3), &budget, count_leaf, n) ==
          WALK_END_ALL);
    CHECK_EQ(n[0], (m->end - m->base + (m->top - m->scratch)) / 4096);
    CHECK_EQ(n[1], 0);
    CHECK_EQ(n[2], m->tables_n - 1);
    CHECK_EQ(100000 - budget, m->tables_n);
}

static void check_built(struct built *b)
{
    check_peb(b);
    check_bytes(b);
    if (b->abi->paged) {
        check_tables(b);
    } else {
        CHECK(b->s.tables.base == NULL && b->s.tables.len == 0);
        CHECK_EQ(b->s.sregs.cr3, 0);
    }
    CHECK(b->s.kind == b->kind);
    CHECK_EQ(b->s.entry.v, b->entry);
    CHECK_EQ(b->s.generation, 0);
    CHECK_EQ(b->s.sregs.cr0, b->kind->cr0);
    CHECK_EQ(b->s.sregs.cr4, b->kind->cr4);
    CHECK_EQ(b->s.sregs.efer, b->kind->efer);
    CHECK_EQ(b->s.plan.sizes.image_len, b->m.image_end - b->m.base);
    CHECK_EQ(b->s.plan.sizes.init_data_len, b->opt.init_data_len);
}

static void test_built(const struct guest_kind *k)
{
    static const uint64_t scratch[] = {0x48000, 0x6882000};
    char name[160];
    unsigned type, i;

    for (type = ET_EXEC; type <= ET_DYN; type++)
        for (i = 0; i < 2; i++) {
            struct built b;

            snprintf(name, sizeof(name),
                     "%s, %s, %s scratch: PEB, bytes, page rights, entry and registers are right", k->name,
                     type == ET_EXEC ? "fixed addresses" : "position independent",
                     i == 0 ? "small" : "large");
            tap_case(name);
            build(&b, k, type, type == ET_EXEC ? 0x400000 : 0, i == 0 ? 5000 : type == ET_DYN, scratch[i]);
            check_built(&b);
            release(&b);
        }

    snprintf(name, sizeof(name), "%s: a position independent image is relocated by where it was put",
             k->name);
    tap_case(name);
    {
        struct built b;
        const uint8_t *word;
        size_t w = is_wide(k) ? 8 : 4;

        build(&b, k, ET_DYN, 0, 4096, 0x48000);
        CHECK_EQ((uint64_t)b.m.base, is_wide(k) ? 0x4000 : 0x1000);
        word = b.s.memory.base + made_data_vaddr(0, made.data_off);
        CHECK_EQ(w == 8 ? load_le64(word) : load_le32(word), w == 8 ? 0x4040 : 0x1234 + 0x1000);
        CHECK_EQ(b.m.end - b.m.init, 4096);
        release(&b);
    }
}

static void test_every_page(void)
{
    struct built b;
    const struct guest_kind *k = guest_kind_at(1);

    if (k == NULL)
        return;
    tap_case(
        "of the whole 32-bit address space nothing is mapped but image, PEB, heap, init data and scratch");
    build(&b, k, ET_EXEC, 0x1000, 1, 0x48000);
    CHECK_EQ(look_up(&b, 0, (uint64_t)1 << 32), 0);
    release(&b);
}

static void test_plan_only(const struct guest_kind *k)
{
    struct image_options opt = options(k);
    const struct guest_kind *found = NULL;
    struct elf_image *elf = calloc(1, sizeof(*elf));
    struct layout l = {.rules = NULL};
    struct err e = {.text = "untouched"};
    char name[120];
    uint64_t before = mapped;

    snprintf(name, sizeof(name), "%s: a plan alone has the image's numbers and maps nothing", k->name);
    tap_case(name);
    made_sample(&made, is_wide(k), ET_EXEC, 0x200000);
    opt.init_data_len = 77;
    CHECK(image_plan(made.bytes, made.len, "t.elf", &opt, elf, &found, &l, &e) == 0);
    CHECK_STR(e.text, "untouched");
    CHECK(found == k && l.rules == k->rules);
    CHECK_EQ(elf->vaddr_base, 0x200000);
    CHECK_EQ(l.base.v, 0x200000);
    CHECK_EQ(l.sizes.image_len, span_of_made() - 0x200000);
    CHECK_EQ(l.snapshot_len - l.init_off, 0x1000);
    CHECK_EQ(mapped, before);

    found = NULL;
    l.rules = NULL;
    elf->vaddr_base = 1;
    opt.sizes.heap_len = 1;
    CHECK(image_plan(made.bytes, made.len, "t.elf", &opt, elf, &found, &l, &e) == -1);
    CHECK(found == NULL && l.rules == NULL && elf->vaddr_base == 1);
    CHECK_EQ(e.status, STATUS_USAGE);
    CHECK_STR(e.text, "t.elf: layout: heap is not a multiple of 4K (1 bytes)");
    free(elf);
}

static void test_refused(const struct guest_kind *k)
{
    const struct abi_kind *abi = abi_kind_named(k->name);
    struct image_options opt = options(k);
    uint64_t start = abi->p_top - 0x48000;
    char name[120], range[64];
    struct err e;

    snprintf(name, sizeof(name),
             "%s: an image on scratch is refused, leaves nothing, and the message has both ranges", k->name);
    tap_case(name);
    made_sample(&made, is_wide(k), ET_EXEC, start - 0x1000);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
    snprintf(range, sizeof(range), "0x%" PRIx64 "-0x%" PRIx64, start - 0x1000, span_of_made());
    CHECK_HAS(e.text, range);
    snprintf(range, sizeof(range), "0x%" PRIx64 "-0x%" PRIx64, start, abi->p_top);
    CHECK_HAS(e.text, range);
    CHECK(e.hint[0] != '\0');

    snprintf(name, sizeof(name),
             "%s: the same image fits right below a scratch that leaves room for PEB and heap", k->name);
    tap_case(name);
    made_sample(&made, is_wide(k), ET_EXEC, start - 0x23000);
    CHECK_EQ(status_of(&opt, &e), 0);
    made_sample(&made, is_wide(k), ET_EXEC, start - 0x22000);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);

    snprintf(name, sizeof(name), "%s: an image at the end of the address space, or past it, is refused",
             k->name);
    tap_case(name);
    made_sample(&made, is_wide(k), ET_EXEC, 0x1000);
    MADE_PHDR(&made, MADE_DATA, p_memsz, is_wide(k) ? UINT64_MAX - 0x1000 : UINT32_MAX - 0x1000);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
    made_sample(&made, is_wide(k), ET_EXEC, is_wide(k) ? 0xfffffffffffff000 : 0xfffff000);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
    made_sample(&made, is_wide(k), ET_EXEC, is_wide(k) ? 0xffffffffffff0000 : 0xffff0000);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
    made_sample(&made, is_wide(k), ET_EXEC, abi->p_top);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);

    snprintf(name, sizeof(name), "%s: a scratch that cannot hold its tables is a usage error", k->name);
    tap_case(name);
    made_sample(&made, is_wide(k), ET_DYN, 0);
    opt.sizes.scratch_len = 0x13000;
    CHECK_EQ(status_of(&opt, &e), STATUS_USAGE);
    CHECK_HAS(e.text, "t.elf: layout: scratch is too small");

    snprintf(name, sizeof(name), "%s: no bytes, half of the bytes and text are refused", k->name);
    tap_case(name);
    opt = options(k);
    made_sample(&made, is_wide(k), ET_DYN, 0);
    made.len /= 2;
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
    made.len = 0;
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
    memset(made.bytes, 'a', made.len = 5000);
    CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
}

static void test_no_memory(const struct guest_kind *k)
{
    struct image_options opt = options(k);
    unsigned n, wanted;
    char name[120];
    struct err e;

    snprintf(name, sizeof(name),
             "%s: whatever host memory call fails, that is the host's status and nothing is left", k->name);
    tap_case(name);
    made_sample(&made, is_wide(k), ET_DYN, 0);
    calls_n = 0;
    CHECK_EQ(status_of(&opt, &e), 0);
    wanted = calls_n;
    CHECK_EQ(wanted, 2);
    for (n = 1; n <= wanted; n++) {
        calls_n = 0;
        fail_call = n;
        CHECK_EQ(status_of(&opt, &e), STATUS_HOST);
        CHECK_HAS(e.text, "host memory: ");
        fail_call = 0;
    }
}

/* Writing to a sealed region would be a fault, so ask the kernel to write there instead: it says EFAULT. */
static bool is_sealed(const struct region *r)
{
    int fd[2];
    bool sealed;

    if (pipe(fd) != 0 || write(fd[1], "x", 1) != 1)
        abort();
    sealed = syscall(SYS_read, fd[0], r->base, 1) == -1 && errno == EFAULT;
    close(fd[0]);
    close(fd[1]);
    return sealed;
}

static void test_ownership(const struct guest_kind *k)
{
    struct image_options opt = options(k);
    struct snapshot s = {0};
    char name[120];
    struct err e;

    snprintf(name, sizeof(name),
             "%s: a snapshot's bytes are read-only for the host, and freeing twice is harmless", k->name);
    tap_case(name);
    snapshot_free(&s);
    made_sample(&made, is_wide(k), ET_DYN, 0);
    CHECK(image_build(made.bytes, made.len, "t.elf", &opt, &s, &e) == 0);
    CHECK(is_sealed(&s.memory));
    CHECK(s.tables.len == 0 || is_sealed(&s.tables));
    snapshot_free(&s);
    CHECK(s.memory.base == NULL && s.memory.len == 0 && s.tables.base == NULL && s.tables.len == 0);
    snapshot_free(&s);
    CHECK(s.memory.base == NULL);
}

static void test_missing_kinds(void)
{
    struct image_options opt = options(NULL);
    struct err e;

    if (guest_kind_at(1) == NULL) {
        tap_case("an i686 image in a binary without i686 guests is refused and the hint names the switch");
        made_sample(&made, false, ET_EXEC, 0x1000);
        CHECK_EQ(status_of(&opt, &e), STATUS_IMAGE);
        CHECK_STR(e.text, "t.elf: this vmm has no i686 guests");
        CHECK_HAS(e.hint, "I686_GUEST=1");
    }
    tap_case("paging off for an amd64 image is a usage error");
    made_sample(&made, true, ET_EXEC, 0x1000);
    opt.paging = GUEST_PAGING_OFF;
    CHECK_EQ(status_of(&opt, &e), STATUS_USAGE);
}

int main(void)
{
    const struct guest_kind *k;
    unsigned i;

    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        test_built(k);
        test_plan_only(k);
        test_refused(k);
        test_no_memory(k);
        test_ownership(k);
    }
    test_every_page();
    test_missing_kinds();
    return tap_done();
}
