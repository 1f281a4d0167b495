/* Every call into KVM. See kvm.h for the contract. */
#include "hv/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/x86.h"
#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/layout.h"
#include "mem/num.h"

#define KVM_PATH           "/dev/kvm"
#define CPUID_ENTRIES      256
#define CPUID_FEATURES     0x00000001u
#define CPUID_EXTENDED     0x00000007u
#define CPUID_CACHES       0x00000004u
#define CPUID_TOPOLOGY     0x0000000bu
#define CPUID_TOPOLOGY_V2  0x0000001fu
#define CPUID_AMD          0x80000001u
#define CPUID_ADDR_SIZES   0x80000008u
#define CPUID_AMD_TOPOLOGY 0x8000001eu

/* KVM re-enters the guest after 1,024 rounds of a string instruction, each of which may take a few exits. */
#define FINISH_MAX 16384

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

int kvm_open(int *out, struct err *e)
{
    int fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);
    int version;
    unsigned i;

    if (fd < 0)
        return open_failed(errno, e);
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version < 0) {
        int errnum = errno;

        close(fd);
        return err_set_errno(e, STATUS_UNSUPPORTED, errnum, "%s: not KVM (KVM_GET_API_VERSION)", KVM_PATH);
    }
    if (version != KVM_API_VERSION) {
        close(fd);
        return err_set(e, STATUS_UNSUPPORTED, "kvm: wrong API version (%d, %d wanted)", version,
                       KVM_API_VERSION);
    }
    for (i = 0; i < sizeof(caps_needed) / sizeof(caps_needed[0]); i++) {
        if (ioctl(fd, KVM_CHECK_EXTENSION, caps_needed[i].cap) <= 0) {
            close(fd);
            err_set(e, STATUS_UNSUPPORTED, "kvm: missing capability %s", caps_needed[i].name);
            return err_hint(e, "use a newer kernel (Linux 4.12 has all that vmm needs)");
        }
    }
    *out = fd;
    return 0;
}

/* The ioctl's name is part of the message, so that each failure names its own call. */
static int call_failed(const char *name, int errnum, struct err *e)
{
    return err_set_errno(e, STATUS_HOST, errnum, "kvm: %s failed", name);
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

static int set_cpuid(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e)
{
    struct kvm_cpuid2 *cpuid;
    unsigned i, j;
    int result = -1;

    cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
    if (cpuid == NULL)
        return err_set_errno(e, STATUS_HOST, ENOMEM, "host memory: CPUID table");
    cpuid->nent = CPUID_ENTRIES;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) != 0) {
        call_failed("KVM_GET_SUPPORTED_CPUID", errno, e);
        goto out;
    }
    for (i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *c = &cpuid->entries[i];

        for (j = 0; j < sizeof(cpuid_hidden) / sizeof(cpuid_hidden[0]); j++) {
            if (c->function == cpuid_hidden[j].function && c->index == cpuid_hidden[j].index) {
                c->ecx &= ~cpuid_hidden[j].ecx;
                c->edx &= ~cpuid_hidden[j].edx;
            }
        }
        fix_cpuid(c, opt);
    }
    if (ioctl(m->vcpu_fd, KVM_SET_CPUID2, cpuid) != 0) {
        call_failed("KVM_SET_CPUID2", errno, e);
        goto out;
    }
    result = 0;
out:
    free(cpuid);
    return result;
}

/* Before the vCPU is made. Where the CPU needs none of it, KVM takes it all the same. */
static int place_real_mode(struct machine *m, struct err *e)
{
    uint64_t map = REAL_MODE_MAP;

    if (ioctl(m->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &map) != 0)
        return call_failed("KVM_SET_IDENTITY_MAP_ADDR", errno, e);
    if (ioctl(m->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)REAL_MODE_TSS) != 0)
        return call_failed("KVM_SET_TSS_ADDR", errno, e);
    return 0;
}

