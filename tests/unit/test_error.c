/* mem/error: what the reader hears, at the edges of the buffers too. */
#include "mem/error.h"

#include <errno.h>

#include "tests/tap.h"

static struct err error_with(const char *text, const char *hint)
{
    struct err e = {.status = STATUS_OK, .text = "stale", .hint = "stale"};

    err_set(&e, STATUS_IMAGE, "%s", text);
    if (hint != NULL)
        err_hint(&e, "%s", hint);
    return e;
}

static void test_set(void)
{
    struct err e = {.status = STATUS_OK, .text = "old text", .hint = "old hint"};

    tap_case("setting an error returns -1 and records status and text");
    CHECK(err_set(&e, STATUS_IMAGE, "%s: too long (%d, %d)", "a.elf", 7, 5) == -1);
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_STR(e.text, "a.elf: too long (7, 5)");

    tap_case("setting an error drops the hint of the one before");
    CHECK_STR(e.hint, "");

    tap_case("an errno value is appended as words, after a colon");
    e = error_with("x", "old hint");
    CHECK(err_set_errno(&e, STATUS_HOST, ENOENT, "%s: cannot open", "/dev/kvm") == -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_STR(e.text, "/dev/kvm: cannot open: No such file or directory");
    CHECK_STR(e.hint, "");

    tap_case("the errno value named is reported, whatever errno is now");
    errno = EPERM;
    err_set_errno(&e, STATUS_HOST, ENOMEM, "x");
    CHECK_HAS(e.text, strerror(ENOMEM));
}

static void test_wrap(void)
{
    struct err e = error_with("segment 2: outside the file", "rebuild it");

    tap_case("wrapping puts the prefix in front and keeps status and hint");
    CHECK(err_wrap(&e, "%s", "a.elf") == -1);
    CHECK_STR(e.text, "a.elf: segment 2: outside the file");
    CHECK_EQ(e.status, STATUS_IMAGE);
    CHECK_STR(e.hint, "rebuild it");

    tap_case("wrapping twice puts the later prefix first");
    err_wrap(&e, "run");
    CHECK_STR(e.text, "run: a.elf: segment 2: outside the file");
}

static void test_hint(void)
{
    struct err e = error_with("x", NULL);

    tap_case("a hint is attached beside the text");
    CHECK(err_hint(&e, "try %d", 3) == -1);
    CHECK_STR(e.hint, "try 3");
    CHECK_STR(e.text, "x");
    CHECK_EQ(e.status, STATUS_IMAGE);
}

static void test_length(void)
{
    char fits[sizeof(((struct err *)0)->text)], longer[2 * sizeof(fits)];
    char hint_fits[sizeof(((struct err *)0)->hint)];
    struct err e;

    memset(fits, 'a', sizeof(fits) - 1);
    fits[sizeof(fits) - 1] = '\0';
    memset(longer, 'b', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    memset(hint_fits, 'h', sizeof(hint_fits) - 1);
    hint_fits[sizeof(hint_fits) - 1] = '\0';

    tap_case("the longest text that fits is kept whole");
    e = error_with(fits, NULL);
    CHECK_STR(e.text, fits);

    tap_case("a text that is too long is cut and ended, and the hint beside it is not touched");
    e = error_with("x", "keep me");
    err_wrap(&e, "%s", longer);
    CHECK_EQ(strlen(e.text), sizeof(e.text) - 1);
    CHECK_EQ(e.text[0], 'b');
    CHECK_STR(e.hint, "keep me");
    err_set(&e, STATUS_HOST, "%s", longer);
    CHECK_EQ(strlen(e.text), sizeof(e.text) - 1);

    tap_case("a text without room for the errno words is cut and ended");
    e.hint[0] = '\0';
    err_set_errno(&e, STATUS_HOST, ENOENT, "%s", longer);
    CHECK_EQ(strlen(e.text), sizeof(e.text) - 1);
    CHECK_EQ(e.text[sizeof(e.text) - 2], 'b');
    CHECK_STR(e.hint, "");
    err_set_errno(&e, STATUS_HOST, ENOENT, "%.*s", (int)sizeof(e.text) - 5, longer);
    CHECK_STR(e.text + sizeof(e.text) - 5, ": No");

    tap_case("a wrapped text that is too long loses its end, not its prefix");
    e = error_with(fits, NULL);
    err_wrap(&e, "prefix");
    CHECK_EQ(strlen(e.text), sizeof(e.text) - 1);
    CHECK(strncmp(e.text, "prefix: aaa", 11) == 0);

    tap_case("a hint that is too long is cut and ended");
    e = error_with("x", hint_fits);
    CHECK_STR(e.hint, hint_fits);
    err_hint(&e, "%s", longer);
    CHECK_EQ(strlen(e.hint), sizeof(e.hint) - 1);
}

static void test_printable(void)
{
    struct err e;
    unsigned wrong = 0;

    tap_case("control characters become question marks, all others stay");
    for (unsigned c = 1; c < 256; c++) {
        char text[2] = {(char)c, '\0'};
        char want = c < 0x20 || c == 0x7f ? '?' : (char)c;

        e = error_with(text, text);
        wrong += e.text[0] != want || e.text[1] != '\0';
        wrong += e.hint[0] != want || e.hint[1] != '\0';
        err_set_errno(&e, STATUS_HOST, ENOENT, "%s", text);
        wrong += e.text[0] != want;
        e = error_with("x", NULL);
        err_wrap(&e, "%s", text);
        wrong += e.text[0] != want;
    }
    CHECK_EQ(wrong, 0);

    tap_case("a newline from a file name does not make a second line");
    e = error_with("a\nvmm: all is well\x1b[2J", NULL);
    CHECK_STR(e.text, "a?vmm: all is well?[2J");
}

int main(void)
{
    test_set();
    test_wrap();
    test_hint();
    test_length();
    test_printable();
    return tap_done();
}
