/* Requests of a client. See request.h. */
#include "hv/request.h"

#include <string.h>

#include "hv/value.h"

static int bad_type(const char *name, const char *wanted, struct err *e)
{
    return err_usage(e, "request: %s: not %s", name, wanted);
}

/* Members that nobody asked for are mistakes: a misspelt "restore" would be believed. */
static int check_members(const struct jsonin *j, const struct jsonin_value *object, const char *const *known,
                         struct err *e)
{
    const struct jsonin_value *v = NULL;
    unsigned i;

    while ((v = jsonin_next(j, object, v)) != NULL) {
        for (i = 0; known[i] != NULL && !jsonin_is_key(v, known[i]); i++)
            ;
        if (known[i] == NULL)
            return err_usage(e, "request: unknown member %s", v->key);
    }
    return 0;
}

static bool find_type(const struct jsonin_value *v, enum msg_type *out)
{
    unsigned i;

    if (v == NULL || v->type != JSONIN_STRING)
        return false;
    for (i = 0; i < MSG_VOID; i++) {
        const char *name = msg_type_name((enum msg_type)i);

        if (v->len == strlen(name) && memcmp(v->s, name, v->len) == 0) {
            *out = (enum msg_type)i;
            return true;
        }
    }
    return false;
}

/* The bytes take the place of their digits. */
static bool read_bytes(const struct jsonin_value *v, struct msg_value *out)
{
    size_t i;

    if (v->type != JSONIN_STRING || v->len % 2 != 0)
        return false;
    for (i = 0; i < v->len / 2; i++) {
        int high = text_hex_digit(v->s[2 * i]), low = text_hex_digit(v->s[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        v->s[i] = (char)(high << 4 | low);
    }
    *out =
        (struct msg_value){.type = MSG_BYTES, .data = (const uint8_t *)v->s, .len = (uint32_t)(v->len / 2)};
    return true;
}

/* As text of the value's type. JSON allows fewer forms of a number than --arg does, and they mean the same. */
static bool read_number(const struct jsonin_value *v, enum msg_type type, struct msg_value *out)
{
    bool may_be_text = type != MSG_INT && type != MSG_UINT;
    struct text unused = TEXT_EMPTY;
    struct err why;

    if (v->type != JSONIN_NUMBER && !(may_be_text && v->type == JSONIN_STRING && strlen(v->s) == v->len))
        return false;
    return value_parse_as("args", type, v->s, out, &unused, &why) == 0;
}

static bool read_value(const struct jsonin_value *v, enum msg_type type, struct msg_value *out)
{
    switch (type) {
    case MSG_INT:
    case MSG_UINT:
    case MSG_LONG:
    case MSG_ULONG:
    case MSG_FLOAT:
    case MSG_DOUBLE: return read_number(v, type, out);
    case MSG_BOOL:
        *out = (struct msg_value){.type = type, .bits = v->type == JSONIN_TRUE};
        return v->type == JSONIN_TRUE || v->type == JSONIN_FALSE;
    case MSG_STRING:
        *out = (struct msg_value){.type = type, .data = (const uint8_t *)v->s, .len = (uint32_t)v->len};
        return v->type == JSONIN_STRING;
    case MSG_BYTES: return read_bytes(v, out);
    case MSG_VOID: break;
    }
    return false;
}

static int read_arg(const struct jsonin *j, const struct jsonin_value *arg, unsigned i, struct msg_value *out,
                    struct err *e)
{
    static const char *const known[] = {"type", "value", NULL};
    const struct jsonin_value *value;
    enum msg_type type;

    if (arg->type != JSONIN_OBJECT)
        return err_usage(e, "request: args[%u]: not an object", i);
    if (check_members(j, arg, known, e) != 0)
        return -1;
    if (!find_type(jsonin_member(j, arg, "type"), &type)) {
        err_usage(e, "request: args[%u]: no type that there is", i);
        return err_hint(e, "types: int uint long ulong float double bool string bytes");
    }
    value = jsonin_member(j, arg, "value");
    if (value == NULL)
        return err_usage(e, "request: args[%u]: no value", i);
    if (!read_value(value, type, out))
        return err_usage(e, "request: args[%u]: not a value of type %s", i, msg_type_name(type));
    return 0;
}

static int read_args(const struct jsonin *j, const struct jsonin_value *args, struct msg_call *call,
                     struct err *e)
{
    const struct jsonin_value *arg = NULL;
    unsigned i;

    if (args->type != JSONIN_ARRAY)
        return bad_type("args", "an array", e);
    for (i = 0; (arg = jsonin_next(j, args, arg)) != NULL; i++) {
        if (i == MSG_PARAMS_MAX)
            return err_usage(e, "request: args: too many (at most %d)", MSG_PARAMS_MAX);
        if (read_arg(j, arg, i, &call->params[i], e) != 0)
            return -1;
    }
    call->params_n = i;
    return 0;
}

static int read_call(const struct jsonin *j, const struct jsonin_value *object, struct request *out,
                     struct err *e)
{
    const struct jsonin_value *call = jsonin_member(j, object, "call"),
                              *args = jsonin_member(j, object, "args"),
                              *restore = jsonin_member(j, object, "restore"),
                              *snapshot = jsonin_member(j, object, "snapshot");

    if (call == NULL)
        return err_usage(e, "request: no call");
    if (call->type != JSONIN_STRING)
        return bad_type("call", "a string", e);
    if (restore != NULL && restore->type != JSONIN_TRUE && restore->type != JSONIN_FALSE)
        return bad_type("restore", "true or false", e);
    if (snapshot != NULL && snapshot->type != JSONIN_STRING)
        return bad_type("snapshot", "a string", e);
    out->snapshot = snapshot;
    out->call.name = (const uint8_t *)call->s;
    out->call.name_len = (uint32_t)call->len;
    out->restore = restore == NULL || restore->type == JSONIN_TRUE;
    return args != NULL ? read_args(j, args, &out->call, e) : 0;
}

int request_read(char *line, size_t len, struct request *out, struct err *e)
{
    static const char *const known[] = {"call", "args", "id", "restore", "snapshot", NULL};
    const struct jsonin_value *object = out->json.values, *id;
    enum jsonin_status status;
    size_t at;

    out->id = NULL;
    out->call = (struct msg_call){.params_n = 0};
    if (len > UINT32_MAX)
        return err_usage(e, "request: too long (%zu bytes)", len);
    status = jsonin_read(line, len, &out->json, &at);
    if (status != JSONIN_OK)
        return err_usage(e, "request: %s (byte %zu)", jsonin_status_text(status), at + 1);
    if (object->type != JSONIN_OBJECT)
        return err_usage(e, "request: not an object");
    id = jsonin_member(&out->json, object, "id");
    if (id != NULL && (id->type == JSONIN_ARRAY || id->type == JSONIN_OBJECT))
        return bad_type("id", "a scalar", e);
    out->id = id;
    if (check_members(&out->json, object, known, e) != 0)
        return -1;
    return read_call(&out->json, object, out, e);
}

void request_add_id(const struct request *r, struct text *out)
{
    const struct jsonin_value *id = r->id;

    switch (id != NULL ? id->type : JSONIN_NULL) {
    case JSONIN_NUMBER: text_add_bytes(out, id->s, id->len); break;
    case JSONIN_STRING: text_add_json(out, id->s, id->len); break;
    case JSONIN_FALSE: text_add(out, "false"); break;
    case JSONIN_TRUE: text_add(out, "true"); break;
    case JSONIN_NULL:
    case JSONIN_ARRAY:
    case JSONIN_OBJECT: text_add(out, "null"); break;
    }
}
