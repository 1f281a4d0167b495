/*
 * Reading JSON (RFC 8259) that somebody else wrote: one text, at most so deep
 * and of so many values, into an array of them. Strict: UTF-8, no member
 * twice, no half of a surrogate pair. Knows nothing of the rest of the program.
 */
#ifndef HV_JSONIN_H
#define HV_JSONIN_H

#include <stdbool.h>
#include <stddef.h>

#define JSONIN_VALUES_MAX 512
#define JSONIN_DEPTH_MAX  16 /* arrays and objects in one another */

enum jsonin_type {
    JSONIN_NULL,
    JSONIN_FALSE,
    JSONIN_TRUE,
    JSONIN_NUMBER,
    JSONIN_STRING,
    JSONIN_ARRAY,
    JSONIN_OBJECT
};

/*
 * s, len: a string with its escapes undone, a number as it was written; each
 * is followed by a NUL that does not count, and a string may hold others. Of
 * all other types they mean nothing. key: of a member of an object, else NULL.
 * end: the index of the first value that is neither this one nor inside it.
 */
struct jsonin_value {
    enum jsonin_type type;
    char *s, *key;
    size_t len, key_len;
    unsigned end;
};

/* values[0] is the text's value; those inside an array or object follow it in their order. */
struct jsonin {
    struct jsonin_value values[JSONIN_VALUES_MAX];
    unsigned n;
};

/* Why a text was refused, of the first byte at which it could not go on. */
enum jsonin_status {
    JSONIN_OK,
    JSONIN_SYNTAX,
    JSONIN_UTF8,
    JSONIN_SURROGATE, /* half of a pair */
    JSONIN_TWICE,     /* a second member of that name */
    JSONIN_TOO_DEEP,
    JSONIN_TOO_MANY
};

#define JSONIN_STATUS_N (JSONIN_TOO_MANY + 1)

/* For a message: "not JSON", "not UTF-8", ... */
const char *jsonin_status_text(enum jsonin_status status);

/*
 * Read the `len` bytes at `text`, which a NUL follows. Strings are decoded
 * where they stand, so the text is spent whatever comes of it, and the values
 * view it. On failure *at is the offset of the byte, and *out holds nothing.
 */
enum jsonin_status jsonin_read(char *text, size_t len, struct jsonin *out, size_t *at);

/* The member of that name, NULL if there is none. `object` is a value of `j` and an object. */
const struct jsonin_value *jsonin_member(const struct jsonin *j, const struct jsonin_value *object,
                                         const char *name);

/*
 * The values directly inside an array or object, in order: the first after
 * `previous` = NULL, NULL after the last.
 */
const struct jsonin_value *jsonin_next(const struct jsonin *j, const struct jsonin_value *parent,
                                       const struct jsonin_value *previous);

/* Whether the key of a member is `name`. */
bool jsonin_is_key(const struct jsonin_value *v, const char *name);

#endif
