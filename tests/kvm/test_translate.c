/*
 * The table walker against the kernel's: KVM_TRANSLATE on a guest that has run,
 * copied pages on write and grown its stack. Address and validity must agree;
 * KVM tells no rights. No code of paging/ is behind the kernel's answer.
 */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "boot/x86.h"
#include "hv/call.h"
#include "paging/walk.h"
#include "tests/kvm/guests.h"

/* The program is linked with --wrap=ioctl; nothing is to be wrapped here. */
int __real_ioctl(int fd, int request, ...);
int __wrap_ioctl(int fd, int request, void *arg);
int __wrap_ioctl(int fd, int request, void *arg)
{
    return __real_ioctl(fd, request, arg);
}

#define RANDOM_N 20000

struct tally {
    unsigned agreed, found, differ;
};

/* One address, by both. */
static void compare(struct vm *vm, const struct cpu_sregs *s, uint64_t va, struct tally *t)
{
    const struct pt_mode mode = {
        .nxe = (s->efer & EFER_NXE) != 0,
        .wp = true,
        .phys_bits = vm->snap->kind->phys_bits,
    };
    struct kvm_translation kernel = {.linear_address = va};
    struct walk_leaf leaf;
    bool found =
        walk_lookup(vm->snap->kind->geom, mode, vm->mem, gpa_make(s->cr3), gva_make(va), &leaf) == WALK_FOUND;

    if (!CHECK_EQ(ioctl(vm->machine.vcpu_fd, (int)KVM_TRANSLATE, &kernel), 0))
        return;
    t->found += found;
    if (found != (kernel.valid != 0) || (found && leaf.pa.v != kernel.physical_address)) {
        if (t->differ++ < 5)
            printf("# 0x%" PRIx64 ": walker %s 0x%" PRIx64 ", kernel %s 0x%" PRIx64 "\n", va,
                   found ? "finds" : "finds not", found ? leaf.pa.v : 0, kernel.valid ? "finds" : "finds not",
                   (uint64_t)kernel.physical_address);
        return;
    }
    t->agreed++;
}

/* Every page of the plan, its neighbours, the corners of the address space, and addresses at random. */
static void compare_all(struct vm *vm, const struct cpu_sregs *s, struct tally *t)
{
    const struct layout *l = &vm->snap->plan;
    bool wide = l->rules->tables.levels == 4;
    uint64_t state = 0x7a51a7e, off;
    unsigned i;

    for (off = 0; off < l->snapshot_len; off += 4096)
        compare(vm, s, l->base.v + off + (tap_random(&state) & 0xfff), t);
    for (off = 0; off < l->sizes.scratch_len; off += 4096)
        compare(vm, s, l->scratch_gva.v + off + (tap_random(&state) & 0xfff), t);
    for (i = 0; i < RANDOM_N; i++) {
        uint64_t va = tap_random(&state);

        /* Half of them near what is mapped; on amd64 only canonical ones, the others are no addresses at all. */
        if (i % 2 == 0)
            va = (tap_random(&state) & 1 ? l->base.v : l->scratch_gva.v) + (va & 0xfffffff) - 0x1000000;
        va = wide ? (uint64_t)((int64_t)(va << 16) >> 16) : (uint32_t)va;
        compare(vm, s, va, t);
    }
    if (wide) {
        compare(vm, s, 0xffffff0000000000 - 8, t); /* the grown stack */
        compare(vm, s, 0xffffff0000000000 - 8 * 4096, t);
        compare(vm, s, 0xfffffd0000000000, t); /* the guest's own tables */
    }
    compare(vm, s, 0, t);
}

static int call(const struct run_env *env, const char *name, unsigned params_n, uint32_t arg,
                struct outcome *out, struct err *e)
{
    struct msg_call c = {
        .name = (const uint8_t *)name, .name_len = (uint32_t)strlen(name), .params_n = params_n};
    struct msg_result r;

    c.params[0] = (struct msg_value){.type = MSG_UINT, .bits = arg};
    return call_guest(env, &c, &r, out, e);
}

static void test_kind(int kvm_fd, const char *kind)
{
    const struct image_options opt = guest_options(0x400000);
    const struct vm_options vo = {.irqchip = false};
    const struct host_functions host = {.commands_n = 0};
    struct tally t = {0};
    struct err e = {.text = ""};
    struct console console;
    const struct service service = {.host = &host, .log = &console};
    struct cpu_sregs sregs;
    struct snapshot snap;
    struct outcome out;
    struct stop stop;
    struct vm vm;
    const struct run_env env = {
        .vm = &vm, .stop = &stop, .console = &console, .service = &service, .limit_ns = GUEST_LIMIT_NS};
    char name[100];
    int ran;

    snprintf(name, sizeof(name), "the walker and KVM_TRANSLATE agree on a live %s guest", kind);
    tap_case(name);
    if (!guest_build_sample("calls", kind, &opt, &snap))
        return;
    if (!guest_check(stop_open(&stop, &e), &e))
        goto out_snap;
    console_init(&console, 1, &stop);
    if (!guest_check(vm_open(&vm, kvm_fd, &snap, &vo, &e), &e))
        goto out_stop;
    run_outcome(&vm, &out);
    ran = vm_restore(&vm, &e);
    if (ran != 0 && e.status == STATUS_UNSUPPORTED) {
        tap_name = NULL; /* the case becomes a skip */
        snprintf(name, sizeof(name), "%s (lab)", "this host's KVM cannot run the guest");
        tap_skip("the walker and KVM_TRANSLATE agree on a live i686 guest", name);
        goto out_vm;
    }
    if (!guest_check(ran, &e) || !guest_check(run_init(&env, &out, &e), &e) ||
        !guest_check(call(&env, "count", 0, 0, &out, &e), &e))
        goto out_vm;
    if (vm.snap->plan.rules->tables.levels == 4 && !guest_check(call(&env, "deep", 1, 40, &out, &e), &e))
        goto out_vm;
    CHECK_EQ(out.reason, REASON_ENDED);
    if (guest_check(machine_get_sregs(&vm.machine, &sregs, &e), &e)) {
        compare_all(&vm, &sregs, &t);
        CHECK_EQ(t.differ, 0);
        CHECK(t.found > vm.snap->plan.snapshot_len / 4096 + 0x400);
        CHECK(t.agreed > t.found + RANDOM_N / 10);
    }
out_vm:
    vm_close(&vm);
out_stop:
    stop_close(&stop);
out_snap:
    snapshot_free(&snap);
}

int main(void)
{
    static const char *const kinds[] = {"amd64", "i686"};
    struct err e = {.text = ""};
    int kvm_fd;
    unsigned i;

    if (kvm_open(&kvm_fd, &e) != 0) {
        printf("# %s\n", e.text);
        tap_skip("the walker and KVM_TRANSLATE agree on live guests", "no usable /dev/kvm (lab)");
        return tap_done();
    }
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (guest_kind_named(kinds[i]) != NULL)
            test_kind(kvm_fd, kinds[i]);
    close(kvm_fd);
    return tap_done();
}
