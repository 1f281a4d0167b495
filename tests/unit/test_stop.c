/*
 * hv/stop: limits that fire, are replaced and do not come late; signals that
 * are caught, kicked for and put back. The timers are real; the calls that set
 * them pass through this program, which counts them, fails them, or lets a
 * signal in just there.
 */
#include "hv/stop.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hv/host.h"
#include "hv/ktimer.h"
#include "tests/tap.h"

#define MS  ((uint64_t)1000000)
#define FAR (3600 * 1000 * MS)

/* --- the timers' calls ------------------------------------------------------------------------------ */
static int timers_n;          /* that exist */
static unsigned create_fails; /* the creation to fail, from 1; 0 = none */
static unsigned creations_n;
static unsigned settings_n;
static int raise_while_setting; /* a signal, or 0 */

int ktimer_create(int sig, int *id)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};

    if (++creations_n == create_fails) {
        errno = EAGAIN;
        return -1;
    }
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, id) != 0)
        return -1;
    timers_n++;
    return 0;
}

void ktimer_delete(int id)
{
    timers_n--;
    syscall(SYS_timer_delete, id);
}

void ktimer_set(int id, uint64_t first_ns, uint64_t repeat_ns)
{
    const struct itimerspec t = {
        .it_value = {.tv_sec = (time_t)(first_ns / 1000000000), .tv_nsec = (long)(first_ns % 1000000000)},
        .it_interval = {.tv_sec = (time_t)(repeat_ns / 1000000000),
                        .tv_nsec = (long)(repeat_ns % 1000000000)},
    };
    int sig = raise_while_setting;

    settings_n++;
    raise_while_setting = 0;
    if (sig != 0)
        raise(sig);
    if (syscall(SYS_timer_settime, id, 0, &t, NULL) == 0)
        errno = EIO; /* a call that succeeds may change it too */
}

/* --- a machine that can only be kicked ------------------------------------------------------------------ */
static struct kvm_run run;
static struct machine machine = {.vm_fd = -1, .vcpu_fd = -1, .run = &run, .run_len = sizeof(run)};
static struct stop stop;

static bool kicked(void)
{
    return ((volatile struct kvm_run *)&run)->immediate_exit != 0;
}

static void sleep_ms(unsigned ms)
{
    uint64_t end = host_monotonic() + ms * MS;

    while (host_monotonic() < end) {
        struct timespec t = {.tv_nsec = 1000000};

        nanosleep(&t, NULL);
    }
}

/* Wait for a kick, two seconds at most. The machine is unkicked then. */
static bool wait_for_kick(void)
{
    unsigned i;

    for (i = 0; i < 2000 && !kicked(); i++)
        sleep_ms(1);
    if (!kicked())
        return false;
    machine_unkick(&machine);
    return true;
}

static void open_stop(void)
{
    struct err e = {.text = "untouched"};

    CHECK(stop_open(&stop, &e) == 0);
    CHECK_STR(e.text, "untouched");
    machine_unkick(&machine);
    stop_watch(&stop, &machine);
}

static void arm(uint64_t ns)
{
    struct err e = {.text = ""};

    CHECK(stop_arm(&stop, ns, &e) == 0);
    CHECK_STR(e.text, "");
}

static void set_timer(uint64_t period_ns)
{
    struct err e = {.text = ""};

    CHECK(stop_set_timer(&stop, period_ns, &e) == 0);
    CHECK_STR(e.text, "");
}

