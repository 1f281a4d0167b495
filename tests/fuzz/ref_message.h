/*
 * The oracle of the message tests: a second reader, written from the format's
 * description and sharing no code with mem/message, that turns a message into
 * text or says that it must be refused. It is slow: it follows a description
 * of the tables field by field. Beside it, what mem/message read as the same
 * text, which is also that of the vectors' expect.txt.
 */
#ifndef TESTS_FUZZ_REF_MESSAGE_H
#define TESTS_FUZZ_REF_MESSAGE_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/message.h"

/* --- text ---------------------------------------------------------------------------------------- */
struct text {
    size_t len;
    char s[1 << 19];
};

__attribute__((format(printf, 2, 3))) static inline void text_add(struct text *t, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(t->s + t->len, sizeof(t->s) - t->len, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(t->s) - t->len)
        abort();
    t->len += (size_t)n;
}

/* LEN:HEX; long ones by the name of their pattern, or by a hash. */
static inline void text_bytes(struct text *t, const uint8_t *b, uint64_t len)
{
    static const char digit[] = "0123456789abcdef";
    bool is_s = true, is_b = true;
    uint64_t i, hash = 0xcbf29ce484222325u;

    text_add(t, "%" PRIu64 ":", len);
    if (len <= 256) {
        if (sizeof(t->s) - t->len < 2 * len + 1)
            abort();
        for (i = 0; i < len; i++) {
            t->s[t->len++] = digit[b[i] >> 4];
            t->s[t->len++] = digit[b[i] & 15];
        }
        t->s[t->len] = '\0';
        return;
    }
    for (i = 0; i < len; i++) {
        is_s = is_s && b[i] == 'a' + i % 26;
        is_b = is_b && b[i] == (uint8_t)(31 * i + 7 * (i >> 8));
        hash = (hash ^ b[i]) * 0x100000001b3u;
    }
    if (is_s || is_b)
        text_add(t, is_s ? "pattern-s" : "pattern-b");
    else
        text_add(t, "%016" PRIx64, hash);
}

static const char *const text_types[] = {"int",    "uint",   "long", "ulong", "float",
                                         "double", "string", "bool", "bytes", "void"};

/* --- the second reader ----------------------------------------------------------------------------- */
struct ref {
    const uint8_t *b;
    uint64_t len;
    jmp_buf refused;
};

static inline void ref_demand(struct ref *r, bool rule)
{
    if (!rule)
        longjmp(r->refused, 1);
}

/* The n-byte number at p, which has to be aligned and inside. */
static inline uint64_t ref_number(struct ref *r, uint64_t p, unsigned n)
{
    uint64_t v = 0;
    unsigned i;

    ref_demand(r, p % n == 0);
    ref_demand(r, p < r->len && r->len - p >= n);
    for (i = n; i > 0; i--)
        v = v * 256 + r->b[p + i - 1];
    return v;
}

static inline uint64_t ref_target(struct ref *r, uint64_t p)
{
    uint64_t offset = ref_number(r, p, 4);

    ref_demand(r, offset >= 1 && offset <= 0x7fffffff);
    ref_demand(r, offset < r->len - p);
    return p + offset;
}

/* Where field i of the table at t is, of n bytes; 0: absent. Looks at the whole vtable each time. */
static inline uint64_t ref_field(struct ref *r, uint64_t t, unsigned i, unsigned n)
{
    uint64_t back = ref_number(r, t, 4), vtable, vtable_len, entry;

    if (back < 0x80000000u) {
        ref_demand(r, back <= t);
        vtable = t - back;
    } else {
        vtable = t + (0x100000000u - back);
    }
    vtable_len = ref_number(r, vtable, 2);
    (void)ref_number(r, vtable + 2, 2);
    ref_demand(r, vtable_len % 2 == 0 && vtable_len / 2 >= 2);
    (void)ref_number(r, vtable + vtable_len - 2, 2);
    if (vtable_len / 2 < 3 + i)
        return 0;
    entry = ref_number(r, vtable + 4 + 2 * i, 2);
    if (entry == 0)
        return 0;
    ref_demand(r, entry > 3);
    (void)ref_number(r, t + entry, n);
    return t + entry;
}

static inline uint64_t ref_scalar(struct ref *r, uint64_t t, unsigned i, unsigned n)
{
    uint64_t at = ref_field(r, t, i, n);

    return at == 0 ? 0 : ref_number(r, at, n);
}

