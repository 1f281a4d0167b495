# Power the machine off from a Linux guest on a machine without ACPI: the word that QEMU's machines take
# for it to port 0x604. No shell can do it, because a write to /dev/port is a byte. Linux's i386 calls.
        .globl  _start
_start: mov     $110, %eax      # iopl(3)
        mov     $3, %ebx
        int     $0x80
        mov     $0x2000, %eax
        mov     $0x604, %edx
        outw    %ax, %dx
        mov     $1, %eax        # exit(1): still here
        mov     $1, %ebx
        int     $0x80
        .section .note.GNU-stack, "", @progbits
