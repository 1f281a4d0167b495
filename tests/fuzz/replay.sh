#!/bin/sh
# Builds every fuzz target and runs it once over its committed corpus: one TAP test a target, then one
# for each row of the floors table. Nothing is fuzzed here, so the result does not depend on luck.
set -u
cd "$(dirname "$0")/../.." || exit 1
mkdir -p build/fuzz
n=0
failed=0

# result STATUS NAME LOG
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        sed 's/^/# /' "$3"
        echo "not ok $n - $2"
        failed=1
    fi
}

for source in tests/fuzz/fuzz_*.c; do
    target=$(basename "$source" .c)
    corpus=tests/fuzz/corpus/${target#fuzz_}
    log=build/fuzz/$target.log
    if [ -z "$(ls -A "$corpus" 2>/dev/null)" ]; then
        echo "$corpus: no corpus" >"$log"
        result 1 "$target has a corpus" "$log"
        continue
    fi
    make -s "build/fuzz/$target" >"$log" 2>&1 &&
        timeout 300 "build/fuzz/$target" -runs=0 "$corpus" >"$log" 2>&1
    result $? "$target survives its corpus ($(find "$corpus" -type f | wc -l) files)" "$log"
done

while read -r target min sources; do
    case $target in
    '' | '#'*) continue ;;
    esac
    log=build/fuzz/$target.coverage.log
    # shellcheck disable=SC2086 # a list of names without spaces
    tests/fuzz/coverage.sh "$target" "$min" $sources >"$log" 2>&1 </dev/null
    status=$?
    result $status "the corpus of $target reaches $min % of the lines of $sources" "$log"
    [ $status -ne 0 ] || sed 's/^/# /' "$log"
done <tests/fuzz/floors

echo "1..$n"
exit $failed
