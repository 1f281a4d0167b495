/*
 * Small guests made from a string of bytes, for property tests (random bytes)
 * and fuzzing (the fuzzer's): a few spans of memory with holes between them,
 * several roots, tables shared and private, leaves of all sizes and rights,
 * marks, markers. The entries are written here by hand, without paging/.
 *
 * A polite world keeps the rules of a guest that can be compacted; a hostile
 * one writes what it likes.
 *
 *     gpa   0x1000  low      64 pages
 *           1 GiB   file     one large page, then 8 pages of another span right behind
 *           top     scratch  | 4 pages of I/O | tables and pages ... | 3 pages of words |
 */
#ifndef TESTS_WORLDS_H
#define TESTS_WORLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mem/gmem.h"
#include "tests/unit/ref_walk.h"

#define W_PAGE ((uint64_t)4096)
#ifndef W_ROOTS_MAX
#define W_ROOTS_MAX 16
#endif
#define W_SPANS_MAX  4
#define W_TABLES_MAX 96

/* What stands in the pages of a span before anybody writes. */
enum world_stamp { WORLD_ZEROS, WORLD_LOW, WORLD_FILE };

struct world_span {
    uint64_t at;
    uint64_t pages;
    uint8_t *host;
    uint64_t mapped; /* pages: as many as there were at first */
    uint8_t *dirty;  /* by page: not 0 when it may be other than its stamp; WORLD_WRITTEN: by the guest */
    enum world_stamp stamp;
    uint64_t number; /* WORLD_FILE: of its first page */
};

#define WORLD_WRITTEN 2

struct world_table {
    uint64_t at;
    unsigned level;
    uint64_t va; /* of its first use */
};

struct world {
    struct ref_mode mode;
    bool hostile;
    bool wp;
    unsigned levels, entry_len, entries_n, index_bits;
    struct world_span span[W_SPANS_MAX];
    unsigned spans_n;
    uint64_t roots[W_ROOTS_MAX];
    unsigned roots_n;

    uint64_t scratch, scratch_len, window;
    uint64_t tables_at; /* first page of scratch that is not I/O */
    uint64_t alloc_end;
    uint64_t next_free;
    uint64_t room; /* pages that a compaction may use for tables, and for others; 0: all there are */

    struct world_table tables[W_TABLES_MAX];
    unsigned tables_n;
    bool large_writable;
    unsigned large_n;
};

/* The bytes a world is made from. Past the end there are zeros. */
struct world_tape {
    const uint8_t *data;
    size_t len;
    size_t pos;
};

static inline unsigned tape_u8(struct world_tape *t)
{
    return t->pos < t->len ? t->data[t->pos++] : 0;
}

static inline unsigned tape_u16(struct world_tape *t)
{
    unsigned low = tape_u8(t);

    return low | tape_u8(t) << 8;
}

static inline uint64_t tape_u64(struct world_tape *t)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++)
        v |= (uint64_t)tape_u8(t) << (8 * i);
    return v;
}

/* Memory. */

#define WORLD_SPARES 32

/* Spans that were freed, as new again: mapping and stamping them is what takes most of the time of a small test. */
static struct world_span world_spare[WORLD_SPARES];

/* A page that was all zeros gets its stamp; some pages have none, for a guest has pages of zeros too. */
static inline void world_stamp_page(const struct world_span *s, uint64_t page)
{
    uint64_t number = s->number + page;

    if (s->stamp == WORLD_LOW && page % 8 != 7) {
        memcpy(s->host + page * W_PAGE + page * 16, &page, 8);
    } else if (s->stamp == WORLD_FILE && (number < 16 || (number - 16) % 97 == 0)) {
        number += 1000;
        memcpy(s->host + page * W_PAGE + 4088, &number, 8);
    }
}

static inline uint64_t world_span_len(uint64_t pages)
{
    return (pages + 2 + pages / W_PAGE + 1) * W_PAGE;
}

/* With a page in front and behind that nobody may touch. Behind those is `dirty`: no malloc, of which fuzzers
 * keep count. */
