/*
 * A guest that attacks its host in every way the sample `hostile` knows. Every
 * call ends as documented, the host never fails by it, both stacks are empty
 * afterwards, and the next guest in the same machine finds nothing of it.
 */
#include "tests/kvm/calling.h"

#define PORTS_N   0x10000u
#define ANSWER    42
#define FLIPS_MAX 4096u

/* Ports of the two PICs, which KVM serves itself where there is an irqchip. */
static bool is_pic_port(uint32_t port)
{
    return port == 0x20 || port == 0x21 || port == 0xa0 || port == 0xa1 || port == 0x4d0 || port == 0x4d1;
}

/* Statuses that a call may end with, as a set. */
enum { S0 = 1, S122 = 2, S124 = 4, S134 = 8, S139 = 16 };

static unsigned bit_of(enum status s)
{
    switch ((int)s) {
    case STATUS_OK: return S0;
    case STATUS_CALL_ERROR: return S122;
    case STATUS_TIMEOUT: return S124;
    case STATUS_ABORTED: return S134;
    case STATUS_FAULTED: return S139;
    default: return 0;
    }
}

struct attack {
    const char *function;
    unsigned params_n;
    uint32_t first, last; /* first parameter: one call for each value */
    uint32_t second;
    unsigned statuses;
    const char *text; /* part of what is said, or NULL */
    const char *kind; /* only these kinds, NULL = all */
};

#define LOG  99
#define HOST 101
#define HALT 108

static const struct attack attacks[] = {
    {"input_fill", 1, 0, 0, 0, S0, NULL, NULL},
    {"input_fill", 1, 7, 9, 0, S0, NULL, NULL},
    {"input_fill", 1, 255, 255, 0, S0, NULL, NULL},
    {"output_fill", 2, 0, 8, LOG, S139, "broken protocol: output stack: sp", NULL},
    {"output_fill", 2, 0, 8, HOST, S139, "broken protocol: output stack: sp", NULL},
    {"output_fill", 2, 0, 8, HALT, S139, "broken protocol: output stack: sp", NULL},
    {"output_fill", 2, 255, 255, HALT, S139, "broken protocol: output stack: sp", NULL},
    {"output_sp", 2, 0, 9, LOG, S139, "broken protocol: output stack: ", NULL},
    {"output_sp", 2, 0, 9, HOST, S139, "broken protocol: output stack: ", NULL},
    {"output_sp", 2, 0, 9, HALT, S139, "broken protocol: output stack: ", NULL},
    {"output_sp", 2, 10, 10, HALT, S122, NULL, NULL},
    {"output_back", 2, 0, 9, LOG, S139, "broken protocol: ", NULL},
    {"output_back", 2, 0, 9, HOST, S139, "broken protocol: ", NULL},
    {"output_back", 2, 0, 9, HALT, S139, "broken protocol: ", NULL},
    {"output_prefix", 2, 0, 1, LOG, S139, "broken protocol: log record: ", NULL},
    {"output_prefix", 2, 0, 1, HOST, S139, "broken protocol: call of a host function: ", NULL},
    {"output_prefix", 2, 0, 1, HALT, S139, "broken protocol: result of a call: ", NULL},
    {"output_prefix", 2, 2, 2, HALT, S0 | S139, NULL, NULL},
    {"output_prefix", 2, 3, 7, LOG, S139, "broken protocol: output stack: prefix", NULL},
    {"output_prefix", 2, 3, 7, HOST, S139, "broken protocol: output stack: prefix", NULL},
    {"output_prefix", 2, 3, 7, HALT, S139, "broken protocol: output stack: prefix", NULL},
    /* 9 and 15 lie inside the stack: odd, and nobody's business. */
    {"input_sp", 1, 0, 1, 0, S139, "broken protocol: input stack: sp", NULL},
    {"input_sp", 1, 2, 3, 0, S0, NULL, NULL},
    {"input_sp", 1, 4, 8, 0, S139, "broken protocol: input stack: sp", NULL},
    {"input_sp", 1, 9, 9, 0, S139, "no room for a result on the input stack", NULL},
    {"output_full", 0, 0, 0, 0, S0, NULL, NULL},
    {"guest_typed_call", 0, 0, 0, 0, S139, "marked as one of a guest function", NULL},
    {"no_result", 0, 0, 0, 0, S139, "broken protocol: output stack: sp", NULL},
    {"sleep_with_result", 0, 0, 0, 0, S0, NULL, NULL},

    {"peb_fill", 1, 0, 1, 0, S0, NULL, NULL},
    {"peb_fill", 1, 255, 255, 0, S0, NULL, NULL},
    {"words_fill", 1, 0, 1, 0, S0, NULL, NULL},
    {"words_fill", 1, 255, 255, 0, S0, NULL, NULL},
    {"top_page_fill", 1, 1, 3, 0, S0, NULL, NULL},
    {"counter_write", 1, 0, 1, 0, S0, NULL, NULL},
    {"scratch_fill", 1, 0, 0, 0, S124 | S139, NULL, NULL},
    {"scratch_fill", 1, 255, 255, 0, S124 | S139, NULL, NULL},

    {"tables", 1, 0, 0, 0, S0, NULL, "amd64 i686"},
    {"tables", 1, 1, 1, 0, S124, NULL, "amd64 i686"},
    {"tables", 1, 2, 6, 0, S124 | S139, NULL, "amd64 i686"},
    {"tables", 1, 7, 8, 0, S139, "write of ", "amd64 i686"},
    {"tables", 1, 0, 8, 0, S122, NULL, "i686-identity"},
    {"cpu", 1, 0, 0, 0, S139, "triple fault", NULL},
    {"cpu", 1, 1, 3, 0, S134 | S139, NULL, NULL},
    {"cpu", 1, 4, 4, 0, S0 | S134 | S139, NULL, NULL},
    {"cpu", 1, 5, 8, 0, S0 | S134 | S139, NULL, NULL},
    {"cpu", 1, 9, 9, 0, S124, NULL, NULL},

    {"send", 2, 102, 102, 0, S0, NULL, NULL},
    {"send", 2, 102, 102, 0x010203ff, S0, NULL, NULL},
    {"send", 2, 102, 102, 0xffffffff, S134, NULL, NULL},
    {"send", 2, 102, 102, 0x00ffff00, S0, NULL, NULL},
    {"send", 2, 103, 103, 0x10ffff, S0, NULL, NULL},
    {"send", 2, 103, 103, 0x110000, S139, "out port 0x67 (103)", NULL},
    {"send", 2, 103, 103, 0xd800, S139, "out port 0x67 (103)", NULL},
    {"send", 2, 103, 103, 0xffffffff, S139, "out port 0x67 (103)", NULL},
    {"send", 2, 104, 106, 0xffffffff, S0, NULL, NULL},
    {"send", 2, 107, 107, 1000, S139, "out port 0x6b (107)", NULL},
    {"send", 2, 108, 108, 0xffffffff, S139, "broken protocol: output stack: sp", NULL},
    {"long_abort", 1, 1023, 1024, 0, S0, NULL, NULL},
    {"long_abort", 1, 1025, 1026, 0, S134, NULL, NULL},
    {"long_abort", 1, 2000, 2000, 0, S134, NULL, NULL},
    {"port_string_out", 1, 99, 99, 0, S139, NULL, NULL},
    {"port_string_out", 1, 101, 101, 0, S139, NULL, NULL},
    {"port_string_out", 1, 102, 106, 0, S0 | S139, NULL, NULL},
    {"port_string_out", 1, 107, 109, 0, S139, NULL, NULL},
    {"port_string_in", 1, 99, 108, 0, S139, NULL, NULL},
    {"port_in", 1, 99, 108, 0, S139, "in port", NULL},
};

