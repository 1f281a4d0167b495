/* The guest counter. See counter.h. */
#include "hv/counter.h"

#include <inttypes.h>
#include <signal.h>
#include <stddef.h>

#include "hv/args.h"
#include "mem/bytes.h"
#include "mem/guest_abi.h"

#define CANARY 0x59524e414354524eu /* no address and no small number */

const char counter_page_name[] = "counter page";

/* What the signal handler counts; `word` is NULL while there is no guest. */
static struct {
    uint64_t *volatile word;
    uint64_t value, max;
    volatile sig_atomic_t out_of_range;
    bool taken; /* the signals are */
} counter;

static struct sigaction old_up, old_down;

static int set_counter(struct options *o, const char *v, struct err *e)
{
    if (args_number("counter", v, UINT64_MAX, &o->counter, e) != 0)
        return -1;
    o->counter_given = true;
    return 0;
}

const struct option_row counter_option_rows[] = {
    {"counter", CMD_RUN | CMD_SNAPSHOT | CMD_RESTORE | CMD_SERVE, false, "N",
     "value of the guest counter; SIGUSR1 counts up, SIGUSR2 down", set_counter},
    {NULL, 0, false, NULL, NULL, NULL},
};

static uint8_t *word_at(struct vm *vm, uint64_t distance)
{
    return vm_scratch_rw(vm, layout_top_off(&vm->snap->plan, distance), 8);
}

/* An i686 guest reads the low half alone, so the high half may not matter. */
static uint64_t value_max(const struct guest_kind *kind)
{
    return kind->rules->virt_top <= (uint64_t)1 << 32 ? UINT32_MAX : UINT64_MAX;
}

int counter_check(const struct options *o, const struct guest_kind *kind, struct err *e)
{
    if (!o->counter_given || o->counter <= value_max(kind))
        return 0;
    return err_usage(e, "--counter: too large for %s guests (%" PRIu64 ", at most %" PRIu64 ")", kind->name,
                     o->counter, value_max(kind));
}

/* One aligned 8-byte store: a guest never sees half a value (the host is little-endian x86-64). */
static void publish(uint64_t *word)
{
    __atomic_store_n(word, counter.value, __ATOMIC_RELEASE);
}

static void on_count(int sig)
{
    uint64_t *word = counter.word;
    bool up = sig == SIGUSR1;

    if (word == NULL)
        return;
    if (counter.value == (up ? counter.max : 0)) {
        counter.out_of_range = 1;
        return;
    }
    counter.value += up ? 1 : (uint64_t)-1;
    publish(word);
}

int counter_publish(struct vm *vm, const struct options *o, struct err *e)
{
    struct sigaction sa = {.sa_handler = on_count, .sa_flags = SA_RESTART};

    if (!o->counter_given)
        return 0;
    if (counter_check(o, vm->snap->kind, e) != 0)
        return -1;
    counter_hide();
    /* The two signals exclude each other, so that neither sees the other's half-done count. */
    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGUSR1);
    sigaddset(&sa.sa_mask, SIGUSR2);
    counter.value = o->counter;
    counter.max = value_max(vm->snap->kind);
    counter.out_of_range = 0;
    store_le64(word_at(vm, SCRATCH_CANARY_WORD), CANARY);
    counter.word = (uint64_t *)(void *)word_at(vm, SCRATCH_COUNTER_WORD);
    publish(counter.word);
    if (!counter.taken) {
        sigaction(SIGUSR1, &sa, &old_up);
        sigaction(SIGUSR2, &sa, &old_down);
    }
    counter.taken = true;
    return 0;
}

void counter_hide(void)
{
    counter.word = NULL;
}

void counter_close(void)
{
    if (!counter.taken)
        return;
    sigaction(SIGUSR1, &old_up, NULL);
    sigaction(SIGUSR2, &old_down, NULL);
    counter.taken = false;
    counter_hide();
}

bool counter_is_intact(struct vm *vm, const struct options *o, struct err *why)
{
    if (!o->counter_given)
        return true;
    if (load_le64(word_at(vm, SCRATCH_CANARY_WORD)) != CANARY) {
        err_set(why, STATUS_FAULTED, "guest: the boot stack grew into the guest counter (canary lost)");
        return false;
    }
    if (counter.out_of_range != 0) {
        err_set(why, STATUS_HOST,
                "--counter: a signal would have counted out of its range (at %" PRIu64 ", 0 to %" PRIu64 ")",
                counter.value, counter.max);
        return false;
    }
    return true;
}
