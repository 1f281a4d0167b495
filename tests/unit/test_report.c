/* hv/report: what a user and a program hear of each outcome; whatever the guest said, lines stay lines and
 * JSON JSON. */
#include "hv/report.h"

#include <stdlib.h>

#include "hv/run.h"
#include "tests/plan_check.h"
#include "tests/tap.h"
#include "tests/unit/json_valid.h"

static struct text text;

static const char *text_of(const struct outcome *o)
{
    text_free(&text);
    text_add(&text, "%s", "");
    report_text(o, &text);
    return text.s;
}

/* Of a run without calls. Checks that it is one line of JSON. */
static const char *json_of(const struct outcome *o)
{
    const struct text no_calls = TEXT_EMPTY;

    text_free(&text);
    report_json(o, &no_calls, &text);
    CHECK(json_valid(text.s, text.len));
    CHECK(strchr(text.s, '\n') == text.s + text.len - 1);
    return text.s;
}

static unsigned lines(const char *s)
{
    unsigned n = 0;

    for (; *s != '\0'; s++)
        n += *s == '\n';
    return n;
}

static struct outcome faulted(unsigned digits)
{
    struct outcome o = {
        .reason = REASON_FAULTED,
        .status = STATUS_FAULTED,
        .kind = digits == 16 ? "amd64" : "i686",
        .registers = REGISTERS_SHOWN,
        .last_exit = {.kind = EXIT_SHUTDOWN},
        .exits_n = 12,
        .ran_ns = 3456789,
        .addr_digits = digits,
    };

    err_set(&o.why, STATUS_FAULTED, "guest: faulted: triple fault");
    o.regs = (struct cpu_regs){.rip = 0x401000,
                               .rsp = 0xffffefc8,
                               .rbp = 3,
                               .rflags = 0x246,
                               .rax = 0xa,
                               .rbx = 0xb,
                               .rcx = 0xc,
                               .rdx = 0xd,
                               .rsi = 0x51,
                               .rdi = 0xd1,
                               .r8 = 0x88,
                               .r9 = 0x99,
                               .r10 = 0x1010,
                               .r11 = 0x1111,
                               .r12 = 0x1212,
                               .r13 = 0x1313,
                               .r14 = 0x1414,
                               .r15 = 0x1515};
    o.sregs.cr0 = 0x80010011;
    o.sregs.cr2 = 0xdeadb000;
    o.sregs.cr3 = 0xfedc0000;
    o.sregs.cr4 = 0x20;
    o.sregs.cs.selector = 8;
    return o;
}

static void test_ended(void)
{
    struct outcome o = {.reason = REASON_ENDED,
                        .status = STATUS_OK,
                        .kind = "i686",
                        .exits_n = 7,
                        .ran_ns = 1999,
                        .last_exit = {.kind = EXIT_OUT, .port = 0x6c, .width = 4, .value = 3, .count = 1},
                        .addr_digits = 8};
    const char *j;

    tap_case("a guest that ended by itself is not talked about, and reported in full");
    CHECK_STR(text_of(&o), "");
    j = json_of(&o);
    CHECK_STR(json_member(j, "version"), "1");
    CHECK_STR(json_member(j, "status"), "0");
    CHECK_STR(json_member(j, "reason"), "\"ended\"");
    CHECK_STR(json_member(j, "kind"), "\"i686\"");
    CHECK_STR(json_member(j, "last_exit"), "\"out port 0x6c (108), 4 bytes, value 0x3\"");
    CHECK_STR(json_member(j, "exits"), "7");
    CHECK_STR(json_member(j, "ran_us"), "1");
    CHECK_STR(json_member(j, "message"), "");
    CHECK_STR(json_member(j, "abort"), "");
    CHECK_STR(json_member(j, "registers"), "");
    CHECK_STR(json_member(j, "hint"), "");

    tap_case("kind and last exit are left out while there are none");
    o.kind = NULL;
    o.exits_n = 0;
    j = json_of(&o);
    CHECK_STR(json_member(j, "kind"), "");
    CHECK_STR(json_member(j, "last_exit"), "");
}

static struct outcome aborted(const char *s, size_t len)
{
    struct abort_bytes bytes = {.n = len};
    struct outcome o = {
        .reason = REASON_ABORTED, .status = STATUS_ABORTED, .kind = "amd64", .addr_digits = 16};

