/*
 * hv/serve: what a host does about a guest's stacks, on a struct vm with
 * memory and without a machine. The stacks are filled by hand, word by word;
 * messages are made with the codec, which has tests of its own.
 */
#include "hv/serve.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "mem/bytes.h"
#include "mem/gmem.h"
#include "mem/message.h"
#include "tests/tap.h"

#define IN_LEN  0x2000u
#define OUT_LEN 0x3000u
#define EMPTY   8u

static struct snapshot snap;
static struct vm vm;
static struct stop stop;
static struct console console, log_console;
static struct host_functions host;
static struct service service;
static int reader;
static struct err e;
static uint8_t before[IN_LEN + OUT_LEN];

static uint8_t *in(void)
{
    return vm.scratch.base;
}

static uint8_t *out(void)
{
    return vm.scratch.base + IN_LEN;
}

/* As vm_open does it, but for KVM. */
static void open_vm(void)
{
    const struct guest_kind *kind = guest_kind_at(0);
    struct plan_sizes sizes = layout_default_sizes();
    int fd[2];

    sizes.image_len = 0x1000;
    sizes.input_len = IN_LEN;
    sizes.output_len = OUT_LEN;
    snap = (struct snapshot){.kind = kind};
    if (layout_make(kind->rules, &sizes, &snap.plan, &e) != 0 || snap.plan.output_off != IN_LEN)
        abort();
    vm = (struct vm){.snap = &snap, .machine = MACHINE_CLOSED, .mem = gmem_new()};
    if (vm.mem == NULL || region_map(&vm.scratch, sizes.scratch_len, &e) != 0 ||
        gmem_add(vm.mem, layout_gpa(&snap.plan, AREA_SCRATCH, 0), sizes.scratch_len, vm.scratch.base, true,
                 &e) != 0 ||
        region_map(&vm.messages, IN_LEN + OUT_LEN, &e) != 0 || pipe2(fd, O_CLOEXEC) != 0 ||
        fcntl(fd[0], F_SETFL, O_NONBLOCK) != 0 || stop_open(&stop, &e) != 0)
        abort();
    reader = fd[0];
    console_init(&console, fd[1], &stop);
    console_init(&log_console, fd[1], &stop);
    host = (struct host_functions){.console = &console, .stop = &stop};
    service = (struct service){.host = &host, .log = &log_console, .log_filter = 5};
    e = (struct err){.text = ""};
}

static void close_vm(void)
{
    stop_close(&stop);
    close(reader);
    close(console.fd);
    gmem_free(vm.mem);
    region_unmap(&vm.scratch);
    region_unmap(&vm.messages);
}

static void empty_stacks(void)
{
    memset(in(), 0, IN_LEN + OUT_LEN);
    store_le64(in(), EMPTY);
    store_le64(out(), EMPTY);
}

/* Put one element on an empty output stack; the element's slot may be longer than its message. */
static void put(const uint8_t *message, size_t len, size_t slot)
{
    empty_stacks();
    memcpy(out() + EMPTY, message, len);
    store_le64(out() + EMPTY + slot, EMPTY);
    store_le64(out(), EMPTY + slot + 8);
}

static uint8_t message[OUT_LEN];

static size_t make_call(const char *name, bool to_host, const struct msg_value *v, unsigned n)
{
    struct msg_call c = {
        .name = (const uint8_t *)name,
        .name_len = (uint32_t)strlen(name),
        .to_host = to_host,
        .returns = MSG_INT,
        .params_n = n,
    };
    unsigned i;

    for (i = 0; i < n; i++)
        c.params[i] = v[i];
    return msg_write_call(&c, message, sizeof(message));
}

static size_t make_print(const char *text)
{
    const struct msg_value v = {
        .type = MSG_STRING, .data = (const uint8_t *)text, .len = (uint32_t)strlen(text)};

    return make_call("HostPrint", true, &v, 1);
}

static size_t make_log(uint8_t level, const char *text, const char *source, const char *file)
{
    const struct msg_log l = {
        .message = (const uint8_t *)text,
        .message_len = (uint32_t)strlen(text),
        .source = (const uint8_t *)source,
        .source_len = (uint32_t)strlen(source),
        .caller = (const uint8_t *)"caller",
        .caller_len = 6,
        .source_file = (const uint8_t *)file,
        .source_file_len = (uint32_t)strlen(file),
        .level = level,
        .line = 12,
    };

    return msg_write_log(&l, message, sizeof(message));
}

