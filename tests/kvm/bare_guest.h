/*
 * Bare guests for the tests in tests/kvm: a few bytes of code at 1 MiB in flat
 * 32-bit mode, or in real mode at 0x8000, with their output gathered.
 */
#ifndef TESTS_KVM_BARE_GUEST_H
#define TESTS_KVM_BARE_GUEST_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot/gdt.h"
#include "boot/x86.h"
#include "hv/bare.h"
#include "hv/expect.h"
#include "hv/text.h"
#include "tests/tap.h"

#define BARE_CODE  0x100000u
#define BARE_REAL  0x8000u
#define BARE_STACK 0x90000u
#define BARE_LEN   ((uint64_t)4 << 20)

struct bare_guest {
    struct bare_state state;
    struct stop stop;
    struct console console;
    struct text said;
    struct input input;
    struct bare bare;
    struct bare_env env;
    int kvm_fd;
};

/* The state of a guest whose first instruction is the first byte of `code`. */
static inline struct bare_state bare_make_state(const uint8_t *code, size_t n, bool real_mode, bool irqchip)
{
    struct bare_state s = {.start = {.format = BARE_MULTIBOOT, .irqchip = irqchip}};
    struct cpu_sregs *sr = &s.start.sregs;
    struct region fill;
    struct err e;

    if (pristine_open(&s.ram, BARE_LEN, &fill, &e) != 0) {
        puts(e.text);
        abort();
    }
    memcpy(fill.base + (real_mode ? BARE_REAL : BARE_CODE), code, n);
    if (pristine_seal(&s.ram, &fill, &e) != 0)
        abort();
    s.start.regs = (struct cpu_regs){.rip = real_mode ? BARE_REAL : BARE_CODE,
                                     .rsp = real_mode ? 0x7000 : BARE_STACK,
                                     .rflags = RFLAGS_FIXED};
    if (real_mode) {
        const struct cpu_segment data = {
            .limit = 0xffff, .type = SEG_TYPE_DATA_RW_A, .s = true, .present = true};

        sr->cs = sr->ds = sr->es = sr->fs = sr->gs = sr->ss = data;
        sr->cs.type = SEG_TYPE_CODE_RX_A;
        sr->idt.limit = 0x3ff;
        sr->cr0 = CR0_ET;
    } else {
        sr->cs = gdt_code32;
        sr->ds = sr->es = sr->fs = sr->gs = sr->ss = gdt_data32;
        sr->cr0 = CR0_ET | CR0_PE;
    }
    sr->tr = gdt_tss;
    sr->ldt = (struct cpu_segment){.type = 2, .limit = 0xffff, .present = true};
    return s;
}

/* Everything but the state, which the caller has made. */
static inline bool bare_guest_open(struct bare_guest *g, bool strict_io, bool warm, struct err *e)
{
    g->said = TEXT_EMPTY;
    g->input = INPUT_NONE;
    g->env = (struct bare_env){
        .stop = &g->stop, .console = &g->console, .input = &g->input, .strict_io = strict_io};
    if (kvm_open(&g->kvm_fd, e) != 0 || stop_open(&g->stop, e) != 0)
        return false;
    console_init(&g->console, STDOUT_FILENO, &g->stop);
    console_gather(&g->console, &g->said, 65536);
    if (bare_open(&g->bare, g->kvm_fd, &g->state, &g->env, warm, e) == 0)
        return true;
    stop_close(&g->stop);
    return false;
}

static inline void bare_guest_close(struct bare_guest *g)
{
    bare_close(&g->bare);
    stop_close(&g->stop);
    close(g->kvm_fd);
    text_free(&g->said);
    pristine_close(&g->state.ram);
}

/* Restore and run once. What it said is in g->said. */
static inline struct outcome bare_guest_run(struct bare_guest *g, uint64_t limit_ns)
{
    struct outcome o = bare_outcome(&g->bare);
    struct err e = {.text = ""};

    text_free(&g->said);
    g->said = TEXT_EMPTY;
    if (bare_restore(&g->bare, &e) != 0 || bare_run(&g->bare, limit_ns, &o, &e) != 0)
        return outcome_of_error(&e);
    return o;
}

#endif
