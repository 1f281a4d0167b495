/*
 * The test vectors of the guest ABI (vectors/README.txt says what they are):
 * messages of several writers with their content, broken ones with the class
 * of what is wrong, and images of I/O stacks.
 *
 * The index is read line by line: one record a line, none of the strings
 * looked for has an escape in it.
 */
#include "tests/tap.h"

#include <stdlib.h>

#include "mem/bytes.h"
#include "mem/iostack.h"
#include "tests/fuzz/ref_message.h"

#define FILE_MAX (256 * 1024)

static const char *folder;
static struct text said, wanted;
static struct any message;

/* --- the index --------------------------------------------------------------------------------- */
static char *read_text(const char *name, size_t *len)
{
    char path[512];
    char *bytes = malloc(FILE_MAX);
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "rb");
    if (bytes == NULL || f == NULL) {
        printf("Bail out! %s: cannot read it\n", path);
        exit(1);
    }
    *len = fread(bytes, 1, FILE_MAX - 1, f);
    if (*len == FILE_MAX - 1) {
        printf("Bail out! %s: longer than the test expects\n", path);
        exit(1);
    }
    bytes[*len] = '\0';
    fclose(f);
    return bytes;
}

/* The string that follows "key": after `from`; NULL when there is none. Valid until the next call with that
 * key. */
static const char *json_string(const char *from, const char *key, const char **after)
{
    static char found[4][1024];
    static unsigned turn;
    char needle[64];
    const char *p, *end;
    char *out = found[turn++ % 4];

    snprintf(needle, sizeof(needle), "\"%s\": \"", key);
    p = strstr(from, needle);
    if (p == NULL)
        return NULL;
    p += strlen(needle);
    end = strchr(p, '"');
    if (end == NULL || end - p >= 1024)
        return NULL;
    memcpy(out, p, (size_t)(end - p));
    out[end - p] = '\0';
    if (after != NULL)
        *after = end;
    return out;
}

static bool json_number(const char *line, const char *key, uint64_t *out)
{
    char needle[64];
    const char *p;

    snprintf(needle, sizeof(needle), "\"%s\": ", key);
    p = strstr(line, needle);
    if (p == NULL)
        return false;
    *out = strtoull(p + strlen(needle), NULL, 10);
    return true;
}

/* Call `visit` for each record of the section; returns how many there are. */
static unsigned for_each(const char *section, void (*visit)(const char *record))
{
    char needle[64];
    size_t len;
    char *index = read_text("vectors.json", &len), *line, *end;
    unsigned n = 0;

    snprintf(needle, sizeof(needle), "\n \"%s\": [\n", section);
    line = strstr(index, needle);
    for (line = line == NULL ? NULL : line + strlen(needle); line != NULL && strncmp(line, "  {", 3) == 0;
         line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL)
            break;
        *end = '\0';
        visit(line);
        n++;
    }
    free(index);
    return n;
}

static enum kind kind_of(const char *record)
{
    const char *name = json_string(record, "message", NULL);
    unsigned i;

    for (i = 0; name != NULL && i < KINDS_N; i++)
        if (strcmp(name, kind_names[i]) == 0)
            return (enum kind)i;
    printf("Bail out! a record without a known message: %s\n", record);
    exit(1);
}

/* The file in memory of exactly its size, so that a sanitizer sees a byte too far. */
static uint8_t *read_exact(const char *name, size_t *len)
{
    char *text = read_text(name, len);
    uint8_t *bytes = malloc(*len == 0 ? 1 : *len);

    if (bytes == NULL)
        abort();
    memcpy(bytes, text, *len);
    free(text);
    return bytes;
}

/* --- valid --------------------------------------------------------------------------------------- */
static unsigned files_n;

/* What expect.txt says of that name. */
static void read_wanted(const char *name)
{
    char heading[128];
    size_t len;
    char *all = read_text("expect.txt", &len), *p, *end;

    snprintf(heading, sizeof(heading), "== %s\n", name);
    for (p = strstr(all, heading); p != NULL && p != all && p[-1] != '\n'; p = strstr(p + 1, heading))
        ;
    wanted.len = 0;
    wanted.s[0] = '\0';
    if (p != NULL) {
        p += strlen(heading);
        end = strstr(p, "\n== ");
        text_add(&wanted, "%.*s", end == NULL ? (int)strlen(p) : (int)(end + 1 - p), p);
    }
    free(all);
}

