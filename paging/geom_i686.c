/*
 * Two-level tables of 4-byte entries (Intel SDM vol. 3A, 4.3): data only.
 */
#include "paging/geom.h"

#include "paging/pte.h"

const struct pt_geom geom_i686 = {
    .name = "i686",
    .levels = 2,
    .entry_len = 4,
    .index_bits = 10,
    .entries_n = 1024,
    .va_bits = 32,
    .sign_extended = false,
    .entry_mask = 0xffffffff,
    .table_pa = 0xfffff000,
    .nx = 0,
    .pointer = PTE_P | PTE_RW | PTE_US | PTE_A,
    .pointer_user = PTE_P | PTE_RW | PTE_US | PTE_A,
    .leaf_ro = PTE_P | PTE_A,
    .pa_end = (uint64_t)1 << 32,
    .level =
        {
            [1] = {.shift = 12, .ps = PS_IS_PAT, .leaf_pa = 0xfffff000},
            [2] = {.shift = 22,
                   .ps = PS_IF_PSE,
                   .leaf_pa = 0xffc00000,
                   .leaf_pa_high = 0x001fe000,
                   .leaf_rsvd = 0x00200000},
        },
};
