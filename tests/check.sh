#!/bin/bash
# make check: every test, and one line that says how it went.
#
# Each stage prints TAP, kept in build/check/STAGE.tap. Two stages run at a time, the longest first.
# Progress goes to stderr; stdout gets the failures with their diagnostics, the skips with their
# reasons, and last a line "N passed, N failed, N skipped". Status 0 only without a failure.
#
#   check.sh [--soak]       --soak: long random tests (TEST_SCALE=50), mutants, planted bugs, fuzzing
#   STAGES="unit-san lint"  run only these, after the build
#   VMM_MUST_RUN=1          a skip is a failure, unless it is of a case that passed in the lab: its
#                           reason says "(lab)" and the lab's TAP has it
set -u
export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MAKELEVEL MFLAGS

out=build/check
features="I686_GUEST=1 GUEST_COUNTER=1"
full=build/i686-counter
soak=

case "${1-}" in
'') ;;
--soak) soak=1 ;;
*)
    echo "usage: $0 [--soak]" >&2
    exit 64
    ;;
esac
if [ -n "$soak" ]; then
    export TEST_SCALE=${TEST_SCALE:-50}
fi
# Beside another stage, lint may use one core.
export LINT_JOBS=${LINT_JOBS:-1}

# --- the stages: "seconds it may take, name"; each is a function stage_NAME, "-" being "_" --------
stages="1500 lab
1500 lint
1200 kernels
1200 kernels-pae
900 pack
600 fuzz
900 unit-san
600 unit
300 unit-amd64
1200 cli
900 kvm
600 rows
60 binary"
[ -z "$soak" ] || stages="43200 lab
1500 lint
1200 kernels
1200 kernels-pae
900 pack
14400 fuzz
14400 unit-san
14400 unit
14400 unit-amd64
14400 kvm
3600 rows
14400 cli
60 binary
14400 mutate
14400 planted
43200 fuzz-long"

case_of() { # name, command...: one test that passes when the command does; its output is the diagnostics
    local name=$1 log

    shift
    cases=$((cases + 1))
    if log=$("$@" 2>&1 </dev/null); then
        echo "ok $cases - $name"
    else
        printf '%s\n' "$log" | tail -n 40 | sed 's/^/# /'
        echo "not ok $cases - $name"
    fi
}

make_flavour() { # switches, targets
    # shellcheck disable=SC2086 # words
    make -s -j"$(nproc)" WERROR=1 $1 $2
}

# Warnings are errors in everything that is compiled here; objects of an earlier, laxer make stay as
# they are, which is why lint compiles every source again.
stage_build() {
    cases=0
    case_of "make builds the flavour amd64" make_flavour "" "all tests"
    case_of "make builds the flavour i686" make_flavour "I686_GUEST=1" all
    case_of "make builds the flavour amd64-counter" make_flavour "GUEST_COUNTER=1" all
    case_of "make builds the flavour i686-counter" make_flavour "$features" "all tests"
    case_of "make builds the flavour i686-counter-san" make_flavour "$features SAN=address,undefined" "all tests"
    echo "1..$cases"
}

has_no_interpreter() { ! readelf -lW "$1" | grep INTERP; }
needs_no_library() { readelf -dW "$1" >/dev/null && ! readelf -dW "$1" | grep NEEDED; }

is_small() {
    local len

    strip -o "$out/stripped" "$1" && len=$(stat -c %s "$out/stripped") && rm -f "$out/stripped"
    echo "$1: $len bytes stripped, wanted below 204800"
    [ "${len:-999999}" -lt 204800 ]
}

refuses() { # text, command...: the command fails and says the text
    local text=$1 said

    shift
    if said=$("$@" 2>&1); then
        echo "accepted: $*"
        return 1
    fi
    printf '%s\n' "$said"
    grep -qF -e "$text" <<<"$said"
}

