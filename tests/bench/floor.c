/*
 * The bound rows of the benchmark: KVM by raw ioctls, in the order a manual
 * would give them, running the same guests. Nothing of vmm is in here.
 *
 *   floor nothing                   end at once: what a process costs
 *   floor hello KIND ELF [WORD]     run a guest that is linked at fixed addresses to its OUT 108,
 *                                   what it prints going to stdout
 *
 * KIND: amd64, i686, i686-identity. Calls to the kernel for hello, in order: open, GET_API_VERSION,
 * CREATE_VM, CREATE_VCPU, GET_VCPU_MMAP_SIZE, mmap of the run page, GET_SUPPORTED_CPUID and SET_CPUID2
 * (without nocpuid), mmap of memory, open, fstat and read of the ELF, SET_USER_MEMORY_REGION twice,
 * GET_SREGS, SET_SREGS, SET_REGS, KVM_RUN until the guest ends, one write; the rest is left to exit.
 * With the word split, the same but: KVM_CAP_SPLIT_IRQCHIP after CREATE_VM, SET_CPUID2 of an empty table, and
 * at the end a clone(CLONE_VM) that closes what KVM does not need, and has KVM take the machine apart
 * when this process, which it outlives, is gone.
 * Memory, tables and registers are those the guest ABI orders, so that the guest does the same work.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE        0x1000u
#define BASE        0x1000u
#define HEAP_LEN    0x20000u
#define SCRATCH_LEN 0x48000u
#define STACK_LEN   0x4000u  /* of each I/O stack */
#define CODE_LEN    0x10000u /* the largest ELF span */

#define PORT_PRINT  103
#define PORT_HALT   108

struct kind {
    const char *name;
    unsigned levels; /* of page tables; 0: runs without */
    unsigned index_bits, entry_len;
    uint64_t phys_top, virt_top; /* where scratch ends */
    uint64_t leaf_cow, leaf_rw, pointer;
    uint64_t cr0, cr4, efer;
    bool is_long;
};

static const struct kind kinds[] = {
    {"amd64", 4, 9, 8, 0x1000000000, 0xfffffffffffff000, 0x261, 0x8000000000000063, 0x23, 0x80050033, 0x620,
     0xd01, true},
    {"i686", 2, 10, 4, 0xfee00000, 0x100000000, 0x221, 0x23, 0x27, 0x80010011, 0, 0, false},
    {"i686-identity", 0, 0, 0, 0xfee00000, 0xfee00000, 0, 0, 0, 0x11, 0, 0, false},
};

struct guest {
    const struct kind *kind;
    int kvm_fd, vm_fd, vcpu_fd;
    struct kvm_run *run;
    uint8_t *low, *scratch;
    uint32_t low_len;
    uint64_t entry, peb, tables_len;
};

