/* Opening KVM, and making machines. See kvm.h for the contract. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/kvm.h"
#include "hv/kvm_failed.h"
#include "mem/layout.h"

#define KVM_PATH           "/dev/kvm"
#define CPUID_ENTRIES      256
#define REGS_AT_EXIT       (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS)
#define CPUID_FEATURES     0x00000001u
#define CPUID_EXTENDED     0x00000007u
#define CPUID_CACHES       0x00000004u
#define CPUID_TOPOLOGY     0x0000000bu
#define CPUID_TOPOLOGY_V2  0x0000001fu
#define CPUID_AMD          0x80000001u
#define CPUID_ADDR_SIZES   0x80000008u
#define CPUID_AMD_TOPOLOGY 0x8000001eu

/* Features a guest must not see: nested virtualisation, x2APIC (its MSRs pass KVM's filter), CET. */
static const struct {
    uint32_t function, index, ecx, edx;
} cpuid_hidden[] = {
    {CPUID_FEATURES, 0, 1u << 5 | 1u << 21, 0},
    {CPUID_EXTENDED, 0, 1u << 7, 1u << 20},
    {CPUID_AMD, 0, 1u << 2, 0},
};

static const struct {
    int cap;
    const char *name;
} caps_needed[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
};

static int open_failed(int errnum, struct err *e)
{
    err_set_errno(e, STATUS_UNSUPPORTED, errnum, "%s: cannot open", KVM_PATH);
    if (errnum == ENOENT && access("/sys/module/kvm", F_OK) == 0)
        return err_hint(e, "kvm is loaded but its device node is missing: mount devtmpfs on /dev");
    if (errnum == ENOENT || errnum == ENXIO || errnum == ENODEV)
        return err_hint(
            e, "load kvm_intel or kvm_amd; in a virtual machine turn on nested virtualisation first, "
               "in an initramfs mount devtmpfs on /dev");
    if (errnum == EACCES || errnum == EPERM)
        return err_hint(e, "add this user to the group that owns %s (often kvm), or chmod 0666 %s", KVM_PATH,
                        KVM_PATH);
    return -1;
}

static int check_kvm(int fd, struct err *e)
{
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    unsigned i;

    if (version < 0)
        return err_set_errno(e, STATUS_UNSUPPORTED, errno, "%s: not KVM (KVM_GET_API_VERSION)", KVM_PATH);
    if (version != KVM_API_VERSION)
        return err_set(e, STATUS_UNSUPPORTED, "kvm: wrong API version (%d, %d wanted)", version,
                       KVM_API_VERSION);
    for (i = 0; i < sizeof(caps_needed) / sizeof(caps_needed[0]); i++) {
        if (ioctl(fd, KVM_CHECK_EXTENSION, caps_needed[i].cap) <= 0) {
            err_set(e, STATUS_UNSUPPORTED, "kvm: missing capability %s", caps_needed[i].name);
            return err_hint(e, "use a newer kernel (Linux 4.12 has all that vmm needs)");
        }
    }
    return 0;
}

int kvm_open(int *out, struct err *e)
{
    int fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return open_failed(errno, e);
    if (check_kvm(fd, e) != 0) {
        close(fd);
        return -1;
    }
    *out = fd;
    return 0;
}

static int set_cpuid(struct machine *m, struct kvm_cpuid2 *cpuid, struct err *e)
{
    return KVM_CALL(m->vcpu_fd, KVM_SET_CPUID2, cpuid, e);
}

/*
 * What KVM passes on from the CPU it happens to run on: how many there are and
 * which one this is. The guest has one, number 0, and a local APIC only where
 * there is an in-kernel one.
 */
static void fix_cpuid(struct kvm_cpuid_entry2 *c, const struct machine_options *opt)
{
    switch (c->function) {
    case CPUID_FEATURES:
        c->ebx = (c->ebx & 0xffffu) | 1u << 16;
        c->edx &= ~(1u << 28 | 1u << 9);
        c->edx |= opt->irqchip ? 1u << 9 : 0;
        break;
    case CPUID_CACHES: c->eax &= 0x3fffu; break;
    case CPUID_TOPOLOGY:
    case CPUID_TOPOLOGY_V2:
    case CPUID_AMD_TOPOLOGY: c->eax = c->ebx = c->ecx = c->edx = 0; break;
    case CPUID_AMD: c->ecx &= ~(1u << 22 | 1u << 1); break;
    case CPUID_ADDR_SIZES:
        c->eax = (c->eax & ~0xffu) | opt->phys_bits;
        c->ecx = 0;
        break;
    default: break;
    }
}