stage_binary() {
    local flavour bits switch

    cases=0
    for flavour in amd64 i686 amd64-counter i686-counter; do
        case_of "$flavour/vmm asks for no interpreter" has_no_interpreter build/$flavour/vmm
        case_of "$flavour/vmm needs no shared library" needs_no_library build/$flavour/vmm
        case_of "$flavour/vmm is below 200 KB when stripped" is_small build/$flavour/vmm
    done
    for bits in -m32 -mx32; do
        case_of "a build with $bits is refused in words" \
            refuses "vmm runs on 64-bit x86 Linux hosts only" \
            gcc $bits -ffreestanding -I. -fsyntax-only -x c mem/error.h
    done
    for switch in I686_GUEST=yes I686_GUEST=0 GUEST_COUNTER=2 SAN=thread; do
        case_of "make refuses $switch in words" refuses "$switch is not supported" make -n $switch
    done
    echo "1..$cases"
}

run_programs() { # build folder, kind, source that is not for this flavour: what the others were compiled to
    local sources=(tests/"$2"/test_*.c) i

    for i in "${!sources[@]}"; do
        [ "${sources[i]}" != "${3-}" ] || unset "sources[i]"
    done
    sources=("${sources[@]/#/$1/}")
    tests/tap-run.sh -t "${soak:+3}600" "${sources[@]%.c}"
}

stage_unit() { run_programs $full unit; }
stage_unit_amd64() { run_programs build/amd64 unit tests/unit/test_bare_place.c; }
stage_unit_san() { run_programs $full-san unit; }
stage_kvm() { run_programs $full kvm; }
stage_rows() {
    # All of them take minutes; three a day come round.
    [ -n "$soak" ] || local -x ROWS=3
    tests/kvm/remove_row.sh
}
stage_cli() { tests/cli/run.sh; }
stage_lab() { tests/lab/lab.sh; }
stage_kernels() { tests/lab/lab.sh --kernels; }
stage_kernels_pae() { tests/lab/lab.sh --kernels-pae; }
stage_pack() { tests/lab/pack.sh; }
stage_lint() { tests/lint/lint.sh; }
stage_fuzz() { tests/fuzz/replay.sh; }
stage_mutate() {
    cases=0
    case_of "the unit tests notice what mutate.py breaks" tests/unit/mutate.py
    echo "1..$cases"
}
stage_planted() { tests/fuzz/planted.sh; }

# How often each target runs, and the longest input it looks at. FUZZ_RUNS=n: each so often.
fuzz_runs() { # target
    case $1 in
    fuzz_walk | fuzz_spaces | fuzz_compact) echo "${FUZZ_RUNS:-10000000}" ;;
    fuzz_message | fuzz_iostack) echo "${FUZZ_RUNS:-50000000}" ;;
    *) echo "${FUZZ_RUNS:-5000000}" ;;
    esac
}

fuzz_max_len() { # target
    local len

    len=$(sed -n 's/^#define INPUT_MAX \([0-9]*\).*/\1/p' "tests/fuzz/$1.c")
    echo "${len:-4096}"
}

