/* hv/console as a store: what is gathered, in which order, and what becomes of too much. */
#include "hv/console.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/tap.h"

static struct stop stop;
static struct console console;
static struct text into;

static void put(const char *s)
{
    struct err e;

    CHECK_EQ(console_write(&console, (const uint8_t *)s, strlen(s), &e), 0);
}

static void flush(void)
{
    struct err e;

    CHECK_EQ(console_flush(&console, &e), 0);
}

int main(void)
{
    static const char ten[] = "0123456789";
    struct err e;
    unsigned i;
    int fd[2];

    if (pipe(fd) != 0)
        abort();
    close(fd[0]);
    /* Nobody reads the descriptor: what was written to it would be an error. */
    console_init(&console, fd[1], &stop);

    tap_case("gathered output is there after a flush, and none of it goes to the descriptor");
    console_gather(&console, &into, 1000);
    put("one\ntwo");
    CHECK_EQ(console_put(&console, 0x1f600, &e), 0);
    flush();
    CHECK_STR(into.s, "one\ntwo\xf0\x9f\x98\x80");
    CHECK(!console.cut);

    tap_case("it needs no tick to come out");
    CHECK(!stop.tick_armed);

    tap_case("what is not flushed when gathering starts anew is dropped");
    put("lost");
    into.len = 0;
    console_gather(&console, &into, 1000);
    put("kept");
    flush();
    CHECK_STR(into.s, "kept");

    tap_case("as much as may be gathered is, and not said to be cut");
    into.len = 0;
    console_gather(&console, &into, 20);
    put(ten);
    flush();
    put(ten);
    flush();
    CHECK_EQ(into.len, 20);
    CHECK(!console.cut);

    tap_case("the first byte too many is dropped, and said to be");
    put("x");
    flush();
    CHECK_EQ(into.len, 20);
    CHECK(console.cut);
    flush();
    CHECK(console.cut);

    tap_case("a flush that fits in part is gathered in part");
    into.len = 0;
    console_gather(&console, &into, 15);
    CHECK(!console.cut);
    put(ten);
    flush();
    put(ten);
    flush();
    CHECK_STR(into.s, "012345678901234");
    CHECK(console.cut);

    tap_case("a guest may go on writing for ever");
    for (i = 0; i < 100000; i++)
        put(ten);
    flush();
    CHECK_EQ(into.len, 15);
    CHECK(into.cap < 10000);

    text_free(&into);
    close(fd[1]);
    return tap_done();
}
