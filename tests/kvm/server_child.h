/* A child process that serves a client through two pipes, for the tests that ask it. */
#ifndef TESTS_KVM_SERVER_CHILD_H
#define TESTS_KVM_SERVER_CHILD_H

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "hv/options.h"

/* In the child: it reads requests from `to` and answers into `from`; the options of a server of these files. */
static inline struct options server_child(char **files, int n, const int to[2], const int from[2])
{
    struct options o = options_default();

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Nothing else of the pipes, or it would be its own client. */
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    close(to[0]);
    close(to[1]);
    close(from[0]);
    close(from[1]);
    signal(SIGPIPE, SIG_IGN);
    o.operands = files;
    o.operands_n = n;
    o.log_fd = STDERR_FILENO;
    return o;
}

#endif
