/*
 * Core files. See core.h for the format. The walk over the guest's tables
 * writes memory as it meets it, so that nothing is remembered of a page but
 * the segment it became part of; the program headers come last for that reason.
 */
#include "hv/core.h"

#include <elf.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot/x86.h"
#include "hv/save.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/format.h"
#include "mem/num.h"
#include "paging/walk.h"

#define NOTES_OFF 64u
#define DATA_OFF  PAGE_LEN
#define WRITE_MAX ((uint64_t)1 << 20) /* bytes written at once */

/* Program headers and notes of an ELF32 core lie below 4 GiB too. */
#define NARROW_DATA_MAX 0xff000000u

struct segment {
    uint64_t va, len;
    uint32_t flags; /* p_flags */
};

/* A stretch of guest-physical memory without holes. */
struct memory {
    uint64_t start, end;
};

struct core {
    const struct vm *vm;
    bool wide; /* ELF64 */
    struct memory
        memory[3]; /* ascending; the second is the pages of a guest's own, empty if there are none */

    struct segment *segments; /* CORE_SEGMENTS_MAX of them, in the order of their bytes in the file */
    uint32_t segments_n;
    uint64_t data_len, data_max;
    uint32_t flags;
    const char *by;  /* how memory was found, for the note */
    const char *cut; /* why it is cut short, NULL if it is not */

    struct save *to;
    int result; /* -1: a write failed, as *e tells */
    struct err *e;
};

/* --- fields one behind the other, little-endian as the host is --------------------------------------- */

struct fields {
    uint8_t *at;
    size_t len, room;
    unsigned word; /* 4 or 8 */
};

/* `len` bytes of zeros, or of `from`. */
static void put_bytes(struct fields *f, const void *from, size_t len)
{
    assert(len <= f->room - f->len);
    if (from != NULL)
        memcpy(f->at + f->len, from, len);
    else
        memset(f->at + f->len, 0, len);
    f->len += len;
}

static void put_16(struct fields *f, uint16_t v)
{
    put_bytes(f, &v, sizeof(v));
}

static void put_32(struct fields *f, uint32_t v)
{
    put_bytes(f, &v, sizeof(v));
}

/* As long as an address of the file's class. */
static void put_word(struct fields *f, uint64_t v)
{
    put_bytes(f, &v, f->word);
}

static void put_64(struct fields *f, uint64_t v)
{
    put_bytes(f, &v, sizeof(v));
}

/* --- the file ------------------------------------------------------------------------------------ */

static bool page_is_zero(const uint8_t *page)
{
    uint64_t sum = 0;
    unsigned i, j;

    for (i = 0; i < PAGE_LEN; i += 64) {
        for (j = i; j < i + 64; j += 8)
            sum |= load_le64(page + j);
        if (sum != 0)
            return false;
    }
    return true;
}

/* Write the bytes at `pa`; pages of zeros among them become holes. */
static int write_memory(const struct core *c, uint64_t pa, uint64_t len, uint64_t off)
{
    const struct gmem *m = c->vm->mem;
    uint64_t at = 0;

    while (at < len) {
        const uint8_t *from = gmem_span(m, gpa_make(pa + at), PAGE_LEN);
        uint64_t n = 0;

        while (from != NULL && at + n < len && n < WRITE_MAX &&
               gmem_span(m, gpa_make(pa + at + n), PAGE_LEN) == from + n && !page_is_zero(from + n))
            n += PAGE_LEN;
        if (n == 0) {
            at += PAGE_LEN;
            continue;
        }
        if (save_write(c->to, off + at, from, n, c->e) != 0)
            return -1;
        at += n;
    }
    return 0;
}

/* --- memory -------------------------------------------------------------------------------------- */

static bool cut_short(struct core *c, const char *why)
{
    c->flags |= CORE_CUT_SHORT;
    c->cut = why;
    return false;
}

