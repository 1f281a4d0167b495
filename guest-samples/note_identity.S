/* Marks an i686 image as one that runs with paging off. */
#include "mem/guest_abi.h"

.section .note.vmm, "a", @note
    .balign 4
    .long   4, 4, NOTE_TYPE_GUEST
    .asciz  NOTE_NAME
    .long   NOTE_FLAG_IDENTITY

.section .note.GNU-stack, "", @progbits
