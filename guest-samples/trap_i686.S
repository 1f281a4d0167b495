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
    lea     32(%esp), %eax
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
    /* A far return is the way to load cs. */
    pop     %eax
    push    $0x08
    push    %eax
    lret

.section .rodata
.globl trap_entries_step
.balign 4
trap_entries_step:
    .long 16

.section .note.GNU-stack, "", @progbits
