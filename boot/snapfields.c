/* Fields of the small sections. See snapfields.h. */
#include "boot/snapfields.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "mem/bytes.h"

#define NUMBER_LEN 8 /* of any number in a section */

/* A number of a struct: where it is, how wide, and the largest it may be. */
struct field {
    const char *name;
    size_t off, width;
    uint64_t max;
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
        err_set(c->e, STATUS_IMAGE, "too short (%" PRIu64 " bytes)", c->len);
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
        const uint8_t *p;
        uint64_t v;

        if (c->out != NULL) {
            store_le64(c->out + c->at, field_load(&f[i], of));
            c->at += NUMBER_LEN;
            continue;
        }
        p = take(c, NUMBER_LEN);
        if (p == NULL)
            return;
        v = load_le64(p);
        if (v > f[i].max) {
            c->failed = true;
            err_set(c->e, STATUS_IMAGE, "%s%s is too large (0x%" PRIx64 ", at most 0x%" PRIx64 ")", prefix,
                    f[i].name, v, f[i].max);
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
        err_set(c->e, STATUS_IMAGE, "%s is not text", name);
        return;
    }
    memcpy(text, p, SNAP_NAME_LEN);
}

/* --- the sections ------------------------------------------------------------------------------------ */

static const struct field plan_fields[] = {
    FIELD(struct layout, sizes.input_len, UINT64_MAX),
    FIELD(struct layout, sizes.output_len, UINT64_MAX),
    FIELD(struct layout, sizes.heap_len, UINT64_MAX),
    FIELD(struct layout, sizes.scratch_len, UINT64_MAX),
    FIELD(struct layout, sizes.init_data_len, UINT64_MAX),
    FIELD(struct layout, sizes.image_base, UINT64_MAX),
    FIELD(struct layout, sizes.image_len, UINT64_MAX),
    FIELD(struct layout, sizes.image_fixed, 1),
    FIELD(struct layout, sizes.apic, 1),
    FIELD(struct layout, base.v, UINT64_MAX),
    FIELD(struct layout, snapshot_len, UINT64_MAX),
    FIELD(struct layout, peb_off, UINT64_MAX),
    FIELD(struct layout, heap_off, UINT64_MAX),
    FIELD(struct layout, init_off, UINT64_MAX),
    FIELD(struct layout, scratch_gpa.v, UINT64_MAX),
    FIELD(struct layout, scratch_gva.v, UINT64_MAX),
    FIELD(struct layout, output_off, UINT64_MAX),
    FIELD(struct layout, pt_off, UINT64_MAX),
    FIELD(struct layout, pt_len, UINT64_MAX),
    FIELD(struct layout, placed_len, UINT64_MAX),
    FIELD(struct layout, free_off, UINT64_MAX),
};

static const struct field segment_fields[] = {
    FIELD(struct cpu_segment, base, UINT64_MAX),
    FIELD(struct cpu_segment, limit, UINT32_MAX),
    FIELD(struct cpu_segment, selector, UINT16_MAX),
    FIELD(struct cpu_segment, type, 15),
    FIELD(struct cpu_segment, dpl, 3),
    FIELD(struct cpu_segment, s, 1),
    FIELD(struct cpu_segment, present, 1),
    FIELD(struct cpu_segment, db, 1),
    FIELD(struct cpu_segment, l, 1),
    FIELD(struct cpu_segment, g, 1),
    FIELD(struct cpu_segment, avl, 1),
};

static const struct field table_fields[] = {
    FIELD(struct cpu_table, base, UINT64_MAX),
    FIELD(struct cpu_table, limit, UINT16_MAX),
};

static const struct field control_fields[] = {
    FIELD(struct cpu_sregs, cr0, UINT64_MAX),
    FIELD(struct cpu_sregs, cr2, UINT64_MAX),
    FIELD(struct cpu_sregs, cr3, UINT64_MAX),
    FIELD(struct cpu_sregs, cr4, UINT64_MAX),
    FIELD(struct cpu_sregs, cr8, 15),
    FIELD(struct cpu_sregs, efer, UINT64_MAX),
    FIELD(struct cpu_sregs, apic_base, UINT64_MAX),
};

static const struct field cpu_fields[] = {
    FIELD(struct snapshot, takes_calls, 1),
    FIELD(struct snapshot, entry.v, UINT64_MAX),
    FIELD(struct snapshot, peb.v, UINT64_MAX),
    FIELD(struct snapshot, dispatch, UINT64_MAX),
    FIELD(struct snapshot, call_sp, UINT64_MAX),
    FIELD(struct snapshot, generation, UINT64_MAX),
    FIELD(struct snapshot, msrs_n, SNAPSHOT_MSRS_MAX),
};

