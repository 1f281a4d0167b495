/* The guest counter. See counter.h. */
#include "hv/counter.h"

#include <inttypes.h>
#include <stddef.h>

#include "hv/args.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"

#define CANARY 0x59524e414354524eu /* no address and no small number */

static int set_counter(struct options *o, const char *v, struct err *e)
{
    if (args_number("counter", v, UINT64_MAX, &o->counter, e) != 0)
        return -1;
    o->counter_given = true;
    return 0;
}

const struct option_row counter_option_rows[] = {
    {"counter", CMD_RUN, "N", "value of the guest counter", false, set_counter},
    {NULL, 0, NULL, NULL, false, NULL},
};

static uint8_t *word_at(struct vm *vm, uint64_t distance)
{
    return vm_scratch(vm, layout_top_off(&vm->snap->plan, distance));
}

int counter_publish(struct vm *vm, const struct options *o, struct err *e)
{
    if (!o->counter_given)
        return 0;
    /* An i686 guest reads the low half alone, so the high half may not matter. */
    if (o->counter > UINT32_MAX && vm->snap->plan.rules->virt_top <= (uint64_t)1 << 32)
        return err_set(e, STATUS_USAGE, "--counter: too large for %s guests (%" PRIu64 ", at most %" PRIu32 ")",
                       vm->snap->kind->name, o->counter, UINT32_MAX);
    store_le64(word_at(vm, SCRATCH_CANARY_WORD), CANARY);
    /* One aligned 8-byte store: a guest never sees half a value (the host is little-endian x86-64). */
    __atomic_store_n((uint64_t *)(void *)word_at(vm, SCRATCH_COUNTER_WORD), o->counter, __ATOMIC_RELEASE);
    return 0;
}

bool counter_is_intact(struct vm *vm, const struct options *o)
{
    return !o->counter_given || load_le64(word_at(vm, SCRATCH_CANARY_WORD)) == CANARY;
}
