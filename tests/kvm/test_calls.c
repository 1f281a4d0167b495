/*
 * Calls as a program makes them: which ends leave a guest that can be called
 * again, what is said of each, that nothing of one call is seen by the next,
 * and values of every type and size there and back.
 */
#include "tests/kvm/calling.h"

#define BYTES_NATIVE ((uint32_t)64 << 10)
#define BYTES_LAB    ((uint32_t)1 << 20)

static bool open_calls(struct calling *c, int kvm_fd, const char *sample, const char *kind)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);

    if (!calling_open(c, kvm_fd, sample, kind, &io, false))
        return false;
    if (calling_start(c))
        return true;
    calling_close(c);
    return false;
}

/* How a call ends, and whether the guest may be called again. */
struct end {
    const char *function;
    unsigned params_n;
    struct msg_value params[2];
    uint64_t limit_ns;
    enum status status;
    enum reason reason;
    bool ready;
    uint64_t code;    /* of an error or an abort */
    const char *text; /* part of what is said: the error's text, the abort's or the outcome's */
    const char *kind; /* NULL = all */
};

#define TEXT(s)                                                                \
    {                                                                          \
        .type = MSG_STRING, .data = (const uint8_t *)(s), .len = sizeof(s) - 1 \
    }

static const struct end ends[] = {
    {"add",
     2,
     {{.type = MSG_INT, .bits = 40}, {.type = MSG_INT, .bits = 2}},
     0,
     STATUS_OK,
     REASON_ENDED,
     true,
     0,
     "",
     NULL},
    {"nothing", 0, {{0}}, 0, STATUS_OK, REASON_ENDED, true, 0, "", NULL},
    {"print", 1, {TEXT("text\n")}, 0, STATUS_OK, REASON_ENDED, true, 0, "", NULL},
    {"fail", 0, {{0}}, 0, STATUS_CALL_ERROR, REASON_ENDED, true, 15, "failed as asked", NULL},
    {"no such", 0, {{0}}, 0, STATUS_CALL_ERROR, REASON_ENDED, true, 4, "no such function", NULL},
    {"", 0, {{0}}, 0, STATUS_CALL_ERROR, REASON_ENDED, true, 4, "no such function", NULL},
    {"add",
     1,
     {{.type = MSG_INT}},
     0,
     STATUS_CALL_ERROR,
     REASON_ENDED,
     true,
     5,
     "wrong number of parameters",
     NULL},
    {"add",
     2,
     {{.type = MSG_INT}, {.type = MSG_UINT}},
     0,
     STATUS_CALL_ERROR,
     REASON_ENDED,
     true,
     14,
     "wrong type of a parameter",
     NULL},
    {"ask_string",
     2,
     {TEXT("nobody"), TEXT("x")},
     0,
     STATUS_CALL_ERROR,
     REASON_ENDED,
     true,
     17,
     "no host function nobody",
     NULL},
    {"ask_string",
     2,
     {TEXT("HostTime"), TEXT("x")},
     0,
     STATUS_CALL_ERROR,
     REASON_ENDED,
     true,
     17,
     "wrong arguments, wanted HostTime()",
     NULL},
    {"give_up", 0, {{0}}, 0, STATUS_ABORTED, REASON_ABORTED, false, 15, "gave up in a call", NULL},
    {"undefined", 0, {{0}}, 0, STATUS_ABORTED, REASON_ABORTED, false, 15, "at 0x", NULL},
    {"crash", 0, {{0}}, 0, STATUS_ABORTED, REASON_ABORTED, false, 15, "address 0x", "amd64"},
    {"crash", 0, {{0}}, 0, STATUS_ABORTED, REASON_ABORTED, false, 15, "address 0xd0000000", "i686"},
    {"crash",
     0,
     {{0}},
     0,
     STATUS_FAULTED,
     REASON_FAULTED,
     false,
     0,
     "guest: faulted: write of 4 bytes at physical 0xd0000000, where there is no memory or it is read-only",
     "i686-identity"},
    {"halt",
     0,
     {{0}},
     0,
     STATUS_FAULTED,
     REASON_FAULTED,
     false,
     0,
     "guest: broken protocol: output stack: sp",
     NULL},
    {"spin",
     0,
     {{0}},
     30 * MS,
     STATUS_TIMEOUT,
     REASON_TIMEOUT,
     false,
     0,
     "guest: time limit of 30 ms reached (at 0x",
     NULL},
    {"storm",
     1,
     {{.type = MSG_UINT, .bits = UINT32_MAX}},
     30 * MS,
     STATUS_TIMEOUT,
     REASON_TIMEOUT,
     false,
     0,
     "guest: time limit of 30 ms reached (at 0x",
     NULL},
};

