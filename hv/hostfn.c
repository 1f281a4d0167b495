/* Host functions. See hostfn.h. */
#include "hv/hostfn.h"

#include <stdint.h>
#include <string.h>

#include "hv/host.h"
#include "hv/hostcmd.h"
#include "hv/value.h"

/* An error for the guest, its text kept in `storage`. */
static int guest_error(struct msg_result *out, struct text *storage)
{
    *out = (struct msg_result){
        .is_error = true,
        .code = GUEST_ERROR_HOST_FUNCTION,
        .text = (const uint8_t *)storage->s,
        .text_len = (uint32_t)storage->len,
    };
    return 0;
}

static int wrong_arguments(const char *wanted, struct msg_result *out, struct text *storage)
{
    text_add(storage, "wrong arguments, wanted %s", wanted);
    return guest_error(out, storage);
}

static void set_scalar(struct msg_result *out, enum msg_type type, uint64_t bits)
{
    *out = (struct msg_result){.value = {.type = type, .bits = bits}};
}

static void set_bytes(struct msg_result *out, enum msg_type type, const struct text *storage)
{
    *out = (struct msg_result){
        .value = {.type = type, .data = (const uint8_t *)storage->s, .len = (uint32_t)storage->len},
    };
}

static int host_print(const struct host_functions *f, const struct msg_call *call, struct msg_result *out,
                      struct text *storage, struct err *e)
{
    int result;

    if (call->params_n != 1 || call->params[0].type != MSG_STRING)
        return wrong_arguments("HostPrint(string)", out, storage);
    result = console_write(f->console, call->params[0].data, call->params[0].len, e);
    if (result != 0)
        return result == CONSOLE_STOPPED ? HOSTFN_STOPPED : -1;
    set_scalar(out, MSG_INT, call->params[0].len);
    return 0;
}

static int host_time(const struct host_functions *f, const struct msg_call *call, struct msg_result *out,
                     struct text *storage, struct err *e)
{
    (void)f;
    (void)e;
    if (call->params_n != 0)
        return wrong_arguments("HostTime()", out, storage);
    set_scalar(out, MSG_ULONG, host_wall_clock());
    return 0;
}

static int host_random_bytes(const struct host_functions *f, const struct msg_call *call,
                             struct msg_result *out, struct text *storage, struct err *e)
{
    uint8_t chunk[256];
    uint64_t left;

    (void)f;
    if (call->params_n != 1 || call->params[0].type != MSG_UINT || call->params[0].bits > HOST_RANDOM_MAX)
        return wrong_arguments("HostRandom(uint), at most 65536", out, storage);
    for (left = call->params[0].bits; left != 0;) {
        size_t n = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);

        if (host_random(chunk, n, e) != 0)
            return -1;
        text_add_bytes(storage, (const char *)chunk, n);
        left -= n;
    }
    set_bytes(out, MSG_BYTES, storage);
    return 0;
}

static const struct {
    const char *name;
    int (*fn)(const struct host_functions *f, const struct msg_call *call, struct msg_result *out,
              struct text *storage, struct err *e);
} built_in[] = {
    {"HostPrint", host_print},
    {"HostTime", host_time},
    {"HostRandom", host_random_bytes},
};

#define BUILT_IN_N (sizeof(built_in) / sizeof(built_in[0]))

/* What the command wrote becomes a value of the type the guest expects. */
static int result_of_output(enum msg_type type, struct text *output, struct msg_result *out,
                            struct text *storage)
{
    struct text parsed = TEXT_EMPTY;
    struct msg_value v;
    struct err why;

