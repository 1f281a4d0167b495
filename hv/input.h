/*
 * The user's input for the guest's serial line: a descriptor that is read
 * without ever waiting for it, and without changing how others who have it
 * open see it. A terminal hands every key over as it is pressed meanwhile,
 * apart from ^], which is its interrupt key now.
 */
#ifndef HV_INPUT_H
#define HV_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

/* Look for input at least this often: a sleeping guest has to be woken for it. */
#define INPUT_PERIOD_NS ((uint64_t)10 * 1000 * 1000)

struct input {
    int fd;   /* -1: none, or it has ended */
    bool dry; /* nothing was there when it was looked at last */
    int tty;  /* the terminal that was changed, -1 = none */
    struct termios saved;
};

#define INPUT_NONE ((struct input){.fd = -1, .tty = -1})

/* Take input from `fd`, which stays the caller's. input_close gives a terminal its settings back. */
void input_open(struct input *in, int fd);
void input_close(struct input *in);

/*
 * Up to `room` bytes of what is there; 0 when nothing is, or there will never
 * be any again. The caller has a signal arrive within INPUT_PERIOD_NS at any
 * time: should another process take what was there, that ends the wait.
 */
size_t input_take(struct input *in, uint8_t *bytes, size_t room);

/* Time has passed: look again. */
static inline void input_tick(struct input *in)
{
    in->dry = false;
}

#endif
