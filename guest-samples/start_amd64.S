/*
 * Entry points of an amd64 guest. At init rdi is the PEB, rsi a seed, rdx the
 * page size, rcx the log filter, rsp the boot stack in scratch, 8 mod 16.
 */
#include "mem/guest_abi.h"

#define CR4_PGE 0x80

.section .text.start, "ax"
.globl entrypoint
entrypoint:
    /* rsp is as if just called: one more push and it is aligned for a call. */
    push    $0
    mov     %rsp, %r8
    call    guest_start
    ud2

/* guest_on_stack(stack, peb, log filter, boot stack): go on in guest_run on another stack. */
.globl guest_on_stack
guest_on_stack:
    mov     %rdi, %rsp
    mov     %rsi, %rdi
    mov     %rdx, %rsi
    mov     %rcx, %rdx
    call    guest_run
    ud2

/*
 * A call: rsp is what init left. ZF first: the tables were replaced, and
 * flipping the global-pages bit twice flushes every translation.
 */
.globl guest_dispatch
guest_dispatch:
    jnz     1f
    mov     %cr4, %rax
    xor     $CR4_PGE, %rax
    mov     %rax, %cr4
    xor     $CR4_PGE, %rax
    mov     %rax, %cr4
1:  call    guest_serve_call
    out     %al, $PORT_HALT
.globl guest_stop
guest_stop:
    cli
    hlt
    jmp     guest_stop

.section .note.GNU-stack, "", @progbits
