#!/bin/bash
# vmm batch: what is a batch, what its tests come to, and that nothing of it is left running.
set -u
. "$(dirname "$0")/lib.sh"

hello=$SAMPLES/hello-i686-identity.elf
b=$tmp/some.batch

# lines...: the batch; inspect and doctor serve as tests that need no KVM.
batch() { printf '%s\n' "$@" >"$b"; }
line() { printf '%s\n' "$out" | grep -qxF -e "$1"; }
tests_of() { json "$1" "$tmp/report"; }

# --- what is no batch -----------------------------------------------------------------------------------

refused "a batch needs its file" 64 'no image given' "$VMM" batch
refused "a batch that is not there ends 127" 127 'none: cannot open' "$VMM" batch "$tmp/none"
batch '# nothing'
refused "a batch without tests is a mistake" 64 'some.batch: no test$' "$VMM" batch "$b"
batch 'a | x | | | | doctor' 'b'
refused "a line that is no test is named, and nothing is run" 64 'some.batch: line 2: not "name' "$VMM" batch "$b"
batch 'a | x | | | | doctor'
refused "a group without tests is a mistake" 64 'no test of group y' "$VMM" batch --group y "$b"
refused "a report that cannot be opened ends 125 before anything is run" 125 'cannot open' \
    "$VMM" batch --report "$tmp/no/report" "$b"
run "$VMM" batch --report "$tmp/report" "$tmp/none"
check "a report tells of a batch that could not be read" tests_of '.status == 127 and .reason == "error"'

# --- what tests come to ------------------------------------------------------------------------------------

batch "as it ought to | g1 | 0 | | i686-identity, fixed | inspect $hello" \
    "another status | g1 g2 | 3 | | | inspect $hello" \
    "another text | g2 | 0 | 20s | no | such text | inspect --json '$hello'" \
    "a refusal | | 127 | | $tmp/none: cannot open | run $tmp/none" \
    "no command | | 64 | | unknown command fly | fly"
run "$VMM" batch --report "$tmp/report" "$b"
check "a batch with a failed test ends 123" [ "$status" = 123 ]
check "the plan comes first" [ "$(head -n 1 <<<"$out")" = 1..5 ]
check "a test with the status and the text passes" line 'ok 1 - as it ought to'
check "one with another status fails" line 'not ok 2 - another status'
check "and says which" line '# status 0, wanted 3'
check "with what it printed" grep -q '^#   scratch: 288K' "$tmp/out"
check "one without the text fails" line 'not ok 3 - another text'
check "and says what is missing" line '# the output has no "no | such text"'
check "what is said on stderr counts as well" line 'ok 4 - a refusal'
check "any command line of vmm may be a test" line 'ok 5 - no command'
check "the counts come last" [ "$(tail -n 1 <<<"$out")" = '# 3 passed, 2 failed, 0 skipped' ]
check "nothing of ours goes to stderr" [ -z "$err" ]
check "the report has the counts and a row for each test" \
    tests_of '.version == 1 and .status == 123 and .passed == 3 and .failed == 2 and .skipped == 0 and (.tests | length) == 5'
check "and why a test failed, with its output" \
    tests_of '.tests[2] | .name == "another text" and .result == "failed" and .status == 0 and (.why | test("no \"no")) and (.output | fromjson | .kind == "i686-identity")'
before=$out
run "$VMM" batch --jobs 4 "$b"
check "with more jobs the results are the same, in the same order" [ "$out" = "$before" ]
run "$VMM" batch --group g2 "$b"
check "a group is run by itself" [ "$(grep -c '^\(not \)\?ok ' <<<"$out")" = 2 ]
batch "a | | 0 | | | inspect $hello"
case_is "a batch whose tests pass ends 0" 0 '^ok 1 - a$' "$VMM" batch "$b"
run sh -c "'$VMM' batch '$b' >/dev/full"
check "results that cannot be written end 125" [ "$status" = 125 ]
mkdir -p "$tmp/sub" && cp "$hello" "$tmp/sub/h.elf" && echo 'a | | | | i686-identity | inspect h.elf' >"$tmp/sub/b"
case_is "paths count from the folder of the batch" 0 '^ok 1 - a$' "$VMM" batch "$tmp/sub/b"
(cd "$tmp/sub" && exec "$VMM" batch b >/dev/null 2>&1 <&- 2>&-)
check "a batch needs no standard input" [ $? = 0 ]
case_is "nor /proc" 0 '^ok 1 - a$' strace -f -o "$tmp/trace" -e trace=%file "$VMM" batch "$tmp/sub/b"
check "which it does not look at" sh -c "! grep -q /proc '$tmp/trace'"

# --- what cannot run here -----------------------------------------------------------------------------------

