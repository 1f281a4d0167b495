#!/bin/bash
# The benchmark: that what it measures did its work, that it finds a reset that did not, and that what it is
# compared with is none of vmm's code. Not how fast anything is.
set -u
. "$(dirname "$0")/lib.sh"

bench=build/$FLAVOUR/tests/bench

# Their sources, as the compiler saw them, and what was linked.
vmm_in() { grep -hoE '(^|[[:space:]])(mem|paging|boot|hv)/[a-z_0-9/]*\.[ch]' "$@"; }
raw=$(vmm_in "$bench"/{bench,floor,method,create}.d)
check "the programs of raw ioctls include nothing of vmm" [ -z "$raw" ]
check "and a program of vmm's library would be seen to" [ -n "$(vmm_in "$bench/product.d")" ]
raw=$(nm "$bench"/{bench,floor,method,create} | grep -E ' (vm_open|vm_restore|kvm_open|machine_open|err_set)$')
check "they link nothing of it" [ -z "$raw" ]

quick=(--rows 0 --pages 3 --ms 1 --samples "$SAMPLES")
methods="oracle oracle-strict log ring dontneed remap copy new-vm zero-scratch"

for kind in i686-identity amd64 amd64-user; do
    # Once after every single cycle.
    run "$bench/method" --kind $kind "${quick[@]}" --check "$([ $kind = amd64-user ] && echo 1 || echo 0)"
    # A KVM that has no dirty ring says so.
    check "each method puts every byte of an $kind guest back" \
        [ "$status $(grep -cE "^(sample|skip).*$kind" <<<"$out") $(grep -c ^fail <<<"$out")" = "0 10 0" ]
done
for method in $methods; do
    run "$bench/method" --kind amd64 --only "$method" --plant "$method" "${quick[@]}"
    check "a byte that $method leaves as it was is found" \
        [ "$status $(grep -cE "^(fail|skip).$method.amd64" <<<"$out") $(grep -c ^sample <<<"$out")" = "1 1 0" ]
done

for row in cycle:i686-identity cycle-guest-cow:amd64; do
    kind=${row#*:} row=${row%:*}
    case_is "the reset of $row puts every byte of an $kind guest back" 0 "^sample.$row.$kind 3" \
        "$bench/product" --kind "$kind" --only "$row" "${quick[@]}"
    case_is "a restore that $row leaves out is found" 1 "^fail.$row.$kind 3" \
        "$bench/product" --kind "$kind" --only "$row" --plant "$row" "${quick[@]}"
done
case_is "a row that cannot be taken fails" 1 '^fail.call-lean.amd64' \
    "$bench/product" --kind amd64 --only call-lean --samples "$tmp/none"

export BENCH_DIR=build/$FLAVOUR BENCH_OUT=$tmp/out.d BENCH_KIND=i686-identity
case_is "a short run of all rows ends well" 0 '^[0-9]+ met, [0-9]+ missed$' tests/bench/bench.sh --quick --rows bench
check "each row has samples or says why not" \
    json '[.rows[] | select(.cases == {} and .skipped == {})] == []' \
    "$BENCH_OUT/bench.json"
check "creation is told step by step" \
    json '.rows[] | select(.id == "create-naive") | .cases["i686-identity"].parts | has("create-vm") and has("close")' \
    "$BENCH_OUT/bench.json"
check "the plot is one" python3 -c 'import sys, xml.dom.minidom as x; sys.exit(not x.parse(sys.argv[1]).getElementsByTagName("polyline"))' \
    "$BENCH_OUT/native.svg"
case_is "a wrong reset makes it fail" 1 '^FAIL native: copy: amd64-user 3: memory is not as in the snapshot$' \
    env BENCH_KIND=amd64-user tests/bench/bench.sh --quick --rows bench --plant copy

# The judge, with figures that are known. The second sample of a round counts where it is less.
{
    printf 'row\t%s\t-\tus\ttext\n' cycle-host-cow oracle exit-raw call-lean
    for round in 0 1 2; do
        printf 'sample\toracle\ti686 %s\t%s\t1000\n' 100 $round 1000 $round
        printf 'sample\tcycle-host-cow\ti686 100\t%s\t1250\n' $round
        printf 'sample\tcycle-host-cow\ti686 1000\t%s\t%s\n' $round 1101
        printf 'sample\texit-raw\ti686\t%s\t100\n' $round
        printf 'sample\tcall-lean\ti686\t%s\t%s\n' $round 900 $round 119
    done
} >"$tmp/lab.rows"
run tests/bench/report.py "$tmp/judged.json" lab="$tmp/lab.rows"
check "what is just reached is met" matches 'the oracle, 100 pages +<= 1.25x +1.25x +met$'
check "what is just not is missed" matches 'the oracle, 1000 pages +<= 1.1x +1.10x +missed$'
check "of several samples of a round the least counts" matches 'null call .* <= 1.2x +1.19x +met$'
check "what was not measured is missed" matches 'against log, 100 pages +>= 10x +no row +missed$'

done_testing
