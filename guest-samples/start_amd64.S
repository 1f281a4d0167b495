/*
 * Entry of an amd64 guest. Registers as ABI 3.2 says: rdi PEB, rsi seed, rdx
 * page size, rcx log filter, rsp the boot stack in scratch, 8 mod 16.
 */
#include "mem/guest_abi.h"

.section .text.start, "ax"
.globl entrypoint
entrypoint:
    /* rsp is as if just called: one more push and it is aligned for a call. */
    push    $0
    call    guest_start
    /* End of init: the address of the dispatch code in rax, rsp a multiple of 16. */
    and     $-16, %rsp
    lea     guest_dispatch(%rip), %rax
    out     %al, $PORT_HALT
.globl guest_stop
guest_stop:
    cli
    hlt
    jmp     guest_stop

.section .note.GNU-stack, "", @progbits