/* All that this KVM supports. */
static int give_all_features(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e)
{
    struct kvm_cpuid2 *cpuid;
    unsigned i, j;
    int result;

    /* Not cleared: of its pages KVM fills one. */
    cpuid = malloc(sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
    if (cpuid == NULL)
        return err_memory(e, "CPUID table");
    cpuid->nent = CPUID_ENTRIES;
    result = KVM_CALL(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid, e);
    for (i = 0; result == 0 && i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *c = &cpuid->entries[i];

        for (j = 0; j < sizeof(cpuid_hidden) / sizeof(cpuid_hidden[0]); j++) {
            if (c->function == cpuid_hidden[j].function && c->index == cpuid_hidden[j].index) {
                c->ecx &= ~cpuid_hidden[j].ecx;
                c->edx &= ~cpuid_hidden[j].edx;
            }
        }
        fix_cpuid(c, opt);
    }
    if (result == 0)
        result = set_cpuid(m, cpuid, e);
    free(cpuid);
    return result;
}

/*
 * What the first amd64 CPUs had, and this CPU's name. To ask KVM what it
 * supports takes it as long as to make the machine, where CPUID is intercepted.
 */
static int give_plain_features(struct machine *m, const struct machine_options *opt, struct err *e)
{
    static const struct {
        uint32_t function, eax, ebx, ecx, edx;
    } leaf[] = {
        {0, CPUID_EXTENDED, 0, 0, 0},
        /* One CPU; CLFLUSH is of 64 bytes; CMPXCHG16B; all from FPU to SSE2 but VME, which an emulated host has
         * not, APIC and serial number. */
        {CPUID_FEATURES, 0, 1u << 16 | 8u << 8, 1u << 13, 0x078bf9fd},
        {CPUID_EXTENDED, 0, 0, 0, 0},
        {0x80000000, CPUID_ADDR_SIZES, 0, 0, 0},
        /* LAHF; LM, NX, SYSCALL */
        {CPUID_AMD, 0, 0, 1, 1u << 29 | 1u << 20 | 1u << 11},
        {CPUID_ADDR_SIZES, 48u << 8, 0, 0, 0},
    };
    enum { LEAVES_N = sizeof(leaf) / sizeof(leaf[0]) };
    /* Kept: in a virtual machine to ask the CPU is slow as well. */
    static uint32_t space[(sizeof(struct kvm_cpuid2) + LEAVES_N * sizeof(struct kvm_cpuid_entry2)) / 4];
    struct kvm_cpuid2 *t = (struct kvm_cpuid2 *)space;
    struct kvm_cpuid_entry2 *to = t->entries;
    uint32_t i, ignored;

    if (t->nent == 0) {
        for (i = 0; i < LEAVES_N; i++) {
            to[i].function = leaf[i].function;
            memcpy(&to[i].eax, &leaf[i].eax, 4 * sizeof(uint32_t));
        }
        __cpuid(0, ignored, to[0].ebx, to[0].ecx, to[0].edx);
        __cpuid(CPUID_FEATURES, to[1].eax, ignored, ignored, ignored);
        to[2].flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        t->nent = LEAVES_N;
    }
    to[5].eax = leaf[5].eax | opt->phys_bits;
    return set_cpuid(m, t, e);
}

/* Before the vCPU is made. Where the CPU needs none of it, KVM takes it all the same. */
static int place_real_mode(struct machine *m, struct err *e)
{
    uint64_t map = REAL_MODE_MAP;

    if (KVM_CALL(m->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &map, e) != 0)
        return -1;
    return KVM_CALL(m->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)REAL_MODE_TSS, e);
}

int kvm_module_has(const char *parameter)
{
    int fd = open(parameter, O_RDONLY | O_CLOEXEC);
    char value = 'N';

    if (fd < 0)
        return -1;
    if (read(fd, &value, 1) < 0)
        value = 'N';
    close(fd);
    return value == 'Y' || value == '1';
}

