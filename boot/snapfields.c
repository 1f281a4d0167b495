/* Fields of the small sections. See snapfields.h. */
#include "boot/snapfields.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "mem/bytes.h"

#define NUMBER_LEN 8 /* of any number in a section */

/* A number of a struct: where it is, how wide, and the largest it may be; 0: whatever the width holds. */
struct field {
    const char *name;
    uint16_t off, width;
    uint32_t max;
};

#define FIELD(type, member, max)                                          \
    {                                                                     \
#member, offsetof(type, member), sizeof(((type *)0)->member), max \
    }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The parts of a section are gone through in order; after the first failure nothing is done any more. */
struct cursor {
    uint8_t *out;      /* where to write; NULL when reading */
    const uint8_t *in; /* what to read */
    uint64_t len, at;
    bool failed;
    struct err *e;
};

/* The next `n` bytes of what is read; NULL when they are not there. */
static const uint8_t *take(struct cursor *c, uint64_t n)
{
    const uint8_t *p = c->in + c->at;

    if (c->failed)
        return NULL;
    if (n > c->len - c->at) {
        c->failed = true;
        err_image(c->e, "too short (%" PRIu64 " bytes)", c->len);
        return NULL;
    }
    c->at += n;
    return p;
}

static uint64_t field_load(const struct field *f, const void *of)
{
    const uint8_t *p = (const uint8_t *)of + f->off;
    uint64_t v = 0;

    /* Hosts are little-endian like the file: the low bytes come first. */
    memcpy(&v, p, f->width);
    return v;
}

static void field_store(const struct field *f, void *of, uint64_t v)
{
    memcpy((uint8_t *)of + f->off, &v, f->width);
}

/* `prefix` says in messages what `of` is, when there are several. */
static void code_fields(struct cursor *c, const struct field *f, size_t n, void *of, const char *prefix)
{
    size_t i;

    for (i = 0; i < n && !c->failed; i++) {
        uint64_t v, max = f[i].max != 0 ? f[i].max : UINT64_MAX >> (64 - 8 * f[i].width);
        const uint8_t *p;

        if (c->out != NULL) {
            store_le64(c->out + c->at, field_load(&f[i], of));
            c->at += NUMBER_LEN;
            continue;
        }
        p = take(c, NUMBER_LEN);
        if (p == NULL)
            return;
        v = load_le64(p);
        if (v > max) {
            c->failed = true;
            err_image(c->e, "%s%s is too large (0x%" PRIx64 ", at most 0x%" PRIx64 ")", prefix, f[i].name, v,
                      max);
            return;
        }
        field_store(&f[i], of, v);
    }
}

bool snap_is_text(const uint8_t *bytes, uint64_t len)
{
    uint64_t i = 0;

    while (i < len && bytes[i] >= ' ' && bytes[i] <= '~')
        i++;
    if (i == len)
        return false;
    while (i < len && bytes[i] == 0)
        i++;
    return i == len;
}

static void code_text(struct cursor *c, const char *name, char text[SNAP_NAME_LEN])
{
    const uint8_t *p;

    if (c->out != NULL) {
        memcpy(c->out + c->at, text, SNAP_NAME_LEN);
        c->at += SNAP_NAME_LEN;
        return;
    }
    p = take(c, SNAP_NAME_LEN);
    if (p == NULL)
        return;
    if (!snap_is_text(p, SNAP_NAME_LEN)) {
        c->failed = true;
        err_image(c->e, "%s is not text", name);
        return;
    }
    memcpy(text, p, SNAP_NAME_LEN);
}

/* --- the sections ------------------------------------------------------------------------------------ */

static const struct field plan_fields[] = {
    FIELD(struct layout, sizes.input_len, 0),
    FIELD(struct layout, sizes.output_len, 0),
    FIELD(struct layout, sizes.heap_len, 0),
    FIELD(struct layout, sizes.scratch_len, 0),
    FIELD(struct layout, sizes.init_data_len, 0),
    FIELD(struct layout, sizes.image_base, 0),
    FIELD(struct layout, sizes.image_len, 0),
    FIELD(struct layout, sizes.image_fixed, 1),
    FIELD(struct layout, sizes.apic, 1),
    FIELD(struct layout, base.v, 0),
    FIELD(struct layout, snapshot_len, 0),
    FIELD(struct layout, peb_off, 0),
    FIELD(struct layout, heap_off, 0),
    FIELD(struct layout, init_off, 0),
    FIELD(struct layout, scratch_gpa.v, 0),
    FIELD(struct layout, scratch_gva.v, 0),
    FIELD(struct layout, output_off, 0),
    FIELD(struct layout, pt_off, 0),
    FIELD(struct layout, pt_len, 0),
    FIELD(struct layout, placed_len, 0),
    FIELD(struct layout, free_off, 0),
};

