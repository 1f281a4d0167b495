/* Outcomes as text and JSON. See report.h. */
#include "hv/report.h"

#include <inttypes.h>
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
    const char *name;
    uint64_t value;
};

#define NAMED_MAX 24

/* The registers worth showing: 64-bit guests have eight more. */
static unsigned name_registers(const struct outcome *o, struct named_value v[NAMED_MAX])
{
    const struct cpu_regs *r = &o->regs;
    const struct named_value narrow[] = {
        {"eip", r->rip}, {"esp", r->rsp}, {"ebp", r->rbp}, {"efl", r->rflags}, {"eax", r->rax},
        {"ebx", r->rbx}, {"ecx", r->rcx}, {"edx", r->rdx}, {"esi", r->rsi},    {"edi", r->rdi},
    };
    const struct named_value wide[] = {
        {"rip", r->rip}, {"rsp", r->rsp}, {"rbp", r->rbp}, {"rfl", r->rflags}, {"rax", r->rax},
        {"rbx", r->rbx}, {"rcx", r->rcx}, {"rdx", r->rdx}, {"rsi", r->rsi},    {"rdi", r->rdi},
        {"r8", r->r8},   {"r9", r->r9},   {"r10", r->r10}, {"r11", r->r11},    {"r12", r->r12},
        {"r13", r->r13}, {"r14", r->r14}, {"r15", r->r15},
    };
    const struct named_value system[] = {
        {"cr0", o->sregs.cr0}, {"cr2", o->sregs.cr2},        {"cr3", o->sregs.cr3},
        {"cr4", o->sregs.cr4}, {"cs", o->sregs.cs.selector},
    };
    bool is_wide = o->addr_digits > 8;
    unsigned n = is_wide ? sizeof(wide) / sizeof(wide[0]) : sizeof(narrow) / sizeof(narrow[0]);

    memcpy(v, is_wide ? wide : narrow, n * sizeof(v[0]));
    memcpy(v + n, system, sizeof(system));
    return n + sizeof(system) / sizeof(system[0]);
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

static void add_failure(const struct outcome *o, struct text *out)
{
    report_error(&o->why, out);
    if (o->registers == REGISTERS_SHOWN)
        add_registers(o, out);
    else if (o->registers == REGISTERS_RESET_BY_KVM)
        text_add(out, "  registers: lost, KVM reset them at the shutdown\n");
    if (o->registers != REGISTERS_NONE)
        text_add(out, "  last exit: %s (%" PRIu64 " in all)\n",
                 o->last_exit[0] != '\0' ? o->last_exit : "none", o->exits_n);
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
    if (o->last_exit[0] != '\0')
        add_member(out, "last_exit", o->last_exit);
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
