/*
 * A kernel with several address spaces: page directories that share all of the
 * kernel's tables, with a private page and a common one in each. It tells the
 * host of them and, restored, learns from the same list where they are now.
 *
 *   directory     0        1        2        3
 *   kernel        [------ the same tables ------]   image, stacks, scratch, KERNEL_AT
 *   PRIVATE_AT    page     page     page     page
 *   COMMON_AT     [-- one page, a table in each --]
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "guest-samples/guest_trap.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"

#define ROOTS_N 4

/* In the first quarter of what the top level maps there is nothing of the kernel's from here on. */
#define PRIVATE_AT ((uintptr_t)1 << (sizeof(uintptr_t) == 8 ? 40 : 28))
#define COMMON_AT  (PRIVATE_AT + GUEST_PAGE_LEN)
#define KERNEL_AT  0x80000000u

#define FLAGS_RW   (GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D)

static uint8_t *host_page(void)
{
    return (uint8_t *)(guest_scratch_top() - SCRATCH_HOST_PAGE);
}

/* Where directory `i` is now, by the list: no address of one is kept anywhere else. */
static uintptr_t root(uint32_t i)
{
    return (uintptr_t)load_le64(host_page() + HOST_PAGE_ROOTS + (uintptr_t)8 * (i % ROOTS_N));
}

static uint32_t active(void)
{
    return load_le32(host_page() + HOST_PAGE_ROOT_ACTIVE);
}

static uint32_t in(uint32_t i, uintptr_t at)
{
    uint32_t v;

    guest_write_cr3(root(i));
    v = *(volatile uint32_t *)at;
    guest_write_cr3(root(active()));
    return v;
}

static void put(uint32_t i, uintptr_t at, uint32_t v)
{
    guest_write_cr3(root(i));
    *(volatile uint32_t *)at = v;
    guest_write_cr3(root(active()));
}

/* How many directories the list has; an error if it is not one, or the active one of it not ours. */
static void roots(const struct msg_value *a, struct msg_result *r)
{
    const uint8_t *page = host_page();

    (void)a;
    if (load_le64(page + HOST_PAGE_ROOTS_MAGIC) != HOST_PAGE_ROOTS_VALUE)
        guest_return_error(r, GUEST_ERROR_GENERAL, "the list has no mark");
    else if (root(active()) != guest_read_cr3())
        guest_return_error(r, GUEST_ERROR_GENERAL, "the active directory is not CR3");
    else
        guest_return_bits(r, MSG_UINT, load_le32(page + HOST_PAGE_ROOTS_N));
}

static void which(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_UINT, active());
}

/* enter(i): from now on directory i is the active one. */
static void enter(const struct msg_value *a, struct msg_result *r)
{
    uint32_t i = (uint32_t)a[0].bits % ROOTS_N;

    store_le32(host_page() + HOST_PAGE_ROOT_ACTIVE, i);
    guest_write_cr3(root(i));
    guest_return_void(r);
}

static void read_private(const struct msg_value *a, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, in((uint32_t)a[0].bits, PRIVATE_AT));
}

static void write_private(const struct msg_value *a, struct msg_result *r)
{
    put((uint32_t)a[0].bits, PRIVATE_AT, (uint32_t)a[1].bits);
    guest_return_void(r);
}

static void read_common(const struct msg_value *a, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, in((uint32_t)a[0].bits, COMMON_AT));
}

static void write_common(const struct msg_value *a, struct msg_result *r)
{
    put((uint32_t)a[0].bits, COMMON_AT, (uint32_t)a[1].bits);
    guest_return_void(r);
}

static void read_kernel(const struct msg_value *a, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, in((uint32_t)a[0].bits, KERNEL_AT));
}

static void write_kernel(const struct msg_value *a, struct msg_result *r)
{
    put((uint32_t)a[0].bits, KERNEL_AT, (uint32_t)a[1].bits);
    guest_return_void(r);
}

const struct guest_function guest_functions[] = {
    {"roots", 0, {0}, roots},
    {"active", 0, {0}, which},
    {"enter", 1, {MSG_UINT}, enter},
    {"read_private", 1, {MSG_UINT}, read_private},
    {"write_private", 2, {MSG_UINT, MSG_UINT}, write_private},
    {"read_common", 1, {MSG_UINT}, read_common},
    {"write_common", 2, {MSG_UINT, MSG_UINT}, write_common},
    {"read_kernel", 1, {MSG_UINT}, read_kernel},
    {"write_kernel", 2, {MSG_UINT, MSG_UINT}, write_kernel},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
    uint64_t common = guest_alloc_pages(1);
    uintptr_t kernel = guest_read_cr3();
    uint32_t i, word;

    guest_map(KERNEL_AT, guest_alloc_pages(1), FLAGS_RW);
    store_le64(host_page() + HOST_PAGE_ROOTS, kernel);
    for (i = 1; i < ROOTS_N; i++) {
        uint64_t copy = guest_alloc_pages(1);

        for (word = 0; word < GUEST_PAGE_LEN / sizeof(uintptr_t); word++)
            ((volatile uintptr_t *)guest_window(copy))[word] =
                ((volatile uintptr_t *)guest_window(kernel))[word];
        store_le64(host_page() + HOST_PAGE_ROOTS + (uintptr_t)8 * i, copy);
    }
    store_le32(host_page() + HOST_PAGE_ROOTS_N, ROOTS_N);
    store_le32(host_page() + HOST_PAGE_ROOT_ACTIVE, 0);
    for (i = 0; i < ROOTS_N; i++) {
        guest_write_cr3(root(i));
        guest_map(PRIVATE_AT, guest_alloc_pages(1), FLAGS_RW);
        guest_map(COMMON_AT, common, FLAGS_RW);
        *(volatile uint32_t *)PRIVATE_AT = 100 + i;
    }
    guest_write_cr3(kernel);
    store_le64(host_page() + HOST_PAGE_ROOTS_MAGIC, HOST_PAGE_ROOTS_VALUE);
}
