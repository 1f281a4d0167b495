/* Calls into a guest. See call.h. */
#include "hv/call.h"

#include <inttypes.h>

#include "hv/ending.h"
#include "hv/serve.h"
#include "mem/assert.h"

static int push_call(struct vm *vm, const struct msg_call *call, struct err *e)
{
    bool fits = false;
    uint64_t cap;
    uint8_t *buffer = serve_buffer(vm, &cap);
    size_t len = msg_write_call(call, buffer, cap);

    /* The stack was reset after the last call, so only its size can be in the way. */
    if (len != 0 && serve_push(vm, buffer, len, &fits, e) != SERVED_ON)
        return -1;
    if (fits)
        return 0;
    err_usage(e,
              "call %.*s: the arguments do not fit the input stack (%" PRIu64 " bytes of messages, %" PRIu64
              "K stack)",
              (int)call->name_len, (const char *)call->name, (uint64_t)msg_call_len(call), cap >> 10);
    return err_hint(e, "give a larger --input");
}

int call_guest(const struct run_env *env, const struct msg_call *call, struct msg_result *result,
               struct outcome *out, struct err *e)
{
    struct vm *vm = env->vm;
    int ran = -1;

    assert(vm->ready);
    if (push_call(vm, call, e) != 0)
        return -1;
    if (vm_enter_call(vm, e) == 0)
        ran = run_until_halt(env, out, e);
    if (ran == 0 && out->reason == REASON_ENDED && serve_result(vm, result, &out->why) != SERVED_ON) {
        vm->ready = false;
        ran = ending_broken(&(struct runner){.machine = &vm->machine}, out, e);
    }
    serve_reset_stacks(vm);
    return ran;
}