static inline uint64_t ref_child(struct ref *r, uint64_t t, unsigned i)
{
    uint64_t at = ref_field(r, t, i, 4);

    return at == 0 ? 0 : ref_target(r, at);
}

/* The number of elements of the vector at q, which has to be inside. */
static inline uint64_t ref_count(struct ref *r, uint64_t q, unsigned size)
{
    uint64_t n = ref_number(r, q, 4), room = r->len - q - 4;

    ref_demand(r, n <= room / size);
    return n;
}

/* Decodes each character and looks at its value, rather than at which bytes may follow which. */
static inline bool ref_is_utf8(const uint8_t *b, uint64_t len)
{
    static const uint32_t first[] = {0, 0, 0x80, 0x800, 0x10000};
    uint64_t i = 0;
    uint32_t value;
    unsigned n, j;

    while (i < len) {
        if (b[i] <= 0x7f) {
            i++;
            continue;
        }
        n = b[i] >> 5 == 6 ? 2 : b[i] >> 4 == 14 ? 3 : b[i] >> 3 == 30 ? 4 : 0;
        if (n == 0 || len - i < n)
            return false;
        value = b[i] & (0xffu >> (n + 1));
        for (j = 1; j < n; j++) {
            if (b[i + j] >> 6 != 2)
                return false;
            value = value << 6 | (b[i + j] & 0x3fu);
        }
        if (value < first[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
            return false;
        i += n;
    }
    return true;
}

static inline void ref_string(struct ref *r, uint64_t t, unsigned i, bool required, struct text *out)
{
    uint64_t q = ref_child(r, t, i), n;

    if (q == 0) {
        ref_demand(r, !required);
        text_bytes(out, NULL, 0);
        return;
    }
    n = ref_number(r, q, 4);
    ref_demand(r, r->len - q - 4 > n);
    ref_demand(r, r->b[q + 4 + n] == 0 && ref_is_utf8(r->b + q + 4, n));
    text_bytes(out, r->b + q + 4, n);
}

static inline void ref_bytes(struct ref *r, uint64_t t, unsigned i, struct text *out)
{
    uint64_t q = ref_child(r, t, i);

    text_bytes(out, q == 0 ? NULL : r->b + q + 4, q == 0 ? 0 : ref_count(r, q, 1));
}

/* "TYPE VALUE" of the table at t, by the union code of a parameter or of a result. */
static inline void ref_value(struct ref *r, uint64_t t, unsigned code, bool result, struct text *out)
{
    static const char param_kinds[] = "-iulLfdsbB", result_kinds[] = "-iulLfdsbvR";
    uint64_t v;

    ref_demand(r, code >= 1 && code <= (result ? 10 : 9));
    switch (result ? result_kinds[code] : param_kinds[code]) {
    case 'i': text_add(out, "int %" PRId32, (int32_t)(uint32_t)ref_scalar(r, t, 0, 4)); break;
    case 'u': text_add(out, "uint %" PRIu64, ref_scalar(r, t, 0, 4)); break;
    case 'l': text_add(out, "long %" PRId64, (int64_t)ref_scalar(r, t, 0, 8)); break;
    case 'L': text_add(out, "ulong %" PRIu64, ref_scalar(r, t, 0, 8)); break;
    case 'f': text_add(out, "float 0x%08" PRIx64, ref_scalar(r, t, 0, 4)); break;
    case 'd': text_add(out, "double 0x%016" PRIx64, ref_scalar(r, t, 0, 8)); break;
    case 'b':
        v = ref_scalar(r, t, 0, 1);
        text_add(out, "bool %d", v ? 1 : 0);
        break;
    case 's':
        text_add(out, "string ");
        ref_string(r, t, 0, false, out);
        break;
    case 'B':
        text_add(out, "bytes ");
        ref_bytes(r, t, 0, out);
        break;
    case 'R':
        (void)ref_scalar(r, t, 0, 4);
        text_add(out, "bytes ");
        ref_bytes(r, t, 1, out);
        break;
    default: (void)ref_field(r, t, 0xffff, 1); text_add(out, "void");
    }
    text_add(out, "\n");
}

static inline const char *ref_return_word(struct ref *r, uint64_t code)
{
    static const char *const words[] = {"int",    "uint",   "long", "ulong", "float",
                                        "double", "string", "bool", "void",  "bytes"};

    ref_demand(r, code < 10);
    return words[code];
}

static inline void ref_call(struct ref *r, uint64_t root, struct text *out)
{
    uint64_t v, n = 0, i, type, param, value;

    text_add(out, "FunctionCall\nname ");
    ref_string(r, root, 0, true, out);
    type = ref_scalar(r, root, 2, 1);
    ref_demand(r, type == 1 || type == 2);
    text_add(out, "\ntype %s\nreturns %s\n", type == 1 ? "guest" : "host",
             ref_return_word(r, ref_scalar(r, root, 3, 1)));
    v = ref_child(r, root, 1);
    if (v != 0)
        n = ref_count(r, v, 4);
    ref_demand(r, n <= MSG_PARAMS_MAX);
    text_add(out, "params %" PRIu64 "\n", n);
    for (i = 0; i < n; i++) {
        param = ref_target(r, v + 4 + 4 * i);
        value = ref_child(r, param, 1);
        ref_demand(r, value != 0);
        ref_value(r, value, (unsigned)ref_scalar(r, param, 0, 1), false, out);
    }
}

static inline void ref_result(struct ref *r, uint64_t root, struct text *out)
{
    uint64_t type = ref_scalar(r, root, 0, 1), box = ref_child(r, root, 1), value;

    text_add(out, "FunctionCallResult\n");
    ref_demand(r, box != 0 && (type == 1 || type == 2));
    if (type == 2) {
        text_add(out, "err %" PRIu64 " ", ref_scalar(r, box, 0, 8));
        ref_string(r, box, 1, false, out);
        text_add(out, "\n");
        return;
    }
    value = ref_child(r, box, 1);
    ref_demand(r, value != 0);
    text_add(out, "ok ");
    ref_value(r, value, (unsigned)ref_scalar(r, box, 0, 1), true, out);
}

static inline void ref_log(struct ref *r, uint64_t root, struct text *out)
{
    static const struct {
        const char *word;
        unsigned slot;
    } strings[] = {{"message", 0}, {"source", 1}, {"caller", 3}, {"source_file", 4}};
    uint64_t level = ref_scalar(r, root, 2, 1);
    unsigned i;

    ref_demand(r, level <= 6);
    text_add(out, "GuestLogData\nlevel %" PRIu64 "\n", level);
    for (i = 0; i < 4; i++) {
        text_add(out, "%s ", strings[i].word);
        ref_string(r, root, strings[i].slot, true, out);
        text_add(out, "\n");
    }
    text_add(out, "line %" PRIu64 "\n", ref_scalar(r, root, 5, 4));
}

static inline void ref_details(struct ref *r, uint64_t root, struct text *out)
{
    uint64_t v = ref_child(r, root, 0), n = v == 0 ? 0 : ref_count(r, v, 4), f, q, params_n, i, j;

    ref_demand(r, n <= MSG_FUNCTIONS_MAX);
    text_add(out, "HostFunctionDetails\nfunctions %" PRIu64 "\n", n);
    for (i = 0; i < n; i++) {
        f = ref_target(r, v + 4 + 4 * i);
        text_add(out, "fn ");
        ref_string(r, f, 0, true, out);
        text_add(out, " returns %s", ref_return_word(r, ref_scalar(r, f, 2, 1)));
        q = ref_child(r, f, 1);
        params_n = q == 0 ? 0 : ref_count(r, q, 1);
        ref_demand(r, params_n <= MSG_PARAMS_MAX);
        text_add(out, " params %" PRIu64, params_n);
        for (j = 0; j < params_n; j++) {
            ref_demand(r, r->b[q + 4 + j] <= 8);
            text_add(out, " %s", text_types[r->b[q + 4 + j]]);
        }
        text_add(out, "\n");
    }
}

enum kind { KIND_CALL, KIND_RESULT, KIND_LOG, KIND_DETAILS, KINDS_N };

static const char *const kind_names[KINDS_N] = {"FunctionCall", "FunctionCallResult", "GuestLogData",
                                                "HostFunctionDetails"};

/* Whether these bytes are a message of that kind, and in *out what it says. */
static inline bool ref_read(enum kind kind, const uint8_t *bytes, uint64_t len, struct text *out)
{
    static void (*const readers[])(struct ref *, uint64_t, struct text *) = {ref_call, ref_result, ref_log,
                                                                             ref_details};
    struct ref r = {.b = bytes, .len = len};

    out->len = 0;
    out->s[0] = '\0';
    if (setjmp(r.refused) != 0)
        return false;
    ref_demand(&r, len >= 16 && ref_number(&r, 0, 4) == len - 4);
    readers[kind](&r, ref_target(&r, 4), out);
    return true;
}

/* --- what mem/message read, as the same text ---------------------------------------------------------- */
static inline void text_value(struct text *out, const struct msg_value *v)
{
    text_add(out, "%s", text_types[v->type]);
    switch (v->type) {
    case MSG_INT:
    case MSG_LONG: text_add(out, " %" PRId64, (int64_t)v->bits); break;
    case MSG_FLOAT: text_add(out, " 0x%08" PRIx64, v->bits); break;
    case MSG_DOUBLE: text_add(out, " 0x%016" PRIx64, v->bits); break;
    case MSG_STRING:
    case MSG_BYTES:
        text_add(out, " ");
        text_bytes(out, v->data, v->len);
        break;
    case MSG_VOID: break;
    default: text_add(out, " %" PRIu64, v->bits);
    }
    text_add(out, "\n");
}

static inline void text_named(struct text *out, const char *word, const uint8_t *data, uint32_t len,
                              const char *end)
{
    text_add(out, "%s ", word);
    text_bytes(out, data, len);
    text_add(out, "%s", end);
}

/* A message of any kind, after it was read. */
struct any {
    struct msg_call call;
    struct msg_result result;
    struct msg_log log;
    struct msg_details details;
    struct msg_function functions[MSG_FUNCTIONS_MAX]; /* of details */
};

static inline enum msg_status any_read(enum kind kind, const uint8_t *bytes, size_t len, struct any *m)
{
    enum msg_status status;
    uint32_t i;

    switch (kind) {
    case KIND_CALL: return msg_read_call(bytes, len, &m->call);
    case KIND_RESULT: return msg_read_result(bytes, len, &m->result);
    case KIND_LOG: return msg_read_log(bytes, len, &m->log);
    default:
        status = msg_read_details(bytes, len, &m->details);
        for (i = 0; status == MSG_OK && i < m->details.functions_n; i++)
            msg_details_get(&m->details, i, &m->functions[i]);
        return status;
    }
}

static inline size_t any_len(enum kind kind, const struct any *m)
{
    switch (kind) {
    case KIND_CALL: return msg_call_len(&m->call);
    case KIND_RESULT: return msg_result_len(&m->result);
    case KIND_LOG: return msg_log_len(&m->log);
    default: return msg_details_len(m->functions, m->details.functions_n);
    }
}

static inline size_t any_write(enum kind kind, const struct any *m, uint8_t *out, size_t cap)
{
    switch (kind) {
    case KIND_CALL: return msg_write_call(&m->call, out, cap);
    case KIND_RESULT: return msg_write_result(&m->result, out, cap);
    case KIND_LOG: return msg_write_log(&m->log, out, cap);
    default: return msg_write_details(m->functions, m->details.functions_n, out, cap);
    }
}

static inline void any_text(enum kind kind, const struct any *m, struct text *out)
{
    const struct msg_function *f;
    unsigned i, j;

    out->len = 0;
    text_add(out, "%s\n", kind_names[kind]);
    switch (kind) {
    case KIND_CALL:
        text_named(out, "name", m->call.name, m->call.name_len, "\n");
        text_add(out, "type %s\nreturns %s\nparams %u\n", m->call.to_host ? "host" : "guest",
                 text_types[m->call.returns], m->call.params_n);
        for (i = 0; i < m->call.params_n; i++)
            text_value(out, &m->call.params[i]);
        break;
    case KIND_RESULT:
        if (m->result.is_error) {
            text_add(out, "err %" PRIu64 " ", m->result.code);
            text_bytes(out, m->result.text, m->result.text_len);
            text_add(out, "\n");
        } else {
            text_add(out, "ok ");
            text_value(out, &m->result.value);
        }
        break;
    case KIND_LOG:
        text_add(out, "level %u\n", m->log.level);
        text_named(out, "message", m->log.message, m->log.message_len, "\n");
        text_named(out, "source", m->log.source, m->log.source_len, "\n");
        text_named(out, "caller", m->log.caller, m->log.caller_len, "\n");
        text_named(out, "source_file", m->log.source_file, m->log.source_file_len, "\n");
        text_add(out, "line %" PRIu32 "\n", m->log.line);
        break;
    default:
        text_add(out, "functions %" PRIu32 "\n", m->details.functions_n);
        for (i = 0; i < m->details.functions_n; i++) {
            f = &m->functions[i];
            text_named(out, "fn", f->name, f->name_len, "");
            text_add(out, " returns %s params %u", text_types[f->returns], f->params_n);
            for (j = 0; j < f->params_n; j++)
                text_add(out, " %s", text_types[f->params[j]]);
            text_add(out, "\n");
        }
    }
}

#endif