static void check_valid_file(const char *file, enum kind kind, bool limited)
{
    size_t file_len, len, written_len;
    uint8_t *slot = read_exact(file, &file_len), *bytes, *written;
    enum msg_status status;

    files_n++;
    len = (size_t)load_le32(slot) + 4;
    if (!CHECK(len <= file_len)) {
        free(slot);
        return;
    }
    bytes = malloc(len);
    memcpy(bytes, slot, len);
    free(slot);
    status = any_read(kind, bytes, len, &message);
    if (limited) {
        CHECK_STR(msg_status_name(status), "limit");
        free(bytes);
        return;
    }
    if (!CHECK_STR(msg_status_name(status), "ok")) {
        printf("# %s\n", file);
        free(bytes);
        return;
    }
    any_text(kind, &message, &said);
    if (!CHECK_STR(said.s, wanted.s))
        printf("# %s\n", file);
    CHECK(ref_read(kind, bytes, len, &said) && strcmp(said.s, wanted.s) == 0);

    /* Written again, its content stays the same. */
    written_len = any_len(kind, &message);
    written = malloc(written_len + 1);
    CHECK(written_len != 0 && any_write(kind, &message, written, written_len) == written_len);
    CHECK(ref_read(kind, written, written_len, &said) && strcmp(said.s, wanted.s) == 0);
    if (CHECK(any_read(kind, written, written_len, &message) == MSG_OK)) {
        any_text(kind, &message, &said);
        CHECK_STR(said.s, wanted.s);
    }
    free(written);
    free(bytes);
}

static void check_valid(const char *record)
{
    enum kind kind = kind_of(record);
    const char *name = json_string(record, "name", NULL), *at = record, *file;
    char text[200];
    uint64_t limit;

    snprintf(text, sizeof(text), "%s says what expect.txt says", name);
    if (json_number(record, "limit", &limit))
        snprintf(text, sizeof(text), "%s, with more parameters than are taken, is refused as that", name);
    tap_case(text);
    read_wanted(name);
    CHECK(wanted.len != 0);
    while ((file = json_string(at, "file", &at)) != NULL)
        check_valid_file(file, kind, strstr(record, "\"limit\": ") != NULL);
}

/* --- broken -------------------------------------------------------------------------------------- */
/*
 * Most classes name the rule that is broken. Some say how the file was made
 * instead, which the bytes do not tell: a table that is another's, a message
 * cut short with its prefix made to fit. For these, the rule that the file
 * breaks first.
 */
static const struct {
    const char *file;
    enum msg_status status;
} first_broken[] = {
    {"hostile/call-trunc-fixed-116.bin", MSG_OFFSET_RANGE},
    {"hostile/ret-trunc-fixed-36.bin", MSG_OFFSET_RANGE},
    {"hostile/err-trunc-fixed-36.bin", MSG_OFFSET_RANGE},
    {"hostile/log-trunc-fixed-48.bin", MSG_OFFSET_RANGE},
    {"hostile/det-trunc-fixed-64.bin", MSG_OFFSET_RANGE},
    {"hostile/call-prefix-twice.bin", MSG_VTABLE_RANGE},
    {"hostile/call-union-int-as-string.bin", MSG_OFFSET_RANGE},
    {"hostile/call-union-int-as-bytes-neg.bin", MSG_CYCLIC},
    {"hostile/call-union-int-as-long.bin", MSG_MISALIGNED},
    {"hostile/call-union-uint-as-string.bin", MSG_CYCLIC},
    {"hostile/call-union-float-as-bytes.bin", MSG_OFFSET_RANGE},
    {"hostile/call-union-bool-as-double.bin", MSG_MISALIGNED},
    {"hostile/call-union-bool-as-string.bin", MSG_OFFSET_RANGE},
    {"hostile/call-union-bytes-as-string.bin", MSG_STRING_RANGE},
    {"hostile/call-union-long-as-string.bin", MSG_CYCLIC},
    {"hostile/call-union-string-as-double.bin", MSG_MISALIGNED},
    {"hostile/ret-union-int-as-string.bin", MSG_OFFSET_RANGE},
    {"hostile/ret-union-long-as-string.bin", MSG_CYCLIC},
    {"hostile/ret-union-int-as-ulong.bin", MSG_MISALIGNED},
    {"hostile/ret-union-box-as-error.bin", MSG_STRING_RANGE},
    {"hostile/ret-union-strbox-as-error.bin", MSG_STRING_TERMINATOR},
    {"hostile/ret-union-error-as-box.bin", MSG_MISALIGNED},
    {"hostile/ret-union-error-as-box2.bin", MSG_MISALIGNED},
    {"hostile/call-zeros-64.bin", MSG_SIZE_PREFIX},
    {"hostile/call-ff-64.bin", MSG_SIZE_PREFIX},
    {"hostile/ret-zeros-64.bin", MSG_SIZE_PREFIX},
    {"hostile/log-ff-64.bin", MSG_SIZE_PREFIX},
    {"hostile/call-text.bin", MSG_OFFSET_RANGE},
    {"hostile/call-is-a-result.bin", MSG_MISALIGNED},
    {"hostile/log-is-a-call.bin", MSG_STRING_TERMINATOR},
};

