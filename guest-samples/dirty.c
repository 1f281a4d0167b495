/*
 * Writes to as many pages as it is told, and to registers that only some
 * instructions reach; and leaves instructions half done. The pages are those
 * of the heap.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "guest-samples/guest_trap.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"

static volatile uint32_t *heap_page(uint32_t i)
{
    return (volatile uint32_t *)((uintptr_t)load_le64(guest_peb() + PEB_HEAP_PTR) +
                                 (uintptr_t)i * GUEST_PAGE_LEN);
}

static uint32_t heap_pages_n(void)
{
    return (uint32_t)(load_le64(guest_peb() + PEB_HEAP_SIZE) / GUEST_PAGE_LEN);
}

/* dirty(n): write to n pages of the heap, from the first on. */
static void dirty(const struct msg_value *a, struct msg_result *r)
{
    uint32_t n = (uint32_t)a[0].bits, i;

    if (n > heap_pages_n()) {
        guest_return_error(r, GUEST_ERROR_GENERAL, "the heap is too small");
        return;
    }
    for (i = 0; i < n; i++)
        ++*heap_page(i);
    guest_return_bits(r, MSG_UINT, n);
}

/* touch(n): write to n pages that lie evenly over the heap. */
static void touch(const struct msg_value *a, struct msg_result *r)
{
    uint32_t n = (uint32_t)a[0].bits, step = n != 0 ? heap_pages_n() / n : 0, i;

    for (i = 0; i < n; i++)
        *heap_page(step * i) = 0x5a5a5a5a;
    guest_return_void(r);
}

/* How many pages of the heap are not as a new guest finds them. */
static void count(const struct msg_value *a, struct msg_result *r)
{
    uint32_t i, n = 0;

    (void)a;
    for (i = 0; i < heap_pages_n(); i++)
        n += *heap_page(i) != 0;
    guest_return_bits(r, MSG_UINT, n);
}

/* --- x87, SSE and AVX: SDM 1, chapters 8, 10, 13, 14 ------------------------------------------------- */

#define CR0_EM         0x4u
#define CR0_TS         0x8u
#define CR4_OSFXSR     0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_OSXSAVE    0x40000u
#define CPUID_XSAVE    (1u << 26)
#define CPUID_AVX      (1u << 28)

#define FPU_X87        1u
#define FPU_SSE        2u
#define FPU_AVX        4u

static const uint32_t pattern[8] __attribute__((aligned(32))) = {
    0x11111111, 0x22222222, 0x33333333, 0x44444444, 0x55555555, 0x66666666, 0x77777777, 0x88888888};

static void write_cr4(uintptr_t clear_cr0, uintptr_t set_cr4)
{
    uintptr_t v;

    __asm__ volatile("mov %%cr0, %0\n\tand %1, %0\n\tmov %0, %%cr0" : "=&r"(v) : "r"(~clear_cr0) : "memory");
    __asm__ volatile("mov %%cr4, %0\n\tor %1, %0\n\tmov %0, %%cr4" : "=&r"(v) : "r"(set_cr4) : "memory");
}

/* Fill registers of each unit there is; which ones there were. A KVM that emulates kernel mode has none. */
static void fpu(const struct msg_value *a, struct msg_result *r)
{
    static const uint16_t fcw = 0x27f;
    static const uint32_t mxcsr = 0x9fc0;
    uint32_t eax = 1, ebx, ecx = 0, edx, done = FPU_X87 | FPU_SSE;

    (void)a;
    write_cr4(CR0_EM | CR0_TS, CR4_OSFXSR | CR4_OSXMMEXCPT);
    __asm__ volatile("fninit\n\tfldpi\n\tfld1\n\tfldl2t\n\tfldcw %0" : : "m"(fcw));
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    __asm__ volatile("movdqa %0, %%xmm0\n\tmovdqa %0, %%xmm3\n\tmovdqa %0, %%xmm7" : : "m"(pattern));
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if ((ecx & (CPUID_XSAVE | CPUID_AVX)) == (CPUID_XSAVE | CPUID_AVX)) {
        write_cr4(0, CR4_OSXSAVE);
        __asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
        __asm__ volatile("vmovdqa %0, %%ymm1\n\tvmovdqa %0, %%ymm6" : : "m"(pattern));
        done |= FPU_AVX;
    }
    guest_return_bits(r, MSG_UINT, done);
}

