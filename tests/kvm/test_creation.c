/*
 * How machines are made: a guest that promises to end by OUT 108 gets a local
 * APIC in the kernel that it cannot find, and sleeps nowhere even when it
 * breaks its word. Addresses, MSRs and instructions are literal.
 */
#include "tests/kvm/guests.h"
#include "tests/kvm/seam.h"

#include <sys/ioctl.h>

/* A limit ends a guest that sleeps as well, and must not be what does. */
#define LIMIT_NS ((uint64_t)30 * 1000000000u)
#define SOON_NS  (LIMIT_NS / 3)

/* A program for a guest without paging, to be followed by the end of its init. */
struct program {
    const char *what;
    uint8_t code[32];
    size_t len;
    enum reason reason;
    const char *says; /* it prints, or how its last exit is described, when it does not get to its end */
};

#define CODE(...) .code = {__VA_ARGS__}, .len = sizeof((uint8_t[]){__VA_ARGS__})

static const uint8_t end_by_out[] = {0x83, 0xe4, 0xf0,
                                     0xe6, 108,  0xf4}; /* and $-16, %esp; out %al, $108; hlt */
static const uint8_t end_by_hlt[] = {0x83, 0xe4, 0xf0, 0xf4, 0xeb, 0xfd}; /* and $-16, %esp; 1: hlt; jmp 1b */

static const char *last_exit(const struct outcome *out)
{
    static char text[EXIT_TEXT_MAX];

    exit_describe(&out->last_exit, out->addr_digits, text, sizeof(text));
    return text;
}

/* The promise, whether it is kept, and what of it. */
static bool make_guest(const char *kind, const uint8_t *code, size_t len, const uint8_t *end, size_t end_len,
                       unsigned promises, struct snapshot *snap)
{
    struct plan_sizes sizes = layout_default_sizes();
    const struct guest_kind *k = guest_kind_named(kind);

    sizes.image_len = 0x1000;
    if (!CHECK(k != NULL) || !guest_make_empty(k, k->rules, &sizes, snap))
        return false;
    memcpy(snap->memory.base, code, len);
    memcpy(snap->memory.base + len, end, end_len);
    snap->promises = promises;
    return true;
}

static bool has_apic(const struct vm *vm)
{
    static struct kvm_lapic_state state;

    return __real_ioctl(vm->machine.vcpu_fd, KVM_GET_LAPIC, &state) == 0;
}

/* Run init of the program with and without the promise. */
static void run_program(int kvm_fd, const struct program *p, unsigned promises, struct outcome *out,
                        char *text, size_t text_len)
{
    const struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;

    *out = (struct outcome){.reason = REASON_ERROR};
    if (!make_guest("i686-identity", p->code, p->len, end_by_out, sizeof(end_by_out), promises, &snap))
        return;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK_EQ(has_apic(&vm), vm.machine.hidden_apic);
        if (guest_check(vm_restore(&vm, &e), &e))
            guest_run(&vm, text, text_len, out);
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

static const struct program programs[] = {
    {"read of its ID", CODE(0xa1, 0x30, 0x00, 0xe0, 0xfe), REASON_FAULTED,
     "read of 4 bytes at physical 0xfee00030, where there is no memory"},
    {"write to it", CODE(0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00), REASON_FAULTED,
     "write of 4 bytes at physical 0xfee000f0, where there is no memory or it is read-only"},
    /* Where its registers would be if it obeyed a base of 0. */
    {"read of the null page", CODE(0xa1, 0x30, 0x00, 0x00, 0x00), REASON_FAULTED,
     "read of 4 bytes at physical 0x00000030, where there is no memory"},
    {"write to the null page", CODE(0xc7, 0x05, 0xf0, 0x00, 0x00, 0x00, 0xff, 0x01, 0x00, 0x00),
     REASON_FAULTED, "write of 4 bytes at physical 0x000000f0, where there is no memory or it is read-only"},
    /* cpuid(1); EDX bit 9 + '0' */
    {"CPUID's bit",
     CODE(0xb8, 1, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, 0xc1, 0xea, 9, 0x83, 0xe2, 1, 0x8d, 0x42, '0', 0xe7, 103),
     REASON_ENDED, "0"},
    /* rdmsr(0x802): x2APIC's ID */
    {"x2APIC", CODE(0xb9, 0x02, 0x08, 0, 0, 0x0f, 0x32), REASON_FAULTED, "triple fault"},
};

static void cannot_be_found(int kvm_fd, const struct kvm_case *c)
{
    unsigned i;

    (void)c;
    for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        const struct program *p = &programs[i];
        unsigned promises;

        for (promises = 0; promises <= PROMISES_ALL; promises++) {
            struct outcome out;
            char text[64] = "";
            bool same;

            run_program(kvm_fd, p, promises, &out, text, sizeof(text));
            same = CHECK_EQ(out.reason, p->reason);
            same &= CHECK_STR(p->reason == REASON_ENDED ? text : last_exit(&out), p->says);
            if (!same)
                printf("# %s, promises %u\n", p->what, promises);
        }
    }
}

