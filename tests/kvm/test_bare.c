/*
 * hv/bare: what a bare guest does to its machine - string instructions, holes,
 * interrupts, memory - is judged by what it says itself, and a restored one
 * finds everything as the first did.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/kvm/bare_guest.h"
#include "tests/kvm/seam.h"

#define LIMIT ((uint64_t)20 * 1000000000u)

/* --- code, in bytes: what the tests are about is too small for a compiler ----------------------------------- */

#define OUT8(port, v)      0xb0, (v), 0xe6, (port) /* mov $v, %al; out %al, $port */
#define SAY_AL             0xe6, 0xe9              /* out %al, $0xe9 */
#define POWER_OFF          0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef
#define MOV_ESI(a)         0xbe, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_EDI(a)         0xbf, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_ECX(a)         0xb9, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_DX(p)          0x66, 0xba, (p)&0xff, (p) >> 8
#define MOV_AL_FROM(a)     0xa0, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_EAX_FROM(a)    0xa1, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_TO_FROM_AL(a)  0xa2, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_TO_FROM_EAX(a) 0xa3, (a)&0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define HLT                0xf4

static struct bare_guest g;

static bool open_code(const uint8_t *code, size_t n, bool irqchip, bool strict)
{
    struct err e = {.text = ""};

    g.state = bare_make_state(code, n, false, irqchip);
    if (bare_guest_open(&g, strict, true, &e))
        return CHECK(true);
    printf("# %s\n", e.text);
    return CHECK(false);
}

static bool said(const char *text)
{
    return g.said.len == strlen(text) && (g.said.len == 0 || memcmp(g.said.s, text, g.said.len) == 0);
}

/* Run once, and demand how it ends and what it said meanwhile. */
static void ends(const uint8_t *code, size_t n, bool irqchip, enum reason reason, unsigned status,
                 const char *text)
{
    struct outcome o;
    unsigned i;

    if (!open_code(code, n, irqchip, false))
        return;
    for (i = 0; i < 2; i++) {
        o = bare_guest_run(&g, reason == REASON_TIMEOUT ? 50000000 : LIMIT);
        CHECK_EQ(o.reason, reason);
        CHECK_EQ(o.status, status);
        CHECK_STR(o.kind, "multiboot");
        CHECK(said(text));
    }
    bare_guest_close(&g);
}

#define CASE(name) static void name(int kvm_fd, const struct kvm_case *c)
#define UNUSED     (void)kvm_fd, (void)c

CASE(exit_port)
{
    static const uint8_t code[] = {OUT8(0xf4, 16)};

    UNUSED;
    ends(code, sizeof(code), false, REASON_ENDED, 33, "");
}

CASE(wide_status)
{
    static const uint8_t code[] = {0xb8, 0x80, 0xff, 0xff, 0xff, 0xe7, 0xf4}; /* out %eax, $0xf4 */

    UNUSED;
    ends(code, sizeof(code), false, REASON_ENDED, (0xffffff80u << 1 | 1) & 0xff, "");
}

CASE(powers_off)
{
    static const uint8_t code[] = {OUT8(0xe9, 'o'), POWER_OFF};

    UNUSED;
    ends(code, sizeof(code), false, REASON_ENDED, 0, "o");
}

CASE(resets)
{
    static const uint8_t code[] = {OUT8(0x64, 0xfe)};

    UNUSED;
    ends(code, sizeof(code), false, REASON_RESET, STATUS_RESET, "");
}

CASE(halts)
{
    static const uint8_t code[] = {OUT8(0xe9, 'h'), HLT};

    UNUSED;
    ends(code, sizeof(code), false, REASON_ENDED, 0, "h");
}

CASE(sleeps)
{
    static const uint8_t code[] = {OUT8(0xe9, 'h'), HLT};

    UNUSED;
    ends(code, sizeof(code), true, REASON_TIMEOUT, STATUS_TIMEOUT, "h");
}

