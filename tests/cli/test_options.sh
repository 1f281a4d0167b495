#!/bin/bash
# The command line: what is a mistake, what help says, what a report holds.
set -u
. "$(dirname "$0")/lib.sh"

hello=$SAMPLES/hello-i686-identity.elf

refused "no command is a mistake" 64 'no command' "$VMM"
refused "an unknown command is a mistake" 64 'unknown command fly' "$VMM" fly
refused "no image is a mistake" 64 'no image' "$VMM" run
refused "two images are a mistake" 64 'unexpected operand .*hello' "$VMM" run "$hello" "$hello"
refused "an option behind a file is a mistake where there may be several" 64 'serve: unexpected operand --verify' \
    "$VMM" serve "$hello" --verify
refused "an unknown option is a mistake" 64 'unknown option --fly' "$VMM" run --fly "$hello"
refused "an option of another command is a mistake" 64 'unknown option --timeout' "$VMM" inspect --timeout 1s "$hello"
refused "an option without its value is a mistake" 64 'needs a value' "$VMM" run --timeout
refused "an option given twice is a mistake" 64 'given twice' "$VMM" run --heap 64K --heap 64K "$hello"
refused "a value for an option that takes none is a mistake" 64 'unknown option --json=1' "$VMM" inspect --json=1 "$hello"
refused "the start of several options is none of them" 64 'unknown option --in' "$VMM" inspect --in 16K "$hello"
refused "letters of one dash are one name" 64 'unknown option -xy' "$VMM" inspect -xy "$hello"
refused "a word that is one dash is an image" 127 'cannot open' "$VMM" inspect -
case_is "one dash will do, and an equals sign in front of the value" 0 '^scratch: 512K' \
    "$VMM" inspect -heap=64K -scratch 512K "$hello"
case_is "the start of a name will do when no other starts so" 0 '^scratch: 512K' "$VMM" inspect --scr=512K "$hello"
case_is "two dashes end the options" 0 '^scratch: 288K' "$VMM" inspect -- "$hello"
refused "what follows them is an image" 127 "--json: cannot open" "$VMM" inspect -- --json
refused "a size without a suffix is a mistake" 64 'needs a suffix' "$VMM" run --scratch 294912 "$hello"
refused "a size of zero is a mistake" 64 'zero' "$VMM" run --heap 0K "$hello"
refused "a negative size is a mistake" 64 'not a size' "$VMM" run --heap -4K "$hello"
refused "a misaligned size is a mistake" 64 'not a multiple of 4K' "$VMM" run --heap 5K "$hello"
refused "a size past 2^64 is a mistake" 64 'too large' "$VMM" run --heap 99999999999999999999G "$hello"
refused "an absurd size is a mistake" 64 'too large' "$VMM" run --scratch 1000000G "$hello"
refused "a scratch that is too small names the smallest" 64 'at least 80K' "$VMM" run --scratch 64K "$hello"
refused "an I/O stack that is too small is a mistake" 64 'input stack is too small' "$VMM" run --input 4K "$hello"
refused "a duration without a suffix is a mistake" 64 'needs a suffix' "$VMM" run --timeout 10 "$hello"
refused "a duration of zero is a mistake" 64 'zero' "$VMM" run --timeout 0s "$hello"
refused "an unknown choice is a mistake" 64 'unknown choice' "$VMM" run --irqchip=perhaps "$hello"
refused "an operand of doctor is a mistake" 64 'unexpected operand' "$VMM" doctor x
refused "a missing init data file ends 127" 127 'cannot open' "$VMM" run --init-data "$tmp/none" "$hello"

case_is "--help goes to stdout with status 0" 0 '^usage: vmm' "$VMM" --help
check "and nothing to stderr" [ -z "$err" ]
case_is "a command's --help is help" 0 '^usage: vmm' "$VMM" run --help
check "of that command alone" [ "$(grep -c '^  vmm ' <<<"$out"):$(grep -c '^  vmm run ' <<<"$out"):$(grep -c -e --on-exit <<<"$out")" = 1:1:0 ]
run "$VMM" --help
missing=$(sed -n '/^## Exit status/,/^## A guest/p' README.md | grep -oE '^\| [0-9 /]+' | grep -oE '[0-9]+' | while read -r n; do
    sed -n '/Exit status/,$p' <<<"$out" | grep -qw "$n" || echo "$n"
done)
check "help names every exit status of README" [ -z "$missing" ]
case_is "--version names flavour and ABI" 0 "^vmm [0-9.]+ \\($FLAVOUR\\), guest ABI 0\\.15$" "$VMM" --version
run sh -c "'$VMM' --help >/dev/full"
check "help that cannot be written ends 125" [ "$status" = 125 ]
run env -i "$VMM" --version
check "an empty environment is enough" [ "$status" = 0 ]
run "$VMM" --help
missing=$(grep -oE '^ +--[a-z-]+' <<<"$out" | tr -d ' ' | sort -u | while read -r o; do grep -qF -e "$o" README.md || echo "$o"; done)
if [ -z "$missing" ]; then ok "README names every option of --help"; else not_ok "README names every option of --help" "$missing"; fi

case_is "inspect needs no KVM" 0 '^scratch: 288K, largest that fits' \
    strace -o "$tmp/trace" -P /dev/kvm -e trace=open -e inject=open:error=ENOENT "$VMM" inspect "$hello"
refused "inspect has nothing to verify in an image" 64 'verify: only for snapshots' "$VMM" inspect --verify "$hello"
run "$VMM" inspect --json "$hello"
check "inspect --json is JSON" json '.kind == "i686-identity" and (.ranges | length) > 5' "$tmp/out"

run "$VMM" run --report "$tmp/report" "$tmp/none.elf"
check "a report tells a refusal as well" json '.status == 127 and .reason == "error" and (.message | length) > 0' "$tmp/report"
refused "a report that cannot be opened ends 125 before the guest runs" 125 'cannot open' \
    "$VMM" run --report "$tmp/no/such/dir" "$hello"
refused "a report on a closed descriptor ends 125" 125 'cannot open fd:9' "$VMM" run --report fd:9 "$hello"
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    run "$VMM" run --report "$tmp/report" "$hello"
    check "a report of a guest that ended" json '.status == 0 and .reason == "ended" and .kind == "i686-identity"' "$tmp/report"
    run "$VMM" run --report "$tmp/report" "$SAMPLES/abort-amd64.elf"
    check "a report of an abort" \
        json '.status == 134 and .reason == "aborted" and .abort.code == 15 and .abort.text == "the guest gave up"' "$tmp/report"
    run "$VMM" run --report "$tmp/report" "$SAMPLES/badread-amd64.elf"
    check "a report of a fault" \
        json '.status == 139 and .reason == "faulted" and (.registers.rip | startswith("0x"))' "$tmp/report"
    run sh -c "'$VMM' run --report fd:5 '$hello' 5>'$tmp/report5'"
    check "a report on a descriptor" json '.status == 0' "$tmp/report5"
    run "$VMM" run --quiet "$SAMPLES/abort-amd64.elf"
    check "--quiet leaves the status and no words" [ "$status:$out$err" = 134: ]
    run sh -c "'$VMM' run '$hello' <&- >'$tmp/o' 2>'$tmp/e'"
    check "a closed stdin does no harm" [ "$status:$(cat "$tmp/o")" = '0:hello, world! (i686-identity)' ]
    run sh -c "'$VMM' run '$hello' 0<&- 1>&- 2>&-"
    check "closed descriptors 0-2 do no harm" [ "$status" = 0 ]
else
    skip "reports of guests that ran" "no /dev/kvm here (lab)"
fi
done_testing
