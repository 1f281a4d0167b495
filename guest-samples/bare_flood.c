/*
 * A bare kernel says N bytes, "debug=N" on the debug console or "serial=N" on
 * the serial line: byte i is 'a' + i % 26, every 64th an LF.
 */
#include "guest-samples/bare.h"

void bare_main(void)
{
    uint32_t i, n = word_number();
    bool debug = word_is("debug");

    for (i = 0; i < n; i++) {
        char c = i % 64 == 63 ? '\n' : (char)('a' + i % 26);

        if (debug)
            out8(DEBUG_PORT, (uint8_t)c);
        else
            put_serial(c);
    }
    power_off();
}
