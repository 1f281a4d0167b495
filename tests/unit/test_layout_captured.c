/* The plan of a captured guest: what fits, both sides of each limit, and what stays as it was. */
#include <inttypes.h>

#include "boot/guest.h"
#include "mem/layout.h"
#include "tests/tap.h"

#define PAGE 4096u

static const struct guest_kind *amd64(void)
{
    return guest_kind_at(0);
}

static bool make(struct layout *l, bool apic, uint64_t scratch)
{
    struct plan_sizes s = layout_default_sizes();
    struct err e = {.text = ""};

    s.image_len = 0x10000;
    s.scratch_len = scratch;
    s.apic = apic;
    return CHECK(layout_make(amd64()->rules, &s, l, &e) == 0);
}

/* Refused with STATUS_IMAGE and a text that has `part`; the plan that was there is untouched. */
static void refused(const struct layout *l, uint64_t len, uint64_t pt, uint64_t placed, const char *part)
{
    struct layout out = {.snapshot_len = 77};
    struct err e = {.text = ""};

    CHECK(layout_captured(l, len, pt, placed, &out, &e) == -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_EQ(out.snapshot_len, 77);
    if (!CHECK(strstr(e.text, part) != NULL))
        printf("# %s\n", e.text);
}

static void accepted(const struct layout *l, uint64_t len, uint64_t pt, uint64_t placed)
{
    struct layout out;
    struct err e = {.text = ""};

    if (!CHECK(layout_captured(l, len, pt, placed, &out, &e) == 0)) {
        printf("# %s\n", e.text);
        return;
    }
    CHECK_EQ(out.snapshot_len, len);
    CHECK_EQ(out.pt_len, pt);
    CHECK_EQ(out.placed_len, placed);
    CHECK_EQ(out.free_off, l->pt_off + pt + placed);
    CHECK_EQ(out.base.v, l->base.v);
    CHECK_EQ(out.pt_off, l->pt_off);
    CHECK_EQ(out.scratch_gpa.v, l->scratch_gpa.v);
    CHECK_EQ(out.sizes.scratch_len, l->sizes.scratch_len);
    CHECK_EQ(out.heap_off, l->heap_off);
}

int main(void)
{
    const uint64_t scratch = 0x48000, room = scratch - 0x3000 - 0x8000;
    char text[80];
    struct layout l, with_apic, low;

    tap_case("a captured guest's lengths replace those of the plan, and nothing else changes");
    if (make(&l, false, scratch)) {
        accepted(&l, PAGE, PAGE, 0);
        accepted(&l, 0x5000, 0x7000, 0x3000);
        CHECK_EQ(l.placed_len, 0);
    }
    tap_case("tables and placed pages may reach the host page, and not one page further");
    accepted(&l, PAGE, room, 0);
    accepted(&l, PAGE, room - PAGE, PAGE);
    refused(&l, PAGE, room + PAGE, 0, "do not fit scratch");
    snprintf(text, sizeof(text), "do not fit scratch (%" PRIu64 "K and 4K, %" PRIu64 "K there)", room / 1024,
             room / 1024);
    refused(&l, PAGE, room, PAGE, text);
    refused(&l, PAGE, UINT64_MAX - (PAGE - 1), PAGE, "do not fit scratch");
    tap_case("a length that is 0 or no page multiple is refused");
    refused(&l, 0, PAGE, 0, "multiple of 4K");
    refused(&l, PAGE + 1, PAGE, 0, "multiple of 4K");
    refused(&l, PAGE, PAGE + 8, 0, "multiple of 4K");
    refused(&l, PAGE, PAGE, 1, "multiple of 4K");
    tap_case("pages may fill a region, and not one page more");
    accepted(&l, 0x400000000 - 0x4000, PAGE, 0);
    refused(&l, 0x400000000 - 0x4000 + PAGE, PAGE, 0, "do not fit below scratch");
    refused(&l, UINT64_MAX - (PAGE - 1), PAGE, 0, "do not fit below scratch");
    tap_case("pages that would cover the APIC page are refused when there is one");
    if (make(&with_apic, true, scratch)) {
        accepted(&with_apic, 0xfee00000 - 0x4000, PAGE, 0);
        refused(&with_apic, 0xfee00000 - 0x4000 + PAGE, PAGE, 0, "APIC page");
        accepted(&l, 0xfee00000 - 0x4000 + PAGE, PAGE, 0);
    }
    tap_case("pages may reach scratch, and not one page into it");
    low = l;
    low.scratch_gpa = gpa_make(0x100000);
    accepted(&low, 0x100000 - 0x4000, PAGE, 0);
    refused(&low, 0x100000 - 0x4000 + PAGE, PAGE, 0,
            "1012K of pages do not fit below scratch (0x4000-0x100000)");
    return tap_done();
}
