/*
 * What the tests of mem/message share: sound messages, and the question
 * whether both readers make the same of some bytes.
 */
#ifndef TESTS_UNIT_MESSAGES_H
#define TESTS_UNIT_MESSAGES_H

#include <stdlib.h>

#include "mem/message.h"
#include "tests/fuzz/ref_message.h"
#include "tests/tap.h"

static struct text said, ref_said;
static struct any got;

static inline const uint8_t *bytes_of(const char *s)
{
    return (const uint8_t *)s;
}

/* In memory of exactly its size, so that a sanitizer sees a byte too far. */
static inline uint8_t *copy_of(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);

    if (copy == NULL)
        abort();
    if (len != 0)
        memcpy(copy, bytes, len);
    return copy;
}

/* Both readers accept it and read the same, or both refuse it. Counts nothing itself. */
static inline bool readers_agree(enum kind kind, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = copy_of(bytes, len);
    bool sound = ref_read(kind, copy, len, &ref_said), agree;
    enum msg_status status = any_read(kind, copy, len, &got);

    agree = sound == (status == MSG_OK);
    if (agree && sound) {
        any_text(kind, &got, &said);
        agree = strcmp(said.s, ref_said.s) == 0;
    }
    if (!agree)
        printf("# %s: ours %s, the second reader %s\n", kind_names[kind], msg_status_name(status),
               sound ? "accepts" : "refuses");
    free(copy);
    return agree;
}

/* Writes m, checks length and limits of the buffer; NULL when there is no message. */
static inline uint8_t *write_checked(enum kind kind, const struct any *m, size_t *len)
{
    uint8_t *out, *shifted;
    size_t i;

    *len = any_len(kind, m);
    if (!CHECK(*len != 0 && *len % 4 == 0))
        return NULL;
    out = malloc(*len);
    memset(out, 0xa5, *len);
    CHECK_EQ(any_write(kind, m, out, *len - 1), 0);
    for (i = 0; i < *len && out[i] == 0xa5; i++)
        ;
    CHECK_EQ(i, *len);
    CHECK_EQ(any_write(kind, m, out, *len), *len);

    /* Bytes do not depend on where they are written, nor on what was there. */
    shifted = calloc(1, *len + 9);
    CHECK_EQ(any_write(kind, m, shifted + 1, *len + 8), *len);
    CHECK(memcmp(shifted + 1, out, *len) == 0 && shifted[0] == 0 && shifted[*len + 1] == 0);
    free(shifted);
    return out;
}

static inline struct msg_value scalar(enum msg_type type, uint64_t bits)
{
    return (struct msg_value){.type = type, .bits = bits};
}

static inline struct msg_value blob(enum msg_type type, const void *data, uint32_t len)
{
    return (struct msg_value){.type = type, .data = data, .len = len};
}

static inline void set_add(struct any *m)
{
    m->call = (struct msg_call){.name = bytes_of("Add"), .name_len = 3, .returns = MSG_INT, .params_n = 2};
    m->call.params[0] = scalar(MSG_INT, 1);
    m->call.params[1] = scalar(MSG_INT, 41);
}

/* Add(1, 41) as the ABI's own example shows it: shared vtables, one of them behind its table. */
static const uint8_t add_example[] = {
    0x74, 0x00, 0x00, 0x00,                         /* prefix */
    0x10, 0x00, 0x00, 0x00,                         /* root at 14 */
    0x00, 0x00,                                     /* gap */
    0x0a, 0x00, 0x10, 0x00,                         /* 0a: vtable */
    0x08, 0x00, 0x0c, 0x00, 0x07, 0x00,             /* name, parameters, type; no return type: int */
    0x0a, 0x00, 0x00, 0x00,                         /* 14: the call */
    0x00, 0x00, 0x00, 0x01,                         /* to the guest */
    0x54, 0x00, 0x00, 0x00,                         /* name at 70 */
    0x04, 0x00, 0x00, 0x00,                         /* parameters at 24 */
    0x02, 0x00, 0x00, 0x00,                         /* 24: two */
    0x2c, 0x00, 0x00, 0x00,                         /* the first at 54 */
    0x0c, 0x00, 0x00, 0x00,                         /* the second at 38 */
    0x08, 0x00, 0x0c, 0x00, 0x07, 0x00, 0x08, 0x00, /* 30: vtable */
    0x08, 0x00, 0x00, 0x00,                         /* 38: the second parameter */
    0x00, 0x00, 0x00, 0x01,                         /* int */
    0x04, 0x00, 0x00, 0x00,                         /* value at 44 */
    0xe2, 0xff, 0xff, 0xff,                         /* 44: vtable at 62 */
    0x29, 0x00, 0x00, 0x00,                         /* 41 */
    0x08, 0x00, 0x0e, 0x00, 0x07, 0x00, 0x08, 0x00, /* 4c: vtable */
    0x08, 0x00, 0x00, 0x00,                         /* 54: the first parameter */
    0x00, 0x00, 0x00, 0x01,                         /* int */
    0x0c, 0x00, 0x00, 0x00,                         /* value at 68 */
    0x00, 0x00,                                     /* gap */
    0x06, 0x00, 0x08, 0x00, 0x04, 0x00,             /* 62: vtable */
    0x06, 0x00, 0x00, 0x00,                         /* 68 */
    0x01, 0x00, 0x00, 0x00,                         /* 1 */
    0x03, 0x00, 0x00, 0x00, 'A',  'd',  'd',  0x00, /* 70 */
};

#endif