static void test_limits(void)
{
    uint64_t start;

    tap_case("without a limit nothing stops a guest and nothing kicks it");
    open_stop();
    sleep_ms(40);
    CHECK(!kicked());
    CHECK_EQ(stop_why(&stop), STOP_NONE);

    tap_case("a limit stops the guest when its time has passed, and not before");
    start = host_monotonic();
    arm(30 * MS);
    CHECK(stop_why(&stop) == STOP_NONE || host_monotonic() - start >= 30 * MS);
    CHECK(wait_for_kick());
    CHECK(host_monotonic() - start >= 30 * MS);
    CHECK_EQ(stop_why(&stop), STOP_TIMEOUT);

    tap_case("a limit that has passed kicks again and again until it is disarmed");
    CHECK(wait_for_kick());
    CHECK(wait_for_kick());
    stop_disarm(&stop);
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    machine_unkick(&machine);
    sleep_ms(60);
    CHECK(!kicked());

    tap_case("a later limit replaces an earlier one");
    arm(20 * MS);
    arm(FAR);
    sleep_ms(60);
    CHECK(!kicked());
    CHECK_EQ(stop_why(&stop), STOP_NONE);

    tap_case("an earlier limit replaces a later one");
    arm(20 * MS);
    CHECK(wait_for_kick());
    CHECK_EQ(stop_why(&stop), STOP_TIMEOUT);

    tap_case("a limit that passed in one run does not end the next, even if its signal comes only then");
    sleep_ms(30);
    arm(FAR);
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    raise(SIGALRM);
    CHECK(wait_for_kick());
    CHECK_EQ(stop_why(&stop), STOP_NONE);

    tap_case("a limit of nothing is none");
    arm(20 * MS);
    arm(0);
    sleep_ms(50);
    CHECK(!kicked());
    CHECK_EQ(stop_why(&stop), STOP_NONE);

    tap_case("a limit of whole seconds and one of a second and a bit are taken whole");
    {
        struct itimerspec t;

        arm(7 * 1000 * MS + 500 * MS);
        CHECK(syscall(SYS_timer_gettime, stop.timers[STOP_LIMIT], &t) == 0);
        CHECK(t.it_value.tv_sec == 7 && t.it_value.tv_nsec <= 500000000 && t.it_value.tv_nsec > 100000000);
        arm(3000 * 1000 * MS);
        CHECK(syscall(SYS_timer_gettime, stop.timers[STOP_LIMIT], &t) == 0);
        CHECK(t.it_value.tv_sec >= 2999 && t.it_value.tv_sec <= 3000);
    }
    stop_close(&stop);
}

static void test_signals(void)
{
    static const struct {
        int sig;
        enum stop_cause why;
    } row[] = {{SIGINT, STOP_SIGINT}, {SIGTERM, STOP_SIGTERM}, {SIGHUP, STOP_SIGTERM}};
    size_t i;

    tap_case("SIGINT, SIGTERM and SIGHUP stop the guest, and kick it again and again");
    for (i = 0; i < 3; i++) {
        open_stop();
        raise(row[i].sig);
        CHECK_EQ(stop_why(&stop), row[i].why);
        CHECK(kicked());
        CHECK(wait_for_kick() && wait_for_kick() && wait_for_kick());
        CHECK_EQ(stop_why(&stop), row[i].why);
        stop_close(&stop);
    }

    tap_case("a signal outlasts limits that are armed, passed or disarmed after it");
    open_stop();
    raise(SIGINT);
    arm(MS);
    sleep_ms(5);
    CHECK_EQ(stop_why(&stop), STOP_SIGINT);
    stop_disarm(&stop);
    machine_unkick(&machine);
    CHECK(wait_for_kick());
    CHECK_EQ(stop_why(&stop), STOP_SIGINT);
    stop_close(&stop);

    tap_case("a signal wakes a blocked system call");
    open_stop();
    {
        int fd[2];
        char c;

        CHECK(pipe(fd) == 0);
        arm(20 * MS);
        CHECK(read(fd[0], &c, 1) == -1 && errno == EINTR);
        CHECK_EQ(stop_why(&stop), STOP_TIMEOUT);
        close(fd[0]);
        close(fd[1]);
    }
    stop_close(&stop);

    tap_case("without a machine signals are noted all the same");
    open_stop();
    stop_watch(&stop, NULL);
    raise(SIGALRM);
    raise(SIGTERM);
    CHECK_EQ(stop_why(&stop), STOP_SIGTERM);
    CHECK(!kicked());
    stop_watch(&stop, &machine);
    CHECK(wait_for_kick());
    stop_close(&stop);

    tap_case("a stop from an earlier run is forgotten by the next struct stop");
    open_stop();
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    sleep_ms(50);
    CHECK(!kicked());
    stop_close(&stop);

    tap_case("the handler leaves errno alone");
    open_stop();
    stop_watch(&stop, NULL);
    errno = 77;
    raise(SIGINT);
    CHECK_EQ(errno, 77);
    stop_close(&stop);
}

