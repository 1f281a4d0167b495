/*
 * Typed values of calls as text: what --arg says, what a result looks like to
 * a person, to a script and in a report.
 *
 *   int:-1 uint:7 long:-1 ulong:7 float:1.5 double:-0.0 bool:true string:TEXT
 *   bytes:00ff7f bytes:@FILE          floats also nan, inf, -inf, nan(0x7fc00001)
 */
#ifndef HV_VALUE_H
#define HV_VALUE_H

#include "hv/text.h"
#include "mem/error.h"
#include "mem/message.h"

/*
 * Parse "TYPE:VALUE" of option --`option`. STATUS_USAGE for what is no value
 * of its type, the file's own status for a bytes:@FILE that cannot be read.
 * *out views `storage`, which receives the bytes of a string or bytes and must
 * outlive it and stay as it is.
 */
int value_parse(const char *option, const char *spec, struct msg_value *out, struct text *storage,
                struct err *e);

/* As above for the text of a value whose type is known. */
int value_parse_as(const char *option, enum msg_type type, const char *text, struct msg_value *out,
                   struct text *storage, struct err *e);

/* Plain: numbers as C prints them, strings and bytes for a person (bytes as hex), void as nothing. */
void value_print(const struct msg_value *v, struct text *out);

/* {"type":"int","value":42}; bytes as hex, floats with their bits, since JSON has no NaN. */
void value_json(const struct msg_value *v, struct text *out);

#endif