CASE(real_mode)
{
    /* 16-bit code: mov $'r', %al; out %al, $0xe9; mov $0x604, %dx; mov $0x2000, %ax; out %ax, %dx */
    static const uint8_t code[] = {0xb0, 'r', SAY_AL, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef};
    struct outcome o;
    struct err e;

    UNUSED;
    g.state = bare_make_state(code, sizeof(code), true, false);
    if (!CHECK(bare_guest_open(&g, false, true, &e)))
        return;
    o = bare_guest_run(&g, LIMIT);
    CHECK_EQ(o.reason, REASON_ENDED);
    CHECK_EQ(o.status, 0);
    CHECK(said("r"));
    bare_guest_close(&g);
}

CASE(long_out)
{
    /* rep outsb of 6,000 bytes: more than KVM hands over at once; the last 5 are what the RAM has at 2 MiB. */
    static const uint8_t outs[] = {MOV_ESI(0x100000), MOV_ECX(6000), MOV_DX(0xe9), 0xfc, 0xf3, 0x6e,
                                   POWER_OFF};
    struct outcome o;
    unsigned i;

    UNUSED;
    if (open_code(outs, sizeof(outs), false, false)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_ENDED);
        CHECK_EQ(g.said.len, 6000);
        for (i = 0; i < 6000 && (uint8_t)g.said.s[i] == (i < sizeof(outs) ? outs[i] : 0); i++)
            ;
        CHECK_EQ(i, 6000);
        bare_guest_close(&g);
    }
}

CASE(long_in)
{
    /* rep insb of 6,000 bytes from a port that nobody answers, then say the first and the last and the one behind. */
    static const uint8_t ins[] = {MOV_EDI(0x200000),
                                  MOV_ECX(6000),
                                  MOV_DX(0x1234),
                                  0xfc,
                                  0xf3,
                                  0x6c,
                                  MOV_AL_FROM(0x200000),
                                  SAY_AL,
                                  MOV_AL_FROM(0x200000 + 5999),
                                  SAY_AL,
                                  MOV_AL_FROM(0x200000 + 6000),
                                  SAY_AL,
                                  POWER_OFF};
    struct outcome o;

    UNUSED;
    if (open_code(ins, sizeof(ins), false, false)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_ENDED);
        CHECK_EQ(g.said.len, 3);
        CHECK(memcmp(g.said.s, "\xff\xff\0", 3) == 0);
        CHECK_EQ(o.unknown_all, 6000);
        CHECK_EQ(o.unknown_n, 1);
        CHECK_EQ(o.unknown[0].at, 0x1234);
        CHECK_EQ(o.unknown[0].n, 6000);
        CHECK(!o.unknown[0].write && !o.unknown[0].memory);
        bare_guest_close(&g);
    }
}

#define FLOOD_N 65536u

/* Read slowly and compare; the end of the process tells. */
static void read_flood(int fd, const uint8_t *wanted)
{
    uint8_t bytes[3000];
    size_t at = 0;
    ssize_t n;

    while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
        if (at + (size_t)n > FLOOD_N || memcmp(bytes, wanted + at, (size_t)n) != 0)
            _exit(1);
        at += (size_t)n;
        usleep(5000);
    }
    _exit(at == FLOOD_N ? 0 : 2);
}

CASE(flood)
{
    static const uint8_t code[] = {MOV_ESI(BARE_CODE), MOV_ECX(FLOOD_N), MOV_DX(0x3f8), 0xfc, 0xf3, 0x6e,
                                   POWER_OFF};
    static uint8_t image[FLOOD_N];
    uint64_t seed = 1;
    struct outcome o;
    int fd[2], status = -1;
    pid_t pid;
    size_t i;

    UNUSED;
    for (i = 0; i < sizeof(image); i++)
        image[i] = i < sizeof(code) ? code[i] : (uint8_t)tap_random(&seed);
    if (!CHECK(pipe(fd) == 0) || !open_code(image, sizeof(image), false, false))
        return;
    pid = fork();
    if (pid == 0) {
        close(fd[1]);
        read_flood(fd[0], image);
    }
    close(fd[0]);
    console_init(&g.console, fd[1], &g.stop);
    o = bare_guest_run(&g, 3 * LIMIT);
    CHECK_EQ(o.reason, REASON_ENDED);
    close(fd[1]);
    /* A late tick of the console's may interrupt the wait. */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    CHECK_EQ(status, 0);
    bare_guest_close(&g);
}

