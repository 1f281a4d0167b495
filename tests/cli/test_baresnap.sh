#!/bin/bash
# Snapshots of bare kernels from the command line: where they are taken, how they go on, and that what
# the guest was in the middle of is done once.
set -u
. "$(dirname "$0")/lib.sh"

hello=$SAMPLES/bare_hello.elf
once=$SAMPLES/bare_once.elf
echo=$SAMPLES/bare_echo.elf
nanvix=$SAMPLES/microvm_hello.elf
snap=$tmp/guest.snap

# --- mistakes ----------------------------------------------------------------------------------------
refused "a bare kernel is not saved just anywhere" 64 'is to be saved is not said .multiboot' "$VMM" snapshot -o "$snap" "$hello"
check "the hint says what can be said" matches '^hint: --at text:TEXT, port, signal or halt$'
refused "a point that is none is a mistake" 64 'at: unknown choice .lunch' "$VMM" snapshot -o "$snap" --at lunch "$hello"
refused "a text of nothing is a mistake" 64 'at: the text is empty' "$VMM" snapshot -o "$snap" --at text: "$hello"
refused "text without a text is a mistake" 64 'at: unknown choice' "$VMM" snapshot -o "$snap" --at text "$hello"
refused "a guest of the ABI is saved between calls" 64 'at: only for bare kernels' \
    "$VMM" snapshot -o "$snap" --at port "$SAMPLES/hello-i686-identity.elf"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "snapshots of bare kernels on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

