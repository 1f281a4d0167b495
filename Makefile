# vmm: boots and snapshots micro-guests on KVM. README.md says what each target is for.
#
#   make                                  the binary for amd64 guests, build/amd64/vmm
#   make I686_GUEST=1 GUEST_COUNTER=1     the full one, build/i686-counter/vmm
#   make demo | check | soak | bench      see README
#
# A feature switch chooses which files are compiled, never which lines of one.

-include config.mak

I686_GUEST ?=
GUEST_COUNTER ?=
SAN ?=

comma := ,

define only
ifneq ($$($(1)),)
ifneq ($$($(1)),$(2))
$$(error $(1)=$$($(1)) is not supported: leave it out or say $(1)=$(2))
endif
endif
endef
$(eval $(call only,I686_GUEST,1))
$(eval $(call only,GUEST_COUNTER,1))
$(eval $(call only,SAN,address$(comma)undefined))

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

flavour := $(if $(I686_GUEST),i686,amd64)$(if $(GUEST_COUNTER),-counter)$(if $(SAN),-san)
B := build/$(flavour)

# --- compilers -----------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wundef -Wvla -Wwrite-strings \
	-Wpointer-arith -Wformat=2 -Wimplicit-fallthrough -Wcast-align $(if $(WERROR),-Werror)
CPPFLAGS := -I. -D_GNU_SOURCE -DVMM_FLAVOUR='"$(flavour)"'

ifeq ($(SAN),)
# musl-gcc looks in musl's own folders only, where the kernel's headers are not: a farm of links adds
# them without adding glibc's. A plain -static binary, because musl-gcc -static-pie links a dynamic one.
CC := musl-gcc
KERNEL_HEADERS := build/kernel-headers
CPPFLAGS += -isystem $(KERNEL_HEADERS)
# For size; -Oz leaves some things on that make this program larger. With it gcc takes variables for unset
# that are not; the sanitizer flavour and lint, which compile with -O1 and -O2, keep that warning.
larger := inline-functions-called-once jump-tables tree-sra tree-dominator-opts tree-loop-im caller-saves \
	optimize-sibling-calls tree-tail-merge ipa-sra partial-inlining thread-jumps move-loop-invariants shrink-wrap \
	tree-forwprop forward-propagate ipa-modref
CFLAGS := -std=c11 -Oz $(larger:%=-fno-%) -flive-range-shrinkage --param=max-inline-insns-auto=5 -malign-data=abi -g -fno-pie \
	-fstack-protector -fno-strict-aliasing \
	-fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections $(WARN) -Wno-maybe-uninitialized
# Data follows code in the file without a gap up to the next page. In a program that is linked statically at
# a fixed address nobody would make a RELRO segment read-only. Sorted, sections leave less room between them.
LDFLAGS := -static -no-pie -Wl,--gc-sections -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,norelro \
	-Wl,-z,common-page-size=64 -Wl,--build-id=none -Wl,--sort-section=alignment
# The program itself is optimized once more when it is linked. Its objects hold plain code as well, for the
# tests: they replace functions of it one by one. It has no floating point: a call of a function with any
# number of arguments need not say in RAX how many of them are in vector registers.
OBJECT_FLAGS := -flto -ffat-lto-objects -mgeneral-regs-only -mskip-rax-setup
TEST_LDFLAGS := $(LDFLAGS) -fno-lto
LDFLAGS += -flto -flto-partition=one -fipa-pta
else
CC := gcc
KERNEL_HEADERS :=
CFLAGS := -std=c11 -O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all \
	-fno-strict-aliasing $(WARN)
OBJECT_FLAGS :=
LDFLAGS := -fsanitize=$(SAN)
TEST_LDFLAGS := $(LDFLAGS)
endif

# --- sources -------------------------------------------------------------------------------------
bare_on := boot/bare.c boot/bare_elf.c boot/multiboot.c boot/microvm.c boot/pvh.c boot/bzimage.c
feature_off := $(if $(I686_GUEST),boot/guest_i686_none.c boot/bare_none.c,boot/guest_i686.c $(bare_on)) \
	$(if $(GUEST_COUNTER),hv/counter_none.c,hv/counter.c) $(if $(SAN),mem/heap.c)
src := $(filter-out $(feature_off),$(sort $(wildcard mem/*.c paging/*.c boot/*.c hv/*.c)))
obj := $(src:%.c=$(B)/obj/%.o)

all: $(B)/vmm samples

$(B)/vmm: $(B)/obj/vmm.o $(obj)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(B)/libvmm.a: $(obj)
	rm -f $@ && ar rcs $@ $^

# The features of a flavour are in its folder's name, so objects of two flavours never mix; the
# Makefile is a prerequisite because a change of flags must rebuild.
$(B)/obj/%.o: %.c Makefile | $(KERNEL_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(OBJECT_FLAGS) -MMD -MP -c -o $@ $<

build/kernel-headers:
	@mkdir -p $@.tmp
	@ln -sfn /usr/include/linux $@.tmp/linux
	@ln -sfn /usr/include/asm-generic $@.tmp/asm-generic
	@ln -sfn $(firstword $(wildcard /usr/include/x86_64-linux-gnu/asm /usr/include/asm)) $@.tmp/asm
	@mv -T $@.tmp $@

clean:
	rm -rf build

include guest-samples/samples.mk
include tests/tests.mk

-include $(obj:.o=.d) $(B)/obj/vmm.d

.PHONY: all clean
