#!/bin/bash
# Calls into guests: values of every type there and back, errors as errors, host functions.
set -u
. "$(dirname "$0")/lib.sh"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "calls into guests on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

run_calls() { # arguments...
    run "$VMM" run --timeout 20s "$@" "$SAMPLES/calls-$kind.elf"
}

# One value there and back: what is printed is what was sent, unless told otherwise.
echoes() { # type, value, printed
    run_calls --call "echo_$1" --arg "$1:$2"
    check "$kind: $1 $2 comes back" [ "$status:$out" = "0:${3-$2}" ]
}

for kind in amd64 i686-identity; do
    run_calls --call add --arg int:2 --arg int:40
    check "$kind: add 2 40 is 42" [ "$status:$out" = 0:42 ]
    echoes int -2147483648
    echoes int 2147483647
    echoes uint 4294967295
    echoes long -9223372036854775808
    echoes long 9223372036854775807
    echoes ulong 18446744073709551615
    echoes float -0 -0
    echoes float -0.0 -0
    echoes float 3.4028235e38 3.4028235e+38
    echoes float 'nan(0xffc12345)'
    echoes float 'nan(0x7f800001)'
    echoes double -0.0 -0
    echoes double 5e-324 4.94065645841247e-324
    echoes double 0.1
    echoes double 'nan(0x7ff8000000000123)'
    echoes double -inf
    echoes bool true
    echoes bool false
    echoes string ''
    echoes string 'Grüße, 世界'
    echoes bytes ''
    echoes bytes 00ff00
done

kind=amd64
params=()
for i in 1 2 3 4 5 6 7 8 9 0 1 2; do params+=(--arg "uint:$i"); done
run_calls --call many "${params[@]}"
check "twelve parameters arrive in order" [ "$status:$out" = 0:3197704724 ] # 123456789012 mod 2^32
head -c 65536 /dev/urandom >"$tmp/64k"
run_calls --input 256K --output 256K --scratch 2M --call echo_bytes --arg "bytes:@$tmp/64k"
check "64 KiB of bytes come back with large enough stacks" [ "$status:$out" = "0:$(od -An -v -tx1 "$tmp/64k" | tr -d ' \n')" ]
run_calls --call echo_bytes --arg "bytes:@$tmp/64k"
check "and are refused with small ones" [ "$status" = 64 ]
check "with a hint" matches '^hint: give a larger --input'
run_calls --input 256K --scratch 2M --call echo_bytes --arg "bytes:@$tmp/64k"
check "a result that does not fit is an error, not a crash" [ "$status" = 122 ]

for kind in amd64 i686-identity; do
    run_calls --call count --call count --call count
    check "$kind: a guest keeps its state from call to call" [ "$status:$out" = $'0:1\n2\n3' ]
    run_calls --call fail --call add --arg int:1 --arg int:1
    check "$kind: a guest error ends with 122 and stops the calls" [ "$status:$out" = 122: ]
    check "$kind: and is told with code and text" matches '^vmm: call fail: guest error 15 \(guest error\): failed as asked$'
    run_calls --call none
    check "$kind: an unknown function is error 4" matches '^vmm: call none: guest error 4 \(function not found\)'
    run_calls --call add --arg int:1
    check "$kind: a missing parameter is error 5" matches 'guest error 5 '
    run_calls --call add --arg int:1 --arg long:1
    check "$kind: a parameter of another type is error 14" matches 'guest error 14 '
    run_calls --call nothing
    check "$kind: a function without a result prints nothing" [ "$status:$out" = 0: ]
    run_calls --call give_up
    check "$kind: an abort in a call ends 134" [ "$status" = 134 ]
    run_calls --call undefined
    check "$kind: an exception in a call ends 134 and is named" matches 'aborted: code 15 \(guest error\), exception 6 \(opcode\): at 0x'
    run_calls --call halt
    check "$kind: a call without a result ends 139" [ "$status" = 139 ]
    check "$kind: and says so" matches 'broken protocol: output stack: sp'
    run_calls --call deep --arg uint:4
    check "$kind: a function may use some stack" [ "$status:$out" = 0:5 ]
    run "$VMM" run --timeout 1s --call spin "$SAMPLES/calls-$kind.elf"
    check "$kind: a call that spins meets the time limit" [ "$status" = 124 ]
    run "$VMM" run --timeout 1s --call storm --arg uint:4294967295 "$SAMPLES/calls-$kind.elf"
    check "$kind: a storm of host calls does" [ "$status" = 124 ]
