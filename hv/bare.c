/* A machine with a bare kernel in it. See bare.h. */
#include "hv/bare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot/x86.h"
#include "hv/host.h"
#include "hv/snapfile.h"
#include "mem/assert.h"
#include "mem/num.h"

/* Address bits of a 32-bit CPU with PAE. */
#define PHYS_BITS 36

/* --- what devices need ---------------------------------------------------------------------------- */

/* Whatever fails in the middle of an access is told when it is over. */
static void note_failure(struct bare *b, int result, const struct err *e)
{
    if (result >= 0 || b->failed)
        return;
    b->failed = true;
    b->why = *e;
}

static void emit(void *ctx, const uint8_t *bytes, size_t n)
{
    struct bare *b = (struct bare *)ctx;
    struct err e;

    note_failure(b, console_write(b->env.console, bytes, n, &e), &e);
}

static void set_irq(void *ctx, unsigned line, bool level)
{
    struct bare *b = (struct bare *)ctx;
    struct err e;

    note_failure(b, machine_set_irq(&b->machine, line, level, &e), &e);
}

static uint64_t wall_clock(void *ctx)
{
    (void)ctx;
    return host_wall_clock();
}

static uint8_t *memory(void *ctx, uint64_t gpa, uint64_t len)
{
    struct bare *b = (struct bare *)ctx;

    if (!num_fits(gpa, len, b->ram.len))
        return NULL;
    if (b->track.machine != NULL)
        touched_add(&b->track.area[0].touched, gpa, len);
    return b->ram.base + gpa;
}

static void reset_devices(struct bare *b)
{
    const struct bus_host host = {
        .ctx = b,
        .emit = emit,
        .set_irq = b->state->start.irqchip ? set_irq : NULL,
        .wall_clock = wall_clock,
        .memory = memory,
    };

    bus_init(&b->bus, &host, b->state->start.format == BARE_MICROVM, b->ram.len);
    b->holes_n = 0;
    b->holes_all = 0;
    b->failed = false;
}

/* --- the machine ---------------------------------------------------------------------------------- */

static const uint8_t *first_page(const void *ctx, uint64_t off)
{
    const struct bare *b = (const struct bare *)ctx;

    return (b->state->bytes != NULL ? b->state->bytes : b->first.base) + off;
}

/* Where KVM tells of writes, a restore copies the pages that were written. */
static int track(struct bare *b, struct err *e)
{
    const struct pristine *ram = &b->state->ram;

    if (b->machine.dirty.by == DIRTY_NOT)
        return 0;
    track_open(&b->track, &b->machine, &b->slots);
    if (b->state->bytes == NULL && region_map_file(&b->first, ram->fd, ram->off, ram->len, e) != 0)
        return -1;
    return track_add(&b->track, gpa_make(0), &b->ram, first_page, b, e);
}

int bare_open(struct bare *b, int kvm_fd, const struct bare_state *s, const struct bare_env *env, bool warm,
              struct err *e)
{
    bool irqchip = s->start.irqchip;
    const struct machine_options mo = {
        .phys_bits = PHYS_BITS,
        .irqchip = irqchip,
        .pit = irqchip,
        .real_mode = true,
        /* Shadows of page tables go with the slots, and so does all that KVM could tell. */
        .dirty = warm && env->point == POINT_NONE && !kvm_shadows_tables(kvm_fd) ? DIRTY_BY_RING : DIRTY_NOT,
        .pages_n = s->ram.len / PAGE_LEN,
    };

    *b = (struct bare){.state = s, .env = *env, .machine = MACHINE_CLOSED, .kvm_fd = kvm_fd, .warm = warm};
    if (machine_open(&b->machine, kvm_fd, &mo, e) != 0)
        return -1;
    slots_init(&b->slots, &b->machine, irqchip, irqchip);
    if (pristine_map(&s->ram, &b->ram, e) != 0) {
        bare_close(b);
        return -1;
    }
    if (s->saved != NULL)
        snapfile_guard_copy(&b->ram);
    if (track(b, e) != 0 || slots_map(&b->slots, gpa_make(0), b->ram.len, b->ram.base, false, e) != 0 ||
        machine_add_cpu(&b->machine, kvm_fd, &mo, e) != 0 ||
        (warm && state_take_baseline(&b->baseline, kvm_fd, &b->machine, NULL,
                                     irqchip ? PART_OF_PIT : PART_OF_ALL, e) != 0)) {
        bare_close(b);
        return -1;
    }
    return 0;
}