#define ATTACKS_N (sizeof(attacks) / sizeof(attacks[0]))

static bool open_hostile(struct calling *c, int kvm_fd, const char *kind, const char *init_data, bool irqchip)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);

    io.init_data = (const uint8_t *)init_data;
    io.init_data_len = strlen(init_data);
    if (!calling_open(c, kvm_fd, "hostile", kind, &io, irqchip))
        return false;
    return true;
}

/* What the host did about it: one of these statuses, and nothing kept. */
static bool judge(struct calling *c, enum status status, unsigned statuses)
{
    bool ok = CHECK((bit_of(status) & statuses) != 0);

    ok = CHECK_STR(c->e.text, "") && ok;
    ok = CHECK_EQ(c->vm.ready, status == STATUS_OK || status == STATUS_CALL_ERROR) && ok;
    ok = CHECK(calling_stacks_reset(c)) && ok;
    ok = CHECK(!calling_is_kicked(c)) && ok;
    if (!ok)
        printf("# status %d: %s%s\n", (int)status, c->out.why.text, c->e.text);
    return ok;
}

/* A restored guest works. */
static bool next_works(struct calling *c)
{
    c->env.limit_ns = GUEST_LIMIT_NS;
    return calling_start(c) && calling_adds(c);
}

static void attack_once(struct calling *c, const struct attack *a, uint32_t first)
{
    const struct msg_value v[] = {calling_uint(first), calling_uint(a->second)};
    enum status status;
    bool ok;

    c->env.limit_ns = (a->statuses & S124) == 0 ? GUEST_LIMIT_NS : scale_is_lab() ? 1000 * MS : 200 * MS;
    status = calling_call(c, a->function, v, a->params_n);
    ok = judge(c, status, a->statuses);

    if (ok && status == STATUS_OK && strcmp(a->function, "flip") != 0)
        ok = CHECK_EQ(c->result.value.bits, ANSWER);
    /* One that hid its call above the stack pointer leaves it there. */
    if (ok && c->vm.ready && strcmp(a->function, "input_sp") != 0)
        ok = CHECK(calling_stacks_empty(c));
    if (ok && a->text != NULL)
        ok = CHECK_HAS(c->out.why.text, a->text);
    if (ok && strcmp(a->function, "long_abort") == 0 && status == STATUS_ABORTED)
        ok = CHECK_STR(c->out.abort.text, "overflow") && CHECK_EQ(c->out.abort.code, 0);
    ok = next_works(c) && ok;
    if (!ok)
        printf("# in %s(%" PRIu32 ", %" PRIu32 "): %s\n", a->function, first, a->second, c->out.why.text);
}

