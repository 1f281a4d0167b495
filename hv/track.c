/* Reset by what was touched. See track.h. */
#include "hv/track.h"

#include <string.h>

#include "mem/assert.h"
#include "mem/num.h"

/*
 * A page that was written once is copied for ever; one that is watched costs a
 * fault when it is written, as much as some 20 to 50 copies. Every so many
 * resets all pages are watched again, which drops those that nobody writes to any more.
 */
#define WATCH_AGAIN_AFTER 4096u

static void see(void *ctx, uint32_t slot, uint64_t page)
{
    struct track *t = (struct track *)ctx;
    uint64_t at, off = page * PAGE_LEN;
    unsigned i;

    if (slot >= SLOTS_MAX || off >= t->slots->slot[slot].len)
        return;
    at = t->slots->slot[slot].at.v + off;
    for (i = 0; i < t->areas_n; i++)
        if (at - t->area[i].at.v < t->area[i].mem.len)
            touched_add(&t->area[i].touched, at - t->area[i].at.v, PAGE_LEN);
}

void track_open(struct track *t, struct machine *m, const struct slots *slots)
{
    *t = (struct track){.machine = m, .slots = slots, .period = WATCH_AGAIN_AFTER};
    m->dirty.see = see;
    m->dirty.ctx = t;
}

void track_close(struct track *t)
{
    unsigned i;

    for (i = 0; i < t->areas_n; i++)
        touched_close(&t->area[i].touched);
    for (i = 0; i < SLOTS_MAX; i++)
        region_unmap(&t->logs[i]);
    t->areas_n = 0;
    t->machine = NULL;
}

int track_add(struct track *t, struct gpa at, const struct region *mem,
              const uint8_t *(*source)(const void *ctx, uint64_t off), const void *ctx, struct err *e)
{
    struct track_area *a = &t->area[t->areas_n];

    assert(t->areas_n < TRACK_AREAS_MAX);
    *a = (struct track_area){.at = at, .mem = *mem, .source = source, .ctx = ctx};
    if (touched_open(&a->touched, mem->len, e) != 0)
        return -1;
    t->areas_n++;
    return 0;
}

/* Whether writes to a slot are told of: it lies in a stretch that is watched. */
static bool is_watched(const struct track *t, uint32_t slot)
{
    unsigned i;

    for (i = 0; i < t->areas_n; i++)
        if (t->slots->slot[slot].at.v - t->area[i].at.v < t->area[i].mem.len)
            return t->slots->slot[slot].len != 0;
    return false;
}

static uint64_t log_words(const struct track *t, uint32_t slot)
{
    return (t->slots->slot[slot].len / PAGE_LEN + 63) / 64;
}

static int look_at_log(struct track *t, uint32_t slot, struct err *e)
{
    uint64_t words_n = log_words(t, slot), i, *now, *seen;
    struct region *log = &t->logs[slot];

    if (log->len < 16 * words_n) {
        region_unmap(log);
        if (region_map(log, (16 * words_n + PAGE_MASK) & ~(uint64_t)PAGE_MASK, e) != 0)
            return -1;
    }
    now = (uint64_t *)(void *)log->base;
    seen = now + words_n;
    if (dirty_read_log(t->machine, slot, now, e) != 0)
        return -1;
    for (i = 0; i < words_n; i++) {
        uint64_t new = now[i] & ~seen[i];

        if (new == 0)
            continue;
        for (seen[i] |= new; new != 0; new &= new - 1)
            t->machine->dirty.see(t, slot, i * 64 + (unsigned)__builtin_ctzll(new));
    }
    return 0;
}

int track_look(struct track *t, struct err *e)
{
    uint32_t i;

    if (dirty_take(t->machine, e) != 0)
        return -1;
    for (i = 0; i < SLOTS_MAX && t->machine->dirty.by == DIRTY_BY_LOG; i++)
        if (is_watched(t, i) && look_at_log(t, i, e) != 0)
            return -1;
    return 0;
}

/* What was seen of all slots, or of those that are not there: what is in KVM's bitmaps is new at the next look. */
static void forget_logs(struct track *t, bool all)
{
    unsigned i;

    for (i = 0; i < SLOTS_MAX; i++)
        if (t->logs[i].len != 0 && (all || t->slots->slot[i].len == 0))
            memset(t->logs[i].base, 0, t->logs[i].len);
}

void track_renewed(struct track *t)
{
    forget_logs(t, false);
}

void track_forget(struct track *t, struct gpa at)
{
    unsigned i;

    for (i = 0; i < t->areas_n; i++)
        if (t->area[i].at.v == at.v)
            touched_clear(&t->area[i].touched);
    forget_logs(t, true);
}

/* Memory is as it should be, and the guest does not run: nothing is lost before all pages are watched again. */
static int watch_again(struct track *t, struct err *e)
{
    uint32_t i;

    for (i = 0; i < t->areas_n; i++)
        touched_clear(&t->area[i].touched);
    if (t->machine->dirty.by == DIRTY_BY_RING)
        return dirty_protect_ring(t->machine, e);
    for (i = 0; i < SLOTS_MAX; i++) {
        uint64_t *now = (uint64_t *)(void *)t->logs[i].base;

        /* What the last look saw. */
        if (now != NULL && dirty_protect_log(t->machine, i, t->slots->slot[i].len / PAGE_LEN, now, e) != 0)
            return -1;
    }
    forget_logs(t, true);
    return 0;
}

int track_reset(struct track *t, struct err *e)
{
    uint32_t i, j;

    for (i = 0; i < t->areas_n; i++) {
        const struct track_area *a = &t->area[i];

        for (j = 0; j < a->touched.n; j++) {
            uint64_t off = a->touched.list[j] * PAGE_LEN;

            region_put_page(a->mem.base + off, a->source(a->ctx, off));
        }
    }
    return ++t->resets % t->period == 0 ? watch_again(t, e) : 0;
}
