/*
 * Flat segments: the registers a guest starts with and the descriptors that
 * say the same in memory (Intel SDM 3A, "Segment Descriptors").
 */
#ifndef BOOT_GDT_H
#define BOOT_GDT_H

#include <stdint.h>

#include "boot/cpu.h"

#define GDT_CODE_SELECTOR 0x08
#define GDT_DATA_SELECTOR 0x10

/* Flat ring-0 segments of 4 GiB for 32-bit code. */
extern const struct cpu_segment gdt_code32, gdt_data32;
/* Ring-0 code in 64-bit mode; data segments are null there. */
extern const struct cpu_segment gdt_code64;
/* The task register of every kind: present, busy, nothing behind it. */
extern const struct cpu_segment gdt_tss;

/* CS, the five data segments, and the task register. */
void gdt_load(struct cpu_sregs *s, const struct cpu_segment *code, const struct cpu_segment *data,
              const struct cpu_segment *task);

/* Bytes of the GDT that goes with gdt_code32 and gdt_data32: null, code, data. */
#define GDT32_LEN 24
void gdt_write32(uint8_t out[GDT32_LEN]);

/* The 8 bytes of a code or data descriptor for `s`. */
uint64_t gdt_encode(const struct cpu_segment *s);

#endif