#define ENDS_N (sizeof(ends) / sizeof(ends[0]))

static void check_end(struct calling *c, const struct end *x)
{
    enum status status;
    bool before = tap_ok;

    c->env.limit_ns = x->limit_ns != 0 ? x->limit_ns : GUEST_LIMIT_NS;
    status = calling_call(c, x->function, x->params, x->params_n);
    c->env.limit_ns = GUEST_LIMIT_NS;
    CHECK_EQ(status, x->status);
    CHECK_STR(c->e.text, "");
    CHECK_EQ(c->out.reason, x->reason);
    CHECK_EQ(c->vm.ready, x->ready);
    CHECK(calling_stacks_reset(c));
    /* A storm may be stopped amid a push, whose bytes are not on the stack yet. */
    CHECK(strcmp(x->function, "storm") == 0 || calling_stacks_empty(c));
    if (status == STATUS_CALL_ERROR) {
        CHECK_EQ(c->result.code, x->code);
        CHECK_EQ(c->result.text_len, strlen(x->text));
        CHECK(c->result.text_len == strlen(x->text) && memcmp(c->result.text, x->text, strlen(x->text)) == 0);
        CHECK_STR(c->out.why.text, "");
    } else if (x->reason == REASON_ABORTED) {
        CHECK_EQ(c->out.abort.code, x->code);
        CHECK_HAS(c->out.abort.text, x->text);
        CHECK_EQ(c->out.registers, REGISTERS_SHOWN);
    } else {
        CHECK_HAS(c->out.why.text, x->text);
        CHECK_EQ(c->out.registers, x->reason != REASON_ENDED ? REGISTERS_SHOWN : REGISTERS_NONE);
        CHECK(x->reason != REASON_ENDED || c->out.why.text[0] == '\0');
    }
    if (before && !tap_ok)
        printf("# in %s: %s\n", x->function, c->out.why.text);
}

/* Each end, in a guest that had all the harmless ones before it. */
static void poison(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;
    unsigned i;

    if (!open_calls(&c, kvm_fd, "calls", kc->kind))
        return;
    for (i = 0; i < ENDS_N; i++) {
        if (ends[i].kind != NULL && strcmp(ends[i].kind, kc->kind) != 0)
            continue;
        check_end(&c, &ends[i]);
        if (!c.vm.ready && !calling_start(&c))
            break;
        if (!calling_adds(&c))
            break;
    }
    calling_close(&c);
}

/* What was refused before the guest ran is no reason not to call it again. */
static void refused(int kvm_fd, const struct kvm_case *kc)
{
    static uint8_t large[INPUT_LEN_DEFAULT];
    struct calling c;
    uint32_t len;

    if (!open_calls(&c, kvm_fd, "calls", kc->kind))
        return;
    for (len = INPUT_LEN_DEFAULT - 64; len <= INPUT_LEN_DEFAULT; len += 64) {
        struct msg_value v = calling_bytes(MSG_BYTES, large, len);

        CHECK_EQ(calling_call(&c, "echo_bytes", &v, 1), STATUS_USAGE);
        CHECK_HAS(c.e.text, "call echo_bytes: the arguments do not fit the input stack (");
        CHECK_HAS(c.e.text, " bytes of messages, 16K stack)");
        CHECK_STR(c.e.hint, "give a larger --input");
        CHECK_EQ(c.out.exits_n, 0);
        CHECK(c.vm.ready);
        CHECK(calling_stacks_empty(&c));
    }
    calling_adds(&c);
    calling_close(&c);
}

