/* Trying out KVM. See probe.h. */
#include "hv/probe.h"

#include <elf.h>
#include <stddef.h>
#include <string.h>

#include "boot/gdt.h"
#include "boot/image.h"
#include "boot/x86.h"
#include "hv/kvm.h"
#include "mem/num.h"

int probe_paging32(int kvm_fd, struct err *e)
{
    const struct machine_options opt = {.phys_bits = 32};
    struct cpu_sregs s = {.cr0 = CR0_PG | CR0_WP | CR0_ET | CR0_PE};
    struct machine m = MACHINE_CLOSED;
    struct err refused;
    int result;

    gdt_load(&s, &gdt_code32, &gdt_data32, &gdt_tss);
    if (machine_open(&m, kvm_fd, &opt, e) != 0)
        return -1;
    result = machine_add_cpu(&m, kvm_fd, &opt, e);
    if (result == 0)
        result = machine_set_sregs(&m, &s, &refused) == 0;
    machine_close(&m);
    return result;
}

/* The head of a position-independent image of one page. */
#define HEAD(bits, machine)                                                                                  \
    {                                                                                                        \
        .header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS##bits, ELFDATA2LSB, EV_CURRENT}, \
                   .e_type = ET_DYN,                                                                         \
                   .e_machine = (machine),                                                                   \
                   .e_version = EV_CURRENT,                                                                  \
                   .e_entry = PROBE_CODE,                                                                    \
                   .e_phoff = offsetof(struct head##bits, segment),                                          \
                   .e_ehsize = sizeof(Elf##bits##_Ehdr),                                                     \
                   .e_phentsize = sizeof(Elf##bits##_Phdr),                                                  \
                   .e_phnum = 1},                                                                            \
        .segment = {.p_type = PT_LOAD,                                                                       \
                    .p_flags = PF_R | PF_X,                                                                  \
                    .p_filesz = PAGE_LEN,                                                                    \
                    .p_memsz = PAGE_LEN,                                                                     \
                    .p_align = PAGE_LEN},                                                                    \
    }

static const struct head32 {
    Elf32_Ehdr header;
    Elf32_Phdr segment;
} head32 = HEAD(32, EM_386);

static const struct head64 {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
} head64 = HEAD(64, EM_X86_64);

int probe_build(const struct guest_kind *k, const uint8_t *code, size_t len, uint64_t heap_len,
                struct snapshot *out, struct err *e)
{
    struct image_options opt = {
        .sizes = layout_default_sizes(),
        .paging = k->geom != NULL ? GUEST_PAGING_ON : GUEST_PAGING_OFF,
    };
    bool wide = k->machine == ELF_X86_64;
    uint8_t image[PAGE_LEN] = {0};

    opt.sizes.heap_len = heap_len;
    memcpy(image, wide ? (const uint8_t *)&head64 : (const uint8_t *)&head32,
           wide ? sizeof(head64) : sizeof(head32));
    memcpy(image + PROBE_CODE, code, len);
    return image_build(image, sizeof(image), "probe", &opt, out, e);
}
