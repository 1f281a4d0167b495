/* What the host tells a guest about where it comes from: generation, time, randomness. */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"

static uint8_t *top(uintptr_t distance)
{
    return (uint8_t *)(guest_scratch_top() - distance);
}

static void generation(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_ULONG, load_le64(top(SCRATCH_GENERATION_WORD)));
}

/* The request to reseed, as it stands. */
static void rng(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_ULONG, load_le64(top(SCRATCH_RNG_WORD)));
}

/* Do as it asks: the seed, and 0 in the word. */
static void reseed(const struct msg_value *a, struct msg_result *r)
{
    uint64_t word = load_le64(top(SCRATCH_RNG_WORD));

    (void)a;
    if ((word & RNG_REQUEST) == 0) {
        guest_return_error(r, GUEST_ERROR_GENERAL, "nobody asked");
        return;
    }
    store_le64(top(SCRATCH_RNG_WORD), 0);
    guest_return_bits(r, MSG_UINT, (uint32_t)word);
}

/* ns since 1970 when this guest was started or restored, 0 without a host page. */
static void started(const struct msg_value *a, struct msg_result *r)
{
    const uint8_t *page = top(SCRATCH_HOST_PAGE);

    (void)a;
    guest_return_bits(r, MSG_ULONG,
                      load_le64(page + HOST_PAGE_MAGIC) == HOST_PAGE_MAGIC_VALUE
                          ? load_le64(page + HOST_PAGE_WALL_CLOCK)
                          : 0);
}

static void random_bytes(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bytes(r, MSG_BYTES, top(SCRATCH_HOST_PAGE) + HOST_PAGE_RANDOM, HOST_PAGE_RANDOM_LEN);
}

static uint64_t calls_n;

static void count(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_bits(r, MSG_ULONG, ++calls_n);
}

const struct guest_function guest_functions[] = {
    {"generation", 0, {0}, generation},
    {"rng", 0, {0}, rng},
    {"reseed", 0, {0}, reseed},
    {"started", 0, {0}, started},
    {"random", 0, {0}, random_bytes},
    {"count", 0, {0}, count},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
}
