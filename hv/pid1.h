/*
 * vmm as the first process of a machine: an initramfs holds this binary as
 * /init. This room makes the machine fit to run guests (descriptors 0-2, /dev,
 * KVM's modules), runs a command line or a list of them, and ends the machine.
 * It is not an init system: no services, no shell, no /proc, /sys, terminal or
 * environment is needed.
 *
 *     if (pid1_is_init()) {
 *         pid1_open_console();
 *         if (pid1_read("/" PID1_ARGS, is_command, &o, &e) != 0 ||
 *             pid1_parse(argc, argv, is_command, &o, &e) != 0 ||
 *             pid1_run(&o, say, NULL, &status, &e) != 0)
 *             print e, and status = e.status;
 *         print "EXIT <status>";
 *         pid1_end(o.end);
 *     }
 *
 * Nothing here prints. What the console is to hear goes to `say`.
 */
#ifndef HV_PID1_H
#define HV_PID1_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/error.h"

#define PID1_ARGS         "vmm.args" /* the file of words that an initramfs may hold, in its root */

#define PID1_KMODS_MAX    16

#define PID1_LIST_LEN_MAX 262144
#define PID1_LINES_MAX    1024 /* commands of a list */
#define PID1_WORDS_MAX    64   /* words of a command, its program not included */

/* How the machine ends. A panic is one on purpose, and needs CONFIG_MAGIC_SYSRQ; else it is a power-off. */
enum pid1_end { PID1_POWEROFF, PID1_REBOOT, PID1_HALT, PID1_PANIC };
extern const char *const pid1_ends[]; /* their names, and NULL */

/* What there is to do; all that is pointed at is borrowed from where it was read. */
struct pid1_options {
    const char *kmods[PID1_KMODS_MAX]; /* loaded in this order */
    unsigned kmods_n;
    const char *list;     /* path of the list file, NULL for none */
    char *const *command; /* words of one command, ending with NULL; NULL for none. Never both */
    const char *self;     /* program of commands that name none: argv[0], "/init" */
    uint64_t limit_ms;    /* what a command may take before it is killed; 0: for ever */
    enum pid1_end end;
    char *text, **words; /* what pid1_read has read: the caller's to free, if it does not end the machine */
};

/*
 * Hears one line, without its newline. It must write the line out before it
 * returns, past any buffer of stdio: it is also called in a forked child.
 */
typedef void pid1_say(void *ctx, const char *line);

/*
 * Whether this process is the init of the machine. Being PID 1 is not enough:
 * the first process of a container is PID 1 too, takes an ordinary command line
 * and ends like any program. Only the machine's init may say what Ctrl-Alt-Del
 * does (reboot(2)), and that is what is tried: from then on Ctrl-Alt-Del is a
 * SIGINT to this process.
 */
bool pid1_is_init(void);

/*
 * Mount devtmpfs on /dev if /dev/null or /dev/kvm is missing, and open what is
 * closed of descriptors 0-2, on /dev/console if that can be. Never fails: with
 * nothing to open, the descriptors are taken by something that refuses reads
 * and writes, so that no file lands on them. Doing it twice is harmless.
 */
void pid1_open_console(void);

/*
 * argv of an init: the words after "--" on the kernel's command line. They are
 * added to *io, which is untouched on failure (STATUS_USAGE):
 *
 *     --kmod=PATH        load this module, after those before it
 *     --list=PATH        run the commands in this file
 *     --limit=DURATION   kill a command that takes longer
 *     --on-exit=poweroff|reboot|halt|panic
 *     COMMAND WORD...    run this one command
 *
 * A list or a command takes the place of what *io had of either. Words before
 * "--" that the kernel does not know come here as well: key=value in the
 * environment, which is not looked at, and bare words (nokaslr) in argv, in
 * front. So all that stands before the first option or command is passed over;
 * a command is a path with / in front or what `is_command` knows.
 */
typedef bool pid1_is_command(const char *word);
int pid1_parse(int argc, char **argv, pid1_is_command *is_command, struct pid1_options *io, struct err *e);

/* The same words from a file, see hv/words.h; no file is no words. Once only. */
int pid1_read(const char *path, pid1_is_command *is_command, struct pid1_options *io, struct err *e);

/*
 * pid1_open_console, load the modules, run the command or the list. *status is
 * the command's, or of the list's the first that is not 0, or 77 if there is no
 * other. A module that is not there ends it with -1 and STATUS_UNSUPPORTED; one that
 * cannot be loaded (for another CPU, say) is reported through `say`, and the
 * commands find out whether it is missing. -1 as well when the list could not
 * be read; then nothing was run.
 */
int pid1_run(const struct pid1_options *o, pid1_say *say, void *ctx, int *status, struct err *e);

/*
 * The last part of pid1_run, of use to any process without children of its own
 * (every child is reaped here).
 *
 * A line of the list is one command, in words as hv/words.h splits them. A first
 * word that begins with / is the program to execute; otherwise the whole line is
 * arguments for o->self. The list is read and checked whole before its first
 * command runs.
 *
 * Each command runs in a session of its own, with the environment and
 * descriptors of this process. For a list `say` hears
 *
 *     BEGIN <n> <words>       n counts from 1; cut at 1000 bytes
 *     EXIT <n> <status>       128 + signal if a signal ended it, 126 or 127 if it could not start
 *     END <n>                 n commands were begun
 *
 * EXIT need not stand at the start of a line: a command may have left its last
 * one open. A command that runs longer than o->limit_ms is killed, which is said;
 * what it left running in its process group is killed with it. SIGTERM and SIGINT are passed to the
 * command that runs, which has a few seconds to end; no further command is
 * begun.
 */
int pid1_run_commands(const struct pid1_options *o, pid1_say *say, void *ctx, int *status, struct err *e);

/* Wait until the console has written everything, sync, end the machine. Never returns, even if that fails. */
void pid1_end(enum pid1_end end) __attribute__((noreturn));

#endif
