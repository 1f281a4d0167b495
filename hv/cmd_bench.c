/*
 * vmm bench: what this host's KVM takes by itself, and what vmm takes, beside
 * each other and in turn. The guest has a heap of 8 MB and a few dozen
 * instructions. tests/bench has more rows, and the methods of others.
 */
#include <string.h>

#include "boot/x86.h"
#include "hv/cmd.h"
#include "hv/host.h"
#include "hv/kvm_bound.h"
#include "hv/probe.h"
#include "hv/session.h"
#include "mem/guest_abi.h"

#define HEAP_LEN   (8u << 20)
#define NAIVE_LEN  (512u << 10)
#define ROWS_N     5
#define ROUNDS_MAX 25
#define CALLS_N    32 /* between two looks at the clock */
#define STEPS_MIN  2
#define SAMPLE_NS  2000000u /* of one row and side */
#define ROUNDS_NS  1200000000u
#define LIMIT_NS   5000000000u /* of what runs once */

/* Offsets in the image, and of the code in it. */
#define DISPATCH (PROBE_CODE + 0x0d)
#define WRITE    (PROBE_CODE + 0x46)
#define LEAVE    (PROBE_CODE + 0x5e)
#define ANSWER   (PROBE_CODE + 0x62)
#define ANSWER_N 18 /* times 4 bytes */

/*
 * The same bytes in 32 and in 64 bits: what is a prefix for 64 there counts eax
 * down here. The PEB is the page behind the image. Every function writes one
 * word to each of as many pages as its argument says, spread over the heap.
 */
