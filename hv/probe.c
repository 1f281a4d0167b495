/* Trying out KVM. See probe.h. */
#include "hv/probe.h"

#include "boot/gdt.h"
#include "boot/x86.h"
#include "hv/kvm.h"

int probe_paging32(int kvm_fd, struct err *e)
{
    const struct machine_options opt = {.phys_bits = 32};
    const struct cpu_sregs s = {
        .cs = gdt_code32,
        .ds = gdt_data32,
        .es = gdt_data32,
        .fs = gdt_data32,
        .gs = gdt_data32,
        .ss = gdt_data32,
        .tr = gdt_tss,
        .cr0 = CR0_PG | CR0_WP | CR0_ET | CR0_PE,
    };
    struct machine m = MACHINE_CLOSED;
    struct err refused;
    int result;

    if (machine_open(&m, kvm_fd, &opt, e) != 0)
        return -1;
    result = machine_add_cpu(&m, kvm_fd, &opt, e);
    if (result == 0)
        result = machine_set_sregs(&m, &s, &refused) == 0;
    machine_close(&m);
    return result;
}
