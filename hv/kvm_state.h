/*
 * The parts of a vCPU's and a machine's state beside its registers, as KVM
 * gives and takes them: bytes that nobody here looks into. hv/state decides
 * what becomes of them.
 */
#ifndef HV_KVM_STATE_H
#define HV_KVM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/cpu.h"
#include "hv/kvm.h"
#include "mem/error.h"

/* Which machines have a part; one of SAVED all have, and only a machine that was saved is given it back. */
enum part_of { PART_OF_ALL, PART_OF_IRQCHIP, PART_OF_PIT, PART_OF_SAVED };

/* One part. `get` and `set` move `len` bytes; both fail with STATUS_HOST and the ioctl's name. */
struct kvm_part {
    const char *name;
    uint16_t len;
    uint8_t part_of; /* enum part_of */
    uint8_t id;      /* in snapshot files */
    bool late;       /* to be set after the registers, which undo it */
    int (*get)(struct machine *m, void *out, struct err *e);
    int (*set)(struct machine *m, const void *in, struct err *e);
};

#define KVM_PART_XCR0 1  /* id; without XSAVE in CPUID a guest cannot change it */
#define KVM_PART_RUN  10 /* without a local APIC a vCPU has one */

/* All parts, in the order in which they have to be set; a NULL name ends the list. */
extern const struct kvm_part kvm_parts[];

/* Whether the vCPU is asleep in HLT, in a machine with irqchip, where KVM does not tell. */
bool machine_sleeps(struct machine *m);

/* Whether the bytes of a part that came from a file could leave the vCPU in a state that no guest gets it into. */
bool kvm_part_is_sane(const struct kvm_part *p, const uint8_t *bytes);

/*
 * Fill in the values of `*n` MSRs, and drop those that KVM does not read or
 * does not take back, as some hosts do: such an MSR no guest can change.
 */
int kvm_keep_msrs(struct machine *m, struct cpu_msr *msrs, unsigned *n, struct err *e);

/*
 * The MSRs of this KVM that can be read and written back, those that it does not list included, with the values
 * they have now. *out is the caller's to free; *n at most KVM_MSRS_MAX.
 */
#define KVM_MSRS_MAX 512
int kvm_list_msrs(int kvm_fd, struct machine *m, struct cpu_msr **out, unsigned *n, struct err *e);

/* Read the MSRs whose indices are filled in; write them all. STATUS_IMAGE names the first that KVM refuses. */
int machine_get_msrs(struct machine *m, struct cpu_msr *msrs, unsigned n, struct err *e);
int machine_set_msrs(struct machine *m, const struct cpu_msr *msrs, unsigned n, struct err *e);

/* Where KVM can, leave the guest one bank of machine check MSRs of 32: it may write to all. Before the first run. */
void machine_spare_banks(struct machine *m);

/*
 * From now on the guest's access to any MSR but `allowed`, which ascend, is a
 * #GP. Before the first run. STATUS_UNSUPPORTED where KVM has no such filter.
 * At most KVM_FILTER_MAX.
 */
#define KVM_FILTER_MAX 15
int machine_filter_msrs(struct machine *m, const uint32_t *allowed, unsigned n, struct err *e);

#endif
