/*
 * boot/elf and files that nobody edited by hand: cut at every length, damaged
 * in every byte, and random ones against an image computed from the model they
 * were made from.
 */
#include "boot/elf.h"

#include <elf.h>
#include <stdlib.h>

#include "tests/fuzz/make_elf.h"
#include "tests/tap.h"

#define SPAN_LIMIT ((uint64_t)1 << 20)

static struct made made; /* too large for a stack */

/* A copy of exactly `len` bytes, so that a sanitizer sees the first one too many. Never NULL. */
static uint8_t *copy_exact(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len);

    if (len == 0)
        copy = realloc(copy, 1);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, len);
    return copy;
}

static void name_case(bool wide, const char *sentence)
{
    char name[200];

    snprintf(name, sizeof(name), "%s (ELF%s)", sentence, wide ? "64" : "32");
    tap_case(name);
}

/* Decode `len` bytes and, when that works, load them: for files about which nothing else is known. */
static bool try_file(const uint8_t *bytes, size_t len, struct elf_image *elf)
{
    uint8_t *copy = copy_exact(bytes, len), *image;
    struct err e;
    bool ok = elf_parse(copy, len, "t.elf", elf, &e) == 0;

    if (ok && elf->span_len <= SPAN_LIMIT) {
        image = calloc(1, elf->span_len);
        if (image == NULL)
            abort();
        (void)elf_load(elf, copy, len, elf->pie ? 0x4000 : elf->vaddr_base, "t.elf", image, &e);
        free(image);
    }
    free(copy);
    return ok;
}

static void test_truncation(bool wide, unsigned type)
{
    struct made *m = &made;
    struct elf_image whole, cut;
    size_t len, used, accepted = 0, different = 0;

    name_case(wide, type == ET_DYN ? "a position independent file is refused at every length but its own"
                                   : "a file with fixed addresses is refused at every length but its own");
    made_sample(m, wide, type, 0x1000);
    CHECK(try_file(m->bytes, m->len, &whole));
    for (len = 0; len < m->len; len++)
        accepted += try_file(m->bytes, len, &cut);
    CHECK_EQ(accepted, 0);

    name_case(wide, type == ET_DYN
                        ? "without a section table only the unused tail may be cut, position independent"
                        : "without a section table only the unused tail may be cut, fixed addresses");
    MADE_EHDR(m, e_shoff, 0);
    used = m->relocs_off + (type == ET_DYN ? MADE_RELOCS * made_reloc_len(m) : 0);
    memset(&whole, 0, sizeof(whole));
    memset(&cut, 0, sizeof(cut));
    CHECK(try_file(m->bytes, m->len, &whole));
    for (len = 0; len < used; len++)
        accepted += try_file(m->bytes, len, &cut);
    CHECK_EQ(accepted, 0);
    for (; len <= m->len; len++) {
        accepted += try_file(m->bytes, len, &cut);
        different += memcmp(&whole, &cut, sizeof(whole)) != 0;
    }
    CHECK_EQ(accepted, m->len - used + 1);
    CHECK_EQ(different, 0);
}

static void test_damage(bool wide, unsigned type)
{
    struct made *m = &made;
    struct elf_image elf;
    uint64_t seed = wide * 2 + (type == ET_DYN), accepted = 0, tried = 0;
    size_t i, headers_len;
    unsigned k;

    name_case(wide, type == ET_DYN
                        ? "no changed byte of a position independent file makes the decoder stray"
                        : "no changed byte of a file with fixed addresses makes the decoder stray");
    made_sample(m, wide, type, 0x1000);
    headers_len = MADE_LEN(m, Ehdr) + MADE_PHDRS * MADE_LEN(m, Phdr);
    for (i = 0; i < m->len; i++) {
        uint8_t old = m->bytes[i];

        for (k = 0; k < (i < headers_len ? 256 : 8); k++, tried++) {
            m->bytes[i] = i < headers_len ? (uint8_t)k : (uint8_t)tap_random(&seed);
            accepted += try_file(m->bytes, m->len, &elf);
        }
        m->bytes[i] = old;
    }
    CHECK(accepted > 0 && accepted < tried);
}

/* --- random files against the model they were made from ------------------------------------------ */

