/* Stands in for guest_i686.c in a binary built without I686_GUEST=1: no i686 kinds. */
#include <stddef.h>

#include "boot/guest.h"

const struct guest_kind *const guest_i686_kinds[] = {NULL};
