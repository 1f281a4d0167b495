/* The model-specific registers that are part of a guest. */
#ifndef BOOT_MSRS_H
#define BOOT_MSRS_H

#include <stdbool.h>
#include <stdint.h>

#define GUEST_MSRS_N 12

/* Indices, ascending (SDM 4, "Architectural MSRs"); an amd64 guest may touch no others. */
extern const uint32_t guest_msrs[GUEST_MSRS_N];

/* Whether a snapshot lists it: one of guest_msrs whose value does not travel with the system registers. */
bool guest_msr_is_captured(uint32_t index);

/* Whether it holds an address, which has to be canonical. */
bool guest_msr_is_address(uint32_t index);

#endif