/* wrmsr(0x1b, 0xfee00900): a CPU that says it has no local APIC has no such register. */
static void cannot_be_turned_on(int kvm_fd, const struct kvm_case *c)
{
    static const struct program on = {
        "", CODE(0xb9, 0x1b, 0, 0, 0, 0xb8, 0x00, 0x09, 0xe0, 0xfe, 0x31, 0xd2, 0x0f, 0x30), REASON_FAULTED,
        "triple fault"};
    /* KVM's own registers: async page faults, and the end of interrupts. */
    static const struct program pv = {
        "", CODE(0xb9, 0x04, 0x4d, 0x56, 0x4b, 0xb8, 0x01, 0x10, 0, 0, 0x31, 0xd2, 0x0f, 0x30),
        REASON_FAULTED, "triple fault"};
    struct outcome out;
    char text[64] = "";

    (void)c;
    run_program(kvm_fd, &on, PROMISE_OUT, &out, text, sizeof(text));
    CHECK_EQ(out.reason, REASON_FAULTED);
    CHECK_STR(last_exit(&out), on.says);
    run_program(kvm_fd, &pv, PROMISE_OUT, &out, text, sizeof(text));
    CHECK_EQ(out.reason, REASON_FAULTED);
    CHECK_STR(last_exit(&out), pv.says);
}

static void only_where_promised(int kvm_fd, const struct kvm_case *c)
{
    static const struct {
        unsigned promises;
        bool irqchip;
        uint64_t apic_base;
        bool hidden;
    } row[] = {
        {0, false, 0, false},
        {PROMISE_CPU, false, 0, false},
        {PROMISE_OUT, false, 0, true},
        {PROMISES_ALL, false, 0, true},
        {PROMISE_OUT, false, 0xfee00900, false},
        {PROMISE_OUT, true, 0, false},
    };
    struct err e = {.text = ""};
    unsigned i;

    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        const struct vm_options opt = {.irqchip = row[i].irqchip};
        struct snapshot snap;
        struct vm vm;

        if (!make_guest(c->kind, end_by_out, 0, end_by_out, sizeof(end_by_out), row[i].promises, &snap))
            return;
        snap.sregs.apic_base = row[i].apic_base;
        if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
            if (!CHECK_EQ(vm.machine.hidden_apic, row[i].hidden) ||
                !CHECK_EQ(has_apic(&vm), row[i].hidden || row[i].irqchip))
                printf("# row %u\n", i);
            vm_close(&vm);
        }
        snapshot_free(&snap);
    }
}

