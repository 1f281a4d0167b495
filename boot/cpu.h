/*
 * Registers of one vCPU as plain data, so that the rooms which decide what
 * they hold need not know KVM's structures. Members are in KVM's order.
 */
#ifndef BOOT_CPU_H
#define BOOT_CPU_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
};

/* A segment register with its cached descriptor. `limit` is in bytes, whatever `g` says. */
struct cpu_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint8_t type;
    bool present;
    uint8_t dpl;
    bool db, s, l, g, avl;
};

struct cpu_table {
    uint64_t base;
    uint16_t limit;
};

struct cpu_sregs {
    struct cpu_segment cs, ds, es, fs, gs, ss, tr, ldt;
    struct cpu_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
};

/* A model-specific register. */
struct cpu_msr {
    uint32_t index;
    uint64_t value;
};

#endif
