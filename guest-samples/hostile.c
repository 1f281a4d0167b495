/*
 * A guest that breaks every rule of the ABI it can reach: one function per
 * attack, its variant chosen by a number. Most attacks leave their result on
 * the output stack first and end by themselves, so that a host that believes
 * none of what was spoilt sees a call that returned 42.
 *
 * Attacks on the end of init are chosen by the first byte of the init data.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "guest-samples/guest_trap.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"
#include "mem/iostack.h"

#define ANSWER         42

#define ROOT_ENTRIES_N (GUEST_PAGE_LEN / sizeof(uintptr_t))
#define ROOT_SELF      (GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A)

/* start_*.S */
void guest_dispatch(void);

/* The stacks, as the PEB had them before it was spoilt. */
static uint8_t *input, *output;
static size_t input_len, output_len;

static void fill(void *to, uint8_t byte, size_t n)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
}

static void stop(void)
{
    for (;;)
        __asm__ volatile("cli\n\thlt");
}

static void halt(void)
{
    guest_out(PORT_HALT, 0);
    stop();
}

/* --- honest messages ----------------------------------------------------------------------------- */

static const uint8_t some_text[] = "text";

static size_t write_result(uint8_t *to, size_t cap)
{
    const struct msg_result r = {.value = {.type = MSG_INT, .bits = ANSWER}};

    return msg_write_result(&r, to, cap);
}

static size_t write_call(bool to_host, uint8_t *to, size_t cap)
{
    struct msg_call c = {
        .name = (const uint8_t *)"HostPrint",
        .name_len = 9,
        .to_host = to_host,
        .returns = MSG_INT,
        .params_n = 1,
    };

    c.params[0] = (struct msg_value){.type = MSG_STRING, .data = some_text, .len = sizeof(some_text) - 1};
    return msg_write_call(&c, to, cap);
}

static size_t write_log(uint8_t *to, size_t cap)
{
    const struct msg_log l = {
        .message = some_text,
        .message_len = sizeof(some_text) - 1,
        .source = some_text,
        .source_len = sizeof(some_text) - 1,
        .caller = some_text,
        .caller_len = sizeof(some_text) - 1,
        .source_file = some_text,
        .source_file_len = sizeof(some_text) - 1,
        .level = 4,
        .line = 7,
    };

    return msg_write_log(&l, to, cap);
}

/* Put on the output stack what the host looks for at this port. Returns its length. */
static size_t push_for(unsigned port)
{
    static uint8_t message[256];
    size_t len;

    if (port == PORT_HALT)
        len = write_result(message, sizeof(message));
    else if (port == PORT_CALL_HOST)
        len = write_call(true, message, sizeof(message));
    else
        len = write_log(message, sizeof(message));
    iostack_push(output, output_len, message, len);
    return len;
}

static void push_answer(void)
{
    push_for(PORT_HALT);
}

static void answer(void)
{
    push_answer();
    halt();
}

/*
 * Ask the host to look at the output stack. Only a host that saw nothing wrong
 * with a call or a log record comes back; then the call ends well.
 */
static void knock(unsigned port)
{
    guest_out((uint16_t)port, 0);
    if (port == PORT_HALT)
        stop();
    iostack_reset(output, output_len);
    answer();
}

/* --- I/O stacks ---------------------------------------------------------------------------------- */

static uint32_t variant(const struct msg_value *a)
{
    return (uint32_t)a[0].bits;
}

static unsigned port_of(const struct msg_value *a)
{
    return (unsigned)a[1].bits;
}

/* A word out of bounds in one way or another; `limit` is the stack's size. False when there is no such
 * variant. */
static bool bad_word(uint32_t n, uint64_t limit, uint64_t *out)
{
    const uint64_t words[] = {
        0, 7, 9, 15, limit + 1, limit + 8, ((uint64_t)1 << 32) + 8, (uint64_t)1 << 63, ~(uint64_t)0, limit,
    };

    if (n >= sizeof(words) / sizeof(words[0]))
        return false;
    *out = words[n];
    return true;
}

static void no_variant(struct msg_result *r)
{
    guest_return_error(r, GUEST_ERROR_GENERAL, "no such variant");
}

/* The whole input stack, with an honest result. */
static void input_fill(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    push_answer();
    fill(input, (uint8_t)variant(a), input_len);
    halt();
}

static void output_fill(const struct msg_value *a, struct msg_result *r)
{
    unsigned port = port_of(a);

    (void)r;
    fill(output, (uint8_t)variant(a), output_len);
    knock(port);
}

/* A bad stack pointer, with an honest message below where it was. */
static void output_sp(const struct msg_value *a, struct msg_result *r)
{
    unsigned port = port_of(a);
    uint64_t sp;

    if (!bad_word(variant(a), output_len, &sp)) {
        no_variant(r);
        return;
    }
    push_for(port);
    store_le64(output, sp);
    knock(port);
}

