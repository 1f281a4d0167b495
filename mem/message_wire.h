/*
 * The numbers of the messages that both message_read.c and message_write.c
 * know: which field has which slot, and the codes of unions and enums. For
 * these two only.
 */
#ifndef MEM_MESSAGE_WIRE_H
#define MEM_MESSAGE_WIRE_H

#include "mem/message.h"

#define ROOT_AT 4 /* the offset of the root table, behind the prefix */

enum {
    CALL_NAME = 0,
    CALL_PARAMS = 1,
    CALL_TYPE = 2,
    CALL_RETURNS = 3,
    UNION_TYPE = 0, /* Parameter, FunctionCallResult and ReturnValueBox: a union and nothing else */
    UNION_VALUE = 1,
    VALUE = 0, /* the tables of the union members, but for the next */
    RETURNED_BYTES_LEN = 0,
    RETURNED_BYTES = 1,
    ERROR_CODE = 0,
    ERROR_TEXT = 1,
    LOG_MESSAGE = 0,
    LOG_SOURCE = 1,
    LOG_LEVEL = 2,
    LOG_CALLER = 3,
    LOG_SOURCE_FILE = 4,
    LOG_LINE = 5,
    DETAILS_FUNCTIONS = 0,
    FUNCTION_NAME = 0,
    FUNCTION_PARAMS = 1,
    FUNCTION_RETURNS = 2
};

enum {
    WIRE_CALL_GUEST = 1,
    WIRE_CALL_HOST = 2,
    WIRE_RESULT_VALUE = 1,
    WIRE_RESULT_ERROR = 2,
    WIRE_RETURN_VOID = 8, /* where parameters have bytes */
    WIRE_RETURN_BYTES = 9,
    WIRE_PARAM_LAST = MSG_BYTES,
    WIRE_RETURN_LAST = WIRE_RETURN_BYTES,
    WIRE_UNION = 1 /* a union's code is the enum's and one more: 0 means that there is nothing */
};

_Static_assert((int)MSG_BYTES == (int)WIRE_RETURN_VOID && (int)MSG_VOID == (int)WIRE_RETURN_BYTES,
               "parameters and return types differ only in two codes, which are exchanged");

/* From the wire's code of a return type, 0 to WIRE_RETURN_LAST, to the type and back. */
static inline unsigned wire_exchange_return(unsigned code)
{
    return code == WIRE_RETURN_VOID ? WIRE_RETURN_BYTES : code == WIRE_RETURN_BYTES ? WIRE_RETURN_VOID : code;
}

#endif
