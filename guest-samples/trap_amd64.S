/* Exception and interrupt entries of an amd64 guest: exceptions on the IST stack, interrupts on the one in use. */

.section .text

/*
 * trap_entries + vector * trap_entries_step, for exceptions and the 16 interrupts of the PICs behind
 * them; vectors 8, 10-14, 17, 21, 29, 30 come with an error code.
 */
.balign 16
.globl trap_entries
trap_entries:
.set vector, 0
.rept 48
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push    $0
    .endif
    push    $vector
    jmp     common
    .set vector, vector + 1
.endr
.balign 16

/* Frame, error code and vector are 7 words, the registers 9: rsp is a multiple of 16 at the call. */
common:
    push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    cld
    lea     64(%rsp), %rdi
    call    guest_trap
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    add     $16, %rsp
    iretq

.globl trap_load
trap_load:
    lgdt    (%rdi)
    lidt    (%rsi)
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $0x18, %eax
    ltr     %ax
    /* A far return is the way to load cs. */
    pop     %rax
    push    $0x08
    push    %rax
    lretq

/* trap_user_enter(code, arg): what must survive is on the stack, and user_stack says where. */
.globl trap_user_enter
trap_user_enter:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    mov     %rsp, user_stack(%rip)
    mov     %rsi, %rax
    push    $0x2b
    push    $0
    push    $2
    push    $0x33
    push    %rdi
    iretq

/* trap_user_leave(result): on the exception's stack, which is left as it is. */
.globl trap_user_leave
trap_user_leave:
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     user_stack(%rip), %rsp
    mov     %edi, %eax
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

.globl guest_swap_cr8
guest_swap_cr8:
    mov     %edi, %edi
    mov     %cr8, %rax
    mov     %rdi, %cr8
    ret

.section .bss
.balign 8
user_stack:
    .skip 8

.section .rodata
.globl trap_entries_step
.balign 8
trap_entries_step:
    .quad 16

.section .note.GNU-stack, "", @progbits
