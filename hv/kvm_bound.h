/* What KVM takes by itself, for what is measured against it. */
#ifndef HV_KVM_BOUND_H
#define HV_KVM_BOUND_H

#include "hv/kvm.h"

/* KVM_RUN and no more: what came of it, only machine_run tells. */
void machine_run_bare(struct machine *m);

#endif