static size_t make_result(int32_t v)
{
    const struct msg_result r = {.value = {.type = MSG_INT, .bits = (uint64_t)(int64_t)v}};

    return msg_write_result(&r, message, sizeof(message));
}

static bool printed(const char *wanted)
{
    char got[8192];
    ssize_t n;

    console_flush(&console, &e);
    console_flush(&log_console, &e);
    n = read(reader, got, sizeof(got) - 1);
    got[n > 0 ? n : 0] = '\0';
    return CHECK_STR(got, wanted);
}

/* The one element on the input stack, read by hand. */
static bool answered(struct msg_result *r)
{
    uint64_t sp = load_le64(in());
    uint64_t len;

    if (!CHECK(sp >= 24 && sp <= IN_LEN) || !CHECK_EQ(load_le64(in() + sp - 8), EMPTY))
        return false;
    len = sp - 8 - EMPTY;
    return CHECK_EQ(load_le32(in() + EMPTY) + 4, len) &&
           CHECK_EQ(msg_read_result(in() + EMPTY, len, r), MSG_OK);
}

static bool is_error(const char *text)
{
    struct msg_result r;

    return answered(&r) && CHECK(r.is_error) && CHECK_EQ(r.code, 17) && CHECK_EQ(r.text_len, strlen(text)) &&
           CHECK(memcmp(r.text, text, r.text_len) == 0);
}

static bool output_is_zero(void)
{
    uint32_t i;

    for (i = 8; i < OUT_LEN; i++)
        if (out()[i] != 0)
            return false;
    return load_le64(out()) == EMPTY;
}

static void test_calls(void)
{
    struct msg_result r;
    size_t len = make_print("hello\n");

    tap_case("a host call is taken off the output stack, and its result put on the input stack");
    put(message, len, len);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
    CHECK(answered(&r) && !r.is_error && r.value.type == MSG_INT && r.value.bits == 6);
    CHECK(output_is_zero());
    printed("hello\n");

    tap_case("a slot may be longer than its message");
    put(message, len, len + 100);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
    CHECK(answered(&r) && r.value.bits == 6);
    CHECK(output_is_zero());
    printed("hello\n");

    tap_case("what lies below on either stack stays");
    empty_stacks();
    memset(out() + EMPTY, 0xaa, 40);
    store_le64(out() + EMPTY + 40, EMPTY);
    memcpy(out() + EMPTY + 48, message, len);
    store_le64(out() + EMPTY + 48 + len, EMPTY + 48);
    store_le64(out(), EMPTY + 48 + len + 8);
    memset(in() + EMPTY, 0xbb, 24);
    store_le64(in() + EMPTY + 24, EMPTY);
    store_le64(in(), EMPTY + 32);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
    CHECK_EQ(load_le64(out()), EMPTY + 48);
    CHECK_EQ(out()[EMPTY], 0xaa);
    CHECK_EQ(load_le64(out() + EMPTY + 40), EMPTY);
    CHECK_EQ(out()[EMPTY + 48], 0);
    CHECK(load_le64(in()) > EMPTY + 32);
    CHECK_EQ(in()[EMPTY + 23], 0xbb);
    CHECK_EQ(load_le64(in() + load_le64(in()) - 8), EMPTY + 32);
    printed("hello\n");

    tap_case("a message may end with the stack's last byte but its word");
    empty_stacks();
    memcpy(out() + OUT_LEN - 8 - len, message, len);
    store_le64(out() + OUT_LEN - 8, OUT_LEN - 8 - len);
    store_le64(out(), OUT_LEN);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
    CHECK(answered(&r) && r.value.bits == 6);
    CHECK_EQ(load_le64(out()), OUT_LEN - 8 - len);
    printed("hello\n");

    tap_case("a function that fails is an error for the guest, and the guest goes on");
    len = make_call("nobody", true, NULL, 0);
    put(message, len, len);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
    is_error("no host function nobody");
    CHECK_STR(e.text, "");
}