static inline void world_add_stamped(struct world *w, uint64_t at, uint64_t pages, enum world_stamp stamp,
                                     uint64_t number)
{
    struct world_span *s = &w->span[w->spans_n++];
    uint8_t *p;

    for (unsigned i = 0; i < WORLD_SPARES; i++) {
        struct world_span *spare = &world_spare[i];

        if (spare->host != NULL && spare->mapped == pages && spare->stamp == stamp &&
            spare->number == number) {
            *s = *spare;
            s->at = at;
            s->pages = pages;
            spare->host = NULL;
            return;
        }
    }
    p = mmap(NULL, world_span_len(pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
             -1, 0);
    if (p == MAP_FAILED || mprotect(p, W_PAGE, PROT_NONE) != 0 ||
        mprotect(p + (pages + 1) * W_PAGE, W_PAGE, PROT_NONE) != 0)
        abort();
    *s = (struct world_span){at, pages, p + W_PAGE, pages, p + (pages + 2) * W_PAGE, stamp, number};
    if (stamp != WORLD_ZEROS)
        for (uint64_t page = 0; page < pages; page++)
            world_stamp_page(s, page);
}

/* Zeros. */
static inline void world_add_span(struct world *w, uint64_t at, uint64_t pages)
{
    world_add_stamped(w, at, pages, WORLD_ZEROS, 0);
}

static inline void world_drop_span(struct world_span *s)
{
    munmap(s->host - W_PAGE, world_span_len(s->mapped));
    s->host = NULL;
}

/* Keep a span for later, in the place of another one when there are too many. */
static inline void world_keep_span(const struct world_span *s)
{
    static unsigned turn;
    unsigned i = 0;

    while (i < WORLD_SPARES && world_spare[i].host != NULL)
        i++;
    if (i == WORLD_SPARES) {
        i = turn = (turn + 1) % WORLD_SPARES;
        world_drop_span(&world_spare[i]);
    }
    world_spare[i] = *s;
}

static inline void world_free(struct world *w)
{
    for (unsigned i = 0; i < w->spans_n; i++) {
        struct world_span *s = &w->span[i];

        for (uint64_t page = 0; page < s->mapped; page++)
            if (s->dirty[page]) {
                memset(s->host + page * W_PAGE, 0, W_PAGE);
                world_stamp_page(s, page);
                s->dirty[page] = 0;
            }
        world_keep_span(s);
    }
    w->spans_n = 0;
}

/* Give back what world_free kept. */
static inline void world_free_all(void)
{
    for (unsigned i = 0; i < WORLD_SPARES; i++)
        if (world_spare[i].host != NULL)
            world_drop_span(&world_spare[i]);
}

/* The host bytes of the page around `at`, or NULL. */
static inline uint8_t *world_page(const struct world *w, uint64_t at)
{
    for (unsigned i = 0; i < w->spans_n; i++)
        if (at >= w->span[i].at && at - w->span[i].at < w->span[i].pages * W_PAGE)
            return w->span[i].host + (at - w->span[i].at) / W_PAGE * W_PAGE;
    return NULL;
}

/* The same, for who is going to write there; `mark` goes to `dirty`. */
static inline uint8_t *world_page_mark(const struct world *w, uint64_t at, uint8_t mark)
{
    for (unsigned i = 0; i < w->spans_n; i++)
        if (at >= w->span[i].at && at - w->span[i].at < w->span[i].pages * W_PAGE) {
            uint64_t page = (at - w->span[i].at) / W_PAGE;

            w->span[i].dirty[page] |= mark;
            return w->span[i].host + page * W_PAGE;
        }
    return NULL;
}

static inline uint8_t *world_page_rw(const struct world *w, uint64_t at)
{
    return world_page_mark(w, at, 1);
}

static inline bool world_was_written(const struct world *w, uint64_t at)
{
    for (unsigned i = 0; i < w->spans_n; i++)
        if (at >= w->span[i].at && at - w->span[i].at < w->span[i].pages * W_PAGE)
            return w->span[i].dirty[(at - w->span[i].at) / W_PAGE] & WORLD_WRITTEN;
    return false;
}

/* A number for each page there is, counted through the spans. */
static inline uint64_t world_page_number(const struct world *w, uint64_t at)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < w->spans_n; i++) {
        if (at >= w->span[i].at && at - w->span[i].at < w->span[i].pages * W_PAGE)
            return n + (at - w->span[i].at) / W_PAGE;
        n += w->span[i].pages;
    }
    abort();
}

