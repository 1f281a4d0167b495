/*
 * How others put a guest back to where it was, by raw ioctls, and the bounds
 * of it: the rows of the benchmark that vmm's own reset is compared with.
 *
 *   method [--rounds N] [--first N] [--kind KIND] [--only METHOD] [--pages N] [--ms N] [--check 1]
 *          [--plant METHOD] [--rows 0]
 *
 *   --first N       number of the first round
 *   --pages N       only so many dirty pages, not 1, 10, 100, 1000 and, where that is quick, 10000
 *   --ms N          how long a sample takes, at least
 *   --check 1       compare all of memory after every reset, and not only after the last of a sample
 *   --plant METHOD  let its last reset leave one byte of a page
 *   --rows 0        leave the records out that declare the rows
 *
 * A cycle is one KVM_RUN, in which the guest of raw.h writes one word in each of D pages of 64 MB, and the
 * reset after it; a sample is the median of the cycles of a process of its own, of at least 5 after 3 that
 * warm up. The memory is a private mapping of a sealed memfd in every row, unless its text says otherwise.
 * After the last cycle it is seen that the guest has written all D words before, and that every byte is as
 * in the snapshot. Status 1 when one is not.
 */
#include "tests/bench/raw.h"

#define WARM_UP    3
#define CYCLES_MIN 5
#define CYCLES_MAX 1000
#define VALUE      0x5a5a5a5au
#define RING_N     65536u

struct cycle {
    struct raw raw;
    struct kvm_regs regs;
    struct kvm_fpu fpu;
    struct kvm_debugregs debug;
    const uint8_t *kept; /* the snapshot */
    int kept_fd;
    uint8_t *data, *scratch;
    unsigned n, step;
    struct kvm_dirty_gfn *ring;
    uint32_t ring_next;
};

struct method {
    const char *id, *base, *text;
    void (*reset)(struct cycle *c);
    unsigned slot_flags;
    bool ring, scratch, loops;
};

/* --- resets --------------------------------------------------------------------------------------- */

/* No ioctl: they are read from the run page by the next KVM_RUN. */
static void reset_regs(struct cycle *c)
{
    c->raw.run->s.regs.regs = c->regs;
    c->raw.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

static void copy_page(struct cycle *c, uint64_t page)
{
    memcpy(c->data + page * RAW_PAGE, c->kept + page * RAW_PAGE, RAW_PAGE);
}

static void reset_none(struct cycle *c)
{
    (void)c;
}

static void reset_oracle(struct cycle *c)
{
    for (unsigned i = 0; i < c->n; i++)
        copy_page(c, (uint64_t)i * c->step);
    reset_regs(c);
}

static void reset_oracle_strict(struct cycle *c)
{
    reset_oracle(c);
    raw_fill_sregs(&c->raw, &c->raw.run->s.regs.sregs);
    c->raw.run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
    RAW_CALL(c->raw.vcpu_fd, KVM_SET_FPU, &c->fpu);
    RAW_CALL(c->raw.vcpu_fd, KVM_SET_DEBUGREGS, &c->debug);
}

static void reset_log(struct cycle *c)
{
    static uint64_t bits[RAW_PAGES / 64];
    struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bits};

    RAW_CALL(c->raw.vm_fd, KVM_GET_DIRTY_LOG, &log);
    for (unsigned i = 0; i < RAW_PAGES / 64; i++)
        for (uint64_t left = bits[i]; left != 0; left &= left - 1)
            copy_page(c, i * 64u + (unsigned)__builtin_ctzll(left));
    reset_regs(c);
}

static void reset_ring(struct cycle *c)
{
    unsigned n = 0;

    for (;; n++) {
        struct kvm_dirty_gfn *entry = &c->ring[c->ring_next % RING_N];

        if ((__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY) == 0)
            break;
        copy_page(c, entry->offset);
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        c->ring_next++;
    }
    if (n != 0)
        RAW_CALL(c->raw.vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
    reset_regs(c);
}

static void reset_dontneed(struct cycle *c)
{
    if (madvise(c->data, RAW_LEN, MADV_DONTNEED) != 0)
        raw_die("MADV_DONTNEED failed");
    reset_regs(c);
}

static void map_data(struct cycle *c)
{
    if (mmap(c->data, RAW_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, c->kept_fd,
             0) != c->data)
        raw_die("cannot map");
}

static void reset_remap(struct cycle *c)
{
    map_data(c);
    reset_regs(c);
}

static void reset_copy(struct cycle *c)
{
    memcpy(c->data, c->kept, RAW_LEN);
    reset_regs(c);
}

static void reset_zero_scratch(struct cycle *c)
{
    if (madvise(c->scratch, RAW_LEN, MADV_DONTNEED) != 0)
        raw_die("MADV_DONTNEED failed");
    reset_regs(c);
}

static void start(struct cycle *c, const struct method *m)
{
    raw_open_vm(&c->raw);
    if (m->ring) {
        struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING,
                                     .args[0] = RING_N * sizeof(struct kvm_dirty_gfn)};

        RAW_CALL(c->raw.vm_fd, KVM_ENABLE_CAP, &cap);
    }
    raw_open_vcpu(&c->raw);
    raw_set_slot(&c->raw, 0, 0, RAW_LOW_LEN, c->raw.low, 0);
    raw_set_slot(&c->raw, 1, RAW_DATA, RAW_LEN, c->data, m->slot_flags);
    if (m->scratch)
        raw_set_slot(&c->raw, 2, RAW_SCRATCH, RAW_LEN, c->scratch, 0);
    raw_set_sregs(&c->raw);
    RAW_CALL(c->raw.vcpu_fd, KVM_SET_REGS, &c->regs);
}

