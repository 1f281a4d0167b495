/* vmm run: image to outcome. The stages of the design, in their order. */
#include <unistd.h>

#include "boot/image.h"
#include "hv/cmd.h"
#include "hv/console.h"
#include "hv/counter.h"
#include "hv/load.h"
#include "hv/run.h"
#include "hv/stop.h"
#include "hv/vm.h"

/* The guest is built and KVM is open: run it. */
static int run_snapshot(const struct options *o, int kvm_fd, const struct snapshot *snap, struct outcome *out,
                        struct err *e)
{
    const struct vm_options vo = {.irqchip = o->irqchip == IRQCHIP_ON};
    struct console console;
    struct stop stop;
    struct vm vm;
    int result = -1;

    if (stop_open(&stop, e) != 0)
        return -1;
    console_init(&console, STDOUT_FILENO, &stop);
    if (vm_open(&vm, kvm_fd, snap, &vo, e) != 0)
        goto out_stop;
    if (vm_restore(&vm, e) != 0 || counter_publish(&vm, o, e) != 0 ||
        run_init(&vm, &stop, &console, o->timeout_ns, out, e) != 0)
        goto out;
    if (out->reason == REASON_ENDED && !counter_is_intact(&vm, o)) {
        out->reason = REASON_FAULTED;
        err_set(&out->why, STATUS_FAULTED, "guest: the boot stack grew into the guest counter (canary lost)");
        out->status = out->why.status;
    }
    result = 0;
out:
    vm_close(&vm);
out_stop:
    stop_close(&stop);
    return result;
}

int cmd_run(const struct options *o, struct outcome *out, struct err *e)
{
    struct snapshot snap;
    int kvm_fd, result;

    if (load_snapshot(o, &snap, e) != 0)
        return -1;
    result = kvm_open(&kvm_fd, e);
    if (result == 0) {
        result = run_snapshot(o, kvm_fd, &snap, out, e);
        close(kvm_fd);
    }
    snapshot_free(&snap);
    return result;
}
