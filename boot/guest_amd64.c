/* The amd64 kind: long mode, four-level tables, copy-on-write by the guest. */
#include <stddef.h>

#include "boot/gdt.h"
#include "boot/guest.h"
#include "boot/x86.h"
#include "mem/guest_abi.h"
#include "mem/num.h"

static const struct plan_rules amd64_rules = {
    .kind = "amd64",
    .model = MODEL_PAGED,
    .base_default = AMD64_BASE,
    .phys_top = AMD64_PHYS_TOP,
    .virt_top = AMD64_VIRT_TOP,
    .region_max = ((uint64_t)16 << 30) - AMD64_BASE,
    .tables = {.levels = 4, .index_bits = 9},
    .dropped_start = AMD64_DROPPED_START,
    .dropped_len = AMD64_DROPPED_LEN,
};

static const struct guest_kind amd64 = {
    .name = "amd64",
    .machine = ELF_X86_64,
    .rules = &amd64_rules,
    .geom = &geom_amd64,
    .phys_bits = 36,
    .addr_digits = 16,
    .cr0 = CR0_PG | CR0_AM | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE,
    .cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
    .efer = EFER_NXE | EFER_LMA | EFER_LME | EFER_SCE,
    .code = &gdt_code64,
    .data = NULL,
    .gdt = false,
    .filter_msrs = true,
};

const struct guest_kind *const guest_amd64_kinds[] = {&amd64, NULL};