static inline uint64_t world_pages_n(const struct world *w)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < w->spans_n; i++)
        n += w->span[i].pages;
    return n;
}

static inline bool world_read(void *ctx, uint64_t at, unsigned len, uint64_t *value)
{
    const uint8_t *page = world_page(ctx, at);

    if (page == NULL)
        return false;
    *value = 0;
    memcpy(value, page + at % W_PAGE, len);
    return true;
}

static inline void world_write(struct world *w, uint64_t at, uint64_t value)
{
    memcpy(world_page_rw(w, at) + at % W_PAGE, &value, w->entry_len);
}

/* The first entry from `index` on that is not 0 in the table at `at`, which is there; entries_n if there is none. */
static inline unsigned world_next_entry(const struct world *w, uint64_t at, unsigned index)
{
    const uint8_t *page = world_page(w, at);
    const uint64_t *words = (const uint64_t *)(const void *)page;

    while (index < w->entries_n) {
        unsigned i = index * w->entry_len / 8;

        if (w->entry_len == 8 ? words[i] != 0 : ((const uint32_t *)(const void *)page)[index] != 0)
            break;
        if (i % 8 == 0 && (words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] |
                           words[i + 5] | words[i + 6] | words[i + 7]) == 0)
            index += 64 / w->entry_len - index % (64 / w->entry_len);
        else
            index++;
    }
    return index;
}

static inline bool world_same_page(const uint8_t *a, const uint8_t *b)
{
    const uint64_t *x = (const uint64_t *)(const void *)a, *y = (const uint64_t *)(const void *)b;
    uint64_t differ = 0;

    for (unsigned i = 0; i < W_PAGE / 8; i++)
        differ |= x[i] ^ y[i];
    return differ == 0;
}

/* Whether `n` entries from `at` on are `raw` and then each the one before it, a page further. */
static inline bool world_entries_count_up(const struct world *w, uint64_t at, uint64_t raw, uint64_t n)
{
    const uint8_t *p = world_page(w, at) + at % W_PAGE;
    uint64_t there = 0;

    for (uint64_t i = 0; i < n; i++) {
        memcpy(&there, p + i * w->entry_len, w->entry_len);
        if (there != raw + i * W_PAGE)
            return false;
    }
    return true;
}

static inline struct gmem *world_gmem(const struct world *w)
{
    struct gmem *m = gmem_new();
    struct err e;

    if (m == NULL)
        abort();
    for (unsigned i = 0; i < w->spans_n; i++)
        if (w->span[i].pages != 0 &&
            gmem_add(m, gpa_make(w->span[i].at), w->span[i].pages * W_PAGE, w->span[i].host, true, &e) < 0)
            abort();
    return m;
}

static inline struct ref_answer world_walk(const struct world *w, uint64_t root, uint64_t va)
{
    return ref_walk(w->mode, world_read, (void *)(uintptr_t)w, root, va);
}

/* The next page of scratch, or 0 when there is none left. */
static inline uint64_t world_alloc(struct world *w)
{
    uint64_t at = w->next_free;

    if (at >= w->alloc_end)
        return 0;
    w->next_free += W_PAGE;
    return at;
}

/* Where things are in the address space. */

static inline uint64_t world_entry_span(const struct world *w, unsigned level)
{
    return W_PAGE << (w->index_bits * (level - 1));
}

static inline uint64_t world_entry_va(const struct world *w, const struct world_table *t, unsigned index)
{
    uint64_t va = t->va + index * world_entry_span(w, t->level);

    if (w->mode.is_amd64 && t->level == 4 && index >= 256)
        va |= 0xffff000000000000u;
    return va;
}

static inline bool world_in_window(const struct world *w, uint64_t va)
{
    return va - w->window < w->scratch_len;
}

