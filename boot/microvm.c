/*
 * Nanvix's own contract: an i386 ELF file at its physical addresses, entered in
 * 16-bit mode in the state of a reset but for CS:IP, with a magic number in EAX
 * and the initrd in EBX. Later revisions read a command line from page 0.
 */
#include <inttypes.h>
#include <string.h>

#include "boot/bare_place.h"
#include "boot/gdt.h"
#include "boot/x86.h"
#include "mem/bytes.h"
#include "mem/num.h"

#define MICROVM_EAX       0x0c00ffeeu
#define ENTRY_END         0x10000u    /* IP has 16 bits */
#define INITRD_BASE       0x00800000u /* where the contract began; EBX says, so a kernel that reaches */
#define INITRD_BASE_LATER 0x00c00000u /* so far has it where later revisions put it */
#define INITRD_PAGES_MAX  0xfffu      /* EBX: the base, and in its low 12 bits the number of pages */
#define ARGS_LEN          0xefc       /* 2 bytes: how many there are at ARGS */
#define ARGS              0xf00       /* to the end of page 0, without a NUL */

#define RESET_LIMIT       0xffff
#define SEG_TYPE_LDT      2

static int place_initrd(struct bare_load *b, const struct bare_file *initrd, uint32_t *ebx, struct err *e)
{
    uint64_t pages, at;

    if (!num_page_up(initrd->len, &pages) || pages == 0 || pages >> PAGE_SHIFT > INITRD_PAGES_MAX)
        return err_image(e, "%s: an initrd for microvm has 1 to %u pages (%" PRIu64 " bytes)", initrd->name,
                         INITRD_PAGES_MAX, initrd->len);
    if (!bare_find(&b->ram, INITRD_BASE, INITRD_BASE + pages, pages, PAGE_LEN, &at))
        at = INITRD_BASE_LATER;
    if (bare_claim(&b->ram, "the initrd", at, pages, e) != 0)
        return -1;
    memcpy(b->ram.bytes + at, initrd->bytes, initrd->len);
    *ebx = (uint32_t)(at | pages >> PAGE_SHIFT);
    return 0;
}

static int place_args(struct bare_load *b, const char *args, struct err *e)
{
    const size_t len = strlen(args), room = PAGE_LEN - ARGS;

    if (len == 0)
        return 0;
    if (len > room)
        return err_usage(e, "%s: too long a command line for microvm (%zu bytes, limit %zu)", b->image->name,
                         len, room);
    if (bare_claim(&b->ram, "the command line", ARGS_LEN, PAGE_LEN - ARGS_LEN, e) != 0)
        return -1;
    store_le16(b->ram.bytes + ARGS_LEN, (uint16_t)len);
    memcpy(b->ram.bytes + ARGS, args, len);
    return 0;
}

/* KVM's reset of a vCPU, with CS where IP can reach the entry point. */
static struct bare_start start_16(uint64_t entry, uint32_t ebx)
{
    static const struct cpu_segment
        code = {.limit = RESET_LIMIT, .type = SEG_TYPE_CODE_RX_A, .s = true, .present = true},
        data = {.limit = RESET_LIMIT, .type = SEG_TYPE_DATA_RW_A, .s = true, .present = true},
        task = {.limit = RESET_LIMIT, .type = SEG_TYPE_TSS_BUSY, .present = true};
    struct bare_start start = {
        .format = BARE_MICROVM,
        .regs = {.rax = MICROVM_EAX, .rbx = ebx, .rip = entry, .rflags = RFLAGS_FIXED},
        .sregs = {.ldt = {.limit = RESET_LIMIT, .type = SEG_TYPE_LDT, .present = true},
                  .gdt = {.limit = RESET_LIMIT},
                  .idt = {.limit = RESET_LIMIT},
                  .cr0 = CR0_CD | CR0_NW | CR0_ET},
    };

    gdt_load(&start.sregs, &code, &data, &task);
    return start;
}

int microvm_load(struct bare_load *b, struct bare_start *out, struct err *e)
{
    struct elf_header h;
    struct elf_file f;
    struct elf_phdr p;
    uint32_t ebx = 0;

    b->ram.anywhere = true;
    if (bare_no_modules(b, BARE_MICROVM, e) != 0 || bare_elf_open(b, false, &f, &h, e) != 0)
        return -1;
    if (h.entry >= ENTRY_END || !bare_elf_find(&f, &h, true, h.entry, &p))
        return bare_refuse(
            &b->ram, e,
            "entry point is in no segment below 64 KiB, where 16-bit code can start (0x%" PRIx64 ")",
            h.entry);
    if (bare_elf_load(&b->ram, &f, &h, e) != 0 || place_args(b, b->options->append, e) != 0)
        return -1;
    if (b->options->initrd != NULL && place_initrd(b, b->options->initrd, &ebx, e) != 0)
        return -1;
    *out = start_16(h.entry, ebx);
    return 0;
}
