/* How a bare kernel of ours begins: a multiboot header, segments, a stack, bare_main; and where interrupts come in. */
        .section .header, "a"
        .align  4
        .long   0x1badb002              /* Multiboot Specification 0.6.96, 3.1.1 */
        .long   0
        .long   -0x1badb002

        .text
        .globl  entry
entry:
        mov     $stack_top, %esp
        mov     %eax, boot_magic
        mov     %ebx, boot_info
        lgdt    gdtr                    /* a loader's segments need no descriptors in memory, interrupts do */
        ljmp    $8, $1f
1:      mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        call    bare_main
1:      cli
        hlt
        jmp     1b

        .macro  irq line
irq\line:
        pusha
        call    *irq_handlers + 4 * \line
        mov     $0x20, %al              /* end of interrupt */
        out     %al, $0x20
        popa
        iret
        .endm
        irq     0
        irq     1
        irq     2
        irq     3
        irq     4
        irq     5
        irq     6
        irq     7

        .data
        .align  8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   .word   23
        .long   gdt
        .globl  irq_entries
irq_entries:
        .long   irq0, irq1, irq2, irq3, irq4, irq5, irq6, irq7

        .bss
        .align  16
        .skip   16384
stack_top:
        .section .note.GNU-stack, "", @progbits