/* 0: no byte of the stretch is in the window; 1: some are; 2: all. */
static inline int world_window_part(const struct world *w, uint64_t va, uint64_t len)
{
    uint64_t last = va + (len - 1);
    uint64_t window_last = w->window + (w->scratch_len - 1);

    if (last < w->window || va > window_last)
        return 0;
    return va >= w->window && last <= window_last ? 2 : 1;
}

/* Making one. */

static inline struct world_table *world_add_table(struct world *w, unsigned level, uint64_t va)
{
    uint64_t at = w->tables_n < W_TABLES_MAX ? world_alloc(w) : 0;

    if (at == 0)
        return NULL;
    w->tables[w->tables_n] = (struct world_table){at, level, va};
    return &w->tables[w->tables_n++];
}

/* An index that tends to meet others: near both ends of a table. */
static inline unsigned world_pick_index(struct world *w, struct world_tape *t)
{
    unsigned v = tape_u16(t);

    if (v & 0x8000)
        return v % w->entries_n;
    return v & 0x4000 ? w->entries_n - 1 - v % 4 : v % 8;
}

static inline struct world_table *world_pick_table(struct world *w, struct world_tape *t, bool leaves)
{
    unsigned from = tape_u8(t);

    for (unsigned i = 0; i < w->tables_n; i++) {
        struct world_table *table = &w->tables[(from + i) % w->tables_n];

        if ((table->level == 1) == leaves)
            return table;
    }
    return NULL;
}

/* Bits that say nothing about an address: rights, cache bits, marks; on amd64 NX and 52 to 62 too. */
static inline uint64_t world_pick_flags(struct world *w, struct world_tape *t)
{
    uint64_t flags = tape_u16(t);

    if (w->mode.is_amd64) {
        flags |= (flags & 0x1000) << 51;
        flags |= (flags & 0xe000) << 42;
        if (!w->hostile && !w->mode.nxe)
            flags &= ~((uint64_t)1 << 63);
    }
    return (flags & ~(uint64_t)0xf000) | 1;
}

static inline uint64_t world_entry_at(const struct world_table *t, const struct world *w, unsigned index)
{
    return t->at + (uint64_t)index * w->entry_len;
}

static inline uint64_t world_get(const struct world *w, const struct world_table *t, unsigned index)
{
    uint64_t raw = 0;

    world_read((void *)(uintptr_t)w, world_entry_at(t, w, index), w->entry_len, &raw);
    return raw;
}

/* Whether a polite world may put a pointer there, and with which flags. */
static inline bool world_pointer_ok(struct world *w, const struct world_table *parent, unsigned index,
                                    uint64_t *flags)
{
    int part = world_window_part(w, world_entry_va(w, parent, index), world_entry_span(w, parent->level));

    if (w->hostile)
        return true;
    if (world_get(w, parent, index) != 0)
        return false;
    if (part == 1)
        *flags |= 2;
    *flags &= ~(uint64_t)0x80; /* PS */
    if (!w->mode.is_amd64 && !w->mode.pse && (*flags & 0x40))
        *flags |= 0x80; /* is ignored there */
    return true;
}

static inline void world_op_link(struct world *w, struct world_tape *t)
{
    struct world_table *parent = world_pick_table(w, t, false);
    unsigned index = world_pick_index(w, t);
    uint64_t flags = world_pick_flags(w, t);
    struct world_table *child;

    if (!world_pointer_ok(w, parent, index, &flags))
        return;
    child = world_add_table(w, parent->level - 1, world_entry_va(w, parent, index));
    if (child != NULL)
        world_write(w, world_entry_at(parent, w, index), child->at | flags);
}

