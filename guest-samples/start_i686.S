/*
 * Entry of an i686 guest, paged or identity. Registers as ABI 3.2 says: edi
 * PEB, esi seed, edx page size, ecx log filter, esp the boot stack in scratch.
 */
#include "mem/guest_abi.h"

.section .text.start, "ax"
.globl entrypoint
entrypoint:
    and     $-16, %esp
    push    %ecx
    push    %edx
    push    %esi
    push    %edi
    call    guest_start
    /* End of init: the address of the dispatch code in eax, esp a multiple of 16. */
    add     $16, %esp
    call    1f
1:  pop     %eax
    add     $guest_dispatch - 1b, %eax
    out     %al, $PORT_HALT
.globl guest_stop
guest_stop:
    cli
    hlt
    jmp     guest_stop

.section .note.GNU-stack, "", @progbits
