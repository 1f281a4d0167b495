/*
 * Bare i686 kernels: images that know nothing of the guest ABI and are started
 * by a boot protocol of their own. Each protocol is one file, which checks the
 * image, places it with its modules and what it is told about them in RAM, and
 * says what the registers hold at the first instruction.
 *
 *   multiboot   boot/multiboot.c   Multiboot Specification 0.6.96, ELF and a.out kludge
 *   microvm     boot/microvm.c     Nanvix's own contract, 16-bit start
 *   pvh         boot/pvh.c         Xen's x86/HVM direct boot ABI, ELF note XEN_ELFNOTE_PHYS32_ENTRY
 *   linux       boot/bzimage.c     Linux/x86 boot protocol, 32-bit entry
 *
 * RAM is one block from address 0; 0xA0000-0xFFFFF is RAM as well, which no
 * memory map offers to the kernel and nothing but a text screen's bytes go to.
 *
 *   0 .. 0x500      left to the kernel, as a BIOS would leave it
 *   .. 0x10000      kernels only
 *   .. 0x9FC00      kernels; lowest what they are told about themselves
 *   .. 0x100000     nothing from here, but see mptable.h; reserved in every memory map
 *   .. RAM's end    kernels; above them modules at page boundaries
 *
 * A microvm image alone may lie anywhere, in page 0 too.
 */
#ifndef BOOT_BARE_H
#define BOOT_BARE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/cpu.h"
#include "mem/error.h"

enum bare_format { BARE_MULTIBOOT, BARE_MICROVM, BARE_PVH, BARE_LINUX, BARE_FORMATS_N };

/*
 * A file as it was read. `name` is for messages, and what a kernel of multiboot
 * finds in front of its command line; `args` a module's command line, "" if it
 * has none: multiboot then gives the module its name instead.
 */
struct bare_file {
    const char *name, *args;
    const uint8_t *bytes;
    uint64_t len;
};

#define BARE_MODULES_MAX 64
#define BARE_RAM_MIN     0x00100000u /* 1 MiB */
#define BARE_RAM_MAX     0xfec00000u /* RAM ends below the IOAPIC's page */

/* What the user decides about a kernel. Only some formats take modules, an initrd or a command line. */
struct bare_options {
    uint64_t ram_len;                /* bytes, a page multiple, BARE_RAM_MIN to BARE_RAM_MAX */
    const char *append;              /* the command line, "" = none */
    const struct bare_file *modules; /* multiboot, pvh */
    unsigned modules_n;              /* at most BARE_MODULES_MAX */
    const struct bare_file *initrd;  /* linux, microvm, pvh (its first module); NULL = none */
};

/* How the kernel starts. */
struct bare_start {
    enum bare_format format;
    struct cpu_regs regs;
    struct cpu_sregs sregs;
    bool
        irqchip; /* kernels of this kind expect interrupt controllers and a PIT; sregs.apic_base says so too */
};

#define BARE_STATE_MAX   20480u
#define BARE_DEVICES_MAX 256u

/*
 * A machine that ran, but for its RAM. The bytes are hv/state's (what KVM has of the CPU and the chips)
 * and hv/bus's (our devices); nobody else looks into them.
 */
struct bare_machine {
    struct bare_start start;
    uint64_t ram_len;
    uint64_t state_len, devices_len; /* at most what there is room for */
    uint8_t state[BARE_STATE_MAX] __attribute__((aligned(8)));
    uint8_t devices[BARE_DEVICES_MAX];
};

/* Whether this binary runs bare kernels: with I686_GUEST=1. */
extern const bool bare_is_built;

/* "multiboot", "microvm", "pvh", "linux". */
const char *bare_format_name(enum bare_format f);

/*
 * Whether the file has one of the formats' own headers, and which. False for
 * everything else: guests of the ABI, text, an empty file. A header that is
 * there but wrong counts as there; bare_load refuses it with the reason. An
 * ELF file with a note of the ABI is its guest, whatever else is in it.
 *
 * Nanvix has no header: microvm is what no other format claims and the ABI
 * would refuse, an i386 ELF file with fixed addresses that is entered below
 * 64 KiB and has a segment in page 0 or one whose physical address is not its
 * virtual one, and no note of Xen. For every other one the user names the format.
 */
bool bare_detect(const uint8_t *file, uint64_t len, enum bare_format *out);

/*
 * Place `image` in `ram`, o->ram_len zero bytes, and choose the first
 * registers. Every length and address in the files is checked; a file that
 * does not fit is STATUS_IMAGE, an option that this format has no use for
 * STATUS_USAGE. After a failure the content of `ram` means nothing. Without
 * I686_GUEST=1 every image is STATUS_IMAGE, with a hint that names the switch.
 */
int bare_load(enum bare_format f, const struct bare_file *image, const struct bare_options *o, uint8_t *ram,
              struct bare_start *out, struct err *e);

#endif
