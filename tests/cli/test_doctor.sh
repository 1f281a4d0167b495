#!/bin/bash
# vmm doctor and the ways a host can lack KVM. Hosts are made up with strace's injection, so this
# needs no root and no special machine.
set -u
. "$(dirname "$0")/lib.sh"

amd64=$SAMPLES/hello-amd64.elf

# /dev/kvm as another host would answer. The binary is static: its calls are open and ioctl alone.
with_open() { # error, command...
    local e=$1

    shift
    run strace -o "$tmp/trace" -P /dev/kvm -e trace=open -e inject=open:error="$e" "$@"
}

with_ioctl() { # injection, command...
    local i=$1

    shift
    run strace -o "$tmp/trace" -e trace=ioctl -e inject=ioctl:"$i" "$@"
}

one_refusal() { # status, regex
    [ "$status" = "$1" ] && [ -z "$out" ] && [ "$(printf '%s\n' "$err" | grep -vc '^hint: ')" = 1 ] && matches "$2"
}

one_hint() {
    [ "$(printf '%s\n%s\n' "$out" "$err" | grep -c 'hint: ')" = 1 ]
}

with_open ENOENT "$VMM" run "$amd64"
check "without /dev/kvm run ends 77 with one line" one_refusal 77 '^vmm: /dev/kvm: cannot open: No such file'
check "and one hint" one_hint
with_open EACCES "$VMM" run "$amd64"
check "without permission run ends 77 with one line" one_refusal 77 '^vmm: /dev/kvm: cannot open: Permission denied'
check "and a hint about the group" matches '^hint: .*group'
with_open ENXIO "$VMM" run "$amd64"
check "a node without a driver ends 77" one_refusal 77 '^vmm: /dev/kvm: cannot open: No such device or address'
check "and a hint about the module and nested virtualisation" matches '^hint: .*kvm_intel.*nested'

with_open ENOENT "$VMM" doctor
check "doctor ends 77 without /dev/kvm" [ "$status" = 77 ]
check "and says the cause for every kind" [ "$(printf '%s\n' "$out" | grep -c 'cause: /dev/kvm: cannot open')" = 3 ]
with_open ENOENT "$VMM" doctor --json
check "doctor --json is JSON with a cause and a hint" \
    json '.kinds | length == 3 and all(.ok == false and (.cause | length > 0) and (.hint | length > 0))' "$tmp/out"

with_ioctl retval=11:when=1 "$VMM" run "$amd64"
check "another API version ends 77 and names both" one_refusal 77 'wrong API version \(11, 12 wanted\)'
with_ioctl retval=0:when=2..6 "$VMM" run "$amd64"
check "a missing capability ends 77 and is named" one_refusal 77 'missing capability KVM_CAP_USER_MEMORY'
with_ioctl error=ENOTTY:when=1 "$VMM" run "$amd64"
check "a file that is not KVM ends 77" one_refusal 77 'not KVM'
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    with_ioctl error=EBUSY:when=7 "$VMM" run "$amd64"
    check "a KVM that is taken ends 125 and says so" one_refusal 125 'KVM_CREATE_VM failed: '
    run "$VMM" doctor
    if [ "$status" = 0 ]; then
        check "doctor ends 0 where every kind can run" [ "$(printf '%s\n' "$out" | grep -c ' ok$')" = 3 ]
    else
        check "doctor ends 77 where a kind cannot run" [ "$status" = 77 ]
        check "and gives that kind a cause" matches '^  cause: '
    fi
    if [ -d /sys/module/kvm_pvm ]; then
        refused "a KVM without 32-bit paging ends 77 and says so" 77 'does not do 32-bit paging' \
            "$VMM" run "$SAMPLES/hello-i686.elf"
        case_is "doctor says the same" 77 '^  cause: kvm: .*does not do 32-bit paging' "$VMM" doctor
    fi
else
    skip "doctor agrees with this host" "no /dev/kvm here (lab)"
fi
done_testing