    memcpy(bytes.bytes, s, len);
    abort_decode(&bytes, &o.abort);
    return o;
}

static void test_aborted(void)
{
    static const char hostile[] = "\x01\nvmm: all is well\n\033[2J\"},{\"\\\0\xff\xc0\xaf";
    struct outcome o = aborted("\x0f\x0ehi", 4);
    const char *j;

    tap_case("an abort tells code, exception and text by number and name");
    CHECK_STR(text_of(&o), "vmm: guest: aborted: code 15 (guest error), exception 14 (page fault): hi\n");
    j = json_of(&o);
    CHECK_STR(json_member(j, "status"), "134");
    CHECK_STR(json_member(j, "reason"), "\"aborted\"");
    j = json_member(j, "abort");
    CHECK_STR(json_member(j, "code"), "15");
    CHECK_STR(json_member(j, "name"), "\"guest error\"");
    CHECK_STR(json_member(j, "exception"), "14");
    CHECK_STR(json_member(j, "exception_name"), "\"page fault\"");
    CHECK_STR(json_member(j, "text"), "\"hi\"");

    tap_case("without exception or text neither is mentioned");
    o = aborted("\x0d", 1);
    CHECK_STR(text_of(&o), "vmm: guest: aborted: code 13 (out of memory)\n");
    j = json_member(json_of(&o), "abort");
    CHECK_STR(json_member(j, "exception"), "");
    CHECK_STR(json_member(j, "exception_name"), "");
    CHECK_STR(json_member(j, "text"), "\"\"");
    CHECK_STR(json_member(json_of(&o), "message"), "");

    tap_case("a hostile abort text cannot forge a line, move the cursor or break the JSON");
    o = aborted(hostile, sizeof(hostile) - 1);
    CHECK_EQ(lines(text_of(&o)), 1);
    CHECK(strchr(text_of(&o), 033) == NULL);
    CHECK_HAS(text_of(&o),
              "exception 10 (invalid TSS): vmm: all is well\\x0a\\x1b[2J\"},{\"\\\\\\x00\\xff\\xc0\\xaf");
    j = json_member(json_of(&o), "abort");
    CHECK_STR(json_member(j, "text"),
              "\"vmm: all is well\\u000a\\u001b[2J\\\"},{\\\"\\\\\\u0000\\ufffd\\ufffd\\ufffd\"");
}

static void test_registers(void)
{
    struct outcome o = faulted(8);
    const char *j;

    tap_case("a fault of a 32-bit guest shows its registers, and no more, eight digits wide");
    CHECK_STR(text_of(&o), "vmm: guest: faulted: triple fault\n"
                           "   eip 00401000  esp ffffefc8  ebp 00000003  efl 00000246  eax 0000000a\n"
                           "   ebx 0000000b  ecx 0000000c  edx 0000000d  esi 00000051  edi 000000d1\n"
                           "   cr0 80010011  cr2 deadb000  cr3 fedc0000  cr4 00000020   cs 00000008\n"
                           "  last exit: triple fault (12 in all)\n");
    j = json_of(&o);
    CHECK_STR(json_member(j, "status"), "139");
    CHECK_STR(json_member(j, "reason"), "\"faulted\"");
    CHECK_STR(json_member(j, "message"), "\"guest: faulted: triple fault\"");
    CHECK_STR(json_member(j, "ran_us"), "3456");
    j = json_member(j, "registers");
    CHECK_STR(json_member(j, "eip"), "\"0x401000\"");
    CHECK_STR(json_member(j, "esp"), "\"0xffffefc8\"");
    CHECK_STR(json_member(j, "edi"), "\"0xd1\"");
    CHECK_STR(json_member(j, "cr2"), "\"0xdeadb000\"");
    CHECK_STR(json_member(j, "cs"), "\"0x8\"");
    CHECK_STR(json_member(j, "r8"), "");
    CHECK_STR(json_member(j, "rip"), "");

    tap_case("a 64-bit guest has eight registers more, sixteen digits wide");
    o = faulted(16);
    CHECK_EQ(lines(text_of(&o)), 1 + 6 + 1);
    CHECK_HAS(text_of(&o),
              "   rip 0000000000401000  rsp 00000000ffffefc8  rbp 0000000000000003  rfl 0000000000000246\n");
    CHECK_HAS(text_of(&o),
              "   r14 0000000000001414  r15 0000000000001515  cr0 0000000080010011  cr2 00000000deadb000\n");
    CHECK_HAS(text_of(&o),
              "   cr3 00000000fedc0000  cr4 0000000000000020   cs 0000000000000008\n  last exit");
    j = json_member(json_of(&o), "registers");
    CHECK_STR(json_member(j, "rip"), "\"0x401000\"");
    CHECK_STR(json_member(j, "r8"), "\"0x88\"");
    CHECK_STR(json_member(j, "r15"), "\"0x1515\"");
    CHECK_STR(json_member(j, "cr4"), "\"0x20\"");
    CHECK_STR(json_member(j, "eip"), "");

    tap_case("registers that KVM reset are said to be lost, and null");
    o.registers = REGISTERS_RESET_BY_KVM;
    CHECK_STR(text_of(&o), "vmm: guest: faulted: triple fault\n"
                           "  registers: lost, KVM reset them at the shutdown\n"
                           "  last exit: triple fault (12 in all)\n");
    CHECK_STR(json_member(json_of(&o), "registers"), "null");

    tap_case("without a last exit there is none");
    o.exits_n = 0;
    CHECK_HAS(text_of(&o), "  last exit: none (0 in all)\n");

    tap_case("without registers neither they nor the last exit are on stderr");
    o.registers = REGISTERS_NONE;
    CHECK_STR(text_of(&o), "vmm: guest: faulted: triple fault\n");
    CHECK_STR(json_member(json_of(&o), "registers"), "");
}

