/*
 * Bare guests made of random code, in ring 0, on machines that are used again
 * and again: whatever they do to the CPU, the chips and the ports, they end in
 * time, the next restore succeeds, and a sane guest runs as if nothing had been.
 *
 * RUNS guests with fixed seeds, times TEST_SCALE. Two arguments choose others,
 * the first and how many, and each is named before it runs.
 */
#include "tests/kvm/bare_guest.h"
#include "tests/kvm/seam.h"

#include "hv/host.h"
#include "mem/bytes.h"

#define RUNS      2000
#define SANE_EACH 50 /* runs between two of the sane guest */
#define MS        ((uint64_t)1000000)
#define LIMIT     (5 * MS)
#define LATE      (1000 * MS)

#define IDT       0x1000u
#define CODE_LEN  2048u

/* Says "ok" and powers off; the same bytes do in 16-bit code, which they are when `operand` is left out. */
static const uint8_t sane32[] = {0xb0, 'o',  0xe6, 0xe9, 0xb0, 'k',  0xe6, 0xe9, 0x66,
                                 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef};
static const uint8_t sane16[] = {0xb0, 'o',  0xe6, 0xe9, 0xb0, 'k',  0xe6, 0xe9,
                                 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef};

/* At these the lab's QEMU gives up ("qemu: fatal: invalid tss type"), and the lab with it. */
static const unsigned lab_ends[] = {29736, 34728, 30409, 32473, 38800, 43384,
                                    51738, 53652, 71139, 76347, 95697};

static struct bare_guest g;

static unsigned runs_from, runs_n = RUNS;
static bool named;

static uint32_t pick(uint64_t *seed, uint32_t n)
{
    return (uint32_t)(tap_random(seed) % n);
}

/* Instructions that reach further than arithmetic does; a 0 ends one, and 0xfe stands for a random byte. */
static const uint8_t templates[][12] = {
    {0xe4, 0xfe},                                                       /* in $n, %al */
    {0xe6, 0xfe},                                                       /* out %al, $n */
    {0xe5, 0xfe},                                                       /* in $n, %eax */
    {0xe7, 0xfe},                                                       /* out %eax, $n */
    {0xec},                                                             /* in %dx, %al */
    {0xee},                                                             /* out %al, %dx */
    {0xf3, 0x6e},                                                       /* rep outsb */
    {0xf3, 0x6c},                                                       /* rep insb */
    {0xf3, 0xa4},                                                       /* rep movsb */
    {0xf4},                                                             /* hlt */
    {0xfb},                                                             /* sti */
    {0xfa},                                                             /* cli */
    {0xfb, 0xf4},                                                       /* sti; hlt */
    {0x0f, 0x30},                                                       /* wrmsr */
    {0x0f, 0x32},                                                       /* rdmsr */
    {0xb9, 0xfe, 0xfe, 0x01, 0x01, 0x0f, 0x30},                         /* mov $n, %ecx; wrmsr */
    {0x0f, 0x22, 0xc0},                                                 /* mov %eax, %cr0 */
    {0x0f, 0x22, 0xd8},                                                 /* mov %eax, %cr3 */
    {0x0f, 0x22, 0xe0},                                                 /* mov %eax, %cr4 */
    {0x0f, 0x20, 0xc0, 0x0d, 0x01, 0x01, 0x01, 0x80, 0x0f, 0x22, 0xc0}, /* cr0 |= PG and more */
    {0x0f, 0x01, 0xfe},                               /* lgdt, lidt, lmsw, invlpg, vmcall, xsetbv, ... */
    {0x0f, 0xc7, 0xfe},                               /* cmpxchg8b, vmptrld, rdrand, ... */
    {0x0f, 0xae, 0xfe},                               /* fxsave, ldmxcsr, xrstor, clflush, ... */
    {0x0f, 0xa2},                                     /* cpuid */
    {0xcd, 0xfe},                                     /* int $n */
    {0xcf},                                           /* iret */
    {0x8e, 0xfe},                                     /* mov to a segment register */
    {0xea, 0xfe, 0xfe, 0x10, 0x01, 0x08, 0x01},       /* a far jump */
    {0xa3, 0xfe, 0xfe, 0xe0, 0xfe},                   /* write where the APIC may be */
    {0xa1, 0xfe, 0xfe, 0xc0, 0xfe},                   /* read where the IOAPIC may be */
    {0x66, 0xba, 0xfe, 0x04},                         /* mov $n, %dx */
    {0x66, 0xba, 0xf8, 0x03},                         /* the serial line's */
    {0x0f, 0x09},                                     /* wbinvd */
    {0xd9, 0xfe},                                     /* x87 */
    {0x0f, 0x58, 0xfe},                               /* SSE */
    {0xf0, 0x0f, 0xc1, 0x05, 0xfe, 0xfe, 0x10, 0x01}, /* lock xadd */
};

