# What runs the tests; included by the top Makefile. tests/README.md says what each kind proves.

full := I686_GUEST=1 GUEST_COUNTER=1

# What tests the inside of a feature is built with that feature only.
unit_off := $(if $(I686_GUEST),,tests/unit/test_bare_place.c)
unit_tests := $(patsubst %.c,$(B)/%,$(filter-out $(unit_off),$(wildcard tests/unit/test_*.c)))
kvm_tests := $(patsubst %.c,$(B)/%,$(wildcard tests/kvm/test_*.c))

# What is run in the lab beside vmm (typist), or in a guest of it (off).
lab_programs := $(addprefix $(B)/tests/lab/,typist off)

tests: $(unit_tests) $(kvm_tests) $(lab_programs) bench-programs

# A test sees the whole library of its flavour; what it needs beyond that is in headers beside it.
# --wrap=ioctl is the seam through which tests/kvm sees and fails the calls into KVM.
$(B)/tests/unit/test_%: tests/unit/test_%.c $(B)/libvmm.a Makefile tests/tests.mk
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-unused-variable -MMD -MP $(TEST_LDFLAGS) -o $@ $< $(B)/libvmm.a

$(B)/tests/kvm/test_%: tests/kvm/test_%.c $(B)/libvmm.a Makefile tests/tests.mk
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-unused-variable -MMD -MP $(TEST_LDFLAGS) -Wl,--wrap=ioctl -o $@ $< $(B)/libvmm.a

# Fuzz targets are built by clang with glibc, from the sources and not from the library: libFuzzer
# needs its instrumentation in the code under test. The full flavour's sources, whatever is built.
fuzz_cc := clang-14
fuzz_flags := -std=c11 -O1 -g -I. -D_GNU_SOURCE -DVMM_FLAVOUR='"fuzz"' -fno-strict-aliasing \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
fuzz_src := $(filter-out hv/% mem/heap.c boot/guest_i686_none.c boot/bare_none.c,\
	$(wildcard mem/*.c paging/*.c boot/*.c))
fuzz_targets := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

fuzz: $(fuzz_targets)

# These bring their room of hv along.
build/fuzz/fuzz_json: hv/jsonin.c hv/jsonin.h tests/unit/json_valid.h
build/fuzz/fuzz_bus: $(wildcard hv/bus.[ch] hv/dev_*.[ch])
build/fuzz/fuzz_batch: $(foreach room,args batchfile text words,hv/$(room).c hv/$(room).h)

# These look at every entry of every table: told of each comparison, the fuzzer would be many times slower.
build/fuzz/fuzz_walk build/fuzz/fuzz_spaces build/fuzz/fuzz_compact: \
	fuzz_flags += -O2 -fno-sanitize-coverage=trace-cmp

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(fuzz_src) \
		$(wildcard mem/*.h paging/*.h boot/*.h tests/fuzz/*.h tests/unit/*.h)
	@mkdir -p $(@D)
	$(fuzz_cc) $(fuzz_flags) -o $@ $< $(fuzz_src)

# The benchmark. floor and the raw programs share no code with what they are compared to: no library, no
# -I. to include from, and what these say "tests/bench/..." to includes nothing of vmm either.
bench_raw := $(addprefix $(B)/tests/bench/,bench floor method create)
bench_programs := $(bench_raw) $(addprefix $(B)/tests/bench/,product density tables)

$(bench_raw): $(B)/tests/bench/%: tests/bench/%.c Makefile tests/tests.mk | $(KERNEL_HEADERS)
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -iquote . $(addprefix -isystem ,$(KERNEL_HEADERS)) $(CFLAGS) -O2 -MMD -MP $(TEST_LDFLAGS) -o $@ $<

$(B)/tests/bench/%: tests/bench/%.c $(B)/libvmm.a Makefile tests/tests.mk
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(TEST_LDFLAGS) -o $@ $< $(B)/libvmm.a

bench-programs: $(bench_programs)

$(B)/tests/lab/typist: tests/lab/typist.c Makefile tests/tests.mk
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE $(CFLAGS) -MMD -MP $(TEST_LDFLAGS) -o $@ $<

$(B)/tests/lab/off: tests/lab/off.S tests/tests.mk
	@mkdir -p $(@D)
	gcc -m32 -nostdlib -static -o $@ $<

# LAB=1: in the lab as well.
bench:
	$(MAKE) -s $(full) SAN= all bench-programs
	tests/bench/bench.sh $(if $(LAB),--lab)

lint:
	tests/lint/lint.sh

coverage:
	tests/unit/coverage.sh

mutate:
	tests/unit/mutate.py

fuzz-replay:
	tests/fuzz/replay.sh

lab:
	tests/lab/lab.sh

lab-shell:
	tests/lab/lab.sh --shell

demo:
	tests/demo.sh

check:
	tests/check.sh

soak:
	tests/check.sh --soak

-include $(addsuffix .d,$(unit_tests) $(kvm_tests) $(bench_programs) $(B)/tests/lab/typist)

.PHONY: tests fuzz bench bench-programs lint coverage mutate fuzz-replay lab lab-shell demo check soak