CASE(holes)
{
    /* Reads and writes at 0xd0000000 and 0xd0000ffc, one page, and 0xd0001000, another; says what it read. */
    static const uint8_t code[] = {
        MOV_EAX_FROM(0xd0000000u), SAY_AL,   MOV_TO_FROM_EAX(0xd0000ffcu), MOV_AL_FROM(0xd0000ffcu), SAY_AL,
        MOV_AL_FROM(0xd0001000u),  POWER_OFF};
    struct outcome o;

    UNUSED;
    if (open_code(code, sizeof(code), false, false)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_ENDED);
        CHECK(said("\xff\xff"));
        CHECK_EQ(o.unknown_all, 4);
        CHECK_EQ(o.unknown_n, 3);
        CHECK(o.unknown[0].memory && !o.unknown[0].write && o.unknown[0].at == 0xd0000000u);
        CHECK_EQ(o.unknown[0].n, 2);
        CHECK(o.unknown[1].write && o.unknown[1].at == 0xd0000ffcu && o.unknown[1].width == 4);
        CHECK(o.unknown[2].at == 0xd0001000u && o.unknown[2].n == 1 && o.unknown[2].width == 1);

        /* Counted anew when it was restored. */
        o = bare_guest_run(&g, LIMIT);
        CHECK_EQ(o.unknown_all, 4);
        bare_guest_close(&g);
    }
}

CASE(strict)
{
    /* Reads and writes at 0xd0000000 and 0xd0000ffc, one page, and 0xd0001000, another; says what it read. */
    static const uint8_t code[] = {
        MOV_EAX_FROM(0xd0000000u), SAY_AL,   MOV_TO_FROM_EAX(0xd0000ffcu), MOV_AL_FROM(0xd0000ffcu), SAY_AL,
        MOV_AL_FROM(0xd0001000u),  POWER_OFF};
    static const uint8_t port[] = {OUT8(0x80, 0), OUT8(0x8a, 1), OUT8(0xe9, 'x'), POWER_OFF};
    struct outcome o;

    UNUSED;
    if (open_code(code, sizeof(code), false, true)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_FAULTED && o.status == STATUS_FAULTED);
        CHECK_STR(o.why.text, "guest: faulted: read of memory at 0xd0000000, 4 bytes: nothing answers there");
        bare_guest_close(&g);
    }
    if (open_code(port, sizeof(port), false, true)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_FAULTED);
        CHECK_HAS(o.why.text, "out port 0x8a, 1 byte: nothing answers there");
        CHECK(said(""));
        bare_guest_close(&g);
    }
}

