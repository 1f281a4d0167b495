#!/bin/bash
# The bar of a long job: on a terminal, not before its second, and never amid other output.
set -u
. "$(dirname "$0")/lib.sh"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "the progress of a long job on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

snap=$tmp/guest.snap
pty=tests/cli/on_terminal.py
run "$VMM" snapshot -o "$snap" "$SAMPLES/calls-amd64.elf"
check "a guest is saved" [ "$status" = 0 ]

# Bars of that job, each in the place of the one before it, and in the end none.
is_bar() { # word
    grep -aqE "^(<E>$1 \[#* *\] [0-9]+%)+(<E>)+(\$|vmm: )" <<<"$out"
}
# Every line of the guest's is a line of its own, where a bar has been erased or none was.
is_tidy() {
    grep -aqE '^<E>restore .*%<E>1$' <<<"$out" &&
        ! sed '/vmm: /,$d' <<<"$out" | grep -avE '^((<E>restore \[#* *\] [0-9]+%)+<E>)?1$'
}

start=$(date +%s%N)
run $pty --until '%' "$VMM" restore --repeat 100000000 --call nothing "$snap"
check "many rounds have a bar on a terminal" is_bar restore
check "not before a second is over" [ $(($(date +%s%N) - start)) -ge 1000000000 ]
check "and end as they would without" [ "$status" = 143 ]
run $pty --both --until '%<E>1' "$VMM" restore --repeat 100000000 --call count "$snap"
check "the guest's output does not come into the bar" is_tidy
check "and is there" matches '^1$'

run $pty --until '%' "$VMM" restore --copies 100000 --jobs 2 --call nothing "$snap"
check "many copies have one" is_bar copies
check "and no copy has one of its own" [ "$(printf '%s' "$out" | grep -ac 'restore \[')" = 0 ]

head -c 24M /dev/urandom >"$tmp/data"
save=("$VMM" snapshot -o "$tmp/large.snap" --init-data "$tmp/data" "$SAMPLES/hello-amd64.elf")
slow=(strace -f -o "$tmp/trace" -e trace=pwrite64 -e inject=pwrite64:delay_enter=400000)
run $pty "${slow[@]}" "${save[@]}"
check "a save that takes its time has one" is_bar save
check "and is done" [ "$status" = 0 ]
run "$VMM" restore --verify "$tmp/large.snap"
check "and whole" [ "$status" = 0 ]

run $pty "${slow[@]}" "${save[@]}" --quiet
check "an option after the image is a mistake" [ "$status" = 64 ]
run $pty "${slow[@]}" "$VMM" snapshot --quiet "${save[@]:2}"
check "with --quiet there is none" [ "$status:$out" = 0: ]
run "${slow[@]}" "${save[@]}"
check "nor where standard error is no terminal" [ "$status:$err" = 0: ]
run $pty "$VMM" restore --call nothing "$snap"
check "nor for one round" [ "$status:$out" = 0: ]
done_testing