batch "needs KVM | | 0 | | | run $hello" "is told so | | 77 | | cannot open | run $hello" "b | | 0 | | | inspect $hello"
run strace -f -o "$tmp/trace" -P /dev/kvm -e trace=open -e inject=open:error=ENOENT "$VMM" batch "$b"
check "a test that ends 77 is skipped, with its own reason" \
    grep -q '^ok 1 - needs KVM # SKIP /dev/kvm: cannot open: No such file' "$tmp/out"
check "unless it ought to" line 'ok 2 - is told so'
check "skips are counted, and a batch with a test that passed ends 0" [ "$status:$(tail -n 1 <<<"$out")" = '0:# 2 passed, 0 failed, 1 skipped' ]
batch "needs KVM | | 0 | | | run $hello"
run strace -f -o "$tmp/trace" -P /dev/kvm -e trace=open -e inject=open:error=ENOENT "$VMM" batch "$b"
check "a batch of which nothing could be run ends 77" [ "$status" = 77 ]

# --- unittests.cfg -------------------------------------------------------------------------------------------

echo yes >"$tmp/value"
cat >"$tmp/unittests.cfg" <<END
# the form of kvm-unit-tests' file
[apic]
file = apic.flat
smp = 2
extra_params = -cpu qemu64,+x2apic
arch = x86_64

[device]
file = device.flat
extra_params = -device edu

[checked]
file = checked.flat
check = $tmp/value=no

[by-hand]
file = by-hand.flat
groups = nodefault slow

[not-built]
file = $tmp/none.flat
check = $tmp/value=yes
arch = i386

[cpuid]
file = none.flat
extra_params = -append 'cpuid'
groups = vmexit
timeout = 30
END
run "$VMM" batch "$tmp/unittests.cfg"
check "a unittests.cfg is read as it is, and what cannot run says what it needs" \
    diff <(grep SKIP "$tmp/out") - <<END
ok 1 - apic # SKIP needs smp = 2
ok 2 - device # SKIP needs QEMU's -device
ok 3 - checked # SKIP needs $tmp/value=no
ok 4 - by-hand # SKIP is of group nodefault
ok 5 - not-built # SKIP $tmp/none.flat: cannot open: No such file or directory
END
check "the others are run" line '#   vmm: none.flat: cannot open: No such file or directory'
run "$VMM" batch --group slow "$tmp/unittests.cfg"
check "a test that is not run by itself is run with its group" sh -c "! grep -q 'ok 1 - by-hand.*nodefault' '$tmp/out'"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "a batch of guests on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

# --- README's example -------------------------------------------------------------------------------------------

mkdir "$tmp/readme"
ln -s "$SAMPLES"/*.elf "$tmp/readme"
awk '/^\$ cat smoke.batch/ { show = 1; next } /^\$ vmm batch/ { exit } show' README.md >"$tmp/readme/smoke.batch"
awk '/^\$ vmm batch .*smoke.batch/ { show = 1; next } /^```/ { show = 0 } show && /^ok/' README.md >"$tmp/wanted"
run "$VMM" batch --jobs 4 --report "$tmp/report" "$tmp/readme/smoke.batch"
check "README's batch has its results, but for what this host cannot run" \
    diff <(sed -n 's/ # SKIP .*32-bit paging.*//; /ok/p' "$tmp/out") "$tmp/wanted"
check "and there are some" [ -s "$tmp/wanted" ]

# --- guests that hang, crash and are interrupted ---------------------------------------------------------------

spin="run --call spin $SAMPLES/calls-amd64.elf"
batch "faults | | 0 | | | run $SAMPLES/fault-amd64.elf" "hangs | | 0 | 500ms | | $spin" "goes on | | 0 | | hello | run $hello"
run "$VMM" batch --report "$tmp/report" "$b"
check "a guest that crashes fails its test" line '# status 139, wanted 0'
check "a guest that hangs is ended at its limit" line '# still running after 500 ms'
check "and the batch goes on" line 'ok 3 - goes on'
check "the report has 124 for a limit" tests_of '.tests[1].status == 124'
batch "hangs | | 0 | | | $spin"
run "$VMM" batch --timeout 300ms "$b"
check "--timeout is the limit of tests that name none" line '# still running after 300 ms'

cat >"$tmp/unittests.cfg" <<END
[passes]
file = bare_end.elf
extra_params = -cpu max -m 64 -append 'exit=0'
[fails]
file = bare_end.elf
test_args = 'exit=1'
[skips]
file = bare_end.elf
extra_params = -append exit=77
[hangs]
file = bare_end.elf
extra_params = -append spin
timeout = 1
END
cp "$SAMPLES/bare_end.elf" "$tmp"
run "$VMM" batch --jobs 2 "$tmp/unittests.cfg"
check "kernels of a unittests.cfg pass, fail, skip and hang by their debug-exit status" \
    diff <(grep '^[on]\|^# [0-9s]' "$tmp/out") - <<'END'
