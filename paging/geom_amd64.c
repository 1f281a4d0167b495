/*
 * Four-level tables of 8-byte entries (Intel SDM vol. 3A, 4.5): data only.
 */
#include "paging/geom.h"

#include "paging/pte.h"

const struct pt_geom geom_amd64 = {
    .name = "amd64",
    .levels = 4,
    .entry_len = 8,
    .index_bits = 9,
    .entries_n = 512,
    .va_bits = 48,
    .sign_extended = true,
    .entry_mask = UINT64_MAX,
    .table_pa = 0x000ffffffffff000,
    .nx = PTE_NX,
    .pointer = PTE_P | PTE_RW | PTE_A,
    .pointer_user = PTE_P | PTE_RW | PTE_US | PTE_A,
    .leaf_ro = PTE_P | PTE_A | PTE_D,
    .pa_end = (uint64_t)1 << 52,
    .level =
        {
            [1] = {.shift = 12, .ps = PS_IS_PAT, .leaf_pa = 0x000ffffffffff000},
            [2] = {.shift = 21, .ps = PS_ALWAYS, .leaf_pa = 0x000fffffffe00000, .leaf_rsvd = 0x001fe000},
            [3] = {.shift = 30, .ps = PS_IF_PAGE1G, .leaf_pa = 0x000fffffc0000000, .leaf_rsvd = 0x3fffe000},
            [4] = {.shift = 39, .ps = PS_RESERVED},
        },
};