static volatile sig_atomic_t own_n;

static void own_handler(int sig)
{
    (void)sig;
    own_n++;
}

static void test_handlers(void)
{
    static const int sigs[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
    struct sigaction sa;
    size_t i;

    tap_case("SIGINT and SIGHUP that were ignored stay ignored; SIGTERM never is");
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    open_stop();
    raise(SIGINT);
    raise(SIGHUP);
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    CHECK(!kicked());
    raise(SIGTERM);
    CHECK_EQ(stop_why(&stop), STOP_SIGTERM);
    stop_close(&stop);
    for (i = 1; i < 4; i++) {
        CHECK(sigaction(sigs[i], NULL, &sa) == 0);
        CHECK(sa.sa_handler == SIG_IGN);
        signal(sigs[i], SIG_DFL);
    }

    tap_case("an ignored SIGALRM is not ignored by a limit");
    signal(SIGALRM, SIG_IGN);
    open_stop();
    arm(10 * MS);
    CHECK(wait_for_kick());
    stop_close(&stop);
    signal(SIGALRM, SIG_DFL);

    tap_case("closing puts every handler back");
    for (i = 0; i < 4; i++)
        signal(sigs[i], own_handler);
    open_stop();
    raise(SIGINT);
    CHECK_EQ(own_n, 0);
    stop_close(&stop);
    for (i = 0; i < 4; i++)
        raise(sigs[i]);
    CHECK_EQ(own_n, 4);
    for (i = 0; i < 4; i++)
        signal(sigs[i], SIG_DFL);
    open_stop();
    stop_close(&stop);
    for (i = 0; i < 4; i++) {
        CHECK(sigaction(sigs[i], NULL, &sa) == 0);
        CHECK(sa.sa_handler == SIG_DFL);
    }

    tap_case("closing leaves no timer, and no kick comes after it");
    open_stop();
    CHECK(timers_n > 0);
    arm(MS);
    stop_tick(&stop);
    raise(SIGINT);
    stop_close(&stop);
    CHECK_EQ(timers_n, 0);
    machine_unkick(&machine);
    sleep_ms(50);
    CHECK(!kicked());
}

static void check_creation_failed(int result, const struct err *e)
{
    create_fails = 0;
    CHECK_EQ(result, -1);
    CHECK_EQ(e->status, STATUS_HOST);
    CHECK_HAS(e->text, "host: cannot create a timer: ");
}

static void test_creation(void)
{
    struct err e = {.text = ""};
    struct sigaction sa;
    int result;

    tap_case("limit and guest timer are made when first needed, and once");
    open_stop();
    CHECK_EQ(timers_n, 1);
    stop_tick(&stop);
    arm(0);
    stop_disarm(&stop);
    set_timer(0);
    CHECK_EQ(timers_n, 1);
    arm(FAR);
    CHECK_EQ(timers_n, 2);
    set_timer(FAR);
    CHECK_EQ(timers_n, 3);
    stop_disarm(&stop);
    arm(FAR);
    set_timer(0);
    set_timer(FAR);
    CHECK_EQ(timers_n, 3);
    stop_close(&stop);
    CHECK_EQ(timers_n, 0);

    tap_case("when no timer for ticks can be made nothing is left and no handler changed");
    creations_n = 0;
    create_fails = 1;
    result = stop_open(&stop, &e);
    check_creation_failed(result, &e);
    CHECK_EQ(timers_n, 0);
    CHECK(sigaction(SIGINT, NULL, &sa) == 0);
    CHECK(sa.sa_handler == SIG_DFL);
    open_stop();

    tap_case("when none for a limit can be made there is no limit, and the next may have one");
    creations_n = 0;
    create_fails = 1;
    e = (struct err){.text = ""};
    result = stop_arm(&stop, 1, &e);
    check_creation_failed(result, &e);
    sleep_ms(1);
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    arm(MS);
    CHECK(wait_for_kick());
    CHECK_EQ(stop_why(&stop), STOP_TIMEOUT);

    tap_case("when none for the guest can be made its timer does not run, and may be started anew");
    creations_n = 0;
    create_fails = 1;
    e = (struct err){.text = ""};
    result = stop_set_timer(&stop, 1, &e);
    check_creation_failed(result, &e);
    sleep_ms(1);
    CHECK(!stop_timer_due(&stop));
    set_timer(0);
    set_timer(MS);
    sleep_ms(2);
    CHECK(stop_timer_due(&stop));
    stop_close(&stop);
    CHECK_EQ(timers_n, 0);
}

static void test_ticks(void)
{
    unsigned settings;
    uint64_t start;

    tap_case("a tick kicks once, soon");
    open_stop();
    start = host_monotonic();
    stop_tick(&stop);
    CHECK(wait_for_kick());
    CHECK(host_monotonic() - start < 500 * MS);
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    sleep_ms(60);
    CHECK(!kicked());

    tap_case("the tick is set to come within 20 ms");
    stop_tick(&stop);
    {
        struct itimerspec t;

        CHECK(syscall(SYS_timer_gettime, stop.timers[STOP_TICK], &t) == 0);
        CHECK(t.it_value.tv_sec == 0 && t.it_value.tv_nsec <= 20000000);
        CHECK(t.it_interval.tv_sec == 0 && t.it_interval.tv_nsec == 0);
    }

    tap_case("asking again while a tick is on its way costs nothing and does not put it off");
    settings = settings_n;
    stop_tick(&stop);
    stop_tick(&stop);
    CHECK_EQ(settings_n, settings);
    CHECK(wait_for_kick());
    stop_tick(&stop);
    CHECK_EQ(settings_n, settings + 1);
    CHECK(wait_for_kick());

    tap_case("a tick that came while no machine was watched is asked for anew");
    stop_tick(&stop);
    stop_watch(&stop, NULL);
    sleep_ms(60);
    stop_watch(&stop, &machine);
    CHECK(!kicked());
    stop_tick(&stop);
    CHECK(wait_for_kick());

    tap_case("a tick after a signal does not end the signal's kicks");
    raise(SIGTERM);
    stop_tick(&stop);
    machine_unkick(&machine);
    CHECK(wait_for_kick() && wait_for_kick() && wait_for_kick());
    stop_close(&stop);

    tap_case("a signal that comes in the middle of setting a tick keeps its kicks");
    open_stop();
    raise_while_setting = SIGINT;
    stop_tick(&stop);
    CHECK_EQ(stop_why(&stop), STOP_SIGINT);
    machine_unkick(&machine);
    CHECK(wait_for_kick() && wait_for_kick() && wait_for_kick());
    stop_close(&stop);
}

static void test_guest_timer(void)
{
    uint64_t due, now;

    tap_case("the guest's timer is due once a period and kicks; expiries that were missed count as one");
    open_stop();
    CHECK(!stop_timer_due(&stop));
    now = host_monotonic();
    set_timer(20 * MS);
    due = stop.due_at;
    CHECK(due >= now + 20 * MS);
    CHECK(!stop_timer_due(&stop) || host_monotonic() >= due);
    CHECK(wait_for_kick());
    CHECK(host_monotonic() >= due);
    sleep_ms(90);
    now = host_monotonic();
    CHECK(stop_timer_due(&stop));
    CHECK(stop.due_at > now);
    CHECK_EQ((stop.due_at - due) % (20 * MS), 0);
    CHECK(stop.due_at <= host_monotonic() + 20 * MS);
    CHECK_EQ(stop_why(&stop), STOP_NONE);
    set_timer(3600 * 1000 * MS);
    CHECK(!stop_timer_due(&stop));

    tap_case("a timer of 0 is none, and one of a second and more fits its interval");
    set_timer(0);
    machine_unkick(&machine);
    sleep_ms(50);
    CHECK(!kicked() && !stop_timer_due(&stop));
    set_timer(1500 * MS);
    {
        struct itimerspec t;

        CHECK(syscall(SYS_timer_gettime, stop.timers[STOP_GUEST], &t) == 0);
        CHECK(t.it_interval.tv_sec == 1 && t.it_interval.tv_nsec == 500000000);
    }
    stop_close(&stop);
}

int main(void)
{
    test_limits();
    test_signals();
    test_handlers();
    test_creation();
    test_ticks();
    test_guest_timer();
    return tap_done();
}
