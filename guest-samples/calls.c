/*
 * Functions of every shape: each type there and back, errors, host functions,
 * and the ways in which a called guest can fail.
 */
#include "guest-samples/guest.h"
#include "guest-samples/guest_fn.h"
#include "mem/guest_abi.h"

static void add(const struct msg_value *a, struct msg_result *r)
{
    guest_return_int(r, (int32_t)((uint32_t)a[0].bits + (uint32_t)a[1].bits));
}

/* Whatever it is given, of whatever type. */
static void echo(const struct msg_value *a, struct msg_result *r)
{
    *r = (struct msg_result){.value = a[0]};
}

static void nothing(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_void(r);
}

static void fail(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_return_error(r, GUEST_ERROR_GENERAL, "failed as asked");
}

static void many(const struct msg_value *a, struct msg_result *r)
{
    uint32_t sum = 0;
    unsigned i;

    for (i = 0; i < GUEST_PARAMS_MAX; i++)
        sum = sum * 10 + (uint32_t)a[i].bits;
    guest_return_bits(r, MSG_UINT, sum);
}

static uint32_t counted;
static uint32_t memory[3 * 1024];

/* Keeps state from call to call, on pages that are copied on write. */
static void count(const struct msg_value *a, struct msg_result *r)
{
    unsigned i;

    (void)a;
    counted++;
    for (i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
        memory[i]++;
    for (i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
        if (memory[i] != counted)
            guest_abort(15, "memory does not agree");
    guest_return_bits(r, MSG_UINT, counted);
}

static void print(const struct msg_value *a, struct msg_result *r)
{
    struct msg_result printed;

    guest_call_host("HostPrint", MSG_INT, a, 1, &printed);
    *r = printed;
}

/* Call the host function named by the first argument with the second. */
static void ask(const struct msg_value *a, struct msg_result *r)
{
    char *name = guest_alloc(a[0].len + 1);
    struct msg_result answer;
    uint32_t i;

    for (i = 0; i < a[0].len; i++)
        name[i] = (char)a[0].data[i];
    name[i] = '\0';
    guest_call_host(name, a[1].type, &a[1], 1, &answer);
    *r = answer;
}

/* One host call after the other, n of them. */
static void storm(const struct msg_value *a, struct msg_result *r)
{
    static const uint8_t text[] = ".";
    const struct msg_value dot = {.type = MSG_STRING, .data = text, .len = 1};
    struct msg_result printed;
    uint32_t i;

    for (i = 0; i != (uint32_t)a[0].bits; i++)
        guest_call_host("HostPrint", MSG_INT, &dot, 1, &printed);
    guest_return_void(r);
}

/* The host's clock, read n times. */
static void times(const struct msg_value *a, struct msg_result *r)
{
    struct msg_result now;
    uint32_t i;

    for (i = 0; i != (uint32_t)a[0].bits; i++)
        guest_call_host("HostTime", MSG_ULONG, NULL, 0, &now);
    guest_return_void(r);
}

static void logs(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    guest_log(5, "a critical record");
    guest_log(4, "an error record");
    guest_log(3, "a warning record");
    guest_log(2, "an information record");
    guest_log(1, "a debug record");
    guest_log(0, "a trace record");
    guest_return_void(r);
}

static uint32_t descend(uint32_t depth)
{
    volatile uint8_t frame[512];

    frame[depth % sizeof(frame)] = 1;
    return depth == 0 ? frame[0] : descend(depth - 1) + frame[depth % sizeof(frame)];
}

/* Uses about 600 bytes of stack for each level. */
static void deep(const struct msg_value *a, struct msg_result *r)
{
    guest_return_bits(r, MSG_UINT, descend((uint32_t)a[0].bits));
}

static void spin(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    for (;;)
        __asm__ volatile("");
}

static void give_up(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    guest_abort(15, "gave up in a call");
}

static void crash(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    *(volatile uint32_t *)(uintptr_t)0xd0000000u = 1;
    guest_return_void(r);
}

static void undefined(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    __asm__ volatile("ud2");
}

static void halt(const struct msg_value *a, struct msg_result *r)
{
    (void)a;
    (void)r;
    guest_out(PORT_HALT, 0);
}

const struct guest_function guest_functions[] = {
    {"add", 2, {MSG_INT, MSG_INT}, add},
    {"echo_int", 1, {MSG_INT}, echo},
    {"echo_uint", 1, {MSG_UINT}, echo},
    {"echo_long", 1, {MSG_LONG}, echo},
    {"echo_ulong", 1, {MSG_ULONG}, echo},
    {"echo_float", 1, {MSG_FLOAT}, echo},
    {"echo_double", 1, {MSG_DOUBLE}, echo},
    {"echo_bool", 1, {MSG_BOOL}, echo},
    {"echo_string", 1, {MSG_STRING}, echo},
    {"echo_bytes", 1, {MSG_BYTES}, echo},
    {"nothing", 0, {0}, nothing},
    {"fail", 0, {0}, fail},
    {"many",
     GUEST_PARAMS_MAX,
     {MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT, MSG_UINT,
      MSG_UINT, MSG_UINT},
     many},
    {"count", 0, {0}, count},
    {"print", 1, {MSG_STRING}, print},
    {"ask_string", 2, {MSG_STRING, MSG_STRING}, ask},
    {"ask_bytes", 2, {MSG_STRING, MSG_BYTES}, ask},
    {"ask_uint", 2, {MSG_STRING, MSG_UINT}, ask},
    {"storm", 1, {MSG_UINT}, storm},
    {"times", 1, {MSG_UINT}, times},
    {"logs", 0, {0}, logs},
    {"deep", 1, {MSG_UINT}, deep},
    {"spin", 0, {0}, spin},
    {"give_up", 0, {0}, give_up},
    {"crash", 0, {0}, crash},
    {"undefined", 0, {0}, undefined},
    {"halt", 0, {0}, halt},
    {NULL, 0, {0}, NULL},
};

void guest_main(void)
{
}
