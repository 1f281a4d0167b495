/*
 * Guest addresses as distinct types, so that the compiler refuses to take one
 * for the other: a physical address (what KVM slots and page tables hold), a
 * virtual one (what the guest's instructions use), and a pointer that a guest
 * is going to read, which is one or the other depending on the guest and is
 * made by mem/layout only.
 */
#ifndef MEM_ADDR_H
#define MEM_ADDR_H

#include <stdint.h>

struct gpa {
    uint64_t v;
};

struct gva {
    uint64_t v;
};

/*
 * A pointer as the guest will dereference it. mem/layout is its only maker
 * (layout_pointer): everything a guest reads an address from takes this type.
 */
struct guest_ptr {
    uint64_t v;
};

static inline struct gpa gpa_make(uint64_t v)
{
    return (struct gpa){v};
}

static inline struct gva gva_make(uint64_t v)
{
    return (struct gva){v};
}

#endif
