/*
 * What the programs of raw ioctls share (method, create): a guest of a few
 * bytes of code in 64 MB of memory. Nothing of vmm is in here, and these
 * programs link nothing of it.
 *
 * The guest, the same bytes in every mode, exits after it has written one
 * word to each of D pages that lie evenly over its memory:
 *
 *   start: mov ecx,[ebp]; mov edi,[ebp+4]; mov edx,[ebp+8]; mov eax,[ebp+12]
 *   pages: jecxz out; 1: mov [edi],eax; add edi,edx; dec ecx; jnz 1b
 *   out:   an exit; jmp start
 *
 * Code, tables and parameters lie in a slot of their own, which is not
 * tracked: of the data only those D pages are written. Kinds:
 *
 *   i686           32 bits, ring 0, 4 KB pages; exits by OUT
 *   i686-identity  32 bits, ring 0, no paging; exits by OUT
 *   amd64          64 bits, ring 0, 4 KB pages; exits by OUT
 *   amd64-user     64 bits, ring 3, 4 KB pages; exits by a write to where no memory is, because a KVM
 *                  that emulates ring 0 at a microsecond an instruction (kvm-pvm) runs ring 3 on the
 *                  processor, but loses IOPL there in a page fault
 *
 * D pages of N: number i is page i * (N / D).
 */
#ifndef TESTS_BENCH_RAW_H
#define TESTS_BENCH_RAW_H

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/rows.h"
#include "tests/bench/spawn.h"

#define RAW_PAGE    0x1000u
#define RAW_PAGES   16384u
#define RAW_LEN     ((size_t)RAW_PAGES * RAW_PAGE)

#define RAW_LOW_LEN 0x80000u
#define RAW_PARAMS  0x1000u
#define RAW_CODE    0x2000u
#define RAW_TABLES  0x3000u
#define RAW_DATA    0x10000000u
#define RAW_SCRATCH 0x18000000u
#define RAW_NOTHING 0x20000000u /* no memory there */

/* Offsets of code. */
#define RAW_START 0u
#define RAW_WRITE 12u
#define RAW_COPY  64u  /* rebx pages from rsi on, rdx + a page apart, to rdi on; a word of each is eax then */
#define RAW_LOOP  128u /* exits for ever */

struct raw_kind {
    const char *name;
    bool paged, is_long, user;
};

static const struct raw_kind raw_kinds[] = {
    {"i686", true, false, false},
    {"i686-identity", false, false, false},
    {"amd64", true, true, false},
    {"amd64-user", true, true, true},
};

#define RAW_KINDS_N (sizeof(raw_kinds) / sizeof(raw_kinds[0]))

struct raw {
    const struct raw_kind *kind;
    int kvm_fd, vm_fd, vcpu_fd;
    struct kvm_run *run;
    size_t run_len;
    uint8_t *low;
    uint32_t tables_end;
};

static inline void raw_die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

static inline void raw_die(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(1);
}

static inline int raw_ioctl(int fd, unsigned long request, const char *name, const void *arg)
{
    int result = ioctl(fd, request, arg);

    if (result < 0)
        raw_die("%s failed", name);
    return result;
}
#define RAW_CALL(fd, name, arg) raw_ioctl(fd, name, #name, arg)

static inline void *raw_map(size_t len, int flags, int fd)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

    if (p == MAP_FAILED)
        raw_die("no memory");
    return p;
}

static inline const struct raw_kind *raw_kind(const char *name)
{
    for (size_t i = 0; i < RAW_KINDS_N; i++)
        if (strcmp(raw_kinds[i].name, name) == 0)
            return &raw_kinds[i];
    raw_die("%s: no such kind", name);
}

/* --- memory --------------------------------------------------------------------------------------- */

/* Map a range at its physical address, writable and for every ring. */
static inline void raw_map_range(struct raw *r, uint32_t at, size_t len)
{
    unsigned bits = r->kind->is_long ? 9 : 10, entry_len = r->kind->is_long ? 8 : 4;

    for (size_t done = 0; done < len; done += RAW_PAGE) {
        uint32_t table = RAW_TABLES;

        for (unsigned level = r->kind->is_long ? 4 : 2;; level--) {
            uint64_t va = at + done;
            size_t index = va >> (12 + (level - 1) * bits) & ((1u << bits) - 1);
            uint8_t *entry = r->low + table + index * entry_len;

            if (level == 1) {
                uint64_t leaf = (at + done) | 0x67;

                memcpy(entry, &leaf, entry_len);
                break;
            }
            memcpy(&table, entry, sizeof(table));
            if (table == 0) {
                table = r->tables_end | 0x67;
                memcpy(entry, &table, sizeof(table));
                r->tables_end += RAW_PAGE;
            }
            table &= ~(RAW_PAGE - 1);
        }
    }
}