static void test_room(void)
{
    const struct msg_value v = {.type = MSG_UINT, .bits = 65536};
    size_t len = make_call("HostRandom", true, &v, 1), error_len, room;
    static const char too_large[] = "result too large";
    const struct msg_result error = {
        .is_error = true, .code = 17, .text = (const uint8_t *)too_large, .text_len = sizeof(too_large) - 1};

    tap_case("a result that does not fit the input stack becomes an error that says so");
    put(message, len, len);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
    is_error("result too large");

    tap_case("a small result that no longer fits beside what is there as well");
    len = make_print("");
    error_len = msg_result_len(&error);
    put(message, len, len);
    store_le64(in(), IN_LEN - 8 - 40);
    room = 40;
    CHECK(error_len > room);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_BROKEN);
    CHECK_EQ(e.status, 139);
    CHECK_STR(e.text, "guest: broken protocol: no room for a result on the input stack");

    tap_case("the error fits to the last byte, and breaks the protocol by one byte less");
    {
        const struct msg_value large = {.type = MSG_UINT, .bits = 4000};
        uint64_t sp = IN_LEN - 8 - error_len;

        len = make_call("HostRandom", true, &large, 1);
        put(message, len, len);
        store_le64(in(), sp);
        CHECK_EQ(serve_call(&vm, &service, &e), SERVED_ON);
        CHECK_EQ(load_le64(in()), IN_LEN);
        CHECK_EQ(load_le64(in() + IN_LEN - 8), sp);
        put(message, len, len);
        store_le64(in(), sp + 1);
        CHECK_EQ(serve_call(&vm, &service, &e), SERVED_BROKEN);
        CHECK_HAS(e.text, "no room for a result");
    }

    tap_case("an input stack that the guest has spoilt breaks the protocol");
    {
        static const uint64_t sps[] = {0, 7, IN_LEN + 1, 0x100000008, UINT64_MAX, (uint64_t)1 << 63};
        unsigned i;

        len = make_print("");
        for (i = 0; i < sizeof(sps) / sizeof(sps[0]); i++) {
            put(message, len, len);
            store_le64(in(), sps[i]);
            e = (struct err){.text = ""};
            CHECK_EQ(serve_call(&vm, &service, &e), SERVED_BROKEN);
            CHECK_EQ(e.status, 139);
            CHECK_STR(e.text, "guest: broken protocol: input stack: sp");
        }
    }
    printed("");
}

/* The output stack as it is breaks the protocol at every port, and is not touched by that. */
static void check_broken(const char *what)
{
    struct msg_result r = {.code = 4711};
    char wanted[100];
    unsigned port;

    snprintf(wanted, sizeof(wanted), "guest: broken protocol: output stack: %s", what);
    memcpy(before, in(), sizeof(before));
    for (port = 0; port < 3; port++) {
        e = (struct err){.text = ""};
        CHECK_EQ(port == 0   ? serve_call(&vm, &service, &e)
                 : port == 1 ? serve_log(&vm, &service, &e)
                             : serve_result(&vm, &r, &e),
                 SERVED_BROKEN);
        CHECK_EQ(e.status, 139);
        CHECK_STR(e.text, wanted);
        CHECK_EQ(r.code, 4711);
        CHECK(memcmp(before, in(), sizeof(before)) == 0);
    }
}

static void test_hostile(void)
{
    static const uint64_t sps[] = {
        0, 1, 7, 8, 15, OUT_LEN + 1, OUT_LEN + 8, 0x100000010, (uint64_t)1 << 63, UINT64_MAX};
    size_t len = make_print("x"), sp = EMPTY + len + 8;
    const uint64_t backs[] = {0, 7, sp - 15, sp - 8, sp, sp + 1, OUT_LEN, 0x100000008, UINT64_MAX};
    const uint32_t prefixes[] = {(uint32_t)len - 3, (uint32_t)len, OUT_LEN,   0x7fffffff,
                                 0xfffffffb,        0xfffffffc,    0xffffffff};
    unsigned i;

    tap_case("a stack pointer that is not inside the output stack breaks the protocol");
    for (i = 0; i < sizeof(sps) / sizeof(sps[0]); i++) {
        put(message, len, len);
        store_le64(out(), sps[i]);
        check_broken("sp");
    }

    tap_case("so does a back pointer to where no element can start");
    for (i = 0; i < sizeof(backs) / sizeof(backs[0]); i++) {
        put(message, len, len);
        store_le64(out() + sp - 8, backs[i]);
        check_broken("back-pointer");
    }

    tap_case("so does a message longer than its element");
    for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        put(message, len, len);
        store_le32(out() + EMPTY, prefixes[i]);
        check_broken("prefix");
    }
    printed("");
}