done
kind=amd64
run_calls --scratch 4M --call deep --arg uint:1000
check "the stack of an amd64 guest grows" [ "$status:$out" = 0:1001 ]
run_calls --call crash
check "a page fault nobody wanted ends 134 with its address" matches 'exception 14 \(page fault\): at 0x[0-9a-f]*, address 0x00000000d0000000$'

# Host functions.
run_calls --call print --arg $'string:from the guest\n'
check "HostPrint prints and returns the length" [ "$out" = $'from the guest\n15' ]
run_calls --call print --arg string:half --call print --arg string: --call count
check "a result is on a line of its own, also behind half a line of the guest's" [ "$out" = $'half\n4\n0\n1' ]
run_calls --call ask_string --arg string:nobody --arg string:x
check "an unknown host function is a guest error" matches 'guest error 17 \(host function failed\): no host function nobody$'
run_calls --host-fn upper='tr a-z A-Z' --call ask_string --arg string:upper --arg 'string:shout it'
check "a command answers a host call" [ "$status:$out" = '0:SHOUT IT' ]
run_calls --host-fn rev='tac -rs .' --call ask_bytes --arg string:rev --arg bytes:00ff10
check "bytes go through a command as they are" [ "$status" = 0 ]
run_calls --host-fn bad=false --call ask_string --arg string:bad --arg string:x
check "a command that fails is a guest error" matches 'guest error 17 .*bad: it ended with status 1$'
run_calls --host-fn gone=/no/such/program --call ask_string --arg string:gone --arg string:x
check "a command that is not there is a guest error" matches 'guest error 17 .*gone: cannot start'
run_calls --host-fn number='echo 12' --call ask_uint --arg string:number --arg uint:3
check "a command's output becomes the type that is expected" [ "$status:$out" = 0:12 ]
run_calls --host-fn number='echo twelve' --call ask_uint --arg string:number --arg uint:3
check "and a guest error when it is no such value" matches 'guest error 17 .*is no uint$'
run "$VMM" run --timeout 1s --host-fn slow='sleep 20' --call ask_string --arg string:slow --arg string:x "$SAMPLES/calls-amd64.elf"
check "a slow command does not outlast the time limit" [ "$status" = 124 ]
check "and is gone" sh -c "! pgrep -f '^sleep 20$'"
run_calls --host-fn env='sh -c ls<&3' --call ask_string --arg string:env --arg string:x
refused "a host function needs a name and a command" 64 'not NAME=COMMAND' "$VMM" run --host-fn nothing "$SAMPLES/calls-amd64.elf"
refused "a built-in host function keeps its name" 64 'built in' "$VMM" run --host-fn HostPrint=cat "$SAMPLES/calls-amd64.elf"
refused "an argument without a call is a mistake" 64 'no --call before it' "$VMM" run --arg int:1 "$SAMPLES/calls-amd64.elf"
for bad in int:2147483648 int:1x uint:-1 long:9223372036854775808 ulong:18446744073709551616 float:1e39 'float:nan(0x7f800000)' \
    double:x bool:yes bytes:0 bytes:xx void: 7 kind:7 'int: 7'; do
    refused "--arg '$bad' is a mistake" 64 '--arg: not ' "$VMM" run --call add --arg "$bad" "$SAMPLES/calls-amd64.elf"
done

# Logs and the report.
run_calls --call logs
check "errors are logged by default" [ "$err" = $'guest: critical: guest: a critical record\nguest: error: guest: an error record' ]
run_calls --log-level trace --call logs
check "everything is with --log-level trace" [ "$(grep -c '^guest: ' <<<"$err")" = 6 ]
run_calls --log-level off --call logs
check "nothing is with off" [ -z "$err" ]
run_calls --report "$tmp/report" --call add --arg int:1 --arg int:1 --call echo_double --arg double:nan --call fail
check "a report holds the typed results" json '.reason == "call-error" and .status == 122 and
    .calls[0] == {name: "add", result: {type: "int", value: 2}} and
    .calls[1].result.bits == "0x7ff8000000000000" and .calls[2].error.code == 15' "$tmp/report"
done_testing