/* Semantic ones have no class; their names say what is wrong. */
static const struct {
    const char *part;
    enum msg_status status;
} semantic_parts[] = {
    {"/call-calltype-", MSG_CALL_TYPE},
    {"-rettype-", MSG_RETURN_TYPE},
    {"/det-rtype-", MSG_RETURN_TYPE},
    {"/det-ptype-", MSG_PARAM_TYPE},
    {"-union-", MSG_UNION_TYPE},
    {"/ret-is-a-", MSG_UNION_TYPE},
    {"-not-utf8", MSG_UTF8},
    {"-overlong", MSG_UTF8},
    {"-surrogate", MSG_UTF8},
    {"/log-level-", MSG_LOG_LEVEL},
    {"/log-only-message", MSG_LOG_STRING},
    {"-absent", MSG_LOG_STRING},
};

static unsigned first_broken_seen;

static void check_refused(const char *record, const char *class, enum msg_status as)
{
    const char *file = json_string(record, "file", NULL);
    enum kind kind = kind_of(record);
    struct any before;
    char text[200];
    size_t len, cut_len;
    uint8_t *bytes, *cut;

    snprintf(text, sizeof(text), "%s is refused as %s%s%s", file, class == NULL ? msg_status_name(as) : class,
             class == NULL ? "" : ": ", class == NULL ? "" : msg_status_name(as));
    tap_case(text);
    memset(&message, 0xa5, sizeof(message));
    memcpy(&before, &message, sizeof(before));
    bytes = read_exact(file, &len);
    CHECK_STR(msg_status_name(any_read(kind, bytes, len, &message)), msg_status_name(as));
    CHECK(memcmp(&before, &message, sizeof(before)) == 0);
    CHECK(!ref_read(kind, bytes, len, &said));

    /* What a stack would make of it: prefix + 4 bytes, if there are as many. */
    if (len >= 4 && (uint64_t)load_le32(bytes) + 4 < len) {
        cut_len = (size_t)load_le32(bytes) + 4;
        cut = malloc(cut_len);
        memcpy(cut, bytes, cut_len);
        CHECK(any_read(kind, cut, cut_len, &message) != MSG_OK);
        CHECK(!ref_read(kind, cut, cut_len, &said));
        free(cut);
    }
    free(bytes);
}

static void check_hostile(const char *record)
{
    const char *file = json_string(record, "file", NULL), *class = json_string(record, "class", NULL);
    unsigned i;

    for (i = 0; i < sizeof(first_broken) / sizeof(first_broken[0]); i++)
        if (strcmp(first_broken[i].file, file) == 0) {
            first_broken_seen++;
            check_refused(record, class, first_broken[i].status);
            return;
        }
    for (i = MSG_TRUNCATED; i < MSG_CALL_TYPE; i++)
        if (strcmp(msg_status_name((enum msg_status)i), class) == 0) {
            check_refused(record, NULL, (enum msg_status)i);
            return;
        }
    tap_case("each class has a status");
    CHECK_STR(class, "one that is known");
}

static void check_semantic(const char *record)
{
    const char *file = json_string(record, "file", NULL);
    enum msg_status as = MSG_OK;
    unsigned i;

    /* Of those that match, the first: "-union-absent" is about a union. */
    for (i = 0; i < sizeof(semantic_parts) / sizeof(semantic_parts[0]) && as == MSG_OK; i++)
        if (strstr(file, semantic_parts[i].part) != NULL)
            as = semantic_parts[i].status;
    check_refused(record, NULL, as);
}

