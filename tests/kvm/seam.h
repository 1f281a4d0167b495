/*
 * The seam between vmm and KVM, for the tests in tests/kvm: with --wrap=ioctl
 * every call comes through here. The memory slots that KVM really has are
 * written down, and the Nth call can be made to fail.
 *
 * A test is a table of cases. Without /dev/kvm, or where a case needs 32-bit
 * paging and this KVM has none, it is skipped by name: the lab runs it.
 */
#ifndef TESTS_KVM_SEAM_H
#define TESTS_KVM_SEAM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/kvm.h"
#include "hv/probe.h"
#include "mem/error.h"
#include "tests/tap.h"

#define SEAM_SLOTS_MAX 64
#define SEAM_FDS_MAX   256

struct seam_slot {
    int vm_fd;
    uint32_t slot;
    uint64_t at, len, host;
    bool readonly;
};

static struct {
    /* Set by the test. */
    uint32_t fail_request; /* which ioctl is counted; 0 = every one */
    unsigned fail_at;      /* the number of the call to fail, from 1; 0 = none */
    int fail_errno;
    unsigned signal_at;     /* the number of the KVM_RUN, from 1, behind which SIGUSR1 comes; 0 = none */
    uint32_t grant_request; /* an ioctl that is not made, and succeeds; 0 = none */
    uint32_t copy_request;  /* an ioctl whose argument is kept, copy_len bytes of it */
    void *copy;
    size_t copy_len;
    uint32_t mask_request; /* an ioctl during which the signal mask is looked at */
    uint64_t foreign_at;   /* not 0: a new machine gets a page there that vmm knows nothing of */

    /* What was seen since seam_reset. */
    unsigned calls_n; /* that were counted */
    unsigned masks_n; /* calls of mask_request */
    sigset_t mask;    /* at the last of them */
    unsigned runs_n;  /* KVM_RUN's that came back with an exit */
    uint32_t failed_request;
    struct seam_slot slots[SEAM_SLOTS_MAX];
    unsigned slots_n;
    bool foreign_there; /* at foreign_at, ours or KVM's own */
    bool odd;           /* a slot was deleted that is not there, or there are too many */
    int vm_fd;          /* of the machine made last */
    unsigned
        drops_n; /* calls that made KVM drop translations: paging changed by KVM_SET_SREGS, a slot went */
} seam;

static uint8_t seam_foreign_page[4096] __attribute__((aligned(4096)));

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, int request, ...);

static inline void seam_reset(void)
{
    memset(&seam, 0, sizeof(seam));
    seam.vm_fd = -1;
}

static inline void seam_fail(uint32_t request, unsigned at, int errnum)
{
    seam.fail_request = request;
    seam.fail_at = at;
    seam.fail_errno = errnum;
    seam.failed_request = 0;
    seam.calls_n = 0;
}

/* A page that somebody else put into the machine, under the last slot number. 0 or errno. */
static inline int seam_set_foreign(int vm_fd, uint64_t at, bool there)
{
    int slots_n = __real_ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    struct kvm_userspace_memory_region r = {
        .slot = (uint32_t)(slots_n > 0 ? slots_n : 32) - 1,
        .guest_phys_addr = at,
        .memory_size = there ? sizeof(seam_foreign_page) : 0,
        .userspace_addr = (uintptr_t)seam_foreign_page,
    };

    return __real_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &r) == 0 ? 0 : errno;
}

static inline void seam_note_slot(int vm_fd, const struct kvm_userspace_memory_region *r)
{
    unsigned i;

    for (i = 0; i < seam.slots_n; i++)
        if (seam.slots[i].vm_fd == vm_fd && seam.slots[i].slot == r->slot)
            break;
    if (r->memory_size == 0) {
        seam.drops_n++;
        if (i == seam.slots_n) {
            seam.odd = true;
            return;
        }
        seam.slots[i] = seam.slots[--seam.slots_n];
        return;
    }
    if (i == SEAM_SLOTS_MAX) {
        seam.odd = true;
        return;
    }
    seam.slots_n += i == seam.slots_n;
    seam.slots[i] = (struct seam_slot){
        .vm_fd = vm_fd,
        .slot = r->slot,
        .at = r->guest_phys_addr,
        .len = r->memory_size,
        .host = r->userspace_addr,
        .readonly = (r->flags & KVM_MEM_READONLY) != 0,
    };
}

/* Whether KVM takes these for a change of how the guest's addresses are translated. */
static inline bool seam_paging_differs(int vcpu_fd, const struct kvm_sregs *to)
{
    struct kvm_sregs now;

    return __real_ioctl(vcpu_fd, KVM_GET_SREGS, &now) == 0 &&
           (now.cr0 != to->cr0 || now.cr3 != to->cr3 || now.cr4 != to->cr4 || now.efer != to->efer);
}

