/*
 * vmm doctor: can this host run each kind of guest? Answered by running one:
 * a guest of a few bytes goes the whole way from image to exit.
 */
#include <string.h>
#include <unistd.h>

#include "hv/cmd.h"
#include "hv/probe.h"
#include "hv/run.h"
#include "mem/guest_abi.h"

#define PROBE_TIME_NS ((uint64_t)5 * 1000000000u)

/*
 * and esp, -16; out PORT_HALT, al; hlt. In 64-bit code the same bytes clear
 * the high half of rsp, which a guest that ends at once does not miss.
 */
static const uint8_t probe_code[] = {0x83, 0xe4, 0xf0, 0xe6, PORT_HALT, 0xf4};

/* Run init of `snap` in a machine of its own. 0 when it ended by itself. */
static int run_probe(const struct snapshot *snap, int kvm_fd, struct stop *stop, struct err *e)
{
    const struct vm_options vo = {.irqchip = false};
    struct console console;
    const struct host_functions host = {.console = &console, .stop = stop};
    const struct service service = {.host = &host, .log = &console};
    struct outcome outcome;
    struct vm vm;
    const struct run_env env = {
        .vm = &vm,
        .stop = stop,
        .console = &console,
        .service = &service,
        .limit_ns = PROBE_TIME_NS,
    };
    int result = -1;

    console_init(&console, STDOUT_FILENO, stop);
    if (vm_open(&vm, kvm_fd, snap, &vo, e) != 0)
        return -1;
    run_outcome(&vm, &outcome);
    if (vm_restore(&vm, e) == 0 && run_init(&env, &outcome, e) == 0) {
        if (outcome.reason == REASON_ENDED)
            result = 0;
        else
            *e = outcome.why; /* the probe does not abort, so there is a reason */
    }
    vm_close(&vm);
    return result;
}

/* Run the probe as a guest of kind `k`. 0 when this host can. */
static int try_kind(const struct guest_kind *k, int kvm_fd, struct err *e)
{
    struct snapshot snap;
    struct stop stop;
    int result;

    if (probe_build(k, probe_code, sizeof(probe_code), HEAP_LEN_DEFAULT, &snap, e) != 0)
        return -1;
    result = stop_open(&stop, e);
    if (result == 0) {
        result = run_probe(&snap, kvm_fd, &stop, e);
        stop_close(&stop);
    }
    snapshot_free(&snap);
    return result;
}

static void add_kind(struct text *out, bool json, bool first, const char *name, const struct err *e)
{
    if (!json) {
        text_add(out, "%-14s %s\n", name, e == NULL ? "ok" : "cannot run");
        if (e != NULL)
            text_add(out, "  cause: %s\n", e->text);
        if (e != NULL && e->hint[0] != '\0')
            text_add(out, "  hint: %s\n", e->hint);
        return;
    }
    text_add(out, "%s{\"kind\":\"%s\",\"ok\":%s", first ? "" : ",", name, e == NULL ? "true" : "false");
    if (e != NULL) {
        text_add(out, ",\"cause\":");
        text_add_json(out, e->text, strlen(e->text));
    }
    if (e != NULL && e->hint[0] != '\0') {
        text_add(out, ",\"hint\":");
        text_add_json(out, e->hint, strlen(e->hint));
    }
    text_add(out, "}");
}

int cmd_doctor(const struct options *o, struct text *out, enum status *status, struct err *e)
{
    const struct guest_kind *k;
    struct err no_kvm, why;
    int kvm_fd = -1;
    bool has_kvm;
    unsigned i;

    (void)e; /* whatever is wrong with this host is the answer, not a failure to answer */
    *status = STATUS_OK;
    has_kvm = kvm_open(&kvm_fd, &no_kvm) == 0;
    if (o->json)
        text_add(out, "{\"version\":1,\"kinds\":[");
    for (i = 0; (k = guest_kind_at(i)) != NULL; i++) {
        const struct err *cause = NULL;

        if (!has_kvm)
            cause = &no_kvm;
        else if (try_kind(k, kvm_fd, &why) != 0)
            cause = &why;
        if (cause != NULL)
            *status = STATUS_UNSUPPORTED;
        add_kind(out, o->json, i == 0, k->name, cause);
    }
    if (o->json)
        text_add(out, "]}\n");
    if (has_kvm)
        close(kvm_fd);
    return 0;
}
