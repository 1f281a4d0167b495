# The guests of a flavour: build/<flavour>/samples/<name>-<kind>.elf; included by the top Makefile.
#
# A name is built for every kind the flavour runs, unless <name>_kinds says otherwise. Beside
# position-independent amd64 and fixed i686 guests, hello comes the other way round as well.

sample_names := hello abort fault badread spin selfwrite rodesc scratch peb counter overrun frames calls timer hostile \
	cow multiroot shared rodata lineage dirty ring3 scribble
rodesc_kinds := amd64 i686

# What a guest's note promises (mem/guest_abi.h), if not both that it ends by OUT 108 and that a plain CPU will do.
timer_note := 0
hostile_note := 0
dirty_note := NOTE_FLAG_OUT
note_of = $(or $($(1)_note),NOTE_FLAG_OUT|NOTE_FLAG_CPU)

# About page tables.
multiroot_kinds := amd64 i686
shared_kinds := amd64 i686
rodata_kinds := amd64 i686
ring3_kinds := amd64 i686

# Those that take calls from the host, and so handle exceptions.
calling_names := calls timer hostile cow multiroot shared rodata lineage dirty ring3 scribble

kinds := amd64 $(if $(I686_GUEST),i686 i686-identity)
kinds_of = $(filter $(kinds),$(or $($(1)_kinds),amd64 i686 i686-identity))

samples_dir := $(B)/samples
samples := $(foreach n,$(sample_names),$(foreach k,$(call kinds_of,$(n)),$(samples_dir)/$(n)-$(k).elf)) \
	$(samples_dir)/hello-fixed-amd64.elf $(if $(I686_GUEST),$(samples_dir)/hello-pie-i686.elf)

# One without the runtime.
lean_kinds := $(call kinds_of,lean)
samples += $(lean_kinds:%=$(samples_dir)/lean-%.elf) $(lean_kinds:%=$(samples_dir)/leanhello-%.elf) \
	$(if $(I686_GUEST),$(samples_dir)/leancow-i686.elf)

# Kernels that know nothing of the guest ABI.
bare_names := bare_hello bare_end bare_echo bare_io bare_timer bare_flood bare_once
samples += $(if $(I686_GUEST),$(bare_names:%=$(samples_dir)/%.elf) $(samples_dir)/microvm_hello.elf)

samples: $(samples)

# Kernel-mode SSE and x87 are not for guests: some KVMs cannot emulate them, and i686 starts without.
guest_cc := gcc
guest_cflags := -std=c11 -O2 -g -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fcf-protection=none -mgeneral-regs-only -fno-strict-aliasing -I. $(WARN)
guest_ldflags := -nostdlib -static -Wl,-T,guest-samples/guest.ld -Wl,--build-id=none -Wl,-z,norelro \
	-Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
guest_pie := -fpie
guest_pie_ld := -Wl,-pie -Wl,--no-dynamic-linker -Wl,-z,text -Wl,--defsym,GUEST_BASE=0
guest_fixed := -fno-pie -no-pie
guest_fixed_ld := -no-pie -Wl,--defsym,GUEST_BASE=0x1000
guest_deps := $(wildcard guest-samples/*.h) guest-samples/guest.ld mem/guest_abi.h mem/bytes.h mem/message.h \
	mem/message_wire.h mem/iostack.h guest-samples/samples.mk

# The runtime, in its two flavours: see guest-samples/guest.h.
guest_plain_src := guest-samples/guest.c guest-samples/guest_plain.c guest-samples/guest_mem.c
guest_calling_src := guest-samples/guest.c guest-samples/guest_trap.c guest-samples/guest_fn.c \
	guest-samples/guest_mem.c mem/message.c mem/message_read.c mem/message_write.c mem/iostack.c
guest_src = $(if $(filter $(1),$(calling_names)),$(guest_calling_src) guest-samples/trap_$(2).S,$(guest_plain_src))

# $(1) file name's ending, $(2) -m64 or -m32, $(3) pie or fixed, $(4) amd64 or i686, $(5) a further flag of the note
define sample_rule
$$(samples_dir)/%-$(1).elf: guest-samples/%.c $$(guest_deps) $$(guest_plain_src) $$(guest_calling_src) \
		guest-samples/start_$(4).S guest-samples/trap_$(4).S guest-samples/note.S
	@mkdir -p $$(@D)
	$$(guest_cc) $(2) $$(if $$(filter -m64,$(2)),-mno-red-zone) $$(guest_cflags) $$(guest_$(3)) \
		$$(guest_ldflags) $$(guest_$(3)_ld) -o $$@ "-DNOTE_FLAGS=($$(call note_of,$$*)$(5))" \
		guest-samples/start_$(4).S guest-samples/note.S $$(call guest_src,$$*,$(4)) $$<
endef
$(eval $(call sample_rule,amd64,-m64,pie,amd64,))
$(eval $(call sample_rule,i686,-m32,fixed,i686,))
$(eval $(call sample_rule,i686-identity,-m32,fixed,i686,|NOTE_FLAG_IDENTITY))
$(eval $(call sample_rule,fixed-amd64,-m64,fixed,amd64,))
$(eval $(call sample_rule,pie-i686,-m32,pie,i686,))

# $(1) name, $(2) file name's ending, $(3) -m64 or -m32, $(4) pie or fixed, $(5) a further flag of the note, $(6) sources
define lean_rule
$$(samples_dir)/$(1)-$(2).elf: guest-samples/$(1).S $(6) guest-samples/note.S $$(guest_deps)
	@mkdir -p $$(@D)
	$$(guest_cc) $(3) -I. $$(guest_$(4)) $$(guest_ldflags) $$(guest_$(4)_ld) -o $$@ \
		"-DNOTE_FLAGS=($$(call note_of,lean)$(5))" $$(filter %.S,$$^)
endef
$(eval $(call lean_rule,lean,amd64,-m64,pie,))
$(eval $(call lean_rule,lean,i686,-m32,fixed,))
$(eval $(call lean_rule,lean,i686-identity,-m32,fixed,|NOTE_FLAG_IDENTITY))
$(eval $(call lean_rule,leancow,i686,-m32,fixed,,guest-samples/lean.S))
$(eval $(call lean_rule,leanhello,amd64,-m64,fixed,))
$(eval $(call lean_rule,leanhello,i686,-m32,fixed,))
$(eval $(call lean_rule,leanhello,i686-identity,-m32,fixed,|NOTE_FLAG_IDENTITY))

bare_ldflags := -m32 -no-pie -nostdlib -static -Wl,--build-id=none -Wl,-z,norelro -Wl,-z,max-page-size=4096 \
	-Wl,-z,noexecstack -Wl,--no-warn-rwx-segments

$(samples_dir)/bare_%.elf: guest-samples/bare_%.c $(addprefix guest-samples/,bare_start.S bare.c bare.h bare.ld samples.mk)
	@mkdir -p $(@D)
	$(guest_cc) -m32 $(guest_cflags) -fno-pie $(bare_ldflags) -Wl,-T,guest-samples/bare.ld -o $@ \
		guest-samples/bare_start.S guest-samples/bare.c $<

$(samples_dir)/microvm_%.elf: guest-samples/microvm_%.S guest-samples/microvm.ld guest-samples/samples.mk
	@mkdir -p $(@D)
	$(guest_cc) $(bare_ldflags) -Wl,-T,guest-samples/microvm.ld -o $@ $<

.PHONY: samples