/* The bytes of an abort that was never finished are not the start of the next call's. */
static void aborts(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;

    if (!open_calls(&c, kvm_fd, "hostile", kc->kind))
        return;
    CHECK_EQ(calling_call1(&c, "long_abort", 3), STATUS_OK);
    CHECK_EQ(calling_call1(&c, "long_abort", 1024), STATUS_OK);
    CHECK_EQ(calling_call0(&c, "finish_abort"), STATUS_ABORTED);
    CHECK_EQ(c.out.abort.code, 15);
    CHECK_STR(c.out.abort.text, "all of it");
    CHECK(!c.vm.ready);
    calling_close(&c);
}

/* Types and the bits that are likeliest to be lost. */
static void types(int kvm_fd, const struct kvm_case *kc)
{
    static const uint8_t nul[] = {'a', 0, 'b'}, utf8[] = "\xc3\xa9\xe4\xb8\x96\xf0\x9f\x8e\x89",
                         all_ones[] = {0xff, 0x00, 0xfe};
    static const struct {
        const char *function;
        struct msg_value v;
    } values[] = {
        {"echo_int", {.type = MSG_INT, .bits = (uint64_t)(int64_t)INT32_MIN}},
        {"echo_int", {.type = MSG_INT, .bits = INT32_MAX}},
        {"echo_int", {.type = MSG_INT, .bits = (uint64_t)-1}},
        {"echo_uint", {.type = MSG_UINT, .bits = UINT32_MAX}},
        {"echo_uint", {.type = MSG_UINT, .bits = 0}},
        {"echo_long", {.type = MSG_LONG, .bits = (uint64_t)1 << 63}},
        {"echo_long", {.type = MSG_LONG, .bits = INT64_MAX}},
        {"echo_ulong", {.type = MSG_ULONG, .bits = UINT64_MAX}},
        {"echo_float", {.type = MSG_FLOAT, .bits = 0x80000000}},
        {"echo_float", {.type = MSG_FLOAT, .bits = 0x7f800001}}, /* a signalling NaN */
        {"echo_float", {.type = MSG_FLOAT, .bits = 0xffffffff}},
        {"echo_float", {.type = MSG_FLOAT, .bits = 1}},
        {"echo_double", {.type = MSG_DOUBLE, .bits = (uint64_t)1 << 63}},
        {"echo_double", {.type = MSG_DOUBLE, .bits = 0x7ff0000000000001}},
        {"echo_double", {.type = MSG_DOUBLE, .bits = 0xfff8dead0000beef}},
        {"echo_double", {.type = MSG_DOUBLE, .bits = 1}},
        {"echo_bool", {.type = MSG_BOOL, .bits = 1}},
        {"echo_bool", {.type = MSG_BOOL, .bits = 0}},
        {"echo_string", {.type = MSG_STRING, .data = nul, .len = 0}},
        {"echo_string", {.type = MSG_STRING, .data = nul, .len = sizeof(nul)}},
        {"echo_string", {.type = MSG_STRING, .data = utf8, .len = sizeof(utf8) - 1}},
        {"echo_bytes", {.type = MSG_BYTES, .data = nul, .len = 0}},
        {"echo_bytes", {.type = MSG_BYTES, .data = all_ones, .len = sizeof(all_ones)}},
    };
    struct calling c;
    unsigned i;

    if (!open_calls(&c, kvm_fd, "calls", kc->kind))
        return;
    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const struct msg_value *v = &values[i].v;

        if (!CHECK_EQ(calling_call(&c, values[i].function, v, 1), STATUS_OK))
            break;
        CHECK_EQ(c.result.value.type, v->type);
        CHECK_EQ(c.result.value.bits, v->bits);
        CHECK_EQ(c.result.value.len, v->len);
        CHECK(c.result.value.len == v->len &&
              (v->len == 0 || memcmp(c.result.value.data, v->data, v->len) == 0));
    }
    calling_close(&c);
}

