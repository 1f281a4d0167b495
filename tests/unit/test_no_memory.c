/*
 * What paging/ does when the host has no memory: each allocation of a whole
 * compaction fails in turn. The sources are part of this program, so that
 * their allocations can be told to fail.
 */
#include <stdlib.h>

static unsigned allocs_left; /* until one fails, and only that one */

static void *maybe_calloc(size_t n, size_t len)
{
    return allocs_left-- == 0 ? NULL : calloc(n, len);
}

static void *maybe_reallocarray(void *p, size_t n, size_t len)
{
    return allocs_left-- == 0 ? NULL : reallocarray(p, n, len);
}

#define calloc       maybe_calloc
#define reallocarray maybe_reallocarray
/* NOLINTBEGIN(bugprone-suspicious-include): meant */
#include "mem/gmem.c"
#include "paging/pagemap.c"
#undef FAN
#include "paging/spaces.c"
#include "paging/rebuild.c"
#include "paging/compact.c"
/* NOLINTEND(bugprone-suspicious-include) */
#undef calloc
#undef reallocarray

#include "tests/tap.h"
#include "tests/unit/compact_check.h"

int main(void)
{
    struct ref_mode mode = {.is_amd64 = true, .nxe = true, .phys_bits = 36};
    struct gpa roots[W_ROOTS_MAX];
    struct compact_in in;
    struct compact_out out = {.roots_n = 77};
    struct world w;
    struct gmem *m;
    struct err e;
    unsigned failed = 0;

    tap_case("a view of guest memory without host memory is refused, and is whole afterwards");
    CHECK(gmem_new() == NULL);
    m = gmem_new();
    CHECK(m != NULL);
    allocs_left = 0;
    CHECK(gmem_add(m, gpa_make(0x1000), 0x1000, &w, false, &e) == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "no host memory");
    CHECK(!gmem_contains(m, gpa_make(0x1000), 1));
    gmem_free(m);

    /* enough tables and pages that each list grows more than once */
    world_init(&w, mode, 2048);
    world_add_span(&w, 0x1000, 3000);
    world_add_span(&w, w.scratch, 2048);
    for (unsigned r = 0; r < 2; r++) {
        uint64_t pdpt = world_alloc(&w), pd = world_alloc(&w);

        w.roots[w.roots_n++] = world_alloc(&w);
        world_write(&w, w.roots[r], pdpt | 7);
        world_write(&w, pdpt, pd | 7);
        for (unsigned t = 0; t < 100; t++) {
            uint64_t pt = world_alloc(&w);

            world_write(&w, pd + t * 8, pt | 7);
            for (unsigned i = 0; i < 15; i++)
                world_write(&w, pt + i * 8, (0x1000 + (t * 15 + i) * W_PAGE) | (r ? 0x61 : 0x63));
            if (r == 0)
                world_write(&w, pt + 15 * 8, (0x1000 + (2000 + t) * W_PAGE) | 0x61);
        }
    }
    m = world_gmem(&w);
    in = cc_plan(&w, &geom_amd64, m, roots);

    tap_case("whichever allocation of a compaction fails, it fails as a whole and says why");
    for (;; failed++) {
        e = (struct err){0};
        allocs_left = failed;
        if (compact_make(&in, &out, &e) == 0)
            break;
        if (!CHECK_EQ(e.status, STATUS_HOST) || !CHECK_HAS(e.text, "no host memory") ||
            !CHECK_EQ(out.roots_n, 77))
            break;
    }
    CHECK(failed > 15);
    CHECK_EQ(out.placed_n, 1500);
    CHECK_EQ(out.pages_n, 100);
    compact_free(&out);
    gmem_free(m);
    world_free(&w);
    world_free_all();
    return tap_done();
}