/* Make the segment that [va, va + len) becomes part of. False, when there is none. */
static bool extend_segments(struct core *c, uint64_t va, uint64_t len, uint32_t flags)
{
    if (c->segments_n != 0) {
        struct segment *last = &c->segments[c->segments_n - 1];

        /* Debuggers add start and length: a sum past 2^64 would make all of the segment unreadable. */
        if (last->va + last->len == va && last->flags == flags && va + len != 0) {
            last->len += len;
            return true;
        }
    }
    if (c->segments_n == CORE_SEGMENTS_MAX)
        return cut_short(c, "too many separate pieces");
    c->segments[c->segments_n++] = (struct segment){va, len, flags};
    return true;
}

/* Add [va, va + len), which is memory at `pa`. False when nothing more can be added. */
static bool add_piece(struct core *c, uint64_t va, uint64_t pa, uint64_t len, uint32_t flags)
{
    uint64_t part = len < c->data_max - c->data_len ? len : c->data_max - c->data_len;

    if (part != 0) {
        if (!extend_segments(c, va, part, flags))
            return false;
        if (write_memory(c, pa, part, DATA_OFF + c->data_len) != 0) {
            c->result = -1;
            return false;
        }
        c->data_len += part;
    }
    return part == len || cut_short(c, "more is mapped than a core may hold");
}

/* Add what is memory of [pa, pa + len). */
static bool add_range(struct core *c, uint64_t va, uint64_t pa, uint64_t len, uint32_t flags)
{
    unsigned i;

    for (i = 0; i < sizeof(c->memory) / sizeof(c->memory[0]); i++) {
        const struct memory *m = &c->memory[i];
        uint64_t start = pa > m->start ? pa : m->start, end = pa + len < m->end ? pa + len : m->end;

        if (start < end && !add_piece(c, va + (start - pa), start, end - start, flags))
            return false;
    }
    return true;
}

static enum walk_next see_entry(void *ctx, const struct walk_entry *entry)
{
    struct core *c = (struct core *)ctx;
    uint32_t flags = PF_R;

    if (entry->what != WALK_SEES_LEAF)
        return WALK_ON;
    /* A copy-on-write page is one that its owner may write to: copied or not, it goes with its neighbours. */
    if ((entry->rights & (PT_WRITE | PT_COW)) != 0)
        flags |= PF_W;
    if ((entry->rights & PT_EXEC) != 0)
        flags |= PF_X;
    return add_range(c, entry->va.v, entry->pte.pa.v, entry->pte.len, flags) ? WALK_ON : WALK_STOP;
}

/* Whether the vCPU, as `s` has it, uses tables of the format that this kind of guest starts with. */
static bool has_known_tables(const struct guest_kind *k, const struct cpu_sregs *s)
{
    const uint64_t format = CR4_PAE | CR4_LA57;

    return k->geom != NULL && (s->cr0 & CR0_PG) != 0 && (s->cr4 & format) == (k->cr4 & format) &&
           (s->efer & EFER_LMA) == (k->efer & EFER_LMA);
}

static void add_mapped(struct core *c, const struct cpu_sregs *s)
{
    const struct guest_kind *k = c->vm->snap->kind;
    struct pt_mode mode = vm_paging_mode(c->vm->snap->kind, s);
    uint64_t budget = CORE_TABLES_MAX;

    /* Where the CPU has no 1 GiB pages such an entry maps nothing; showing it then does no harm. */
    mode.page1g = true;
    c->by = "memory by the guest's page tables";
    if (walk_root(k->geom, mode, c->vm->mem, gpa_make(s->cr3), &budget, see_entry, c) == WALK_END_BUDGET)
        cut_short(c, "too many page tables");
}

static void add_physical(struct core *c, const char *by)
{
    unsigned i;

    c->flags = CORE_BY_PHYSICAL;
    c->by = by;
    c->cut = NULL;
    for (i = 0; i < sizeof(c->memory) / sizeof(c->memory[0]); i++)
        if (!add_range(c, c->memory[i].start, c->memory[i].start, c->memory[i].end - c->memory[i].start,
                       PF_R | PF_W | PF_X))
            return;
}

