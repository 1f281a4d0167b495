/* Memory slots and the holes in them. See slots.h. */
#include "hv/slots.h"

#include "mem/assert.h"
#include "mem/layout.h"
#include "mem/num.h"

void slots_init(struct slots *s, struct machine *machine, bool apic, bool ioapic)
{
    *s = (struct slots){.machine = machine};
    if (ioapic)
        s->holes[s->holes_n++] = IOAPIC_PAGE;
    if (apic)
        s->holes[s->holes_n++] = APIC_ACCESS_PAGE;
}

/* One slot; *made is its number. */
static int map_piece(struct slots *s, uint64_t at, uint64_t len, const uint8_t *host, bool readonly,
                     uint32_t *made, struct err *e)
{
    uint32_t i;

    for (i = 0; i < SLOTS_MAX && i < s->machine->slots_max; i++) {
        if (s->slot[i].len != 0)
            continue;
        if (machine_set_slot(s->machine, i, gpa_make(at), len, host, readonly, e) != 0)
            return -1;
        s->slot[i].at = gpa_make(at);
        s->slot[i].len = len;
        *made = i;
        return 0;
    }
    return err_set(e, STATUS_HOST, "kvm: no free memory slot (%u in use)", (unsigned)i);
}

/* Forget and delete one slot; one that KVM would not delete is forgotten all the same: the VM is done for. */
static int unmap_slot(struct slots *s, uint32_t i, struct err *e)
{
    struct gpa at = s->slot[i].at;

    s->slot[i].len = 0;
    return machine_set_slot(s->machine, i, at, 0, NULL, false, e);
}

int slots_map(struct slots *s, struct gpa at, uint64_t len, const void *host, bool readonly, struct err *e)
{
    const uint8_t *bytes = (const uint8_t *)host;
    uint64_t end = at.v + len, from = at.v;
    uint32_t made[HOLES_MAX + 1];
    unsigned i, made_n = 0;

    assert(len != 0 && end > at.v && num_is_page_aligned(at.v) && num_is_page_aligned(len));
    for (i = 0; i <= s->holes_n && from < end; i++) {
        uint64_t hole = i < s->holes_n ? s->holes[i] : end;
        uint64_t to = hole < end ? hole : end;

        if (to > from) {
            if (map_piece(s, from, to - from, bytes + (from - at.v), readonly, &made[made_n], e) != 0) {
                struct err ignored;

                /* Only its own: the range may collide with a region that was there before. */
                while (made_n != 0)
                    unmap_slot(s, made[--made_n], &ignored);
                return -1;
            }
            made_n++;
        }
        if (hole >= from && hole < end)
            from = hole + PAGE_LEN;
        else if (to > from)
            from = to;
    }
    return 0;
}

int slots_unmap(struct slots *s, struct gpa at, uint64_t len, struct err *e)
{
    uint64_t end = at.v + len;
    int result = 0;
    uint32_t i;

    for (i = 0; i < SLOTS_MAX; i++) {
        struct err later;

        if (s->slot[i].len == 0 || s->slot[i].at.v < at.v || s->slot[i].at.v + s->slot[i].len > end)
            continue;
        if (unmap_slot(s, i, result == 0 ? e : &later) != 0)
            result = -1;
    }
    return result;
}