/* --- stacks ---------------------------------------------------------------------------------------- */
static uint8_t image[4096], before_it[4096], payload[4096], popped[4096];

static void check_pop(const char *record, uint64_t size)
{
    const char *error = json_string(record, "error", NULL), *zeroed;
    struct iostack_top top = {1, 2, 3};
    uint64_t at = 0, len = 0, sp_after = 0, zero_from = 0, zero_end = 0;
    enum iostack_status status = iostack_peek(image, size, popped, sizeof(popped), &top);
    char *end;

    CHECK(memcmp(image, before_it, sizeof(image)) == 0);
    if (error != NULL) {
        CHECK_STR(iostack_status_name(status), error);
        CHECK(top.sp == 1 && top.back == 2 && top.len == 3);
        return;
    }
    zeroed = strstr(record, "\"zeroed\": [");
    if (!CHECK(json_number(record, "payload_at", &at) && json_number(record, "payload_len", &len) &&
               json_number(record, "sp_after", &sp_after) && zeroed != NULL) ||
        !CHECK_STR(iostack_status_name(status), "ok"))
        return;
    zero_from = strtoull(zeroed + strlen("\"zeroed\": ["), &end, 10);
    zero_end = strtoull(end + 1, NULL, 10);
    CHECK_EQ(top.back, at);
    CHECK_EQ(top.len, len);
    CHECK(memcmp(popped, before_it + at, len) == 0);
    iostack_drop(image, &top);
    store_le64(before_it, sp_after);
    memset(before_it + zero_from, 0, zero_end - zero_from);
    CHECK(memcmp(image, before_it, sizeof(image)) == 0);
}

static void check_push(const char *record, uint64_t size)
{
    const char *error = json_string(record, "error", NULL);
    uint64_t len = 0, sp = load_le64(image), sp_after = 0, back = 0, i;

    if (!CHECK(json_number(record, "payload_len", &len) && len <= sizeof(payload)))
        return;
    for (i = 0; i < len; i++)
        payload[i] = (uint8_t)(i + 1);
    CHECK_STR(iostack_status_name(iostack_push(image, size, payload, len)), error == NULL ? "ok" : error);
    if (error == NULL) {
        CHECK(json_number(record, "sp_after", &sp_after) && json_number(record, "back_pointer", &back));
        store_le64(before_it, sp_after);
        memcpy(before_it + sp, payload, len);
        store_le64(before_it + sp_after - 8, back);
    }
    CHECK(memcmp(image, before_it, sizeof(image)) == 0);
}

static void check_stack(const char *record)
{
    const char *name = json_string(record, "name", NULL), *op = json_string(record, "op", NULL),
               *hex = json_string(record, "image_hex", NULL);
    uint64_t size = 0, i;
    unsigned byte;
    char text[200];

    snprintf(text, sizeof(text), "the stack image %s (%s) gives what is expected", name, op);
    tap_case(text);
    if (!CHECK(hex != NULL && json_number(record, "size", &size) && size < sizeof(image)))
        return;
    memset(image, 0, size);
    /* Behind its end nothing may change. */
    memset(image + size, 0xa5, sizeof(image) - size);
    for (i = 0; hex[2 * i] != '\0' && i < size; i++) {
        CHECK(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        image[i] = (uint8_t)byte;
    }
    memcpy(before_it, image, sizeof(image));
    if (strcmp(op, "pop") == 0)
        check_pop(record, size);
    else
        check_push(record, size);
}

int main(void)
{
    unsigned valid_n, hostile_n, semantic_n, stacks_n;

    folder = getenv("VECTORS");
    if (folder == NULL)
        folder = "tests/unit/vectors";
    valid_n = for_each("valid", check_valid);
    hostile_n = for_each("hostile", check_hostile);
    semantic_n = for_each("semantic", check_semantic);
    stacks_n = for_each("iostack", check_stack);
    tap_case("no vector was left out");
    CHECK_EQ(valid_n, 161);
    CHECK_EQ(files_n, 213);
    CHECK_EQ(hostile_n, 175);
    CHECK_EQ(first_broken_seen, sizeof(first_broken) / sizeof(first_broken[0]));
    CHECK_EQ(semantic_n, 35);
    CHECK_EQ(stacks_n, 26);
    return tap_done();
}