/* As many bytes as the stacks were made for, and one page's worth too many for either. */
static void large_bytes(int kvm_fd, const struct kvm_case *kc)
{
    uint32_t len = scale_is_lab() ? BYTES_LAB : BYTES_NATIVE, i;
    struct image_options io = guest_options((uint64_t)16 << 20);
    uint8_t *data = malloc(len + 4096);
    struct msg_value v = calling_bytes(MSG_BYTES, data, len);
    uint64_t seed = 11;
    struct calling c;

    io.sizes.input_len = len + 4096;
    io.sizes.output_len = len + 4096;
    if (CHECK(data != NULL) && calling_open(&c, kvm_fd, "calls", kc->kind, &io, false)) {
        for (i = 0; i < len; i++)
            data[i] = (uint8_t)tap_random(&seed);
        if (calling_start(&c)) {
            CHECK_EQ(calling_call(&c, "echo_bytes", &v, 1), STATUS_OK);
            CHECK_EQ(c.result.value.len, len);
            CHECK(c.result.value.len == len && memcmp(c.result.value.data, data, len) == 0);
            CHECK(calling_stacks_empty(&c));
            v.len = len + 4096;
            CHECK_EQ(calling_call(&c, "echo_bytes", &v, 1), STATUS_USAGE);
            calling_adds(&c);
        }
        calling_close(&c);
        io.sizes.input_len = len + 8192;
        if (calling_open(&c, kvm_fd, "calls", kc->kind, &io, false)) {
            v.len = len + 4096;
            memset(data + len, 0, 4096);
            if (calling_start(&c)) {
                CHECK_EQ(calling_call(&c, "echo_bytes", &v, 1), STATUS_CALL_ERROR);
                CHECK_EQ(c.result.code, 15);
                calling_adds(&c);
            }
            calling_close(&c);
        }
    }
    free(data);
}

/* General registers and FPU, which ABI 3.2 orders, and the run. Signals may make a call take more. */
static void few_ioctls(int kvm_fd, const struct kvm_case *kc)
{
    const struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    unsigned least = UINT32_MAX, i;
    struct calling c;

    if (!calling_open(&c, kvm_fd, "calls", kc->kind, &io, false))
        return;
    if (calling_start(&c)) {
        for (i = 0; i < 20; i++) {
            seam_fail(0, 0, 0);
            CHECK_EQ(calling_call0(&c, "nothing"), STATUS_OK);
            if (seam.calls_n < least)
                least = seam.calls_n;
        }
        CHECK(least >= 1 && least <= 3);
    }
    calling_close(&c);
}

static const struct kvm_case cases[] = {
    {"amd64: a call takes no more of KVM than three ioctls", .run = few_ioctls, .kind = "amd64"},
    {"i686: a call takes no more of KVM than three ioctls", .run = few_ioctls, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: a call takes no more of KVM than three ioctls", .run = few_ioctls,
     .kind = "i686-identity"},
    {"amd64: only a guest left amid things is poisoned, and each end is told", .run = poison,
     .kind = "amd64"},
    {"i686: only a guest left amid things is poisoned, and each end is told", .run = poison, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: only a guest left amid things is poisoned, and each end is told", .run = poison,
     .kind = "i686-identity"},
    {"amd64: arguments that do not fit are refused, and the guest stays ready", .run = refused,
     .kind = "amd64"},
    {"i686: arguments that do not fit are refused, and the guest stays ready", .run = refused,
     .paging32 = true, .kind = "i686"},
    {"amd64: what one call aborts halfway is not in the next one's text", .run = aborts, .kind = "amd64"},
    {"i686: what one call aborts halfway is not in the next one's text", .run = aborts, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: what one call aborts halfway is not in the next one's text", .run = aborts,
     .kind = "i686-identity"},
    {"amd64: every type comes back with all its bits", .run = types, .kind = "amd64"},
    {"i686: every type comes back with all its bits", .run = types, .paging32 = true, .kind = "i686"},
    {"i686-identity: every type comes back with all its bits", .run = types, .kind = "i686-identity"},
    {"amd64: many bytes come back, as many as the stacks have room for", .run = large_bytes, .kind = "amd64"},
    {"i686: many bytes come back, as many as the stacks have room for", .run = large_bytes, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: many bytes come back, as many as the stacks have room for", .run = large_bytes,
     .kind = "i686-identity"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
