/* Reset by what was touched. See track.h. */
#include "hv/track.h"

#include <string.h>

#include "mem/assert.h"
#include "mem/bytes.h"
#include "mem/num.h"
#include "mem/zero.h"

/*
 * A page that a reset finds unchanged is copied for nothing; one that is
 * watched again costs a fault when it is written, as much as some 20 to 50
 * copies. So every so many resets it is looked who has changed, and who has not
 * so many times running goes, once they are enough to protect pages for.
 */
#define LOOK_EVERY 8
#define AGE_MAX    16
#define DROP_MIN   16 /* pages, and a quarter of all */

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
    *t = (struct track){.machine = m, .slots = slots};
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

        for (seen[i] |= new; new != 0; new &= new - 1)
            see(t, slot, i * 64 + (unsigned)__builtin_ctzll(new));
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

void track_renewed(struct track *t)
{
    unsigned i;

    for (i = 0; i < SLOTS_MAX; i++)
        if (t->logs[i].len != 0)
            memset(t->logs[i].base, 0, t->logs[i].len);
}

/* --- putting back ----------------------------------------------------------------------------------- */

/* A word at a time: the C library's comparison is too slow. */
static bool is_same(const uint8_t *a, const uint8_t *b)
{
    unsigned i;

    for (i = 0; i < PAGE_LEN; i += 8)
        if (load_le64(a + i) != load_le64(b + i))
            return false;
    return true;
}

/* With `look`, the result is how many pages are old enough to go. */
static uint32_t put_back(struct track_area *a, bool look)
{
    struct touched *t = &a->touched;
    uint32_t i, old_n = 0;

    for (i = 0; i < t->n; i++) {
        uint64_t off = t->list[i] * PAGE_LEN;
        const uint8_t *from = a->source != NULL ? a->source(a->ctx, off) : NULL;
        uint8_t *to = a->mem.base + off;

        if (look && (from != NULL ? is_same(to, from) : zero_is(to, PAGE_LEN))) {
            t->ages[i] += t->ages[i] < AGE_MAX;
            old_n += t->ages[i] == AGE_MAX;
            continue;
        }
        if (look)
            t->ages[i] = 0;
        if (from != NULL)
            memcpy(to, from, PAGE_LEN);
        else
            memset(to, 0, PAGE_LEN);
    }
    return old_n;
}

/*
 * What is dropped is as it should be, and the guest does not run: nothing is
 * lost until all pages are watched again. Of those that were not dropped it is
 * noted a second time.
 */
static int drop_old(struct track *t, struct err *e)
{
    uint32_t i;
    unsigned j;

    for (j = 0; j < t->areas_n; j++)
        for (i = t->area[j].touched.n; i-- != 0;)
            if (t->area[j].touched.ages[i] == AGE_MAX)
                touched_drop(&t->area[j].touched, i);
    if (t->machine->dirty.by == DIRTY_BY_RING)
        return dirty_protect_ring(t->machine, e);
    for (i = 0; i < SLOTS_MAX; i++) {
        uint64_t *seen;

        if (t->logs[i].len == 0)
            continue;
        seen = (uint64_t *)(void *)t->logs[i].base + log_words(t, i);
        if (dirty_protect_log(t->machine, i, t->slots->slot[i].len / PAGE_LEN, seen, e) != 0)
            return -1;
        memset(seen, 0, 8 * log_words(t, i));
    }
    return 0;
}

int track_reset(struct track *t, struct err *e)
{
    bool look = ++t->resets % LOOK_EVERY == 0;
    uint64_t old_n = 0, all_n = 0;
    unsigned i;

    for (i = 0; i < t->areas_n; i++) {
        old_n += put_back(&t->area[i], look);
        all_n += t->area[i].touched.n;
    }
    return old_n >= DROP_MIN && old_n >= all_n / 4 ? drop_old(t, e) : 0;
}
