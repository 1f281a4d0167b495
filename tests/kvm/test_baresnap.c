/*
 * Snapshots of bare guests: saved at every exit there is, what a guest does is
 * done once; what is restored is what was saved, part by part; and a file with
 * any bytes in it is refused or is a guest's own trouble.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "hv/snapfile.h"
#include "mem/bytes.h"
#include "tests/kvm/bare_guest.h"
#include "tests/kvm/scale.h"
#include "tests/kvm/seam.h"

#define LIMIT      ((uint64_t)20 * 1000000000u)
#define CASE(name) static void name(int kvm_fd, const struct kvm_case *c)
#define UNUSED     (void)kvm_fd, (void)c

static struct bare_guest g;
static char path[] = "/tmp/baresnap-XXXXXX";

/* --- guests ------------------------------------------------------------------------------------------------- */

/* A guest of our samples in g.state. */
static bool load_sample(const char *name, const char *append, bool irqchip)
{
    const char *dirs[] = {getenv("SAMPLES"), "/guests", "build/i686-counter/samples"};
    struct bare_file image = {.name = name, .args = ""};
    struct bare_options o = {.ram_len = BARE_LEN, .append = append};
    struct region fill, file;
    struct stat st;
    char file_name[300];
    struct err e = {.text = ""};
    unsigned i;
    int fd = -1;

    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && fd < 0; i++) {
        if (dirs[i] == NULL)
            continue;
        snprintf(file_name, sizeof(file_name), "%s/%s.elf", dirs[i], name);
        fd = open(file_name, O_RDONLY | O_CLOEXEC);
    }
    if (!CHECK(fd >= 0) || !CHECK(fstat(fd, &st) == 0) ||
        !CHECK(region_map_file(&file, fd, 0, ((uint64_t)st.st_size + 4095) & ~(uint64_t)4095, &e) == 0))
        return false;
    close(fd);
    image.bytes = file.base;
    image.len = (uint64_t)st.st_size;
    g.state = (struct bare_state){.ram = PRISTINE_CLOSED};
    if (!CHECK(pristine_open(&g.state.ram, BARE_LEN, &fill, &e) == 0) ||
        !CHECK(bare_load(BARE_MULTIBOOT, &image, &o, fill.base, &g.state.start, &e) == 0) ||
        !CHECK(pristine_seal(&g.state.ram, &fill, &e) == 0))
        return false;
    g.state.start.irqchip = irqchip;
    region_unmap(&file);
    return true;
}

/* What a run, or the parts of one, came to. */
struct story {
    char said[512];
    size_t said_len;
    uint64_t counts[UNKNOWN_MAX]; /* by the port's or address's last byte, 0xd... apart */
    bool failed;
};

static void add_to(struct story *s, const struct outcome *o)
{
    unsigned i;

    if (!CHECK(g.said.len < sizeof(s->said) - s->said_len))
        return;
    memcpy(s->said + s->said_len, g.said.s, g.said.len);
    s->said_len += g.said.len;
    for (i = 0; i < o->unknown_n; i++)
        s->counts[(o->unknown[i].at & 7) + (o->unknown[i].memory ? 8 + (o->unknown[i].at >> 12 & 1) : 0)] +=
            o->unknown[i].n;
}

static struct outcome run_at(enum bare_point point)
{
    stop_take_asking(&g.stop);
    g.bare.env.point = point;
    return bare_guest_run(&g, LIMIT);
}

/* Run up to the point and save; false when the guest ended before. Opened and closed here. */
static bool save_at(enum bare_point point, struct story *s)
{
    struct err e = {.text = ""};
    struct outcome o;
    bool saved;

    if (!CHECK(bare_guest_open(&g, false, true, &e)))
        return false;
    o = run_at(point);
    saved = o.reason == REASON_EXPECTED && g.bare.at_point;
    if (saved) {
        add_to(s, &o);
        if (!CHECK_EQ(bare_save(&g.bare, path, &e), 0))
            printf("# %s\n", e.text);
    } else {
        CHECK_EQ(o.reason, REASON_ENDED);
    }
    bare_close(&g.bare);
    stop_close(&g.stop);
    close(g.kvm_fd);
    text_free(&g.said);
    return saved;
}

/* The saved guest in a machine of its own, g; closed with close_saved. */
static bool open_saved(struct snapshot *s, bool warm)
{
    struct err e = {.text = ""};

    if (snapfile_read(path, true, s, NULL, &e) == 0 && bare_from_snapshot(s, &g.state, &e) == 0 &&
        bare_guest_open(&g, false, warm, &e))
        return CHECK(true);
    printf("# %s\n", e.text);
    return CHECK(false);
}