CASE(memory)
{
    /* Says the byte at 2 MiB and its own first byte of data, changes both, and the screen, and says them again. */
    static const uint8_t code[] = {MOV_AL_FROM(0x200000),
                                   0x04,
                                   'a',
                                   SAY_AL, /* add $'a', %al */
                                   MOV_AL_FROM(0x100040),
                                   SAY_AL, /* data below */
                                   0xb0,
                                   2,
                                   MOV_TO_FROM_AL(0x200000),
                                   0xb0,
                                   'X',
                                   MOV_TO_FROM_AL(0x100040),
                                   MOV_TO_FROM_AL(0xb8000),
                                   MOV_AL_FROM(0x200000),
                                   0x04,
                                   'a',
                                   SAY_AL,
                                   MOV_AL_FROM(0x100040),
                                   SAY_AL,
                                   POWER_OFF};
    static uint8_t image[0x41];
    struct outcome o;
    struct err e;

    memcpy(image, code, sizeof(code));
    image[0x40] = 'd';
    CHECK(sizeof(code) <= 0x40);
    UNUSED;
    if (!open_code(image, sizeof(image), false, false))
        return;
    o = bare_guest_run(&g, LIMIT);
    CHECK(o.reason == REASON_ENDED);
    CHECK(said("adcX"));
    o = bare_guest_run(&g, LIMIT);
    CHECK(o.reason == REASON_ENDED);
    CHECK(said("adcX"));

    /* A second machine from the same state does not see what the first wrote. */
    {
        struct bare second;

        CHECK(bare_open(&second, g.kvm_fd, &g.state, &g.env, false, &e) == 0);
        CHECK(bare_restore(&second, &e) == 0);
        text_free(&g.said);
        g.said = TEXT_EMPTY;
        o = bare_outcome(&second);
        CHECK(bare_run(&second, LIMIT, &o, &e) == 0);
        CHECK(said("adcX"));
        bare_close(&second);
    }
    bare_guest_close(&g);
}

CASE(uart)
{
    /* The scratch register: says what it holds, and puts a value there. */
    static const uint8_t code[] = {MOV_DX(0x3ff), 0xec, 0x04, 'a', SAY_AL, 0xb0,     5,
                                   0xee,          0xec, 0x04, 'a', SAY_AL, POWER_OFF};

    UNUSED;
    ends(code, sizeof(code), false, REASON_ENDED, 0, "af");
}

/* The master PIC's mask: says what it is, sets it, says it again. */
static const uint8_t mask_code[] = {0xe4, 0x21, SAY_AL, OUT8(0x21, 0x5a), 0xe4, 0x21, SAY_AL, POWER_OFF};

CASE(controllers)
{
    struct outcome o;
    char first;

    UNUSED;
    if (!open_code(mask_code, sizeof(mask_code), true, false))
        return;
    o = bare_guest_run(&g, LIMIT);
    CHECK_EQ(o.reason, REASON_ENDED);
    CHECK(g.said.len == 2 && g.said.s[1] == 0x5a);
    first = g.said.len == 2 ? g.said.s[0] : 0;
    o = bare_guest_run(&g, LIMIT);
    CHECK(g.said.len == 2 && g.said.s[0] == first && first != 0x5a);
    CHECK_EQ(o.unknown_all, 0);
    bare_guest_close(&g);
}

CASE(no_controllers)
{
    struct outcome o;

    UNUSED;
    if (!open_code(mask_code, sizeof(mask_code), false, false))
        return;
    o = bare_guest_run(&g, LIMIT);
    CHECK(said("\xff\xff"));
    CHECK_EQ(o.unknown_all, 3);
    bare_guest_close(&g);
}

CASE(pit)
{
    /* The gate of channel 2, bits 0 and 1 of port 0x61: says it, opens it, says it again. */
    static const uint8_t code[] = {0xe4, 0x61, 0x24, 3, 0x04, 'a', SAY_AL, OUT8(0x61, 1),
                                   0xe4, 0x61, 0x24, 3, 0x04, 'a', SAY_AL, POWER_OFF};

    UNUSED;
    ends(code, sizeof(code), true, REASON_ENDED, 0, "ab");
}

CASE(cpuid)
{
    /* cpuid(1): says whether bit 9 of EDX (APIC) is set, and the initial APIC ID. */
    static const uint8_t code[] = {
        0xb8, 1,    0,      0,        0,    0x31, 0xc9, 0x0f, 0xa2, /* mov $1, %eax; xor %ecx, %ecx; cpuid */
        0x0f, 0xba, 0xe2,   9,        0x0f, 0x92, 0xc0,             /* bt $9, %edx; setc %al */
        0x04, 'a',  SAY_AL, 0x89,     0xd8, 0xc1, 0xe8, 24,         /* mov %ebx, %eax; shr $24, %eax */
        0x04, 'a',  SAY_AL, POWER_OFF};
    struct outcome o;

    UNUSED;
    if (open_code(code, sizeof(code), true, false)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_ENDED);
        CHECK(said("ba"));
        bare_guest_close(&g);
    }
    if (open_code(code, sizeof(code), false, false)) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(said("aa"));
        bare_guest_close(&g);
    }
}