/* clang-format off */
static const uint8_t code[] = {
    0x48, 0x83, 0xe4, 0xf0,                              /* init: and rsp, -16 */
    0x48, 0x8d, 0x87, DISPATCH & 0xff, 0xf1, 0xff, 0xff, /* lea rax, [rdi + DISPATCH - 0x1000] */
    0xe6, PORT_HALT,                                     /* out PORT_HALT, al */
    0x75, 0x06,                                          /* dispatch: jnz 1f */
    0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8,                  /* mov rax, cr3; mov cr3, rax */
    0xe8, 0x00, 0x00, 0x00, 0x00,                        /* 1: call 2f */
    0x5e,                                                /* 2: pop rsi */
    0x48, 0x8d, 0xb6, 0xe6, 0x0e, 0x00, 0x00,            /* lea rsi, [rsi + 0x1000 - 2b], the PEB */
    0x48, 0x8b, 0x7e, PEB_INPUT_PTR,                     /* mov rdi, [rsi + PEB_INPUT_PTR] */
    0x8b, 0x07,                                          /* mov eax, [rdi] */
    0x8b, 0x4c, 0x07, 0xf4,                              /* mov ecx, [rdi + rax - 12], the argument */
    0xc7, 0x07, IO_STACK_EMPTY, 0x00, 0x00, 0x00,        /* mov dword [rdi], IO_STACK_EMPTY */
    0x48, 0x8b, 0x7e, PEB_HEAP_PTR,                      /* mov rdi, [rsi + PEB_HEAP_PTR] */
    0x8b, 0x46, PEB_HEAP_SIZE,                           /* mov eax, [rsi + PEB_HEAP_SIZE] */
    0xe3, 0x11,                                          /* jrcxz 3f */
    0x31, 0xd2, 0xf7, 0xf1,                              /* xor edx, edx; div ecx */
    0x25, 0x00, 0xf0, 0xff, 0xff,                        /* and eax, -4096 */
    0x89, 0xc2,                                          /* mov edx, eax */
    0x89, 0x0f, 0x01, 0xd7, 0xe2, 0xfa,                  /* WRITE: mov [rdi], ecx; add edi, edx; loop WRITE */
    0x48, 0x8b, 0x7e, PEB_OUTPUT_PTR,                    /* 3: mov rdi, [rsi + PEB_OUTPUT_PTR] */
    0x48, 0x8d, 0xb6, ANSWER & 0xff, 0xf1, 0xff, 0xff,   /* lea rsi, [rsi + ANSWER - 0x1000] */
    0xb9, ANSWER_N, 0x00, 0x00, 0x00, 0xf3, 0xa5,        /* mov ecx, ANSWER_N; rep movsd */
    0xe6, PORT_HALT, 0xeb, 0xfc,                         /* LEAVE: out PORT_HALT, al; jmp LEAVE */
    /* ANSWER: the output stack with one message, a result of type void */
    4 * ANSWER_N, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x34, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x08, 0x00, 0x0c, 0x00, 0x04, 0x00, 0x08, 0x00,
    0x08, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x08, 0x00, 0x0c, 0x00,
    0x04, 0x00, 0x08, 0x00, 0x08, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
    0x04, 0x00, 0x04, 0x00, 0x04, 0x00, 0x00, 0x00,
    IO_STACK_EMPTY, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
/* clang-format on */

_Static_assert(sizeof(code) == ANSWER - PROBE_CODE + 4 * ANSWER_N && (ANSWER >> 8) == 1 &&
                   (DISPATCH >> 8) == 1,
               "the code goes where it says");

enum { KVM, VMM, RATIO, SIDES = RATIO, COLUMNS };

/* How far apart they lie, as the guest works it out. */
#define PAGES(n) (n), HEAP_LEN / (n) / PAGE_LEN *PAGE_LEN

static const struct row {
    const char *what;
    uint32_t pages, distance; /* that a call writes to */
    unsigned times;           /* that it is made in one step */
    bool makes;               /* a machine, and no call */
} rows[ROWS_N] = {
    {"null call", 0, 0, CALLS_N, false},      {"call and reset", PAGES(1), 1, false},
    {"call and reset", PAGES(100), 1, false}, {"call and reset", PAGES(1000), 1, false},
    {"new machine", 0, 0, 1, true},
};

struct bench {
    const struct row *row;
    struct vm *vm; /* of this row */
    struct msg_call call;
    struct snapshot snap;
    struct session session; /* its own VM is for init alone */
    struct outcome out;
    /* One for each row: a page that was written is copied by every reset that follows. The last is made anew. */
    struct vm vms[ROWS_N];
    uint32_t figures[ROWS_N][COLUMNS][ROUNDS_MAX]; /* in hundredths */
};

/* --- one step of each side --------------------------------------------------------------------------- */

/* Copy the pages that a call wrote to from the snapshot, or say whether they are as in there. */
static bool put_back(const struct bench *b, bool copy)
{
    uint64_t at = b->snap.plan.heap_off;
    uint32_t i;

    for (i = 0; i < b->row->pages; i++, at += b->row->distance) {
        uint8_t *to = b->vm->copy.base + at;
        const uint8_t *from = b->snap.memory.base + at;

        if (copy)
            region_put_page(to, from);
        else if (memcmp(to, from, PAGE_LEN) != 0)
            return false;
    }
    return true;
}

/* All that the guest is given are registers: it writes to the pages and leaves, or leaves again and again. */
static int run_alone(struct bench *b, struct err *e)
{
    struct machine *m = &b->vm->machine;
    uint64_t base = b->snap.plan.base.v;
    const struct cpu_regs r = {.rip = base + (b->row->pages != 0 ? WRITE : LEAVE),
                               .rcx = b->row->pages,
                               .rdx = b->row->distance,
                               .rdi = base + b->snap.plan.heap_off,
                               .rsi = b->snap.peb.v,
                               .rflags = RFLAGS_FIXED};
    unsigned i;

    if (machine_set_regs(m, &r, e) != 0)
        return -1;
    for (i = 0; i < b->row->times; i++)
        machine_run_bare(m);
    put_back(b, true);
    return 0;
}

static int run_vmm(struct bench *b, struct err *e)
{
    struct msg_result result;
    unsigned i;

    b->call.params[0].bits = b->row->pages;
    for (i = 0; i < b->row->times; i++)
        if (call_guest(&b->session.env, &b->call, &result, &b->out, e) != 0 || b->out.reason != REASON_ENDED)
            return -1;
    return b->row->pages != 0 ? vm_restore(b->vm, e) : 0;
}

/* The order of a first VMM, and no register set: where a reset leaves the CPU it finds its exit. */
static int make_alone(struct bench *b, struct err *e)
{
    static const struct machine_options opt = {.phys_bits = 32, .plain_cpu = true, .real_mode = true};
    struct machine *m = &b->vm->machine;
    struct region *mem = &b->vm->scratch;
    struct exit first;

    if (machine_open(m, b->session.kvm_fd, &opt, e) != 0 || region_map(mem, NAIVE_LEN, e) != 0)
        return -1;
    memcpy(mem->base + NAIVE_LEN - PAGE_LEN + RESET_RIP % PAGE_LEN, code + (LEAVE - PROBE_CODE),
           ANSWER - LEAVE);
    if (machine_set_slot(m, 0, gpa_make(((uint64_t)1 << 32) - NAIVE_LEN), NAIVE_LEN, mem->base, false, e) !=
            0 ||
        machine_add_cpu(m, b->session.kvm_fd, &opt, e) != 0)
        return -1;
    /* The tick of the run before may come now. */
    do
        if (machine_run(m, &first, e) != 0)
            return -1;
    while (first.kind == EXIT_INTERRUPTED);
    return first.kind == EXIT_OUT ? 0
                                  : err_set(e, STATUS_HOST, "bench: KVM does not run the guest by itself");
}

/* The VM of this row. */
static int open_vm(struct bench *b, bool cow_host, struct err *e)
{
    const struct vm_options vo = {.warm = true, .cow_host = cow_host};

    return vm_open(b->vm, b->session.kvm_fd, &b->snap, &vo, e) != 0 ? -1 : vm_restore(b->vm, e);
}

static int make_vmm(struct bench *b, struct err *e)
{
    return open_vm(b, false, e) != 0 || run_init(&b->session.env, &b->out, e) != 0 ||
                   b->out.reason != REASON_ENDED
               ? -1
               : 0;
}

/* --- all of them in turn ------------------------------------------------------------------------------ */

/* Steps for a while: of the quickest, what one took. */
static int take_sample(struct bench *b, int (*step)(struct bench *b, struct err *e), uint32_t *figure,
                       struct err *e)
{
    uint64_t spent = 0, least = UINT64_MAX;
    unsigned i;

    for (i = 0; i < STEPS_MIN || spent < SAMPLE_NS; i++) {
        uint64_t took = host_monotonic();

        if (step(b, e) != 0)
            return -1;
        took = host_monotonic() - took;
        spent += took;
        if (took < least)
            least = took;
        if (b->row->makes) {
            stop_watch(&b->session.stop, NULL);
            vm_close(b->vm);
        }
    }
    *figure = (uint32_t)(least / 10) / b->row->times;
    return put_back(b, false) ? 0 : err_set(e, STATUS_HOST, "bench: a page is not as in the snapshot");
}

static int measure_row(struct bench *b, uint32_t *to, struct err *e)
{
    static int (*const steps[2][SIDES])(struct bench * b, struct err * e) = {{run_alone, run_vmm},
                                                                             {make_alone, make_vmm}};
    unsigned side;

    for (side = 0; side < SIDES; side++)
        if (take_sample(b, steps[b->row->makes][side], to + side * ROUNDS_MAX, e) != 0)
            return -1;
    to[RATIO * ROUNDS_MAX] = (uint32_t)((uint64_t)to[VMM * ROUNDS_MAX] * 100 / to[KVM * ROUNDS_MAX]);
    return 0;
}

/* Rounds, as many as there is time for, and one before that opens VMs and does not count; how many, or -1. */
static int measure(struct bench *b, struct err *e)
{
    uint64_t begun = host_monotonic();
    int n;
    unsigned i;

    for (n = -1; n < ROUNDS_MAX && (n < 1 || host_monotonic() - begun < ROUNDS_NS); n++) {
        for (i = 0; i < ROWS_N; i++) {
            b->row = &rows[i];
            b->session.env.vm = b->vm = &b->vms[i];
            if ((n < 0 && !b->row->makes && open_vm(b, true, e) != 0) ||
                measure_row(b, &b->figures[i][0][n < 0 ? 0 : n], e) != 0)
                return -1;
        }
    }
    return n;
}

/* Its init writes nothing: what it started from is a snapshot of it as it is. */
static int start(struct bench *b, struct err *e)
{
    struct snapshot *s = &b->snap;

    if (session_start(&b->session, &b->out, e) != 0 || b->out.reason != REASON_ENDED)
        return -1;
    b->session.env.limit_ns = 0;
    s->dispatch = b->session.vm.dispatch;
    s->call_sp = b->session.vm.call_sp;
    s->takes_calls = true;
    s->generation = 1;
    return 0;
}

/* How many rounds were measured; -1 for a failure. */
static int measure_kind(struct bench *b, const struct guest_kind *k, const struct options *o, struct err *e)
{
    int n = -1;
    unsigned i;

    if (probe_build(k, code, sizeof(code), HEAP_LEN, &b->snap, e) != 0)
        return -1;
    b->snap.promises = PROMISES_ALL;
    if (session_open(&b->session, o, &b->snap, true, e) == 0) {
        b->out.reason = REASON_ENDED;
        b->call.params_n = 1;
        b->call.params[0].type = MSG_UINT;
        for (i = 0; i < ROWS_N; i++)
            b->vms[i] = VM_CLOSED;
        if (start(b, e) == 0)
            n = measure(b, e);
        /* A guest that did not end well was no failure of the host. */
        if (b->out.reason != REASON_ENDED)
            *e = b->out.why;
        stop_watch(&b->session.stop, NULL);
        for (i = 0; i < ROWS_N; i++)
            vm_close(&b->vms[i]);
        session_close(&b->session);
    }
    snapshot_free(&b->snap);
    return n;
}

/* --- what came of it ---------------------------------------------------------------------------------- */

static void sort(uint32_t *v, int n)
{
    int i, j;

    for (i = 1; i < n; i++) {
        uint32_t x = v[i];

        for (j = i; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

static void show(struct bench *b, const char *kind, int n, bool json, struct text *out)
{
    static const char names[][7] = {"kvm_us", "vmm_us", "ratio", "least", "most"};
    unsigned row, i;

    text_add(out,
             json ? "{\"version\":1,\"kind\":\"%s\",\"rounds\":%d,\"rows\":["
                  : "%s guest, %d rounds     pages   KVM us   vmm us    ratio    least     most",
             kind, n);
    for (row = 0; row < ROWS_N; row++) {
        uint32_t(*f)[ROUNDS_MAX] = b->figures[row];

        text_add(out, json ? "%s{\"what\":\"%s\",\"pages\":%u" : "\n%.0s%-26s%5u", row != 0 ? "}," : "",
                 rows[row].what, rows[row].pages);
        for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            uint32_t v;

            if (i < COLUMNS)
                sort(f[i], n);
            v = i < COLUMNS ? f[i][n / 2] : f[RATIO][i == COLUMNS ? 0 : n - 1];
            text_add(out, json ? ",\"%s\":%u.%02u" : "%.0s%6u.%02u", names[i], v / 100, v % 100);
        }
    }
    text_add(out, json ? "}]}\n" : "\n");
}

int cmd_bench(struct options *o, struct text *out, struct err *e)
{
    struct bench b = {.vm = NULL};
    unsigned i;
    int n;

    o->cow_host = true;
    o->timeout_ns = LIMIT_NS;
    e->status = STATUS_UNSUPPORTED;
    /* i686 where it is, and can be run: it is paged, and comes after amd64. */
    for (i = 2; i-- > 0 && e->status == STATUS_UNSUPPORTED;) {
        const struct guest_kind *k = guest_kind_at(i);

        n = k != NULL ? measure_kind(&b, k, o, e) : 0;
        if (n > 0) {
            show(&b, k->name, n, o->json, out);
            return 0;
        }
    }
    return -1;
}