# What it finds beyond the committed corpus stays in build/fuzz/more, as does an input that crashes.
stage_fuzz_long() {
    local source target runs

    cases=0
    for source in tests/fuzz/fuzz_*.c; do
        target=$(basename "$source" .c)
        runs=$(fuzz_runs "$target")
        mkdir -p "build/fuzz/more/$target"
        case_of "$target survives $runs inputs" \
            "build/fuzz/$target" -runs="$runs" -max_len="$(fuzz_max_len "$target")" -timeout=300 \
            -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/more/$target-" \
            "build/fuzz/more/$target" "tests/fuzz/corpus/${target#fuzz_}"
    done
    echo "1..$cases"
}

# --- running them -------------------------------------------------------------------------------
run_stage() { # name, seconds: the stage in a shell of its own, judged as a test program is
    local name=$1 limit=$2 start=$SECONDS status pid

    CHECK_STAGE=$name timeout -k 10 "$limit" tests/check.sh ${soak:+--soak} >"$out/$name.raw" 2>&1 </dev/null &
    pid=$!
    # timeout leads a process group of its own, which an interrupt does not reach.
    trap 'kill $pid 2>/dev/null; exit 130' INT TERM
    wait $pid
    status=$?
    tests/tap-sum.sh $status "$name" <"$out/$name.raw" >"$out/$name.tap"
    printf '%-14s %4d s  %s\n' "$name" $((SECONDS - start)) "$(count_words "$(count "$out/$name.tap")")" >&2
}

count() { # files: passed, failed, skipped
    cat "$@" | awk '/^not ok /{f++; next} /^ok .*# SKIP/{s++; next} /^ok /{p++} END{print p + 0, f + 0, s + 0}'
}

count_words() {
    # shellcheck disable=SC2086 # three words
    set -- $1
    echo "$1 passed, $2 failed, $3 skipped"
}

# A skip of a case that passed in the lab is no gap. In stage.tap it is "ok - STAGE: CASE # SKIP ...
# (lab)", in lab.tap the case is the end of a line that passed. Every other skip becomes a failure.
demand_all() { # file
    awk '
    FNR == 1 { file++ }
    file == 1 {
        if (/^ok / && !/# SKIP/) {
            # Each way to cut the prefixes off, so that a look-up finds the bare case.
            line = substr($0, 6)
            while (1) {
                passed[line] = 1
                at = index(line, ": ")
                if (at == 0)
                    break
                line = substr(line, at + 2)
            }
        }
        next
    }
    /^ok .*# SKIP/ {
        line = substr($0, 6)
        sub(/ *# SKIP.*/, "", line)
        sub(/^[^:]*: /, "", line) # the name of the stage
        bare = line
        sub(/^test_[^:]*: /, "", bare)
        if (/\(lab\)/ && ((line in passed) || (bare in passed)))
            print
        else if (/\(lab\)/) {
            print "# the lab has no case \"" bare "\" that passed"
            print "not ok - " substr($0, 6)
        } else {
            print "# skipped, and VMM_MUST_RUN is set"
            print "not ok - " substr($0, 6)
        }
        next
    }
    { print }' "$out/lab.seen" "$1" >"$1.new" && mv "$1.new" "$1"
}

if [ -n "${CHECK_STAGE-}" ]; then
    "stage_${CHECK_STAGE//-/_}"
    exit
fi

end() { # files
    local files=$* total

    # shellcheck disable=SC2086 # words
    if grep -q '^ok .*# SKIP' $files; then
        echo "skipped:"
        # shellcheck disable=SC2086 # words
        cat $files | sed -n 's/^ok - \(.*# SKIP.*\)/  \1/p'
    fi
    # shellcheck disable=SC2086 # words
    total=$(count $files)
    # shellcheck disable=SC2086 # words
    if grep -q '^not ok' $files; then
        echo "failed (the whole output is in $out/STAGE.raw):"
        # Diagnostics stand before the failure they explain, as tests/tap.h prints them.
        cat $files | awk '
            /^#/ { if (++lines <= 40) held = held "    " $0 "\n"; next }
            /^not ok/ { printf "  %s\n%s", $0, held }
            { held = ""; lines = 0 }'
    fi
    count_words "$total"
    # shellcheck disable=SC2086 # words
    set -- $total
    [ "$2" = 0 ] && [ "$1" != 0 ]
}

rm -rf "$out"
mkdir -p "$out"

if ! tests/setup.sh check; then
    echo "not ok - setup: the tools of the tests are there" >"$out/setup.tap"
    end "$out/setup.tap"
    exit 1
fi

# Downloads, of what is not there yet; the lab says if one failed.
{ tests/lab/kernel.sh && tests/lab/bare.sh; } >/dev/null 2>&1 &
run_stage build 900
trap 'trap - INT TERM; kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
wait

names=build
while read -r limit name; do
    case " ${STAGES:-$name} " in
    *" $name "*) ;;
    *) continue ;;
    esac
    names="$names $name"
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do
        wait -n
    done
    run_stage "$name" "$limit" &
done <<<"$stages"
wait

files=
for name in $names; do
    [ -e "$out/$name.tap" ] || echo "not ok - $name: the stage ran" >"$out/$name.tap"
    files="$files $out/$name.tap"
done

cp "$out/lab.tap" "$out/lab.seen" 2>/dev/null || echo "# no lab" >"$out/lab.seen"
if [ "${VMM_MUST_RUN-}" = 1 ]; then
    for name in $names; do
        demand_all "$out/$name.tap"
    done
fi
# shellcheck disable=SC2086 # words
end $files
