/*
 * What it costs to make a machine, by raw ioctls: the naive order of a first
 * VMM, and what a VMM can do about it; a clone as a new VM; a bare exit.
 *
 *   create [--rounds N] [--first N] [--kind KIND] [--only ROW] [--gap MS] [--exits N] [--rows 0]
 *
 *   --gap MS        how long nothing happens before an isolated start (100)
 *
 * Every sample is taken in a process of its own, an exit in three, of which the least counts, because how fast
 * it is can depend on the process. In a burst it makes seven machines one after the other,
 * each closed before the next, and the sample is the median of the last six; isolated, it is one machine
 * after a pause. The clock runs from KVM_CREATE_VM to the first exit of the guest, whose first few
 * instructions that exit is; what is called in between, step by step:
 *
 *   naive:  KVM_CREATE_VM; KVM_SET_TSS_ADDR; mmap of 512 KB, code and tables; KVM_SET_USER_MEMORY_REGION;
 *           KVM_CREATE_VCPU; KVM_GET_VCPU_MMAP_SIZE and mmap; KVM_GET_SREGS and KVM_SET_SREGS; KVM_SET_REGS;
 *           KVM_RUN. No CPUID table.
 *   split:  the same memory, but KVM_CAP_SPLIT_IRQCHIP right after KVM_CREATE_VM, so that the vCPU has a local
 *           APIC and KVM need not patch its own code for one that has none; KVM_SET_CPUID2 of an empty table;
 *           registers by SYNC_REGS.
 *
 * Closing (munmap, close of vCPU and VM) is timed as a step of its own, which is not in the sum.
 */
#include "tests/bench/raw.h"

#define BURST  7
#define TSS_AT 0xfffbd000u
#define STEPS  12

static const char *const step_names[STEPS] = {"create-vm", "split-irqchip", "tss",       "memory",
                                              "slot",      "create-vcpu",   "run-page",  "cpuid",
                                              "sregs",     "regs",          "first-run", "close"};
enum { VM, SPLIT, TSS, MEMORY, SLOT, VCPU, RUN_PAGE, CPUID, SREGS, REGS, FIRST_RUN, CLOSE };

/* One machine's times. */
struct times {
    double step[STEPS];
    uint64_t last;
};

struct options {
    const char *self, *only, *kind;
    unsigned rounds, first;
    unsigned long gap, exits;
    bool rows;
};

struct row {
    const char *id, *base, *unit, *text;
    bool split, isolated, clone;
    unsigned least_of; /* processes; 0 is 1 */
    void (*take)(const struct options *o, const struct row *row, int kept_fd);
};

static void end_step(struct times *t, unsigned step)
{
    uint64_t now = rows_clock(CLOCK_MONOTONIC);

    t->step[step] = (double)(now - t->last);
    t->last = now;
}

/* --- one machine ------------------------------------------------------------------------------------ */

static void set_registers_naive(struct raw *r, const struct kvm_regs *regs, struct times *t)
{
    raw_set_sregs(r);
    end_step(t, SREGS);
    RAW_CALL(r->vcpu_fd, KVM_SET_REGS, regs);
    end_step(t, REGS);
}

/* What KVM_GET_SREGS would give of the rest is what a processor has after a reset. */
static void set_registers_split(struct raw *r, const struct kvm_regs *regs, struct times *t)
{
    struct kvm_sync_regs *s = &r->run->s.regs;

    s->regs = *regs;
    memset(&s->sregs, 0, sizeof(s->sregs));
    s->sregs.tr = (struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1};
    s->sregs.ldt = (struct kvm_segment){.limit = 0xffff, .type = 2, .present = 1};
    s->sregs.apic_base = 0xfee00900;
    raw_fill_sregs(r, &s->sregs);
    r->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    end_step(t, REGS);
}

