/*
 * assert for what the programmer guaranteed, as <assert.h> has it but for the
 * text: the C library's brings its formatter and its files along.
 */
#ifndef MEM_ASSERT_H
#define MEM_ASSERT_H

/* Say where, and abort. */
_Noreturn void assert_failed(const char *place);

#define ASSERT_TEXT(x) #x
#define ASSERT_LINE(x) ASSERT_TEXT(x)
#undef assert
#define assert(condition) ((condition) ? (void)0 : assert_failed(__FILE__ ":" ASSERT_LINE(__LINE__)))

#endif