#define TEMPLATES_N (sizeof(templates) / sizeof(templates[0]))

/*
 * No writes to debug registers: QEMU's own processor, on which the lab runs,
 * dies of a breakpoint that a guest of its guest has set.
 */
static void scrub(uint8_t *at)
{
    unsigned i;

    for (i = 0; i + 1 < CODE_LEN; i++)
        if (at[i] == 0x0f && at[i + 1] == 0x23)
            at[i] = 0x90;
}

static void write_code(uint8_t *at, uint64_t *seed)
{
    unsigned n = 0, wild = pick(seed, 4);

    while (n < CODE_LEN) {
        const uint8_t *t = templates[pick(seed, TEMPLATES_N)];
        unsigned i;

        if (pick(seed, 4) <= wild) {
            at[n++] = (uint8_t)tap_random(seed);
            continue;
        }
        for (i = 0; i < sizeof(templates[0]) && n < CODE_LEN && (i == 0 || t[i] != 0); i++)
            at[n++] = t[i] == 0xfe ? (uint8_t)tap_random(seed) : t[i];
    }
}

/* Gates to random places of the code, so that not every exception is the end. */
static void write_idt(uint8_t *ram, uint64_t *seed)
{
    unsigned i;

    for (i = 0; i < 256; i++) {
        uint32_t to = BARE_CODE + pick(seed, CODE_LEN);

        store_le64(ram + IDT + 8 * (size_t)i, (uint64_t)(to & 0xffff0000u) << 32 | 0x8e00ull << 32 |
                                                  GDT_CODE_SELECTOR << 16 | (to & 0xffffu));
    }
    gdt_write32(ram + IDT - 64);
}

/* Memory that is written past the devices: a restore has to know. */
static uint8_t *ram_rw(struct bare *b, uint64_t at, uint64_t len)
{
    if (b->track.machine != NULL)
        touched_add(&b->track.area[0].touched, at, len);
    return b->ram.base + at;
}

static bool set_random(struct bare *b, bool real_mode, uint64_t *seed)
{
    uint8_t *code = ram_rw(b, real_mode ? BARE_REAL : BARE_CODE, CODE_LEN);
    struct cpu_sregs s = g.state.start.sregs;
    struct cpu_regs r = g.state.start.regs;
    struct err e;

    write_code(code, seed);
    scrub(code);
    r.rax = (uint32_t)tap_random(seed);
    r.rbx = pick(seed, 2) ? pick(seed, (uint32_t)BARE_LEN) : (uint32_t)tap_random(seed);
    r.rcx = pick(seed, 0x2000);
    r.rdx = pick(seed, 0x500);
    r.rsi = pick(seed, (uint32_t)BARE_LEN);
    r.rdi = pick(seed, (uint32_t)BARE_LEN);
    if (!real_mode) {
        ram_rw(b, IDT - PAGE_LEN, 2 * PAGE_LEN);
        write_idt(b->ram.base, seed);
        s.idt = (struct cpu_table){.base = IDT, .limit = 256 * 8 - 1};
        s.gdt = (struct cpu_table){.base = IDT - 64, .limit = GDT32_LEN - 1};
    }
    s.apic_base = g.state.start.irqchip ? 0xfee00900u : 0;
    if (machine_set_sregs(&b->machine, &s, &e) == 0 && machine_set_regs(&b->machine, &r, &e) == 0)
        return true;
    printf("# %s\n", e.text);
    return CHECK(false);
}

static bool is_sane(unsigned i)
{
    struct outcome o = bare_guest_run(&g, 10000 * MS);

    if (CHECK(o.reason == REASON_ENDED && o.status == 0) &&
        CHECK(g.said.len == 2 && memcmp(g.said.s, "ok", 2) == 0))
        return true;
    printf("# before run %u: reason %d, %s\n", i, (int)o.reason, o.why.text);
    return false;
}

