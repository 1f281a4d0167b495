/*
 * The product's own paths, by its library: the real state table, the real
 * restore. The rows of the benchmark that the others are compared with.
 *
 *   product [--rounds N] [--first N] [--kind KIND] [--only ROW] [--pages N] [--calls N] [--ms N] [--gap MS]
 *           [--plant ROW] [--samples DIR] [--rows 0]
 *
 * The numbers mean what they mean to method and create. A cycle is a call that writes one word to each of D
 * pages, which lie evenly over a heap of 64 MB, and vm_restore, all registers and other state included.
 * After the last one, all memory of the VM is compared with what it was after the first restore of all, before
 * anything had run, and the guest looks at its heap. --plant ROW leaves that last restore out.
 * Every sample is taken in a process of its own; those of very short things in three, of which the least
 * counts, because how fast an exit is can depend on the process.
 */
#include "hv/kvm.h"
#include "hv/probe.h"
#include "mem/guest_abi.h"
#include "tests/bench/called.h"
#include "tests/bench/kept.h"
#include "tests/bench/spawn.h"

#define DATA_LEN    ((uint64_t)64 << 20)
#define WARM_UP     3
#define CYCLES_MIN  5
#define CYCLES_MAX  1000
#define BURST       7
#define POOLED      22
#define AGAIN_PAGES 100
#define LOOK        UINT32_MAX /* for touch of lean: fault unless the heap is as new */

struct options_of {
    const char *self, *only, *kind, *plant, *samples;
    unsigned rounds, first, pages;
    unsigned long calls, ms, gap;
    bool rows;
};

struct row {
    const char *id, *base, *unit, *text;
    int (*take)(const struct options_of *o, const struct row *row, struct err *e);
    const char *sample, *function;
    uint32_t argument;
    bool has_argument, many, restores, irqchip, isolated, cow_host, again, lean_i686;
    unsigned least_of; /* processes; 0 is 1 */
};

static double since(uint64_t start)
{
    return (double)(rows_clock(CLOCK_MONOTONIC) - start);
}

static int open_all(struct called *c, int *kvm_fd, struct err *e)
{
    return kvm_open(kvm_fd, e) != 0 ? -1 : called_open(c, e);
}

/* --- calls ---------------------------------------------------------------------------------------- */

/* Calls, or one that calls the host as often as it is told, or calls after a restore each. */
static int take_calls(const struct options_of *o, const struct row *row, struct err *e)
{
    const struct called_guest g = {.samples = o->samples, .name = row->sample, .kind = o->kind};
    unsigned long n = row->many ? 1 : o->calls;
    uint32_t few = (uint32_t)(o->calls / 10 + 1), all = (uint32_t)o->calls;
    static struct snapshot snap;
    static struct called c;
    uint64_t start = 0;
    int kvm_fd;

    if (open_all(&c, &kvm_fd, e) != 0)
        return -1;
    if (row->restores ? called_capture(&c, &g, kvm_fd, &snap, e) : called_load(&g, &snap, e))
        return -1;
    if (called_start(&c, &snap, kvm_fd, e) != 0)
        return -1;
    for (unsigned long i = 0; i < n / 10 + 1 + n; i++) {
        bool warm = i > n / 10;

        if (i == n / 10 + 1)
            start = rows_clock(CLOCK_MONOTONIC);
        if (row->restores && vm_restore(&c.vm, e) != 0)
            return -1;
        if (called_call(&c, row->function,
                        row->many           ? warm ? &all : &few
                        : row->has_argument ? &row->argument
                                            : NULL,
                        NULL, e) != 0)
            return -1;
    }
    rows_sample(row->id, o->kind, o->first, since(start) / (double)o->calls);
    return 0;
}

/* --- cycles --------------------------------------------------------------------------------------- */

/* Which guest runs: of those that copy pages themselves there is a lean one for i686. */
static const char *sample_of(const struct row *row, const char *kind)
{
    return row->lean_i686 && strcmp(kind, "i686") == 0 ? "leancow" : row->sample;
}

static const char *check_memory(const struct memory *kept, struct called *c, const char *sample)
{
    const char *wrong = compare_memory(kept, c);
    const uint32_t look = LOOK;
    struct err e = {.text = ""};
    uint64_t bits = 0;

    if (wrong != NULL)
        return wrong;
    if (strncmp(sample, "lean", 4) == 0 ? called_call(c, "touch", &look, NULL, &e)
                                        : called_call(c, "count", NULL, &bits, &e))
        return "the guest does not find its heap as new";
    return bits != 0 ? "the guest finds pages that are not as new" : NULL;
}

