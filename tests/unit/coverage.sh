#!/bin/sh
# make coverage: how much of mem/ and paging/ the unit tests reach, by gcc and gcov.
# paging/ has to reach 95 % of its lines and 90 % of its branches, and what is left has to be listed
# with a reason in tests/unit/coverage-exceptions ("FILE: SOURCE LINE | REASON"). The branches of
# asserts do not count: nothing can break what the programmer guarantees. "-v" lists every line that is left.
set -eu
cd "$(dirname "$0")/../.."
out=build/coverage
rm -rf "$out"
mkdir -p "$out/obj" "$out/gcov"

compile() { # options...
    gcc -std=c11 -O0 -g -w -I. -D_GNU_SOURCE '-DVMM_FLAVOUR="coverage"' -fno-strict-aliasing -c "$@"
}
objects=
for source in mem/*.c paging/*.c boot/*.c hv/*.c; do
    case $source in
    */\** | boot/bare_none.c | boot/guest_i686_none.c | hv/counter_none.c | mem/heap.c) continue ;;
    mem/* | paging/*) more=--coverage ;;
    *) more= ;;
    esac
    object=$out/obj/$(echo "${source%.c}" | tr / _).o
    # shellcheck disable=SC2086 # an option or none
    compile $more -o "$object" "$source"
    objects="$objects $object"
done
# shellcheck disable=SC2086
ar rcs "$out/libvmm.a" $objects

# The tests are built with --coverage too: inline functions and sources that a test includes are in them.
for test in tests/unit/test_*.c; do
    name=$(basename "$test" .c)
    compile --coverage -o "$out/obj/$name.o" "$test"
    gcc --coverage -o "$out/$name" "$out/obj/$name.o" "$out/libvmm.a"
    if ! timeout 600 "$out/$name" >"$out/$name.tap" 2>&1; then
        cat "$out/$name.tap"
        echo "$0: $name fails" >&2
        exit 1
    fi
done

(cd "$out/gcov" && find ../obj -name '*.gcda' -exec gcov --json-format --branch-probabilities {} + >gcov.log 2>&1)
exec python3 tests/unit/coverage.py "$out/gcov" tests/unit/coverage-exceptions "$@"