/* *took: how long it ran. */
static bool run_once(unsigned i, bool real_mode, unsigned *ends, uint64_t *took)
{
    uint64_t seed = i, start;
    struct outcome o = bare_outcome(&g.bare);
    struct err e = {.text = ""};
    int result;

    text_free(&g.said);
    g.said = TEXT_EMPTY;
    if (!CHECK(bare_restore(&g.bare, &e) == 0)) {
        printf("# run %u: %s\n", i, e.text);
        return false;
    }
    if (!set_random(&g.bare, real_mode, &seed))
        return false;
    if (named) {
        printf("# %u\n", i);
        fflush(stdout);
    }
    start = host_monotonic();
    result = bare_run(&g.bare, LIMIT, &o, &e);
    *took = host_monotonic() - start;
    if (!CHECK(result == 0)) {
        printf("# run %u: %s\n", i, e.text);
        return false;
    }
    ends[o.reason]++;
    return true;
}

/* A guest that holds vmm up does so each time; a host that has other things to do does not. */
static void run_random(unsigned i, bool real_mode, unsigned *ends)
{
    uint64_t took = LIMIT + LATE;
    unsigned tries;

    for (tries = 0; tries < 3 && took >= LIMIT + LATE; tries++) {
        if (!run_once(i, real_mode, ends, &took))
            return;
        if (took >= LIMIT + LATE)
            printf("# run %u took %" PRIu64 " ms\n", i, took / MS);
    }
    CHECK(took < LIMIT + LATE);
}

static bool ends_lab(unsigned run)
{
    unsigned i;

    for (i = 0; i < sizeof(lab_ends) / sizeof(lab_ends[0]); i++)
        if (lab_ends[i] == run)
            return access("/sys/module", F_OK) != 0;
    return false;
}

/* c->n: 0 without interrupt controllers, 1 with them, 2 in real mode. */
static void random_guests(int kvm_fd, const struct kvm_case *c)
{
    unsigned ends[REASON_ERROR + 1] = {0};
    bool real_mode = c->n == 2;
    unsigned i;
    struct err e = {.text = ""};

    (void)kvm_fd;
    g.state = real_mode ? bare_make_state(sane16, sizeof(sane16), true, false)
                        : bare_make_state(sane32, sizeof(sane32), false, c->n == 1);
    if (!CHECK(bare_guest_open(&g, false, true, &e))) {
        printf("# %s\n", e.text);
        return;
    }
    /* A third of the guests each. */
    for (i = runs_from + (unsigned)c->n; i < runs_from + runs_n && tap_ok; i += 3) {
        if (i / 3 % SANE_EACH == 0 && !is_sane(i))
            break;
        if (!ends_lab(i))
            run_random(i, real_mode, ends);
    }
    if (tap_ok)
        is_sane(i);
    printf("# %u ended, %u reset, %u faulted, %u unsupported, %u out of time\n", ends[REASON_ENDED],
           ends[REASON_RESET], ends[REASON_FAULTED], ends[REASON_UNSUPPORTED], ends[REASON_TIMEOUT]);
    /* Enough of them did something, and went on doing it. */
    if (runs_n >= RUNS)
        CHECK(ends[REASON_ENDED] + ends[REASON_FAULTED] + ends[REASON_UNSUPPORTED] > runs_n / 100 &&
              ends[REASON_TIMEOUT] > runs_n / 100);
    bare_guest_close(&g);
}

static const struct kvm_case cases[] = {
    {"random code without interrupt controllers does no harm", .run = random_guests, .n = 0},
    {"random code with interrupt controllers does no harm", .run = random_guests, .n = 1},
    {"random code that starts in real mode does no harm", .run = random_guests, .n = 2},
};

int main(int argc, char **argv)
{
    const char *scale = getenv("TEST_SCALE");

    if (scale != NULL)
        runs_n *= (unsigned)strtoul(scale, NULL, 10);
    if (argc == 3) {
        runs_from = (unsigned)strtoul(argv[1], NULL, 10);
        runs_n = (unsigned)strtoul(argv[2], NULL, 10);
        named = true;
    }
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