/* Cycles for a while, the last one's reset left out if that is asked for; 1 when they take too long. */
static int time_cycles(const struct options_of *o, const struct row *row, struct called *c, uint32_t pages,
                       double *ns, struct err *e)
{
    static double times[CYCLES_MAX];
    uint64_t begun = 0, from, to;
    double least = 0;
    unsigned n = 0;

    for (unsigned i = 0; n < CYCLES_MAX; i++) {
        from = rows_clock(CLOCK_MONOTONIC);
        if (called_call(c, "touch", &pages, NULL, e) != 0 || vm_restore(&c->vm, e) != 0)
            return -1;
        to = rows_clock(CLOCK_MONOTONIC);
        if (i >= WARM_UP)
            times[n++] = (double)(to - from);
        else
            begun = to;
        if (i == 0 || (double)(to - from) < least)
            least = (double)(to - from);
        if (o->pages == 0 && i == WARM_UP - 1 && least > ROWS_CYCLE_NS_MAX)
            return 1;
        if (n >= CYCLES_MIN && to - begun > o->ms * 1000000)
            break;
    }
    *ns = rows_median(times, n);
    if (called_call(c, "touch", &pages, NULL, e) != 0)
        return -1;
    return strcmp(o->plant, row->id) == 0 ? 0 : vm_restore(&c->vm, e);
}

static int take_cycles(const struct options_of *o, const struct row *row, struct err *e)
{
    const struct called_guest g = {.samples = o->samples,
                                   .name = sample_of(row, o->kind),
                                   .kind = o->kind,
                                   .heap_len = DATA_LEN,
                                   .scratch_more = DATA_LEN};
    static struct snapshot snap;
    static struct called c;
    struct memory kept;
    double ns = 0;
    int kvm_fd;

    if (open_all(&c, &kvm_fd, e) != 0 || called_capture(&c, &g, kvm_fd, &snap, e) != 0)
        return -1;
    called_cow_host = row->cow_host;
    if (called_start(&c, &snap, kvm_fd, e) != 0 || keep_memory(&kept, &c.vm, e) != 0)
        return -1;
    for (unsigned i = 0; i < (o->pages != 0 ? 1 : ROWS_PAGES_N); i++) {
        unsigned n = o->pages != 0 ? o->pages : rows_pages[i];
        const char *wrong;
        char which[64];
        int result;

        if (i == ROWS_PAGES_N - 1 && ns > ROWS_QUICK_NS_MAX)
            break;
        result = time_cycles(o, row, &c, n, &ns, e);
        if (result < 0)
            return -1;
        snprintf(which, sizeof(which), "%s %u", o->kind, n);
        if (result > 0) {
            rows_skip(row->id, which, rows_too_slow);
            break;
        }
        wrong = check_memory(&kept, &c, g.name);
        if (wrong == NULL) {
            rows_sample(row->id, which, o->first, ns);
            if (vm_restore(&c.vm, e) != 0)
                return -1;
            continue;
        }
        rows_fail(row->id, which, wrong);
        exit(1);
    }
    return 0;
}

/* --- creation ------------------------------------------------------------------------------------- */

/* Make a machine and take it apart again. What the controllers cost is paid by guests that want them. */
static int take_machine(const struct options_of *o, const struct row *row, struct err *e)
{
    const struct machine_options opt = {.phys_bits = 36, .irqchip = row->irqchip, .pit = row->irqchip};
    unsigned long n = o->calls / 10 + 1, i;
    int kvm_fd = -1;
    uint64_t start;

    if (kvm_open(&kvm_fd, e) != 0)
        return -1;
    start = rows_clock(CLOCK_MONOTONIC);
    for (i = 0; i < n; i++) {
        struct machine m = MACHINE_CLOSED;

        if (machine_open(&m, kvm_fd, &opt, e) != 0 || machine_add_cpu(&m, kvm_fd, &opt, e) != 0)
            return -1;
        machine_close(&m);
    }
    rows_sample(row->id, o->kind, o->first, since(start) / (double)n);
    return 0;
}

