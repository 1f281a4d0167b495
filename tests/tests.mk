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
# The targets share objects: in build/fuzz/of; in build/fuzz/plain for those that look at every entry of every
# table, which would be many times slower if the fuzzer was told of each comparison; and in build/fuzz/cover
# for programs that show what a corpus reaches.
fuzz_src := $(filter-out hv/% mem/heap.c boot/guest_i686_none.c boot/bare_none.c,\
	$(wildcard mem/*.c paging/*.c boot/*.c))
fuzz_names := $(basename $(notdir $(wildcard tests/fuzz/fuzz_*.c)))
fuzz_plain := $(addprefix build/fuzz/fuzz_,walk spaces compact)
fuzz_targets := $(fuzz_names:%=build/fuzz/%)
fuzz_cover := $(fuzz_names:%=build/fuzz/cover/%)
fuzz_cc := clang-14 -std=c11 -g -I. -D_GNU_SOURCE -DVMM_FLAVOUR='"fuzz"' -fno-strict-aliasing
fuzz_san := address,undefined -fno-sanitize-recover=all

fuzz: $(fuzz_targets)

build/fuzz/of/%.o: fuzz_flags := -O1 -fsanitize=fuzzer-no-link,$(fuzz_san)
build/fuzz/plain/%.o: fuzz_flags := -O2 -fsanitize=fuzzer-no-link,$(fuzz_san) -fno-sanitize-coverage=trace-cmp
build/fuzz/cover/%.o: fuzz_flags := -O1 -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping

build/fuzz/of/%.o build/fuzz/plain/%.o build/fuzz/cover/%.o: %.c tests/tests.mk
	@mkdir -p $(@D)
	$(fuzz_cc) $(fuzz_flags) -MMD -MP -c -o $@ $<

$(filter-out $(fuzz_plain),$(fuzz_targets)): build/fuzz/%: build/fuzz/of/tests/fuzz/%.o \
		$(fuzz_src:%.c=build/fuzz/of/%.o)
	$(fuzz_cc) -fsanitize=fuzzer,$(fuzz_san) -o $@ $^

$(fuzz_plain): build/fuzz/%: build/fuzz/plain/tests/fuzz/%.o $(fuzz_src:%.c=build/fuzz/plain/%.o)
	$(fuzz_cc) -fsanitize=fuzzer,$(fuzz_san) -o $@ $^

$(fuzz_cover): build/fuzz/cover/%: build/fuzz/cover/tests/fuzz/%.o $(fuzz_src:%.c=build/fuzz/cover/%.o)
	$(fuzz_cc) -fsanitize=fuzzer -fprofile-instr-generate -o $@ $^

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
-include $(wildcard build/fuzz/*/*/*.d build/fuzz/*/tests/fuzz/*.d)

.PHONY: tests fuzz bench bench-programs lint coverage mutate fuzz-replay lab lab-shell demo check soak
