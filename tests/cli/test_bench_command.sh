#!/bin/bash
# vmm bench: that its figures are there and are figures. Not how fast anything is.
set -u
. "$(dirname "$0")/lib.sh"

refused "an operand of bench is a mistake" 64 'unexpected operand x' "$VMM" bench x
refused "an option that bench does not take is a mistake" 64 'unknown option --timeout' "$VMM" bench --timeout 1s
refused "without /dev/kvm bench ends 77 with one line" 77 '/dev/kvm: cannot open: No such file' \
    strace -o "$tmp/trace" -P /dev/kvm -e trace=open -e inject=open:error=ENOENT "$VMM" bench

if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    run "$VMM" bench
    check "bench ends with 0 and says nothing but its table" [ "$status $(wc -l <"$tmp/out") $err" = "0 6 " ]
    check "it names the guest" matches '^(i686|amd64) guest, [1-9][0-9]* rounds .* ratio '
    check "each row has two times and three ratios" \
        [ "$(grep -cE '^[a-z ]+ 1?0*( +[0-9]+\.[0-9]{2}){5}$' "$tmp/out")" = 5 ]
    run "$VMM" bench --json
    check "bench --json is one object with five rows" \
        [ "$status $(jq -c '[.version, (.rounds > 0), [.rows[].pages]]' "$tmp/out")" = "0 [1,true,[0,1,100,1000,0]]" ]
    check "every time is more than nothing" json '.rows | all(.kvm_us > 0 and .vmm_us > 0)' "$tmp/out"
    check "the ratio lies between the least and the most" \
        json '.rows | all(0 < .least and .least <= .ratio and .ratio <= .most)' "$tmp/out"
    trap '' ALRM
    "$VMM" bench >"$tmp/out" 2>&1 &
    while kill -ALRM $! 2>"$tmp/gone"; do :; done
    wait $!
    check "signals between its runs of the guest change nothing" [ "$?:$(wc -l <"$tmp/out")" = 0:6 ]
    trap - ALRM
    run strace -qq -o "$tmp/trace" -e trace=close "$VMM" bench
    check "it closes no descriptor that is not its own" [ "$status:$(grep -cE '^close\([0-2]\)' "$tmp/trace")" = 0:0 ]
    run timeout --preserve-status -s INT 0.5 "$VMM" bench
    check "SIGINT ends it with 130 and no table" [ "$status:$out" = 130: ]
else
    for name in "bench ends with 0 and says nothing but its table" "every time is more than nothing"; do
        skip "$name" "no /dev/kvm here (lab)"
    done
fi
done_testing