int machine_open(struct machine *m, int kvm_fd, const struct machine_options *opt, struct err *e)
{
    const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    struct machine n = MACHINE_CLOSED;
    int run_len, slots;
    void *run;

    /* A signal that arrives while KVM creates the machine gives EINTR and no harm: try again. */
    do
        n.vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    while (n.vm_fd < 0 && errno == EINTR);
    if (n.vm_fd < 0) {
        int errnum = errno;

        call_failed("KVM_CREATE_VM", errnum, e);
        if (errnum == EBUSY || errnum == ENODEV)
            err_hint(e, "another hypervisor may own the CPU's virtualisation");
        goto fail;
    }
    slots = ioctl(n.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    n.slots_max = slots > 0 ? (uint32_t)slots : 32;
    if (opt->real_mode && place_real_mode(&n, e) != 0)
        goto fail;
    if (opt->irqchip && ioctl(n.vm_fd, KVM_CREATE_IRQCHIP, 0) != 0) {
        call_failed("KVM_CREATE_IRQCHIP", errno, e);
        goto fail;
    }
    if (opt->pit && ioctl(n.vm_fd, KVM_CREATE_PIT2, &pit) != 0) {
        call_failed("KVM_CREATE_PIT2", errno, e);
        goto fail;
    }
    n.vcpu_fd = ioctl(n.vm_fd, KVM_CREATE_VCPU, 0);
    if (n.vcpu_fd < 0) {
        call_failed("KVM_CREATE_VCPU", errno, e);
        goto fail;
    }
    run_len = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_len < (int)sizeof(struct kvm_run)) {
        if (run_len < 0)
            call_failed("KVM_GET_VCPU_MMAP_SIZE", errno, e);
        else
            err_set(e, STATUS_HOST, "kvm: the shared run page is too small (%d bytes)", run_len);
        goto fail;
    }
    run = mmap(NULL, (size_t)run_len, PROT_READ | PROT_WRITE, MAP_SHARED, n.vcpu_fd, 0);
    if (run == MAP_FAILED) {
        int errnum = errno;

        err_set_errno(e, STATUS_HOST, errnum, "kvm: cannot map the run page");
        goto fail;
    }
    n.run = (struct kvm_run *)run;
    n.run_len = (uint64_t)run_len;
    if (set_cpuid(&n, kvm_fd, opt, e) != 0)
        goto fail;
    *m = n;
    return 0;
fail:
    machine_close(&n);
    return -1;
}

void machine_close(struct machine *m)
{
    if (m->run != NULL)
        munmap(m->run, m->run_len);
    if (m->vcpu_fd >= 0)
        close(m->vcpu_fd);
    if (m->vm_fd >= 0)
        close(m->vm_fd);
    *m = MACHINE_CLOSED;
}

int machine_set_slot(struct machine *m, uint32_t slot, struct gpa at, uint64_t len, const void *host,
                     bool readonly, struct err *e)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = readonly && len != 0 ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = at.v,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };

    assert(num_is_page_aligned(at.v) && num_is_page_aligned(len));
    if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) != 0) {
        int errnum = errno;

        /* KVM may have a slot of its own there, which the number alone does not tell anybody. */
        if (errnum == EEXIST && num_overlap(at.v, len, APIC_ACCESS_PAGE, PAGE_LEN))
            return err_set_errno(e, STATUS_HOST, errnum,
                                 "kvm: KVM_SET_USER_MEMORY_REGION failed for slot %" PRIu32 " at 0x%" PRIx64
                                 "-0x%" PRIx64 ", over the APIC page 0x%x",
                                 slot, at.v, at.v + len, APIC_ACCESS_PAGE);
        return err_set_errno(e, STATUS_HOST, errnum,
                             "kvm: KVM_SET_USER_MEMORY_REGION failed for slot %" PRIu32 " at 0x%" PRIx64
                             "-0x%" PRIx64,
                             slot, at.v, at.v + len);
    }
    return 0;
}

static struct kvm_segment to_kvm_segment(const struct cpu_segment *s)
{
    return (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->type,
        .present = s->present,
        .dpl = s->dpl,
        .db = s->db,
        .s = s->s,
        .l = s->l,
        .g = s->g,
        .avl = s->avl,
    };
}

static struct cpu_segment from_kvm_segment(const struct kvm_segment *s)
{
    return (struct cpu_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->type,
        .dpl = s->dpl,
        .s = s->s != 0,
        .present = s->present != 0 && s->unusable == 0,
        .db = s->db != 0,
        .l = s->l != 0,
        .g = s->g != 0,
        .avl = s->avl != 0,
    };
}

