/*
 * Bits of the x86 control and segment registers that vmm sets or reads, by the
 * manuals' names: Intel SDM volume 3A, "Control Registers", "Extended Feature
 * Enable Register" and "Segment Descriptors".
 */
#ifndef BOOT_X86_H
#define BOOT_X86_H

#include <stdint.h>

#define CR0_PE             0x00000001u /* protection enable */
#define CR0_MP             0x00000002u /* monitor coprocessor */
#define CR0_ET             0x00000010u /* extension type, always 1 */
#define CR0_NE             0x00000020u /* numeric error */
#define CR0_WP             0x00010000u /* write protect applies to supervisor writes */
#define CR0_AM             0x00040000u /* alignment mask */
#define CR0_NW             0x20000000u /* not write-through */
#define CR0_CD             0x40000000u /* cache disable */
#define CR0_PG             0x80000000u /* paging */

#define CR4_PSE            0x00000010u /* 4 MiB pages */
#define CR4_PAE            0x00000020u /* physical address extension */
#define CR4_PGE            0x00000080u /* global pages */
#define CR4_OSFXSR         0x00000200u /* FXSAVE, and SSE with it */
#define CR4_OSXMMEXCPT     0x00000400u /* SIMD exceptions */
#define CR4_OSXSAVE        0x00040000u /* XSAVE, and with it XCR0 */
#define CR4_LA57           0x00001000u /* 57-bit linear addresses: five levels of tables */

#define MSR_EFER           0xc0000080u /* SDM 4, "IA-32 Architectural MSRs" */
#define EFER_SCE           0x00000001u /* SYSCALL */
#define EFER_LME           0x00000100u /* long mode enable */
#define EFER_LMA           0x00000400u /* long mode active */
#define EFER_NXE           0x00000800u /* no-execute enable */

#define RFLAGS_FIXED       0x00000002u /* bit 1 reads as 1 */
#define RFLAGS_ZF          0x00000040u
#define RFLAGS_TF          0x00000100u /* a #DB after each instruction */
#define RFLAGS_IF          0x00000200u /* interrupts are taken */

#define SEG_TYPE_DATA_RW_A 3  /* data, writable, accessed */
#define SEG_TYPE_CODE_RX_A 11 /* code, readable, accessed; with S=0: busy 32/64-bit TSS */
#define SEG_TYPE_TSS_BUSY  11

/* What INIT leaves in CS and RIP, and so does KVM's reset of a vCPU (SDM 3A, "Processor State After Reset").
 */
#define RESET_RIP     0xfff0u
#define RESET_CS_BASE 0xffff0000u

/* IA32_APIC_BASE after a reset: the bootstrap processor's, enabled, at its usual page (SDM 3A, "Local APIC
 * Status and Location"). */
#define APIC_BASE_RESET  0xfee00900u
#define APIC_BASE_ENABLE 0x800u

#endif
