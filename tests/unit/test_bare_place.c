/*
 * boot/bare: what the loaders share, where no single format shows it. Only for
 * flavours that have loaders.
 */
#include "boot/bare_place.h"

#include "tests/tap.h"

#define MIB ((uint64_t)1 << 20)

static struct err err;

static void test_memory_map(void)
{
    static const uint64_t lens[] = {MIB, MIB + 0x1000, BARE_RAM_MAX};
    struct {
        uint64_t at, len, type;
    } map[E820_MAX] = {{0}};
    unsigned i, n;

    tap_case("memory maps cover RAM without a gap, and offer no byte of a screen or a BIOS");
    for (i = 0; i < 3; i++) {
        n = bare_memory_map(lens[i], (uint8_t *)map, sizeof(map[0]));
        CHECK_EQ(n, i == 0 ? 2 : 3);
        CHECK(map[0].at == 0 && map[0].len == 0x9fc00 && map[0].type == 1);
        CHECK(map[1].at == 0x9fc00 && map[1].at + map[1].len == MIB && map[1].type == 2);
        CHECK(n == 2 || (map[2].at == MIB && map[2].at + map[2].len == lens[i] && map[2].type == 1));
    }
}

/* Random pieces: whatever is taken, no byte is given out twice. */
static void test_pieces(void)
{
    static uint8_t owner[2 * MIB / 16];
    uint64_t seed = 11;
    unsigned round;

    tap_case("pieces never meet, and places are the lowest");
    for (round = 0; round < 200; round++) {
        struct bare_ram r = {.len = 2 * MIB, .name = "r", .kernel_end = MIB};
        unsigned i;

        memset(owner, 0, sizeof(owner));
        for (i = 0; i < 40; i++) {
            uint64_t len = tap_random(&seed) % 0x800 * 16 + 16,
                     at = tap_random(&seed) % (sizeof(owner) * 16) & ~15u, j;
            bool taken = false, given;

            switch (tap_random(&seed) % 3) {
            case 0:
                for (j = at / 16; j < (at + len) / 16 && j < sizeof(owner); j++)
                    taken |= owner[j] != 0;
                taken |= at + len > r.len || at < 0x500 || (at < MIB && at + len > 0x9fc00);
                given = bare_claim(&r, "piece", at, len, &err) == 0;
                CHECK(given == !taken);
                break;
            case 1: given = bare_place(&r, "piece", len, &at, &err) == 0; break;
            default: given = bare_place_info(&r, "piece", len, &at, &err) == 0; break;
            }
            for (j = 0; given && j < len / 16; j++) {
                CHECK(at / 16 + j < sizeof(owner) && owner[at / 16 + j] == 0);
                owner[at / 16 + j] = 1;
            }
        }
    }

    tap_case("a search takes the lowest place of its alignment and stays below its end");
    {
        struct bare_ram r = {.len = 2 * MIB, .name = "r", .kernel_end = MIB};
        uint64_t at;

        CHECK(bare_claim(&r, "piece", 0x101000, 0x1001, &err) == 0);
        CHECK(bare_find(&r, 0x100000, 0x200000, 0x1000, 0x1000, &at) && at == 0x100000);
        CHECK(bare_find(&r, 0x100000, 0x200000, 0x1001, 0x1000, &at) && at == 0x103000);
        CHECK(bare_find(&r, 0x100000, 0x200000, 0x1001, 1, &at) && at == 0x102001);
        CHECK(bare_find(&r, 0x100000, 0x200000, 0xfd000, 0x1000, &at) && at == 0x103000);
        at = 7;
        CHECK(!bare_find(&r, 0x100000, 0x200000, 0xfd001, 0x1000, &at) && at == 7);
        CHECK(!bare_find(&r, 0x100000, 0x200000, UINT64_MAX, 0x1000, &at) && at == 7);
        CHECK(bare_place(&r, "none", 0, &at, &err) == 0 && at == 0x103000 && r.taken_n == 1);
    }
}

int main(void)
{
    test_memory_map();
    test_pieces();
    return tap_done();
}