int machine_set_sregs(struct machine *m, const struct cpu_sregs *s, struct err *e)
{
    struct kvm_sregs k = {
        .cs = to_kvm_segment(&s->cs),
        .ds = to_kvm_segment(&s->ds),
        .es = to_kvm_segment(&s->es),
        .fs = to_kvm_segment(&s->fs),
        .gs = to_kvm_segment(&s->gs),
        .ss = to_kvm_segment(&s->ss),
        .tr = to_kvm_segment(&s->tr),
        .ldt = to_kvm_segment(&s->ldt),
        .gdt = {.base = s->gdt.base, .limit = s->gdt.limit},
        .idt = {.base = s->idt.base, .limit = s->idt.limit},
        .cr0 = s->cr0,
        .cr2 = s->cr2,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .cr8 = s->cr8,
        .efer = s->efer,
        .apic_base = s->apic_base,
    };
    struct cpu_sregs back = {.cr0 = 0};

    if (ioctl(m->vcpu_fd, KVM_SET_SREGS, &k) != 0) {
        int errnum = errno;

        return err_set_errno(e, errnum == EINVAL ? STATUS_IMAGE : STATUS_HOST, errnum,
                             "kvm: KVM_SET_SREGS failed");
    }
    /* Without a local APIC, KVM_RUN takes CR8 from here, where the last run left its own. */
    m->run->cr8 = s->cr8;
    if (machine_get_sregs(m, &back, e) != 0)
        return -1;
    if ((s->cr0 & CR0_PG) != 0 && (s->efer & EFER_LME) == 0 && (back.cr0 & CR0_PG) == 0) {
        err_set(e, STATUS_UNSUPPORTED,
                "kvm: this host's KVM does not do 32-bit paging (CR0 0x%" PRIx64 " written, 0x%" PRIx64
                " read back)",
                s->cr0, back.cr0);
        return err_hint(e, "run it on a host with VT-x or AMD-V, or under QEMU with nested virtualisation");
    }
    if (back.cr0 != s->cr0 || back.efer != s->efer)
        return err_set(e, STATUS_UNSUPPORTED,
                       "kvm: this host's KVM refuses the guest's mode (CR0 0x%" PRIx64 " and EFER 0x%" PRIx64
                       " written, 0x%" PRIx64 " and 0x%" PRIx64 " read back)",
                       s->cr0, s->efer, back.cr0, back.efer);
    return 0;
}

int machine_get_sregs(struct machine *m, struct cpu_sregs *s, struct err *e)
{
    struct kvm_sregs k;

    if (ioctl(m->vcpu_fd, KVM_GET_SREGS, &k) != 0)
        return call_failed("KVM_GET_SREGS", errno, e);
    *s = (struct cpu_sregs){
        .cs = from_kvm_segment(&k.cs),
        .ds = from_kvm_segment(&k.ds),
        .es = from_kvm_segment(&k.es),
        .fs = from_kvm_segment(&k.fs),
        .gs = from_kvm_segment(&k.gs),
        .ss = from_kvm_segment(&k.ss),
        .tr = from_kvm_segment(&k.tr),
        .ldt = from_kvm_segment(&k.ldt),
        .gdt = {.base = k.gdt.base, .limit = k.gdt.limit},
        .idt = {.base = k.idt.base, .limit = k.idt.limit},
        .cr0 = k.cr0,
        .cr2 = k.cr2,
        .cr3 = k.cr3,
        .cr4 = k.cr4,
        .cr8 = k.cr8,
        .efer = k.efer,
        .apic_base = k.apic_base,
    };
    return 0;
}

int machine_set_regs(struct machine *m, const struct cpu_regs *r, struct err *e)
{
    struct kvm_regs k = {
        .rax = r->rax,
        .rbx = r->rbx,
        .rcx = r->rcx,
        .rdx = r->rdx,
        .rsi = r->rsi,
        .rdi = r->rdi,
        .rsp = r->rsp,
        .rbp = r->rbp,
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .rip = r->rip,
        .rflags = r->rflags,
    };

    if (ioctl(m->vcpu_fd, KVM_SET_REGS, &k) != 0)
        return call_failed("KVM_SET_REGS", errno, e);
    return 0;
}

int machine_get_regs(struct machine *m, struct cpu_regs *r, struct err *e)
{
    struct kvm_regs k;

    if (ioctl(m->vcpu_fd, KVM_GET_REGS, &k) != 0)
        return call_failed("KVM_GET_REGS", errno, e);
    *r = (struct cpu_regs){
        .rax = k.rax,
        .rbx = k.rbx,
        .rcx = k.rcx,
        .rdx = k.rdx,
        .rsi = k.rsi,
        .rdi = k.rdi,
        .rsp = k.rsp,
        .rbp = k.rbp,
        .r8 = k.r8,
        .r9 = k.r9,
        .r10 = k.r10,
        .r11 = k.r11,
        .r12 = k.r12,
        .r13 = k.r13,
        .r14 = k.r14,
        .r15 = k.r15,
        .rip = k.rip,
        .rflags = k.rflags,
    };
    return 0;
}

int machine_reset_fpu(struct machine *m, struct err *e)
{
    /* The XSAVE area, SDM 1, "XSAVE-Managed State": FCW at 0, MXCSR at 24, XSTATE_BV at 512. */
    struct kvm_xsave x = {0};
    uint8_t *area = (uint8_t *)x.region;

    store_le16(area, 0x37f);
    store_le32(area + 24, 0x1f80);
    store_le64(area + 512, 3);
    if (ioctl(m->vcpu_fd, KVM_SET_XSAVE, &x) != 0)
        return call_failed("KVM_SET_XSAVE", errno, e);
    return 0;
}

