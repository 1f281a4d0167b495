/* The i686 kinds: two-level paging with copy-on-write by the guest, and identity (paging off). */
#include <stddef.h>

#include "boot/gdt.h"
#include "boot/guest.h"
#include "boot/x86.h"
#include "mem/guest_abi.h"

static const struct plan_rules paged_rules = {
    .kind = "i686",
    .model = MODEL_PAGED,
    .base_default = I686_BASE,
    .phys_top = I686_PHYS_TOP,
    .virt_top = I686_VIRT_TOP,
    .region_max = I686_PHYS_TOP - I686_BASE,
    .tables = {.levels = 2, .index_bits = 10},
};

static const struct plan_rules identity_rules = {
    .kind = "i686-identity",
    .model = MODEL_IDENTITY,
    .base_default = I686_BASE,
    .phys_top = I686_PHYS_TOP,
    .virt_top = I686_PHYS_TOP,
    .region_max = I686_PHYS_TOP - I686_BASE,
};

static const struct guest_kind paged = {
    .name = "i686",
    .machine = ELF_I386,
    .rules = &paged_rules,
    .geom = &geom_i686,
    .phys_bits = 32,
    .addr_digits = 8,
    .cr0 = CR0_PG | CR0_WP | CR0_ET | CR0_PE,
    .code = &gdt_code32,
    .data = &gdt_data32,
    .gdt = true,
};

static const struct guest_kind identity = {
    .name = "i686-identity",
    .machine = ELF_I386,
    .rules = &identity_rules,
    .geom = NULL,
    .phys_bits = 32,
    .addr_digits = 8,
    .cr0 = CR0_ET | CR0_PE,
    .code = &gdt_code32,
    .data = &gdt_data32,
    .gdt = true,
};

const struct guest_kind *const guest_i686_kinds[] = {&paged, &identity, NULL};