static void reset_new_vm(struct cycle *c)
{
    static const struct method plain = {.id = NULL};

    raw_close(&c->raw);
    map_data(c);
    start(c, &plain);
}

#define REGS "; general registers by SYNC_REGS"

static const struct method methods[] = {
    {.id = "none",
     .base = "-",
     .text = "bound: run without any reset; no register work",
     .reset = reset_none,
     .loops = true},
    {.id = "oracle",
     .base = "none",
     .text = "bound: run, and memcpy of exactly the dirty pages" REGS,
     .reset = reset_oracle},
    {.id = "oracle-strict",
     .base = "oracle",
     .text = "the same; system registers too by SYNC_REGS, KVM_SET_FPU, KVM_SET_DEBUGREGS",
     .reset = reset_oracle_strict},
    {.id = "log",
     .base = "oracle",
     .text = "KVM_GET_DIRTY_LOG, which protects again, and memcpy of the set" REGS,
     .reset = reset_log,
     .slot_flags = KVM_MEM_LOG_DIRTY_PAGES},
    {.id = "ring",
     .base = "oracle",
     .text = "dirty ring, memcpy of the set, KVM_RESET_DIRTY_RINGS, which protects again" REGS,
     .reset = reset_ring,
     .slot_flags = KVM_MEM_LOG_DIRTY_PAGES,
     .ring = true},
    {.id = "dontneed", .base = "oracle", .text = "MADV_DONTNEED of all memory" REGS, .reset = reset_dontneed},
    {.id = "remap",
     .base = "oracle",
     .text = "mmap with MAP_FIXED over all memory" REGS,
     .reset = reset_remap},
    {.id = "copy", .base = "oracle", .text = "memcpy of all memory" REGS, .reset = reset_copy},
    {.id = "new-vm",
     .base = "oracle",
     .text = "a new VM and mapping, the old ones closed; KVM_GET_SREGS, KVM_SET_SREGS, KVM_SET_REGS",
     .reset = reset_new_vm},
    {.id = "zero-scratch",
     .base = "oracle",
     .text = "the guest copies each page to 64 MB of anonymous scratch, without a fault, and writes there; "
             "MADV_DONTNEED of all scratch" REGS,
     .reset = reset_zero_scratch,
     .slot_flags = KVM_MEM_READONLY,
     .scratch = true},
};

#define METHODS_N (sizeof(methods) / sizeof(methods[0]))

/* --- what the guest and the reset did --------------------------------------------------------------- */

/* The page of number i after a run. */
static bool is_written(const struct cycle *c, const struct method *m, unsigned i)
{
    size_t at = (size_t)i * c->step * RAW_PAGE;
    const uint8_t *page = m->scratch ? c->scratch + (size_t)i * RAW_PAGE : c->data + at;
    uint32_t word;

    memcpy(&word, page, sizeof(word));
    return word == VALUE &&
           memcmp(page + sizeof(word), c->kept + at + sizeof(word), RAW_PAGE - sizeof(word)) == 0;
}

static const char *check_work(const struct cycle *c, const struct method *m)
{
    for (unsigned i = 0; i < c->n; i++)
        if (!is_written(c, m, i))
            return "the guest has not written a page that it should write";
    return NULL;
}

static const char *check_reset(const struct cycle *c, const struct method *m)
{
    static const uint8_t zero[RAW_PAGE];

    if (m->loops)
        return NULL;
    if (memcmp(c->data, c->kept, RAW_LEN) != 0)
        return "memory is not as in the snapshot";
    for (size_t at = 0; m->scratch && at < RAW_LEN; at += RAW_PAGE)
        if (memcmp(c->scratch + at, zero, RAW_PAGE) != 0)
            return "scratch is not zero";
    return NULL;
}