ok 1 - passes
# status 3, wanted 1
not ok 2 - fails
ok 3 - skips # SKIP status 155
# still running after 1000 ms
not ok 4 - hangs
# 1 passed, 2 failed, 1 skipped
END

# Runs a batch of hanging tests in the background, where a shell has SIGINT ignored; waits for its
# children, and leaves their numbers in $children.
start_hanging() { # number, words of vmm...
    local n=$1 i

    shift
    for ((i = 0; i < n; i++)); do
        echo "hangs $i | | 0 | 50s | | $spin"
    done >"$b"
    env --default-signal=INT "$@" batch --jobs "$n" "$b" >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
    for ((i = 0; i < 200; i++)); do
        mapfile -t children < <(pgrep -P "$pid")
        [ "${#children[@]}" = "$n" ] && break
        sleep 0.05
    done
}

# Within some seconds none of the children is there, but for zombies of whoever adopted them.
none_left() {
    local i child

    for ((i = 0; i < 200; i++)); do
        for child in "${children[@]}"; do
            case $(ps -o stat= -p "$child") in '' | Z*) ;; *) sleep 0.05 && continue 2 ;; esac
        done
        return 0
    done
    kill -s KILL "${children[@]}"
    return 1
}

# It ends long before the limits of its tests, or is ended, which no case takes for right.
finish() {
    local i

    for ((i = 0; i < 300; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    [ $i -lt 300 ] || kill -s KILL "$pid" "${children[@]}"
    wait "$pid" 2>/dev/null
    status=$?
    [ $i -lt 300 ] || status=late
    out=$(cat "$tmp/out") err=$(cat "$tmp/err")
}

start_hanging 1 "$VMM"
kill -s KILL "${children[0]}"
finish
check "a child that is killed is told by its signal" line '# killed by signal 9'
for sig in INT TERM; do
    start_hanging 3 "$VMM"
    check "SIG$sig: three tests run at a time" [ "${#children[@]}" = 3 ]
    kill -s $sig $pid
    finish
    check "SIG$sig ends a batch with its status" [ "$status" = "$([ $sig = INT ] && echo 130 || echo 143)" ]
    check "SIG$sig: TAP says so" grep -q '^Bail out! stopped by signal' "$tmp/out"
    check "SIG$sig leaves no child" none_left
done
start_hanging 2 "$VMM"
kill -s KILL $pid
finish
check "a batch that is killed takes its tests with it" none_left
start_hanging 2 "$VMM"
kill -s STOP "${children[@]}"
kill -s INT $pid
sleep 0.2
kill -s INT $pid
finish
check "tests that do not end when asked are killed by the second signal" [ "$status" = 130 ]
check "and none is left" none_left

# --- a long output, a terminal ----------------------------------------------------------------------------------

for where in first last; do
    # A text that is far from the end of the output, and one at its end.
    words=(run)
    [ $where = last ] || words+=(--call echo_string --arg string:needle)
    for ((i = 0; i < 13; i++)); do words+=(--call echo_string --arg "string:$(printf '%015000d' 7)"); done
    [ $where = first ] || words+=(--call echo_string --arg string:needle)
    batch "a | | 0 | | needle | ${words[*]} $SAMPLES/calls-amd64.elf"
    case_is "a text that comes $where in 190 KB of output is found" 0 '^ok 1' "$VMM" batch "$b"
done
batch "a | | 0 | | | inspect $hello" "b | | 0 | | | run $hello" "c | | 124 | | | run --timeout 3s --call spin $SAMPLES/calls-amd64.elf"
run script -qec "'$VMM' batch '$b' >'$tmp/tap'" /dev/null
check "on a terminal a bar tells how far it is" grep -q 'tests \[#* *\] 66%' "$tmp/out"
check "and is not among the results" [ "$(grep -c '^ok' "$tmp/tap"):$(wc -l <"$tmp/tap")" = 3:5 ]
run script -qec "'$VMM' batch --quiet '$b' >/dev/null" /dev/null
check "--quiet does without" [ -z "$out" ]

# --- all samples --------------------------------------------------------------------------------------------------

agree() {
    local image

    for image in "$SAMPLES"/*.elf; do
        timeout -k 5 60 "$VMM" run --quiet --timeout 3s "$image" >/dev/null 2>&1 </dev/null
        echo "${image##*/} | | $? | 50s | | run --quiet --timeout 3s $image"
    done >"$b"
    run "$VMM" batch --jobs 2 "$b"
    [ "$status" = 0 ] && [ "$(grep -c '^ok' "$tmp/out")" = "$(wc -l <"$b")" ] && ! grep -q SKIP "$tmp/out"
}
check "a batch of all samples says of each what running it by itself says" agree
done_testing
