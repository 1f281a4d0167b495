/*
 * The snapshot file, byte by byte. Little-endian; nothing in it names a place
 * on the host.
 *
 *   0         header, 4096 bytes, the last four their checksum
 *   4096      table: one entry of 32 bytes a section, in the order of the file
 *             small sections: PLAN CPU ROOTS COMPAT, and NOTE if the guest promises something; numbers of
 *             8 bytes, text padded with zeros
 *             of a bare kernel: MACHINE STATE DEVICES COMPAT
 *             zeros up to a multiple of 64 KiB: the end of the head
 *   head_len  MEMORY  the pages, as they are mapped; pages of zeros are holes
 *             TABLES  page tables, when there are any
 *             PLACED  pages in scratch, when there are any
 *             CHUNKS  a checksum of 4 bytes for each 64 KiB of MEMORY
 *   file_len
 *
 * STATE is a record for each part of KVM's state in the order of hv/kvm_state's
 * list: its number and its length, 4 bytes each, then KVM's own structure padded
 * to 8 bytes. The last record, number 0, has the MSRs that are not as in a new
 * machine: 16 bytes each, index and value. DEVICES are the bytes of hv/bus.h.
 *
 * The head is read and checked as one. Sections behind it follow one another
 * without a gap. Checksums are CRC32C. A section that a reader does not know
 * is skipped, unless it is marked as required.
 */
#ifndef BOOT_SNAPFORMAT_H
#define BOOT_SNAPFORMAT_H

#define SNAP_MAGIC      0x50414e534d4d5689 /* bytes 0x89 "VMMSNAP" */
#define SNAP_FORMAT     1u
#define SNAP_HEADER_LEN 4096u
#define SNAP_CHUNK_LEN  0x10000u  /* alignment of MEMORY, and what one checksum covers */
#define SNAP_HEAD_MAX   0x100000u /* longest head */

/* Header: offsets. Bytes that have no name here are zero. */
#define SNAP_HDR_MAGIC      0  /* u64 */
#define SNAP_HDR_FORMAT     8  /* u32, of the writer */
#define SNAP_HDR_MIN_READER 12 /* u32, the oldest format whose readers understand the file */
#define SNAP_HDR_HEADER_LEN 16 /* u32 */
#define SNAP_HDR_PAGE_LEN   20 /* u32 */
#define SNAP_HDR_FLAGS      24 /* u64, none is defined */
#define SNAP_HDR_FILE_LEN   32 /* u64 */
#define SNAP_HDR_HEAD_LEN   40 /* u64 */
#define SNAP_HDR_SECTIONS_N 48 /* u32 */
#define SNAP_HDR_TABLE_CRC  52 /* u32 */
#define SNAP_HDR_CREATED    56 /* u64, ns since 1970 */
#define SNAP_HDR_PRODUCER   64 /* SNAP_PRODUCER_LEN bytes of text */
#define SNAP_HDR_END        96
#define SNAP_HDR_CRC        4092
#define SNAP_PRODUCER_LEN   32 /* the last one is zero */

/* Table entry: offsets. */
#define SNAP_ENT_TYPE      0  /* u32 */
#define SNAP_ENT_VERSION   4  /* u16 */
#define SNAP_ENT_FLAGS     6  /* u16 */
#define SNAP_ENT_OFF       8  /* u64 */
#define SNAP_ENT_LEN       16 /* u64, not 0 */
#define SNAP_ENT_CRC       24 /* u32; 0 for MEMORY, which has CHUNKS */
#define SNAP_ENT_ZERO      28 /* u32 */
#define SNAP_ENT_SIZE      32
#define SNAP_FLAG_REQUIRED 1u

/* Types of sections. A number is never used again for something else. */
enum snap_section {
    SNAP_PLAN = 1,
    SNAP_CPU = 2,
    SNAP_ROOTS = 3,
    SNAP_COMPAT = 4,
    SNAP_MEMORY = 5,
    SNAP_TABLES = 6,
    SNAP_PLACED = 7,
    SNAP_CHUNKS = 8,
    SNAP_MACHINE = 9,
    SNAP_STATE = 10,
    SNAP_DEVICES = 11,
    SNAP_NOTE = 12,
};

#define SNAP_NOTE_LEN        8u /* one number: what the guest promises */

#define SNAP_SECTION_VERSION 1u /* of every section so far */
#define SNAP_SECTIONS_MAX    32u

#endif
