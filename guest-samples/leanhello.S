/*
 * Says hello in as few instructions as it can: for measuring what it takes to
 * start and end a guest, not what the guest takes. Takes no calls.
 */
#include "mem/guest_abi.h"

#define LEN (text_end - text)

.section .text.start, "ax"
.globl entrypoint
entrypoint:
    and     $-16, %esp /* in 64 bits the high half goes too, and is not missed */
    mov     $text, %esi
    mov     $LEN, %ecx
1:  lodsb
    out     %al, $PORT_DEBUG_PRINT
    loop    1b
    out     %al, $PORT_HALT
    ud2

text:
    .ascii  "hello\n"
text_end:

.section .note.GNU-stack, "", @progbits
