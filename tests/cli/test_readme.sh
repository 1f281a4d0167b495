#!/bin/bash
# What README shows is what happens: its guest in assembler, built by its command line, runs.
set -u
. "$(dirname "$0")/lib.sh"

# The n-th block that starts with ```LANGUAGE.
block() { # language, n
    awk -v lang="\`\`\`$1" -v want="$2" '
        /^```/ { fenced = !fenced; show = fenced && $0 == lang && ++n == want; next }
        show' README.md
}

block asm 1 >"$tmp/hello.S"
check "README has a guest in assembler" grep -q 'globl *entrypoint' "$tmp/hello.S"
build=$(grep -E '^gcc .*hello\.S' README.md)
run sh -c "cd '$tmp' && $build"
check "README's command line builds it without a word" [ "$status:$out$err" = 0: ]
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    case_is "and it runs" 0 '^hello$' "$VMM" run --timeout 20s "$tmp/hello.elf"
else
    case_is "and it has a plan" 0 '^scratch: ' "$VMM" inspect "$tmp/hello.elf"
fi
block c 1 | sed '/^\/\*/d' >"$tmp/hello.c"
if [ -s "$tmp/hello.c" ] && diff <(sed '/^\/\*/d' guest-samples/hello.c) "$tmp/hello.c" >"$tmp/diff"; then
    ok "README's guest in C is guest-samples/hello.c"
else
    not_ok "README's guest in C is guest-samples/hello.c" "$(cat "$tmp/diff")"
fi
done_testing