/* From nothing to the first exit of a guest whose init is that exit; or, restored, to the end of its first call. */
static int take_create(const struct options_of *o, const struct row *row, struct err *e)
{
    const struct called_guest g = {
        .samples = o->samples, .name = "lean", .kind = o->kind, .heap_len = row->restores ? DATA_LEN : 0};
    unsigned n = row->isolated ? 1 : BURST;
    static struct snapshot snap;
    static struct called c;
    double each[BURST];
    int kvm_fd;

    if (open_all(&c, &kvm_fd, e) != 0)
        return -1;
    if (row->restores ? called_capture(&c, &g, kvm_fd, &snap, e) : called_load(&g, &snap, e))
        return -1;
    if (row->restores)
        close(kvm_fd);
    if (row->restores && kvm_open(&kvm_fd, e) != 0)
        return -1;
    called_once = true;
    for (unsigned i = 0; i < n; i++) {
        uint64_t start = rows_clock(CLOCK_MONOTONIC);

        if (called_start(&c, &snap, kvm_fd, e) != 0 ||
            (row->restores && called_call(&c, "touch", &row->argument, NULL, e) != 0))
            return -1;
        each[i] = since(start);
        vm_close(&c.vm);
    }
    rows_sample(row->id, o->kind, o->first, n == 1 ? each[0] : rows_median(each + 1, n - 1));
    return 0;
}

/* Two snapshots of the same shape, in files: the second is of a guest that has written to a few pages. */
static int make_pair(struct called *c, const struct called_guest *g, int kvm_fd, struct snapshot *pair,
                     struct err *e)
{
    static const uint32_t few = 5;

    if (called_capture(c, g, kvm_fd, &pair[0], e) != 0 || called_start(c, &pair[0], kvm_fd, e) != 0 ||
        called_call(c, "touch", &few, NULL, e) != 0 || capture_make(&c->vm, &pair[1], e) != 0 ||
        called_through_file(&pair[1], e) != 0)
        return -1;
    vm_close(&c->vm);
    return vm_prepare(&pair[0], e) != 0 ? -1 : vm_prepare(&pair[1], e);
}

/* In one machine, one after the other: it takes the other snapshot, and the guest is called. */
static int time_switches(struct called *c, const struct snapshot *pair, double *ns, struct err *e)
{
    const uint32_t one = 1;
    double each[POOLED];

    for (unsigned i = 0; i < POOLED; i++) {
        uint64_t start = rows_clock(CLOCK_MONOTONIC);
        int result = vm_switch(&c->vm, &pair[(i + 1) % 2], e);

        if (result != 0)
            return result < 0 ? -1 : err_set(e, STATUS_HOST, "the snapshots are not of the same shape");
        if (called_call(c, "touch", &one, NULL, e) != 0)
            return -1;
        each[i] = since(start);
    }
    *ns = rows_median(each + 2, POOLED - 2);
    return 0;
}

/* What has been switched to is, to the last byte, what a new machine has. */
static int take_pooled(const struct options_of *o, const struct row *row, struct err *e)
{
    const struct called_guest g = {
        .samples = o->samples, .name = "lean", .kind = o->kind, .heap_len = DATA_LEN};
    static struct snapshot pair[2];
    static struct called c;
    struct memory kept[2];
    const char *wrong = NULL;
    double ns = 0;
    int kvm_fd;

    called_cow_host = true;
    if (open_all(&c, &kvm_fd, e) != 0 || make_pair(&c, &g, kvm_fd, pair, e) != 0)
        return -1;
    called_pool = true;
    for (unsigned i = 2; i-- > 0;) {
        if (called_start(&c, &pair[i], kvm_fd, e) != 0 || keep_memory(&kept[i], &c.vm, e) != 0)
            return -1;
        if (i == 1)
            vm_close(&c.vm);
    }
    if (time_switches(&c, pair, &ns, e) != 0)
        return -1;
    for (unsigned i = 2; i-- > 0 && wrong == NULL;) {
        if (strcmp(o->plant, row->id) != 0 && vm_switch(&c.vm, &pair[i], e) != 0)
            return -1;
        wrong = compare_memory(&kept[i], &c);
    }
    if (wrong == NULL)
        wrong = check_memory(&kept[0], &c, row->sample);
    if (wrong == NULL) {
        rows_sample(row->id, o->kind, o->first, ns);
        return 0;
    }
    rows_fail(row->id, o->kind, wrong);
    exit(1);
}

static int take_capture(const struct options_of *o, const struct row *row, struct err *e)
{
    const struct called_guest g = {
        .samples = o->samples, .name = "lean", .kind = o->kind, .heap_len = DATA_LEN};
    const uint32_t few = AGAIN_PAGES;
    static struct snapshot snap, first, captured;
    static struct called c;
    uint64_t start;
    int kvm_fd;

    if (open_all(&c, &kvm_fd, e) != 0 || called_load(&g, &snap, e) != 0 ||
        called_start(&c, &snap, kvm_fd, e) != 0 ||
        (row->has_argument && called_call(&c, "touch", &row->argument, NULL, e) != 0) ||
        (row->again && (capture_make(&c.vm, &first, e) != 0 || called_call(&c, "touch", &few, NULL, e) != 0)))
        return -1;
    start = rows_clock(CLOCK_MONOTONIC);
    if (capture_make(&c.vm, &captured, e) != 0)
        return -1;
    rows_sample(row->id, o->kind, o->first, since(start));
    return 0;
}

