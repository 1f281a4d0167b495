/*
 * Every call into KVM fails once, in turn, while a guest is set up: the user
 * gets one line and a status, and nothing is left behind - no memory slot, no
 * descriptor, no mapping.
 */
#include "hv/slots.h"

#include "mem/region.h"
#include "tests/kvm/guests.h"
#include "tests/kvm/seam.h"

#define APIC_PIECES 2 /* of a region over the APIC page */
#define BARE_LEN    ((uint64_t)4 << 30)
#define BARE_PIECES 3 /* of a bare region over both holes */
#define CALLS_MAX   200

static const int errors[] = {EEXIST, ENOMEM, EINVAL};
#define ERRORS_N (sizeof(errors) / sizeof(errors[0]))

/* What a failure may leave behind, before and after. */
struct held {
    unsigned fds, run_pages;
    uint64_t mapped;
};

/* malloc keeps what it once had; the smallest region of a guest is larger. */
#define MALLOC_SLACK 0x10000u

static struct held look(void)
{
    struct held h = {.fds = seam_count_fds()};

    h.mapped = seam_count_mapped(&h.run_pages);
    return h;
}

static void check_held(struct held before)
{
    struct held now = look();

    CHECK_EQ(now.fds, before.fds);
    CHECK_EQ(now.run_pages, before.run_pages);
    if (!CHECK(now.mapped <= before.mapped + MALLOC_SLACK))
        printf("# 0x%" PRIx64 " bytes mapped, 0x%" PRIx64 " before\n", now.mapped, before.mapped);
}

/* One line that says which call failed and why. */
static void check_line(const struct err *e, int errnum)
{
    CHECK(strchr(e->text, '\n') == NULL && e->text[0] != '\0');
    if (!CHECK_HAS(e->text, strerror(errnum)))
        printf("# %s\n", e->text);
}

/* --- the slots alone -------------------------------------------------------------------------------- */

struct bare {
    struct machine machine;
    struct region ram;
    struct slots slots;
};

static bool open_bare(int kvm_fd, struct bare *b)
{
    const struct machine_options opt = {.phys_bits = 36};
    struct err e = {.text = ""};

    *b = (struct bare){.machine = MACHINE_CLOSED};
    if (!guest_check(region_map(&b->ram, BARE_LEN, &e), &e) ||
        !guest_check(machine_open(&b->machine, kvm_fd, &opt, &e), &e))
        return false;
    slots_init(&b->slots, &b->machine, true, true);
    return true;
}

static void close_bare(struct bare *b)
{
    machine_close(&b->machine);
    region_unmap(&b->ram);
}

static void map_fails(int kvm_fd, const struct kvm_case *c)
{
    const struct gpa at = gpa_make(0);
    struct err e = {.text = ""};
    struct bare b;
    unsigned i, n;

    (void)c;
    if (open_bare(kvm_fd, &b)) {
        for (n = 1; n <= BARE_PIECES; n++) {
            for (i = 0; i < ERRORS_N; i++) {
                seam_fail(KVM_SET_USER_MEMORY_REGION, n, errors[i]);
                CHECK_EQ(slots_map(&b.slots, at, BARE_LEN, b.ram.base, false, &e), -1);
                CHECK_EQ(e.status, 125);
                check_line(&e, errors[i]);
                CHECK_EQ(seam.slots_n, 0);
                seam_fail(0, 0, 0);
                guest_check(slots_map(&b.slots, at, BARE_LEN, b.ram.base, false, &e), &e);
                CHECK_EQ(seam.slots_n, BARE_PIECES);
                guest_check(slots_unmap(&b.slots, at, BARE_LEN, &e), &e);
                CHECK_EQ(seam.slots_n, 0);
            }
        }
        seam_fail(KVM_SET_USER_MEMORY_REGION, BARE_PIECES + 1, EEXIST);
        guest_check(slots_map(&b.slots, at, BARE_LEN, b.ram.base, false, &e), &e);
        CHECK_EQ(seam.calls_n, BARE_PIECES);
    }
    close_bare(&b);
}

