#!/bin/sh
# How many lines of the sources a fuzz target's committed corpus reaches, without any fuzzing:
#     tests/fuzz/coverage.sh TARGET MIN SOURCE...
# prints the percentage and fails below MIN. "-v" as MIN lists the lines that are not reached instead.
set -eu
cd "$(dirname "$0")/../.."

if [ $# -lt 3 ]; then
    echo "usage: $0 TARGET MIN|-v SOURCE..." >&2
    exit 64
fi
target=$1
min=$2
shift 2
bin=build/fuzz/cover/$target
corpus=tests/fuzz/corpus/${target#fuzz_}
make -s "$bin"
LLVM_PROFILE_FILE=$bin.profraw timeout 120 "$bin" -runs=0 "$corpus" >"$bin.log" 2>&1 || {
    cat "$bin.log" >&2
    exit 1
}
llvm-profdata-14 merge -o "$bin.profdata" "$bin.profraw"

if [ "$min" = -v ]; then
    llvm-cov-14 show "$bin" -instr-profile="$bin.profdata" "$@" | grep -E '^ *[0-9]+\| +0\|' || true
    exit 0
fi
for source in "$@"; do
    if [ ! -f "$source" ]; then
        echo "$0: $source: no such file" >&2
        exit 1
    fi
done
# Columns 8 and 9 of the last row: lines, lines missed.
llvm-cov-14 report "$bin" -instr-profile="$bin.profdata" "$@" | awk -v min="$min" -v target="$target" '
    $1 == "TOTAL" { lines = $8; missed = $9 }
    END {
        if (lines == 0) {
            print target ": no lines to cover"
            exit 1
        }
        printf "%s: %.1f %% of %d lines (floor %d %%)\n", target, (lines - missed) * 100 / lines, lines, min
        exit (lines - missed) * 100 < min * lines
    }'
