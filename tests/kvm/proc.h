/* What /proc says of a process. The lab has none: there it is mounted for as long as it is wanted. */
#ifndef TESTS_KVM_PROC_H
#define TESTS_KVM_PROC_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/tap.h"

static const char *proc = "/proc";

static inline bool proc_open(void)
{
    if (access("/proc/self/stat", R_OK) == 0)
        return true;
    proc = "/tmp/proc";
    return CHECK(mkdir(proc, 0700) == 0 || errno == EEXIST) &&
           CHECK(mount("proc", proc, "proc", 0, NULL) == 0);
}

static inline void proc_close(void)
{
    if (strcmp(proc, "/proc") == 0)
        return;
    CHECK(umount(proc) == 0);
    CHECK(rmdir(proc) == 0);
    proc = "/proc";
}

/* The number of KiB on the line of that name ("Pss:") in a file of the process. */
static inline bool proc_kib(pid_t pid, const char *file, const char *name, uint64_t *kib)
{
    char path[64], line[256];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%d/%s", proc, (int)pid, file);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        found = strncmp(line, name, strlen(name)) == 0;
        if (found)
            *kib = strtoull(line + strlen(name), NULL, 10);
    }
    fclose(f);
    return found;
}

/* Open descriptors of the process. */
static inline unsigned proc_fds(pid_t pid)
{
    const struct dirent *entry;
    char path[64];
    unsigned n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "%s/%d/fd", proc, (int)pid);
    d = opendir(path);
    while (d != NULL && (entry = readdir(d)) != NULL)
        n += entry->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n;
}

#endif
