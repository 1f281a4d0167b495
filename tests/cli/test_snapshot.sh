#!/bin/bash
# Snapshots from the command line: what a restored guest does is what it would have done without.
set -u
. "$(dirname "$0")/lib.sh"

snap=$tmp/guest.snap
refused "a snapshot needs -o" 64 'no -o FILE' "$VMM" snapshot "$SAMPLES/calls-amd64.elf"
# What can be known before the guest runs is said then: it may be long in its run, or be one that does not run twice.
refused "a snapshot in a folder that is not there is refused before the guest runs" 125 'none/x: cannot open its directory' \
    "$VMM" snapshot -o "$tmp/none/x" --call count "$SAMPLES/calls-amd64.elf"
refused "a snapshot in place of a device is refused before the guest runs" 125 'not a regular file' \
    "$VMM" snapshot -o /dev/null --call count "$SAMPLES/calls-amd64.elf"
refused "so is one whose core could not be written" 125 'core: .*none/x: cannot open its directory' \
    "$VMM" snapshot -o "$snap" --core "$tmp/none/x" "$SAMPLES/calls-amd64.elf"
check "nothing is left of the attempts" [ "$(find "$tmp" -mindepth 1 ! -name out ! -name err)" = '' ]
refused "an image is no snapshot to restore" 126 'not a snapshot' "$VMM" restore "$SAMPLES/calls-amd64.elf"
refused "a snapshot that is not there ends 127" 127 'No such file' "$VMM" restore "$tmp/none"
refused "a report of many copies is a mistake" 64 'do not go together' \
    "$VMM" restore --copies 2 --report "$tmp/report" "$SAMPLES/calls-amd64.elf"
refused "a count of zero is a mistake" 64 'at least 1' "$VMM" restore --repeat 0 "$snap"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "snapshots of guests that ran on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

for kind in amd64 i686-identity; do
    guest=$SAMPLES/calls-$kind.elf
    case_is "$kind: a guest is saved after its calls" 0 '^1$' "$VMM" snapshot -o "$snap" --call count "$guest"
    run "$VMM" run --call count --call count --call add --arg int:2 --arg int:40 "$guest"
    want=$(tail -n +2 <<<"$out")
    run "$VMM" restore --call count --call add --arg int:2 --arg int:40 "$snap"
    check "$kind: restore goes on where the guest was" [ "$status:$out" = "0:$want" ]
    run "$VMM" restore --repeat 3 --call count "$snap"
    check "$kind: each repeat starts from the same state" [ "$status:$out" = $'0:2\n2\n2' ]
    run "$VMM" restore --copies 6 --jobs 3 --call count "$snap"
    check "$kind: so does each copy" [ "$status:$out" = $'0:2\n2\n2\n2\n2\n2' ]
    run "$VMM" restore --copies 3 --call fail "$snap"
    check "$kind: copies that fail are told, with the worst status" [ "$status" = 122 ]
    check "$kind: and counted" matches '3 of 3 copies failed'
    run "$VMM" restore --repeat 3 --call fail "$snap"
    check "$kind: a repeat that fails is the last" [ "$status" = 122 ]
    case_is "$kind: inspect looks into the file" 0 "snapshot of an $kind guest, generation 1" "$VMM" inspect --verify "$snap"
    run "$VMM" inspect --json "$snap"
    check "$kind: as JSON too" json '.generation == 1 and (.sections | length) > 4' "$tmp/out"
    refused "$kind: inspect takes no sizes for what has them" 64 '--heap: only for images \(.* is a snapshot\)' \
        "$VMM" inspect --heap 64K "$snap"
    refused "$kind: nor what only a bare kernel could have" 64 '--append: only for images' "$VMM" inspect --append x "$snap"
    refused "$kind: a snapshot is no image to run" 126 'a snapshot, not an image' "$VMM" run "$snap"
    check "$kind: and there is a hint what it is for" matches '^hint: vmm restore'
    check "$kind: no path of this host is in the file" sh -c "! grep -aq '$SAMPLES\|$tmp' '$snap'"
    run "$VMM" snapshot -o "$tmp/bad.snap" --call give_up "$guest"
    check "$kind: a guest that aborts is not saved" [ "$status" = 134 -a ! -e "$tmp/bad.snap" ]
    run "$VMM" restore --timeout 1s --call spin "$snap"
    check "$kind: a restored guest meets its time limit" [ "$status" = 124 ]
    run "$VMM" restore --counter 5 --call count "$snap"
    check "$kind: a restored guest may have a counter" [ "$status:$out" = 0:2 ]