/*
 * After a triple fault on AMD, KVM has reset the vCPU. A guest of the ABI
 * edits the tables it starts with, so they are the best guess at what it had.
 */
static bool is_reset(const struct cpu_regs *regs, const struct cpu_sregs *s)
{
    return regs->rip == RESET_RIP && s->cs.base == RESET_CS_BASE && (s->cr0 & (CR0_PG | CR0_PE)) == 0;
}

static void add_memory(struct core *c, const struct cpu_regs *regs, const struct cpu_sregs *sregs)
{
    const struct snapshot *snap = c->vm->snap;

    if (snap->kind->geom == NULL) {
        add_physical(c, "memory by physical address: the guest runs without page tables");
        return;
    }
    if (is_reset(regs, sregs)) {
        add_mapped(c, &snap->sregs);
        c->flags |= CORE_FIRST_TABLES;
        c->by = "memory by the tables the guest started with: KVM reset the registers";
    } else if (has_known_tables(snap->kind, sregs)) {
        add_mapped(c, sregs);
    } else {
        add_physical(c, "memory by physical address: paging was off or of another format");
        return;
    }
    if (c->segments_n == 0 && c->result == 0)
        add_physical(c, "memory by physical address: the page tables map none");
}

static void plan_memory(struct core *c)
{
    const struct layout *l = &c->vm->snap->plan;
    uint64_t end = layout_gpa(l, AREA_SNAPSHOT, l->snapshot_len).v,
             scratch = layout_gpa(l, AREA_SCRATCH, 0).v;
    uint64_t total = 0;
    unsigned i;

    c->memory[0] = (struct memory){layout_gpa(l, AREA_SNAPSHOT, 0).v, end};
    c->memory[1] = (struct memory){end, end + c->vm->extra.len};
    c->memory[2] = (struct memory){scratch, scratch + l->sizes.scratch_len};
    for (i = 0; i < sizeof(c->memory) / sizeof(c->memory[0]); i++)
        total += c->memory[i].end - c->memory[i].start;
    c->data_max = 2 * total + CORE_DATA_EXTRA;
    if (!c->wide && c->data_max > NARROW_DATA_MAX)
        c->data_max = NARROW_DATA_MAX;
}

/* --- headers and notes --------------------------------------------------------------------------- */

static void put_note_head(struct fields *f, const char *name, uint32_t type, size_t len)
{
    size_t name_len = strlen(name) + 1;

    put_32(f, (uint32_t)name_len);
    put_32(f, (uint32_t)len);
    put_32(f, type);
    put_bytes(f, name, name_len);
    put_bytes(f, NULL, (4 - name_len % 4) % 4);
}

struct words {
    struct cpu_regs r;
    uint64_t orig, cs, ss, ds, es, fs, gs, fs_base, gs_base;
};

#define WORD(name) (offsetof(struct words, name) / sizeof(uint64_t))