static void output_back(const struct msg_value *a, struct msg_result *r)
{
    unsigned port = port_of(a);
    uint64_t back;
    size_t len;

    if (!bad_word(variant(a), output_len, &back)) {
        no_variant(r);
        return;
    }
    len = push_for(port);
    store_le64(output + IOSTACK_EMPTY + len, back);
    knock(port);
}

static void output_prefix(const struct msg_value *a, struct msg_result *r)
{
    unsigned port = port_of(a);
    uint32_t n = variant(a);
    size_t len = push_for(port);
    const uint32_t prefixes[] = {0,          1,          (uint32_t)len - 5, (uint32_t)len - 3,
                                 0x7fffffff, 0xfffffffb, 0xfffffffc,        0xffffffff};

    if (n >= sizeof(prefixes) / sizeof(prefixes[0])) {
        iostack_reset(output, output_len);
        no_variant(r);
        return;
    }
    store_le32(output + IOSTACK_EMPTY, prefixes[n]);
    knock(port);
}

/* One bit of an honest message the other way round. */
static void flip(const struct msg_value *a, struct msg_result *r)
{
    unsigned port = port_of(a);
    uint32_t bit = variant(a);

    if (bit / 8 >= push_for(port)) {
        iostack_reset(output, output_len);
        no_variant(r);
        return;
    }
    output[IOSTACK_EMPTY + bit / 8] ^= (uint8_t)(1u << bit % 8);
    knock(port);
}

/* The host has to push its answer on an input stack with a bad stack pointer. */
static void input_sp(const struct msg_value *a, struct msg_result *r)
{
    uint64_t sp;

    if (!bad_word(variant(a), input_len, &sp)) {
        no_variant(r);
        return;
    }
    push_for(PORT_CALL_HOST);
    store_le64(input, sp);
    knock(PORT_CALL_HOST);
}

/* As many elements as there is room for, the last of them a result. */
static void output_full(const struct msg_value *a, struct msg_result *r)
{
    uint64_t before;

    (void)a;
    (void)r;
    do {
        before = load_le64(output);
        push_answer();
    } while (load_le64(output) != before);
    halt();
}

static void guest_typed_call(const struct msg_value *a, struct msg_result *r)
{
    static uint8_t message[256];

    (void)a;
    (void)r;
    iostack_push(output, output_len, message, write_call(false, message, sizeof(message)));
    knock(PORT_CALL_HOST);
}

static void no_result(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    halt();
}

/* HLT is an end as well, unless there is an irqchip that could wake the guest. */
static void sleep_with_result(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    push_answer();
    stop();
}

/* --- memory the host wrote ----------------------------------------------------------------------- */

