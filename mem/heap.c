/*
 * malloc and its family, for a program with one thread. They take the place of
 * the C library's, which are ten times as large, in all that is linked with
 * this; not in the sanitizers' build, which has its own.
 *
 * A block has a power of two of bytes with its header in front, is cut from
 * what the kernel gave, and waits in the list of its size once it is freed.
 * Large ones come from the kernel and go back to it, each by itself.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mem/assert.h"
#include "mem/num.h"

#define BLOCK_MIN  ((size_t)32)
#define BLOCK_MAX  ((size_t)128 << 10) /* what is larger is mapped by itself */
#define SIZES_N    13                  /* from the one to the other */
#define SUPPLY_LEN ((size_t)256 << 10)

struct block {
    size_t len;         /* with this header */
    struct block *next; /* of the free ones of that size; the block itself while it is in use */
};

static struct block *freed[SIZES_N];
static char *supply;
static size_t supply_len;

static void *map(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static struct block *cut(size_t len)
{
    struct block *b;

    if (supply_len < len) {
        char *more = map(SUPPLY_LEN);

        if (more == NULL)
            return NULL;
        supply = more; /* what was left is lost: less than one block */
        supply_len = SUPPLY_LEN;
    }
    b = (struct block *)(void *)supply;
    supply += len;
    supply_len -= len;
    return b;
}

/* The whole length of a block for `n` bytes. False when that is too much. */
static bool block_len(size_t n, size_t *len, unsigned *size)
{
    uint64_t want;

    *len = BLOCK_MIN;
    *size = 0;
    if (!num_add(n, sizeof(struct block), &want) || want > PTRDIFF_MAX - PAGE_LEN) {
        errno = ENOMEM;
        return false;
    }
    for (; *len < want && *size < SIZES_N; ++*size)
        *len *= 2;
    if (*size == SIZES_N)
        *len = (want + PAGE_MASK) & ~PAGE_MASK;
    return true;
}

/* The header of what malloc gave. Freeing it twice, or what is not from here, is a bug. */
static struct block *block_of(void *p)
{
    struct block *b = (struct block *)p - 1;

    assert(b->next == b);
    return b;
}

/* Not by the name of malloc: the compiler knows what that does, and would replace it again. */
static struct block *take(size_t n)
{
    struct block *b;
    unsigned size;
    size_t len;

    if (!block_len(n, &len, &size))
        return NULL;
    if (size == SIZES_N) {
        b = map(len);
    } else if (freed[size] != NULL) {
        b = freed[size];
        freed[size] = b->next;
    } else {
        b = cut(len);
    }
    if (b == NULL)
        return NULL;
    b->len = len;
    b->next = b;
    return b;
}

static void give_back(struct block *b)
{
    unsigned size;
    size_t len;

    if (b->len > BLOCK_MAX) {
        munmap(b, b->len);
        return;
    }
    (void)block_len(b->len - sizeof(*b), &len, &size);
    b->next = freed[size];
    freed[size] = b;
}

void *malloc(size_t n)
{
    struct block *b = take(n);

    return b == NULL ? NULL : b + 1;
}

void free(void *p)
{
    if (p != NULL)
        give_back(block_of(p));
}

void *calloc(size_t n, size_t len)
{
    struct block *b;
    uint64_t all;

    if (!num_mul(n, len, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    b = take(all);
    if (b == NULL)
        return NULL;
    /* The kernel's pages are zero. */
    if (b->len <= BLOCK_MAX)
        memset(b + 1, 0, all);
    return b + 1;
}

void *realloc(void *p, size_t n)
{
    struct block *b = p != NULL ? block_of(p) : take(n), *to = b;
    unsigned size;
    size_t len;

    if (b == NULL || !block_len(n, &len, &size))
        return NULL;
    if (len > b->len) {
        if (b->len > BLOCK_MAX) {
            to = mremap(b, b->len, len, MREMAP_MAYMOVE);
            if (to == MAP_FAILED)
                return NULL;
            to->len = len;
            to->next = to;
        } else {
            to = take(n);
            if (to == NULL)
                return NULL;
            memcpy(to + 1, b + 1, b->len - sizeof(*b));
            give_back(b);
        }
    }
    return to + 1;
}