static const struct field segment_fields[] = {
    FIELD(struct cpu_segment, base, 0),     FIELD(struct cpu_segment, limit, 0),
    FIELD(struct cpu_segment, selector, 0), FIELD(struct cpu_segment, type, 15),
    FIELD(struct cpu_segment, dpl, 3),      FIELD(struct cpu_segment, s, 1),
    FIELD(struct cpu_segment, present, 1),  FIELD(struct cpu_segment, db, 1),
    FIELD(struct cpu_segment, l, 1),        FIELD(struct cpu_segment, g, 1),
    FIELD(struct cpu_segment, avl, 1),
};

static const struct field table_fields[] = {
    FIELD(struct cpu_table, base, 0),
    FIELD(struct cpu_table, limit, 0),
};

static const struct field control_fields[] = {
    FIELD(struct cpu_sregs, cr0, 0),       FIELD(struct cpu_sregs, cr2, 0),  FIELD(struct cpu_sregs, cr3, 0),
    FIELD(struct cpu_sregs, cr4, 0),       FIELD(struct cpu_sregs, cr8, 15), FIELD(struct cpu_sregs, efer, 0),
    FIELD(struct cpu_sregs, apic_base, 0),
};

static const struct field cpu_fields[] = {
    FIELD(struct snapshot, takes_calls, 1),
    FIELD(struct snapshot, entry.v, 0),
    FIELD(struct snapshot, peb.v, 0),
    FIELD(struct snapshot, dispatch, 0),
    FIELD(struct snapshot, call_sp, 0),
    FIELD(struct snapshot, generation, 0),
    FIELD(struct snapshot, msrs_n, SNAPSHOT_MSRS_MAX),
};

static const struct field machine_fields[] = {
    FIELD(struct bare_machine, ram_len, BARE_RAM_MAX),
    FIELD(struct bare_machine, start.irqchip, 1),
};

static const struct field generation_field[] = {FIELD(struct snapshot, generation, 0)};

static const struct field msr_fields[] = {
    FIELD(struct cpu_msr, index, 0),
    FIELD(struct cpu_msr, value, 0),
};

static const struct field roots_fields[] = {
    FIELD(struct snapshot, roots_n, HOST_PAGE_ROOTS_MAX),
    FIELD(struct snapshot, root_active, HOST_PAGE_ROOTS_MAX - 1),
};

static const struct field root_fields[] = {{"root", offsetof(struct gpa, v), sizeof(uint64_t), 0}};

static const struct field compat_fields[] = {FIELD(struct snap_cpu, signature, UINT32_MAX)};

static void code_plan(struct cursor *c, struct snap_plan *p)
{
    code_text(c, "kind", p->kind);
    code_fields(c, plan_fields, COUNT(plan_fields), &p->plan, "");
}

static void code_sregs(struct cursor *c, struct cpu_sregs *r)
{
    const struct {
        struct cpu_segment *segment;
        const char *prefix;
    } segments[] = {
        {&r->cs, "cs."}, {&r->ds, "ds."}, {&r->es, "es."}, {&r->fs, "fs."},
        {&r->gs, "gs."}, {&r->ss, "ss."}, {&r->tr, "tr."}, {&r->ldt, "ldt."},
    };
    size_t i;

    for (i = 0; i < COUNT(segments); i++)
        code_fields(c, segment_fields, COUNT(segment_fields), segments[i].segment, segments[i].prefix);
    code_fields(c, table_fields, COUNT(table_fields), &r->gdt, "gdt.");
    code_fields(c, table_fields, COUNT(table_fields), &r->idt, "idt.");
    code_fields(c, control_fields, COUNT(control_fields), r, "");
}