void bare_close(struct bare *b)
{
    /* The machine goes first: while it lives, KVM may write to the memory behind its slots. */
    machine_close(&b->machine);
    state_free_baseline(&b->baseline);
    track_close(&b->track);
    region_unmap(&b->first);
    region_unmap(&b->ram);
    snapfile_guard_copy(&b->ram);
    b->usable = false;
}

/*
 * Put back what the guest wrote, or drop it, and with the slots all that KVM derived from it:
 * a KVM that shadows page tables does not see that their bytes have changed.
 */
static int renew_memory(struct bare *b, struct err *e)
{
    const struct gpa start = gpa_make(0);

    if (b->track.machine != NULL)
        return track_look(&b->track, e) != 0 ? -1 : track_reset(&b->track, e);
    if (slots_unmap(&b->slots, start, b->ram.len, e) != 0 || region_clear(&b->ram, e) != 0)
        return -1;
    return slots_map(&b->slots, start, b->ram.len, b->ram.base, false, e);
}

/* A fresh start is the restore of a machine that has no past. */
static int restore_machine(struct bare *b, struct err *e)
{
    const struct bare_state *from = b->state;
    struct snapshot s = {.bare = from->saved, .sregs = from->start.sregs, .from_file = from->saved != NULL};
    int result;

    if (s.bare == NULL) {
        s.bare = calloc(1, sizeof(*s.bare));
        if (s.bare == NULL)
            return err_memory(e, "the machine");
        s.bare->start = from->start;
        s.sregs.apic_base = from->start.irqchip ? APIC_BASE_RESET : 0;
    }
    result = state_restore(&b->machine, &s, b->ran ? &b->baseline : NULL, e);
    if (from->saved == NULL)
        free(s.bare);
    if (result != 0 || from->saved == NULL)
        return result;
    if (bus_load(&b->bus, from->saved->devices, from->saved->devices_len, e) != 0)
        return -1;
    bus_resume(&b->bus);
    return 0;
}

int bare_restore(struct bare *b, struct err *e)
{
    assert(b->warm || !b->ran);
    b->usable = false;
    if (b->ran && (machine_finish(&b->machine, e) != 0 || renew_memory(b, e) != 0))
        return -1;
    reset_devices(b);
    if (restore_machine(b, e) != 0)
        return -1;
    if (b->failed) {
        *e = b->why;
        return -1;
    }
    b->usable = true;
    return 0;
}

/* --- saved ---------------------------------------------------------------------------------------- */

int bare_from_snapshot(const struct snapshot *s, struct bare_state *out, struct err *e)
{
    struct bus ignored;

    if (state_check(s->bare, e) != 0 || bus_load(&ignored, s->bare->devices, s->bare->devices_len, e) != 0)
        return -1;
    *out = (struct bare_state){
        .ram = {.fd = s->file_fd, .off = s->memory_off, .len = s->bare->ram_len},
        .start = s->bare->start,
        .saved = s->bare,
        .bytes = s->memory.base,
        .generation = s->generation,
    };
    return 0;
}

int bare_save(struct bare *b, const char *path, struct err *e)
{
    /* The RAM is the machine's, not the snapshot's. */
    struct snapshot s = {
        .memory = b->ram, .plan.snapshot_len = b->ram.len, .generation = b->state->generation + 1};
    int result = -1;

    assert(b->warm && b->at_point);
    s.bare = calloc(1, sizeof(*s.bare));
    if (s.bare == NULL)
        return err_memory(e, "the machine");
    s.bare->start = (struct bare_start){.format = b->state->start.format, .irqchip = b->state->start.irqchip};
    s.bare->ram_len = b->ram.len;
    s.bare->devices_len = BUS_STATE_LEN;
    bus_save(&b->bus, s.bare->devices);
    if (state_capture(&b->machine, &b->baseline, &s, e) == 0)
        result = snapfile_write(&s, path, e);
    free(s.bare);
    return result;
}