#define MODEL_SEGMENTS 10
#define MODEL_SPAN     0x20000

static uint8_t model_image[MODEL_SPAN]; /* what loading must give */
static bool model_taken[MODEL_SPAN];    /* bytes of the dynamic section and relocation table: left alone */

static uint64_t below(uint64_t *seed, uint64_t limit)
{
    return tap_random(seed) % limit;
}

/* One segment's place in the image; its bytes in the file come from model_image. */
struct model_segment {
    uint64_t at, mem_len, file_len, align;
};

static unsigned model_segments(uint64_t *seed, struct model_segment *s, bool pie)
{
    unsigned n = 2 + (unsigned)below(seed, MODEL_SEGMENTS - 1), i;
    uint64_t at = below(seed, 0x1000), k;

    for (i = 0; i < n; i++) {
        bool tables = i == 0 && pie; /* the first one holds dynamic section and relocations */

        s[i].at = at;
        s[i].mem_len = 1 + below(seed, 0x900) + (tables ? 0x400 : 0);
        s[i].file_len = below(seed, 4) == 0 ? s[i].mem_len : below(seed, s[i].mem_len + 1);
        if (tables)
            s[i].file_len = s[i].mem_len;
        s[i].align = (uint64_t[]){0, 1, 0x10, 0x1000}[below(seed, 4)];
        for (k = 0; k < s[i].file_len; k++)
            model_image[at + k] = (uint8_t)tap_random(seed);
        at += s[i].mem_len + (below(seed, 3) == 0 ? 0 : below(seed, 0x2000));
    }
    return n;
}

/* Write `len` bytes both into the file's copy of segment 0 and into the expected image. */
static void model_store(struct made *m, size_t seg0_off, uint64_t seg0_at, uint64_t at, const uint8_t *bytes,
                        size_t len)
{
    memcpy(m->bytes + seg0_off + (at - seg0_at), bytes, len);
    memcpy(model_image + at, bytes, len);
    memset(model_taken + at, true, len);
}

/*
 * A dynamic section and up to 19 relocations at the start of segment 0, whose bytes are at file offset
 * `seg0_off`; what they do is done to model_image right away.
 */
static void model_relocs(struct made *m, uint64_t *seed, const struct model_segment *s, unsigned n,
                         size_t seg0_off, uint64_t vaddr_base, uint64_t base)
{
    static struct made tables; /* a scrap of the same class to write one table in */
    bool wide = m->wide;
    size_t w = wide ? 8 : 4, dynamic_len = 8 * 2 * w, entry_len = made_reloc_len(m), i, k;
    uint64_t relocs_n = below(seed, 20), dynamic_at = s[0].at, relocs_at = dynamic_at + dynamic_len;

    memset(&tables, 0, sizeof(tables));
    tables.wide = wide;
    memset(model_taken + dynamic_at, true, dynamic_len + relocs_n * entry_len);
    made_dyn(&tables, 0, wide ? DT_RELASZ : DT_RELSZ, relocs_n * entry_len);
    made_dyn(&tables, 2 * w, DT_DEBUG, 0);
    made_dyn(&tables, 4 * w, wide ? DT_RELAENT : DT_RELENT, entry_len);
    made_dyn(&tables, 6 * w, wide ? DT_RELA : DT_REL, vaddr_base + relocs_at);
    model_store(m, seg0_off, dynamic_at, dynamic_at, tables.bytes, dynamic_len);
    made_phdr(m, n, PT_DYNAMIC, seg0_off, vaddr_base + dynamic_at, dynamic_len, dynamic_len, w);
    for (k = 0; k < relocs_n; k++) {
        const struct model_segment *t = &s[below(seed, n)];
        uint64_t addend = tap_random(seed), v = addend, at = t->at;
        bool none = t->mem_len < w || below(seed, 5) == 0;

        if (!none)
            at += below(seed, t->mem_len - w + 1);
        for (i = 0; !none && i < w; i++)
            none = model_taken[at + i];
        made_reloc(&tables, 0, none ? tap_random(seed) : vaddr_base + at, none ? 0 : 8,
                   none ? (uint32_t)below(seed, 100) : 0, addend);
        model_store(m, seg0_off, dynamic_at, relocs_at + k * entry_len, tables.bytes, entry_len);
        if (none)
            continue;
        if (!wide)
            memcpy(&v, model_image + at, 4);
        v += base - vaddr_base;
        memcpy(model_image + at, &v, w); /* the low half for ELF32: the host is little-endian */
    }
}

