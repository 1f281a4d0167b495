/*
 * What the tests of the loaders of bare kernels share: exact copies of image
 * and RAM, so that a sanitizer sees the first byte too many, and readers of RAM
 * that know nothing of the loaders.
 */
#ifndef TESTS_UNIT_BARE_CHECK_H
#define TESTS_UNIT_BARE_CHECK_H

#include <stdlib.h>
#include <string.h>

#include "boot/bare.h"
#include "boot/guest.h"
#include "tests/fuzz/make_elf.h"
#include "tests/tap.h"

#define MIB ((uint64_t)1 << 20)

/* The options of the next load, and what the last one left. */
static struct bare_options opt = {.ram_len = 8 * MIB, .append = ""};
static struct bare_start start;
static struct err err;
static uint8_t *ram;
static uint64_t ram_len;

static inline void opt_reset(void)
{
    opt = (struct bare_options){.ram_len = 8 * MIB, .append = ""};
}

/* Whether this binary has loaders: the same switch brings both. One without runs a case about that only. */
static inline bool bare_is_built_in(void)
{
    return guest_i686_kinds[0] != NULL;
}

static inline uint8_t *exact_copy(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len != 0 ? len : 1);

    if (copy == NULL)
        abort();
    if (len != 0)
        memcpy(copy, bytes, len);
    return copy;
}

static inline int load_raw(enum bare_format f, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = exact_copy(bytes, len);
    const struct bare_file image = {.name = "k.img", .args = "", .bytes = copy, .len = len};
    int rc;

    free(ram);
    ram_len = opt.ram_len;
    ram = calloc(1, ram_len);
    if (ram == NULL)
        abort();
    memset(&start, 0xa5, sizeof(start));
    memset(&err, 0xa5, sizeof(err));
    rc = bare_load(f, &image, &opt, ram, &start, &err);
    free(copy);
    return rc;
}

static inline bool load_accepts(enum bare_format f, const uint8_t *bytes, size_t len, int line)
{
    struct err untouched;
    int rc = load_raw(f, bytes, len);

    memset(&untouched, 0xa5, sizeof(untouched));
    if (!tap_check(rc == 0, __FILE__, line, "the image is accepted")) {
        printf("#   line %d: %s\n", line, err.text);
        memset(&start, 0, sizeof(start));
        return false;
    }
    tap_check_u64(start.format, f, __FILE__, line, "format");
    return tap_check(memcmp(&err, &untouched, sizeof(err)) == 0, __FILE__, line, "the error is untouched");
}

static inline void load_refuses(enum bare_format f, const uint8_t *bytes, size_t len, enum status status,
                                const char *text, int line)
{
    struct bare_start untouched;

    memset(&untouched, 0xa5, sizeof(untouched));
    if (!tap_check(load_raw(f, bytes, len) == -1, __FILE__, line, "the image is refused")) {
        printf("#   line %d, wanted: %s\n", line, text);
        return;
    }
    tap_check(memcmp(&start, &untouched, sizeof(start)) == 0, __FILE__, line, "the result is untouched");
    tap_check_u64(err.status, status, __FILE__, line, "status");
    if (!tap_check(strstr(err.text, text) != NULL, __FILE__, line, "the message"))
        printf("#   line %d: \"%s\", wanted \"%s\"\n", line, err.text, text);
}

#define ACCEPT(f, bytes, len)               load_accepts((f), (bytes), (len), __LINE__)
#define REFUSE(f, bytes, len, status, text) load_refuses((f), (bytes), (len), (status), (text), __LINE__)

/* Little-endian words of RAM on a little-endian host; 0xee... past its end, which no field holds. */
static inline uint64_t ram_word(uint64_t at, size_t len)
{
    uint64_t v = 0;

    if (at > ram_len || len > ram_len - at)
        return 0xeeeeeeeeeeeeeeee;
    memcpy(&v, ram + at, len);
    return v;
}

static inline uint32_t ram32(uint64_t at)
{
    return (uint32_t)ram_word(at, 4);
}

static inline uint64_t ram64(uint64_t at)
{
    return ram_word(at, 8);
}

/* The string at `at`; "" outside RAM or without its end there. */
static inline const char *ram_text(uint64_t at)
{
    if (at >= ram_len || memchr(ram + at, '\0', ram_len - at) == NULL)
        return "(outside RAM)";
    return (const char *)ram + at;
}

static inline bool ram_holds(uint64_t at, const void *bytes, uint64_t len)
{
    return at <= ram_len && len <= ram_len - at && memcmp(ram + at, bytes, len) == 0;
}

static inline bool ram_is_zero(uint64_t at, uint64_t end)
{
    for (; at < end && at < ram_len; at++)
        if (ram[at] != 0)
            return false;
    return true;
}

/* Nothing was put where a PC has interrupt vectors, a BIOS or a screen. */
static inline bool ram_is_left_alone(void)
{
    return ram_is_zero(0, 0x500) && ram_is_zero(0x9fc00, 0x100000);
}

static inline void put32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, 4);
}

/* One segment of RAM size that is flat: base 0, 4 GiB, 32 bits, present, ring 0, code or data, accessed. */
static inline void check_flat(const struct cpu_segment *s, unsigned type, unsigned selector)
{
    CHECK_EQ(s->base, 0);
    CHECK_EQ(s->limit, 0xffffffff);
    CHECK_EQ(s->type, type);
    CHECK_EQ(s->selector, selector);
    CHECK(s->s && s->present && s->db && s->g && !s->l && s->dpl == 0);
}

/* 32-bit protected mode, nothing else on; `code` and `data` are the selectors. */
static inline void check_protected_mode(unsigned code, unsigned data)
{
    const struct cpu_sregs *s = &start.sregs;

    CHECK_EQ(s->cr0, 0x11);
    CHECK(s->cr4 == 0 && s->efer == 0 && s->cr3 == 0);
    check_flat(&s->cs, 11, code);
    check_flat(&s->ds, 3, data);
    check_flat(&s->es, 3, data);
    check_flat(&s->fs, 3, data);
    check_flat(&s->gs, 3, data);
    check_flat(&s->ss, 3, data);
    CHECK_EQ(s->tr.type, 11);
    CHECK(s->tr.present && !s->tr.s);
    CHECK_EQ(start.regs.rflags, 2);
    CHECK_EQ(s->apic_base, 0xfee00900);
    CHECK(start.irqchip);
}

/* A program header whose physical address is not its virtual one. */
static inline void made_segment(struct made *m, unsigned i, uint64_t off, uint64_t vaddr, uint64_t paddr,
                                uint64_t file_len, uint64_t mem_len)
{
    made_phdr(m, i, PT_LOAD, off, vaddr, file_len, mem_len, 1);
    MADE_PHDR(m, i, p_paddr, paddr);
}

/* Files whose bytes say which file they are of and where in it. */
static inline void fill_pattern(uint8_t *bytes, size_t len, unsigned seed)
{
    size_t i;

    for (i = 0; i < len; i++)
        bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8) + 1);
}

/* What a loader without loaders says; its only case. */
static inline int without_loaders(enum bare_format f)
{
    const uint8_t byte = 0;

    tap_case("a vmm without I686_GUEST=1 refuses the image and names the switch to build with");
    REFUSE(f, &byte, 1, STATUS_IMAGE, "k.img: this vmm has no bare kernels (");
    CHECK_STR(err.hint, "use a vmm built with I686_GUEST=1");
    CHECK_HAS(err.text, bare_format_name(f));
    free(ram);
    return tap_done();
}

#endif