static void close_saved(struct snapshot *s)
{
    bare_close(&g.bare);
    stop_close(&g.stop);
    close(g.kvm_fd);
    text_free(&g.said);
    snapshot_free(s);
}

/* --- exactly once ------------------------------------------------------------------------------------------- */

static void check_every_exit(bool irqchip)
{
    struct bare_state image;
    struct story whole = {.said_len = 0};
    struct outcome o;
    struct err e;
    /* In the lab, the odd ones of one guest and the even ones of the other. */
    unsigned step = scale_is_lab() && scale_factor() == 1 ? 2 : 1;
    unsigned k = step == 2 && irqchip ? 2 : 1, exits_n, wrong = 0, saved = 0, wanted = 0;

    if (!load_sample("bare_once", "rounds=2", irqchip) || !CHECK(bare_guest_open(&g, false, true, &e)))
        return;
    image = g.state;
    seam.runs_n = 0;
    o = run_at(POINT_NONE);
    exits_n = seam.runs_n;
    CHECK_EQ(o.reason, REASON_ENDED);
    add_to(&whole, &o);
    bare_close(&g.bare);
    stop_close(&g.stop);
    close(g.kvm_fd);
    text_free(&g.said);
    CHECK(exits_n > 40);
    CHECK_EQ(whole.counts[0], 2);
    CHECK_EQ(whole.counts[2], 16);

    for (; k <= exits_n; k += step) {
        struct story parts = {.said_len = 0};
        struct snapshot s;

        /* Behind the last exit, which ends it, there is nothing to save. */
        wanted += k < exits_n;
        g.state = image;
        seam.runs_n = 0;
        seam.signal_at = k;
        if (!save_at(POINT_SIGNAL, &parts))
            continue;
        saved++;
        seam.signal_at = 0;
        if (!open_saved(&s, false))
            break;
        o = bare_guest_run(&g, LIMIT);
        add_to(&parts, &o);
        if (o.reason != REASON_ENDED || parts.said_len != whole.said_len ||
            memcmp(parts.said, whole.said, whole.said_len) != 0 ||
            memcmp(parts.counts, whole.counts, sizeof(whole.counts)) != 0) {
            printf("# saved behind exit %u: reason %d, said %.*s\n", k, (int)o.reason, (int)parts.said_len,
                   parts.said);
            wrong++;
        }
        close_saved(&s);
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(saved, wanted);
    pristine_close(&image.ram);
}

CASE(every_exit)
{
    UNUSED;
    check_every_exit(false);
}

CASE(every_exit_irqchip)
{
    UNUSED;
    check_every_exit(true);
}

/* --- part by part ------------------------------------------------------------------------------------------- */

#define OUT8(port, v) 0xb0, (v), 0xe6, (port) /* mov $v, %al; out %al, $port */
#define WORD(v)       (v) & 0xff, (v) >> 8 & 0xff, (v) >> 16 & 0xff, (v) >> 24 & 0xff
#define MOV_EAX(v)    0xb8, WORD(v)
#define SET_DR(n)     0x0f, 0x23, 0xc0 | (n) << 3
#define WRMSR(msr, v) 0xb9, WORD(msr), MOV_EAX(v), 0x31, 0xd2, 0x0f, 0x30
#define ASK           0x66, 0xba, 0x04, 0x06, MOV_EAX(0x40000000u), 0xef /* to be saved */
#define SAY_AL        0xe6, 0xe9

/* Something of its own into every part that a guest without paging and interrupts reaches; then it asks. */
static const uint8_t settled[] = {
    OUT8(0x21, 0x5a), /* the PICs' masks */
    OUT8(0xa1, 0xa5),
    OUT8(0x43, 0x34),
    OUT8(0x40, 0x34),
    OUT8(0x40, 0x12), /* the PIT's channel 0: rate generator, 0x1234 */
    OUT8(0x61, 1),    /* the gate of its channel 2 */
    OUT8(0x70, 0x2f), /* the CMOS' index */
    0x66,
    0xba,
    0xff,
    0x03,
    0xb0,
    0x77,
    0xee, /* the UART's scratch register */
    MOV_EAX(0x1234567u),
    SET_DR(0),
    WRMSR(0x175u, 0x8888u), /* SYSENTER_ESP */
    MOV_EAX(0x1fffu),
    0xa3,
    WORD(0xfee000f0u), /* the local APIC's spurious vector */
    MOV_EAX(0x12u),
    0xa3,
    WORD(0xfec00000u), /* the IOAPIC's index, and half of entry 1 there */
    MOV_EAX(0x10031u),
    0xa3,
    WORD(0xfec00010u),
    MOV_EAX(0x11223344u),
    0xbb,
    WORD(0x55667788u),
    0xbe,
    WORD(0x99aabbccu),
    0xf9, /* stc */
    ASK,
    0xe4,
    0x21,
    SAY_AL,
    0xe4,
    0xa1,
    SAY_AL,
    0xe4,
    0x71,
    SAY_AL, /* and says what it finds */
    0x66,
    0xba,
    0xff,
    0x03,
    0xec,
    SAY_AL,
    0x0f,
    0x21,
    0xc0,
    SAY_AL, /* mov %dr0, %eax */
    0xb9,
    WORD(0x175u),
    0x0f,
    0x32,
    SAY_AL,
    0xa0,
    WORD(0xfee000f0u),
    SAY_AL,
    0xa0,
    WORD(0xfec00010u),
    SAY_AL,
    0x88,
    0xd8,
    SAY_AL,
    0xb0,
    1,
    0xe6,
    0xf4,
};
static const char found[] = "\x5a\xa5\0\x77\x67\x88\xff\x31\x88";

/* The record of that number, told anew from the description of the format. */
static const uint8_t *record(const struct bare_machine *m, uint32_t id, uint32_t *len)
{
    uint64_t at = 0;

    while (at < m->state_len) {
        *len = load_le32(m->state + at + 4);
        if (load_le32(m->state + at) == id)
            return m->state + at + 8;
        at += 8 + ((uint64_t)*len + 7) / 8 * 8;
    }
    return NULL;
}

/* `skip` bytes at `from`, and as often behind that as there is room for at `stride`, may differ; stride 0: none. */
static bool same_record(const struct bare_machine *a, const struct bare_machine *b, uint32_t id,
                        uint32_t from, uint32_t skip, uint32_t stride)
{
    uint32_t len_a = 0, len_b = 0, i;
    const uint8_t *in_a = record(a, id, &len_a), *in_b = record(b, id, &len_b);

    if (in_a == NULL || in_b == NULL || len_a != len_b)
        return false;
    for (i = 0; i < len_a; i++)
        if (in_a[i] != in_b[i] && (stride == 0 || i % stride < from || i % stride >= from + skip))
            return false;
    return true;
}

static uint64_t clock_of(const struct bare_machine *m)
{
    uint32_t len = 0;
    const uint8_t *r = record(m, 11, &len);

    return r != NULL && len == 8 ? load_le64(r) : 0;
}

static uint64_t msr_of(const struct bare_machine *m, uint32_t index)
{
    uint32_t len = 0, i;
    const uint8_t *r = record(m, 0, &len);

    for (i = 0; r != NULL && i < len; i += 16)
        if (load_le32(r + i) == index)
            return load_le64(r + i + 8);
    return 0;
}

/* Saved again before it ran on, a guest is what it was. */
static void check_same(const struct snapshot *a, const struct snapshot *b)
{
    const struct bare_machine *m = a->bare, *n = b->bare;

    CHECK_EQ(b->generation, a->generation + 1);
    CHECK(memcmp(&m->start.regs, &n->start.regs, sizeof(m->start.regs)) == 0);
    CHECK_EQ(m->start.regs.rbx, 0x55667788);
    CHECK(m->start.regs.rflags & 1);
    CHECK_EQ(a->sregs.cr0, b->sregs.cr0);
    CHECK_EQ(a->sregs.cs.base + a->sregs.cs.limit, b->sregs.cs.base + b->sregs.cs.limit);
    CHECK_EQ(a->sregs.apic_base, b->sregs.apic_base);
    CHECK_EQ(m->ram_len, n->ram_len);
    CHECK(m->start.irqchip && n->start.irqchip);
    CHECK(m->devices_len == n->devices_len && memcmp(m->devices, n->devices, m->devices_len) == 0);
    CHECK(memcmp(a->memory.base, b->memory.base, a->memory.len) == 0);

    CHECK(same_record(m, n, 1, 0, 0, 0));        /* XCR0 */
    CHECK(same_record(m, n, 2, 0, 0, 0));        /* debug registers */
    CHECK(same_record(m, n, 3, 0, 0, 0));        /* FPU */
    CHECK(same_record(m, n, 4, 0x390, 4, 1024)); /* local APIC, but the count of its timer */
    CHECK(same_record(m, n, 5, 0, 0, 0));        /* PICs */
    CHECK(same_record(m, n, 6, 0, 0, 0));
    CHECK(same_record(m, n, 7, 0, 0, 0));   /* IOAPIC */
    CHECK(same_record(m, n, 8, 16, 8, 24)); /* PIT, but when its channels were loaded */
    CHECK(same_record(m, n, 9, 0, 0, 0));   /* events */
    CHECK(same_record(m, n, 10, 0, 0, 0));  /* run state */
    CHECK(clock_of(m) != 0 && clock_of(n) >= clock_of(m));
    CHECK(clock_of(n) - clock_of(m) < 10000000000u);
    CHECK(msr_of(m, 0x10) != 0 && msr_of(n, 0x10) >= msr_of(m, 0x10));
    CHECK_EQ(msr_of(m, 0x175), 0x8888);
    CHECK_EQ(msr_of(n, 0x175), 0x8888);
}

static bool save_settled(void)
{
    struct story ignored = {.said_len = 0};

    g.state = bare_make_state(settled, sizeof(settled), false, true);
    CHECK(save_at(POINT_PORT, &ignored));
    pristine_close(&g.state.ram);
    return true;
}

CASE(same_again)
{
    static char second[] = "/tmp/baresnap-again";
    struct snapshot a, b;
    struct outcome o;
    struct err e = {.text = ""};
    unsigned i;

    UNUSED;
    if (!save_settled() || !open_saved(&a, true))
        return;
    CHECK_EQ(bare_restore(&g.bare, &e), 0);
    g.bare.at_point = true;
    CHECK_EQ(bare_save(&g.bare, second, &e), 0);
    if (CHECK_EQ(snapfile_read(second, true, &b, NULL, &e), 0)) {
        check_same(&a, &b);
        snapshot_free(&b);
    } else {
        printf("# %s\n", e.text);
    }
    unlink(second);
    /* And it finds all that itself, each time. */
    for (i = 0; i < 3; i++) {
        o = bare_guest_run(&g, LIMIT);
        CHECK(o.reason == REASON_ENDED && o.status == 3);
        CHECK(g.said.len == sizeof(found) - 1 && memcmp(g.said.s, found, sizeof(found) - 1) == 0);
    }
    close_saved(&a);
}

/* Younger than a second, a TSC is what KVM would rather keep going. */
CASE(tsc)
{
    static const uint8_t code[] = {0x0f,
                                   0x31,
                                   0xa3,
                                   WORD(0x200000u),
                                   0x89,
                                   0x15,
                                   WORD(0x200004u),
                                   ASK, /* rdtsc, kept */
                                   0x0f,
                                   0x31,
                                   0x3b,
                                   0x15,
                                   WORD(0x200004u),
                                   0x77,
                                   0x0a, /* later in its upper half: fine */
                                   0x72,
                                   0x0c, /* earlier: back */
                                   0x3b,
                                   0x05,
                                   WORD(0x200000u),
                                   0x72,
                                   0x04, /* cmp, jb back */
                                   0xb0,
                                   1,
                                   0xe6,
                                   0xf4, /* 3: forward */
                                   0xb0,
                                   2,
                                   0xe6,
                                   0xf4}; /* 5: back */
    struct story ignored = {.said_len = 0};
    struct snapshot s;
    struct outcome o;
    unsigned i;

    UNUSED;
    for (i = 0; i < 5; i++) {
        g.state = bare_make_state(code, sizeof(code), false, true);
        if (i != 0)
            usleep(20000 * i);
        if (!CHECK(save_at(POINT_PORT, &ignored)) || !open_saved(&s, true))
            return;
        o = bare_guest_run(&g, LIMIT);
        CHECK_EQ(o.status, 3);
        o = bare_guest_run(&g, LIMIT);
        CHECK_EQ(o.status, 3);
        close_saved(&s);
    }
}

/* --- hostile ------------------------------------------------------------------------------------------------ */

/* Whether such a machine is refused with that, before it is given to KVM. */
static void refuse(const struct bare_machine *good, uint64_t at, uint8_t value, uint64_t len,
                   const char *says)
{
    struct bare_machine *bad = malloc(sizeof(*bad));
    struct err e = {.text = ""};

    if (!CHECK(bad != NULL))
        return;
    *bad = *good;
    bad->state[at] = value;
    bad->state_len = len;
    CHECK_EQ(state_check(bad, &e), -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_HAS(e.text, says);
    free(bad);
}

CASE(records)
{
    const struct bare_machine *m;
    struct snapshot s;
    struct err e = {.text = ""};
    uint64_t at, len, n;
    uint32_t ignored;

    UNUSED;
    if (!save_settled() || !open_saved(&s, false))
        return;
    m = s.bare;
    CHECK_EQ(state_check(m, &e), 0);
    for (at = 0, n = 0; at < m->state_len; at += 8 + (len + 7) / 8 * 8, n++) {
        len = load_le32(m->state + at + 4);
        refuse(m, at, 77, m->state_len, "section STATE: there is no ");
        refuse(m, at + 4, (uint8_t)(len + 1), m->state_len, "of a wrong length");
        refuse(m, at + 7, 0xff, m->state_len, "of a wrong length");
        refuse(m, at, m->state[at], at, "section STATE: there is no ");
        refuse(m, at, m->state[at], at + 7, "section STATE: there is no ");
        if (len > 8)
            refuse(m, at, m->state[at], at + 8, "of a wrong length");
    }
    CHECK_EQ(n, 12);
    refuse(m, 0, m->state[0], m->state_len + 8, "list of MSRs of a wrong length");
    at = (uint64_t)(record(m, 10, &ignored) - m->state);
    refuse(m, at, 1, m->state_len, "run state cannot be a guest's");
    refuse(m, at + 2, 1, m->state_len, "run state cannot be a guest's");
    close_saved(&s);
}

/* Any bytes in what KVM is given: it refuses them, and the file is to blame, or runs whatever that is. */
CASE(any_bytes)
{
    const uint64_t limit = 20000000;
    struct snapshot s;
    struct bare_machine *good = malloc(sizeof(*good));
    unsigned i, j, refused = 0, ran = 0;
    uint64_t seed = 1;

    UNUSED;
    if (!CHECK(good != NULL) || !save_settled() || !open_saved(&s, true))
        return;
    *good = *s.bare;
    for (i = 0; i < 100; i++) {
        struct outcome o;
        uint64_t at = 0, record_n = tap_random(&seed) % 12, len;

        *s.bare = *good;
        for (j = 0; j < record_n && at < good->state_len; j++)
            at += 8 + ((uint64_t)load_le32(good->state + at + 4) + 7) / 8 * 8;
        if (!CHECK(at < good->state_len))
            break;
        len = load_le32(good->state + at + 4);
        /* Not the run state, which is looked at before. */
        if (load_le32(good->state + at) == 10)
            continue;
        for (j = 0; j < 1 + i % 3; j++)
            s.bare->state[at + 8 + tap_random(&seed) % len] ^= (uint8_t)(1u << tap_random(&seed) % 8);
        o = bare_guest_run(&g, limit);
        if (o.reason == REASON_ERROR) {
            refused++;
            if (!CHECK_EQ(o.status, STATUS_IMAGE))
                printf("# %s\n", o.why.text);
        } else {
            ran++;
        }
        /* A machine that was refused takes the good one again. */
        *s.bare = *good;
        o = bare_guest_run(&g, LIMIT);
        if (!CHECK(o.reason == REASON_ENDED && o.status == 3)) {
            printf("# round %u, record %u: %s\n", i, load_le32(good->state + at), o.why.text);
            break;
        }
    }
    CHECK(refused >= 3);
    CHECK(ran >= 5);
    *s.bare = *good;
    free(good);
    close_saved(&s);
}

static const struct kvm_case cases[] = {
    {"saved at any exit, a guest does everything once", .run = every_exit},
    {"saved at any exit, a guest with interrupt controllers does everything once", .run = every_exit_irqchip},
    {"a restored guest is in every part what was saved", .run = same_again},
    {"a restored TSC does not go back, however young the guest was", .run = tsc},
    {"a state with other records than the machine's is refused", .run = records},
    {"any bytes of a part are refused by KVM or run, and leave the machine usable", .run = any_bytes},
};

int main(void)
{
    int fd = mkstemp(path), result;

    if (fd < 0)
        return 1;
    close(fd);
    result = seam_run_cases(cases, sizeof(cases) / sizeof(cases[0]));
    unlink(path);
    return result;
}
