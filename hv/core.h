/*
 * A core file of a guest that ended badly: registers and memory in the form
 * that Linux gives a process's core, so that gdb reads it.
 *
 *   gdb -ex bt guest.elf core
 *
 * An ELF32 (EM_386) or ELF64 (EM_X86_64) file of type ET_CORE:
 *
 *   0x0000  ELF header
 *   0x0040  notes: CORE/NT_PRSTATUS  general registers and selectors; no signal, process 1
 *                  CORE/NT_AUXV      AT_ENTRY, by which gdb finds where a position-independent
 *                                    guest was loaded; only of a guest started from its image
 *                  VMM/CORE_NOTE     what Linux has no place for, below
 *   0x1000  memory, one PT_LOAD behind the other; pages of zeros are holes
 *           program headers
 *
 * Memory is what the guest's own page tables map, at virtual addresses, so a
 * page that was copied on write shows the copy; neighbours with the same
 * rights are one PT_LOAD wherever their pages are. A copy-on-write page counts
 * as writable, as in a core of Linux. What is mapped and is no memory is left
 * out. Guests that run without page tables, and tables that cannot be used,
 * give physical addresses instead.
 *
 * The tables are the guest's and may be garbage: the file is cut short at
 * CORE_SEGMENTS_MAX segments, at CORE_DATA_EXTRA bytes beyond twice the
 * guest's memory (below 4 GiB for ELF32), and at CORE_TABLES_MAX tables read.
 * The note says so.
 */
#ifndef HV_CORE_H
#define HV_CORE_H

#include "boot/cpu.h"
#include "hv/vm.h"
#include "mem/error.h"

/* With the note segment, as many program headers as e_phnum can tell (PN_XNUM is 0xffff). */
#define CORE_SEGMENTS_MAX 65533u
#define CORE_DATA_EXTRA   ((uint64_t)16 << 20)
#define CORE_TABLES_MAX   65536u

/*
 * Note "VMM", this type (no number of Linux's): u32 version 1, u32 flags, u64
 * CR0, CR2, CR3, CR4, EFER, and a sentence that says the same as the flags,
 * NUL-terminated.
 */
#define CORE_NOTE         0x314d4d56u
#define CORE_NOTE_VERSION 1u
#define CORE_NOTE_TEXT    48u /* offset of the sentence */

#define CORE_BY_PHYSICAL  1u /* addresses of memory are physical */
#define CORE_CUT_SHORT    2u /* not all of the memory is in the file */
#define CORE_FIRST_TABLES \
    4u /* KVM reset the vCPU: by the tables the guest started with; registers are KVM's */

/*
 * Whether a core can be begun at `path`: nothing or a regular file is there, and
 * a file can be made beside it. STATUS_HOST if not.
 */
int core_check_path(const char *path, struct err *e);

/*
 * Write the core of the stopped guest in `vm`, with these registers, to
 * `path`, readable by its owner only and as hv/save.h has it. STATUS_HOST on
 * failure, with nothing left behind. The vCPU does not run meanwhile.
 */
int core_write(const struct vm *vm, const struct cpu_regs *regs, const struct cpu_sregs *sregs,
               const char *path, struct err *e);

#endif
