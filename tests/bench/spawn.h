/* How the programs of the benchmark start each other, and themselves: one process a sample. */
#ifndef TESTS_BENCH_SPAWN_H
#define TESTS_BENCH_SPAWN_H

#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAWN_WORDS_MAX 31

/* Start a program and wait for its end; its wait status. What it prints follows what was printed before. */
static inline int spawn_and_wait(const char *const *words, size_t n)
{
    char *argv[SPAWN_WORDS_MAX + 1] = {NULL};
    int status = 1;
    pid_t pid;

    for (size_t i = 0; i < n && i < SPAWN_WORDS_MAX; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    fflush(stdout);
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0) {
        fprintf(stderr, "%s: cannot start\n", argv[0]);
        return status;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    /* A status of 1 has been explained by the program. */
    if (status != 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 1))
        fprintf(stderr, "%s %s %s: wait status 0x%x\n", argv[0], argv[1], argv[2], (unsigned)status);
    return status;
}

#endif
