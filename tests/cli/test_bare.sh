#!/bin/bash
# Bare kernels from the command line: what is refused, input, output, reports, runner scripts.
set -u
. "$(dirname "$0")/lib.sh"

hello=$SAMPLES/bare_hello.elf
end=$SAMPLES/bare_end.elf
echo=$SAMPLES/bare_echo.elf
flood=$SAMPLES/bare_flood.elf
nanvix=$SAMPLES/microvm_hello.elf
abi=$SAMPLES/hello-i686-identity.elf

# --- what is refused, before any KVM -----------------------------------------------------------------
for option in "--call f" "--arg int:1" "--scratch 1M" "--heap 1M" "--input 16K" "--output 16K" "--init-data $abi" \
    "--paging off" "--log-level info" "--core $tmp/core" "--host-fn a=b"; do
    case $option in --arg*) before="--call f" ;; *) before= ;; esac
    # shellcheck disable=SC2086 # words
    refused "a bare kernel has no use for ${option%% *}" 64 "only for guests of the guest ABI .*is multiboot" \
        "$VMM" run $before $option "$hello"
done
for option in "--append x" "--initrd $abi" "--module $abi" "--memory 64M" "--stdin" "--strict-io"; do
    # shellcheck disable=SC2086 # words
    refused "a guest of the ABI has no use for ${option%% *}" 64 "only for bare kernels .*is one of the guest ABI" \
        "$VMM" run $option "$abi"
done
refused "a format that is not there is a mistake" 64 'unknown choice .floppy' "$VMM" run --format floppy "$hello"
refused "an image of another format is refused" 126 '' "$VMM" run --format linux "$hello"
refused "an expectation of nothing is a mistake" 64 'the text is empty' "$VMM" run --expect '' "$hello"
refused "an expected status of 256 is a mistake" 64 'expect-status' "$VMM" run --expect-status 256 "$hello"
refused "memory below 1M is a mistake" 64 'not a size for a bare kernel' "$VMM" run --memory 1020K "$hello"
refused "memory above 4076M is a mistake" 64 'not a size for a bare kernel' "$VMM" run --memory 4077M "$hello"
refused "memory of odd size is a mistake" 64 'not a size for a bare kernel' "$VMM" run --memory 2047K "$hello"
refused "memory without a suffix is a mistake" 64 'needs a suffix' "$VMM" run --memory 64 "$hello"
refused "a missing module ends 127" 127 'cannot open' "$VMM" run --module "$tmp/none:args" "$hello"
refused "a missing initrd ends 127" 127 'cannot open' "$VMM" run --format microvm --initrd "$tmp/none" "$nanvix"
refused "a console that cannot be opened ends 125" 125 'console: cannot open' "$VMM" run --console "$tmp/no/dir" "$hello"
refused "a runner script has to name a kernel" 64 'no -kernel given' "$VMM" -standalone
refused "an option that runner scripts do not have is a mistake" 64 'unknown option -gateway' \
    "$VMM" -standalone -gateway x -kernel "$nanvix"
refused "a runner script's memory needs a suffix" 64 'needs a suffix' "$VMM" -standalone -kernel "$nanvix" -memory 64

# --- what would be run -------------------------------------------------------------------------------
no_kvm=(strace -o "$tmp/trace" -P /dev/kvm -e trace=open -e inject=open:error=ENOENT)

case_is "--dry-run says what would be run, without KVM" 0 \
    '^[^ ]*bare_hello.elf: multiboot, entry 0x001[0-9a-f]*, 65536K of RAM, interrupt controllers on$' \
    "${no_kvm[@]}" "$VMM" run --dry-run --memory 64M "$hello"
check "with what lies where" matches '^load      00100000-0010[0-9a-f]*  '
case_is "inspect says the same" 0 ': multiboot, entry .*controllers off$' "$VMM" inspect --irqchip=off "$hello"
case_is "a start in real mode is told" 0 ': microvm, entry 0x0*8000 in real mode, 131072K of RAM' \
    "$VMM" run --dry-run --format microvm "$nanvix"
run "$VMM" inspect --json "$hello"
check "inspect --json is JSON" \
    json '.kind == "multiboot" and .memory == 134217728 and .irqchip and (.ranges | length) > 0' "$tmp/out"
case_is "--dry-run of a guest of the ABI is its plan" 0 '^scratch: ' "$VMM" run --dry-run "$abi"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "bare kernels on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

# --- output ------------------------------------------------------------------------------------------
wanted() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "%c", i % 64 == 63 ? 10 : 97 + i % 26 }' | cksum; }
slowly() { # reads with pauses
    local block=$1

    while dd bs="$block" count=1 iflag=fullblock 2>/dev/null | tee "$tmp/block" && [ -s "$tmp/block" ]; do
        sleep 0.01
    done
}

got=$("$VMM" run --timeout 60s --append debug=1048576 "$flood" | slowly 65536 | cksum)
if [ "$got" = "$(wanted 1048576)" ]; then
    ok "1 MB through the debug console arrive whole at a slow reader"
else
    not_ok "1 MB through the debug console arrive whole at a slow reader" "$got"
fi
run "$VMM" run --timeout 60s --console "$tmp/console" --append serial=65536 "$flood"
check "output goes to --console, and not to stdout" \
    [ "$status:$(cksum <"$tmp/console"):$out" = "0:$(wanted 65536):" ]
