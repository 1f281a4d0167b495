/*
 * The bounded view of guest memory: a sorted array of spans that never
 * overlap. All arithmetic is on the last byte, not the end, so that a span may
 * reach the top of the address space.
 */
#include "mem/gmem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem/assert.h"
#include "mem/bytes.h"

struct span {
    uint64_t start;
    uint64_t last; /* inclusive */
    uint8_t *host;
    bool writable;
    struct touched *touched; /* what the host writes, NULL: nobody asks */
};

struct gmem {
    struct span *spans; /* ascending */
    size_t n;
    size_t room;
};

struct gmem *gmem_new(void)
{
    return calloc(1, sizeof(struct gmem));
}

void gmem_free(struct gmem *m)
{
    if (m == NULL)
        return;
    free(m->spans);
    free(m);
}

void gmem_clear(struct gmem *m)
{
    m->n = 0;
}

/* The number of spans that lie wholly below `at`: the place where a span around `at` is or would be. */
static size_t span_place(const struct gmem *m, uint64_t at)
{
    size_t low = 0;
    size_t high = m->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (m->spans[mid].last < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const struct span *span_at(const struct gmem *m, uint64_t at)
{
    size_t i = span_place(m, at);

    return i < m->n && m->spans[i].start <= at ? &m->spans[i] : NULL;
}

int gmem_add(struct gmem *m, struct gpa start, uint64_t len, void *host, bool writable, struct err *e)
{
    size_t i;

    if (len == 0)
        return err_set(e, STATUS_HOST, "guest memory at 0x%" PRIx64 ": no bytes", start.v);
    if (len - 1 > UINT64_MAX - start.v)
        return err_set(e, STATUS_HOST, "guest memory at 0x%" PRIx64 ": ends past 2^64 (0x%" PRIx64 " bytes)",
                       start.v, len);
    i = span_place(m, start.v);
    if (i < m->n && m->spans[i].start <= start.v + (len - 1))
        return err_set(e, STATUS_HOST,
                       "guest memory at 0x%" PRIx64 ": overlaps what is there (0x%" PRIx64
                       " bytes, 0x%" PRIx64 "-0x%" PRIx64 ")",
                       start.v, len, m->spans[i].start, m->spans[i].last);
    if (m->n == m->room) {
        size_t room = m->room == 0 ? 8 : m->room * 2;
        struct span *spans = reallocarray(m->spans, room, sizeof(*spans));

        if (spans == NULL)
            return err_set(e, STATUS_HOST, "guest memory at 0x%" PRIx64 ": no host memory to note it",
                           start.v);
        m->spans = spans;
        m->room = room;
    }
    memmove(&m->spans[i + 1], &m->spans[i], (m->n - i) * sizeof(m->spans[0]));
    m->spans[i] = (struct span){start.v, start.v + (len - 1), host, writable, NULL};
    m->n++;
    return 0;
}

void gmem_watch(struct gmem *m, struct gpa start, struct touched *touched)
{
    size_t i = span_place(m, start.v);

    assert(i < m->n && m->spans[i].start == start.v);
    m->spans[i].touched = touched;
}

/* The host is about to write there. */
static void note_write(const struct span *s, uint64_t at, uint64_t len)
{
    if (s->touched != NULL)
        touched_add(s->touched, at - s->start, len);
}

/*
 * Whether each byte of [at, at + len) is inside a span, and inside a writable
 * one if asked. The empty range is inside anything.
 */
static bool range_is_there(const struct gmem *m, uint64_t at, uint64_t len, bool writable)
{
    uint64_t last;
    size_t i;

    if (len == 0)
        return true;
    if (len - 1 > UINT64_MAX - at)
        return false;
    last = at + (len - 1);
    for (i = span_place(m, at); i < m->n; i++) {
        const struct span *s = &m->spans[i];

        if (s->start > at || (writable && !s->writable))
            return false;
        if (s->last >= last)
            return true;
        at = s->last + 1;
    }
    return false;
}

bool gmem_contains(const struct gmem *m, struct gpa at, uint64_t len)
{
    return range_is_there(m, at.v, len, false);
}

/* How many of `len` bytes from `at` on lie in the span around it. */
static size_t span_part(const struct span *s, uint64_t at, size_t len)
{
    uint64_t beyond = s->last - at;

    return len - 1 > beyond ? (size_t)beyond + 1 : len;
}

bool gmem_read(const struct gmem *m, struct gpa at, void *out, size_t len)
{
    uint8_t *to = out;

    if (!range_is_there(m, at.v, len, false))
        return false;
    while (len != 0) {
        const struct span *s = span_at(m, at.v);
        size_t part = span_part(s, at.v, len);

        memcpy(to, s->host + (at.v - s->start), part);
        to += part;
        at.v += part;
        len -= part;
    }
    return true;
}

bool gmem_write(const struct gmem *m, struct gpa at, const void *in, size_t len)
{
    const uint8_t *from = in;

    if (!range_is_there(m, at.v, len, true))
        return false;
    while (len != 0) {
        const struct span *s = span_at(m, at.v);
        size_t part = span_part(s, at.v, len);

        note_write(s, at.v, part);
        memcpy(s->host + (at.v - s->start), from, part);
        from += part;
        at.v += part;
        len -= part;
    }
    return true;
}

const uint8_t *gmem_span(const struct gmem *m, struct gpa at, uint64_t len)
{
    const struct span *s = span_at(m, at.v);

    if (s == NULL || (len != 0 && len - 1 > s->last - at.v))
        return NULL;
    return s->host + (at.v - s->start);
}

uint8_t *gmem_span_rw(const struct gmem *m, struct gpa at, uint64_t len)
{
    const struct span *s = span_at(m, at.v);

    if (s == NULL || !s->writable || (len != 0 && len - 1 > s->last - at.v))
        return NULL;
    note_write(s, at.v, len);
    return s->host + (at.v - s->start);
}

static uint64_t load_entry(const uint8_t *p, unsigned entry_len)
{
    /* One instruction each: the guest may be racing. */
    return entry_len == 4 ? load_once_le32(p) : load_once_le64(p);
}

bool gmem_read_entries(const struct gmem *m, struct gpa at, unsigned entry_len, unsigned n, uint64_t *out)
{
    const uint8_t *p;

    assert(entry_len == 4 || entry_len == 8);
    if (at.v % entry_len != 0)
        return false;
    p = gmem_span(m, at, (uint64_t)n * entry_len);
    if (p == NULL)
        return false;
    for (unsigned i = 0; i < n; i++)
        out[i] = load_entry(p + (size_t)i * entry_len, entry_len);
    return true;
}

bool gmem_read_entry(const struct gmem *m, struct gpa at, unsigned entry_len, uint64_t *out)
{
    return gmem_read_entries(m, at, entry_len, 1, out);
}
