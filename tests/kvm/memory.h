/*
 * A guest's memory as KVM's slots have it: taken, and compared later. And what
 * the cases of the tests that restore say of how that is done.
 */
#ifndef TESTS_KVM_MEMORY_H
#define TESTS_KVM_MEMORY_H

#include "tests/kvm/captured.h"

/* Offsets from the end of scratch of what is new with each restore: clock and random bytes, RNG word. ABI 2.1, 2.5. */
#define NEW_BYTES_AT  (0x3000 - 0x08)
#define NEW_BYTES_LEN 40
#define RNG_WORD_AT   0x28

/* kvm_case.n: IRQCHIP, and what restores go by. */
#define IRQCHIP     1
#define COW_HOST    2
#define TRACK(what) ((uint64_t)(what) << 2)

static inline bool has_irqchip(const struct kvm_case *kc)
{
    return (kc->n & IRQCHIP) != 0;
}

/* With its local APIC hidden a guest of any kind has only the MSRs that a snapshot keeps. */
static inline bool is_filtered(const struct calling *c)
{
    return c->vm.snap->kind->filter_msrs || c->vm.machine.hidden_apic;
}

/* The machines from here on are restored by what the case says. */
static inline void choose_track(const struct kvm_case *kc)
{
    calling_track = (int)(kc->n >> 2);
    calling_cow_host = (kc->n & COW_HOST) != 0;
}

/* A KVM that cannot do it that way has done it in another, which has a case of its own. */
static inline void say_track(const struct calling *c)
{
    static const char *const names[] = {"copying all", "the log", "the ring"};

    printf("# restored by %s\n", names[c->vm.machine.dirty.by]);
}

/*
 * A guest that is captured as `capture` does it, in a machine that restores it
 * by what the case says, and watches all pages again every few times. The
 * caller closes both.
 */
static inline bool tracked_open(struct calling *c, int kvm_fd, const struct kvm_case *kc,
                                bool (*capture)(int, const struct kvm_case *, struct snapshot *),
                                struct snapshot *snap)
{
    choose_track(kc);
    if (!capture(kvm_fd, kc, snap))
        return false;
    if (!captured_open(c, kvm_fd, snap)) {
        snapshot_free(snap);
        return false;
    }
    say_track(c);
    c->vm.track.period = 7;
    return true;
}

/* The guest's memory by KVM's slots, in the order of their addresses. */
struct memory {
    struct {
        uint64_t at, len;
        bool readonly;
        const uint8_t *host;
        uint8_t *bytes; /* what was there */
    } slot[SEAM_SLOTS_MAX];
    unsigned n;
};

static inline bool look_at_slots(struct memory *m)
{
    unsigned i, j;

    m->n = 0;
    for (i = 0; i < seam.slots_n; i++) {
        const struct seam_slot *s = &seam.slots[i];

        if (s->vm_fd != seam.vm_fd)
            continue;
        for (j = m->n++; j > 0 && m->slot[j - 1].at > s->at; j--)
            m->slot[j] = m->slot[j - 1];
        m->slot[j].at = s->at;
        m->slot[j].len = s->len;
        m->slot[j].readonly = s->readonly;
        m->slot[j].host = (const uint8_t *)(uintptr_t)s->host;
        m->slot[j].bytes = NULL;
    }
    return CHECK(m->n != 0);
}

static inline void free_memory(struct memory *m)
{
    unsigned i;

    for (i = 0; i < m->n; i++)
        free(m->slot[i].bytes);
    m->n = 0;
}

static inline bool take_memory(struct memory *m)
{
    unsigned i;

    if (!look_at_slots(m))
        return false;
    for (i = 0; i < m->n; i++) {
        m->slot[i].bytes = malloc(m->slot[i].len);
        if (!CHECK(m->slot[i].bytes != NULL))
            return false;
        memcpy(m->slot[i].bytes, m->slot[i].host, m->slot[i].len);
    }
    return true;
}

/* Whether the byte at `off` of scratch may differ. */
static inline bool is_new(uint64_t off, uint64_t scratch_len)
{
    uint64_t distance = scratch_len - off;

    return (distance <= NEW_BYTES_AT && distance > NEW_BYTES_AT - NEW_BYTES_LEN) ||
           (distance <= RNG_WORD_AT && distance > RNG_WORD_AT - 8);
}

static inline bool memory_is(const struct memory *wanted, uint64_t scratch_gpa)
{
    struct memory now;
    uint64_t off;
    unsigned i;

    if (!look_at_slots(&now) || !CHECK_EQ(now.n, wanted->n))
        return false;
    for (i = 0; i < now.n; i++) {
        bool scratch = now.slot[i].at == scratch_gpa;

        if (!CHECK_EQ(now.slot[i].at, wanted->slot[i].at) ||
            !CHECK_EQ(now.slot[i].len, wanted->slot[i].len) ||
            !CHECK_EQ(now.slot[i].readonly, wanted->slot[i].readonly))
            return false;
        if (memcmp(now.slot[i].host, wanted->slot[i].bytes, now.slot[i].len) == 0)
            continue;
        for (off = 0; off < now.slot[i].len; off++) {
            if (now.slot[i].host[off] == wanted->slot[i].bytes[off] ||
                (scratch && is_new(off, now.slot[i].len)))
                continue;
            printf("# guest memory 0x%" PRIx64 " is 0x%02x, wanted 0x%02x\n", now.slot[i].at + off,
                   now.slot[i].host[off], wanted->slot[i].bytes[off]);
            return CHECK(false);
        }
    }
    return CHECK(true);
}

/* The host can do what a guest can: write all over what is writable, through its view of memory. */
static inline void dirty_memory(const struct vm *vm, uint64_t seed)
{
    struct memory m;
    uint64_t off;
    unsigned i;

    if (!look_at_slots(&m))
        return;
    for (i = 0; i < m.n; i++) {
        for (off = seed % 64; !m.slot[i].readonly && off < m.slot[i].len; off += 61) {
            uint8_t byte = m.slot[i].host[off] ^ (uint8_t)((seed >> 3) | 1);

            CHECK(gmem_write(vm->mem, gpa_make(m.slot[i].at + off), &byte, 1));
        }
    }
}

#endif
