/* Exception and interrupt entries of an i686 guest, on whatever ring-0 stack is in use. */

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

common:
    pusha
    cld
    lea     28(%esp), %eax
    push    %eax
    call    guest_trap
    add     $4, %esp
    popa
    add     $8, %esp
    iret

.globl trap_load
trap_load:
    mov     4(%esp), %eax
    lgdt    (%eax)
    mov     8(%esp), %eax
    lidt    (%eax)
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %fs
    mov     %eax, %gs
    mov     %eax, %ss
    mov     $0x18, %eax
    ltr     %ax
    /* A far return is the way to load cs. */
    pop     %eax
    push    $0x08
    push    %eax
    lret

/* trap_user_enter(code, arg): what must survive is on the stack, and user_stack says where. */
.globl trap_user_enter
trap_user_enter:
    push    %ebx
    push    %ebp
    push    %esi
    push    %edi
    mov     %esp, user_stack
    push    %esp
    call    trap_user_stack
    add     $4, %esp
    mov     20(%esp), %ecx
    mov     24(%esp), %eax
    mov     $0x2b, %edx
    mov     %edx, %ds
    mov     %edx, %es
    push    $0x2b
    push    $0
    push    $2
    push    $0x33
    push    %ecx
    iret

/* trap_user_leave(result): on the exception's stack, which is left as it is. */
.globl trap_user_leave
trap_user_leave:
    mov     4(%esp), %eax
    mov     $0x10, %edx
    mov     %edx, %ds
    mov     %edx, %es
    mov     %edx, %fs
    mov     %edx, %gs
    mov     %edx, %ss
    mov     user_stack, %esp
    pop     %edi
    pop     %esi
    pop     %ebp
    pop     %ebx
    ret

.globl guest_swap_cr8
guest_swap_cr8:
    xor     %eax, %eax
    ret

.section .bss
.balign 4
user_stack:
    .skip 4

.section .rodata
.globl trap_entries_step
.balign 4
trap_entries_step:
    .long 16

.section .note.GNU-stack, "", @progbits