static void unmap_fails(int kvm_fd, const struct kvm_case *c)
{
    const struct gpa at = gpa_make(0);
    struct err e = {.text = ""};
    struct bare b;
    unsigned n;

    (void)c;
    for (n = 1; n <= BARE_PIECES; n++) {
        if (open_bare(kvm_fd, &b)) {
            guest_check(slots_map(&b.slots, at, BARE_LEN, b.ram.base, false, &e), &e);
            seam_fail(KVM_SET_USER_MEMORY_REGION, n, ENOMEM);
            CHECK_EQ(slots_unmap(&b.slots, at, BARE_LEN, &e), -1);
            CHECK_EQ(e.status, 125);
            check_line(&e, ENOMEM);
            CHECK_EQ(seam.calls_n, BARE_PIECES);
            CHECK_EQ(seam.slots_n, 1);
        }
        close_bare(&b);
        seam_reset();
    }
}

/* KVM refuses the second region, and the first is none of its business. */
static void older_slot_survives(int kvm_fd, const struct kvm_case *c)
{
    struct err e = {.text = ""};
    struct bare b;

    (void)c;
    if (open_bare(kvm_fd, &b)) {
        guest_check(slots_map(&b.slots, gpa_make(0x10000), 0x10000, b.ram.base, false, &e), &e);
        CHECK_EQ(slots_map(&b.slots, gpa_make(0), BARE_LEN, b.ram.base, false, &e), -1);
        check_line(&e, EEXIST);
        CHECK_EQ(seam.slots_n, 1);
        CHECK_EQ(seam.slots[0].at, 0x10000);
        guest_check(slots_unmap(&b.slots, gpa_make(0), BARE_LEN, &e), &e);
        CHECK_EQ(seam.slots_n, 0);
    }
    close_bare(&b);
}

static void too_few_slots(int kvm_fd, const struct kvm_case *c)
{
    struct err e = {.text = ""};
    struct bare b;

    (void)c;
    if (open_bare(kvm_fd, &b)) {
        b.machine.slots_max = BARE_PIECES - 1;
        CHECK_EQ(slots_map(&b.slots, gpa_make(0), BARE_LEN, b.ram.base, false, &e), -1);
        CHECK_EQ(e.status, 125);
        CHECK_HAS(e.text, "no free memory slot (2 in use)");
        CHECK_EQ(seam.slots_n, 0);
    }
    close_bare(&b);
}

/* --- a whole guest ---------------------------------------------------------------------------------- */

/*
 * A guest of that kind with 64M of scratch and no region below MALLOC_SLACK;
 * amd64's snapshot region lies over the APIC page.
 */
static bool make_guest(const char *kind, struct snapshot *snap)
{
    const struct guest_kind *k = guest_kind_named(kind);
    struct plan_sizes sizes = layout_default_sizes();

    sizes.image_len = 0x10000;
    sizes.scratch_len = 64 << 20;
    sizes.input_len = 2 * MALLOC_SLACK;
    if (strcmp(kind, "amd64") == 0) {
        sizes.image_fixed = true;
        sizes.image_base = 0xfedf8000u;
    }
    return CHECK(k != NULL) && guest_make_empty(k, k->rules, &sizes, snap);
}

static void vm_slots_fail(int kvm_fd, const struct kvm_case *c)
{
    const struct vm_options opt = {.irqchip = true};
    struct err e = {.text = ""};
    struct snapshot snap;
    struct held before;
    struct vm vm;
    unsigned i, n;

    if (!make_guest(c->kind, &snap))
        return;
    before = look();
    for (n = 1; n <= c->n; n++) {
        for (i = 0; i < ERRORS_N; i++) {
            seam_reset();
            seam_fail(KVM_SET_USER_MEMORY_REGION, n, errors[i]);
            CHECK_EQ(vm_open(&vm, kvm_fd, &snap, &opt, &e), -1);
            CHECK_EQ(e.status, 125);
            check_line(&e, errors[i]);
            CHECK_HAS(e.text, "KVM_SET_USER_MEMORY_REGION");
            check_held(before);
        }
    }
    seam_reset();
    seam_fail(KVM_SET_USER_MEMORY_REGION, (unsigned)c->n + 1, EEXIST);
    if (guest_check(vm_open(&vm, kvm_fd, &snap, &opt, &e), &e)) {
        CHECK_EQ(seam.calls_n, c->n);
        vm_close(&vm);
    }
    check_held(before);
    snapshot_free(&snap);
}

/* From nothing to the first instruction, then back. Whatever fails, all is given back. */
static int set_up(const struct snapshot *snap, bool irqchip, struct err *e)
{
    const struct vm_options opt = {.irqchip = irqchip};
    struct vm vm;
    int fd, result;

    if (kvm_open(&fd, e) != 0)
        return -1;
    result = vm_open(&vm, fd, snap, &opt, e);
    if (result == 0) {
        result = vm_restore(&vm, e);
        CHECK_EQ(vm.usable, result == 0);
        if (result == 0)
            result = vm_enter_init(&vm, 0, e);
        vm_close(&vm);
    }
    close(fd);
    return result;
}

