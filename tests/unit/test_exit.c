/*
 * hv/exit: every port, width and kind of exit, with and without an irqchip,
 * against a table written from the ABI's text (3.6); and the words for people.
 */
#include "hv/exit.h"

#include <stdlib.h>

#include "tests/tap.h"

/* ABI 3.6, "Ports". `irqchip`: only with one, else a fault. */
static const struct {
    uint16_t first, last;
    bool irqchip;
    enum action action;
} ports[] = {
    {0x40, 0x43, true, ACTION_RESUME}, /* PIT */
    {99, 99, false, ACTION_LOG},       /* log */
    {101, 101, false, ACTION_HOST},    /* call host function */
    {102, 102, false, ACTION_ABORT},   /* abort */
    {103, 103, false, ACTION_PRINT},   /* debug print */
    {104, 106, false, ACTION_RESUME},  /* trace batch, allocation trace */
    {107, 107, true, ACTION_TIMER},    /* timer */
    {108, 108, false, ACTION_HALT},    /* halt */
};

static enum action wanted(uint32_t port, uint8_t width, bool irqchip)
{
    size_t i;

    for (i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        if (port < ports[i].first || port > ports[i].last)
            continue;
        if (ports[i].irqchip && !irqchip)
            return ACTION_FAULT;
        /* ABI 3.8: fewer than 4 bytes are ignored. */
        return ports[i].action == ACTION_TIMER && width != 4 ? ACTION_RESUME : ports[i].action;
    }
    return ACTION_FAULT;
}

static struct exit out(uint16_t port, uint8_t width, uint32_t value)
{
    return (struct exit){.kind = EXIT_OUT, .port = port, .width = width, .count = 1, .value = value};
}

static void test_ports(void)
{
    static const uint8_t widths[] = {1, 2, 4};
    unsigned wrong = 0, irqchip, w;
    uint32_t port;

    tap_case(
        "an OUT to each of the 65536 ports does what the ABI says, of any width, with irqchip and without");
    for (irqchip = 0; irqchip < 2; irqchip++)
        for (w = 0; w < 3; w++)
            for (port = 0; port < 0x10000; port++) {
                struct exit x = out((uint16_t)port, widths[w], 'A');

                if (exit_judge(&x, irqchip != 0) != wanted(port, widths[w], irqchip != 0)) {
                    printf("# port %u, width %u, irqchip %u\n", port, widths[w], irqchip);
                    wrong++;
                }
            }
    CHECK_EQ(wrong, 0);

    tap_case("an IN from any port is a fault");
    for (wrong = irqchip = 0; irqchip < 2; irqchip++)
        for (port = 0; port < 0x10000; port++) {
            struct exit x = {.kind = EXIT_IN, .port = (uint16_t)port, .width = 1, .count = 1};

            wrong += exit_judge(&x, irqchip != 0) != ACTION_FAULT;
        }
    CHECK_EQ(wrong, 0);

    tap_case("a string instruction is a fault on every port");
    for (wrong = 0, port = 0; port < 0x10000; port++) {
        static const uint32_t counts[] = {0, 2, 3, UINT32_MAX};
        unsigned i;

        for (i = 0; i < 4; i++) {
            struct exit x = out((uint16_t)port, 1, 'A');

            x.count = counts[i];
            wrong += exit_judge(&x, true) != ACTION_FAULT;
        }
    }
    CHECK_EQ(wrong, 0);
}

static void test_values(void)
{
    static const struct {
        uint32_t value;
        enum action action;
    } row[] = {
        {0, ACTION_PRINT},        {0x7f, ACTION_PRINT},     {0x80, ACTION_PRINT},
        {0xff, ACTION_PRINT},     {0x100, ACTION_PRINT},    {0xd7ff, ACTION_PRINT},
        {0xd800, ACTION_FAULT},   {0xdbff, ACTION_FAULT},   {0xdfff, ACTION_FAULT},
        {0xe000, ACTION_PRINT},   {0xffff, ACTION_PRINT},   {0x10000, ACTION_PRINT},
        {0x10ffff, ACTION_PRINT}, {0x110000, ACTION_FAULT}, {UINT32_MAX, ACTION_FAULT},
    };
    static const uint32_t any[] = {0, 1, 0xd800, 0x110000, UINT32_MAX};
    size_t i;

    tap_case("debug print takes Unicode scalars and nothing else");
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct exit x = out(103, 4, row[i].value);

        CHECK_EQ(exit_judge(&x, false), row[i].action);
    }

    tap_case("the other ports take any value");
    for (i = 0; i < 5; i++) {
        struct exit abort_chunk = out(102, 4, any[i]), halt = out(108, 4, any[i]),
                    trace = out(104, 4, any[i]);
        struct exit timer = out(107, 4, any[i]);

        CHECK_EQ(exit_judge(&abort_chunk, false), ACTION_ABORT);
        CHECK_EQ(exit_judge(&halt, false), ACTION_HALT);
        CHECK_EQ(exit_judge(&trace, false), ACTION_RESUME);
        CHECK_EQ(exit_judge(&timer, true), ACTION_TIMER);
    }
}

