/*
 * vmm as the first process of a machine: an initramfs holds this binary as
 * /init and a list of commands. This room makes the machine fit to run them
 * (descriptors 0-2, /dev, KVM's modules), runs them one after the other and
 * powers the machine off. It is not an init system: no services, no shell, no
 * /proc, /sys, terminal or environment is needed.
 *
 *     if (pid1_is_init()) {
 *         pid1_open_console();
 *         if (pid1_parse(argc, argv, &o, &e) != 0 || pid1_run(&o, say, NULL, &e) != 0)
 *             print e;
 *         pid1_end();
 *     }
 *
 * Nothing here prints. What the console is to hear goes to `say`.
 */
#ifndef HV_PID1_H
#define HV_PID1_H

#include <stdbool.h>

#include "mem/error.h"

#define PID1_KMODS_MAX    16

#define PID1_LIST_LEN_MAX 262144
#define PID1_LINES_MAX    1024 /* commands of a list */
#define PID1_WORDS_MAX    64   /* words of a command, its program included */

#define PID1_LIMIT_MS     120000 /* what one command may take before it is killed */

struct pid1_options {
    const char *kmods[PID1_KMODS_MAX]; /* loaded in this order; borrowed from argv */
    unsigned kmods_n;
    const char *list;  /* path of the list file, NULL for none; borrowed from argv */
    const char *self;  /* program of lines that name none: argv[0], "/init" */
    unsigned limit_ms; /* PID1_LIMIT_MS; more than 0 */
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
 * argv of an init: the words after "--" on the kernel's command line.
 * --kmod=PATH (up to PID1_KMODS_MAX times) and --list=PATH (once); anything
 * else is STATUS_USAGE. Words before "--" that the kernel does not know come
 * here as well: key=value in the environment, which is not looked at, and bare
 * words (nokaslr) in argv, in front. So bare words in front of the first option
 * are passed over, if there is an option.
 */
int pid1_parse(int argc, char **argv, struct pid1_options *out, struct err *e);

/*
 * pid1_open_console, load the modules, run the list. A module that cannot be
 * loaded is reported through `say` and the run goes on: the commands find out
 * what is missing and say it better. Returns 0 when the list is done (whatever
 * its commands returned), -1 when it could not be read; then nothing was run.
 */
int pid1_run(const struct pid1_options *o, pid1_say *say, void *ctx, struct err *e);

/*
 * The last part of pid1_run, of use to any process without children of its own
 * (every child is reaped here).
 *
 * A line of the list is one command: words separated by blanks, without quoting;
 * a word that begins with # ends the line. A first word that begins with / is the
 * program to execute; otherwise the whole line is arguments for o->self. The
 * list is read and checked whole before its first command runs.
 *
 * Each command runs in a session of its own, with the environment and
 * descriptors of this process. `say` hears
 *
 *     BEGIN <n> <line>        n counts from 1; the line is cut at 1000 bytes
 *     EXIT <n> <status>       128 + signal if a signal ended it, 126 or 127 if it could not start
 *     END <n>                 n commands were begun
 *
 * EXIT need not stand at the start of a line: a command may have left its last
 * one open. A command that runs longer than o->limit_ms is killed, which is said;
 * what it left running in its process group is killed with it. SIGTERM and SIGINT are passed to the
 * command that runs, which has a few seconds to end; no further command is
 * begun.
 */
int pid1_run_list(const struct pid1_options *o, pid1_say *say, void *ctx, struct err *e);

/* Wait until the console has written everything, sync, power off. Never returns, even if power stays on. */
void pid1_end(void) __attribute__((noreturn));

#endif