static void every_call_fails(int kvm_fd, const struct kvm_case *c)
{
    struct err e = {.text = ""};
    struct snapshot snap;
    struct held before;
    unsigned i, n = 0, failed_n = 0;

    (void)kvm_fd;
    if (!make_guest(c->kind, &snap))
        return;
    guest_check(set_up(&snap, c->n != 0, &e), &e);
    before = look();
    do {
        n++;
        for (i = 0; i < ERRORS_N; i++) {
            uint32_t failed;
            int result;

            seam_reset();
            seam_fail(0, n, errors[i]);
            memset(&e, 0, sizeof(e));
            result = set_up(&snap, c->n != 0, &e);
            failed = seam.failed_request;
            check_held(before);
            if (failed == 0) {
                guest_check(result, &e);
                CHECK(e.text[0] == '\0');
            } else if (result == 0) {
                /* The number of slots has a default, keys and banks may not be there; all else must be told. */
                CHECK(failed == KVM_CHECK_EXTENSION || failed == (uint32_t)KVM_X86_SETUP_MCE ||
                      (failed == (uint32_t)KVM_SET_XSAVE && errors[i] == EINVAL));
            } else {
                failed_n++;
                if (!CHECK(e.status == 125 || e.status == 77))
                    printf("# call %u, ioctl 0x%x: status %d: %s\n", n, failed, (int)e.status, e.text);
                CHECK(strchr(e.text, '\n') == NULL && e.text[0] != '\0');
                CHECK(strncmp(e.text, "kvm: ", 5) == 0 || strncmp(e.text, "/dev/kvm: ", 10) == 0);
                CHECK(e.status != 125 || strstr(e.text, strerror(errors[i])) != NULL);
            }
        }
    } while (seam.failed_request != 0 && n < CALLS_MAX);
    /* At least what a set-up cannot do without: VM, vCPU, CPUID, two slots, registers, FPU. */
    CHECK(failed_n >= 10 * ERRORS_N && n < CALLS_MAX);
    snapshot_free(&snap);
}

/* KVM gives up the creation of a machine when a signal comes; there is no reason to fail for that. */
static void interrupted_creation(int kvm_fd, const struct kvm_case *c)
{
    struct err e = {.text = ""};
    struct snapshot snap;

    (void)kvm_fd;
    if (!make_guest(c->kind, &snap))
        return;
    seam_fail(KVM_CREATE_VM, 1, EINTR);
    guest_check(set_up(&snap, false, &e), &e);
    CHECK_EQ(seam.failed_request, KVM_CREATE_VM);
    CHECK_EQ(seam.calls_n, 2);
    snapshot_free(&snap);
}

static const struct kvm_case cases[] = {
    {"a region whose Nth slot fails leaves no slot behind and can be mapped again", .run = map_fails},
    {"a slot that cannot be removed keeps no other one in place", .run = unmap_fails},
    {"a region that collides with an older one leaves that in place", .run = older_slot_survives},
    {"a KVM with too few slots is told and keeps none", .run = too_few_slots},
    {"an amd64 guest whose Nth slot fails leaves nothing behind", .run = vm_slots_fail, .kind = "amd64",
     .n = APIC_PIECES + 1},
    {"an i686 guest whose Nth slot fails leaves nothing behind", .run = vm_slots_fail, .kind = "i686",
     .n = 2},
    {"an i686-identity guest whose Nth slot fails leaves nothing behind", .run = vm_slots_fail,
     .kind = "i686-identity", .n = 2},
    {"each call fails in turn for an amd64 guest", .run = every_call_fails, .kind = "amd64", .n = 0},
    {"each call fails in turn for an amd64 guest with irqchip", .run = every_call_fails, .kind = "amd64",
     .n = 1},
    {"each call fails in turn for an i686-identity guest", .run = every_call_fails, .kind = "i686-identity",
     .n = 0},
    {"each call fails in turn for an i686 guest with irqchip", .run = every_call_fails, .paging32 = true,
     .kind = "i686", .n = 1},
    {"a signal during the creation of a machine does no harm", .run = interrupted_creation, .kind = "amd64"},
};

int main(void)
{
    return seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
