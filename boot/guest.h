/*
 * The kinds of guests of the ABI, as data: where their memory lies, what their
 * tables look like and what the registers hold at the first instruction. The
 * floors above and below ask these structs, never "which guest is this?".
 */
#ifndef BOOT_GUEST_H
#define BOOT_GUEST_H

#include <stdbool.h>

#include "boot/cpu.h"
#include "boot/elf.h"
#include "mem/error.h"
#include "mem/layout.h"
#include "paging/geom.h"

struct guest_kind {
    const char *name; /* "amd64", "i686", "i686-identity" */
    enum elf_machine machine;
    const struct plan_rules *rules;
    const struct pt_geom *geom; /* NULL: runs without page tables */
    unsigned phys_bits;         /* MAXPHYADDR to report in CPUID */
    unsigned addr_digits;       /* hex digits of an address, for messages */
    uint64_t cr0, cr4, efer;
    const struct cpu_segment *code;
    const struct cpu_segment *data; /* NULL: null selectors */
    bool gdt;                       /* GDTR points at the host page's GDT */
    bool filter_msrs;               /* the guest may use only the MSRs that hv/state knows */
};

/* NULL-terminated lists of the kinds this binary runs. The i686 list is empty without I686_GUEST=1. */
extern const struct guest_kind *const guest_amd64_kinds[];
extern const struct guest_kind *const guest_i686_kinds[];

/* Which memory model an image is wanted in: by its own note, or as the user says. */
enum guest_paging { GUEST_PAGING_AUTO, GUEST_PAGING_ON, GUEST_PAGING_OFF };

/*
 * The kind that runs `elf`. STATUS_IMAGE when this binary has none, with a
 * hint that names the switch to build with; STATUS_USAGE for paging off on
 * amd64, which has no such mode.
 */
int guest_find(const struct elf_image *elf, enum guest_paging paging, const char *name,
               const struct guest_kind **out, struct err *e);

/* Every kind of this binary in a fixed order: amd64 first. NULL past the last. */
const struct guest_kind *guest_kind_at(unsigned i);

/* System registers at the first instruction of a guest laid out as `l` says. */
struct cpu_sregs guest_first_sregs(const struct guest_kind *k, const struct layout *l);

#endif