/* --- all of it ------------------------------------------------------------------------------------ */

static const struct row rows[] = {
    {.id = "call",
     .base = "exit-raw",
     .unit = "us",
     .text = "call_guest of a function that does nothing, messages read and written by the guest's C runtime",
     .take = take_calls,
     .sample = "calls",
     .function = "nothing",
     .least_of = 3},
    {.id = "call-lean",
     .base = "exit-raw",
     .unit = "us",
     .text = "null call: call_guest of a guest that answers with few instructions, result read",
     .take = take_calls,
     .sample = "lean",
     .function = "touch",
     .has_argument = true,
     .least_of = 3},
    {.id = "host-print",
     .base = "exit-raw",
     .unit = "us",
     .text = "one HostPrint of the guest, of many in one call",
     .take = take_calls,
     .sample = "calls",
     .function = "storm",
     .many = true},
    {.id = "host-time",
     .base = "exit-raw",
     .unit = "us",
     .text = "one HostTime of the guest, of many in one call",
     .take = take_calls,
     .sample = "calls",
     .function = "times",
     .many = true},
    {.id = "call-restore",
     .base = "exit-raw",
     .unit = "us",
     .text = "vm_restore and call_guest of the null call",
     .take = take_calls,
     .sample = "lean",
     .function = "touch",
     .has_argument = true,
     .restores = true},
    {.id = "cycle",
     .base = "oracle",
     .unit = "us",
     .text = "call and vm_restore of a guest that writes in place, D pages of 64 MB",
     .take = take_cycles,
     .sample = "lean"},
    {.id = "cycle-host-cow",
     .base = "oracle",
     .unit = "us",
     .text = "the same of a paged guest whose pages the host copies",
     .take = take_cycles,
     .sample = "lean",
     .cow_host = true},
    {.id = "cycle-guest-cow",
     .base = "zero-scratch",
     .unit = "us",
     .text = "call and vm_restore of a guest that copies each page itself in a page fault, 64 MB scratch; "
             "i686 by a few instructions, amd64 with a C runtime",
     .take = take_cycles,
     .sample = "dirty",
     .lean_i686 = true},
    {.id = "create",
     .base = "create-naive",
     .unit = "us",
     .text = "vm_open, for one run, to the first exit of the guest, in a burst",
     .take = take_create},
    {.id = "create-isolated",
     .base = "create-naive-isolated",
     .unit = "us",
     .text = "vm_open, for one run, to the first exit of the guest, after a pause",
     .take = take_create,
     .isolated = true},
    {.id = "clone",
     .base = "clone-new-vm",
     .unit = "us",
     .text = "vm_open, for one run, of a 64 MB snapshot to the end of its first call, in a burst",
     .take = take_create,
     .argument = 0,
     .restores = true},
    {.id = "clone-pooled",
     .base = "clone-new-vm",
     .unit = "us",
     .text =
         "pooled clone of a snapshot: vm_switch of one machine to another file of 64 MB, to the end of its "
         "first call, 1 page written, in a burst",
     .take = take_pooled,
     .sample = "lean"},
    {.id = "capture-64m",
     .base = "memcpy-64m",
     .unit = "us",
     .text = "the first capture_make of a guest of 64 MB whose init has ended: in place, or packed if it is "
             "paged",
     .take = take_capture},
    {.id = "capture-64m-full",
     .base = "memcpy-64m",
     .unit = "us",
     .text = "the same of one that has written to all of its pages",
     .take = take_capture,
     .argument = DATA_LEN / 4096,
     .has_argument = true},
    {.id = "capture-64m-again",
     .base = "memcpy-64m",
     .unit = "us",
     .text =
         "another capture_make of such a guest, which wrote to 100 pages since the first; /proc tells which",
     .take = take_capture,
     .argument = DATA_LEN / 4096,
     .has_argument = true,
     .again = true},
    {.id = "machine",
     .base = "-",
     .unit = "us",
     .text = "machine_open and machine_close, no interrupt controllers",
     .take = take_machine},
    {.id = "machine-irqchip",
     .base = "machine",
     .unit = "us",
     .text = "the same with in-kernel controllers and PIT, as bare kernels that need them have",
     .take = take_machine,
     .irqchip = true},
};

