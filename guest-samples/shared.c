/* One physical page at two writable addresses and at a third that is read-only: it is one page for ever. */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"

/* Away from the image, each in a table of its own. */
#define AT_A           0x50000000u
#define AT_B           0x60000000u
#define AT_R           0x70000000u

#define FLAGS_RW       (GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D)
#define FLAGS_RO       (GUEST_PTE_P | GUEST_PTE_A)

#define ADDRESS(entry) ((entry)&0x000ffffffffff000)

static void write_word(uintptr_t at, const struct msg_value *a, struct msg_result *r)
{
    *(volatile uint32_t *)at = (uint32_t)a[0].bits;
    guest_return_void(r);
}

static void read_word(uintptr_t at, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, *(volatile uint32_t *)at);
}

static void write_a(const struct msg_value *a, struct msg_result *r)
{
    write_word(AT_A, a, r);
}

static void write_b(const struct msg_value *a, struct msg_result *r)
{
    write_word(AT_B, a, r);
}

static void write_r(const struct msg_value *a, struct msg_result *r)
{
    write_word(AT_R, a, r);
}

static void read_a(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    read_word(AT_A, r);
}

static void read_b(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    read_word(AT_B, r);
}

static void read_r(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    read_word(AT_R, r);
}

/* Whether the three entries say the same page, two of them writable. */
static void same(const struct msg_value *a, struct msg_result *r)
{
    uint64_t e = guest_entry(AT_A), f = guest_entry(AT_B), g = guest_entry(AT_R);

    (void)a;
    guest_return_bits(r, MSG_BOOL,
                      ADDRESS(e) == ADDRESS(f) && ADDRESS(e) == ADDRESS(g) && (e & f & GUEST_PTE_RW) != 0 &&
                          (g & GUEST_PTE_RW) == 0);
}

const struct guest_function guest_functions[] = {
    {"write_a", 1, {MSG_UINT}, write_a},
    {"write_b", 1, {MSG_UINT}, write_b},
    {"write_r", 1, {MSG_UINT}, write_r},
    {"read_a", 0, {0}, read_a},
    {"read_b", 0, {0}, read_b},
    {"read_r", 0, {0}, read_r},
    {"same", 0, {0}, same},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
    uint64_t page = guest_alloc_pages(1);

    guest_map(AT_A, page, FLAGS_RW);
    guest_map(AT_B, page, FLAGS_RW);
    guest_map(AT_R, page, FLAGS_RO);
}