/* Link a table that exists already: at the same place of another table, or anywhere. */
static inline void world_op_share(struct world *w, struct world_tape *t)
{
    struct world_table *parent = world_pick_table(w, t, false);
    struct world_table *child = &w->tables[tape_u8(t) % w->tables_n];
    unsigned index = world_pick_index(w, t);
    uint64_t flags = world_pick_flags(w, t);
    uint64_t span, va;

    if (tape_u8(t) & 1)
        index = (unsigned)(child->va >> (12 + w->index_bits * (parent->level - 1))) % w->entries_n;
    if (!world_pointer_ok(w, parent, index, &flags))
        return;
    if (!w->hostile) {
        if (child->level != parent->level - 1)
            return;
        span = world_entry_span(w, parent->level);
        va = world_entry_va(w, parent, index);
        if (va != child->va &&
            (world_window_part(w, va, span) != 0 || world_window_part(w, child->va, span) != 0))
            return;
    }
    world_write(w, world_entry_at(parent, w, index), child->at | flags);
}

static inline uint64_t world_pick_page(struct world *w, struct world_tape *t)
{
    unsigned v = tape_u16(t);
    uint64_t at;

    switch (v >> 13) {
    case 0:
    case 1:
    case 2: return w->span[0].at + v % 16 * W_PAGE;
    case 3: return w->span[0].at + v % w->span[0].pages * W_PAGE;
    case 4: return w->span[1].at + v % w->span[1].pages * W_PAGE;
    case 5: return w->span[2].at + v % w->span[2].pages * W_PAGE;
    case 6:
        if (v & 1 || w->hostile)
            return w->tables[v % w->tables_n].at;
        break;
    default:
        if (w->hostile)
            return tape_u64(t) & 0xffffffffff000u;
        break;
    }
    if (v & 2)
        return w->next_free - W_PAGE;
    at = world_alloc(w);
    if (at == 0)
        return w->span[0].at;
    memcpy(world_page_rw(w, at) + 104, &at, sizeof(at));
    return at;
}

static inline void world_op_leaf(struct world *w, struct world_tape *t)
{
    struct world_table *table = world_pick_table(w, t, true);
    unsigned index = world_pick_index(w, t);
    uint64_t flags = world_pick_flags(w, t);

    if (table != NULL && (w->hostile || world_get(w, table, index) == 0))
        world_write(w, world_entry_at(table, w, index), world_pick_page(w, t) | flags);
}

/*
 * A leaf that maps a part of the file span, in a table of level 2. A polite
 * world has one writable one without marks, or else some that are not.
 */
static inline void world_op_large(struct world *w, struct world_tape *t)
{
    unsigned from = tape_u8(t);
    unsigned index = world_pick_index(w, t);
    uint64_t flags = world_pick_flags(w, t) | 0x80;
    uint64_t len = world_entry_span(w, 2);
    uint64_t pa = w->span[1].at + (from & 1 ? w->span[1].pages * W_PAGE / len - 1 : 0) * len;

    if (tape_u8(t) % 4 != 0 || (!w->mode.is_amd64 && !w->mode.pse))
        return;
    if (!w->hostile && w->large_writable) {
        if (w->large_n != 0)
            return;
        flags = (flags & ~(uint64_t)0xe00) | 2;
    } else if (!w->hostile) {
        flags &= ~(uint64_t)2;
    }
    if (from & 2)
        pa |= 0x1000; /* PAT */
    for (unsigned i = 0; i < w->tables_n; i++) {
        struct world_table *table = &w->tables[(from + i) % w->tables_n];

        if (table->level == 2 && (w->hostile || world_get(w, table, index) == 0)) {
            world_write(w, world_entry_at(table, w, index), pa | flags);
            w->large_n++;
            return;
        }
    }
}

/* Not present, but not empty either. */
static inline void world_op_marker(struct world *w, struct world_tape *t)
{
    struct world_table *table = &w->tables[tape_u8(t) % w->tables_n];
    unsigned index = world_pick_index(w, t);
    uint64_t va = world_entry_va(w, table, index);

    if (w->hostile ||
        (world_get(w, table, index) == 0 && world_window_part(w, va, world_entry_span(w, table->level)) != 1))
        world_write(w, world_entry_at(table, w, index), tape_u64(t) & ~(uint64_t)1);
}

/* Anything anywhere. */
static inline void world_op_poke(struct world *w, struct world_tape *t)
{
    struct world_table *table = &w->tables[tape_u8(t) % w->tables_n];
    unsigned index = world_pick_index(w, t);
    uint64_t raw = tape_u64(t);

    if (w->hostile)
        world_write(w, world_entry_at(table, w, index), raw);
}

