/*
 * A captured guest whose pages the host copies says what it says where it
 * copies them itself, again and again; so does what is captured of it. And it
 * needs no handler of page faults for it.
 */
#include "tests/kvm/captured.h"

#define ROUNDS 4u

/* Open `snap` with the host copying or the guest; have it say the probe, several times over. */
static void says(int kvm_fd, const struct snapshot *snap, bool cow_host, const struct script *s,
                 const char *wanted)
{
    struct calling c;
    unsigned i;

    calling_cow_host = cow_host;
    if (!captured_open(&c, kvm_fd, snap))
        return;
    CHECK_EQ(c.vm.cow_host, cow_host);
    for (i = 0; i < ROUNDS && tap_ok && captured_restore(&c); i++)
        captured_says(&c, s->probe, wanted);
    calling_close(&c);
}

/* What the guest is after it was set up once more, captured. */
static bool capture_on_way(int kvm_fd, const struct snapshot *snap, bool cow_host, const struct script *s,
                           struct snapshot *out)
{
    struct calling c;
    bool made = false;
    char said[TRANSCRIPT_LEN] = "";

    calling_cow_host = cow_host;
    if (!captured_open(&c, kvm_fd, snap))
        return false;
    if (captured_restore(&c)) {
        captured_calls(&c, s->setup, said);
        made = CHECK(c.vm.ready) && captured_make(&c, out);
    }
    calling_close(&c);
    return made;
}

/* What the probe says of a guest that copies by itself. */
static bool ask(int kvm_fd, const struct snapshot *snap, const struct script *s, char *said)
{
    struct calling c;

    said[0] = '\0';
    calling_cow_host = false;
    if (!captured_open(&c, kvm_fd, snap))
        return false;
    if (captured_restore(&c))
        captured_calls(&c, s->probe, said);
    calling_close(&c);
    return CHECK(said[0] != '\0');
}

/* Start the sample, set it up and capture it. */
static bool capture_first(int kvm_fd, const char *sample, const char *kind, const struct script_call *setup,
                          struct snapshot *out)
{
    struct image_options io = guest_options(SCRATCH_LEN_DEFAULT);
    char said[TRANSCRIPT_LEN] = "";
    struct calling c;
    bool made = false;

    calling_cow_host = false;
    if (!calling_open(&c, kvm_fd, sample, kind, &io, false))
        return false;
    if (calling_start(&c)) {
        captured_calls(&c, setup, said);
        made = CHECK(c.vm.ready) && captured_make(&c, out);
    }
    calling_close(&c);
    return made;
}

static void says_the_same(int kvm_fd, const struct kvm_case *kc)
{
    static char first[TRANSCRIPT_LEN], second[TRANSCRIPT_LEN];
    const struct script *s = &scripts[kc->n];
    struct snapshot snap, by_guest, by_host;

    if (!capture_first(kvm_fd, s->sample, kc->kind, s->setup, &snap))
        return;
    if (ask(kvm_fd, &snap, s, first)) {
        says(kvm_fd, &snap, true, s, first);
        if (capture_on_way(kvm_fd, &snap, false, s, &by_guest)) {
            if (ask(kvm_fd, &by_guest, s, second) && capture_on_way(kvm_fd, &snap, true, s, &by_host)) {
                says(kvm_fd, &by_host, false, s, second);
                says(kvm_fd, &by_host, true, s, second);
                /* From a file, as it is used. */
                if (captured_through_file(&by_host))
                    says(kvm_fd, &by_host, true, s, second);
                snapshot_free(&by_host);
            }
            snapshot_free(&by_guest);
        }
    }
    snapshot_free(&snap);
}

/* Without a table of exceptions, the first write to a page that is copied on write ends a guest that copies it itself. */
static void needs_no_handler(int kvm_fd, const struct kvm_case *kc)
{
    static const struct script_call none[] = {{NULL, 0, {0}}};
    struct snapshot snap;
    struct calling c;
    unsigned i;

    if (!capture_first(kvm_fd, "scribble", kc->kind, none, &snap))
        return;
    for (i = 0; i < 2 && captured_through_file(&snap); i++) {
        calling_cow_host = i == 1;
        if (!captured_open(&c, kvm_fd, &snap))
            break;
        if (captured_restore(&c))
            CHECK_EQ(calling_call1(&c, "alone", 77), i == 0 ? STATUS_FAULTED : STATUS_OK);
        if (captured_restore(&c))
            CHECK_EQ(calling_call1(&c, "plain", 77), STATUS_OK);
        calling_close(&c);
    }
    snapshot_free(&snap);
}

static const struct kvm_case more[] = {
    {"amd64: where the host copies, a guest needs no page fault handler", .run = needs_no_handler,
     .kind = "amd64"},
    {"i686: where the host copies, a guest needs no page fault handler", .run = needs_no_handler,
     .paging32 = true, .kind = "i686"},
};

int main(void)
{
    static struct kvm_case paged[3 * SCRIPTS_N + 64];
    const struct kvm_case *cases;
    unsigned cases_n, i, n = 0;

    cases = captured_cases(says_the_same, "copied by the host, it says what it says where it copies itself",
                           more, sizeof(more) / sizeof(more[0]), &cases_n);
    for (i = 0; i < cases_n; i++)
        if (strcmp(cases[i].kind, "i686-identity") != 0)
            paged[n++] = cases[i];
    return seam_run_cases(paged, n);
}
