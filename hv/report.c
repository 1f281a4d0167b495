/* Outcomes as text and JSON. See report.h. */
#include "hv/report.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "boot/x86.h"
#include "hv/value.h"
#include "mem/format.h"

struct outcome outcome_of_error(const struct err *why)
{
    struct outcome o = {.reason = REASON_ERROR, .status = why->status, .why = *why};

    if (why->status == STATUS_UNSUPPORTED)
        o.reason = REASON_UNSUPPORTED;
    return o;
}

void report_error(const struct err *e, struct text *out)
{
    text_add(out, "vmm: %s\n", e->text);
    if (e->hint[0] != '\0')
        text_add(out, "hint: %s\n", e->hint);
}

struct named_value {
    char name[4];
    uint64_t value;
};

#define REG(name)                                  \
    {                                              \
#name, offsetof(struct outcome, regs.name) \
    }
#define SYSTEM(name)                                \
    {                                               \
#name, offsetof(struct outcome, sregs.name) \
    }

/* The registers worth showing, which 32-bit guests know by names with an e and without r8 to r15. */
static const struct {
    char name[4];
    uint16_t off;
} registers[] = {
    REG(rip),    REG(rsp),    REG(rbp),    {"rfl", offsetof(struct outcome, regs.rflags)},
    REG(rax),    REG(rbx),    REG(rcx),    REG(rdx),
    REG(rsi),    REG(rdi),    REG(r8),     REG(r9),
    REG(r10),    REG(r11),    REG(r12),    REG(r13),
    REG(r14),    REG(r15),    SYSTEM(cr0), SYSTEM(cr2),
    SYSTEM(cr3), SYSTEM(cr4),
};

#define REGISTERS_N (sizeof(registers) / sizeof(registers[0]))
#define NAMED_MAX   (REGISTERS_N + 1)

static unsigned name_registers(const struct outcome *o, struct named_value v[NAMED_MAX])
{
    bool wide = o->addr_digits > 8;
    unsigned n = 0, i;

    for (i = 0; i < REGISTERS_N; i++) {
        const char *name = registers[i].name;

        if (!wide && name[0] == 'r' && name[1] <= '9')
            continue;
        memcpy(v[n].name, name, sizeof(v[n].name));
        if (!wide && name[0] == 'r')
            v[n].name[0] = 'e';
        memcpy(&v[n++].value, (const uint8_t *)o + registers[i].off, sizeof(v[n].value));
    }
    v[n++] = (struct named_value){"cs", o->sregs.cs.selector};
    return n;
}

static void add_registers(const struct outcome *o, struct text *out)
{
    struct named_value v[NAMED_MAX];
    unsigned n = name_registers(o, v), i, per_line = o->addr_digits > 8 ? 4 : 5;

    for (i = 0; i < n; i++)
        text_add(out, "%s%4s %0*" PRIx64 "%s", i % per_line == 0 ? "  " : " ", v[i].name, (int)o->addr_digits,
                 v[i].value, i % per_line == per_line - 1 || i == n - 1 ? "\n" : "");
}

static void add_abort(const struct outcome *o, struct text *out)
{
    text_add(out, "vmm: guest: aborted: code %u (%s)", o->abort.code, o->abort.code_name);
    if (o->abort.has_exception)
        text_add(out, ", exception %u (%s)", o->abort.exception, o->abort.exception_name);
    if (o->abort.text_len != 0) {
        text_add(out, ": ");
        text_add_escaped(out, o->abort.text, o->abort.text_len);
    }
    text_add(out, "\n");
}

static const char *last_exit(const struct outcome *o, char text[EXIT_TEXT_MAX])
{
    if (o->exits_n == 0)
        return "none";
    exit_describe(&o->last_exit, o->addr_digits, text, EXIT_TEXT_MAX);
    return text;
}

static void add_failure(const struct outcome *o, struct text *out)
{
    char text[EXIT_TEXT_MAX];

    report_error(&o->why, out);
    if (o->registers == REGISTERS_SHOWN)
        add_registers(o, out);
    else if (o->registers == REGISTERS_RESET_BY_KVM)
        text_add(out, "  registers: lost, KVM reset them at the shutdown\n");
    if (o->registers != REGISTERS_NONE)
        text_add(out, "  last exit: %s (%" PRIu64 " in all)\n", last_exit(o, text), o->exits_n);
}

static bool ended_well(const struct outcome *o)
{
    return o->reason == REASON_ENDED || o->reason == REASON_EXPECTED;
}

void report_text(const struct outcome *o, struct text *out)
{
    if (o->reason == REASON_ABORTED)
        add_abort(o, out);
    else if (!ended_well(o))
        add_failure(o, out);
    if (o->no_core.text[0] != '\0')
        report_error(&o->no_core, out);
}

static void add_member(struct text *out, const char *name, const char *value)
{
    text_add(out, ",\"%s\":", name);
    text_add_json(out, value, strlen(value));
}

