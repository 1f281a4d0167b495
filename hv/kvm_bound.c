/* KVM alone. See kvm_bound.h. */
#include "hv/kvm_bound.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

void machine_run_bare(struct machine *m)
{
    while (ioctl(m->vcpu_fd, KVM_RUN, 0) != 0 && errno == EINTR)
        ;
}