static void code_cpu(struct cursor *c, struct snapshot *s)
{
    size_t i;

    code_sregs(c, &s->sregs);
    code_fields(c, cpu_fields, COUNT(cpu_fields), s, "");
    for (i = 0; i < s->msrs_n && !c->failed; i++)
        code_fields(c, msr_fields, COUNT(msr_fields), &s->msrs[i], "msr ");
}

static int find_format(const char *name, enum bare_format *out)
{
    unsigned i;

    for (i = 0; i < BARE_FORMATS_N; i++) {
        if (strcmp(bare_format_name((enum bare_format)i), name) == 0) {
            *out = (enum bare_format)i;
            return 0;
        }
    }
    return -1;
}

/* General registers are numbers of 8 bytes, as they stand in their struct. */
static void code_machine(struct cursor *c, struct snapshot *s)
{
    struct bare_machine *m = s->bare;
    struct field reg = {.name = "register", .width = sizeof(uint64_t), .max = 0};
    char name[SNAP_NAME_LEN] = "";

    if (c->out != NULL)
        memcpy(name, bare_format_name(m->start.format), strlen(bare_format_name(m->start.format)));
    code_text(c, "kind", name);
    if (c->out == NULL && !c->failed && find_format(name, &m->start.format) != 0) {
        c->failed = true;
        err_image(c->e, "this vmm has no such kind of kernel (\"%s\")", name);
    }
    code_fields(c, machine_fields, COUNT(machine_fields), m, "");
    for (reg.off = 0; reg.off < sizeof(m->start.regs); reg.off += reg.width)
        code_fields(c, &reg, 1, &m->start.regs, "");
    code_sregs(c, &s->sregs);
    code_fields(c, generation_field, 1, s, "");
}

static void code_roots(struct cursor *c, struct snapshot *s)
{
    unsigned i;

    code_fields(c, roots_fields, COUNT(roots_fields), s, "");
    for (i = 0; i < s->roots_n && !c->failed; i++)
        code_fields(c, root_fields, COUNT(root_fields), &s->roots[i], "");
}

static void code_compat(struct cursor *c, struct snap_cpu *cpu)
{
    code_text(c, "vendor", cpu->vendor);
    code_fields(c, compat_fields, COUNT(compat_fields), cpu, "");
}

_Static_assert(COUNT(root_fields) == 1 &&
                   NUMBER_LEN * (HOST_PAGE_ROOTS_MAX + COUNT(roots_fields)) <= SNAP_FIELDS_MAX &&
                   NUMBER_LEN * (8 * COUNT(segment_fields) + 2 * COUNT(table_fields) + COUNT(control_fields) +
                                 COUNT(cpu_fields) + sizeof(struct cpu_regs) / sizeof(uint64_t) +
                                 SNAPSHOT_MSRS_MAX * COUNT(msr_fields)) <=
                       SNAP_FIELDS_MAX &&
                   SNAP_NAME_LEN + NUMBER_LEN * COUNT(plan_fields) <= SNAP_FIELDS_MAX,
               "every section fits its buffer");

static void code(struct cursor *c, enum snap_section type, void *of)
{
    if (type == SNAP_PLAN)
        code_plan(c, (struct snap_plan *)of);
    else if (type == SNAP_COMPAT)
        code_compat(c, (struct snap_cpu *)of);
    else if (type == SNAP_MACHINE)
        code_machine(c, (struct snapshot *)of);
    else if (type == SNAP_CPU)
        code_cpu(c, (struct snapshot *)of);
    else
        code_roots(c, (struct snapshot *)of);
}

uint64_t snap_write(enum snap_section type, const void *of, uint8_t *out)
{
    struct cursor c = {.out = out};

    /* The walk over the fields is made for reading too, but changes nothing when it writes. */
    code(&c, type, (void *)(uintptr_t)of);
    return c.at;
}

int snap_read(enum snap_section type, const uint8_t *in, uint64_t len, void *of, struct err *e)
{
    struct cursor c = {.in = in, .len = len, .e = e};

    code(&c, type, of);
    if (!c.failed && c.at != c.len)
        return err_image(e, "too long (%" PRIu64 " bytes, %" PRIu64 " used)", c.len, c.at);
    return c.failed ? -1 : 0;
}
