/*
 * Guests for the tests of core files that need no KVM: snapshots of samples
 * with memory as vm_open and vm_restore leave it, and what a guest does to its
 * tables. Addresses are the ABI's numbers, the walk is the manual's picture.
 */
#ifndef TESTS_CORE_GUESTS_H
#define TESTS_CORE_GUESTS_H

#include <stdint.h>
#include <unistd.h>

#include "boot/image.h"
#include "boot/x86.h"
#include "hv/core.h"
#include "hv/file.h"
#include "hv/vm.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "tests/core_read.h"

#define PAGE 4096u

static char folder[40];
static char core_path[64];
static char sample_path[512];

static inline bool check_ok(int result, const struct err *e)
{
    if (result != 0)
        printf("# %s\n", e->text);
    return CHECK(result == 0);
}

#define CASE(...) (snprintf(case_name, sizeof(case_name), __VA_ARGS__), tap_case(case_name))
static char case_name[200];

/* A folder of its own for the cores; in memory where that can be: those of hostile guests are large. */
static inline bool make_folder(void)
{
    snprintf(folder, sizeof(folder), "%s/vmm-test-core.XXXXXX",
             access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL)
        return false;
    snprintf(core_path, sizeof(core_path), "%s/core", folder);
    return true;
}

static inline void remove_folder(void)
{
    unlink(core_path);
    rmdir(folder);
}

/* --- guests that stand still ----------------------------------------------------------------------- */

struct still {
    struct snapshot snap;
    struct vm vm;
    struct cpu_regs regs;
    struct cpu_sregs sregs;
    uint64_t virt_top, phys_top; /* by the ABI */
    unsigned levels, index_bits, entry_len;
};

static inline bool read_sample(const char *name, const char *kind, struct file *out)
{
    const char *dirs[] = {getenv("SAMPLES"), "build/i686-counter/samples", "build/amd64/samples"};
    struct err e = {.text = ""};
    unsigned i;

    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        if (dirs[i] == NULL)
            continue;
        snprintf(sample_path, sizeof(sample_path), "%s/%s-%s.elf", dirs[i], name, kind);
        if (file_read(sample_path, UINT32_MAX, out, &e) == 0)
            return true;
    }
    return check_ok(-1, &e);
}

static inline void let_go(struct still *s)
{
    vm_close(&s->vm);
    snapshot_free(&s->snap);
}

static inline void set_top_word(struct still *s, unsigned distance, uint64_t v)
{
    store_le64(s->vm.scratch.base + s->vm.scratch.len - distance, v);
}

/* The sample as vm_open and vm_restore leave it, but for a machine. */
static inline bool stand(struct still *s, const char *kind, uint64_t scratch_len)
{
    struct image_options opt = {.sizes = layout_default_sizes()};
    struct err e = {.text = ""};
    struct file elf;
    const struct layout *l = &s->snap.plan;
    const struct region *low;
    bool paged = strcmp(kind, "i686-identity") != 0;
    int result;

    *s = (struct still){.vm = {.machine = MACHINE_CLOSED}};
    opt.sizes.scratch_len = scratch_len;
    if (!read_sample("frames", kind, &elf))
        return false;
    result = image_build(elf.map.base, elf.len, "frames", &opt, &s->snap, &e);
    file_free(&elf);
    if (!check_ok(result, &e))
        return false;
    s->vm.snap = &s->snap;
    s->vm.mem = gmem_new();
    if (!CHECK(s->vm.mem != NULL) || !check_ok(region_map(&s->vm.scratch, scratch_len, &e), &e) ||
        (!paged && !check_ok(region_map(&s->vm.copy, l->snapshot_len, &e), &e)))
        return false;
    low = paged ? &s->snap.memory : &s->vm.copy;
    if (!paged)
        memcpy(s->vm.copy.base, s->snap.memory.base, l->snapshot_len);
    if (!check_ok(gmem_add(s->vm.mem, l->base, l->snapshot_len, low->base, !paged, &e), &e) ||
        !check_ok(gmem_add(s->vm.mem, l->scratch_gpa, scratch_len, s->vm.scratch.base, true, &e), &e))
        return false;
    if (s->snap.tables.len != 0)
        memcpy(s->vm.scratch.base + l->pt_off, s->snap.tables.base, s->snap.tables.len);
    s->sregs = s->snap.sregs;
    s->regs = (struct cpu_regs){.rip = s->snap.entry.v, .rflags = 2};
    s->levels = strcmp(kind, "amd64") == 0 ? 4 : paged ? 2 : 0;
    s->index_bits = s->levels == 4 ? 9 : 10;
    s->entry_len = s->levels == 4 ? 8 : 4;
    s->phys_top = s->levels == 4 ? 0x1000000000 : 0xfee00000;
    s->virt_top = s->levels == 4 ? 0xfffffffffffff000 : paged ? 0x100000000 : 0xfee00000;
    set_top_word(s, SCRATCH_SIZE_WORD, scratch_len);
    set_top_word(s, SCRATCH_ALLOCATOR_WORD, l->scratch_gpa.v + l->free_off);
    return true;
}