/* pr_reg: user_regs_struct of the two machines, <sys/user.h>. orig is -1: not in a system call. */
static void put_registers(struct fields *f, bool wide, const struct cpu_regs *r, const struct cpu_sregs *s)
{
    static const uint8_t order64[] = {
        WORD(r.r15),   WORD(r.r14),   WORD(r.r13), WORD(r.r12), WORD(r.rbp),    WORD(r.rbx), WORD(r.r11),
        WORD(r.r10),   WORD(r.r9),    WORD(r.r8),  WORD(r.rax), WORD(r.rcx),    WORD(r.rdx), WORD(r.rsi),
        WORD(r.rdi),   WORD(orig),    WORD(r.rip), WORD(cs),    WORD(r.rflags), WORD(r.rsp), WORD(ss),
        WORD(fs_base), WORD(gs_base), WORD(ds),    WORD(es),    WORD(fs),       WORD(gs),
    };
    static const uint8_t order32[] = {
        WORD(r.rbx), WORD(r.rcx), WORD(r.rdx),    WORD(r.rsi), WORD(r.rdi), WORD(r.rbp),
        WORD(r.rax), WORD(ds),    WORD(es),       WORD(fs),    WORD(gs),    WORD(orig),
        WORD(r.rip), WORD(cs),    WORD(r.rflags), WORD(r.rsp), WORD(ss),
    };
    const struct words words = {
        .r = *r,
        .orig = UINT64_MAX,
        .cs = s->cs.selector,
        .ss = s->ss.selector,
        .ds = s->ds.selector,
        .es = s->es.selector,
        .fs = s->fs.selector,
        .gs = s->gs.selector,
        .fs_base = s->fs.base,
        .gs_base = s->gs.base,
    };
    const uint8_t *order = wide ? order64 : order32;
    size_t n = wide ? sizeof(order64) : sizeof(order32), i;

    for (i = 0; i < n; i++)
        put_bytes(f, (const uint8_t *)&words + sizeof(uint64_t) * order[i], f->word);
}

/* struct elf_prstatus, <sys/procfs.h>: 336 bytes on x86-64, 144 on i386. */
static void put_prstatus(struct fields *f, bool wide, const struct cpu_regs *r, const struct cpu_sregs *s)
{
    put_note_head(f, "CORE", NT_PRSTATUS, wide ? 336 : 144);
    put_bytes(f, NULL, 12 + 4);          /* pr_info; pr_cursig and padding: no signal */
    put_bytes(f, NULL, 2 * f->word);     /* pr_sigpend, pr_sighold */
    put_32(f, 1);                        /* pr_pid; gdb calls the thread by it */
    put_bytes(f, NULL, 3 * 4);           /* pr_ppid, pr_pgrp, pr_sid */
    put_bytes(f, NULL, 4 * 2 * f->word); /* four times of two words */
    put_registers(f, wide, r, s);
    put_bytes(f, NULL, f->word); /* pr_fpvalid and padding: no floating point */
}

static void put_auxv(struct fields *f, const struct snapshot *snap)
{
    put_note_head(f, "CORE", NT_AUXV, 4 * f->word);
    put_word(f, AT_ENTRY);
    put_word(f, snap->entry.v);
    put_word(f, AT_NULL);
    put_word(f, 0);
}

static void put_vmm_note(struct fields *f, const struct core *c, const struct cpu_sregs *s)
{
    char text[256] = "";
    size_t len;

    format_text(text, sizeof(text), "%s%s%s", c->by, c->cut != NULL ? "; cut short: " : "",
                c->cut != NULL ? c->cut : "");
    len = (strlen(text) + 4) & ~(size_t)3;
    put_note_head(f, "VMM", CORE_NOTE, CORE_NOTE_TEXT + len);
    put_32(f, CORE_NOTE_VERSION);
    put_32(f, c->flags);
    put_64(f, s->cr0);
    put_64(f, s->cr2);
    put_64(f, s->cr3);
    put_64(f, s->cr4);
    put_64(f, s->efer);
    put_bytes(f, text, len);
}

static void put_elf_header(struct fields *f, const struct core *c)
{
    const uint8_t ident[EI_NIDENT] = {
        ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, c->wide ? ELFCLASS64 : ELFCLASS32, ELFDATA2LSB, EV_CURRENT,
    };

    put_bytes(f, ident, sizeof(ident));
    put_16(f, ET_CORE);
    put_16(f, c->wide ? EM_X86_64 : EM_386);
    put_32(f, EV_CURRENT);
    put_word(f, 0);
    put_word(f, DATA_OFF + c->data_len); /* e_phoff */
    put_word(f, 0);
    put_32(f, 0);
    put_16(f, c->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr));
    put_16(f, c->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
    put_16(f, (uint16_t)(c->segments_n + 1));
    put_bytes(f, NULL, 3 * 2); /* no sections */
}