    if (type == MSG_BYTES) {
        text_add_bytes(storage, output->s != NULL ? output->s : "", output->len);
        set_bytes(out, type, storage);
        return 0;
    }
    while (output->len != 0 && output->s[output->len - 1] == '\n')
        output->s[--output->len] = '\0';
    if (type == MSG_VOID) {
        set_scalar(out, type, 0);
        return 0;
    }
    if ((output->len != 0 && memchr(output->s, '\0', output->len) != NULL) ||
        value_parse_as("host-fn", type, output->s != NULL ? output->s : "", &v, &parsed, &why) != 0) {
        text_free(&parsed);
        text_add(storage, "the command's output is no %s", msg_type_name(type));
        return guest_error(out, storage);
    }
    if (type == MSG_STRING) {
        text_add_bytes(storage, (const char *)v.data, v.len);
        set_bytes(out, type, storage);
    } else {
        set_scalar(out, type, v.bits);
    }
    text_free(&parsed);
    return 0;
}

static int run_command(const struct host_functions *f, const struct host_command *c,
                       const struct msg_call *call, struct msg_result *out, struct text *storage)
{
    struct text input = TEXT_EMPTY, output = TEXT_EMPTY;
    struct err why;
    int result = 0;

    if (call->params_n > 1)
        return wrong_arguments("at most one", out, storage);
    if (call->params_n == 1 && call->params[0].type == MSG_BYTES)
        text_add_bytes(&input, (const char *)call->params[0].data, call->params[0].len);
    else if (call->params_n == 1)
        value_print(&call->params[0], &input);
    switch (hostcmd_run(c->command, (const uint8_t *)input.s, input.len, f->stop, &output, &why)) {
    case HOSTCMD_OK: result = result_of_output(call->returns, &output, out, storage); break;
    case HOSTCMD_FAILED:
        text_add(storage, "%.*s: ", (int)c->name_len, c->name);
        /* It quotes the command line, which need not be the UTF-8 that a guest is sent. */
        text_add_escaped(storage, why.text, strlen(why.text));
        result = guest_error(out, storage);
        break;
    case HOSTCMD_STOPPED: result = HOSTFN_STOPPED; break;
    }
    text_free(&input);
    text_free(&output);
    return result;
}

static bool has_name(const struct msg_call *call, const char *name, size_t len)
{
    return call->name_len == len && memcmp(call->name, name, len) == 0;
}

int hostfn_call(const struct host_functions *f, const struct msg_call *call, struct msg_result *out,
                struct text *storage, struct err *e)
{
    unsigned i;

    for (i = 0; i < BUILT_IN_N; i++)
        if (has_name(call, built_in[i].name, strlen(built_in[i].name)))
            return built_in[i].fn(f, call, out, storage, e);
    for (i = 0; i < f->commands_n; i++)
        if (has_name(call, f->commands[i].name, f->commands[i].name_len))
            return run_command(f, &f->commands[i], call, out, storage);
    text_add(storage, "no host function ");
    text_add_bytes(storage, (const char *)call->name, call->name_len);
    return guest_error(out, storage);
}

int hostfn_add(struct host_functions *f, const char *spec, struct err *e)
{
    const char *equals = strchr(spec, '=');
    size_t len = equals != NULL ? (size_t)(equals - spec) : 0;
    unsigned i;

    if (len == 0 || equals[1] == '\0')
        return err_usage(e, "--host-fn: not NAME=COMMAND (%s)", spec);
    for (i = 0; i < BUILT_IN_N; i++)
        if (strlen(built_in[i].name) == len && memcmp(built_in[i].name, spec, len) == 0)
            return err_usage(e, "--host-fn: %s is built in", built_in[i].name);
    for (i = 0; i < f->commands_n; i++)
        if (f->commands[i].name_len == len && memcmp(f->commands[i].name, spec, len) == 0)
            return err_usage(e, "--host-fn: %.*s given twice", (int)len, spec);
    if (f->commands_n == HOST_COMMANDS_MAX)
        return err_usage(e, "--host-fn: too many (at most %d)", HOST_COMMANDS_MAX);
    f->commands[f->commands_n++] =
        (struct host_command){.name = spec, .name_len = len, .command = equals + 1};
    return 0;
}
