/* Trying out KVM. See probe.h. */
#include "hv/probe.h"

#include "boot/gdt.h"
#include "boot/x86.h"
#include "hv/kvm.h"

int probe_paging32(int kvm_fd, struct err *e)
{
    const struct machine_options opt = {.phys_bits = 32};
    struct cpu_sregs s = {.cr0 = CR0_PG | CR0_WP | CR0_ET | CR0_PE};
    struct machine m = MACHINE_CLOSED;
    struct err refused;
    int result;

    gdt_load(&s, &gdt_code32, &gdt_data32, &gdt_tss);
    if (machine_open(&m, kvm_fd, &opt, e) != 0)
        return -1;
    result = machine_add_cpu(&m, kvm_fd, &opt, e);
    if (result == 0)
        result = machine_set_sregs(&m, &s, &refused) == 0;
    machine_close(&m);
    return result;
}