static inline void world_op_root(struct world *w, struct world_tape *t)
{
    unsigned v = tape_u8(t);
    struct world_table *root;

    if (w->roots_n == W_ROOTS_MAX)
        return;
    if (v > 250) {
        w->roots[w->roots_n] = w->roots[v % w->roots_n]; /* the same once more */
        w->roots_n++;
    } else if (w->hostile && v > 240) {
        w->roots[w->roots_n++] = tape_u64(t) & 0xffffffffff000u;
    } else {
        root = world_add_table(w, w->levels, 0);
        if (root != NULL)
            w->roots[w->roots_n++] = root->at | (v & 0x18); /* PWT and PCD of CR3 */
    }
}

/* The plan and the memory of a world, empty but for the first root. */
static inline void world_init(struct world *w, struct ref_mode mode, uint64_t scratch_pages)
{
    uint64_t p_top = mode.is_amd64 ? 0x1000000000u : 0xfee00000u;
    uint64_t g_top = mode.is_amd64 ? 0xfffffffffffff000u : 0x100000000u;

    *w = (struct world){.mode = mode, .wp = true};
    w->levels = mode.is_amd64 ? 4 : 2;
    w->entry_len = mode.is_amd64 ? 8 : 4;
    w->entries_n = mode.is_amd64 ? 512 : 1024;
    w->index_bits = mode.is_amd64 ? 9 : 10;
    w->scratch_len = scratch_pages * W_PAGE;
    w->scratch = p_top - w->scratch_len;
    w->window = g_top - w->scratch_len;
    w->tables_at = w->scratch + 4 * W_PAGE;
    w->alloc_end = p_top - 3 * W_PAGE;
    w->next_free = w->tables_at;
}

/*
 * Pages of scratch, of which few bytes cannot use many. The window is in one table, or on amd64 in two, or
 * - rarely, for it takes long - in many.
 */
static inline uint64_t world_pick_scratch(unsigned head, unsigned more, size_t len)
{
    bool many = (more & 0x48) == 0x48;

    if (len > 256)
        return many ? 2304 : 512;
    return many && head >> 5 == 1 ? 1100 : many ? 512 : 96;
}

static inline void world_make(struct world *w, const uint8_t *data, size_t len)
{
    struct world_tape tape = {data, len, 0};
    struct world_tape *t = &tape;
    unsigned head = tape_u8(t);
    unsigned more = tape_u8(t);
    struct ref_mode mode = {
        .is_amd64 = head & 1,
        .pse = head & 2,
        .nxe = head & 4,
        .page1g = head & 8,
        .phys_bits = head & 1 ? 36 + (more & 16) : 32 + (more & 4),
    };
    uint64_t large_pages = mode.is_amd64 ? 512 : mode.pse ? 1024 : 16;

    world_init(w, mode, world_pick_scratch(head, more, len));
    w->hostile = head & 16;
    w->room = w->hostile && (more & 0x80) ? 2 + (more & 7) * 4 : 0;
    w->large_writable = more & 32;
    w->wp = !w->hostile || (more & 3) != 3;
    world_add_stamped(w, 0x1000, 64, WORLD_LOW, 0);
    world_add_stamped(w, 0x40000000, large_pages, WORLD_FILE, 0);
    world_add_stamped(w, 0x40000000 + large_pages * W_PAGE, 8, WORLD_FILE, large_pages);
    world_add_span(w, w->scratch, w->scratch_len / W_PAGE);
    w->roots[w->roots_n++] = world_add_table(w, w->levels, 0)->at;

    while (tape.pos < tape.len) {
        switch (tape_u8(t) % 16) {
        case 0: world_op_root(w, t); break;
        case 1:
        case 2:
        case 3:
        case 4: world_op_link(w, t); break;
        case 5:
        case 6: world_op_share(w, t); break;
        case 7: world_op_large(w, t); break;
        case 8: world_op_marker(w, t); break;
        case 9: world_op_poke(w, t); break;
        default: world_op_leaf(w, t); break;
        }
    }
}

#endif
