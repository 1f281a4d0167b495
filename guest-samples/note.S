/* What the guest is and promises: NOTE_FLAG_... of mem/guest_abi.h. */
#include "mem/guest_abi.h"

.section .note.vmm, "a", @note
    .balign 4
    .long   4, 4, NOTE_TYPE_GUEST
    .asciz  NOTE_NAME
    .long   NOTE_FLAGS

.section .note.GNU-stack, "", @progbits