static bool is_for(const struct attack *a, const char *kind)
{
    const char *at;

    if (a->kind == NULL)
        return true;
    for (at = a->kind; (at = strstr(at, kind)) != NULL; at++)
        if ((at == a->kind || at[-1] == ' ') && (at[strlen(kind)] == '\0' || at[strlen(kind)] == ' '))
            return true;
    return false;
}

static void all_attacks(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;
    uint32_t first;
    unsigned i;

    if (!open_hostile(&c, kvm_fd, kc->kind, "", false))
        return;
    if (next_works(&c))
        for (i = 0; i < ATTACKS_N && tap_ok; i++)
            for (first = attacks[i].first; is_for(&attacks[i], kc->kind) && first <= attacks[i].last; first++)
                attack_once(&c, &attacks[i], first);
    calling_close(&c);
}

/* Every single bit of a message, or some of them, by the port it is for. */
static void flips(int kvm_fd, const struct kvm_case *kc)
{
    struct attack a = {"flip", 2, 0, 0, (uint32_t)kc->n, S0 | S122 | S139, NULL, NULL};
    uint32_t step = scale_is_lab() ? 41 : scale_factor() > 1 ? 1 : 7, bit;
    unsigned n = 0;
    struct calling c;

    if (!open_hostile(&c, kvm_fd, kc->kind, "", false))
        return;
    if (next_works(&c)) {
        for (bit = 0; bit < FLIPS_MAX && tap_ok; bit += step, n++) {
            attack_once(&c, &a, bit);
            /* The message has no such bit. */
            if (calling_call2(&c, "flip", bit + step, a.second) == STATUS_CALL_ERROR && c.result.code == 15)
                break;
            if (!next_works(&c))
                break;
        }
        printf("# %u bits\n", n);
        CHECK(bit < FLIPS_MAX && n > 8);
    }
    calling_close(&c);
}

/* What an OUT of zero to that port comes to; KVM's PICs take bytes, and some of what is wider. */
static unsigned out_statuses(uint32_t port, bool irqchip)
{
    switch (port) {
    case 102: /* no byte of an abort */
    case 103:
    case 104:
    case 105:
    case 106: return S0;
    case 107:
    case 0x40:
    case 0x41:
    case 0x42:
    case 0x43: return irqchip ? S0 : S139;
    default: return irqchip && is_pic_port(port) ? S0 | S139 : S139;
    }
}

/*
 * One port after the other. An OUT leaves the guest as it was, so after a
 * fault the test, and only the test, takes it for ready again: a restore for
 * each of them would take minutes.
 */
static void ports(int kvm_fd, const struct kvm_case *kc)
{
    bool irqchip = kc->n != 0, all = !scale_is_lab() && scale_factor() > 1;
    uint32_t few = scale_is_lab() ? 0x80 : 0x500;
    struct calling c;
    uint32_t port, step;
    unsigned width = 0;

    if (!open_hostile(&c, kvm_fd, kc->kind, "", irqchip))
        return;
    if (next_works(&c)) {
        for (port = 0; port < PORTS_N && tap_ok; port += step, width++) {
            enum status status = calling_call2(&c, "port_out", port, 1u << width % 3);

            if (!judge(&c, status, out_statuses(port, irqchip)))
                printf("# out port 0x%" PRIx32 ", width %u\n", port, 1u << width % 3);
            c.vm.ready = true;
            /* All of them, or the first, some others and the last. */
            step = all || port < few ? 1 : scale_is_lab() ? 0x5ef : 0x2f;
            if (port != PORTS_N - 1 && port + step >= PORTS_N)
                step = PORTS_N - 1 - port;
            if (port % 256 != 0)
                continue;
            status = calling_call1(&c, "port_in", port);
            if (!judge(&c, status, S139))
                printf("# in port 0x%" PRIx32 "\n", port);
            /* KVM finishes an IN when the vCPU runs again, so after this one only a restore will do. */
            if (!next_works(&c))
                break;
        }
        CHECK(width > 128);
        next_works(&c);
    }
    calling_close(&c);
}