static const struct field machine_fields[] = {
    FIELD(struct bare_machine, ram_len, BARE_RAM_MAX),
    FIELD(struct bare_machine, start.irqchip, 1),
};

static const struct field generation_field[] = {FIELD(struct snapshot, generation, UINT64_MAX)};

static const struct field msr_fields[] = {
    FIELD(struct cpu_msr, index, UINT32_MAX),
    FIELD(struct cpu_msr, value, UINT64_MAX),
};

static const struct field roots_fields[] = {
    FIELD(struct snapshot, roots_n, HOST_PAGE_ROOTS_MAX),
    FIELD(struct snapshot, root_active, HOST_PAGE_ROOTS_MAX - 1),
};

static const struct field root_fields[] = {{"root", offsetof(struct gpa, v), sizeof(uint64_t), UINT64_MAX}};

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
    struct field reg = {.name = "register", .width = sizeof(uint64_t), .max = UINT64_MAX};
    char name[SNAP_NAME_LEN] = "";

    if (c->out != NULL)
        memcpy(name, bare_format_name(m->start.format), strlen(bare_format_name(m->start.format)));
    code_text(c, "kind", name);
    if (!c->failed && find_format(name, &m->start.format) != 0) {
        c->failed = true;
        err_set(c->e, STATUS_IMAGE, "this vmm has no such kind of kernel (\"%s\")", name);
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

static int read_end(struct cursor *c)
{
    if (!c->failed && c->at != c->len) {
        c->failed = true;
        err_set(c->e, STATUS_IMAGE, "too long (%" PRIu64 " bytes, %" PRIu64 " used)", c->len, c->at);
    }
    return c->failed ? -1 : 0;
}

_Static_assert(COUNT(root_fields) == 1 &&
                   NUMBER_LEN * (HOST_PAGE_ROOTS_MAX + COUNT(roots_fields)) <= SNAP_FIELDS_MAX &&
                   NUMBER_LEN * (8 * COUNT(segment_fields) + 2 * COUNT(table_fields) + COUNT(control_fields) +
                                 COUNT(cpu_fields) + sizeof(struct cpu_regs) / sizeof(uint64_t) +
                                 SNAPSHOT_MSRS_MAX * COUNT(msr_fields)) <=
                       SNAP_FIELDS_MAX &&
                   SNAP_NAME_LEN + NUMBER_LEN * COUNT(plan_fields) <= SNAP_FIELDS_MAX,
               "every section fits its buffer");

/* Writing goes through a copy: the walk over the fields is made for reading too. */
uint64_t snap_write_plan(const struct snap_plan *p, uint8_t *out)
{
    struct snap_plan copy = *p;
    struct cursor c = {.out = out};

    code_plan(&c, &copy);
    return c.at;
}

uint64_t snap_write_cpu(const struct snapshot *s, uint8_t *out)
{
    struct snapshot copy = *s;
    struct cursor c = {.out = out};

    code_cpu(&c, &copy);
    return c.at;
}

uint64_t snap_write_machine(const struct snapshot *s, uint8_t *out)
{
    struct snapshot copy = *s;
    struct cursor c = {.out = out};

    code_machine(&c, &copy);
    return c.at;
}

uint64_t snap_write_roots(const struct snapshot *s, uint8_t *out)
{
    struct snapshot copy = *s;
    struct cursor c = {.out = out};

    code_roots(&c, &copy);
    return c.at;
}

uint64_t snap_write_compat(const struct snap_cpu *cpu, uint8_t *out)
{
    struct snap_cpu copy = *cpu;
    struct cursor c = {.out = out};

    code_compat(&c, &copy);
    return c.at;
}

int snap_read_plan(const uint8_t *in, uint64_t len, struct snap_plan *p, struct err *e)
{
    struct cursor c = {.in = in, .len = len, .e = e};

    code_plan(&c, p);
    return read_end(&c);
}

int snap_read_cpu(const uint8_t *in, uint64_t len, struct snapshot *s, struct err *e)
{
    struct cursor c = {.in = in, .len = len, .e = e};

    code_cpu(&c, s);
    return read_end(&c);
}

int snap_read_machine(const uint8_t *in, uint64_t len, struct snapshot *s, struct err *e)
{
    struct cursor c = {.in = in, .len = len, .e = e};

    code_machine(&c, s);
    return read_end(&c);
}

int snap_read_roots(const uint8_t *in, uint64_t len, struct snapshot *s, struct err *e)
{
    struct cursor c = {.in = in, .len = len, .e = e};

    code_roots(&c, s);
    return read_end(&c);
}

int snap_read_compat(const uint8_t *in, uint64_t len, struct snap_cpu *cpu, struct err *e)
{
    struct cursor c = {.in = in, .len = len, .e = e};

    code_compat(&c, cpu);
    return read_end(&c);
}