case_is "--console - is stdout" 0 '^hello, bare world!$' "$VMM" run --timeout 20s --console - "$hello"
run bash -c "'$VMM' run --timeout 30s --append talk '$end' | head -n 1; exit \${PIPESTATUS[0]}"
check "a reader that goes away ends the run with 125" [ "$status" = 125 ]
check "in one line" [ "$(grep -vc '^hint: ' <<<"$err"):${err%%: cannot*}" = "1:vmm: guest output" ]

run "$VMM" run -q --timeout 20s --append triple "$end"
check "-q keeps our own messages back" [ "$status:$err" = 139: ]

# --- reports -----------------------------------------------------------------------------------------
run "$VMM" run --timeout 20s --report "$tmp/report" "$SAMPLES/bare_io.elf"
check "a report counts what nothing answers" json '
    .status == 0 and .reason == "ended" and .kind == "multiboot" and .unknown_accesses == 14 and
    (.unknown | length) == 3 and .unknown[0] == {"port": "0x1234", "width": 1, "write": false, "count": 11} and
    .unknown[1].memory == "0xd0000010"' "$tmp/report"
run "$VMM" run --timeout 20s --report "$tmp/report" --append reset "$end"
check "a report of a reset" json '.status == 121 and .reason == "reset" and .unknown_accesses == 0' "$tmp/report"
run "$VMM" run --timeout 20s --report "$tmp/report" --expect 'so be' --append spin "$end"
check "a report of what was expected" json '.status == 0 and .reason == "expected" and (has("message") | not)' "$tmp/report"
run "$VMM" run --timeout 20s --report "$tmp/report" --expect nothing "$hello"
check "a report of what was not" json '.status == 123 and .reason == "unexpected" and (.message | test("nothing"))' \
    "$tmp/report"
run "$VMM" run --timeout 20s --report "$tmp/report" "$SAMPLES/hello-amd64.elf"
check "a report of a guest of the ABI has no such accesses" json 'has("unknown") | not' "$tmp/report"

# --- texts -------------------------------------------------------------------------------------------
case_is "texts are expected in order" 0 '' "$VMM" run --timeout 20s --expect hello --expect world "$hello"
case_is "not the other way round" 123 'never said "hello"' "$VMM" run --timeout 20s --expect world --expect hello "$hello"
case_is "a text may span lines" 0 '' "$VMM" run --timeout 20s --expect $'world!\nabc' --append abc "$hello"
case_is "a text with CR LF is the same" 0 '' "$VMM" run --timeout 20s --expect $'world!\r\nabc' --append abc "$hello"

# --- input -------------------------------------------------------------------------------------------
modes="poll irq"
"$VMM" run -q --timeout 1s --append irq --stdin "$echo" < <(printf '\004') >/dev/null 2>&1
if [ $? = 77 ]; then
    skip "a sleeping kernel gets what was typed" "this KVM does not emulate iret (lab)"
    modes=poll
fi
for mode in $modes; do
    # The second half is typed when the first has come back, and the end when all has.
    mkfifo "$tmp/to.$mode" "$tmp/from.$mode"
    timeout 30 "$VMM" run --stdin --timeout 20s --append "$mode" "$echo" <"$tmp/to.$mode" >"$tmp/from.$mode" &
    pid=$!
    exec 8>"$tmp/to.$mode" 9<"$tmp/from.$mode"
    read -r -t 10 first <&9
    printf 'one\n' >&8
    read -r -t 10 one <&9
    printf 'two\n' >&8
    read -r -t 10 two <&9
    printf '\004' >&8
    wait $pid
    status=$?
    exec 8>&- 9<&-
    name="what is typed comes back as it is typed"
    [ "$mode" = poll ] || name="a sleeping kernel gets what was typed"
    out="$first $one $two"
    check "$name" [ "$status:$out" = "0:echo one two" ]
done
head -c 65536 /dev/urandom | tr -d '\004' >"$tmp/input"
{ cat "$tmp/input" && printf '\004rest'; } >"$tmp/input.4"
{
    "$VMM" run --stdin --timeout 60s "$echo" | tail -c +6 >"$tmp/echoed"
    cat >"$tmp/rest"
} <"$tmp/input.4"
check "64 KB of input come back whole" cmp "$tmp/input" "$tmp/echoed"
printf 'abc' | "$VMM" run --stdin --timeout 500ms "$echo" >"$tmp/out" 2>"$tmp/err"
status=$? out=$(cat "$tmp/out") err=$(cat "$tmp/err")
check "the end of the input does not end the guest" [ "$status:$out" = "124:echo
abc" ]
run sh -c "'$VMM' run --stdin --timeout 300ms '$echo' <&-"
check "a closed input is an empty one" [ "$status:$out" = 124:echo ]

# --- runner scripts ------------------------------------------------------------------------------------
printf 'DISKdisk' >"$tmp/disk"
run "$VMM" -standalone -kernel "$nanvix" -initrd "$tmp/disk" -timeout 20s
check "a runner script's RAM disk is there, and the status is the kernel's" [ "$status:$out" = "7:hello, world!
DISKdisk" ]
run "$VMM" -standalone -kernel "$nanvix" -ramfs "$tmp/disk" -stderr "$tmp/console" -timeout 20s
check "-ramfs and -stderr are other names" [ "$status:$out:$(tail -n 1 "$tmp/console")" = 7::DISKdisk ]
case_is "-kernel-args is a command line" 0 '^a b$' "$VMM" -standalone -kernel "$hello" -kernel-args 'a b' -timeout 20s
done_testing
