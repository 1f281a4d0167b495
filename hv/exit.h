/*
 * Why a vCPU stopped, as plain data, and what that means to a guest of the
 * ABI. hv/kvm fills in a struct exit, exit_judge() decides, hv/run performs.
 */
#ifndef HV_EXIT_H
#define HV_EXIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exit_kind {
    EXIT_OUT,
    EXIT_IN,
    EXIT_MMIO_READ, /* of an address that no slot backs */
    EXIT_MMIO_WRITE,
    EXIT_HLT,
    EXIT_SHUTDOWN, /* triple fault */
    EXIT_FAIL_ENTRY,
    EXIT_EMULATION, /* KVM could not emulate an instruction */
    EXIT_INTERNAL,  /* any other KVM_EXIT_INTERNAL_ERROR */
    EXIT_INTERRUPTED,
    EXIT_OTHER,
    EXIT_KINDS_N,
};

#define EXIT_INSN_MAX 15

struct exit {
    enum exit_kind kind;
    uint16_t port;  /* OUT, IN */
    uint8_t width;  /* bytes of one access: port or MMIO */
    uint32_t count; /* accesses of a string instruction, else 1 */
    uint32_t value; /* OUT: zero-extended; MMIO_WRITE: the low 4 bytes */
    uint64_t gpa;   /* MMIO */
    uint8_t *data; /* IN, OUT: count * width bytes, MMIO: width; what a read is to give. Until the next run */
    uint64_t reason;  /* FAIL_ENTRY: hardware reason; INTERNAL: suberror; OTHER: exit number */
    uint8_t insn_len; /* EMULATION: instruction bytes, 0 when KVM gave none */
    uint8_t insn[EXIT_INSN_MAX];
};

enum action {
    ACTION_RESUME, /* nothing to do, run on */
    ACTION_PRINT,  /* emit `value` as debug output */
    ACTION_ABORT,  /* `value` is an abort chunk */
    ACTION_LOG,    /* a log record is on top of the output stack */
    ACTION_HOST,   /* a call of a host function is on top of the output stack */
    ACTION_TIMER,  /* set the timer's period to `value` us */
    ACTION_HALT,   /* init or call ended */
    ACTION_LOOK,   /* a signal came: see why */
    ACTION_FAULT,  /* the guest did something nothing can go on from */
};

/* What to do about *x. `irqchip`: an in-kernel interrupt controller is in use. */
enum action exit_judge(const struct exit *x, bool irqchip);

/*
 * Describe the exit in a few words for a person, "out port 103, 1 byte, value
 * 0x41", into text[len] (always terminated). `digits` is the width of an address.
 */
#define EXIT_TEXT_MAX 160
void exit_describe(const struct exit *x, unsigned digits, char *text, size_t len);

#endif
