/* A bare kernel says hello on the serial line, shows its command line, and powers off. */
#include "guest-samples/bare.h"

void bare_main(void)
{
    say("hello, bare world!\n");
    say(words());
    say("\n");
    power_off();
}
