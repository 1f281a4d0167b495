/*
 * The guest that speed is measured with: as few instructions as the ABI lets
 * it have, no runtime and no handler for exceptions. Whatever is called, with
 * one argument of type uint, is touch(n): write one word to each of n pages
 * that lie evenly over the heap, and return nothing. With 0xffffffff it writes
 * nothing, and ends the guest by a fault unless the first word of every page
 * of the heap is zero.
 */
#include "mem/guest_abi.h"

#define ALL   -1
#define VALUE 0x5a5a5a5a

#if defined(__x86_64__)
#define A           %rax
#define B           %rbx
#define C           %rcx
#define D           %rdx
#define SI          %rsi
#define DI          %rdi
#define SP          %rsp
#define ADDRESS(x)  x(%rip)
#define MOVE_RESULT mov $(answer_end - answer) / 8, %ecx; rep movsq
#define CR4_PGE     0x80
#else
#define A           %eax
#define B           %ebx
#define C           %ecx
#define D           %edx
#define SI          %esi
#define DI          %edi
#define SP          %esp
#define ADDRESS(x)  x
#define MOVE_RESULT mov $(answer_end - answer) / 4, %ecx; rep movsl
#endif

.section .text.start, "ax"

/* The PEB is the page behind the image; a call is not told where it is. */
.weak entrypoint
.globl lean_start
entrypoint:
lean_start:
    lea     ADDRESS(guest_data_end), A
    cmp     A, DI
    jne     wrong
    and     $-16, SP
    lea     ADDRESS(dispatch), A
    out     %al, $PORT_HALT
wrong:
    ud2

/* ZF: the tables were replaced, and only a flush makes that seen. */
dispatch:
    jnz     1f
#if defined(__x86_64__)
    mov     %cr4, %rax
    xor     $CR4_PGE, %rax
    mov     %rax, %cr4
    xor     $CR4_PGE, %rax
    mov     %rax, %cr4
#else
    mov     %cr3, %eax
    mov     %eax, %cr3
#endif
    /* The argument is the end of the message, before the word that says where it starts. Take the message away. */
1:  lea     ADDRESS(guest_data_end), SI
    mov     PEB_INPUT_PTR(SI), DI
    mov     (DI), A
    mov     -12(DI, A), %ecx
    movl    $IO_STACK_EMPTY, (DI)
    mov     PEB_HEAP_PTR(SI), B
    mov     PEB_HEAP_SIZE(SI), A
    cmp     $ALL, %ecx
    je      4f
    test    %ecx, %ecx
    jz      3f
    xor     %edx, %edx
    div     C
    and     $-4096, A
2:  movl    $VALUE, (B)
    add     A, B
    dec     %ecx
    jnz     2b
3:  mov     PEB_OUTPUT_PTR(SI), DI
    lea     ADDRESS(answer), SI
    MOVE_RESULT
    out     %al, $PORT_HALT
    ud2
4:  add     B, A
5:  cmpl    $0, (B)
    jne     wrong
    add     $4096, B
    cmp     A, B
    jb      5b
    jmp     3b

/* The output stack with one message, a result of type void. */
.balign 8
answer:
    .long   answer_end - answer, 0
    .byte   0x34, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00
    .byte   0x08, 0x00, 0x0c, 0x00, 0x04, 0x00, 0x08, 0x00
    .byte   0x08, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00
    .byte   0x0c, 0x00, 0x00, 0x00, 0x08, 0x00, 0x0c, 0x00
    .byte   0x04, 0x00, 0x08, 0x00, 0x08, 0x00, 0x00, 0x00
    .byte   0x09, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00
    .byte   0x04, 0x00, 0x04, 0x00, 0x04, 0x00, 0x00, 0x00
    .long   IO_STACK_EMPTY, 0
answer_end:

.section .note.GNU-stack, "", @progbits
