/*
 * A kernel as Nanvix's micro-VM starts it: 16-bit code below 64 KiB with CS 0.
 * It goes to protected mode, says hello on the debug console with the magic
 * number and the RAM disk it was given, sends a message and asks for one,
 * and ends the machine: with HLT, or by the power port if there is a RAM disk.
 */
        .section .text
        .code16
        .globl  entry
entry:
        cli
        mov     %eax, %esi
        lgdtl   gdtr
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $8, $protected

        .code32
protected:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $0x7000, %esp
        mov     $text, %edi
        cmp     $0x0c00ffee, %esi
        je      1f
        mov     $wrong, %edi
1:      movzbl  (%edi), %eax
        test    %al, %al
        jz      1f
        out     %al, $0xe9
        inc     %edi
        jmp     1b
1:      mov     $message, %eax
        out     %eax, $0xe9
        mov     $message, %eax
        out     %eax, $0xea
        test    %ebx, %ebx
        jnz     disk
        hlt
disk:   mov     %ebx, %esi
        and     $0xfffff000, %esi
        mov     $8, %ecx                /* the first bytes of the RAM disk */
1:      lodsb
        out     %al, $0xe9
        loop    1b
        mov     $0x604, %dx
        mov     $0x20000007, %eax       /* command 0x2000: end, with status 7 */
        out     %eax, %dx
        hlt

        .section .rodata
        .align  8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   .word   23
        .long   gdt
text:   .asciz  "hello, world!\n"
wrong:  .asciz  "no magic number\n"
        .section .bss
        .align  64
message:
        .skip   4096
        .section .note.GNU-stack, "", @progbits
