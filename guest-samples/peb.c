/*
 * Follows every pointer of the PEB. Prints each with the first and the last
 * eight bytes of what it leads to, for the host to compare with what it put
 * there:
 *
 *     output 0xfffbc000 0x4000 <u64 at +16> <last u64>
 *
 * and then compares the pointers with the top of scratch as the ABI has it,
 * in numbers of its own. Prints "peb ok".
 */
#include "guest-samples/guest.h"

#include "mem/bytes.h"
#include "mem/guest_abi.h"

static void check(bool ok, const char *what)
{
    if (!ok)
        guest_abort(15, what);
}

static void print_field(uint64_t v)
{
    guest_print(" ");
    guest_print_hex(v);
}

/* `skip` bytes at the start belong to the host's own protocol. */
static void show(const char *name, uint64_t ptr, uint64_t len, unsigned skip)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)ptr;

    check(ptr == (uintptr_t)ptr, "a pointer is wider than an address");
    guest_print(name);
    print_field(ptr);
    print_field(len);
    if (len >= skip + 8) {
        print_field(load_le64(at + skip));
        print_field(load_le64(at + len - 8));
    }
    guest_print("\n");
}

/* The end of scratch as this guest sees it, in the ABI's numbers. */
static uint64_t top(void)
{
    if (sizeof(uintptr_t) == 8)
        return 0xfffffffffffff000;
    return guest_is_paged() ? 0x100000000 : 0xfee00000;
}

static uint64_t at(uint64_t address)
{
    return *(volatile uint64_t *)(uintptr_t)address;
}

static uint64_t page_up(uint64_t v)
{
    return (v + 0xfff) & ~(uint64_t)0xfff;
}

/* The heap is the guest's to write to. */
static void check_heap(uint64_t heap, uint64_t len)
{
    uint64_t last = heap + len - GUEST_PAGE_LEN;

    if (guest_is_paged()) {
        guest_own_page((uintptr_t)heap);
        guest_own_page((uintptr_t)last);
    }
    *(volatile uint64_t *)(uintptr_t)heap = 0x1122334455667788;
    *(volatile uint64_t *)(uintptr_t)(last + GUEST_PAGE_LEN - 8) = 0x99aabbccddeeff00;
    check(at(heap) == 0x1122334455667788 && at(last + GUEST_PAGE_LEN - 8) == 0x99aabbccddeeff00,
          "the heap lost a write");
}

void guest_main(void)
{
    const uint8_t *peb = guest_peb();
    uint64_t input = load_le64(peb + 0x08), input_len = load_le64(peb + 0x00);
    uint64_t output = load_le64(peb + 0x18), output_len = load_le64(peb + 0x10);
    uint64_t init = load_le64(peb + 0x28), init_len = load_le64(peb + 0x20);
    uint64_t heap = load_le64(peb + 0x38), heap_len = load_le64(peb + 0x30);
    uint64_t files = load_le64(peb + 0x48), size = at(top() - 0x08);

    guest_print("scratch");
    print_field(size);
    guest_print("\n");
    show("input", input, input_len, 16);
    show("output", output, output_len, 16);
    show("init", init, init_len, 0);
    show("heap", heap, heap_len, 0);
    show("files", files, 32 * 80, 0);

    check(input == top() - size, "input.ptr is not the start of scratch");
    check(output == top() - size + input_len, "output.ptr is not behind the input stack");
    check(at(input) == 8 && at(output) == 8, "a stack's first word is not 8");
    check(((uintptr_t)peb & 0xfff) == 0 && heap == (uintptr_t)peb + 0x1000, "heap.ptr is not behind the PEB");
    check(init == heap + page_up(heap_len), "init.ptr is not behind the heap");
    check(load_le64(peb + 0x40) == 0 && files == (uintptr_t)peb + 0x50, "files.ptr is not in the PEB");
    check(at(top() - 0x3000) == 0x3154534f484d4d56, "the host page has no magic");
    check_heap(heap, heap_len);
    guest_print("peb ok\n");
}
