/*
 * Little-endian loads and stores at any alignment. Guest memory, ELF files and
 * snapshot files are read and written through these only. Freestanding:
 * guests include this header too.
 */
#ifndef MEM_BYTES_H
#define MEM_BYTES_H

#include <stdint.h>

/* vmm and its guests run on x86 only: memory has the order that the host's own numbers have. */
static inline uint16_t load_le16(const void *p)
{
    uint16_t v;

    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load_le32(const void *p)
{
    uint32_t v;

    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t load_le64(const void *p)
{
    uint64_t v;

    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

/* Read from memory once, whatever the optimiser would like: what was checked is what is used. */
typedef uint32_t __attribute__((aligned(1), may_alias)) bytes_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) bytes_u64;

static inline uint32_t load_once_le32(const void *p)
{
    return *(const volatile bytes_u32 *)p;
}

static inline uint64_t load_once_le64(const void *p)
{
    return *(const volatile bytes_u64 *)p;
}

static inline void store_le16(void *p, uint16_t v)
{
    __builtin_memcpy(p, &v, sizeof(v));
}

static inline void store_le32(void *p, uint32_t v)
{
    __builtin_memcpy(p, &v, sizeof(v));
}

static inline void store_le64(void *p, uint64_t v)
{
    __builtin_memcpy(p, &v, sizeof(v));
}

#endif