/* What a run before could have left in registers that a new guest finds zero. */
static void fpu_found(const struct msg_value *a, struct msg_result *r)
{
    static uint8_t image[512] __attribute__((aligned(16)));
    uint32_t any = 0;
    unsigned i;

    (void)a;
    write_cr4(CR0_EM | CR0_TS, CR4_OSFXSR | CR4_OSXMMEXCPT);
    image[0] = 0; /* fxsave is a write of the CPU's own: the page is copied first */
    __asm__ volatile("fxsave %0" : "=m"(image));
    /* ST0-7 from 32, XMM from 160 on. */
    for (i = 32; i < 416; i++)
        any |= image[i];
    guest_return_bits(r, MSG_UINT, any);
}

/* --- system registers --------------------------------------------------------------------------------- */

/* cr8(v): set it, and say what it was. There is none in i686. */
static void cr8(const struct msg_value *a, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, guest_swap_cr8((uint32_t)a[0].bits));
}

/* msr(index): read it and write it back. Ends the guest where the host does not let it. */
static void msr(const struct msg_value *a, struct msg_result *r)
{
    uint32_t index = (uint32_t)a[0].bits, low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    __asm__ volatile("wrmsr" : : "a"(low), "d"(high), "c"(index));
    guest_return_bits(r, MSG_ULONG, (uint64_t)high << 32 | low);
}

/* --- instructions that never end: the host ends the guest amid them ------------------------------------ */

#define NOWHERE 0xd0000000u /* no memory there, in any kind */

static uintptr_t nowhere(void)
{
    if (guest_is_paged())
        guest_map(NOWHERE, NOWHERE, GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
    return NOWHERE;
}

static void bad_read(const struct msg_value *a, struct msg_result *r)
{
    uint32_t v = *(volatile uint32_t *)nowhere();

    (void)a;
    guest_return_bits(r, MSG_UINT, v);
}

static void bad_write(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    *(volatile uint32_t *)nowhere() = 1;
    guest_return_void(r);
}

static void bad_in(const struct msg_value *a, struct msg_result *r)
{
    uint32_t v;

    (void)a;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"((uint16_t)0x200) : "memory");
    guest_return_bits(r, MSG_UINT, v);
}

static void bad_out(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_out(0x200, 1);
    guest_return_void(r);
}

/* Many bytes from a port. */
static void bad_ins(const struct msg_value *a, struct msg_result *r)
{
    static uint8_t bytes[64];
    void *to = bytes;
    uintptr_t n = sizeof(bytes);

    (void)a;
    bytes[0] = 1;
    __asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"((uint16_t)0x200) : "memory");
    guest_return_void(r);
}

/* From nowhere to nowhere. */
static void bad_copy(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t from = nowhere(), to = from + 1024, n = 64;

    (void)a;
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    guest_return_void(r);
}

const struct guest_function guest_functions[] = {
    {"dirty", 1, {MSG_UINT}, dirty},  {"touch", 1, {MSG_UINT}, touch},
    {"count", 0, {0}, count},         {"fpu", 0, {0}, fpu},
    {"fpu_found", 0, {0}, fpu_found}, {"cr8", 1, {MSG_UINT}, cr8},
    {"msr", 1, {MSG_UINT}, msr},      {"bad_read", 0, {0}, bad_read},
    {"bad_write", 0, {0}, bad_write}, {"bad_in", 0, {0}, bad_in},
    {"bad_out", 0, {0}, bad_out},     {"bad_ins", 0, {0}, bad_ins},
    {"bad_copy", 0, {0}, bad_copy},   {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
}
