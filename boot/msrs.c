/* The MSRs of a guest, as data. See msrs.h. */
#include "boot/msrs.h"

#include "boot/snapshot.h"
#include "boot/x86.h"

const uint32_t guest_msrs[GUEST_MSRS_N] = {
    0x00000010, /* TSC */
    0x00000174, /* SYSENTER_CS */
    0x00000175, /* SYSENTER_ESP */
    0x00000176, /* SYSENTER_EIP */
    MSR_EFER,   /* its value travels with the system registers */
    0xc0000081, /* STAR */
    0xc0000082, /* LSTAR */
    0xc0000083, /* CSTAR */
    0xc0000084, /* SFMASK */
    0xc0000100, /* FS_BASE: with the system registers */
    0xc0000101, /* GS_BASE: likewise */
    0xc0000102, /* KERNEL_GS_BASE */
};

_Static_assert(GUEST_MSRS_N <= SNAPSHOT_MSRS_MAX, "a snapshot holds them all");

/* EFER and the segment bases are system registers to KVM: one owner each. */
static bool is_in_sregs(uint32_t index)
{
    return index == MSR_EFER || index == 0xc0000100 || index == 0xc0000101;
}

bool guest_msr_is_captured(uint32_t index)
{
    unsigned i;

    for (i = 0; i < GUEST_MSRS_N; i++)
        if (guest_msrs[i] == index)
            return !is_in_sregs(index);
    return false;
}

bool guest_msr_is_address(uint32_t index)
{
    return index == 0x175 || index == 0x176 || index == 0xc0000082 || index == 0xc0000083 ||
           index == 0xc0000102;
}