/*
 * Where the CPU helps with local APICs, KVM has a page at APIC_ACCESS_PAGE that
 * a guest would find as memory. The modules are asked once, and not where KVM does without the CPU's help, which
 * shows in that it has no state of nested guests. Where nobody tells, machine_add_cpu finds out.
 */
static enum { APIC_UNKNOWN, APIC_HIDES, APIC_SHOWS } apic;

static bool hide_apic(struct machine *m)
{
    /* Without this a turned-off APIC, whose base is 0 then, would swallow what goes to the null page. */
    struct kvm_enable_cap quirk = {.cap = KVM_CAP_DISABLE_QUIRKS, .args = {KVM_X86_QUIRK_LAPIC_MMIO_HOLE}};
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP};

    if (apic == APIC_UNKNOWN)
        apic = ioctl(m->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE) > 0 &&
                       (kvm_module_has("/sys/module/kvm_intel/parameters/flexpriority") > 0 ||
                        kvm_module_has("/sys/module/kvm_amd/parameters/avic") > 0)
                   ? APIC_SHOWS
                   : APIC_HIDES;
    return apic != APIC_SHOWS && ioctl(m->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) > 0 &&
           ioctl(m->vm_fd, KVM_ENABLE_CAP, &quirk) == 0 && ioctl(m->vm_fd, KVM_ENABLE_CAP, &split) == 0;
}

/* KVM takes an address for the APIC's virtual registers only where there is memory. */
static bool finds_apic_page(const struct machine *m)
{
    struct kvm_vapic_addr at = {.vapic_addr = APIC_ACCESS_PAGE};

    return ioctl(m->vcpu_fd, KVM_SET_VAPIC_ADDR, &at) == 0;
}

int machine_open(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e)
{
    struct machine n = MACHINE_CLOSED;
    int slots;

    /* A signal that arrives while KVM creates the machine gives EINTR and no harm: try again. */
    do
        n.vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    while (n.vm_fd < 0 && errno == EINTR);
    if (n.vm_fd < 0) {
        int errnum = errno;

        kvm_failed("KVM_CREATE_VM", errnum, e);
        if (errnum == EBUSY || errnum == ENODEV)
            err_hint(e, "another hypervisor may own the CPU's virtualisation");
        return -1;
    }
    slots = ioctl(n.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    n.slots_max = slots > 0 ? (uint32_t)slots : 32;
    n.hidden_apic = opt->hidden_apic && hide_apic(&n);
    dirty_prepare(&n, opt->dirty, opt->pages_n);
    *m = n;
    return 0;
}

static int map_run_page(struct machine *m, int kvm_fd, struct err *e)
{
    int len = KVM_CALL(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL, e);
    void *run;

    if (len < 0)
        return -1;
    if (len < (int)sizeof(struct kvm_run))
        return err_set(e, STATUS_HOST, "kvm: the shared run page is too small (%d bytes)", len);
    run = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return err_host(e, "kvm: cannot map the run page");
    m->run = (struct kvm_run *)run;
    m->run_len = (uint64_t)len;
    return 0;
}

int machine_add_cpu(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    int sync;

    if ((opt->real_mode && place_real_mode(m, e) != 0) ||
        (opt->irqchip && KVM_CALL(m->vm_fd, KVM_CREATE_IRQCHIP, NULL, e) != 0) ||
        (opt->pit && KVM_CALL(m->vm_fd, KVM_CREATE_PIT2, &pit, e) != 0))
        return -1;
    m->vcpu_fd = KVM_CALL(m->vm_fd, KVM_CREATE_VCPU, NULL, e);
    if (m->vcpu_fd < 0)
        return -1;
    if (m->hidden_apic && finds_apic_page(m)) {
        apic = APIC_SHOWS;
        return MACHINE_SHOWS_APIC;
    }
    if (map_run_page(m, kvm_fd, e) != 0 || dirty_open(m, e) != 0)
        return -1;
    sync = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    /* What comes from a file, as of saved machines of that sort, is to be refused when it is set. */
    m->sync = sync > 0 && !opt->real_mode ? (uint32_t)sync : 0;
    if ((m->sync & REGS_AT_EXIT) == REGS_AT_EXIT)
        m->run->kvm_valid_regs = REGS_AT_EXIT;
    return opt->plain_cpu ? give_plain_features(m, opt, e) : give_all_features(m, kvm_fd, opt, e);
}
