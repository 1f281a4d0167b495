/*
 * lean with a handler for page faults that copies pages on write, in as few
 * instructions; i686 with page tables only. Every other fault ends the guest.
 */
#include "mem/guest_abi.h"

#define PAGE_FAULT  14
#define GATE_32     0x8e00
#define CODE        0x08 /* the host page's GDT */
#define DELTA       (I686_VIRT_TOP - I686_PHYS_TOP)
#define ALLOCATOR   (I686_VIRT_TOP - SCRATCH_ALLOCATOR_WORD)
#define LAST_PAGE   (I686_PHYS_TOP - 0x1000 * (SCRATCH_RESERVED_PAGES + 1))
#define PTE_P       0x01
#define PTE_RW_AND  0x63 /* present, writable, accessed and dirty */

.section .text.start, "ax"
.globl entrypoint
entrypoint:
    lidt    idtr
    jmp     lean_start

.section .text
fault:
    pusha
    mov     %cr3, %edx
    mov     %cr2, %esi
    mov     %esi, %eax
    shr     $22, %eax
    mov     DELTA(%edx, %eax, 4), %edx
    and     $-4096, %edx
    mov     %esi, %eax
    shr     $12, %eax
    and     $1023, %eax
    lea     DELTA(%edx, %eax, 4), %ebx
    mov     (%ebx), %eax
    and     $(ABI_PTE_AVL_MASK | PTE_P), %eax
    cmp     $(ABI_PTE_COW | PTE_P), %eax
    jne     wrong
    mov     $4096, %edi
    lock xadd %edi, ALLOCATOR
    cmp     $LAST_PAGE, %edi
    ja      wrong
    lea     PTE_RW_AND(%edi), %edx
    add     $DELTA, %edi
    and     $-4096, %esi
    mov     $1024, %ecx
    rep movsl
    mov     %edx, (%ebx)
    invlpg  -4096(%esi)
    popa
    add     $4, %esp
    iret
wrong:
    ud2

.balign 8
idt:
    .fill   PAGE_FAULT, 8, 0
    .short  fault, CODE, GATE_32, 0 /* the image lies in the first 64 KB */
idtr:
    .short  idtr - idt - 1
    .long   idt

.section .note.GNU-stack, "", @progbits
