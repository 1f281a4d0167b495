#!/bin/bash
# make bench: how fast vmm is, beside bounds and naive methods measured in the same run.
#
#   bench.sh [--lab] [--rows PROGRAM]
#
#   --lab           run the rows that need KVM in the lab as well (tests/lab/lab.sh)
#   --rows PROGRAM  only those of tests/bench/PROGRAM.c: bench (KVM) or tables (no KVM)
#
#   BENCH_ROUNDS=7  interleaved repeats of every row, at least 5
#   BENCH_LARGE=1   page tables of 1 M pages too; needs 9 GB of free memory
#   BENCH_DIR=DIR   take vmm, samples/ and tests/bench/ from DIR (build/i686-counter)
#
# Prints a table, keeps it with the samples in build/bench/bench.json. Times depend on the host and on
# what else it does: nothing is judged here. Status 0 when every row that can run did.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."

dir=${BENCH_DIR:-build/i686-counter}
rounds=${BENCH_ROUNDS:-7}
large=${BENCH_LARGE:-0}
out=build/bench
lab=
only=

usage() {
    sed -n 's/^#   \(bench.sh .*\)/usage: \1/p' "$0" >&2
    exit 64
}

while [ $# -gt 0 ]; do
    case $1 in
    --lab) lab=1 ;;
    --rows)
        [ $# -ge 2 ] || usage
        only=$2
        shift
        ;;
    *) usage ;;
    esac
    shift
done
case $only in '' | bench | tables) ;; *) usage ;; esac
if [[ ! $rounds =~ ^[0-9]{1,4}$ ]] || [ "$rounds" -lt 5 ]; then
    echo "bench: BENCH_ROUNDS: not a number from 5 on ($rounds)" >&2
    exit 64
fi

if [ "$large" = 1 ] && [ "$(awk '/^MemAvailable/ { print int($2 / 1000000) }' /proc/meminfo)" -lt 9 ]; then
    echo "bench: BENCH_LARGE: less than 9 GB of memory are free, going on without" >&2
    large=0
fi

status=0
inputs=()

take() { # ground, command...: keep what it prints, and go on with what there is when it fails
    local ground=$1

    shift
    "$@" >>"$out/$ground.rows" || {
        echo "bench: failed: $*" >&2
        status=1
    }
}

mkdir -p "$out"
: >"$out/native.rows"
: >"$out/lab.rows"
[ "$only" = tables ] ||
    take native "$dir/tests/bench/bench" --rounds "$rounds" --vmm "$dir/vmm" --samples "$dir/samples"
[ "$only" = bench ] || take native "$dir/tests/bench/tables" --rounds "$rounds" --large "$large"
inputs+=("native=$out/native.rows")

# A command of the lab has two minutes, and everything in there is slow.
if [ -n "$lab" ] && [ "$only" != tables ]; then
    take lab tests/lab/lab.sh --dir "$dir" --keep-log "$out/lab.log" --one \
        "/tests/bench/bench --rounds $rounds --exits 1000 --calls 200 --runs 3 --vmm /init --samples /guests"
    ! grep '^1\.\.0 # SKIP' "$out/lab.rows" >&2 || status=1
    inputs+=("lab=$out/lab.rows")
fi

tests/bench/report.py "$out/bench.json" "${inputs[@]}"
exit "$status"