static void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void die(const char *fmt, ...)
{
    va_list ap;

    fputs("floor: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static int call(int fd, unsigned long request, const char *name, void *arg)
{
    int result = ioctl(fd, request, arg);

    if (result < 0)
        die("%s failed", name);
    return result;
}
#define CALL(fd, name, arg) call(fd, name, #name, arg)

static uint8_t *map_memory(uint32_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        die("no memory");
    return p;
}

static void put(uint8_t *at, uint64_t value, unsigned len)
{
    memcpy(at, &value, len);
}

static uint64_t get(const uint8_t *at, unsigned len)
{
    uint64_t value = 0;

    memcpy(&value, at, len);
    return value;
}

static uint64_t scratch_at(const struct guest *g)
{
    return g->kind->phys_top - SCRATCH_LEN;
}

/* Page tables lie in scratch behind the two I/O stacks, the root first. */
static void map_range(struct guest *g, uint64_t va, uint64_t pa, uint64_t len, uint64_t flags)
{
    const struct kind *k = g->kind;
    uint8_t *tables = g->scratch + 2 * STACK_LEN;
    uint64_t tables_at = scratch_at(g) + 2 * STACK_LEN;

    for (uint64_t done = 0; done < len; done += PAGE) {
        uint64_t table = 0;

        for (unsigned level = k->levels;; level--) {
            unsigned shift = 12 + (level - 1) * k->index_bits;
            uint64_t index = (va + done) >> shift & ((1u << k->index_bits) - 1);
            uint8_t *entry = tables + table + index * k->entry_len;

            if (level == 1) {
                put(entry, (pa + done) | flags, k->entry_len);
                break;
            }
            if (get(entry, k->entry_len) == 0) {
                put(entry, (tables_at + g->tables_len) | k->pointer, k->entry_len);
                g->tables_len += PAGE;
            }
            table = (get(entry, k->entry_len) & 0x7ffffffffffff000) - tables_at;
        }
    }
}

/* What is done about CPUID and interrupts. */
enum how { WITH_CPUID, NO_CPUID, SPLIT };

/* Create the machine. */
static void open_machine(struct guest *g, enum how how)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = 24};
    int run_len;

    g->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (g->kvm_fd < 0)
        die("cannot open /dev/kvm");
    if (CALL(g->kvm_fd, KVM_GET_API_VERSION, NULL) != KVM_API_VERSION)
        die("another version of KVM");
    g->vm_fd = CALL(g->kvm_fd, KVM_CREATE_VM, NULL);
    if (how == SPLIT)
        CALL(g->vm_fd, KVM_ENABLE_CAP, &split);
    g->vcpu_fd = CALL(g->vm_fd, KVM_CREATE_VCPU, NULL);
    run_len = CALL(g->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    g->run = mmap(NULL, (size_t)run_len, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu_fd, 0);
    if (g->run == MAP_FAILED)
        die("cannot map the run page");
    if (how != NO_CPUID) {
        static union {
            struct kvm_cpuid2 head;
            uint8_t bytes[sizeof(struct kvm_cpuid2) + 256 * sizeof(struct kvm_cpuid_entry2)];
        } table;

        table.head.nent = how == SPLIT ? 0 : 256;
        if (how != SPLIT)
            CALL(g->kvm_fd, KVM_GET_SUPPORTED_CPUID, &table);
        CALL(g->vcpu_fd, KVM_SET_CPUID2, &table);
    }
}

static void set_slot(const struct guest *g, unsigned slot, uint64_t at, uint64_t len, uint8_t *host,
                     bool readonly)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = readonly ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = at,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };

    CALL(g->vm_fd, KVM_SET_USER_MEMORY_REGION, &r);
}

/* Lay out a guest whose image has `code_len` bytes, a page multiple, and is in g->low. */
static void lay_out(struct guest *g, uint32_t code_len)
{
    const struct kind *k = g->kind;
    uint64_t window = k->virt_top - SCRATCH_LEN;
    uint8_t *top = g->scratch + SCRATCH_LEN;
    uint8_t *peb = g->low + code_len;

    g->low_len = code_len + PAGE + HEAP_LEN;
    g->peb = BASE + code_len;
    put(peb, STACK_LEN, 8);
    put(peb + 0x08, window, 8);
    put(peb + 0x10, STACK_LEN, 8);
    put(peb + 0x18, window + STACK_LEN, 8);
    put(peb + 0x30, HEAP_LEN, 8);
    put(peb + 0x38, g->peb + PAGE, 8);
    if (k->levels != 0) {
        g->tables_len = PAGE;
        map_range(g, BASE, BASE, g->low_len, k->leaf_cow);
        map_range(g, window, scratch_at(g), SCRATCH_LEN, k->leaf_rw);
    }
    put(g->scratch, 8, 8);
    put(g->scratch + STACK_LEN, 8, 8);
    put(top - 0x08, SCRATCH_LEN, 8);
    put(top - 0x10, scratch_at(g) + 2 * STACK_LEN + g->tables_len, 8);
    put(top - 0x18, k->levels != 0 ? scratch_at(g) + 2 * STACK_LEN : 0, 8);
    set_slot(g, 0, BASE, g->low_len, g->low, k->levels != 0);
    set_slot(g, 1, scratch_at(g), SCRATCH_LEN, g->scratch, false);
}

static void set_registers(const struct guest *g)
{
    const struct kind *k = g->kind;
    struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1};
    struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .g = 1};
    struct kvm_regs r = {.rip = g->entry, .rsp = k->virt_top - 0x38, .rdi = g->peb, .rdx = PAGE, .rflags = 2};
    struct kvm_sregs s;

    CALL(g->vcpu_fd, KVM_GET_SREGS, &s);
    code.l = k->is_long;
    code.db = !k->is_long;
    data.db = 1;
    s.cs = code;
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    s.cr0 = k->cr0;
    s.cr3 = k->levels != 0 ? scratch_at(g) + 2 * STACK_LEN : 0;
    s.cr4 = k->cr4;
    s.efer = k->efer;
    CALL(g->vcpu_fd, KVM_SET_SREGS, &s);
    CALL(g->vcpu_fd, KVM_SET_REGS, &r);
}