static void make_machine(struct raw *r, const struct row *row, const uint8_t *low, const uint8_t *data,
                         struct times *t)
{
    struct kvm_regs regs = row->clone ? raw_regs_write(1, 1, 0) : raw_regs(RAW_LOOP);
    struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = 24};
    struct kvm_cpuid2 none = {.nent = 0};

    t->last = rows_clock(CLOCK_MONOTONIC);
    raw_open_vm(r);
    end_step(t, VM);
    if (row->split)
        RAW_CALL(r->vm_fd, KVM_ENABLE_CAP, &cap);
    else
        RAW_CALL(r->vm_fd, KVM_SET_TSS_ADDR, (const void *)(uintptr_t)TSS_AT);
    end_step(t, row->split ? SPLIT : TSS);
    r->low = raw_map(RAW_LOW_LEN, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memcpy(r->low, low, r->tables_end);
    end_step(t, MEMORY);
    raw_set_slot(r, 0, 0, RAW_LOW_LEN, r->low, 0);
    if (row->clone)
        raw_set_slot(r, 1, RAW_DATA, RAW_LEN, data, 0);
    end_step(t, SLOT);
    r->vcpu_fd = RAW_CALL(r->vm_fd, KVM_CREATE_VCPU, NULL);
    end_step(t, VCPU);
    raw_map_run(r);
    end_step(t, RUN_PAGE);
    if (row->split) {
        RAW_CALL(r->vcpu_fd, KVM_SET_CPUID2, &none);
        end_step(t, CPUID);
    }
    (row->split ? set_registers_split : set_registers_naive)(r, &regs, t);
    raw_run(r);
    end_step(t, FIRST_RUN);
}

/* --- samples ---------------------------------------------------------------------------------------- */

/* Machines in a burst, or one; the sum to the first exit, and each step. */
static void take_machines(const struct options *o, const struct row *row, int kept_fd)
{
    struct raw r = {.kind = raw_kind(o->kind)};
    unsigned n = row->isolated ? 1 : BURST - 1;
    double each[STEPS + 1][BURST] = {{0}};
    const uint8_t *low;
    uint8_t *data = NULL;

    raw_make_low(&r, row->clone);
    low = r.low;
    raw_open_kvm(&r);
    for (unsigned i = 0; i < n + (row->isolated ? 0 : 1); i++) {
        unsigned to = i < n ? i : 0; /* the first is written over */
        uint64_t start = rows_clock(CLOCK_MONOTONIC);
        struct times t = {.last = 0};

        if (row->clone)
            data = raw_map(RAW_LEN, MAP_PRIVATE, kept_fd);
        make_machine(&r, row, low, data, &t);
        each[STEPS][to] = (double)(t.last - start);
        raw_close(&r);
        munmap(r.low, RAW_LOW_LEN);
        if (row->clone)
            munmap(data, RAW_LEN);
        end_step(&t, CLOSE);
        for (unsigned s = 0; s < STEPS; s++)
            each[s][to] = t.step[s];
    }
    rows_sample(row->id, o->kind, o->first, rows_median(each[STEPS], n));
    for (unsigned s = 0; s < STEPS; s++) {
        double ns = rows_median(each[s], n);

        if (ns != 0)
            printf("part\t%s\t%s\t%u\t%.0f\t%s\n", row->id, o->kind, o->first, ns, step_names[s]);
    }
}

static void take_exits(const struct options *o, const struct row *row, int kept_fd)
{
    struct raw r = {.kind = raw_kind(o->kind)};
    struct kvm_regs regs = raw_regs(RAW_LOOP);
    uint64_t start;

    (void)kept_fd;
    raw_make_low(&r, false);
    raw_open_kvm(&r);
    raw_open_vm(&r);
    raw_open_vcpu(&r);
    raw_set_slot(&r, 0, 0, RAW_LOW_LEN, r.low, 0);
    raw_set_sregs(&r);
    RAW_CALL(r.vcpu_fd, KVM_SET_REGS, &regs);
    for (unsigned long i = 0; i < o->exits / 10 + 1; i++)
        raw_run(&r);
    start = rows_clock(CLOCK_MONOTONIC);
    for (unsigned long i = 0; i < o->exits; i++)
        raw_run(&r);
    rows_sample(row->id, o->kind, o->first, (double)(rows_clock(CLOCK_MONOTONIC) - start) / (double)o->exits);
}

