/* Ownership of a guest at rest. See snapshot.h. */
#include "boot/snapshot.h"

#include <stdlib.h>
#include <unistd.h>

void snapshot_free(struct snapshot *s)
{
    region_unmap(&s->memory);
    region_unmap(&s->tables);
    region_unmap(&s->placed);
    hostcow_free(&s->cow);
    free(s->bare);
    s->bare = NULL;
    if (s->has_fd)
        close(s->file_fd);
    if (s->has_tables_fd)
        close(s->tables_fd);
    s->has_fd = s->has_tables_fd = false;
}
