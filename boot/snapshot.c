/* Ownership of a guest at rest. See snapshot.h. */
#include "boot/snapshot.h"

void snapshot_free(struct snapshot *s)
{
    region_unmap(&s->memory);
    region_unmap(&s->tables);
    region_unmap(&s->placed);
}
