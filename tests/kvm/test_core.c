/*
 * Cores of guests that really ran: the sample frames, which faults three
 * calls deep after it changed a global, and the sample abort. In the lab there
 * is no gdb: there the symbols of the image say where things must be.
 */
#include "hv/core.h"

#include "boot/image.h"
#include "hv/file.h"
#include "hv/vm.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "tests/core_read.h"
#include "tests/kvm/seam.h"

#define MARK_BEFORE 0x11111111u
#define MARK_AFTER  0x600dc0deu

static char sample_path[512];
static char core_path[64];

static bool check_ok(int result, const struct err *e)
{
    if (result != 0)
        printf("# %s\n", e->text);
    return CHECK(result == 0);
}

static bool read_sample(const char *name, const char *kind, struct file *out)
{
    const char *dirs[] = {getenv("SAMPLES"), "/guests", "build/i686-counter/samples"};
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

/* The sample, run until it does something else than print. */
struct ran {
    struct file elf;
    struct snapshot snap;
    struct vm vm;
    struct cpu_regs regs;
    struct cpu_sregs sregs;
};

static void let_go(struct ran *r)
{
    vm_close(&r->vm);
    snapshot_free(&r->snap);
    file_free(&r->elf);
}

static bool run_sample(struct ran *r, int kvm_fd, const char *name, const char *kind)
{
    const struct image_options opt = {.sizes = layout_default_sizes()};
    const struct vm_options vo = {.irqchip = false};
    struct err e = {.text = ""};
    unsigned long exits = 0;
    struct exit x;

    *r = (struct ran){.vm = {.machine = MACHINE_CLOSED}};
    if (!read_sample(name, kind, &r->elf) ||
        !check_ok(image_build(r->elf.map.base, r->elf.len, name, &opt, &r->snap, &e), &e) ||
        !check_ok(vm_open(&r->vm, kvm_fd, &r->snap, &vo, &e), &e) || !check_ok(vm_restore(&r->vm, &e), &e) ||
        !check_ok(vm_enter_init(&r->vm, 0, &e), &e))
        return false;
    do {
        if (!check_ok(machine_run(&r->vm.machine, &x, &e), &e))
            return false;
    } while (x.kind == EXIT_OUT && x.port == PORT_DEBUG_PRINT && ++exits < 1000);
    return check_ok(machine_get_regs(&r->vm.machine, &r->regs, &e), &e) &&
           check_ok(machine_get_sregs(&r->vm.machine, &r->sregs, &e), &e);
}

static bool write_and_open(struct ran *r, struct core_file *c)
{
    struct err e = {.text = ""};

    snprintf(core_path, sizeof(core_path), "/tmp/vmm-test-core.%d", (int)getpid());
    c->fd = -1;
    return check_ok(core_write(&r->vm, &r->regs, &r->sregs, core_path, &e), &e) && core_open(core_path, c);
}

/* Where a symbol is when the image is loaded. */
static uint64_t symbol(const struct ran *r, const char *name, uint64_t *end)
{
    uint64_t value = 0, len = 0, bias = r->snap.plan.sizes.image_fixed ? 0 : 0x4000;

    CHECK(core_find_symbol(r->elf.map.base, name, &value, &len));
    if (end != NULL)
        *end = value + bias + len;
    return value + bias;
}

/* The instruction pointer of the note. */
static uint64_t note_ip(const struct core_file *c, uint64_t *sp)
{
    uint64_t len = 0;
    const uint8_t *note = core_note(c, "CORE", NT_PRSTATUS, &len);
    struct core_prstatus32 p32;
    struct elf_prstatus p64;

    CHECK(note != NULL);
    if (note == NULL || !CHECK_EQ(len, c->wide ? sizeof(p64) : sizeof(p32)))
        return 0;
    if (c->wide) {
        memcpy(&p64, note, sizeof(p64));
        *sp = p64.pr_reg[19];
        return p64.pr_reg[16];
    }
    memcpy(&p32, note, sizeof(p32));
    *sp = p32.esp;
    return p32.eip;
}

/* A return address into `name` lies on the stack between *at and `end`; *at goes past it. */
static bool returns_to(const struct core_file *c, const struct ran *r, const char *name, uint64_t *at,
                       uint64_t end)
{
    uint64_t last, first = symbol(r, name, &last);
    unsigned word = c->wide ? 8 : 4;

    for (; *at + word <= end; *at += word) {
        uint64_t v = core_read_number(c, *at, word);

        if (v > first && v < last) {
            *at += word;
            return true;
        }
    }
    return false;
}

static void ask_gdb_for_frames(void)
{
    static const char *const wanted[] = {"#0 ",
                                         "frames_inner",
                                         "#1 ",
                                         "frames_middle",
                                         "#2 ",
                                         "frames_outer",
                                         "#3 ",
                                         "guest_main",
                                         "MARK {before = 0x11111111, after = 0x600dc0de}",
                                         NULL};

    core_has_in_order(
        core_ask_gdb(sample_path, core_path, "-ex bt -ex 'printf \"MARK \"' -ex 'output/x frames_mark'"),
        wanted);
}

static void check_frames(const struct ran *r, const struct core_file *c)
{
    uint64_t inner_end, inner = symbol(r, "frames_inner", &inner_end), mark = symbol(r, "frames_mark", NULL);
    uint64_t sp = 0, ip = note_ip(c, &sp), end = sp + 4096;
    const uint8_t *in_snapshot;

    CHECK_EQ(c->machine, r->snap.kind->machine == ELF_X86_64 ? EM_X86_64 : EM_386);
    CHECK(ip >= inner && ip < inner_end);
    CHECK_EQ(core_read_number(c, mark, 4), MARK_BEFORE);
    CHECK_EQ(core_read_number(c, mark + 4, 4), MARK_AFTER);
    /* What the image holds is another value still: the core has the copy. */
    in_snapshot = r->snap.memory.base + (mark - r->snap.plan.base.v);
    CHECK(load_le32(in_snapshot + 4) != MARK_AFTER);
    end = (end & ~(uint64_t)4095);
    CHECK(returns_to(c, r, "frames_middle", &sp, end) && returns_to(c, r, "frames_outer", &sp, end) &&
          returns_to(c, r, "guest_main", &sp, end));
}

static void show_frames(int kvm_fd, const struct kvm_case *k)
{
    struct core_file c;
    const char *text;
    struct ran r;

    if (run_sample(&r, kvm_fd, "frames", k->kind) && write_and_open(&r, &c)) {
        check_frames(&r, &c);
        CHECK_EQ(core_flags(&c, &text), r.snap.kind->geom == NULL ? CORE_BY_PHYSICAL : 0);
        if (core_has_gdb())
            ask_gdb_for_frames();
        core_close(&c);
    }
    unlink(core_path);
    let_go(&r);
}

static void show_abort(int kvm_fd, const struct kvm_case *k)
{
    static const char *const wanted[] = {"guest_abort", "guest_main", NULL};
    struct core_file c;
    uint64_t first, last, sp = 0;
    struct ran r;

    if (run_sample(&r, kvm_fd, "abort", k->kind) && write_and_open(&r, &c)) {
        first = symbol(&r, "guest_abort", &last);
        CHECK(note_ip(&c, &sp) >= first && note_ip(&c, &sp) < last);
        if (core_has_gdb())
            core_has_in_order(core_ask_gdb(sample_path, core_path, "-ex bt"), wanted);
        core_close(&c);
    }
    unlink(core_path);
    let_go(&r);
}

/*
 * The paged i686 guest on a host that cannot run it. The same program with the
 * same addresses is run with paging off as far as the fault; then its pages
 * become those of a paged guest that has done the same: the written pages as
 * copies in scratch, the entries changed as the guest's runtime changes them.
 */
static void show_transplant(int kvm_fd, const struct kvm_case *k)
{
    struct image_options opt = {.sizes = layout_default_sizes(), .paging = GUEST_PAGING_ON};
    struct err e = {.text = ""};
    struct snapshot paged = {0};
    struct vm still = {.machine = MACHINE_CLOSED};
    struct core_file c;
    const char *text;
    uint64_t top, free_page, at;
    struct ran r;
    bool ok;

    (void)k;
    ok = run_sample(&r, kvm_fd, "frames", "i686-identity") &&
         check_ok(image_build(r.elf.map.base, r.elf.len, "frames", &opt, &paged, &e), &e);
    if (ok) {
        const struct layout *l = &paged.plan;
        uint8_t *tables;

        still.snap = &paged;
        still.mem = gmem_new();
        ok = check_ok(region_map(&still.scratch, l->sizes.scratch_len, &e), &e) && CHECK(still.mem != NULL) &&
             check_ok(gmem_add(still.mem, l->base, l->snapshot_len, paged.memory.base, false, &e), &e) &&
             check_ok(gmem_add(still.mem, l->scratch_gpa, l->sizes.scratch_len, still.scratch.base, true, &e),
                      &e);
        if (ok) {
            memcpy(still.scratch.base, r.vm.scratch.base, l->sizes.scratch_len);
            memcpy(still.scratch.base + l->pt_off, paged.tables.base, paged.tables.len);
            tables = still.scratch.base + l->pt_off;
            free_page = l->free_off;
            /* Each page that differs from the image becomes a copy; the image is below 4 MiB: the second
             * table. */
            for (at = 0; at < l->snapshot_len; at += 4096) {
                uint8_t *entry = tables + 4096 + (l->base.v + at) / 4096 * 4;

                if (memcmp(r.vm.copy.base + at, paged.memory.base + at, 4096) == 0)
                    continue;
                /* But for the PEB, whose pointers are the other kind's. */
                if (at == l->peb_off)
                    continue;
                memcpy(still.scratch.base + free_page, r.vm.copy.base + at, 4096);
                store_le32(entry, (uint32_t)(l->scratch_gpa.v + free_page) | 0x23);
                free_page += 4096;
            }
            CHECK(free_page > l->free_off);
            top = (uint64_t)I686_VIRT_TOP - I686_PHYS_TOP;
            r.regs.rsp = (r.regs.rsp + top) & UINT32_MAX;
            r.sregs.cr0 |= 0x80010000u;
            r.sregs.cr3 = paged.sregs.cr3;
        }
    }
    snprintf(core_path, sizeof(core_path), "/tmp/vmm-test-core.%d", (int)getpid());
    if (ok && check_ok(core_write(&still, &r.regs, &r.sregs, core_path, &e), &e) &&
        core_open(core_path, &c)) {
        CHECK_EQ(core_flags(&c, &text), 0);
        check_frames(&r, &c);
        if (core_has_gdb())
            ask_gdb_for_frames();
        core_close(&c);
    }
    unlink(core_path);
    vm_close(&still);
    snapshot_free(&paged);
    let_go(&r);
}

int main(void)
{
    static const struct kvm_case cases[] = {
        {"the core of an amd64 guest has frames and the copied global", show_frames, false, "amd64", 0,
         false},
        {"the core of an identity i686 guest has frames and the changed global", show_frames, false,
         "i686-identity", 0, false},
        {"the core of a paged i686 guest has frames and the copied global", show_frames, true, "i686", 0,
         false},
        {"a paged i686 guest's memory made by hand gives the same core", show_transplant, false, "i686", 0,
         false},
        {"the core of an amd64 guest that aborted shows who did it", show_abort, false, "amd64", 0, false},
        {"the core of an identity i686 guest that aborted shows who did it", show_abort, false,
         "i686-identity", 0, false},
        {"the core of a paged i686 guest that aborted shows who did it", show_abort, true, "i686", 0, false},
    };

    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