static void test_messages(void)
{
    struct msg_result r = {.code = 4711};
    size_t len;

    tap_case("a message that is not what its port is for breaks the protocol, and stays where it is");
    len = make_result(1);
    put(message, len, len);
    memcpy(before, in(), sizeof(before));
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_BROKEN);
    CHECK_EQ(e.status, 139);
    CHECK_HAS(e.text, "guest: broken protocol: call of a host function: ");
    CHECK_EQ(serve_log(&vm, &service, &e), SERVED_BROKEN);
    CHECK_HAS(e.text, "guest: broken protocol: log record: ");
    CHECK(memcmp(before, in(), sizeof(before)) == 0);
    len = make_log(4, "m", "s", "f");
    put(message, len, len);
    CHECK_EQ(serve_result(&vm, &r, &e), SERVED_BROKEN);
    CHECK_HAS(e.text, "guest: broken protocol: result of a call: ");
    CHECK_EQ(r.code, 4711);

    tap_case("a call that is marked as one of a guest function is not run");
    {
        const struct msg_value v = {.type = MSG_STRING, .data = (const uint8_t *)"no", .len = 2};

        len = make_call("HostPrint", false, &v, 1);
        put(message, len, len);
        CHECK_EQ(serve_call(&vm, &service, &e), SERVED_BROKEN);
        CHECK_STR(e.text,
                  "guest: broken protocol: a call of a host function is marked as one of a guest function");
        CHECK_EQ(load_le64(in()), EMPTY);
        printed("");
    }

    tap_case("a result is read from a copy that the guest's memory has no part in");
    len = make_result(42);
    put(message, len, len);
    CHECK_EQ(serve_result(&vm, &r, &e), SERVED_ON);
    memset(in(), 0xff, IN_LEN + OUT_LEN);
    CHECK(!r.is_error && r.value.type == MSG_INT);
    CHECK_EQ(r.value.bits, 42);
    {
        const struct msg_result s = {
            .value = {.type = MSG_STRING, .data = (const uint8_t *)"text", .len = 4}};

        len = msg_write_result(&s, message, sizeof(message));
        put(message, len, len);
        CHECK_EQ(serve_result(&vm, &r, &e), SERVED_ON);
        memset(in(), 0xff, IN_LEN + OUT_LEN);
        CHECK(r.value.len == 4 && memcmp(r.value.data, "text", 4) == 0);
        CHECK(r.value.data >= vm.messages.base && r.value.data + 4 <= vm.messages.base + OUT_LEN);
    }
}

/* Each level, with a filter: the line, or nothing. */
static void check_log(uint8_t level, unsigned filter, const char *line)
{
    size_t len = make_log(level, "message", "source", "");

    service.log_filter = filter;
    put(message, len, len);
    CHECK_EQ(serve_log(&vm, &service, &e), SERVED_ON);
    CHECK(output_is_zero());
    printed(line);
    service.log_filter = 5;
}

static void test_logs(void)
{
    static const char *const names[] = {"trace", "debug", "info", "warning", "error", "critical", "trace"};
    static const unsigned needed[] = {5, 4, 3, 2, 1, 1, 5};
    unsigned level, filter;
    char line[100];
    size_t len;

    tap_case("a log record is one line, if its level is wanted, and is taken off the stack in any case");
    for (level = 0; level <= 6; level++) {
        snprintf(line, sizeof(line), "guest: %s: source: message\n", names[level]);
        for (filter = 0; filter <= 5; filter++)
            check_log((uint8_t)level, filter, filter >= needed[level] ? line : "");
    }

    tap_case("a log record names its place, and what a terminal would obey is escaped");
    len = make_log(3, "two\nlines\x1b[2J\xc3\xa9\\", "so\rurce", "dir/fi\tle.c");
    put(message, len, len);
    CHECK_EQ(serve_log(&vm, &service, &e), SERVED_ON);
    printed("guest: warning: so\\x0durce: two\\x0alines\\x1b[2J\\xc3\\xa9\\\\ (dir/fi\\x09le.c:12)\n");
    len = make_log(4, "", "", "");
    put(message, len, len);
    CHECK_EQ(serve_log(&vm, &service, &e), SERVED_ON);
    printed("guest: error\n");
}

