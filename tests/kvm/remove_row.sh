#!/bin/bash
# Proves that test_reset looks at all of the state table: in a copy of the tree each row of it is taken
# out, one at a time, and test_reset has to fail, or test_bare or test_baresnap for what only bare guests have. The rows are those of `rows` in hv/state.c, of
# `kvm_parts` in hv/kvm_state.c and of `guest_msrs` in boot/msrs.c, each on a line of its own. Prints TAP.
#
#   remove_row.sh [REGEX]   only rows that match
#
#   RESET_ROUNDS=3          rounds of test_reset
#   ROWS=3                  only so many rows, other ones each day; all without
set -u
export LC_ALL=C RESET_ROUNDS=${RESET_ROUNDS:-3}
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MAKELEVEL MFLAGS

flavour=i686-counter
tests=build/$flavour/tests/kvm
tree=build/remove-row
export SAMPLES=$PWD/build/$flavour/samples
only=${1-}
rows=${ROWS-}
total=0 first=0 index=0
n=0
failed=0

ok() { # name, wanted status, status; diagnostics are in $tree.log
    n=$((n + 1))
    if [ "$2" = "$3" ]; then
        echo "ok $n - $1"
        return
    fi
    failed=1
    tail -n 20 "$tree.log" | sed 's/^/# /'
    echo "not ok $n - $1"
}

# The test that notices a row.
test_of() { # name
    case $1 in
    PIT) echo test_bare ;;
    'x87, SSE and more' | kvmclock | 'general registers') echo test_baresnap ;;
    *) echo test_reset ;;
    esac
}

build() { # folder, tests...
    local folder=$1

    shift
    make -s -C "$folder" I686_GUEST=1 GUEST_COUNTER=1 "${@/#/$tests/}" >"$tree.log" 2>&1
}

# file, first line of the array: the numbers of the lines that are rows of it, and their text
rows_of() {
    awk -v start="$2" '
        index($0, start) { inside = 1; next }
        inside && /^}|^    }/ { exit }
        inside && /^    (\{"|0x)/ { print NR " " $0 }
    ' "$1"
}

# Whether it is this one's turn. The rows are counted through all arrays.
is_due() {
    index=$((index + 1))
    [ -z "$rows" ] || [ $(((index - 1 - first + total) % total)) -lt "$rows" ]
}

# A row's line may not lead into the next one: taking it out would take out half of a row.
is_whole() {
    case $1 in
    *'},' | *'},'*'*/' | '    0x'*,*) ;;
    *) return 1 ;;
    esac
}

try() { # file, array
    local file=$1 number text name test status any=

    while read -r number text; do
        any=1
        name=$(printf '%s' "$text" | sed -E 's/^\{"([^"]*)".*/\1/; s/^(0x[0-9a-f]*),.*/MSR \1/')
        is_due || continue
        [[ $name =~ $only ]] || continue
        if ! is_whole "    $text"; then
            printf '%s:%s: a row of more than one line\n' "$file" "$number" >"$tree.log"
            ok "without $name, a test fails" 0 1
            continue
        fi
        test=$(test_of "$name")
        sed "${number}d" "$file" >"$tree/$file"
        if ! build "$tree" "$test"; then
            ok "without $name, it compiles" 0 1
        else
            (cd "$tree" && timeout 120 "$tests/$test") >"$tree.log" 2>&1
            status=$?
            [ $status = 0 ] || status=1
            ok "without $name, $test fails" 1 $status
        fi
        cp -p "$file" "$tree/$file"
        touch "$tree/$file"
    done < <(rows_of "$file" "$2")
    [ -n "$any" ] || ok "$file has an array $2 with rows" 0 1
}

if [ ! -c /dev/kvm ]; then
    echo "1..0 # SKIP there is no KVM here"
    exit 0
fi
mkdir -p build
if ! make -s I686_GUEST=1 GUEST_COUNTER=1 samples "$tests"/test_{reset,bare,baresnap} >"$tree.log" 2>&1; then
    ok "the tests are there" 0 1
    echo "1..$n"
    exit 1
fi
rm -rf "$tree"
mkdir -p "$tree/build"
cp -a Makefile vmm.c mem paging boot hv guest-samples tests "$tree/"
cp -a "build/$flavour" "$tree/build/"
[ ! -d build/kernel-headers ] || cp -a build/kernel-headers "$tree/build/"

for test in test_reset test_bare test_baresnap; do
    build "$tree" $test && (cd "$tree" && "$tests/$test") >"$tree.log" 2>&1
    ok "with all rows, $test passes" 0 $?
done
arrays=(hv/state.c 'rows[] = {' hv/kvm_state.c 'kvm_parts[] = {' boot/msrs.c 'guest_msrs[GUEST_MSRS_N] = {')
for ((i = 0; i < ${#arrays[@]}; i += 2)); do
    total=$((total + $(rows_of "${arrays[i]}" "${arrays[i + 1]}" | wc -l)))
done
if [ -n "$rows" ] && [ $total != 0 ]; then
    day=$(($(date +%s) / 86400))
    first=$((day * rows % total))
    echo "# $rows of $total rows from number $((first + 1)) on"
fi
for ((i = 0; i < ${#arrays[@]}; i += 2)); do
    try "${arrays[i]}" "${arrays[i + 1]}"
done
rm -rf "$tree" "$tree.log"
echo "1..$n"
exit $failed