static void decode_io(struct kvm_run *r, struct exit *x)
{
    uint8_t *data = (uint8_t *)r + r->io.data_offset;

    x->kind = r->io.direction == KVM_EXIT_IO_OUT ? EXIT_OUT : EXIT_IN;
    x->port = r->io.port;
    x->width = r->io.size;
    x->count = r->io.count;
    x->data = data;
    if (x->kind == EXIT_OUT)
        x->value = x->width == 1 ? data[0] : x->width == 2 ? load_le16(data) : load_le32(data);
}

static void decode_mmio(struct kvm_run *r, struct exit *x)
{
    x->kind = r->mmio.is_write ? EXIT_MMIO_WRITE : EXIT_MMIO_READ;
    x->gpa = r->mmio.phys_addr;
    x->width = (uint8_t)r->mmio.len;
    x->data = r->mmio.data;
    if (r->mmio.is_write)
        x->value = load_le32(r->mmio.data);
}

static void decode_internal(const struct kvm_run *r, struct exit *x)
{
    x->reason = r->internal.suberror;
    x->kind = r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? EXIT_EMULATION : EXIT_INTERNAL;
    /* data[0] holds the flags when ndata says there are any; instruction bytes follow their length. */
    if (x->kind == EXIT_EMULATION && r->emulation_failure.ndata >= 3 &&
        (r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
        x->insn_len = r->emulation_failure.insn_size;
        if (x->insn_len > EXIT_INSN_MAX)
            x->insn_len = EXIT_INSN_MAX;
        memcpy(x->insn, r->emulation_failure.insn_bytes, x->insn_len);
    }
}

int machine_run(struct machine *m, struct exit *out, struct err *e)
{
    struct kvm_run *r = m->run;
    struct exit x = {.count = 1};
    int result;

    do
        result = ioctl(m->vcpu_fd, KVM_RUN, 0);
    while (result != 0 && errno == EAGAIN);
    if (result != 0) {
        int errnum = errno;

        if (errnum != EINTR)
            return call_failed("KVM_RUN", errnum, e);
        x.kind = EXIT_INTERRUPTED;
        *out = x;
        return 0;
    }
    switch (r->exit_reason) {
    case KVM_EXIT_IO: decode_io(r, &x); break;
    case KVM_EXIT_MMIO: decode_mmio(r, &x); break;
    case KVM_EXIT_HLT: x.kind = EXIT_HLT; break;
    case KVM_EXIT_SHUTDOWN: x.kind = EXIT_SHUTDOWN; break;
    case KVM_EXIT_INTR: x.kind = EXIT_INTERRUPTED; break;
    case KVM_EXIT_FAIL_ENTRY:
        x.kind = EXIT_FAIL_ENTRY;
        x.reason = r->fail_entry.hardware_entry_failure_reason;
        break;
    case KVM_EXIT_INTERNAL_ERROR: decode_internal(r, &x); break;
    default:
        x.kind = EXIT_OTHER;
        x.reason = r->exit_reason;
        break;
    }
    *out = x;
    return 0;
}

int machine_finish(struct machine *m, struct err *e)
{
    unsigned i;
    int result = 0, errnum = 0;

    machine_kick(m);
    for (i = 0; i < FINISH_MAX && result == 0; i++) {
        do
            result = ioctl(m->vcpu_fd, KVM_RUN, 0);
        while (result != 0 && errno == EAGAIN);
        errnum = errno;
    }
    machine_unkick(m);
    if (result == 0)
        return err_set(e, STATUS_HOST, "kvm: an instruction of the guest cannot be finished (%u exits)", i);
    return errnum == EINTR ? 0 : call_failed("KVM_RUN", errnum, e);
}

int machine_set_irq(struct machine *m, unsigned line, bool level, struct err *e)
{
    struct kvm_irq_level l = {.irq = line, .level = level};

    if (ioctl(m->vm_fd, KVM_IRQ_LINE, &l) != 0)
        return call_failed("KVM_IRQ_LINE", errno, e);
    return 0;
}

int machine_pulse_irq0(struct machine *m, struct err *e)
{
    if (machine_set_irq(m, 0, true, e) != 0)
        return -1;
    return machine_set_irq(m, 0, false, e);
}

bool machine_translate(struct machine *m, struct gva va, struct gpa *pa)
{
    struct kvm_translation t = {.linear_address = va.v};

    if (ioctl(m->vcpu_fd, KVM_TRANSLATE, &t) != 0 || t.valid == 0)
        return false;
    *pa = gpa_make(t.physical_address);
    return true;
}

void machine_kick(struct machine *m)
{
    ((volatile struct kvm_run *)m->run)->immediate_exit = 1;
}

void machine_unkick(struct machine *m)
{
    ((volatile struct kvm_run *)m->run)->immediate_exit = 0;
}