static void put_program_header(struct fields *f, bool wide, uint32_t type, uint64_t off,
                               const struct segment *s)
{
    put_32(f, type);
    if (wide)
        put_32(f, s->flags);
    put_word(f, off);
    put_word(f, s->va);
    put_word(f, 0); /* the pages of a segment can be anywhere */
    put_word(f, s->len);
    put_word(f, type == PT_LOAD ? s->len : 0);
    if (!wide)
        put_32(f, s->flags);
    put_word(f, type == PT_LOAD ? PAGE_LEN : 4);
}

static int write_program_headers(const struct core *c, uint64_t notes_len)
{
    size_t one = c->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr), room = ((size_t)c->segments_n + 1) * one;
    struct fields f = {.at = malloc(room), .room = room, .word = c->wide ? 8 : 4};
    const struct segment notes = {.len = notes_len, .flags = PF_R};
    uint64_t off = DATA_OFF;
    uint32_t i;
    int result;

    if (f.at == NULL)
        return err_memory(c->e, "program headers of a core");
    put_program_header(&f, c->wide, PT_NOTE, NOTES_OFF, &notes);
    for (i = 0; i < c->segments_n; i++) {
        put_program_header(&f, c->wide, PT_LOAD, off, &c->segments[i]);
        off += c->segments[i].len;
    }
    result = save_write(c->to, off, f.at, f.len, c->e);
    free(f.at);
    return result;
}

static int write_first_page(const struct core *c, const struct cpu_regs *regs, const struct cpu_sregs *sregs,
                            uint64_t *notes_len)
{
    uint8_t page[DATA_OFF] = {0};
    struct fields head = {.at = page, .room = NOTES_OFF, .word = c->wide ? 8 : 4};
    struct fields notes = {.at = page + NOTES_OFF, .room = sizeof(page) - NOTES_OFF, .word = head.word};

    put_elf_header(&head, c);
    put_prstatus(&notes, c->wide, regs, sregs);
    /* What a later snapshot enters is not the entry point of its image. */
    if (c->vm->snap->generation == 0)
        put_auxv(&notes, c->vm->snap);
    put_vmm_note(&notes, c, sregs);
    *notes_len = notes.len;
    return save_write(c->to, 0, page, sizeof(page), c->e);
}

static int write_all(const struct vm *vm, const struct cpu_regs *regs, const struct cpu_sregs *sregs,
                     struct save *to, struct err *e)
{
    struct core c = {.vm = vm, .wide = vm->snap->kind->machine == ELF_X86_64, .by = "", .to = to, .e = e};
    uint64_t notes_len = 0;

    c.segments = calloc(CORE_SEGMENTS_MAX, sizeof(*c.segments));
    if (c.segments == NULL)
        return err_memory(e, "segments of a core");
    plan_memory(&c);
    add_memory(&c, regs, sregs);
    if (c.result == 0)
        c.result = write_first_page(&c, regs, sregs, &notes_len);
    if (c.result == 0)
        c.result = write_program_headers(&c, notes_len);
    free(c.segments);
    return c.result;
}

/* --- where it goes ------------------------------------------------------------------------------- */

int core_check_path(const char *path, struct err *e)
{
    return save_check_path(path, e) == 0 ? 0 : err_wrap(e, "core");
}

int core_write(const struct vm *vm, const struct cpu_regs *regs, const struct cpu_sregs *sregs,
               const char *path, struct err *e)
{
    struct save sv;

    /* Several that write to one path are not in each other's way. */
    if (save_begin_alone(&sv, path, e) == 0) {
        if (write_all(vm, regs, sregs, &sv, e) != 0)
            save_cancel(&sv);
        else if (save_end(&sv, 0600, e) == 0)
            return 0;
    }
    return err_wrap(e, "core");
}