/* musl's second parameter is an int, glibc's an unsigned long: only 32 bits of it count. */
int __wrap_ioctl(int fd, int request, ...)
{
    uint32_t req = (uint32_t)request;
    bool counted = seam.fail_request == 0 || seam.fail_request == req;
    void *arg;
    va_list ap;
    int result;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (counted) {
        seam.calls_n++;
        if (seam.calls_n == seam.fail_at) {
            seam.failed_request = req;
            errno = seam.fail_errno;
            return -1;
        }
    }
    if (seam.copy_request != 0 && seam.copy_request == req)
        memcpy(seam.copy, arg, seam.copy_len);
    if (seam.mask_request != 0 && seam.mask_request == req) {
        seam.masks_n++;
        sigprocmask(SIG_BLOCK, NULL, &seam.mask);
    }
    if (seam.grant_request != 0 && seam.grant_request == req)
        return 0;
    /* KVM makes its own page with the vCPU; where it does, ours has to make room for it. */
    if (req == KVM_CREATE_VCPU && seam.foreign_at != 0)
        seam_set_foreign(fd, seam.foreign_at, false);
    seam.drops_n += req == (uint32_t)KVM_SET_SREGS && seam_paging_differs(fd, arg);
    result = __real_ioctl(fd, req, arg);
    /* A signal came amid it: it is made once more, and counted then. */
    if (result < 0 && errno == EINTR && req == KVM_CREATE_VM && counted)
        seam.calls_n--;
    if (result == 0 && req == KVM_RUN && ++seam.runs_n == seam.signal_at)
        raise(SIGUSR1);
    if (result == 0 && req == KVM_SET_USER_MEMORY_REGION)
        seam_note_slot(fd, arg);
    if (result >= 0 && req == KVM_CREATE_VM)
        seam.vm_fd = result;
    if (result >= 0 && (req == KVM_CREATE_VM || req == KVM_CREATE_VCPU) && seam.foreign_at != 0) {
        int errnum = seam_set_foreign(req == KVM_CREATE_VM ? result : fd, seam.foreign_at, true);

        seam.foreign_there = errnum == 0 || errnum == EEXIST;
    }
    return result;
}

/*
 * Whether KVM has exactly [at, at + len) but for the `holes_n` pages of
 * `holes` inside it, all of it backed by `host` in one piece.
 */
static inline bool seam_is_covered(uint64_t at, uint64_t len, const void *host, const uint64_t *holes,
                                   unsigned holes_n)
{
    uint64_t total = 0, wanted = len;
    unsigned i, j;

    for (j = 0; j < holes_n; j++)
        if (holes[j] >= at && holes[j] < at + len)
            wanted -= 4096;
    for (i = 0; i < seam.slots_n; i++) {
        const struct seam_slot *s = &seam.slots[i];

        if (s->at + s->len <= at || s->at >= at + len)
            continue;
        if (s->at < at || s->at + s->len > at + len || s->host != (uintptr_t)host + (s->at - at))
            return false;
        for (j = 0; j < holes_n; j++)
            if (holes[j] >= s->at && holes[j] < s->at + s->len)
                return false;
        total += s->len;
    }
    /* KVM refuses slots that overlap, so the sum is the union. */
    return total == wanted && !seam.odd;
}

/* Open descriptors of this process. */
static inline unsigned seam_count_fds(void)
{
    unsigned n = 0;
    int fd;

    for (fd = 0; fd < SEAM_FDS_MAX; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/*
 * Bytes this process has mapped, and how many of its mappings are a vCPU's run
 * page; both 0 where there is no /proc to tell.
 */
static inline uint64_t seam_count_mapped(unsigned *run_pages_n)
{
    FILE *f = fopen("/proc/self/maps", "re");
    uint64_t from, to, total = 0;
    char line[512], *end;

    *run_pages_n = 0;
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        /* "from-to rights ..." */
        from = strtoull(line, &end, 16);
        to = strtoull(end + (*end == '-'), NULL, 16);
        total += to - from;
        *run_pages_n += strstr(line, "kvm-vcpu") != NULL;
    }
    fclose(f);
    return total;
}

/* --- cases ------------------------------------------------------------------------------------------ */

struct kvm_case {
    const char *name;
    void (*run)(int kvm_fd, const struct kvm_case *c);
    bool paging32;    /* needs a KVM that does 32-bit paging */
    const char *kind; /* of guest; whatever `run` makes of it */
    uint64_t n;
    bool walking; /* needs a KVM that has the CPU walk the guest's tables */
};

static inline int seam_run_cases(const struct kvm_case *cases, unsigned cases_n)
{
    bool paging32 = false, walking = false;
    struct err e = {.text = ""};
    int fd = -1;
    unsigned i;

    seam_reset();
    if (kvm_open(&fd, &e) == 0) {
        paging32 = probe_paging32(fd, &e) == 1;
        walking = !kvm_shadows_tables(fd);
    }
    for (i = 0; i < cases_n; i++) {
        const struct kvm_case *c = &cases[i];

        if (fd < 0) {
            tap_skip(c->name, "there is no KVM here (lab)");
        } else if (c->paging32 && !paging32) {
            tap_skip(c->name, "this KVM does not do 32-bit paging (lab)");
        } else if (c->walking && !walking) {
            tap_skip(c->name, "this KVM shadows page tables and emulates guests (lab)");
        } else {
            tap_case(c->name);
            seam_reset();
            c->run(fd, c);
            CHECK(!seam.odd);
        }
    }
    if (fd >= 0)
        close(fd);
    return tap_done();
}

#endif
