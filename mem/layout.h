/*
 * The address plan of a guest: which region is where, computed once from the
 * image, the sizes and the rules of the guest's kind, checked pair by pair,
 * and not changed afterwards. Nobody else computes an address for a guest.
 *
 *   GPA  0 ............ base ................ snapshot end .. scratch ........... phys_top
 *        |  null guard  | image|PEB|heap|init |   nothing     | in|out|tables|free|top |
 *                         AREA_SNAPSHOT                         AREA_SCRATCH
 *
 *   in|out      the two I/O stacks, at scratch offset 0
 *   tables      page tables the host builds (paged kinds), root first
 *   free        handed out by the guest's bump allocator
 *   top         three pages: host page, counter page, boot stack with the shared words
 *
 * A paged guest sees scratch at the same offsets below virt_top; an identity
 * guest sees physical addresses. layout_pointer() is the one place that knows.
 */
#ifndef MEM_LAYOUT_H
#define MEM_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/error.h"

enum memory_model {
    MODEL_PAGED,    /* snapshot region read-only, the guest copies on write */
    MODEL_IDENTITY, /* no paging: snapshot region private and writable */
};

/* Pages that KVM or a device owns in the guest's physical space. */
#define APIC_ACCESS_PAGE 0xfee00000u
#define IOAPIC_PAGE      0xfec00000u

/* Shape of the page tables, for counting them; levels 0 = none. */
struct table_shape {
    unsigned levels;
    unsigned index_bits; /* of an address, per level */
};

/* What a kind of guest fixes about its addresses. */
struct plan_rules {
    const char *kind; /* for messages */
    enum memory_model model;
    uint64_t base_default; /* for a position-independent image */
    uint64_t phys_top;     /* end of scratch, physical, exclusive */
    uint64_t virt_top;     /* end of scratch as the guest sees it, exclusive */
    uint64_t region_max;   /* largest snapshot region and largest scratch, bytes */
    struct table_shape tables;
    uint64_t dropped_start, dropped_len; /* virtual range that no snapshot keeps; len 0 = none */
};

/* What the command line and the image decide. All bytes. */
struct plan_sizes {
    uint64_t input_len, output_len, heap_len, scratch_len; /* page multiples */
    uint64_t init_data_len;
    uint64_t image_base; /* page aligned; used when image_fixed */
    uint64_t image_len;  /* not 0 */
    bool image_fixed;    /* false: the rules' default base */
    bool apic;           /* an in-kernel local APIC will exist: its page may not hold host bytes */
};

#define INPUT_LEN_DEFAULT   0x4000u
#define OUTPUT_LEN_DEFAULT  0x4000u
#define STACK_LEN_MIN       0x2000u /* of each I/O stack */
#define HEAP_LEN_DEFAULT    0x20000u
#define SCRATCH_LEN_DEFAULT 0x48000u
#define SCRATCH_FREE_PAGES  12u /* the ABI's minimum beside stacks and tables */

enum area { AREA_SNAPSHOT, AREA_SCRATCH };

struct layout {
    const struct plan_rules *rules;
    struct plan_sizes sizes;

    struct gpa base; /* snapshot region: same address physical and virtual */
    uint64_t snapshot_len;
    uint64_t peb_off, heap_off, init_off; /* from base */

    struct gpa scratch_gpa;
    struct gva scratch_gva;
    uint64_t output_off, pt_off, pt_len; /* from the start of scratch */
    uint64_t placed_len;                 /* pages behind the tables that are the guest's already */
    uint64_t free_off;                   /* pages from here to the top pages are free */
};

/* Fill in the default sizes; image fields are zero. */
struct plan_sizes layout_default_sizes(void);

/*
 * Compute and check the plan. STATUS_USAGE for a size that could never work,
 * STATUS_IMAGE for an image that does not fit these sizes; an overlap names
 * both ranges and the largest scratch that would fit.
 */
int layout_make(const struct plan_rules *rules, const struct plan_sizes *sizes, struct layout *out,
                struct err *e);

/*
 * The plan of a guest of plan `l` once it was captured: its pages are packed
 * from `base` up, its tables and placed pages stand one behind the other in
 * scratch. All lengths are page multiples, snapshot_len is not 0. STATUS_IMAGE
 * when they do not fit. Offsets of PEB, heap and init data are as before, but
 * hold for virtual addresses only.
 */
int layout_captured(const struct layout *l, uint64_t snapshot_len, uint64_t pt_len, uint64_t placed_len,
                    struct layout *out, struct err *e);

/*
 * The largest and the smallest scratch that layout_make accepts with this
 * image and these other sizes (scratch_len is not looked at); 0 when there is
 * none.
 */
uint64_t layout_scratch_max(const struct plan_rules *rules, const struct plan_sizes *sizes);
uint64_t layout_scratch_min(const struct plan_rules *rules, const struct plan_sizes *sizes);

/* Length of an area. */
uint64_t layout_area_len(const struct layout *l, enum area a);

/* Physical address of a byte of an area, or of its end. `off` at most the area's length (asserted). */
struct gpa layout_gpa(const struct layout *l, enum area a, uint64_t off);

/* The same byte as an address that this guest can dereference. */
struct guest_ptr layout_pointer(const struct layout *l, enum area a, uint64_t off);

/* Virtual address of the byte for the page tables; paged kinds only (asserted). */
struct gva layout_gva(const struct layout *l, enum area a, uint64_t off);

/* Scratch offset of the word `distance` bytes below the top. */
uint64_t layout_top_off(const struct layout *l, uint64_t distance);

#endif
