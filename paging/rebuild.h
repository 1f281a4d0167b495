/*
 * The tables of a snapshot while they are being made: a list that grows, in
 * the order they will have in the guest, with the room that scratch has for
 * them as its limit. And the scratch window, which is made in them anew.
 */
#ifndef PAGING_REBUILD_H
#define PAGING_REBUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/addr.h"
#include "mem/error.h"
#include "paging/geom.h"

struct rebuild_table {
    struct gva va; /* first address it covers where it was met first */
    unsigned level;
    bool of_window; /* made by rebuild_window: every entry is final */
};

struct rebuild {
    const struct pt_geom *geom;
    struct gpa at; /* where the first table will be */
    uint32_t tables_max;

    uint8_t *bytes; /* of the tables one behind the other; moves when one is added */
    struct rebuild_table *tables;
    uint32_t tables_n;
    uint32_t tables_room;
};

/* Start empty. `at` is page aligned and tables_max tables from there are addressable. */
void rebuild_init(struct rebuild *r, const struct pt_geom *g, struct gpa at, uint32_t tables_max);
void rebuild_free(struct rebuild *r);

/* Add an empty table; *number is its place in the list. Refused (STATUS_IMAGE) when tables_max are there. */
int rebuild_add(struct rebuild *r, struct gva va, unsigned level, bool of_window, uint32_t *number,
                struct err *e);

/* The refusal of rebuild_add, for whoever knows earlier that the room is not enough. */
int rebuild_refuse_full(const struct rebuild *r, struct err *e);

/* The address of table `number`, and the number of the table a pointer made with it leads to. */
struct gpa rebuild_gpa(const struct rebuild *r, uint32_t number);
uint32_t rebuild_number(const struct rebuild *r, uint64_t pointer);

uint64_t rebuild_load(const struct rebuild *r, uint32_t number, unsigned index);
void rebuild_store(struct rebuild *r, uint32_t number, unsigned index, uint64_t raw);

/*
 * Map `window` to the memory at `to` with 4 KiB leaves in each of the roots,
 * which are tables of the list. What the roots already have there is pointers
 * only, and tables wholly inside the window are not among them. Those are made
 * once and shared by all roots; one that the window shares with other
 * addresses is each root's own. Refused (STATUS_IMAGE): a pointer on the way
 * that does not let `rights` through; no room.
 */
int rebuild_window(struct rebuild *r, const uint32_t *roots, unsigned roots_n, const struct va_range *window,
                   struct gpa to, unsigned rights, struct err *e);

#endif