/* A snapshot region over the page of the APIC: seen by the guest, so there is none. */
static void not_over_memory(int kvm_fd, const struct kvm_case *c)
{
    struct plan_sizes sizes = layout_default_sizes();
    const struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;

    (void)c;
    sizes.image_len = 0x1000;
    sizes.heap_len = (uint64_t)4 << 30;
    sizes.scratch_len = 16 << 20;
    if (!guest_make_empty(guest_kind_named("amd64"), guest_kind_named("amd64")->rules, &sizes, &snap))
        return;
    snap.promises = PROMISES_ALL;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK(!vm.machine.hidden_apic && !has_apic(&vm));
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/* Init and two calls, each of which ends by HLT. */
static void ends_by_hlt(int kvm_fd, const struct kvm_case *c)
{
    static const uint8_t prints[] = {0xb0, 'h',  0xe6, 103, 0xb8,
                                     0x04, 0x10, 0,    0}; /* print h; mov $0x1004, %eax */
    const struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct console console;
    struct snapshot snap;
    struct outcome out;
    struct stop stop;
    struct vm vm;
    char text[64];
    unsigned i;

    (void)c;
    if (!make_guest("i686-identity", prints, sizeof(prints), end_by_hlt, sizeof(end_by_hlt), PROMISE_OUT,
                    &snap))
        return;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        const struct host_functions host = {.console = &console, .stop = &stop};
        const struct service service = {.host = &host, .log = &console};
        const struct run_env env = {
            .vm = &vm, .stop = &stop, .console = &console, .service = &service, .limit_ns = LIMIT_NS};

        CHECK(vm.machine.hidden_apic);
        if (guest_check(vm_restore(&vm, &e), &e) && guest_run(&vm, text, sizeof(text), &out)) {
            CHECK_EQ(out.reason, REASON_ENDED);
            CHECK_STR(last_exit(&out), "hlt");
            CHECK(out.ran_ns < SOON_NS);
            CHECK_STR(text, "h");
            CHECK(vm.ready);
        }
        if (guest_check(stop_open(&stop, &e), &e)) {
            console_init(&console, -1, &stop);
            for (i = 0; i < 2; i++) {
                run_outcome(&vm, &out);
                vm.dispatch = 0x1009; /* behind what prints */
                if (guest_check(vm_enter_call(&vm, &e), &e) &&
                    guest_check(run_until_halt(&env, &out, &e), &e)) {
                    CHECK_EQ(out.reason, REASON_ENDED);
                    CHECK_STR(last_exit(&out), "hlt");
                    CHECK(out.ran_ns < SOON_NS);
                    CHECK_EQ(out.exits_n, 1);
                }
            }
            stop_close(&stop);
        }
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/* --- registers -------------------------------------------------------------------------------------- */

/* RCX, as it is read and as KVM has it with all the others. */
static uint64_t rcx_of(struct machine *m)
{
    struct cpu_regs regs = {.rcx = 0};
    struct err e = {.text = ""};
    struct kvm_regs kvm;

    CHECK(guest_check(machine_get_regs(m, &regs, &e), &e));
    CHECK(__real_ioctl(m->vcpu_fd, KVM_GET_REGS, &kvm) == 0 && memcmp(&regs, &kvm, sizeof(kvm)) == 0);
    return regs.rcx;
}

/* Of a new machine, set, after a run, and set anew. */
static void reads_registers(int kvm_fd, const struct kvm_case *c)
{
    static const uint8_t loads_ecx[] = {0xb9, 0x78, 0x56, 0x34, 0x12}; /* mov $0x12345678, %ecx */
    const struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct exit x;
    struct vm vm;

    if (!make_guest(c->kind, loads_ecx, sizeof(loads_ecx), end_by_out, sizeof(end_by_out), PROMISE_OUT,
                    &snap))
        return;
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK_EQ(rcx_of(&vm.machine), 0);
        if (guest_check(vm_restore(&vm, &e), &e) && guest_check(vm_enter_init(&vm, 5, &e), &e)) {
            CHECK_EQ(rcx_of(&vm.machine), 5);
            CHECK(guest_check(machine_run(&vm.machine, &x, &e), &e) && x.kind == EXIT_OUT);
            CHECK_EQ(rcx_of(&vm.machine), 0x12345678);
            CHECK(guest_check(vm_enter_init(&vm, 4, &e), &e));
            CHECK_EQ(rcx_of(&vm.machine), 4);
        }
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/* --- CPUID ------------------------------------------------------------------------------------------ */

#define LEAVES_N  256
#define CPUID_LEN (sizeof(struct kvm_cpuid2) + LEAVES_N * sizeof(struct kvm_cpuid_entry2))

static uint32_t offered_space[CPUID_LEN / 4], supported_space[CPUID_LEN / 4];
static struct kvm_cpuid2 *const offered = (struct kvm_cpuid2 *)offered_space;
static struct kvm_cpuid2 *const supported = (struct kvm_cpuid2 *)supported_space;

static const struct kvm_cpuid_entry2 *find_leaf(uint32_t function)
{
    unsigned i;

    for (i = 0; i < supported->nent; i++)
        if (supported->entries[i].function == function && supported->entries[i].index == 0)
            return &supported->entries[i];
    return NULL;
}

/* Nothing that KVM does not support, nothing that is hidden from every guest, and the leaves that the ABI names. */
static void plain_cpu(int kvm_fd, const struct kvm_case *c)
{
    static const uint32_t wanted[] = {0, 1, 7, 0x80000000, 0x80000001, 0x80000008};
    const struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    unsigned i;

    if (!make_guest(c->kind, end_by_out, 0, end_by_out, sizeof(end_by_out), PROMISE_CPU, &snap))
        return;
    offered->nent = supported->nent = LEAVES_N;
    if (!CHECK(__real_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, supported) == 0))
        return;
    seam_fail(KVM_GET_SUPPORTED_CPUID, 0, 0);
    seam.copy_request = KVM_SET_CPUID2;
    seam.copy = offered;
    seam.copy_len = sizeof(*offered) + 6 * sizeof(offered->entries[0]);
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK_EQ(seam.calls_n, 0);
        CHECK_EQ(offered->nent, sizeof(wanted) / sizeof(wanted[0]));
        for (i = 0; i < offered->nent && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
            const struct kvm_cpuid_entry2 *o = &offered->entries[i], *s = find_leaf(wanted[i]);

            CHECK_EQ(o->function, wanted[i]);
            if (!CHECK(s != NULL))
                continue;
            if (o->function == 0)
                CHECK(o->ebx == s->ebx && o->ecx == s->ecx && o->edx == s->edx && o->eax <= s->eax);
            if (o->function == 1) {
                CHECK_EQ(o->eax, s->eax);
                CHECK_EQ(o->ebx, 0x00010800);
                CHECK_EQ(o->edx & (1u << 9 | 1u << 28), 0);
                CHECK_EQ(o->ecx & (1u << 5 | 1u << 21), 0);
            }
            if (o->function == 1 || o->function == 7 || o->function == 0x80000001)
                if (!CHECK_EQ(o->ecx & ~s->ecx, 0) || !CHECK_EQ(o->edx & ~s->edx, 0))
                    printf("# leaf 0x%x\n", o->function);
            if (o->function == 0x80000008)
                CHECK_EQ(o->eax & 0xff, strcmp(c->kind, "amd64") == 0 ? 36 : 32);
        }
        vm_close(&vm);
    }
    snapshot_free(&snap);
}

/* --- where it cannot be hidden -------------------------------------------------------------------------- */

/* KVM says that there is a page: the machine is made again, now and from now on without. */
static void page_of_kvm(int kvm_fd, const struct kvm_case *c)
{
    const struct vm_options opt = {.irqchip = false};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct vm vm;
    unsigned fds, i;

    (void)c;
    if (!make_guest("i686-identity", end_by_out, 0, end_by_out, sizeof(end_by_out), PROMISE_OUT, &snap))
        return;
    fds = seam_count_fds();
    for (i = 0; i < 2; i++) {
        seam_reset();
        seam.grant_request = KVM_SET_VAPIC_ADDR;
        seam_fail(KVM_CREATE_VM, 0, 0);
        if (!guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e))
            break;
        CHECK_EQ(seam.calls_n, i == 0 ? 2 : 1);
        CHECK(!vm.machine.hidden_apic && !has_apic(&vm));
        CHECK_EQ(seam.slots_n, 2);
        vm_close(&vm);
        CHECK_EQ(seam_count_fds(), fds);
    }
    snapshot_free(&snap);
}

static const struct kvm_case cases[] = {
    {"the local APIC of a guest that promises to end by OUT cannot be found", .run = cannot_be_found},
    {"it cannot be turned on", .run = cannot_be_turned_on},
    {"only a guest that promises, wants no controllers and left the APIC base alone has one",
     .run = only_where_promised, .kind = "amd64"},
    {"an identity guest likewise", .run = only_where_promised, .kind = "i686-identity"},
    {"a guest with memory over the page of the APIC has none", .run = not_over_memory},
    {"a guest that ends by HLT in spite of its promise ends all the same", .run = ends_by_hlt},
    {"registers are read as KVM has them, however they came to be", .run = reads_registers,
     .kind = "i686-identity"},
    {"a plain CPU has nothing that KVM does not support, for an amd64 guest", .run = plain_cpu,
     .kind = "amd64"},
    {"a plain CPU has nothing that KVM does not support, for an i686 guest", .run = plain_cpu,
     .kind = "i686-identity"},
    /* The last: no machine of this process has one afterwards. */
    {"where KVM has a page for local APICs no guest gets one", .run = page_of_kvm},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