/* Where the host has the byte at `gpa`; of scratch or the snapshot region. */
static inline uint8_t *host_of(struct still *s, uint64_t gpa)
{
    const struct layout *l = &s->snap.plan;
    uint8_t *low = s->vm.copy.base != NULL ? s->vm.copy.base : s->snap.memory.base;

    if (gpa >= s->phys_top - s->vm.scratch.len && gpa < s->phys_top)
        return s->vm.scratch.base + (gpa - (s->phys_top - s->vm.scratch.len));
    if (gpa >= l->base.v && gpa < l->base.v + l->snapshot_len)
        return low + (gpa - l->base.v);
    return NULL;
}

static inline uint64_t load_entry(const struct still *s, const uint8_t *p)
{
    return s->entry_len == 8 ? load_le64(p) : load_le32(p);
}

static inline void store_entry(const struct still *s, uint8_t *p, uint64_t v)
{
    if (s->entry_len == 8)
        store_le64(p, v);
    else
        store_le32(p, (uint32_t)v);
}

static inline uint64_t take_page(struct still *s)
{
    uint8_t *word = s->vm.scratch.base + s->vm.scratch.len - SCRATCH_ALLOCATOR_WORD;
    uint64_t page = load_le64(word);

    CHECK(page + PAGE <= s->phys_top - SCRATCH_HOST_PAGE);
    store_le64(word, page + PAGE);
    return page;
}

/* The host's bytes of the entry for `va` in a table of `level`, 1 being the lowest; tables are made on the
 * way. */
static inline uint8_t *entry_of(struct still *s, uint64_t va, unsigned level)
{
    uint64_t table = s->sregs.cr3;
    unsigned at;

    for (at = s->levels;; at--) {
        uint64_t index = va >> (12 + (at - 1) * s->index_bits) & ((1u << s->index_bits) - 1);
        uint8_t *p = host_of(s, table) + index * s->entry_len;

        if (at <= level || at == 1)
            return p;
        if ((load_entry(s, p) & 1) == 0)
            store_entry(s, p, take_page(s) | 0x23);
        table = load_entry(s, p) & 0x000ffffffffff000;
    }
}

static inline void map_page(struct still *s, uint64_t va, uint64_t gpa, uint64_t flags)
{
    store_entry(s, entry_of(s, va, 1), gpa | flags);
}

/* What a guest does on a write to a page that is copy-on-write. The copy's address. */
static inline uint64_t copy_page(struct still *s, uint64_t va)
{
    uint8_t *p = entry_of(s, va, 1);
    uint64_t old = load_entry(s, p), page = take_page(s);

    CHECK_EQ(old & 0xe00, 0x200);
    memcpy(host_of(s, page), host_of(s, old & 0x000ffffffffff000), PAGE);
    store_entry(s, p, page | (old & 0x8000000000000000) | 0x63);
    return page;
}

static inline bool write_core(struct still *s, struct core_file *c)
{
    struct err e = {.text = ""};

    c->fd = -1;
    return check_ok(core_write(&s->vm, &s->regs, &s->sregs, core_path, &e), &e) && core_open(core_path, c);
}

/* Whether the core has at [va, va + len) what the host has at `gpa`. */
static inline bool same_bytes(struct still *s, const struct core_file *c, uint64_t va, uint64_t gpa,
                              uint64_t len)
{
    uint8_t page[PAGE];
    uint64_t at;

    for (at = 0; at < len; at += PAGE)
        if (!core_read(c, va + at, page, PAGE) || memcmp(page, host_of(s, gpa + at), PAGE) != 0)
            return false;
    return true;
}

#endif
