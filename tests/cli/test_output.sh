#!/bin/bash
# The guest's output on its way out, and the ways to stop a guest.
set -u
. "$(dirname "$0")/lib.sh"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "guest output and signals on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

spin=$SAMPLES/spin-amd64.elf
hello=$SAMPLES/hello-amd64.elf
now() { date +%s%N; }

start=$(now)
run "$VMM" run --timeout 1s "$spin"
elapsed=$((($(now) - start) / 1000000))
check "spin ends 124" [ "$status" = 124 ]
check "within 1.5 s of its limit of 1 s ($elapsed ms)" [ "$elapsed" -ge 1000 -a "$elapsed" -lt 1500 ]
check "half a line comes out although the guest spins" [ "$out" = spinning ]

# The half line must come while the guest still runs: reading it is what the signal waits for.
for signal in INT:130 TERM:143 HUP:143; do
    mkfifo "$tmp/pipe.$signal"
    # A background job of a script ignores SIGINT; this one must not.
    env --default-signal=INT "$VMM" run --timeout 30s "$spin" >"$tmp/pipe.$signal" 2>"$tmp/err" &
    pid=$!
    read -r -N 8 -t 10 half <"$tmp/pipe.$signal"
    start=$(now)
    kill -s "${signal%:*}" $pid
    wait $pid
    status=$?
    elapsed=$((($(now) - start) / 1000000))
    err=$(cat "$tmp/err") out=$half
    check "SIG${signal%:*} ends a spinning guest with ${signal#*:}" [ "$status" = "${signal#*:}" ]
    check "after its half line was out, within 1 s ($elapsed ms)" [ "$half" = spinning -a "$elapsed" -lt 1000 ]
done

# Where both go to one place, as in a CI's log, a message of ours does not stand behind half a line.
for guest in "$hello" "$SAMPLES/bare_hello.elf"; do
    run sh -c "'$VMM' run --reject hello '$guest' 2>&1"
    check "a message begins a line where the guest's output goes too, ${guest##*/}" \
        [ "$out" = $'hello\nvmm: guest: said what is not expected: "hello"' ]
    run "$VMM" run --reject hello "$guest"
    check "and has no empty line in front of it elsewhere" \
        [ "$out:$err" = 'hello:vmm: guest: said what is not expected: "hello"' ]
done
run sh -c "'$VMM' run --reject hello --console '$tmp/console' '$hello' 2>&1"
check "nor where --console leads away" [ "$out" = 'vmm: guest: said what is not expected: "hello"' ]
run sh -c "'$VMM' run --expect-status 3 '$hello' 2>&1"
check "nor behind a whole line" [ "$out" = $'hello, world! (amd64)\nvmm: guest: ended with status 0 (3 expected)' ]

run sh -c "trap '' INT; exec timeout -s INT 1 '$VMM' run --timeout 3s '$spin'"
check "an ignored SIGINT stays ignored, and the time limit ends the guest" [ "$status" = 124 ]

run sh -c "'$VMM' run '$hello' >/dev/full"
check "output that cannot be written ends 125" [ "$status" = 125 ]
check "and says so" matches '^vmm: guest output: cannot write: No space left'
run bash -c "'$VMM' run '$hello' | true; exit \${PIPESTATUS[0]}"
# The reader may be gone before or after the line: either is a clean end.
check "a reader that left is no crash" [ "$status" = 125 -o "$status" = 0 ]

# Nobody reads: the pipe is full and the writer waits; the limit must end the wait.
mkfifo "$tmp/full"
exec 7<>"$tmp/full"
head -c 65536 /dev/zero >&7 2>/dev/null &
filler=$!
sleep 0.2
start=$(now)
run sh -c "'$VMM' run --timeout 1s '$hello' >&7"
elapsed=$((($(now) - start) / 1000000))
kill $filler 2>/dev/null
wait $filler 2>/dev/null
exec 7>&-
check "output that nobody takes in time is a guest not done in time" [ "$status" = 124 ]
check "a reader that never reads does not outlast the time limit ($elapsed ms)" [ "$elapsed" -lt 2500 ]

# A slow reader gets everything.
run bash -c "'$VMM' run '$hello' | { sleep 0.3; cat; }"
check "a slow reader gets everything" [ "$out" = 'hello, world! (amd64)' ]
done_testing