/* Make a random valid file and the image it must become when its base goes to `base`. */
static void model_make(struct made *m, uint64_t *seed, bool wide, bool pie, uint64_t vaddr_base,
                       uint64_t base, uint64_t *span_len)
{
    struct model_segment s[MODEL_SEGMENTS] = {{0}};
    size_t offs[MODEL_SEGMENTS] = {0};
    unsigned order[MODEL_SEGMENTS], n, i, k;

    memset(model_image, 0, sizeof(model_image));
    memset(model_taken, 0, sizeof(model_taken));
    n = model_segments(seed, s, pie);
    *span_len = s[n - 1].at + s[n - 1].mem_len;
    made_start(m, wide, pie ? ET_DYN : ET_EXEC, n + 2);
    for (i = 0; i < n; i++)
        order[i] = i;
    for (i = n; i > 1; i--) {
        unsigned j = (unsigned)below(seed, i), swap = order[i - 1];

        order[i - 1] = order[j];
        order[j] = swap;
    }
    for (k = 0; k < n; k++) { /* headers in the reverse of the order that the bytes have */
        i = order[k];
        while (s[i].align > 1 && (m->len ^ (vaddr_base + s[i].at)) % s[i].align != 0)
            made_grow(m, 1);
        offs[i] = made_grow(m, s[i].file_len);
        memcpy(m->bytes + offs[i], model_image + s[i].at, s[i].file_len);
        made_phdr(m, n - 1 - k, PT_LOAD, offs[i], vaddr_base + s[i].at, s[i].file_len, s[i].mem_len,
                  s[i].align);
    }
    i = (unsigned)below(seed, n);
    MADE_EHDR(m, e_entry, vaddr_base + s[i].at + below(seed, s[i].mem_len));
    if (pie)
        model_relocs(m, seed, s, n, offs[0], vaddr_base, base);
    if (below(seed, 2) == 0)
        made_sections(m);
}

static void test_random(bool wide)
{
    struct made *m = &made;
    uint64_t seed = 77 + wide, i, span_len, loaded = 0;

    name_case(wide, "random files load as the model that they were made from");
    for (i = 0; i < 600; i++) {
        uint64_t round = seed;
        bool pie = below(&seed, 3) != 0;
        uint64_t vaddr_base = (pie ? 0 : 0x1000) + below(&seed, 0x50) * 0x1000, base;
        struct elf_image elf;
        struct err e = {.text = "wrong span"};
        uint8_t *image, *copy;

        if (below(&seed, 4) == 0)
            vaddr_base += wide ? 0xffffffff80000000 : 0xc0000000;
        base = pie ? 0x1000 * (1 + below(&seed, 0x1000)) : vaddr_base;
        model_make(m, &seed, wide, pie, vaddr_base, base, &span_len);
        copy = copy_exact(m->bytes, m->len);
        image = calloc(1, span_len);
        if (image == NULL)
            abort();
        if (elf_parse(copy, m->len, "t.elf", &elf, &e) != 0 || elf.span_len != span_len ||
            elf_load(&elf, copy, m->len, base, "t.elf", image, &e) != 0) {
            printf("#   seed %" PRIu64 ": %s\n", round, e.text);
            free(image);
            free(copy);
            continue;
        }
        CHECK_EQ(elf.vaddr_base, vaddr_base);
        CHECK_EQ(elf.pie, pie);
        if (!CHECK(memcmp(image, model_image, span_len) == 0))
            printf("#   seed %" PRIu64 "\n", round);
        loaded++;
        free(image);
        free(copy);
    }
    CHECK_EQ(loaded, 600);
}

int main(void)
{
    int wide;

    for (wide = 0; wide < 2; wide++) {
        test_truncation(wide, ET_DYN);
        test_truncation(wide, ET_EXEC);
        test_damage(wide, ET_DYN);
        test_damage(wide, ET_EXEC);
        test_random(wide);
    }
    return tap_done();
}
