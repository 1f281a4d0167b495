/*
 * CRC32C, the checksum of snapshot files (RFC 3720, 12.1 and B.4): it finds
 * damage, not intent.
 */
#ifndef MEM_CRC32C_H
#define MEM_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` is the checksum of (0: nothing), followed by `len` more bytes. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The two ways it is computed; the instruction only where the CPU has it (SSE4.2). */
bool crc32c_has_instruction(void);
uint32_t crc32c_by_instruction(uint32_t crc, const void *bytes, size_t len);
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t len);

#endif