/* Run to the next OUT and return its port. */
static unsigned run_to_out(const struct guest *g)
{
    const struct kvm_run *r = g->run;

    if (ioctl(g->vcpu_fd, KVM_RUN, 0) != 0 || r->exit_reason != KVM_EXIT_IO ||
        r->io.direction != KVM_EXIT_IO_OUT)
        die("%s: the guest did not get to an OUT (exit %u)", g->kind->name, r->exit_reason);
    return r->io.port;
}

/* Put the PT_LOADs of our own samples to where they belong; returns the image's length in pages' bytes. */
static uint32_t load_elf(struct guest *g, const char *path)
{
    bool is64 = g->kind->is_long;
    static uint8_t file[0x20000];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t headers, end = BASE;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || (size_t)st.st_size > sizeof(file) ||
        read(fd, file, sizeof(file)) != st.st_size || get(file + 16, 2) != 2)
        die("%s: cannot be read, too large, or not linked at fixed addresses", path);
    close(fd);
    g->entry = get(file + 24, is64 ? 8 : 4);
    headers = get(file + (is64 ? 32 : 28), is64 ? 8 : 4);
    for (uint64_t i = 0; i < get(file + (is64 ? 56 : 44), 2); i++) {
        const uint8_t *h = file + headers + i * (is64 ? 56 : 32);
        uint64_t offset = get(h + (is64 ? 8 : 4), is64 ? 8 : 4);
        uint64_t va = get(h + (is64 ? 16 : 8), is64 ? 8 : 4);
        uint64_t file_len = get(h + (is64 ? 32 : 16), is64 ? 8 : 4);
        uint64_t len = get(h + (is64 ? 40 : 20), is64 ? 8 : 4);

        if (get(h, 4) != 1)
            continue;
        if (va < BASE || va - BASE + len > CODE_LEN)
            die("%s: a segment outside the first %u bytes", path, CODE_LEN);
        memcpy(g->low + (va - BASE), file + offset, file_len);
        if (va + len > end)
            end = va + len;
    }
    return (uint32_t)((end - BASE + PAGE - 1) / PAGE * PAGE);
}

/* Shares the memory, but has descriptors of its own; nobody may wait for those to be closed. */
static int outlive(void *parent)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        close(fd);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == *(const pid_t *)parent)
        pause();
    return 0;
}

static void leave_teardown_behind(void)
{
    static uint8_t stack[0x2000] __attribute__((aligned(16)));
    static pid_t self;

    self = getpid();
    if (clone(outlive, stack + sizeof(stack), CLONE_VM, &self) < 0)
        die("clone failed");
}

static void run_hello(struct guest *g, const char *path, enum how how)
{
    char said[256];
    size_t n = 0;

    open_machine(g, how);
    g->low = map_memory(CODE_LEN + PAGE + HEAP_LEN);
    g->scratch = map_memory(SCRATCH_LEN);
    lay_out(g, load_elf(g, path));
    set_registers(g);
    for (;;) {
        unsigned port = run_to_out(g);

        if (port == PORT_HALT)
            break;
        if (port != PORT_PRINT || n == sizeof(said))
            die("%s: out %u", path, port);
        said[n++] = (char)((const uint8_t *)g->run)[g->run->io.data_offset];
    }
    if (write(STDOUT_FILENO, said, n) != (ssize_t)n)
        die("stdout takes no more");
    if (how == SPLIT)
        leave_teardown_behind();
}

int main(int argc, char **argv)
{
    struct guest g = {.kind = NULL};

    if (argc == 2 && strcmp(argv[1], "nothing") == 0)
        return 0;
    for (size_t i = 0; argc >= 4 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(argv[2], kinds[i].name) == 0)
            g.kind = &kinds[i];
    if (g.kind != NULL && argc <= 5 && strcmp(argv[1], "hello") == 0)
        run_hello(&g, argv[3], argc == 4 ? WITH_CPUID : strcmp(argv[4], "nocpuid") == 0 ? NO_CPUID : SPLIT);
    else
        die("usage: floor nothing | hello KIND ELF [nocpuid|split]");
    return 0;
}
