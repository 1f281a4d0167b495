/*
 * The table by which a kernel finds the interrupt controllers of a machine
 * without ACPI: MultiProcessor Specification 1.4, chapter 4. It tells of what
 * KVM has: one processor with its local APIC, one IOAPIC, and an ISA bus whose
 * lines go to the PICs and to the IOAPIC's pins of the same number.
 *
 * A kernel that finds none has to take its interrupts from the PIC through the
 * local APIC. Linux closes that way (LVT0) for a moment while it sets it up,
 * and KVM does not look again at a tick that came meanwhile: there is never
 * another, because the PIT waits for that one.
 */
#ifndef BOOT_MPTABLE_H
#define BOOT_MPTABLE_H

#include <stdint.h>

#define MPTABLE_AT      0x000f0000u /* where a BIOS is, which no memory map offers */
#define MPTABLE_LEN_MAX 512

/* Write it; `ram` is what the guest has at address 0, of BARE_RAM_MIN or more. */
void mptable_write(uint8_t *ram);

#endif
