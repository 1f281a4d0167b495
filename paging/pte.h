/*
 * One page-table entry: from bits to meaning and back. What the bits mean for
 * which level comes from struct pt_geom; what CR0, CR4, EFER and CPUID change
 * comes from struct pt_mode. Manual: Intel SDM vol. 3A, 4.3 and 4.5.
 */
#ifndef PAGING_PTE_H
#define PAGING_PTE_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/addr.h"
#include "paging/geom.h"

#define PTE_P         ((uint64_t)1 << 0)
#define PTE_RW        ((uint64_t)1 << 1)
#define PTE_US        ((uint64_t)1 << 2)
#define PTE_PWT       ((uint64_t)1 << 3)
#define PTE_PCD       ((uint64_t)1 << 4)
#define PTE_A         ((uint64_t)1 << 5)
#define PTE_D         ((uint64_t)1 << 6)
#define PTE_PS        ((uint64_t)1 << 7) /* above level 1: a large leaf */
#define PTE_PAT       ((uint64_t)1 << 7) /* at level 1 */
#define PTE_G         ((uint64_t)1 << 8)
#define PTE_AVL       ((uint64_t)7 << 9)  /* the CPU leaves these to software */
#define PTE_COW       ((uint64_t)1 << 9)  /* copy-on-write, if it is the only one of PTE_AVL */
#define PTE_PAT_LARGE ((uint64_t)1 << 12) /* in a large leaf */
#define PTE_NX        ((uint64_t)1 << 63)

/*
 * What a caller asks for, what an entry grants, and what the entries of a path
 * grant together. Reading is always granted. PT_WRITE and PT_COW exclude each
 * other: an entry whose RW bit is set is writable whatever its CoW mark says,
 * for the CPU does not look at the mark.
 */
enum pt_rights {
    PT_WRITE = 1,
    PT_COW = 2, /* a write faults and the guest makes a copy of its own */
    PT_USER = 4,
    PT_EXEC = 8,
};

/*
 * What changes the meaning of an entry, as the vCPU has it. `wp` changes none;
 * it is here because rights mean what they say only while it is set.
 */
struct pt_mode {
    bool pse;           /* CR4.PSE: 4 MiB leaves of the two-level format */
    bool nxe;           /* EFER.NXE: bit 63 is NX, else reserved */
    bool wp;            /* CR0.WP: supervisor writes obey RW */
    bool page1g;        /* CPUID 8000_0001h EDX bit 26: 1 GiB leaves, else PS is reserved there */
    unsigned phys_bits; /* MAXPHYADDR, 32 to 52; address bits above are reserved */
};

enum pte_kind {
    PTE_ABSENT,    /* P clear: the other bits are the guest's own */
    PTE_TABLE,     /* leads to a table of the next lower level */
    PTE_LEAF,      /* maps memory */
    PTE_MALFORMED, /* P set and a reserved bit too: the CPU would fault */
};

struct pte {
    enum pte_kind kind;
    struct gpa pa;   /* table or page; 0 when there is none */
    uint64_t len;    /* bytes a leaf maps, else 0 */
    unsigned rights; /* enum pt_rights of this entry alone; 0 when absent or malformed */
    uint64_t other;  /* bits that none of the above tells and A does not: D, G, cache bits, marks;
                        of an absent or malformed entry the whole raw value */
};

/* Whether entries of `level` can be leaves in this mode; those of level 1 always are. */
bool pte_level_has_leaf(const struct pt_geom *g, unsigned level, struct pt_mode mode);

/* `level` is 1 for the lowest tables and geom->levels for the root. Never fails, whatever `raw` is. */
struct pte pte_decode(const struct pt_geom *g, unsigned level, struct pt_mode mode, uint64_t raw);

/* Rights at the end of a path: `above` are those of the entries so far, `rights` the next entry's. */
unsigned pte_rights_and(unsigned above, unsigned rights);

/* The most a path can grant: what to start pte_rights_and from. */
#define PT_RIGHTS_ALL (PT_WRITE | PT_USER | PT_EXEC)

/*
 * The entry that guest tables are built with (ABI 1.4). `pa` is aligned and
 * inside the geometry's address bits; `level` of a leaf is one where the
 * geometry has leaves. PT_WRITE and PT_COW are not both in `rights`.
 */
uint64_t pte_make_pointer(const struct pt_geom *g, struct gpa table, bool user);
uint64_t pte_make_leaf(const struct pt_geom *g, unsigned level, struct gpa page, unsigned rights);

/* An entry in tables that are the host's own: a guest cannot touch these bytes. */
uint64_t pte_load(const struct pt_geom *g, const uint8_t *p);
void pte_store(const struct pt_geom *g, uint8_t *p, uint64_t raw);

#endif
