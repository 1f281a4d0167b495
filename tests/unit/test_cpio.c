/*
 * hv/cpio and hv/save: the bytes of an archive against its format's table
 * (early-userspace/buffer-format.rst), read by a reader of this file's own;
 * cpio(1)'s opinion is in tests/cli/test_pack.sh.
 */
#include "hv/cpio.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tap.h"

static char folder[] = "/tmp/test-cpio-XXXXXX";
static char path[64];
static struct err e;
static uint8_t bytes[65536];
static size_t len;

static void load(void)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));

    len = n < 0 ? 0 : (size_t)n;
    if (fd >= 0)
        close(fd);
}

static uint32_t hex(size_t at)
{
    char field[9] = {0};

    memcpy(field, bytes + at, 8);
    return (uint32_t)strtoul(field, NULL, 16);
}

struct entry {
    uint32_t inode, mode, links, size;
    const char *name;
    const uint8_t *data;
};

/* The entry at *at, which moves behind it. */
static bool next_entry(size_t *at, struct entry *out)
{
    static const unsigned zero[] = {2, 3, 5, 7, 8, 9, 10, 12}; /* uid, gid, mtime, devices, checksum */
    uint32_t name_len;
    unsigned i;

    if (*at % 4 != 0 || *at + 110 > len || memcmp(bytes + *at, "070701", 6) != 0)
        return false;
    for (i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        CHECK_EQ(hex(*at + 6 + 8 * zero[i]), 0);
    name_len = hex(*at + 6 + 8 * 11);
    *out = (struct entry){
        .inode = hex(*at + 6), .mode = hex(*at + 14), .links = hex(*at + 38), .size = hex(*at + 54)};
    out->name = (const char *)bytes + *at + 110;
    if (name_len == 0 || *at + 110 + name_len > len || strlen(out->name) != name_len - 1)
        return false;
    *at = (*at + 110 + name_len + 3) / 4 * 4;
    out->data = bytes + *at;
    *at = (*at + out->size + 3) / 4 * 4;
    return *at <= len;
}

static int write_archive(const char *const *names, const char *const *data)
{
    struct save s;
    struct cpio c = {.to = &s};
    unsigned i;

    if (save_begin(&s, path, 0, &e) != 0)
        return -1;
    for (i = 0; names[i] != NULL; i++)
        if (cpio_add(&c, names[i], data[i] == NULL ? S_IFDIR | 0755 : S_IFREG | 0644, data[i],
                     data[i] == NULL ? 0 : strlen(data[i]), &e) != 0)
            return -1;
    return cpio_end(&c, &e) != 0 ? -1 : save_end(&s, 0640, &e);
}

static void test_archive(void)
{
    /* Names and data of all lengths modulo 4. */
    static const char *const names[] = {"dev", "i", "in", "ini", "init", "a/bcdef", NULL};
    static const char *const data[] = {NULL, "", "1", "22", "333", "55555", NULL};
    struct entry entry = {.name = ""};
    struct stat st;
    size_t at = 0;
    unsigned i;

    tap_case("an archive holds what was put in, in order, aligned, without times or owners");
    CHECK_EQ(write_archive(names, data), 0);
    load();
    for (i = 0; names[i] != NULL; i++) {
        if (!CHECK(next_entry(&at, &entry)))
            return;
        CHECK_STR(entry.name, names[i]);
        CHECK_EQ(entry.inode, i + 1);
        CHECK_EQ(entry.links, 1);
        CHECK_EQ(entry.mode, data[i] == NULL ? 040755 : 0100644);
        CHECK_EQ(entry.size, data[i] == NULL ? 0 : strlen(data[i]));
        CHECK(data[i] == NULL || memcmp(entry.data, data[i], entry.size) == 0);
    }

    tap_case("and ends with the trailer and nothing behind it");
    CHECK(next_entry(&at, &entry));
    CHECK_STR(entry.name, "TRAILER!!!");
    CHECK_EQ(entry.size, 0);
    CHECK_EQ(at, len);

    tap_case("the file has the mode that was asked for");
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0640);
}

static void test_save(void)
{
    struct save s, other;

    tap_case("a save that is cancelled leaves the file as it was, and nothing else");
    load();
    CHECK(len > 0);
    CHECK_EQ(save_begin(&s, path, 0, &e), 0);
    CHECK_EQ(save_write(&s, 0, "x", 1, &e), 0);
    save_cancel(&s);
    CHECK_EQ(rmdir(folder), -1);
    load();
    CHECK_EQ(bytes[0], '0');
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(folder), 0);
    CHECK_EQ(mkdir(folder, 0700), 0);

    tap_case("what is not written reads as zeros, up to the length that was set");
    CHECK_EQ(save_begin(&s, path, 0, &e), 0);
    CHECK_EQ(save_set_len(&s, 10, &e), 0);
    CHECK_EQ(save_write(&s, 4, "ab", 2, &e), 0);
    CHECK_EQ(save_end(&s, 0600, &e), 0);
    load();
    CHECK_EQ(len, 10);
    CHECK(memcmp(bytes, "\0\0\0\0ab\0\0\0\0", 10) == 0);

    tap_case("a second save to the same path at the same time is refused");
    CHECK_EQ(save_begin(&s, path, 0, &e), 0);
    CHECK_EQ(save_begin(&(struct save){.fd = -1}, path, 0, &e), -1);
    CHECK_EQ(e.status, STATUS_HOST);
    CHECK_HAS(e.text, "another process is saving to it");

    tap_case("but for those that have a number of their own");
    CHECK_EQ(save_begin(&other, path, 1, &e), 0);
    CHECK_EQ(save_begin(&(struct save){.fd = -1}, path, 1, &e), -1);
    CHECK_EQ(save_end(&other, 0600, &e), 0);
    save_cancel(&s);
    load();
    CHECK_EQ(len, 0);
}

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/a.cpio", folder);
    test_archive();
    test_save();
    unlink(path);
    rmdir(folder);
    return tap_done();
}
