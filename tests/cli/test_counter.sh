#!/bin/bash
# The guest counter: its start value, counting by signals, the canary, and builds without it.
set -u
. "$(dirname "$0")/lib.sh"

for flavour in amd64 i686; do
    if [ -x build/$flavour/vmm ]; then
        check "no trace of the counter is in build/$flavour/vmm" \
            sh -c "! strings build/$flavour/vmm | grep -i 'canary\|--counter\|counter page'"
        refused "build/$flavour/vmm does not know --counter" 64 'unknown option --counter' \
            build/$flavour/vmm run --counter 1 "$SAMPLES/counter-amd64.elf"
    fi
done
refused "a value that i686 guests cannot read is a mistake, whatever this host can run" 64 'too large for i686 guests' \
    "$VMM" run --counter 4294967296 "$SAMPLES/counter-i686.elf"
refused "a negative value is a mistake" 64 'not a number' "$VMM" run --counter -1 "$SAMPLES/counter-amd64.elf"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "counting by signals on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi
# Start a guest that waits for its counter, at 0. Signals mean something once it runs, which its first line tells.
begin() { # kind
    : >"$tmp/out" # now: what an earlier one said there is not this one's
    "$VMM" run --timeout 20s --counter 0 "$SAMPLES/counter-$1.elf" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    until grep -q polling "$tmp/out"; do
        kill -0 $pid 2>/dev/null || break
        sleep 0.01
    done
}
end() {
    wait $pid
    status=$? out=$(cat "$tmp/out") err=$(cat "$tmp/err")
}
for kind in amd64 i686-identity; do
    begin $kind
    kill -s USR1 $pid
    end
    check "$kind: a guest that waits for the counter sees SIGUSR1 count it" [ "$status:$out" = $'0:polling\ncounter 1' ]
done
begin amd64
kill -s USR2 $pid
end
check "counting below 0 is a host error, and says so" [ "$status" = 125 ]
check "with the range" matches '^vmm: --counter: a signal would have counted out of its range \(at 0, 0 to '
done_testing
