/*
 * The guest side of the ABI, for small freestanding guests. A guest defines
 * guest_main; when that returns, init has ended and vmm exits with status 0.
 *
 *     #include "guest-samples/guest.h"
 *
 *     void guest_main(void)
 *     {
 *         guest_print("hello\n");
 *     }
 *
 * The runtime makes .data and .bss writable before it calls guest_main (paged
 * kinds start with everything copy-on-write). There is no libc and no floating
 * point. A guest that takes calls from the host needs guest_fn.h as well; in
 * any other a call ends in an abort.
 */
#ifndef GUEST_SAMPLES_GUEST_H
#define GUEST_SAMPLES_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_PAGE_LEN 4096u

/* What a guest writes by hand into a page-table entry, Intel SDM 3A, "Paging". */
#define GUEST_PTE_P  0x001u
#define GUEST_PTE_RW 0x002u
#define GUEST_PTE_A  0x020u
#define GUEST_PTE_D  0x040u

/* The guest's own code. */
void guest_main(void);

/* Print to the host's standard output, byte by byte. */
void guest_print(const char *s);
void guest_print_hex(uint64_t v);

/* End the guest with an error code and a text. */
void guest_abort(uint8_t code, const char *text) __attribute__((noreturn));

/* The same in pieces: bytes of the abort string, then the rest of its text and the end. */
void guest_abort_byte(uint8_t byte);
void guest_abort_text(const char *text) __attribute__((noreturn));

/* Store to an I/O port; a full compiler barrier, for the host reads and writes memory meanwhile. */
static inline void guest_out(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

/* PEB of this guest. */
const uint8_t *guest_peb(void);

/* What the host wants to hear: 0 nothing, 1 errors .. 5 everything. */
unsigned guest_log_filter(void);

/* "amd64", "i686" or "i686-identity". */
const char *guest_kind(void);

/* Whether paging is on. */
bool guest_is_paged(void);

/* Start of scratch, the byte after it (as a sum that may wrap to 0), and its length, as the guest sees them.
 */
uintptr_t guest_scratch(void);
uintptr_t guest_scratch_top(void);
uintptr_t guest_scratch_len(void);

/* Physical pages from the bump allocator; aborts with code 13 when there are none. Zero when fresh. */
uint64_t guest_alloc_pages(unsigned n);

/* Where a scratch page at physical `gpa` is seen. */
void *guest_window(uint64_t gpa);

/* --- paged kinds only ---------------------------------------------------------------------------- */

/* Map the page at `va` to `gpa` with the entry's low bits `flags`, making tables as needed, and flush it. */
void guest_map(uintptr_t va, uint64_t gpa, uint64_t flags);

/* The lowest-level entry for `va`, 0 when there is no table for it. */
uint64_t guest_entry(uintptr_t va);

/* Copy the page of `va` to a fresh one and map that writable; false if its entry does not say copy-on-write.
 */
bool guest_own_page(uintptr_t va);

/* --- the two flavours of the runtime: guest_plain.c, or guest_trap.c with guest_fn.c ---------------- */

/* Make .data and .bss writable, now or on demand. Returns the stack to run on, 0 for the boot stack. */
uintptr_t guest_prepare(void);
uintptr_t guest_main_stack(void);

/* Take the call that is on the input stack. */
void guest_serve_call(void);

/* Copy the pages of .data and .bss that are copy-on-write. */
void guest_own_data(void);

#endif