static void peb_fill(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t peb = (uintptr_t)guest_peb();

    (void)r;
    push_answer();
    /* Paged kinds see it read-only, which does not keep a guest from another page in its place. */
    if (guest_is_paged())
        guest_map(peb, guest_alloc_pages(1), GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
    fill((void *)peb, (uint8_t)variant(a), GUEST_PAGE_LEN);
    halt();
}

/* The shared words only. */
static void words_fill(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    push_answer();
    fill((void *)(guest_scratch_top() - SCRATCH_RNG_WORD), (uint8_t)variant(a), SCRATCH_RNG_WORD);
    halt();
}

/* The n-th page below the top of scratch: words and stack, counter and canary, host page. */
static void top_page_fill(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    push_answer();
    fill((void *)(guest_scratch_top() - (uintptr_t)variant(a) * GUEST_PAGE_LEN), 0xff, GUEST_PAGE_LEN);
    halt();
}

/* All of scratch: stacks, tables, this function's own stack. Only registers are left to go on with. */
static void scratch_fill(const struct msg_value *a, struct msg_result *r)
{
    void *to = (void *)guest_scratch();
    size_t n = guest_scratch_len();

    (void)r;
    __asm__ volatile("rep stosb\n\tout %%al, %2\n1:\tcli\n\thlt\n\tjmp 1b"
                     : "+D"(to), "+c"(n)
                     : "i"(PORT_HALT), "a"(variant(a))
                     : "memory");
}

static void counter_write(const struct msg_value *a, struct msg_result *r)
{
    uint8_t *counter = (uint8_t *)(guest_scratch_top() - SCRATCH_COUNTER_WORD);

    (void)r;
    push_answer();
    store_le64(counter, variant(a));
    halt();
}

/* --- page tables and the CPU --------------------------------------------------------------------- */

static volatile uintptr_t *root(void)
{
    return guest_window(guest_read_cr3() & ~(uintptr_t)(GUEST_PAGE_LEN - 1));
}

static void fill_root(uintptr_t value, bool all)
{
    volatile uintptr_t *p = root();
    unsigned i;

    for (i = 0; i < ROOT_ENTRIES_N; i++)
        if (all || (p[i] & GUEST_PTE_P) == 0)
            p[i] = value;
}

static void tables(const struct msg_value *a, struct msg_result *r)
{
    uintptr_t self;

    if (!guest_is_paged()) {
        no_variant(r);
        return;
    }
    self = guest_read_cr3() | ROOT_SELF;
    push_answer();
    switch (variant(a)) {
    case 0:
        fill_root(self, false);
        halt();
        break;
    case 1: /* 512^3 ways to the same page, for a host that looks for the reason of a time limit */
        fill_root(self, false);
        for (;;)
            __asm__ volatile("");
    case 2: fill_root(self, true); break;
    case 3: fill_root(~(uintptr_t)0, true); break;
    case 4: fill_root(0, true); break;
    case 5: guest_write_cr3(0); break;
    case 6: guest_write_cr3(0x7ffff000); break;
    case 7:
        guest_map(0x40000000, 0xc0000000, GUEST_PTE_P | GUEST_PTE_RW);
        fill((void *)0x40000000, 1, 4);
        break;
    case 8: /* a page of the snapshot, through a writable entry */
        guest_map(0x40000000, 0x8000, GUEST_PTE_P | GUEST_PTE_RW | GUEST_PTE_A | GUEST_PTE_D);
        fill((void *)0x40000000, 1, 4);
        break;
    default:
        iostack_reset(output, output_len);
        no_variant(r);
        return;
    }
    guest_write_cr3(guest_read_cr3());
    halt();
}

static void cpu(const struct msg_value *a, struct msg_result *r)
{
    static const struct {
        uint16_t limit;
        uintptr_t base;
    } __attribute__((packed)) no_table = {0, 0};
    uintptr_t cr0;

    push_answer();
    switch (variant(a)) {
    case 0: /* an exception that nothing handles */
        __asm__ volatile("lidt %0\n\tud2" : : "m"(no_table));
        break;
    case 1: __asm__ volatile("mov %k0, %%esp\n\tpush %0\n\tpush %0" : : "r"((uintptr_t)0x800)); break;
    case 2: __asm__ volatile("jmp *%0" : : "r"((uintptr_t)0)); break;
    case 3: __asm__ volatile("jmp *%0" : : "r"((uintptr_t)0xfff00000)); break;
    case 4: /* paging off, and no memory is touched any more */
        __asm__ volatile(
            "mov %%cr0, %0\n\tand $0x7fffffff, %k0\n\tmov %0, %%cr0\n\tout %%al, %1\n1:\tcli\n\thlt\n\tjmp 1b"
            : "=&r"(cr0)
            : "i"(PORT_HALT)
            : "memory");
        break;
    case 5: __asm__ volatile("wrmsr" : : "c"(0xdeadbeef), "a"(0), "d"(0)); break;
    case 6: __asm__ volatile("wrmsr" : : "c"(0x1b), "a"(0xfee00c00), "d"(0)); break;
    case 7: __asm__ volatile("mov %0, %%cr4" : : "r"(~(uintptr_t)0)); break;
    case 8: __asm__ volatile("mov %0, %%dr7" : : "r"((uintptr_t)0x2755)); break;
    case 9:
        for (;;)
            __asm__ volatile("");
    default:
        iostack_reset(output, output_len);
        no_variant(r);
        return;
    }
    halt();
}

/* --- ports --------------------------------------------------------------------------------------- */

/* OUT of 1, 2 or 4 bytes, all zero. Whoever comes back has answered. */
static void port_out(const struct msg_value *a, struct msg_result *r)
{
    uint16_t port = (uint16_t)variant(a);

    (void)r;
    switch ((uint32_t)a[1].bits) {
    case 1: __asm__ volatile("outb %%al, %%dx" : : "a"(0), "d"(port) : "memory"); break;
    case 2: __asm__ volatile("outw %%ax, %%dx" : : "a"(0), "d"(port) : "memory"); break;
    default: __asm__ volatile("outl %%eax, %%dx" : : "a"(0), "d"(port) : "memory"); break;
    }
    answer();
}

static void port_in(const struct msg_value *a, struct msg_result *r)
{
    uint32_t got = 0;

    (void)r;
    __asm__ volatile("inl %%dx, %%eax" : "+a"(got) : "d"((uint16_t)variant(a)) : "memory");
    answer();
}

static void port_string_out(const struct msg_value *a, struct msg_result *r)
{
    const uint8_t *from = some_text;
    size_t n = sizeof(some_text) - 1;

    (void)r;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"((uint16_t)variant(a)) : "memory");
    answer();
}

static void port_string_in(const struct msg_value *a, struct msg_result *r)
{
    static uint8_t to[GUEST_PAGE_LEN];
    void *p = to;
    size_t n = variant(a) % 2 == 0 ? sizeof(to) : (size_t)1 << 24;

    (void)r;
    __asm__ volatile("rep insb" : "+D"(p), "+c"(n) : "d"((uint16_t)variant(a)) : "memory");
    answer();
}

/* Any value to any port of the ABI, and then an honest end. */
static void send(const struct msg_value *a, struct msg_result *r)
{
    (void)r;
    guest_out((uint16_t)a[0].bits, (uint32_t)a[1].bits);
    answer();
}

/* So many bytes of an abort that never ends. */
static void long_abort(const struct msg_value *a, struct msg_result *r)
{
    uint32_t n;

    (void)r;
    for (n = variant(a); n != 0; n--)
        guest_abort_byte('x');
    answer();
}

static void finish_abort(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    guest_abort(15, "all of it");
}

static void add(const struct msg_value *a, struct msg_result *r)
{
    guest_return_int(r, (int32_t)((uint32_t)a[0].bits + (uint32_t)a[1].bits));
}

const struct guest_function guest_functions[] = {
    {"add", 2, {MSG_INT, MSG_INT}, add},
    {"input_fill", 1, {MSG_UINT}, input_fill},
    {"output_fill", 2, {MSG_UINT, MSG_UINT}, output_fill},
    {"output_sp", 2, {MSG_UINT, MSG_UINT}, output_sp},
    {"output_back", 2, {MSG_UINT, MSG_UINT}, output_back},
    {"output_prefix", 2, {MSG_UINT, MSG_UINT}, output_prefix},
    {"flip", 2, {MSG_UINT, MSG_UINT}, flip},
    {"input_sp", 1, {MSG_UINT}, input_sp},
    {"output_full", 0, {0}, output_full},
    {"guest_typed_call", 0, {0}, guest_typed_call},
    {"no_result", 0, {0}, no_result},
    {"sleep_with_result", 0, {0}, sleep_with_result},
    {"peb_fill", 1, {MSG_UINT}, peb_fill},
    {"words_fill", 1, {MSG_UINT}, words_fill},
    {"top_page_fill", 1, {MSG_UINT}, top_page_fill},
    {"scratch_fill", 1, {MSG_UINT}, scratch_fill},
    {"counter_write", 1, {MSG_UINT}, counter_write},
    {"tables", 1, {MSG_UINT}, tables},
    {"cpu", 1, {MSG_UINT}, cpu},
    {"port_out", 2, {MSG_UINT, MSG_UINT}, port_out},
    {"port_in", 1, {MSG_UINT}, port_in},
    {"port_string_out", 1, {MSG_UINT}, port_string_out},
    {"port_string_in", 1, {MSG_UINT}, port_string_in},
    {"send", 2, {MSG_UINT, MSG_UINT}, send},
    {"long_abort", 1, {MSG_UINT}, long_abort},
    {"finish_abort", 0, {0}, finish_abort},
    {NULL, 0, {0}, NULL},
};

/* --- the end of init ----------------------------------------------------------------------------- */

/* End init with any stack pointer, which only its low 32 bits choose, and any dispatch address. */
static void end_init(uintptr_t dispatch, uint32_t stack)
{
    __asm__ volatile("mov %1, %%esp\n\tout %%al, %2\n1:\tcli\n\thlt\n\tjmp 1b"
                     :
                     : "a"(dispatch), "r"(stack), "i"(PORT_HALT)
                     : "memory");
}

void guest_main(void)
{
    const uint8_t *peb = guest_peb();
    uint8_t how = 0;

    input = (uint8_t *)(uintptr_t)load_le64(peb + PEB_INPUT_PTR);
    output = (uint8_t *)(uintptr_t)load_le64(peb + PEB_OUTPUT_PTR);
    input_len = (size_t)load_le64(peb + PEB_INPUT_SIZE);
    output_len = (size_t)load_le64(peb + PEB_OUTPUT_SIZE);
    if (load_le64(peb + PEB_INIT_SIZE) != 0)
        how = *(const uint8_t *)(uintptr_t)load_le64(peb + PEB_INIT_PTR);
    switch (how) {
    case 'm': end_init((uintptr_t)guest_dispatch, 0x12345678); break;
    case 'd': end_init(~(uintptr_t)0, 0); break;
    case '0': end_init(0, 0); break;
    case 's': end_init((uintptr_t)guest_dispatch, 0); break;
    case 'f': /* both stacks full of rubbish: they are empty before the first call all the same */
        fill(input, 0xff, input_len);
        fill(output, 0xff, output_len);
        break;
    case 'a': /* the start of an abort, which is not the start of a later one */
        guest_abort_byte(15);
        guest_abort_byte('i');
        break;
    default: break;
    }
}
