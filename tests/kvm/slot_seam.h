/*
 * The ioctl seam: KVM_SET_USER_MEMORY_REGION as KVM answers it, without KVM.
 * Keeps what is mapped, refuses what KVM refuses, and fails the n-th call when
 * told. Link with -Wl,--wrap=ioctl.
 */
#ifndef TESTS_KVM_SLOT_SEAM_H
#define TESTS_KVM_SLOT_SEAM_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define SEAM_FD      12345
#define SEAM_SLOTS_N 64
#define SEAM_CALLS_N 256

static struct {
    struct kvm_userspace_memory_region slot[SEAM_SLOTS_N]; /* memory_size 0: free */
    struct kvm_userspace_memory_region call[SEAM_CALLS_N]; /* those that succeeded, in order */
    unsigned calls_n;
    unsigned tried_n; /* calls, failed ones too */
    unsigned fail_at; /* fail the call with this number (from 1); 0 = none */
    unsigned fail_n;  /* how many from there on */
    int fail_errno;
    uint64_t foreign; /* a page where KVM has a slot of its own; 0 = none */
} seam;

int __wrap_ioctl(int fd, unsigned long request, ...);

static bool seam_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a_len != 0 && b_len != 0 && a <= b + (b_len - 1) && b <= a + (a_len - 1);
}

/* Documentation/virt/kvm/api.rst and kvm_set_memory_region() */
static int seam_set_slot(const struct kvm_userspace_memory_region *r)
{
    unsigned i;

    if (r->slot >= SEAM_SLOTS_N || (r->guest_phys_addr | r->memory_size | r->userspace_addr) % 4096 != 0)
        return EINVAL;
    if (r->memory_size == 0) {
        if (seam.slot[r->slot].memory_size == 0)
            return EINVAL;
        seam.slot[r->slot] = *r;
        return 0;
    }
    if (r->guest_phys_addr + r->memory_size < r->guest_phys_addr || seam.slot[r->slot].memory_size != 0)
        return EINVAL;
    if (seam.foreign != 0 && seam_overlap(r->guest_phys_addr, r->memory_size, seam.foreign, 4096))
        return EEXIST;
    for (i = 0; i < SEAM_SLOTS_N; i++)
        if (seam_overlap(r->guest_phys_addr, r->memory_size, seam.slot[i].guest_phys_addr,
                         seam.slot[i].memory_size))
            return EEXIST;
    seam.slot[r->slot] = *r;
    return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    const struct kvm_userspace_memory_region *r;
    va_list ap;

    va_start(ap, request);
    r = va_arg(ap, const struct kvm_userspace_memory_region *);
    va_end(ap);
    if (fd != SEAM_FD || (uint32_t)request != (uint32_t)KVM_SET_USER_MEMORY_REGION) {
        printf("Bail out! an ioctl that nobody expected (%d, 0x%lx)\n", fd, request);
        exit(1);
    }
    seam.tried_n++;
    if (seam.fail_at != 0 && seam.tried_n >= seam.fail_at && seam.tried_n < seam.fail_at + seam.fail_n)
        errno = seam.fail_errno;
    else
        errno = seam_set_slot(r);
    if (errno != 0)
        return -1;
    if (seam.calls_n < SEAM_CALLS_N)
        seam.call[seam.calls_n++] = *r;
    return 0;
}

static inline void seam_reset(void)
{
    memset(&seam, 0, sizeof(seam));
}

static inline unsigned seam_in_use(void)
{
    unsigned i, n = 0;

    for (i = 0; i < SEAM_SLOTS_N; i++)
        n += seam.slot[i].memory_size != 0;
    return n;
}

/* How many bytes from guest address `at` on one slot backs, and with what; 0: none does. */
static inline uint64_t seam_backed(uint64_t at, uint64_t *host, bool *readonly)
{
    unsigned i;

    for (i = 0; i < SEAM_SLOTS_N; i++) {
        const struct kvm_userspace_memory_region *s = &seam.slot[i];

        if (s->memory_size != 0 && at >= s->guest_phys_addr && at - s->guest_phys_addr < s->memory_size) {
            *host = s->userspace_addr + (at - s->guest_phys_addr);
            *readonly = (s->flags & KVM_MEM_READONLY) != 0;
            return s->memory_size - (at - s->guest_phys_addr);
        }
    }
    return 0;
}

#endif