static void test_push(void)
{
    static const uint8_t texts[OUT_LEN] = "not overwritten";
    static const uint32_t texts_len[] = {0, 1, 15, 1000, OUT_LEN - 128};
    uint8_t m[64] = {60};
    bool fits = false;
    uint64_t cap;
    uint8_t *buffer = serve_buffer(&vm, &cap);
    unsigned i;

    tap_case("messages are made in a buffer of the input stack's size, behind the one that was read");
    CHECK_EQ(cap, IN_LEN);
    for (i = 0; i < sizeof(texts_len) / sizeof(texts_len[0]); i++) {
        struct msg_result r = {.value = {.type = MSG_BYTES, .data = texts, .len = texts_len[i]}};
        size_t len = msg_write_result(&r, message, sizeof(message));

        put(message, len, len);
        if (!CHECK_EQ(serve_result(&vm, &r, &e), SERVED_ON))
            break;
        buffer = serve_buffer(&vm, &cap);
        CHECK(buffer >= r.value.data + r.value.len && buffer < vm.messages.base + len + 8);
        CHECK(buffer + cap <= vm.messages.base + vm.messages.len);
        memset(buffer, 0xff, cap);
        CHECK(memcmp(r.value.data, texts, texts_len[i]) == 0);
    }

    tap_case("a push says whether there was room, and whether the guest has spoilt the stack");
    empty_stacks();
    CHECK_EQ(serve_push(&vm, m, sizeof(m), &fits, &e), SERVED_ON);
    CHECK(fits);
    CHECK_EQ(load_le64(in()), EMPTY + 72);
    CHECK_EQ(load_le64(in() + EMPTY + 64), EMPTY);
    store_le64(in(), IN_LEN - 71);
    CHECK_EQ(serve_push(&vm, m, sizeof(m), &fits, &e), SERVED_ON);
    CHECK(!fits);
    CHECK_EQ(load_le64(in()), IN_LEN - 71);
    store_le64(in(), IN_LEN - 72);
    CHECK_EQ(serve_push(&vm, m, sizeof(m), &fits, &e), SERVED_ON);
    CHECK(fits);
    store_le64(in(), 7);
    CHECK_EQ(serve_push(&vm, m, sizeof(m), &fits, &e), SERVED_BROKEN);

    tap_case("a reset leaves 8 and zeroes, however the stacks were left");
    {
        static const uint64_t sps[] = {8, 100, IN_LEN, 0, 7, IN_LEN + OUT_LEN, UINT64_MAX};

        for (i = 0; i < sizeof(sps) / sizeof(sps[0]); i++) {
            uint64_t used = sps[i] >= 8 && sps[i] <= IN_LEN ? sps[i] : IN_LEN, at;

            memset(in(), 0, IN_LEN + OUT_LEN);
            memset(in() + 8, 0xff, used - 8);
            memset(out() + 8, 0xff, used - 8);
            if (used == IN_LEN && sps[i] != IN_LEN)
                memset(out() + 8, 0xff, OUT_LEN - 8);
            in()[IN_LEN + OUT_LEN] = 0x77;
            store_le64(in(), sps[i]);
            store_le64(out(), sps[i]);
            serve_reset_stacks(&vm);
            CHECK_EQ(load_le64(in()), EMPTY);
            for (at = 8; at < IN_LEN && tap_ok; at++)
                CHECK_EQ(in()[at], 0);
            CHECK(output_is_zero());
            CHECK_EQ(in()[IN_LEN + OUT_LEN], 0x77);
        }
    }
}

static void test_ends(void)
{
    size_t len;

    tap_case("a stop while a host function runs is no answer");
    len = make_call("f", true, NULL, 0);
    CHECK(hostfn_add(&host, "f=sleep 60", &e) == 0);
    put(message, len, len);
    CHECK(stop_arm(&stop, 30000000, &e) == 0);
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_STOPPED);
    CHECK_EQ(load_le64(in()), EMPTY);
    stop_disarm(&stop);
    host.commands_n = 0;

    tap_case("output and logs that cannot be written are the host's failure");
    close(reader);
    reader = dup(console.fd);
    len = make_print("line\n");
    put(message, len, len);
    e = (struct err){.text = ""};
    CHECK_EQ(serve_call(&vm, &service, &e), SERVED_FAILED);
    CHECK_EQ(e.status, 125);
    len = make_log(4, "m", "s", "");
    put(message, len, len);
    e = (struct err){.text = ""};
    CHECK_EQ(serve_log(&vm, &service, &e), SERVED_FAILED);
    CHECK_EQ(e.status, 125);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    open_vm();
    test_calls();
    test_room();
    test_hostile();
    test_messages();
    test_logs();
    test_push();
    test_ends();
    close_vm();
    return tap_done();
}