static void test_errors(void)
{
    struct err e;
    struct outcome o;
    const char *j;

    tap_case("an error is one line, and its hint another");
    err_set(&e, STATUS_IMAGE, "g.elf: not an ELF file");
    o = outcome_of_error(&e);
    CHECK_EQ(o.reason, REASON_ERROR);
    CHECK_EQ(o.status, STATUS_IMAGE);
    CHECK_STR(text_of(&o), "vmm: g.elf: not an ELF file\n");
    err_hint(&e, "give it an image");
    o = outcome_of_error(&e);
    CHECK_STR(text_of(&o), "vmm: g.elf: not an ELF file\nhint: give it an image\n");
    j = json_of(&o);
    CHECK_STR(json_member(j, "status"), "126");
    CHECK_STR(json_member(j, "reason"), "\"error\"");
    CHECK_STR(json_member(j, "message"), "\"g.elf: not an ELF file\"");
    CHECK_STR(json_member(j, "hint"), "\"give it an image\"");
    CHECK_STR(json_member(j, "exits"), "0");

    tap_case("a host that cannot run the guest has a reason of its own");
    err_set(&e, STATUS_UNSUPPORTED, "/dev/kvm: cannot open");
    o = outcome_of_error(&e);
    CHECK_EQ(o.reason, REASON_UNSUPPORTED);
    CHECK_STR(json_member(json_of(&o), "status"), "77");
    CHECK_STR(json_member(json_of(&o), "reason"), "\"unsupported\"");
    CHECK_STR(json_member(json_of(&o), "hint"), "");

    tap_case("a time limit and a signal have theirs");
    err_set(&o.why, STATUS_TIMEOUT, "guest: time limit");
    o.reason = REASON_TIMEOUT;
    o.status = STATUS_TIMEOUT;
    CHECK_STR(json_member(json_of(&o), "reason"), "\"timeout\"");
    CHECK_STR(json_member(json_of(&o), "status"), "124");
    o.reason = REASON_SIGNAL;
    o.status = STATUS_INTERRUPTED;
    CHECK_STR(json_member(json_of(&o), "reason"), "\"signal\"");
    CHECK_STR(json_member(json_of(&o), "status"), "130");
    CHECK_STR(json_member(json_of(&o), "message"), "\"guest: time limit\"");

    tap_case("an image's name in any bytes cannot break the lines or the JSON");
    err_set(&e, STATUS_NOT_FOUND, "%s: cannot open", "a\nb\033]0;x\007\"\\\xff\xfe");
    o = outcome_of_error(&e);
    CHECK_EQ(lines(text_of(&o)), 1);
    CHECK(strchr(text_of(&o), 033) == NULL && strchr(text_of(&o), 7) == NULL);
    CHECK_STR(json_member(json_of(&o), "message"), "\"a?b?]0;x?\\\"\\\\\\ufffd\\ufffd: cannot open\"");
}

