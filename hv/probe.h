/* What this host's KVM can do, found out by trying. */
#ifndef HV_PROBE_H
#define HV_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "boot/snapshot.h"
#include "mem/error.h"

/*
 * Whether this KVM takes 32-bit paging: 1 yes, 0 no (a software KVM, which
 * emulates kernel-mode code and not every instruction of it), -1 it could not
 * be tried.
 */
int probe_paging32(int kvm_fd, struct err *e);

/*
 * A guest of kind `k` whose image is one page, with nothing in it but `code`,
 * which it starts with, at PROBE_CODE. The caller owns *out.
 */
#define PROBE_CODE 0x100
int probe_build(const struct guest_kind *k, const uint8_t *code, size_t len, uint64_t heap_len,
                struct snapshot *out, struct err *e);

#endif