CASE(expectations)
{
    static const uint8_t code[] = {OUT8(0xe9, 'a'), OUT8(0xe9, 'b'), OUT8(0xe9, 'c'), OUT8(0xf4, 1)};
    struct expect x = EXPECT_NOTHING;
    struct outcome o;
    struct err e;

    UNUSED;
    if (!open_code(code, sizeof(code), false, false))
        return;
    CHECK(expect_add(&x, "ab", 2, false, &e) == 0);
    g.console.expect = &x;
    o = bare_guest_run(&g, LIMIT);
    CHECK(o.reason == REASON_EXPECTED && o.status == 0);
    CHECK(said("ab"));
    expect_free(&x);
    CHECK(expect_add(&x, "ac", 2, false, &e) == 0);
    o = bare_guest_run(&g, LIMIT);
    CHECK(o.reason == REASON_ENDED && o.status == 3);
    CHECK(said("abc"));
    g.console.expect = NULL;
    expect_free(&x);
    bare_guest_close(&g);
}

/* Timers count as signals that are on their way, of which there may be no more. */
CASE(needs_timers)
{
    static const uint8_t code[] = {OUT8(0xf4, 1)};
    struct rlimit old, none;
    struct outcome o;

    UNUSED;
    if (!open_code(code, sizeof(code), false, false))
        return;
    CHECK(getrlimit(RLIMIT_SIGPENDING, &old) == 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
    o = bare_guest_run(&g, LIMIT);
    CHECK(o.reason == REASON_ERROR && o.exits_n == 0);
    CHECK_HAS(o.why.text, "host: cannot create a timer: ");
    g.bare.env.point = POINT_HALT;
    o = bare_guest_run(&g, 0);
    CHECK(o.reason == REASON_ERROR);
    CHECK_HAS(o.why.text, "host: cannot create a timer: ");
    CHECK(setrlimit(RLIMIT_SIGPENDING, &old) == 0);
    g.bare.env.point = POINT_NONE;
    o = bare_guest_run(&g, LIMIT);
    CHECK(o.reason == REASON_ENDED && o.status == 3);
    bare_guest_close(&g);
}

static const struct kvm_case cases[] = {
    {"the exit port's status is the guest's, as QEMU has it", .run = exit_port},
    {"a status that does not fit 8 bits keeps its low 8", .run = wide_status},
    {"a power-off is the end, with 0, and what was said comes out", .run = powers_off},
    {"a reset is 121", .run = resets},
    {"a HLT that nothing can end is the end, with 0", .run = halts},
    {"with interrupt controllers a HLT sleeps until the time limit, a second time too", .run = sleeps},
    {"a guest starts in real mode", .run = real_mode},
    {"each byte of a long string instruction comes out, once and in order", .run = long_out},
    {"each byte of a long string input is read, and each access is counted", .run = long_in},
    {"64 KB through the serial line arrive whole at a slow reader", .run = flood},
    {"where there is no memory everything reads as ones, and pages are counted", .run = holes},
    {"with strict I/O the first of them ends the guest, and is named", .run = strict},
    {"a guest finds its memory as it was filled in, restored and in a second machine", .run = memory},
    {"devices are as new after a restore", .run = uart},
    {"interrupt controllers are as new after a restore", .run = controllers},
    {"without interrupt controllers their ports are nobody's", .run = no_controllers},
    {"the PIT is as new after a restore", .run = pit},
    {"the CPU has a local APIC where there is one, and is number 0", .run = cpuid},
    {"without a timer to be had no limit is left out", .run = needs_timers},
    {"a guest that said what is expected is ended there, and one that did not is not", .run = expectations},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
