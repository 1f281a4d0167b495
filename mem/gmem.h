/*
 * A bounded view of guest physical memory: the only way from a guest address
 * to host bytes. Every access takes a length and is checked before an address
 * becomes a pointer; the struct is opaque so that nobody computes one by hand.
 *
 *   gpa:   0 ... [ span 0 ) ... hole ... [ span 1 )[ span 2 ) ...
 *                  |                       |         |
 *   host:          base 0                  base 1    base 2      (any addresses)
 *
 * An access may run from one span into the next where they touch; a byte in a
 * hole makes the whole access fail with nothing copied. The view does not own
 * the host memory, which must outlive it.
 */
#ifndef MEM_GMEM_H
#define MEM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/error.h"
#include "mem/touched.h"

struct gmem;

/* An empty view, or NULL when the host has no memory. gmem_free is harmless on NULL. */
struct gmem *gmem_new(void);
void gmem_free(struct gmem *m);

/*
 * Add [start, start + len) backed by `host`. `writable` says whether the host
 * may write through the view. Refused (STATUS_HOST): len 0, an end past 2^64,
 * an overlap with a span that is there, no host memory.
 */
int gmem_add(struct gmem *m, struct gpa start, uint64_t len, void *host, bool writable, struct err *e);

/*
 * From now on note in *touched, which has the span's length and outlives the
 * view, which pages of the span that starts at `start` (asserted) the host
 * writes to: by gmem_write, or may by gmem_span_rw.
 */
void gmem_watch(struct gmem *m, struct gpa start, struct touched *touched);

/* Forget every span. */
void gmem_clear(struct gmem *m);

/* Whether each byte of [at, at + len) is inside a span. A range past 2^64 is not. */
bool gmem_contains(const struct gmem *m, struct gpa at, uint64_t len);

/* Copy out of the guest. False, with `out` untouched, unless every byte is there. */
bool gmem_read(const struct gmem *m, struct gpa at, void *out, size_t len);

/* Copy into the guest. False, with nothing written, unless every byte is there and writable. */
bool gmem_write(const struct gmem *m, struct gpa at, const void *in, size_t len);

/*
 * Read one little-endian entry of 4 or 8 bytes with a single load, at a
 * multiple of its length: a racing guest cannot make it a mixture. False when
 * it is not there or misaligned. A 4-byte entry is zero-extended.
 */
bool gmem_read_entry(const struct gmem *m, struct gpa at, unsigned entry_len, uint64_t *out);

/*
 * Read `n` entries in a row, each as gmem_read_entry does: for whole tables.
 * False, with `out` untouched, unless they are all there inside one span.
 */
bool gmem_read_entries(const struct gmem *m, struct gpa at, unsigned entry_len, unsigned n, uint64_t *out);

/*
 * Host address of [at, at + len) when that lies inside one span, for bulk work
 * such as hashing a page; NULL otherwise. gmem_span_rw also demands writable.
 */
const uint8_t *gmem_span(const struct gmem *m, struct gpa at, uint64_t len);
uint8_t *gmem_span_rw(const struct gmem *m, struct gpa at, uint64_t len);

#endif