static inline void raw_put_code(const struct raw *r, unsigned at, const uint8_t *bytes, size_t len, int back)
{
    static const uint8_t out[] = {0xe6, 0x6c};  /* out %al, $108 */
    uint8_t store[] = {0x89, 0x85, 0, 0, 0, 0}; /* mov %eax, NOTHING - PARAMS(%ebp) */
    const uint32_t far = RAW_NOTHING - RAW_PARAMS;
    uint8_t *to = r->low + RAW_CODE + at;
    size_t exit_len = r->kind->user ? sizeof(store) : sizeof(out);

    memcpy(store + 2, &far, sizeof(far));
    memcpy(to, bytes, len);
    memcpy(to + len, r->kind->user ? store : out, exit_len);
    to[len + exit_len] = 0xeb; /* jmp to `back` */
    to[len + exit_len + 1] = (uint8_t)(back - (int)(len + exit_len + 2));
}

/* Fill the low slot, once: code, and tables, which `all` has for data and scratch too. */
static inline void raw_make_low(struct raw *r, bool all)
{
    static const uint8_t pages[] = {0x8b, 0x4d, 0x00, 0x8b, 0x7d, 0x04, 0x8b, 0x55, 0x08, 0x8b, 0x45,
                                    0x0c, 0xe3, 0x08, 0x89, 0x07, 0x01, 0xd7, 0xff, 0xc9, 0x75, 0xf8};
    /* 1: mov ecx,1024; rep movsd; mov [edi-4096],eax; add esi,edx; dec ebx; jnz 1b */
    static const uint8_t copy[] = {0xb9, 0x00, 0x04, 0x00, 0x00, 0xf3, 0xa5, 0x89, 0x87, 0x00,
                                   0xf0, 0xff, 0xff, 0x01, 0xd6, 0xff, 0xcb, 0x75, 0xed};

    r->low = raw_map(RAW_LOW_LEN, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    r->tables_end = RAW_TABLES + RAW_PAGE;
    raw_put_code(r, RAW_START, pages, sizeof(pages), 0);
    raw_put_code(r, RAW_COPY, copy, sizeof(copy), (int)sizeof(copy));
    raw_put_code(r, RAW_LOOP, pages, 0, 0);
    if (r->kind->paged) {
        raw_map_range(r, 0, RAW_LOW_LEN);
        raw_map_range(r, RAW_NOTHING, RAW_PAGE);
    }
    if (r->kind->paged && all) {
        raw_map_range(r, RAW_DATA, RAW_LEN);
        raw_map_range(r, RAW_SCRATCH, RAW_LEN);
    }
}

static inline void raw_set_slot(const struct raw *r, unsigned slot, uint64_t at, size_t len, const void *host,
                                unsigned flags)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .flags = flags,
        .guest_phys_addr = at,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };

    RAW_CALL(r->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* 64 MB that no page and no word repeats, in a memfd that nobody can write any more. */
static inline int raw_make_snapshot(void)
{
    int fd = memfd_create("snapshot", MFD_ALLOW_SEALING);
    uint64_t *words;

    if (fd < 0 || ftruncate(fd, (off_t)RAW_LEN) != 0)
        raw_die("no memory");
    words = raw_map(RAW_LEN, MAP_SHARED, fd);
    for (uint64_t i = 0; i < RAW_LEN / 8; i++)
        words[i] = (i + 1) * 0x9e3779b97f4a7c15u | 1;
    munmap(words, RAW_LEN);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        raw_die("cannot seal the snapshot");
    return fd;
}

/* --- the machine ---------------------------------------------------------------------------------- */

static inline void raw_open_kvm(struct raw *r)
{
    r->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (r->kvm_fd < 0)
        raw_die("cannot open /dev/kvm");
}

static inline void raw_open_vm(struct raw *r)
{
    r->vm_fd = RAW_CALL(r->kvm_fd, KVM_CREATE_VM, NULL);
}

static inline void raw_map_run(struct raw *r)
{
    r->run_len = (size_t)RAW_CALL(r->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    r->run = raw_map(r->run_len, MAP_SHARED, r->vcpu_fd);
}

static inline void raw_open_vcpu(struct raw *r)
{
    r->vcpu_fd = RAW_CALL(r->vm_fd, KVM_CREATE_VCPU, NULL);
    raw_map_run(r);
}

static inline void raw_close(struct raw *r)
{
    munmap(r->run, r->run_len);
    close(r->vcpu_fd);
    close(r->vm_fd);
}

static inline bool raw_has_sync_regs(const struct raw *r)
{
    const int wanted = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;

    return (ioctl(r->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & wanted) == wanted;
}

/* What the guest starts with; `s` holds what KVM_GET_SREGS gave. */
static inline void raw_fill_sregs(const struct raw *r, struct kvm_sregs *s)
{
    const struct raw_kind *k = r->kind;
    uint8_t ring = k->user ? 3 : 0;
    struct kvm_segment code = {.limit = 0xffffffff,
                               .selector = 8u | ring,
                               .type = 11,
                               .present = 1,
                               .dpl = ring,
                               .s = 1,
                               .g = 1,
                               .l = k->is_long,
                               .db = !k->is_long};
    struct kvm_segment data = {.limit = 0xffffffff,
                               .selector = 16u | ring,
                               .type = 3,
                               .present = 1,
                               .dpl = ring,
                               .s = 1,
                               .g = 1,
                               .db = 1};

    s->cs = code;
    s->ds = s->es = s->fs = s->gs = s->ss = data;
    s->cr0 = k->is_long ? 0x80050033 : k->paged ? 0x80010011 : 0x11;
    s->cr3 = k->paged ? RAW_TABLES : 0;
    s->cr4 = k->is_long ? 0x620 : 0;
    s->efer = k->is_long ? 0x500 : 0;
}

static inline void raw_set_sregs(const struct raw *r)
{
    struct kvm_sregs s = {.cr0 = 0};

    RAW_CALL(r->vcpu_fd, KVM_GET_SREGS, &s);
    raw_fill_sregs(r, &s);
    RAW_CALL(r->vcpu_fd, KVM_SET_SREGS, &s);
}

static inline struct kvm_regs raw_regs(unsigned code)
{
    return (struct kvm_regs){.rip = RAW_CODE + code, .rbp = RAW_PARAMS, .rflags = 2};
}

/* Registers for a run that writes to `n` pages, and `step` pages lie between two. */
static inline struct kvm_regs raw_regs_write(unsigned n, uint32_t step, uint32_t value)
{
    struct kvm_regs regs = raw_regs(RAW_WRITE);

    regs.rcx = n;
    regs.rdi = RAW_DATA;
    regs.rdx = (uint64_t)step * RAW_PAGE;
    regs.rax = value;
    return regs;
}

/* Run to the next exit, which must be the one that the guest makes. */
static inline void raw_run(const struct raw *r)
{
    int result = ioctl(r->vcpu_fd, KVM_RUN, 0);
    const struct kvm_run *run = r->run;
    unsigned wanted = r->kind->user ? KVM_EXIT_MMIO : KVM_EXIT_IO;

    if (result != 0 || run->exit_reason != wanted ||
        (r->kind->user ? run->mmio.phys_addr != RAW_NOTHING : run->io.port != 108))
        raw_die("%s: the guest did not get to its exit (result %d, exit %u)", r->kind->name, result,
                run->exit_reason);
}

/* Whether this KVM runs the kind: it exits, paging being on where it should. "" or why not. */
static inline const char *raw_probe(const struct raw_kind *kind)
{
    struct raw r = {.kind = kind};
    const char *wrong = "";
    struct kvm_regs regs = raw_regs(RAW_LOOP);
    unsigned wanted = kind->user ? KVM_EXIT_MMIO : KVM_EXIT_IO;

    r.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (r.kvm_fd < 0)
        return "cannot open /dev/kvm";
    raw_make_low(&r, false);
    raw_open_vm(&r);
    raw_open_vcpu(&r);
    raw_set_slot(&r, 0, 0, RAW_LOW_LEN, r.low, 0);
    raw_set_sregs(&r);
    RAW_CALL(r.vcpu_fd, KVM_SET_REGS, &regs);
    if (ioctl(r.vcpu_fd, KVM_RUN, 0) != 0 || r.run->exit_reason != wanted)
        wrong = kind->paged && !kind->is_long ? "this KVM does not do 32-bit paging"
                                              : "this KVM does not run such a guest";
    else if (!raw_has_sync_regs(&r))
        wrong = "this KVM has no SYNC_REGS";
    raw_close(&r);
    munmap(r.low, RAW_LOW_LEN);
    close(r.kvm_fd);
    return wrong;
}

#endif