#define ROWS_N (sizeof(rows) / sizeof(rows[0]))

static int spawn(const struct options_of *o, const struct row *row, const char *kind, unsigned round)
{
    char numbers[4][24];
    const char *const words[] = {o->self,    "--one",     row->id,    "--kind",  kind,       "--first",
                                 numbers[0], "--calls",   numbers[1], "--ms",    numbers[2], "--pages",
                                 numbers[3], "--samples", o->samples, "--plant", o->plant};
    int status = 0;

    snprintf(numbers[0], sizeof(numbers[0]), "%u", round);
    snprintf(numbers[1], sizeof(numbers[1]), "%lu", o->calls);
    snprintf(numbers[2], sizeof(numbers[2]), "%lu", o->ms);
    snprintf(numbers[3], sizeof(numbers[3]), "%u", o->pages);
    if (row->isolated)
        usleep((useconds_t)(o->gap * 1000));
    for (unsigned i = 0; i == 0 || i < row->least_of; i++)
        status |= spawn_and_wait(words, sizeof(words) / sizeof(words[0]));
    return status != 0;
}

/* Paged guests do not write in place, and identity guests nowhere else. */
static bool has_row(const struct row *row, const char *kind)
{
    bool identity = strcmp(kind, "i686-identity") == 0;

    return identity ? strncmp(row->id, "cycle-", 6) != 0
                    : strcmp(row->id, "cycle") != 0 && strncmp(row->id, "capture-64m-", 12) != 0;
}

static int take_all(const struct options_of *o, const char *kind)
{
    const char *wrong = "";
    struct err e = {.text = ""};
    int kvm_fd = -1, status = 0;

    if (kvm_open(&kvm_fd, &e) != 0)
        wrong = e.text;
    else if (strcmp(kind, "i686") == 0 && probe_paging32(kvm_fd, &e) <= 0)
        wrong = "this KVM does not do 32-bit paging";
    for (unsigned round = o->first; round < o->first + o->rounds; round++) {
        for (unsigned i = 0; i < ROWS_N; i++) {
            if (o->only[0] != '\0' && strcmp(o->only, rows[i].id) != 0)
                continue;
            if (wrong[0] == '\0' && has_row(&rows[i], kind))
                status |= spawn(o, &rows[i], kind, round);
            else if (round == o->first)
                rows_skip(rows[i].id, kind, wrong[0] != '\0' ? wrong : "not for this memory model");
        }
    }
    close(kvm_fd);
    return status;
}

static int take_one(const struct options_of *o, const char *id)
{
    struct err e = {.text = ""};

    for (unsigned i = 0; i < ROWS_N; i++) {
        if (strcmp(rows[i].id, id) != 0)
            continue;
        if (rows[i].take(o, &rows[i], &e) == 0)
            return 0;
        for (char *p = e.text; *p != '\0'; p++)
            if (*p == '\n' || *p == '\t')
                *p = ' ';
        rows_fail(id, o->kind, e.text);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct options_of o = {
        .self = argv[0],
        .only = rows_word(argc, argv, "--only", ""),
        .kind = rows_word(argc, argv, "--kind", ""),
        .plant = rows_word(argc, argv, "--plant", ""),
        .samples = rows_word(argc, argv, "--samples", "build/i686-counter/samples"),
        .rounds = (unsigned)rows_number(argc, argv, "--rounds", 1),
        .first = (unsigned)rows_number(argc, argv, "--first", 0),
        .pages = (unsigned)rows_number(argc, argv, "--pages", 0),
        .calls = rows_number(argc, argv, "--calls", 200),
        .ms = rows_number(argc, argv, "--ms", 20),
        .gap = rows_number(argc, argv, "--gap", 100),
        .rows = rows_number(argc, argv, "--rows", 1) != 0,
    };
    const char *one = rows_word(argc, argv, "--one", NULL);
    const struct guest_kind *k;
    int status = 0;

    if (one != NULL)
        return take_one(&o, one);
    for (unsigned i = 0; i < ROWS_N && o.rows; i++)
        rows_row(rows[i].id, rows[i].base, rows[i].unit, rows[i].text);
    for (unsigned i = 0; (k = guest_kind_at(i)) != NULL; i++)
        if (o.kind[0] == '\0' || strcmp(o.kind, k->name) == 0)
            status |= take_all(&o, k->name);
    return status;
}