/* An init that ends badly is no start; one that leaves rubbish is. */
static void inits(int kvm_fd, const struct kvm_case *kc)
{
    static const struct {
        const char *data;
        unsigned init, call;
        const char *text;
    } ends[] = {
        {"m", S139, 0, "misaligned stack pointer"},
        {"d", S0, S134 | S139, NULL},
        {"0", S0, S134 | S139, NULL},
        {"s", S0, S0 | S134 | S139, NULL},
        {"f", S0, S0, NULL},
        {"a", S0, S0, NULL},
    };
    struct calling c;
    unsigned i;

    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        const struct msg_value v[] = {calling_int(2), calling_int(40)};

        if (!open_hostile(&c, kvm_fd, kc->kind, ends[i].data, false))
            return;
        if (calling_init(&c)) {
            CHECK(bit_of(c.out.status) & ends[i].init);
            CHECK_EQ(c.vm.ready, c.out.status == STATUS_OK);
            if (ends[i].text != NULL)
                CHECK_HAS(c.out.why.text, ends[i].text);
            if (c.vm.ready) {
                CHECK(calling_stacks_empty(&c));
                if (!judge(&c, calling_call(&c, "add", v, 2), ends[i].call))
                    printf("# after init %s\n", ends[i].data);
            }
            if (c.vm.ready && c.out.status == STATUS_OK) {
                CHECK_EQ(calling_call0(&c, "finish_abort"), STATUS_ABORTED);
                CHECK_EQ(c.out.abort.code, 15);
                CHECK_STR(c.out.abort.text, "all of it");
            }
        }
        calling_close(&c);
    }
}

/* With an irqchip a HLT sleeps, whatever lies on the stack. */
static void sleeps(int kvm_fd, const struct kvm_case *kc)
{
    struct calling c;

    if (!open_hostile(&c, kvm_fd, kc->kind, "", true))
        return;
    if (next_works(&c)) {
        c.env.limit_ns = 200 * MS;
        judge(&c, calling_call0(&c, "sleep_with_result"), S124);
        next_works(&c);
        judge(&c, calling_call2(&c, "send", 107, UINT32_MAX), S0);
        next_works(&c);
    }
    calling_close(&c);
}

static const struct kvm_case cases[] = {
    {"amd64: every attack ends as documented, and the next guest works", .run = all_attacks, .kind = "amd64"},
    {"i686: every attack ends as documented, and the next guest works", .run = all_attacks, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: every attack ends as documented, and the next guest works", .run = all_attacks,
     .kind = "i686-identity"},
    {"amd64: a result with a bit the other way round", .run = flips, .kind = "amd64", .n = HALT},
    {"amd64: a host call with a bit the other way round", .run = flips, .kind = "amd64", .n = HOST},
    {"amd64: a log record with a bit the other way round", .run = flips, .kind = "amd64", .n = LOG},
    {"i686-identity: a result with a bit the other way round", .run = flips, .kind = "i686-identity",
     .n = HALT},
    {"i686: a host call with a bit the other way round", .run = flips, .paging32 = true, .kind = "i686",
     .n = HOST},
    {"amd64: an OUT to any port is served, ignored or a fault", .run = ports, .kind = "amd64"},
    {"amd64: an OUT to any port is served, ignored or a fault with an irqchip", .run = ports, .kind = "amd64",
     .n = 1},
    {"i686: an OUT to any port is served, ignored or a fault", .run = ports, .paging32 = true,
     .kind = "i686"},
    {"i686-identity: an OUT to any port is served, ignored or a fault", .run = ports,
     .kind = "i686-identity"},
    {"amd64: an init that ends badly takes no calls, and its rubbish meets none", .run = inits,
     .kind = "amd64"},
    {"i686: an init that ends badly takes no calls, and its rubbish meets none", .run = inits,
     .paging32 = true, .kind = "i686"},
    {"i686-identity: an init that ends badly takes no calls, and its rubbish meets none", .run = inits,
     .kind = "i686-identity"},
    {"amd64: with an irqchip a HLT is no end", .run = sleeps, .kind = "amd64"},
    {"i686: with an irqchip a HLT is no end", .run = sleeps, .paging32 = true, .kind = "i686"},
    {"i686-identity: with an irqchip a HLT is no end", .run = sleeps, .kind = "i686-identity"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
