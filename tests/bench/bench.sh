#!/bin/bash
# make bench: how fast vmm is, beside bounds and naive methods measured in the same run.
#
#   bench.sh [--lab] [--quick] [--rows PROGRAM] [--plant ROW]
#
#   --lab           run the rows that need KVM in the lab as well (tests/lab/lab.sh)
#   --quick         one round of few repeats, 3 dirty pages: to see that it works, not how fast
#   --rows PROGRAM  only those of tests/bench/PROGRAM.c: bench (KVM) or tables (no KVM)
#   --plant ROW     let a reset of that row be wrong: it must be found
#
#   BENCH_ROUNDS=7  interleaved repeats of every row, at least 5
#   BENCH_LARGE=1   page tables of 1 M pages too; needs 9 GB of free memory
#   BENCH_DIR=DIR   take vmm, samples/ and tests/bench/ from DIR (build/i686-counter)
#   BENCH_OUT=DIR   where it goes (build/bench)
#   BENCH_KIND=KIND natively, only guests of that kind
#
# Prints tables, and last what is wanted beside what was measured. Keeps it, with all samples, in bench.json;
# native.svg and lab.svg beside it have the plots. Times depend on the host and on what else it does: none is
# a failure. Status 0 when every row that can run did, and all memory was found as it should be.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."

dir=${BENCH_DIR:-build/i686-counter}
rounds=${BENCH_ROUNDS:-7}
large=${BENCH_LARGE:-0}
out=${BENCH_OUT:-build/bench}
lab=
only=
quick=
least=5
options=()
lab_options=()

usage() {
    sed -n 's/^#   \(bench.sh .*\)/usage: \1/p' "$0" >&2
    exit 64
}

while [ $# -gt 0 ]; do
    case $1 in
    --lab) lab=1 ;;
    --quick) quick=1 ;;
    --plant)
        [ $# -ge 2 ] || usage
        options+=(--plant "$2")
        shift
        ;;
    --rows)
        [ $# -ge 2 ] || usage
        only=$2
        shift
        ;;
    *) usage ;;
    esac
    shift
done
if [ -n "$quick" ]; then
    rounds=1 least=1
    options+=(--runs 1 --calls 10 --exits 10 --ms 1 --gap 1 --pages 3 --clones 3)
    lab_options=("${options[@]}")
else
    lab_options=("${options[@]}" --runs 3 --exits 1000 --ms 50 --gap 300)
fi
case $only in '' | bench | tables) ;; *) usage ;; esac
if [[ ! $rounds =~ ^[0-9]{1,4}$ ]] || [ "$rounds" -lt $least ]; then
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
strip -o "$out/stripped" "$dir/vmm"
printf 'row\tbinary\t-\tKB\tthe binary, static, stripped\nsample\tbinary\tstripped\t0\t%s\n' \
    "$(stat -c %s "$out/stripped" | awk '{ print $1 / 1024 }')" >>"$out/native.rows"
rm "$out/stripped"
[ "$only" = tables ] ||
    take native "$dir/tests/bench/bench" --rounds "$rounds" --vmm "$dir/vmm" --samples "$dir/samples" \
        --kind "${BENCH_KIND-}" "${options[@]}"
[ "$only" = bench ] || take native "$dir/tests/bench/tables" --rounds "$rounds" --large "$large"
inputs+=("native=$out/native.rows")

# Everything in there is slow: only what no other place can show, paged i686 guests, and time for it.
if [ -n "$lab" ] && [ "$only" != tables ]; then
    # A thousand machines want memory. The waits of creation are part of what is measured: those of a kernel
    # that was told nothing.
    export LAB_LIMIT=${LAB_LIMIT:-30m} LAB_TIMEOUT=${LAB_TIMEOUT:-2400} LAB_MEMORY=${LAB_MEMORY:-4096}
    export LAB_RCU=${LAB_RCU:-default}
    take lab tests/lab/lab.sh --dir "$dir" --keep-log "$out/lab.log" --one \
        "/tests/bench/bench --rounds $rounds --kind i686 --vmm /init --samples /guests ${lab_options[*]}"
    ! grep '^1\.\.0 # SKIP' "$out/lab.rows" >&2 || status=1
    inputs+=("lab=$out/lab.rows")
fi

tests/bench/report.py "$out/bench.json" "${inputs[@]}" || status=1
exit "$status"