done
"$VMM" restore --copies 4 --jobs 4 --call spin "$snap" >/dev/null 2>&1 &
pid=$!
sleep 0.5
kill -s TERM $pid
wait $pid
status=$?
check "SIGTERM ends all copies" [ "$status" = 143 ]
gone() { # words of a command line: no process of it is left within some seconds
    local i

    for ((i = 0; i < 300; i++)); do
        # One that has ended has no command line.
        pgrep -f "$1" >/dev/null || return 0
        sleep 0.01
    done
    return 1
}
check "and none is left" gone '[r]estore --copies 4 --jobs 4 --call spin'

# Rounds without a call run no guest that could be stopped. The signal comes once there is a handler for it.
takes_sigterm() { # process
    local mask

    mask=$(awk '$1 == "SigCgt:" { print $2 }' "/proc/$1/status" 2>/dev/null) && ((0x${mask:-0} & 0x4000))
}
for signal in INT:130 TERM:143; do
    env --default-signal=INT timeout -s KILL 60 "$VMM" restore --repeat 1000000000 "$snap" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    until child=$(pgrep -P $pid -x vmm) && takes_sigterm "$child"; do
        kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    kill -s "${signal%:*}" "$child"
    wait $pid
    status=$? out=$(cat "$tmp/out") err=$(cat "$tmp/err")
    check "SIG${signal%:*} ends rounds that make no call" \
        [ "$status:$out:$err" = "${signal#*:}::vmm: restore: stopped by SIG${signal%:*}" ]
done

# Copies are made one after the other by few workers. What each comes to is its own: the host function counts them.
cat >"$tmp/function" <<'END'
#!/bin/bash
cat >/dev/null
exec 9>>"$0.lock"
flock 9
echo >>"$0.n"
n=$(wc -l <"$0.n")
exec 9>&-
case $n in
3) exit 1 ;;
5) kill -s KILL $PPID ;;
7) exec sleep 60 ;;
*) printf 'copy %s' "$n" ;;
esac
END
chmod +x "$tmp/function"
run "$VMM" snapshot -o "$snap" "$SAMPLES/calls-amd64.elf"
for jobs in 1 3 20; do
    rm -f "$tmp/function.n"
    run "$VMM" restore --copies 12 --jobs $jobs --timeout 3s --host-fn "f=$tmp/function" \
        --call ask_string --arg string:f --arg string:x "$snap"
    check "$jobs at a time: copies that fail, are killed or too late leave the others alone" \
        [ "$(sort -V <<<"$out")" = "$(printf 'copy %s\n' 1 2 4 6 8 9 10 11 12)" ]
    check "$jobs at a time: each says why by itself" \
        [ "$(grep -c 'it ended with status 1' <<<"$err"):$(grep -c 'time limit of 3000 ms' <<<"$err")" = 1:1 ]
    check "$jobs at a time: the three are counted, and the worst is told" \
        [ "$status:$(grep -c '3 of 12 copies failed (worst status 137)' <<<"$err")" = 137:1 ]
done
run "$VMM" restore --copies 9 --jobs 2 --call crash "$snap"
check "copies that all fault do so one after the other" \
    [ "$status:$(grep -c 'guest: aborted\|guest: faulted' <<<"$err")" = 134:9 ]
check "and are all counted" matches '9 of 9 copies failed \(worst status 134\)'
check "machines that are left behind are gone within a moment" gone '[r]estore --copies 9 --jobs 2 --call crash'
done_testing