static void test_kinds(void)
{
    static const struct {
        enum exit_kind kind;
        enum action action;
    } row[] = {
        {EXIT_IN, ACTION_FAULT},        {EXIT_MMIO_READ, ACTION_FAULT}, {EXIT_MMIO_WRITE, ACTION_FAULT},
        {EXIT_HLT, ACTION_HALT},        {EXIT_SHUTDOWN, ACTION_FAULT},  {EXIT_FAIL_ENTRY, ACTION_FAULT},
        {EXIT_EMULATION, ACTION_FAULT}, {EXIT_INTERNAL, ACTION_FAULT},  {EXIT_INTERRUPTED, ACTION_LOOK},
        {EXIT_OTHER, ACTION_FAULT},
    };
    size_t i;

    tap_case("each kind of exit but OUT means one thing, with irqchip and without");
    for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        /* A count that an OUT would fault for, and a port that it would halt for, do not matter here. */
        struct exit x = {.kind = row[i].kind, .port = 108, .count = 0, .width = 1};

        CHECK_EQ(exit_judge(&x, false), row[i].action);
        CHECK_EQ(exit_judge(&x, true), row[i].action);
    }
    CHECK_EQ(sizeof(row) / sizeof(row[0]) + 1, EXIT_KINDS_N);
}

static const char *described(const struct exit *x, unsigned digits)
{
    static char text[160];

    memset(text, '!', sizeof(text));
    exit_describe(x, digits, text, sizeof(text));
    return text;
}

static void test_words(void)
{
    struct exit x = out(103, 1, 0x41);
    unsigned k;

    tap_case("an exit is described with its numbers, addresses as wide as the guest's");
    CHECK_STR(described(&x, 8), "out port 0x67 (103), 1 byte, value 0x41");
    x.width = 4;
    x.count = 2;
    CHECK_HAS(described(&x, 8), "4 bytes, value 0x41, string instruction");
    x = (struct exit){.kind = EXIT_IN, .port = 0x60, .width = 2, .count = 1};
    CHECK_HAS(described(&x, 8), "in port 0x60 (96), 2 bytes");
    x = (struct exit){.kind = EXIT_MMIO_READ, .gpa = 0xb8000, .width = 4};
    CHECK_HAS(described(&x, 8), "read of 4 bytes at physical 0x000b8000, where there is no memory");
    CHECK_HAS(described(&x, 16), "physical 0x00000000000b8000,");
    x = (struct exit){.kind = EXIT_MMIO_WRITE, .gpa = 0x1234, .width = 1};
    CHECK_HAS(described(&x, 8), "write of 1 byte at physical 0x00001234,");
    x = (struct exit){.kind = EXIT_FAIL_ENTRY, .reason = 0x80000021};
    CHECK_HAS(described(&x, 8), "0x80000021");
    x = (struct exit){.kind = EXIT_INTERNAL, .reason = 4};
    CHECK_HAS(described(&x, 8), "suberror 4");
    x = (struct exit){.kind = EXIT_OTHER, .reason = 37};
    CHECK_HAS(described(&x, 8), "37");

    tap_case("every description is one short line of its own, and is cut where the room ends");
    for (k = 0; k < EXIT_KINDS_N; k++) {
        char first[160], small[8];
        unsigned other;

        x = (struct exit){.kind = (enum exit_kind)k,
                          .width = 255,
                          .count = UINT32_MAX,
                          .port = 0xffff,
                          .value = UINT32_MAX,
                          .gpa = UINT64_MAX,
                          .reason = UINT64_MAX};
        snprintf(first, sizeof(first), "%s", described(&x, 16));
        CHECK(first[0] != '\0' && strchr(first, '\n') == NULL && strlen(first) < 130);
        memset(small, '!', sizeof(small));
        exit_describe(&x, 16, small, 4);
        CHECK(memcmp(small, first, strlen(first) < 3 ? strlen(first) : 3) == 0 && strlen(small) <= 3);
        CHECK(small[4] == '!');
        for (other = 0; other < k; other++) {
            x.kind = (enum exit_kind)other;
            CHECK(strcmp(described(&x, 16), first) != 0);
        }
    }
}

int main(void)
{
    test_ports();
    test_values();
    test_kinds();
    test_words();
    return tap_done();
}