# --- text --------------------------------------------------------------------------------------------
save() { # options and image
    run "$VMM" snapshot -o "$snap" --timeout 30s "$@"
}
save --memory 8M --at "text:hello, bare" --append words "$hello"
check "a kernel is saved when it has said a text" [ "$status:$out" = "0:hello, bare" ]
run "$VMM" restore --timeout 20s "$snap"
check "it goes on where it was" [ "$status:$out" = "0: world!
words" ]
run "$VMM" restore --timeout 20s --repeat 3 --expect 'world!' "$snap"
check "as often as wanted, up to a text" [ "$status:$out" = "0: world! world! world!" ]
run "$VMM" restore --timeout 20s --copies 3 --jobs 2 "$snap"
check "in copies" [ "$status:$(grep -c words <<<"$out")" = 0:3 ]
case_is "a text that never comes is told" 123 'never said "moon"' "$VMM" restore --timeout 20s --expect moon "$snap"
case_is "pages are verified" 0 '^words$' "$VMM" restore --timeout 20s --verify "$snap"
case_is "inspect says what it is" 0 'goes on at 0x0010[0-9a-f]*, 8192K of RAM, interrupt controllers on' "$VMM" inspect "$snap"
run "$VMM" inspect --json "$snap"
check "inspect --json too" json '.kind == "multiboot" and .memory == 8388608 and .irqchip and .generation == 1 and
    .roots == [] and ([.sections[].name] | join(" ")) == "MACHINE STATE DEVICES COMPAT MEMORY CHUNKS"' "$tmp/out"
case_is "a program written from the description of the format finds every checksum right" 0 '^all right$' \
    tests/cli/snapfile.py check "$snap"
refused "it takes no calls" 64 'only for guests of the guest ABI .*multiboot' "$VMM" restore --call f "$snap"
refused "nor serves them" 64 'a bare kernel takes no calls .multiboot' "$VMM" serve "$snap"
refused "a binary without bare kernels says so" 126 'this vmm has no bare kernels .multiboot' build/amd64/vmm restore "$snap"

# --- ends before its point ---------------------------------------------------------------------------
rm -f "$snap"
save --at text:moon "$hello"
check "a kernel that ends before is told, and no file is made" \
    [ "$status:$(grep -c 'ended with status 0, before --at text:moon' <<<"$err"):$(ls "$snap" 2>/dev/null)" = 123:1: ]
save --timeout 300ms --at port --append spin "$SAMPLES/bare_end.elf" # a timeout given twice is a mistake
check "options are those of run" [ "$status" = 64 ]
run "$VMM" snapshot -o "$snap" --timeout 300ms --at port --append spin "$SAMPLES/bare_end.elf"
check "one that never gets there ends at its limit, with a hint" \
    [ "$status:$(grep -c '^hint: it was not saved: it had not come to --at port$' <<<"$err")" = 124:1 ]
check "and no file is made" [ ! -e "$snap" ]

# --- the other points --------------------------------------------------------------------------------
end=".....
rounds 0xa
torn 0x0"
for irqchip in on off; do
    save --irqchip=$irqchip --memory 2M --at port --append port=10 "$once"
    check "a kernel is saved when it asks for it, interrupt controllers $irqchip" [ "$status:$out" = "0:once
....." ]
    run "$VMM" restore --timeout 20s --repeat 2 "$snap"
    check "and goes on behind its command, interrupt controllers $irqchip" [ "$status:$out" = "0:$end
$end" ]
done
save --irqchip=off --at halt --append halt=10 "$once"
check "a kernel that nothing can wake is saved in its HLT" [ "$status" = 0 ]
run "$VMM" restore --timeout 20s "$snap"
check "and goes on behind it" [ "$status:$out" = "0:$end" ]
save --at halt --append halt=10 "$once"
check "one with interrupt controllers is saved asleep" [ "$status:$out" = "0:once
....." ]
run "$VMM" restore --timeout 300ms --repeat 2 "$snap"
check "and sleeps on" [ "$status:$out" = 124: ]
run "$VMM" run --timeout 20s --append port=4 "$once"
check "a kernel that asks to be saved and is just run goes on" [ "$status:$(grep -c 'rounds 0x4' <<<"$out")" = 0:1 ]

# Nanvix's own command, as its contract has it.
save --format microvm --memory 16M --at text:world "$nanvix"
check "a kernel of Nanvix's is saved" [ "$status:$out" = "0:hello, world" ]
case_is "and goes on, without interrupt controllers" 0 '^!$' "$VMM" restore --timeout 20s "$snap"

# --- input -------------------------------------------------------------------------------------------
save --at text:echo --append poll "$echo"
for word in one two; do
    printf '%s\004' $word | timeout 30 "$VMM" restore --stdin --timeout 20s "$snap" >"$tmp/out" 2>"$tmp/err"
    status=$? out=$(tr -d '\n' <"$tmp/out")
    check "a saved kernel hears what is typed: $word" [ "$status:$out" = "0:$word" ]
done

# --- exactly once ------------------------------------------------------------------------------------
# Saved by a signal at any instant: what was counted before and after is what is counted without.
counts() { jq -s -c '[.[].unknown[]] | group_by(.port, .memory) | map(map(.count) | add) | sort' "$@"; }
n=1500
run "$VMM" run --timeout 60s --report "$tmp/whole" --append rounds=$n "$once"
whole=$out
wrong='' saved=0
for i in $(seq 1 60); do
    [ $saved -lt 5 ] || break
    : >"$tmp/out1"
    "$VMM" snapshot -o "$snap" --memory 2M --timeout 60s --at signal --append rounds=$n --report "$tmp/first" "$once" \
        >"$tmp/out1" 2>"$tmp/err" &
    pid=$!
    # It takes the signal from when it runs, which is before it has said something.
    until [ -s "$tmp/out1" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.002; done
    sleep "$(jq --arg r $RANDOM '.ran_us * ($r | tonumber) / 32768 / 2e6' "$tmp/whole")"
    kill -USR1 $pid 2>/dev/null
    wait $pid
    status=$?
    [ $status != 123 ] || continue # it was done before
    saved=$((saved + 1))
    run "$VMM" restore --timeout 60s --report "$tmp/second" "$snap"
    [ "$status:$(cat "$tmp/out1")$out" = "0:$whole" ] && [ "$(counts "$tmp/whole")" = "$(counts "$tmp/first" "$tmp/second")" ] ||
        wrong="$wrong
round $i: status $status, $(counts "$tmp/first" "$tmp/second"), $(counts "$tmp/whole") without"
done
if [ $saved = 5 ] && [ -z "$wrong" ]; then
    ok "whenever a kernel is saved, what it does is done once"
else
    not_ok "whenever a kernel is saved, what it does is done once" "$saved saved$wrong
$(cat "$tmp/err")"
fi
done_testing
