/* The end of a program that is wrong. See assert.h. */
#include "mem/assert.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* Nobody is left to tell; the signal says it too. */
    }
}

_Noreturn void assert_failed(const char *place)
{
    say("vmm: ");
    say(place);
    say(": assertion failed\n");
    kill(getpid(), SIGABRT);
    __builtin_trap(); /* the signal is blocked or handled */
}
