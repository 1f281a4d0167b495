/* Archives in newc format. See cpio.h. */
#include "hv/cpio.h"

#include <string.h>

#include "mem/format.h"

#define HEADER_LEN 110

static int put(struct cpio *c, const void *bytes, uint64_t len, struct err *e)
{
    if (save_write(c->to, c->len, bytes, len, e) != 0)
        return -1;
    c->len += len;
    return 0;
}

static int pad(struct cpio *c, struct err *e)
{
    return put(c, "\0\0", (0 - c->len) % 4, e);
}

static int add(struct cpio *c, uint32_t inode, const char *name, unsigned mode, const void *bytes,
               uint64_t len, struct err *e)
{
    /* inode, mode, uid, gid, links, mtime, length, 4 device numbers, length of the name, checksum */
    const uint32_t fields[] = {inode, mode, 0, 0, 1, 0, (uint32_t)len, 0, 0, 0, 0, (uint32_t)strlen(name) + 1,
                               0};
    char header[HEADER_LEN + 1] = "070701";
    unsigned i;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        format_text(header + 6 + 8 * i, 9, "%08x", fields[i]);
    if (put(c, header, HEADER_LEN, e) != 0 || put(c, name, strlen(name) + 1, e) != 0 || pad(c, e) != 0 ||
        put(c, bytes, len, e) != 0)
        return -1;
    return pad(c, e);
}

int cpio_add(struct cpio *c, const char *name, unsigned mode, const void *bytes, uint64_t len, struct err *e)
{
    return add(c, ++c->files_n, name, mode, bytes, len, e);
}

int cpio_end(struct cpio *c, struct err *e)
{
    return add(c, 0, "TRAILER!!!", 0, NULL, 0, e);
}
