/* hv/words: lines split as a shell splits them, as far as it goes, and words quoted so that they come back. */
#include "hv/words.h"

#include <stdlib.h>

#include "tests/tap.h"

#define MAX 8

static char *text;
static char *words[MAX + 2];

/* A copy of exactly its size, so that a sanitizer sees a byte too far. */
static int split(const char *s)
{
    free(text);
    text = strdup(s);
    words[MAX + 1] = words[MAX] = (char *)"untouched";
    return words_split(text, words, MAX);
}

static void check_words(const char *s, const char *const *want)
{
    int n = split(s), i;

    for (i = 0; want[i] != NULL; i++)
        if (i < n)
            CHECK_STR(words[i], want[i]);
    CHECK_EQ(n, i);
    CHECK(n < 0 || words[n] == NULL);
}

#define WORDS(s, ...) check_words(s, (const char *const[]){__VA_ARGS__, NULL})

/* The shell's opinion of a line without what words.h does not have. */
static void test_against_shell(void)
{
    static const char alphabet[] = "ab \t'\"#";
    unsigned seed = 1, round, compared = 0;

    tap_case("a shell splits random lines in the same way");
    for (round = 0; round < 300; round++) {
        char line[16], command[256], got[512], want[512] = "", quoted[64];
        size_t len = 0, i, n;
        FILE *f;

        for (i = 0; i < sizeof(line) - 1; i++) {
            seed = seed * 1103515245u + 12345u;
            line[i] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
        }
        line[(seed >> 8) % sizeof(line)] = '\0';
        line[sizeof(line) - 1] = '\0';
        for (i = n = 0; line[i] != '\0'; i++)
            n += (size_t)snprintf(quoted + n, sizeof(quoted) - n, "\\%03o", (unsigned char)line[i]);
        quoted[n] = '\0';
        snprintf(command, sizeof(command),
                 "eval \"set -- $(printf '%s')\" 2>/dev/null && printf '[%%s]' \"$@\" && echo $#", quoted);
        f = popen(command, "r");
        if (f == NULL || fgets(want, sizeof(want), f) == NULL)
            want[0] = '\0';
        if (f != NULL)
            pclose(f);
        if (split(line) < 0) {
            CHECK_STR(want, "");
            continue;
        }
        for (i = 0; words[i] != NULL; i++)
            len += (size_t)snprintf(got + len, sizeof(got) - len, "[%s]", words[i]);
        if (i == 0)
            len = (size_t)snprintf(got, sizeof(got), "[]");
        snprintf(got + len, sizeof(got) - len, "%zu\n", i);
        CHECK_STR(got, want);
        compared++;
    }
    CHECK(compared > 50);
}

int main(void)
{
    struct text t = TEXT_EMPTY;

    tap_case("words are separated by blanks of any kind");
    WORDS(" a  bc\td\ne\r\n", "a", "bc", "d", "e");
    WORDS("a", "a");

    tap_case("no words are none");
    CHECK_EQ(split(""), 0);
    CHECK(words[0] == NULL);
    CHECK_EQ(split(" \t\n"), 0);

    tap_case("quotes keep blanks, the other quotes and #, and may stand anywhere in a word");
    WORDS("'a b' \"c  d\" e'f g'\"h'i\"", "a b", "c  d", "ef gh'i");
    WORDS("--append=\"console=ttyS0 x\" '# a' ''", "--append=console=ttyS0 x", "# a", "");

    tap_case("a # at the start of a word is a comment to the end of the line; elsewhere it is a #");
    WORDS("a#b #c 'd\ne # f", "a#b", "e");
    WORDS("a #", "a");

    tap_case("a quote without an end is told");
    CHECK_EQ(split("a 'b"), WORDS_UNCLOSED);
    CHECK_EQ(split("a \"b'"), WORDS_UNCLOSED);

    tap_case("as many words as fit are taken, and one more is told");
    WORDS("1 2 3 4 5 6 7 8", "1", "2", "3", "4", "5", "6", "7", "8");
    CHECK_EQ(split("1 2 3 4 5 6 7 8 9"), WORDS_TOO_MANY);
    CHECK_STR(words[MAX + 1], "untouched");
    CHECK_EQ(split("1 2 3 4 5 6 7 8 # 9"), 8);

    tap_case("a quoted word comes back");
    CHECK(words_quote(&t, "a b"));
    text_add(&t, " ");
    CHECK(words_quote(&t, "it's #1"));
    text_add(&t, " ");
    CHECK(words_quote(&t, ""));
    text_add(&t, " ");
    CHECK(words_quote(&t, "#\"x\""));
    WORDS(t.s, "a b", "it's #1", "", "#\"x\"");

    tap_case("a word with both quotes or a control character cannot be quoted, and nothing is added");
    text_free(&t);
    t = TEXT_EMPTY;
    CHECK(!words_quote(&t, "'\""));
    CHECK(!words_quote(&t, "a\nb"));
    CHECK(!words_quote(&t, "\x7f"));
    CHECK_EQ(t.len, 0);

    test_against_shell();
    free(text);
    text_free(&t);
    return tap_done();
}
