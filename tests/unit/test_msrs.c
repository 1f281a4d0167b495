/* boot/msrs: what is part of a guest, and what has to be an address, against the manual's numbers. */
#include "boot/msrs.h"

#include "tests/tap.h"

static const struct {
    uint32_t index;
    bool captured, address;
} row[] = {
    {0x10, true, false},        {0x174, true, false},       {0x175, true, true},
    {0x176, true, true},        {0xc0000080, false, false}, {0xc0000081, true, false},
    {0xc0000082, true, true},   {0xc0000083, true, true},   {0xc0000084, true, false},
    {0xc0000100, false, false}, {0xc0000101, false, false}, {0xc0000102, true, true},
};

#define ROWS_N (sizeof(row) / sizeof(row[0]))

int main(void)
{
    uint32_t index, i;
    unsigned wrong = 0;

    tap_case("a guest has these MSRs and no other, in ascending order");
    CHECK_EQ(ROWS_N, GUEST_MSRS_N);
    for (i = 0; i < ROWS_N; i++)
        CHECK_EQ(guest_msrs[i], row[i].index);

    tap_case("those whose value does not travel with the system registers are captured");
    for (i = 0; i < ROWS_N; i++)
        if (!CHECK(guest_msr_is_captured(row[i].index) == row[i].captured))
            printf("# MSR 0x%x\n", row[i].index);

    tap_case("those that processors use as addresses have to be addresses");
    for (i = 0; i < ROWS_N; i++)
        if (!CHECK(guest_msr_is_address(row[i].index) == row[i].address))
            printf("# MSR 0x%x\n", row[i].index);

    tap_case("nothing near them is either");
    for (index = 0; index < 0x1000; index++)
        for (i = 0; i < 2; i++) {
            uint32_t other = index | (i ? 0xc0000000 : 0);
            unsigned r = 0;

            while (r < ROWS_N && row[r].index != other)
                r++;
            wrong += r == ROWS_N && (guest_msr_is_captured(other) || guest_msr_is_address(other));
        }
    CHECK_EQ(wrong, 0);
    return tap_done();
}
