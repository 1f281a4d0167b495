/*
 * Tables of a snapshot for a host that copies pages on write: what is
 * copy-on-write in the snapshot region becomes writable, and every leaf gets a
 * page of its own, so that nobody sees what is written through another one.
 *
 *   leaf                                     becomes
 *   CoW, the only leaf of its page           writable
 *   CoW, one of several leaves of its page   writable, of an extra page that starts as a copy
 *   anything else                            the same; a CoW leaf of a page outside the snapshot region too
 *                                            (one that a writable leaf shares): the guest copies that itself
 *
 * Writable leaves have D set: nobody writes to the tables for it.
 */
#ifndef PAGING_HOSTCOW_H
#define PAGING_HOSTCOW_H

#include "mem/addr.h"
#include "mem/error.h"
#include "mem/region.h"
#include "paging/geom.h"
#include "paging/pte.h"

struct hostcow_in {
    const struct pt_geom *geom;
    struct pt_mode mode;
    const struct region *tables; /* as they will stand at tables_gpa */
    struct gpa tables_gpa;
    const struct gpa *roots; /* in the tables */
    unsigned roots_n;
    struct gpa pages_gpa; /* the snapshot region */
    uint64_t pages_n;
    struct gpa extra_gpa; /* where extra pages will be */
};

struct hostcow {
    struct region tables;
    uint64_t
        *sources; /* of each extra page, the number of the page in the snapshot region that it is a copy of */
    uint64_t extra_n;
};

/*
 * The caller owns *out. STATUS_IMAGE for tables that are used at two levels;
 * pointers that lead out of them lead nowhere.
 */
int hostcow_make(const struct hostcow_in *in, struct hostcow *out, struct err *e);

/* Harmless on a zeroed one. */
void hostcow_free(struct hostcow *h);

#endif
