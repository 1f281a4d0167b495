/* What an exit means. See exit.h. */
#include "hv/exit.h"

#include <inttypes.h>

#include "mem/format.h"
#include "mem/guest_abi.h"

static enum action judge_out(const struct exit *x, bool irqchip)
{
    if (x->count != 1)
        return ACTION_FAULT;
    switch (x->port) {
    case PORT_DEBUG_PRINT:
        if (x->value > 0x10ffff || (x->value >= 0xd800 && x->value <= 0xdfff))
            return ACTION_FAULT;
        return ACTION_PRINT;
    case PORT_ABORT: return ACTION_ABORT;
    case PORT_HALT: return ACTION_HALT;
    case PORT_LOG: return ACTION_LOG;
    case PORT_CALL_HOST: return ACTION_HOST;
    case PORT_TIMER:
        if (!irqchip)
            return ACTION_FAULT;
        return x->width == 4 ? ACTION_TIMER : ACTION_RESUME;
    case PORT_TRACE:
    case PORT_TRACE_ALLOC:
    case PORT_TRACE_FREE: return ACTION_RESUME;
    default:
        if (irqchip && x->port >= PORT_PIT && x->port < PORT_PIT + PORT_PIT_N)
            return ACTION_RESUME;
        return ACTION_FAULT;
    }
}

enum action exit_judge(const struct exit *x, bool irqchip)
{
    switch (x->kind) {
    case EXIT_OUT: return judge_out(x, irqchip);
    case EXIT_HLT: return ACTION_HALT;
    case EXIT_INTERRUPTED: return ACTION_LOOK;
    case EXIT_IN:
    case EXIT_MMIO_READ:
    case EXIT_MMIO_WRITE:
    case EXIT_SHUTDOWN:
    case EXIT_FAIL_ENTRY:
    case EXIT_EMULATION:
    case EXIT_INTERNAL:
    case EXIT_OTHER:
    case EXIT_KINDS_N: break;
    }
    return ACTION_FAULT;
}

static const char *plural(unsigned n)
{
    return n == 1 ? "" : "s";
}

void exit_describe(const struct exit *x, unsigned digits, char *text, size_t len)
{
    int w = (int)digits;

    switch (x->kind) {
    case EXIT_OUT:
        format_text(text, len, "out port 0x%x (%u), %u byte%s, value 0x%" PRIx32 "%s", x->port, x->port,
                    x->width, plural(x->width), x->value, x->count != 1 ? ", string instruction" : "");
        break;
    case EXIT_IN:
        format_text(text, len, "in port 0x%x (%u), %u byte%s", x->port, x->port, x->width, plural(x->width));
        break;
    case EXIT_MMIO_READ:
        format_text(text, len, "read of %u byte%s at physical 0x%0*" PRIx64 ", where there is no memory",
                    x->width, plural(x->width), w, x->gpa);
        break;
    case EXIT_MMIO_WRITE:
        format_text(text, len,
                    "write of %u byte%s at physical 0x%0*" PRIx64
                    ", where there is no memory or it is read-only",
                    x->width, plural(x->width), w, x->gpa);
        break;
    case EXIT_HLT: format_text(text, len, "hlt"); break;
    case EXIT_SHUTDOWN: format_text(text, len, "triple fault"); break;
    case EXIT_FAIL_ENTRY:
        format_text(text, len, "the CPU refused to enter the guest (hardware reason 0x%" PRIx64 ")",
                    x->reason);
        break;
    case EXIT_EMULATION: format_text(text, len, "an instruction that KVM cannot emulate"); break;
    case EXIT_INTERNAL:
        format_text(text, len, "an internal error of KVM (suberror %" PRIu64 ")", x->reason);
        break;
    case EXIT_INTERRUPTED: format_text(text, len, "interrupted by a signal"); break;
    case EXIT_OTHER:
    case EXIT_KINDS_N:
        format_text(text, len, "an exit unknown to vmm (number %" PRIu64 ")", x->reason);
        break;
    }
}