void report_access(const struct unknown_access *u, char *text, size_t len)
{
    format_text(text, len, "%s 0x%" PRIx64 ", %u byte%s",
                u->memory  ? (u->write ? "write of memory at" : "read of memory at")
                : u->write ? "out port"
                           : "in port",
                u->at, u->width, u->width == 1 ? "" : "s");
}

void report_unknown(const struct outcome *o, struct text *out)
{
    uint64_t listed = 0;
    char what[80];
    unsigned i;

    for (i = 0; i < o->unknown_n; i++) {
        report_access(&o->unknown[i], what, sizeof(what));
        text_add(out, "vmm: guest: %s: nothing answers there (%" PRIu64 " times)\n", what, o->unknown[i].n);
        listed += o->unknown[i].n;
    }
    if (listed != o->unknown_all)
        text_add(out, "vmm: guest: and %" PRIu64 " such accesses elsewhere\n", o->unknown_all - listed);
}

static void add_unknown(const struct outcome *o, struct text *out)
{
    unsigned i;

    text_add(out, ",\"unknown_accesses\":%" PRIu64 ",\"unknown\":[", o->unknown_all);
    for (i = 0; i < o->unknown_n; i++) {
        const struct unknown_access *u = &o->unknown[i];

        text_add(out, "%s{\"%s\":\"0x%" PRIx64 "\",\"width\":%u,\"write\":%s,\"count\":%" PRIu64 "}",
                 i != 0 ? "," : "", u->memory ? "memory" : "port", u->at, u->width,
                 u->write ? "true" : "false", u->n);
    }
    text_add(out, "]");
}

void report_json(const struct outcome *o, const struct text *calls, struct text *out)
{
    static const char *const reasons[] = {
        [REASON_ENDED] = "ended",       [REASON_CALL_ERROR] = "call-error",
        [REASON_ABORTED] = "aborted",   [REASON_FAULTED] = "faulted",
        [REASON_TIMEOUT] = "timeout",   [REASON_SIGNAL] = "signal",
        [REASON_COPIES] = "copies",     [REASON_UNSUPPORTED] = "unsupported",
        [REASON_ERROR] = "error",       [REASON_RESET] = "reset",
        [REASON_EXPECTED] = "expected", [REASON_UNEXPECTED] = "unexpected",
    };
    bool has_error = !ended_well(o) && o->reason != REASON_ABORTED;
    char text[EXIT_TEXT_MAX];

    text_add(out, "{\"version\":%d,\"status\":%d", REPORT_VERSION, (int)o->status);
    add_member(out, "reason", reasons[o->reason]);
    if (o->kind != NULL)
        add_member(out, "kind", o->kind);
    if (has_error) {
        add_member(out, "message", o->why.text);
        if (o->why.hint[0] != '\0')
            add_member(out, "hint", o->why.hint);
    }
    if (o->reason == REASON_ABORTED) {
        text_add(out, ",\"abort\":{\"code\":%u", o->abort.code);
        add_member(out, "name", o->abort.code_name);
        if (o->abort.has_exception) {
            text_add(out, ",\"exception\":%u", o->abort.exception);
            add_member(out, "exception_name", o->abort.exception_name);
        }
        text_add(out, ",\"text\":");
        text_add_json(out, o->abort.text, o->abort.text_len);
        text_add(out, "}");
    }
    if (o->registers == REGISTERS_SHOWN) {
        struct named_value v[NAMED_MAX];
        unsigned n = name_registers(o, v), i;

        text_add(out, ",\"registers\":{");
        for (i = 0; i < n; i++)
            text_add(out, "%s\"%s\":\"0x%" PRIx64 "\"", i != 0 ? "," : "", v[i].name, v[i].value);
        text_add(out, "}");
    } else if (o->registers == REGISTERS_RESET_BY_KVM) {
        text_add(out, ",\"registers\":null");
    }
    if (o->exits_n != 0)
        add_member(out, "last_exit", last_exit(o, text));
    if (o->no_core.text[0] != '\0')
        add_member(out, "no_core", o->no_core.text);
    if (calls->len != 0)
        text_add(out, ",\"calls\":[%s]", calls->s);
    if (o->bare)
        add_unknown(o, out);
    text_add(out, ",\"exits\":%" PRIu64 ",\"ran_us\":%" PRIu64 "}\n", o->exits_n, o->ran_ns / 1000);
}

void report_call(const char *name, const struct msg_result *r, struct text *out)
{
    text_add(out, "{\"name\":");
    text_add_json(out, name, strlen(name));
    if (r->is_error) {
        text_add(out, ",\"error\":{\"code\":%" PRIu64 ",\"message\":", r->code);
        text_add_json(out, (const char *)r->text, r->text_len);
        text_add(out, "}");
    } else {
        text_add(out, ",\"result\":");
        value_json(&r->value, out);
    }
    text_add(out, "}");
}
