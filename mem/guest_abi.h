/*
 * The guest ABI: what host and guest agree on, byte by byte. Compiled on both
 * sides (host, 32-bit and 64-bit guests, assembler), so: constants only, and
 * no dependency. Everything is little-endian.
 *
 *   distance below the top of scratch (G_TOP for the guest)
 *   0x0000 ------------------------------------------------ top
 *   0x0008  SIZE        u64  bytes of scratch
 *   0x0010  ALLOCATOR   u64  next free GPA; the guest adds to it atomically
 *   0x0018  PT_BASE     u64  GPA of the page tables, 0 without paging
 *   0x0020  GENERATION  u64  snapshots on the path to this state
 *   0x0028  RNG         u64  (1 << 32) | seed: reseed; the guest stores 0
 *   0x0030 ------------------------------------------------ boot stack, grows down
 *   0x0FF8  lowest byte of the boot stack while the counter is in use
 *   0x1000  CANARY      u64  only while the counter is in use
 *   0x1008  COUNTER     u64  host-owned
 *   0x2000 ------------------------------------------------ host page ends
 *   0x3000 ------------------------------------------------ host page starts
 */
#ifndef MEM_GUEST_ABI_H
#define MEM_GUEST_ABI_H

/* --- where scratch ends: exclusive, physical as KVM maps it and virtual as the guest sees it ------- */
#define AMD64_PHYS_TOP 0x1000000000
#define AMD64_VIRT_TOP 0xfffffffffffff000
/* Virtual addresses that an amd64 guest may use to see a snapshot's tables; no snapshot keeps them. */
#define AMD64_DROPPED_START 0xffff800000000000
#define AMD64_DROPPED_LEN   0x0000010000000000

#define I686_PHYS_TOP       0xfee00000
#define I686_VIRT_TOP       0x100000000 /* paged; an identity guest sees I686_PHYS_TOP */

#define AMD64_BASE          0x4000 /* start of the snapshot region for a position-independent image */
#define I686_BASE           0x1000
#define BASE_MIN            0x1000 /* page 0 is the guest's null guard */

/* --- words at the top of scratch: distance down from the top ---------------------------------------- */
#define SCRATCH_SIZE_WORD       0x08
#define SCRATCH_ALLOCATOR_WORD  0x10
#define SCRATCH_PT_BASE_WORD    0x18
#define SCRATCH_GENERATION_WORD 0x20
#define SCRATCH_RNG_WORD        0x28
#define SCRATCH_STACK_TOP       0x30
#define SCRATCH_BOOT_STACK      0x38 /* boot stack pointer: as if just called, without a return address */
#define SCRATCH_CANARY_WORD     0x1000
#define SCRATCH_COUNTER_WORD    0x1008
#define SCRATCH_HOST_PAGE       0x3000
#define SCRATCH_RESERVED_PAGES  3 /* words, counter, host page: the allocator ends below them */

#define RNG_REQUEST             0x100000000 /* or'ed with a 32-bit seed */

/* --- host page: offsets ------------------------------------------------------------------------------ */
#define HOST_PAGE_MAGIC       0x00 /* "VMMHOST1" */
#define HOST_PAGE_WALL_CLOCK  0x08 /* u64, ns since 1970 */
#define HOST_PAGE_RANDOM      0x10
#define HOST_PAGE_RANDOM_LEN  32
#define HOST_PAGE_ROOTS_N     0x40 /* u32, written by the guest */
#define HOST_PAGE_ROOT_ACTIVE 0x44
#define HOST_PAGE_ROOTS_MAGIC 0x48 /* "VMMROOTS" marks the list as valid */
#define HOST_PAGE_ROOTS       0x50
#define HOST_PAGE_ROOTS_MAX   256
#define HOST_PAGE_GDT         0xf00
#define HOST_PAGE_GDT_LEN     24

#define HOST_PAGE_MAGIC_VALUE 0x3154534f484d4d56 /* bytes "VMMHOST1" */
#define HOST_PAGE_ROOTS_VALUE 0x53544f4f524d4d56 /* bytes "VMMROOTS" */

/* --- PEB: offsets of u64 fields, in every kind -------------------------------------------------------- */
#define PEB_INPUT_SIZE  0x00
#define PEB_INPUT_PTR   0x08
#define PEB_OUTPUT_SIZE 0x10
#define PEB_OUTPUT_PTR  0x18
#define PEB_INIT_SIZE   0x20
#define PEB_INIT_PTR    0x28
#define PEB_HEAP_SIZE   0x30
#define PEB_HEAP_PTR    0x38
#define PEB_FILES_COUNT 0x40
#define PEB_FILES_PTR   0x48
#define PEB_FILES       0x50

/* --- I/O stacks: the first u64 is the offset of the first free byte ----------------------------------- */
#define IO_STACK_EMPTY 8

/* --- ports --------------------------------------------------------------------------------------------- */
#define PORT_LOG         99
#define PORT_CALL_HOST   101
#define PORT_ABORT       102
#define PORT_DEBUG_PRINT 103
#define PORT_TRACE       104
#define PORT_TRACE_ALLOC 105
#define PORT_TRACE_FREE  106
#define PORT_TIMER       107
#define PORT_HALT        108
#define PORT_PIT         0x40 /* the first of four */
#define PORT_PIT_N       4

#define ABORT_CHUNK_MAX  3
#define ABORT_TERMINATOR 0xff
#define ABORT_LEN_MAX    1024

/* --- page tables ---------------------------------------------------------------------------------------- */
#define ABI_PTE_AVL_MASK 0xe00 /* the three available bits; copy-on-write is exactly ABI_PTE_COW in them */
#define ABI_PTE_COW      0x200

/* --- note of our guest runtime: name "VMM", type 1, one u32 of flags ------------------------------------ */
#define NOTE_NAME          "VMM"
#define NOTE_TYPE_GUEST    1
#define NOTE_FLAG_IDENTITY 1 /* runs with paging off */
#define NOTE_FLAG_OUT \
    2 /* promises to end init and calls by OUT 108, not by HLT, and to use no MSR but the usual ones */
#define NOTE_FLAG_CPU 4 /* promises to do with what every CPU for amd64 has, and asks CPUID for no more */

#endif
