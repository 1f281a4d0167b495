/*
 * Entry points of an i686 guest, paged or identity. At init edi is the PEB, esi
 * a seed, edx the page size, ecx the log filter, esp the boot stack in scratch.
 */
#include "mem/guest_abi.h"

.section .text.start, "ax"
.globl entrypoint
entrypoint:
    and     $-16, %esp
    mov     %esp, %eax
    sub     $12, %esp
    push    %eax
    push    %ecx
    push    %edx
    push    %esi
    push    %edi
    call    guest_start
    ud2

/* guest_on_stack(stack, peb, log filter, boot stack): go on in guest_run on another stack. */
.globl guest_on_stack
guest_on_stack:
    mov     8(%esp), %ecx
    mov     12(%esp), %edx
    mov     16(%esp), %ebx
    mov     4(%esp), %esp
    sub     $4, %esp
    push    %ebx
    push    %edx
    push    %ecx
    call    guest_run
    ud2

/*
 * A call: esp is the boot stack, which is in scratch and writable. ZF first:
 * the tables were replaced, and only a flush makes that seen. Nothing may be
 * pushed before. guest_enter then says which stack to go on with, 0 this one.
 */
.globl guest_dispatch
guest_dispatch:
    setz    %al
    jnz     1f
    mov     %cr3, %ecx
    mov     %ecx, %cr3
1:  movzbl  %al, %eax
    sub     $12, %esp
    push    %eax
    call    guest_enter
    add     $16, %esp
    test    %eax, %eax
    jz      2f
    mov     %eax, %esp
2:  call    guest_serve_call
    out     %al, $PORT_HALT
.globl guest_stop
guest_stop:
    cli
    hlt
    jmp     guest_stop

.section .note.GNU-stack, "", @progbits