static void test_calls(void)
{
    static const uint8_t hostile[] = {'a', '"', '\n', 0, 0xff};
    struct outcome o = {.reason = REASON_CALL_ERROR, .status = STATUS_CALL_ERROR, .kind = "i686"};
    const struct msg_result value = {.value = {.type = MSG_INT, .bits = 42}};
    const struct msg_result error = {.is_error = true, .code = 7, .text = hostile, .text_len = 5};
    struct text calls = TEXT_EMPTY;
    const char *j;

    tap_case("a call is told with its name and its result, or its error's code and text, whatever bytes "
             "these are");
    report_call("Add\"\n", &value, &calls);
    CHECK(json_valid(calls.s, calls.len));
    CHECK_STR(json_member(calls.s, "name"), "\"Add\\\"\\u000a\"");
    CHECK_HAS(json_member(calls.s, "result"), "42");
    CHECK_STR(json_member(calls.s, "error"), "");
    text_free(&calls);
    report_call("f", &error, &calls);
    CHECK(json_valid(calls.s, calls.len));
    CHECK_STR(json_member(calls.s, "result"), "");
    CHECK_STR(json_member(json_member(calls.s, "error"), "code"), "7");
    CHECK_STR(json_member(json_member(calls.s, "error"), "message"), "\"a\\\"\\u000a\\u0000\\ufffd\"");

    tap_case("the report has the calls in an array, and no array without calls");
    text_add(&calls, ",");
    report_call("g", &value, &calls);
    err_set(&o.why, STATUS_CALL_ERROR, "guest: f failed");
    text_free(&text);
    report_json(&o, &calls, &text);
    CHECK(json_valid(text.s, text.len));
    j = json_member(text.s, "calls");
    CHECK(j[0] == '[' && strchr(j, '{') == j + 1);
    CHECK_HAS(j, "\"name\":\"f\"");
    CHECK_HAS(j, "\"name\":\"g\"");
    CHECK_STR(json_member(text.s, "reason"), "\"call-error\"");
    CHECK_STR(json_member(text.s, "status"), "122");
    CHECK_STR(json_member(json_of(&o), "calls"), "");
    text_free(&calls);

    tap_case("a core that could not be written is told beside the outcome");
    o = (struct outcome){.reason = REASON_ENDED};
    CHECK_STR(json_member(json_of(&o), "no_core"), "");
    err_set(&o.no_core, STATUS_HOST, "c.core: cannot write");
    CHECK_STR(text_of(&o), "vmm: c.core: cannot write\n");
    CHECK_STR(json_member(json_of(&o), "no_core"), "\"c.core: cannot write\"");
}

static void test_random(void)
{
    unsigned long n;
    uint64_t seed = 9;

    tap_case("abort texts of random bytes always make one line and valid JSON");
    for (n = 0; n < 3000 * test_scale(); n++) {
        char s[ABORT_LEN_MAX];
        size_t len = tap_random(&seed) % (n % 8 == 0 ? sizeof(s) + 1 : 20), i;
        struct outcome o;

        for (i = 0; i < len; i++)
            s[i] = (char)(tap_random(&seed) % 255);
        o = aborted(s, len);
        json_of(&o);
        if (!CHECK(lines(text_of(&o)) == 1))
            break;
    }
}

/* Of a guest that ended by itself, behind one that did not. */
static void test_anew(void)
{
    struct snapshot snap = {.kind = guest_kind_at(0)};
    const struct vm vm = {.snap = &snap};
    struct outcome o;
    const char *j;

    tap_case("an outcome that starts anew says nothing of what was in it");
    memset(&o, 0xff, sizeof(o));
    run_outcome(&vm, &o);
    CHECK_STR(text_of(&o), "");
    text_free(&text);
    report_unknown(&o, &text);
    CHECK_EQ(text.len, 0);
    j = json_of(&o);
    CHECK_STR(
        j, "{\"version\":1,\"status\":0,\"reason\":\"ended\",\"kind\":\"amd64\",\"exits\":0,\"ran_us\":0}\n");
    o.reason = REASON_ERROR;
    CHECK_STR(text_of(&o), "vmm: \n");
    CHECK_EQ(o.registers, REGISTERS_NONE);
    CHECK_EQ(o.addr_digits, 16);
}

int main(void)
{
    test_anew();
    test_ended();
    test_aborted();
    test_registers();
    test_errors();
    test_calls();
    test_random();
    text_free(&text);
    return tap_done();
}