/* To memory that is there, as a capture by copying would have to. */
static void take_memcpy(const struct options *o, const struct row *row, int kept_fd)
{
    const uint8_t *from = mmap(NULL, RAW_LEN, PROT_READ, MAP_SHARED, kept_fd, 0);
    double each[6];
    uint8_t *to;

    /* A processor that QEMU makes up copies at a tenth of its speed what lies a power of two apart. */
    raw_map(37 * RAW_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    to = raw_map(RAW_LEN, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (from == MAP_FAILED)
        raw_die("cannot map");
    for (unsigned i = 0; i < 6; i++) {
        uint64_t start = rows_clock(CLOCK_MONOTONIC);

        memcpy(to, from, RAW_LEN);
        each[i] = (double)(rows_clock(CLOCK_MONOTONIC) - start);
    }
    if (memcmp(to, from, RAW_LEN) != 0)
        raw_die("memcpy copied other bytes");
    rows_sample(row->id, o->kind, o->first, rows_median(each + 1, 5));
}

static const struct row rows[] = {
    {.id = "exit-raw",
     .base = "-",
     .unit = "us",
     .text = "bound: KVM_RUN to an exit and no register work",
     .take = take_exits,
     .least_of = 3},
    {.id = "create-naive",
     .base = "-",
     .unit = "us",
     .text = "naive order, KVM_CREATE_VM to the first exit, in a burst",
     .take = take_machines},
    {.id = "create-split",
     .base = "create-naive",
     .unit = "us",
     .text = "split irqchip, empty CPUID table, SYNC_REGS, in a burst",
     .take = take_machines,
     .split = true},
    {.id = "create-naive-isolated",
     .base = "-",
     .unit = "us",
     .text = "naive order, after a pause",
     .take = take_machines,
     .isolated = true},
    {.id = "create-split-isolated",
     .base = "create-naive-isolated",
     .unit = "us",
     .text = "split irqchip, empty CPUID table, SYNC_REGS, after a pause",
     .take = take_machines,
     .split = true,
     .isolated = true},
    {.id = "clone-new-vm",
     .base = "create-naive",
     .unit = "us",
     .text = "a clone of a 64 MB snapshot as a private mapping in a new VM (naive order) to its first exit, "
             "1 page written, in a burst",
     .take = take_machines,
     .clone = true},
    {.id = "memcpy-64m",
     .base = "-",
     .unit = "us",
     .text = "bound: memcpy of 64 MB to resident memory",
     .take = take_memcpy},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

/* --- all of it -------------------------------------------------------------------------------------- */

static int spawn(const struct options *o, const struct row *row, const char *kind, unsigned round,
                 int kept_fd)
{
    char numbers[3][24];
    const char *const words[] = {o->self,    "--one", row->id,    "--kind",  kind,      "--first",
                                 numbers[0], "--fd",  numbers[1], "--exits", numbers[2]};

    int status = 0;

    snprintf(numbers[0], sizeof(numbers[0]), "%u", round);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", kept_fd);
    snprintf(numbers[2], sizeof(numbers[2]), "%lu", o->exits);
    if (row->isolated)
        usleep((useconds_t)(o->gap * 1000));
    for (unsigned i = 0; i == 0 || i < row->least_of; i++)
        status |= spawn_and_wait(words, sizeof(words) / sizeof(words[0]));
    return status != 0;
}

static int take_all(const struct options *o, const char *kind)
{
    const char *wrong = raw_probe(raw_kind(kind));
    int kept_fd = raw_make_snapshot(), status = 0;

    for (unsigned round = o->first; round < o->first + o->rounds; round++) {
        for (unsigned i = 0; i < ROWS_N; i++) {
            if (o->only[0] != '\0' && strcmp(o->only, rows[i].id) != 0)
                continue;
            if (wrong[0] == '\0')
                status |= spawn(o, &rows[i], kind, round, kept_fd);
            else if (round == o->first)
                rows_skip(rows[i].id, kind, wrong);
        }
    }
    close(kept_fd);
    return status;
}

int main(int argc, char **argv)
{
    const struct options o = {
        .self = argv[0],
        .only = rows_word(argc, argv, "--only", ""),
        .kind = rows_word(argc, argv, "--kind", ""),
        .rounds = (unsigned)rows_number(argc, argv, "--rounds", 1),
        .first = (unsigned)rows_number(argc, argv, "--first", 0),
        .gap = rows_number(argc, argv, "--gap", 100),
        .exits = rows_number(argc, argv, "--exits", 5000),
        .rows = rows_number(argc, argv, "--rows", 1) != 0,
    };
    const char *one = rows_word(argc, argv, "--one", NULL);
    int status = 0;

    for (unsigned i = 0; i < ROWS_N; i++) {
        if (one != NULL && strcmp(one, rows[i].id) == 0) {
            rows[i].take(&o, &rows[i], (int)rows_number(argc, argv, "--fd", 0));
            return 0;
        }
        if (one == NULL && o.rows)
            rows_row(rows[i].id, rows[i].base, rows[i].unit, rows[i].text);
    }
    if (one != NULL)
        raw_die("%s: no such row", one);
    for (unsigned i = 0; i < RAW_KINDS_N; i++)
        if (o.kind[0] == '\0' || strcmp(o.kind, raw_kinds[i].name) == 0)
            status |= take_all(&o, raw_kinds[i].name);
    return status;
}
