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

# What CI is told to do. The step runs in a folder with ./vmm and kernel.elf; nobody is asked for root.
mkdir -p "$tmp/ci/bin"
ln -s "$VMM" "$tmp/ci/vmm"
ln -s "$VMM" "$tmp/ci/bin/vmm"
cp "$SAMPLES/bare_hello.elf" "$tmp/ci/kernel.elf"
cp "$SAMPLES/bare_end.elf" "$tmp/ci/bad.elf"
printf '#!/bin/sh\necho "$*" >>sudo.log\n' >"$tmp/ci/bin/sudo"
chmod +x "$tmp/ci/bin/sudo"
block yaml 1 | sed -n '/run: |/,$p' | sed '1d; s/^          //' >"$tmp/ci/step.sh"
block sh 1 >"$tmp/ci/boot-all.sh"
check "README has a step for CI" grep -q '^./vmm run .*--timeout' "$tmp/ci/step.sh"
check "and a script for a kernel's CI" sh -n "$tmp/ci/boot-all.sh"
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    # As a runner does it: each line has to succeed.
    case_is "the step boots a kernel" 0 '^hello, bare world!$' \
        env -C "$tmp/ci" PATH="$tmp/ci/bin:$PATH" bash -e step.sh
    check "and leaves a report" json '.reason == "expected"' "$tmp/ci/boot.json"
    check "having asked for the right to use KVM only" [ "$(cat "$tmp/ci/sudo.log")" = 'chmod 0666 /dev/kvm' ]
    case_is "the script boots every kernel and says which failed" 1 '^FAILED \(124\): bad.elf$' \
        env -C "$tmp/ci" PATH="$tmp/ci/bin:$PATH" sh -c 'sed "s/60s/500ms/" boot-all.sh >soon.sh; sh soon.sh kernel.elf bad.elf'
    check "and which did not" matches '^ok: kernel.elf$'
    check "with what the failed one said" matches '^so be it$'
    case_is "and ends with 0 when none did" 0 '^ok: kernel.elf$' \
        env -C "$tmp/ci" PATH="$tmp/ci/bin:$PATH" sh boot-all.sh kernel.elf
else
    skip "what README tells CI to do" "no /dev/kvm here (lab)"
fi
done_testing