/* One more cycle, which is looked at. */
static const char *check_cycle(struct cycle *c, const struct method *m, bool plant)
{
    const char *wrong;

    for (unsigned i = 0; m->loops && i < c->n; i++)
        memset(c->data + (size_t)i * c->step * RAW_PAGE, 0, sizeof(uint32_t));
    raw_run(&c->raw);
    wrong = check_work(c, m);
    m->reset(c);
    if (plant)
        (m->scratch ? c->scratch : c->data)[(size_t)(c->n - 1) * (m->scratch ? 1 : c->step) * RAW_PAGE + 7] ^=
            1;
    return wrong != NULL ? wrong : check_reset(c, m);
}

/* --- a sample --------------------------------------------------------------------------------------- */

struct options {
    const char *self, *only, *plant, *kind;
    unsigned rounds, first, pages;
    unsigned long ms;
    bool check, rows;
};

static void begin_cycles(struct cycle *c, const struct method *m)
{
    raw_open_kvm(&c->raw);
    raw_make_low(&c->raw, true);
    c->kept = mmap(NULL, RAW_LEN, PROT_READ, MAP_SHARED, c->kept_fd, 0);
    if (c->kept == MAP_FAILED)
        raw_die("cannot map the snapshot");
    /* A processor that QEMU makes up copies at a tenth of its speed what lies a power of two apart. */
    raw_map(37 * RAW_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    c->data = raw_map(RAW_LEN, MAP_PRIVATE, c->kept_fd);
    if (m->scratch)
        c->scratch = raw_map(RAW_LEN, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    start(c, m);
    RAW_CALL(c->raw.vcpu_fd, KVM_GET_FPU, &c->fpu);
    RAW_CALL(c->raw.vcpu_fd, KVM_GET_DEBUGREGS, &c->debug);
    if (m->ring) {
        c->ring = mmap(NULL, RING_N * sizeof(*c->ring), PROT_READ | PROT_WRITE, MAP_SHARED, c->raw.vcpu_fd,
                       KVM_DIRTY_LOG_PAGE_OFFSET * (off_t)RAW_PAGE);
        if (c->ring == MAP_FAILED)
            raw_die("cannot map the dirty ring");
    }
}

/* From now on the guest writes to so many pages a run. */
static void set_pages(struct cycle *c, const struct method *m, unsigned n)
{
    uint32_t params[4];

    c->n = n;
    c->step = RAW_PAGES / n;
    params[0] = n;
    params[1] = RAW_DATA;
    params[2] = c->step * RAW_PAGE;
    params[3] = VALUE;
    memcpy(c->raw.low + RAW_PARAMS, params, sizeof(params));
    c->regs = m->loops ? raw_regs(RAW_START) : raw_regs_write(n, c->step, VALUE);
    if (m->scratch) {
        c->regs.rip = RAW_CODE + RAW_COPY;
        c->regs.rbx = n;
        c->regs.rsi = RAW_DATA;
        c->regs.rdx = (uint64_t)(c->step - 1) * RAW_PAGE;
        c->regs.rdi = RAW_SCRATCH;
    }
    reset_regs(c);
}

/* Cycles for `ms`; NULL, rows_too_slow or what was wrong. */
static const char *time_cycles(struct cycle *c, const struct method *m, const struct options *o, double *ns)
{
    static double times[CYCLES_MAX];
    uint64_t begun = rows_clock(CLOCK_MONOTONIC), from = begun, to;
    const char *wrong = NULL;
    double least = 0;
    unsigned n = 0;

    for (unsigned i = 0; wrong == NULL; i++) {
        if (o->check) {
            wrong = check_cycle(c, m, false);
            from = rows_clock(CLOCK_MONOTONIC);
        }
        raw_run(&c->raw);
        m->reset(c);
        to = rows_clock(CLOCK_MONOTONIC);
        if (i >= WARM_UP)
            times[n++] = (double)(to - from);
        else
            begun = to;
        if (i == 0 || (double)(to - from) < least)
            least = (double)(to - from);
        from = to;
        if (o->pages == 0 && i == WARM_UP - 1 && least > ROWS_CYCLE_NS_MAX)
            return rows_too_slow;
        if (n == CYCLES_MAX || (n >= CYCLES_MIN && to - begun > o->ms * 1000000))
            break;
    }
    if (wrong != NULL)
        return wrong;
    *ns = rows_median(times, n);
    return check_cycle(c, m, strcmp(o->plant, m->id) == 0);
}

/* All numbers of pages by one method, in this process, which is one that has done nothing else. */
static int take(const struct options *o, const struct method *m, int kept_fd)
{
    struct cycle c = {.raw.kind = raw_kind(o->kind), .kept_fd = kept_fd};
    double ns = 0;
    int status = 0;

    c.regs = raw_regs(RAW_START);
    begin_cycles(&c, m);
    for (unsigned i = 0; i < (o->pages != 0 ? 1 : ROWS_PAGES_N); i++) {
        const char *wrong;
        char which[64];

        if (i == ROWS_PAGES_N - 1 && ns > ROWS_QUICK_NS_MAX)
            break;
        set_pages(&c, m, o->pages != 0 ? o->pages : rows_pages[i]);
        snprintf(which, sizeof(which), "%s %u", o->kind, c.n);
        wrong = time_cycles(&c, m, o, &ns);
        if (wrong == rows_too_slow) {
            rows_skip(m->id, which, wrong);
            break;
        }
        if (wrong == NULL) {
            rows_sample(m->id, which, o->first, ns);
            continue;
        }
        rows_fail(m->id, which, wrong);
        status = 1;
    }
    return status;
}

/* --- all of it -------------------------------------------------------------------------------------- */

/* Start this program again, for one method. */
static int spawn(const struct options *o, const char *id, const char *kind, unsigned round, int kept_fd)
{
    char numbers[4][24];
    const char *const given[] = {o->self,
                                 "--one",
                                 id,
                                 "--kind",
                                 kind,
                                 "--first",
                                 numbers[0],
                                 "--fd",
                                 numbers[1],
                                 "--ms",
                                 numbers[2],
                                 "--pages",
                                 numbers[3],
                                 "--plant",
                                 o->plant,
                                 "--check",
                                 o->check ? "1" : "0"};

    snprintf(numbers[0], sizeof(numbers[0]), "%u", round);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", kept_fd);
    snprintf(numbers[2], sizeof(numbers[2]), "%lu", o->ms);
    snprintf(numbers[3], sizeof(numbers[3]), "%u", o->pages);
    return spawn_and_wait(given, sizeof(given) / sizeof(given[0])) != 0;
}

/* Why a method cannot be had here, or NULL. */
static const char *lacks(const struct method *m)
{
    struct raw r = {.kind = NULL};
    const char *why = NULL;

    raw_open_kvm(&r);
    if (m->ring && ioctl(r.kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) <
                       (int)(RING_N * sizeof(struct kvm_dirty_gfn)))
        why = "this KVM has no dirty ring of that size";
    close(r.kvm_fd);
    return why;
}

static int take_all(const struct options *o, const char *kind)
{
    const char *wrong = raw_probe(raw_kind(kind)), *why;
    int kept_fd = raw_make_snapshot(), status = 0;

    for (unsigned round = o->first; round < o->first + o->rounds; round++) {
        for (unsigned i = 0; i < METHODS_N; i++) {
            if (o->only[0] != '\0' && strcmp(o->only, methods[i].id) != 0)
                continue;
            why = wrong[0] != '\0' ? wrong : lacks(&methods[i]);
            if (why == NULL)
                status |= spawn(o, methods[i].id, kind, round, kept_fd);
            else if (round == o->first)
                rows_skip(methods[i].id, kind, why);
        }
    }
    close(kept_fd);
    return status;
}

static const struct method *find_method(const char *id)
{
    for (unsigned i = 0; i < METHODS_N; i++)
        if (strcmp(methods[i].id, id) == 0)
            return &methods[i];
    raw_die("%s: no such method", id);
}

int main(int argc, char **argv)
{
    const struct options o = {
        .self = argv[0],
        .only = rows_word(argc, argv, "--only", ""),
        .plant = rows_word(argc, argv, "--plant", ""),
        .kind = rows_word(argc, argv, "--kind", ""),
        .rounds = (unsigned)rows_number(argc, argv, "--rounds", 1),
        .first = (unsigned)rows_number(argc, argv, "--first", 0),
        .pages = (unsigned)rows_number(argc, argv, "--pages", 0),
        .ms = rows_number(argc, argv, "--ms", 20),
        .check = rows_number(argc, argv, "--check", 0) != 0,
        .rows = rows_number(argc, argv, "--rows", 1) != 0,
    };
    const char *one = rows_word(argc, argv, "--one", NULL);
    int status = 0;

    if (o.pages > RAW_PAGES)
        raw_die("method: --pages is at most %u", RAW_PAGES);
    if (one != NULL)
        return take(&o, find_method(one), (int)rows_number(argc, argv, "--fd", 0));
    for (unsigned i = 0; i < METHODS_N && o.rows; i++)
        rows_row(methods[i].id, methods[i].base, "us", methods[i].text);
    for (unsigned i = 0; i < RAW_KINDS_N; i++)
        if (o.kind[0] == '\0' || strcmp(o.kind, raw_kinds[i].name) == 0)
            status |= take_all(&o, raw_kinds[i].name);
    return status;
}
