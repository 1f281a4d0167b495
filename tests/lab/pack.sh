#!/bin/bash
# What `vmm pack` makes boots: Debian's kernel in the lab's machine (machine.sh), with nothing but the
# initramfs that vmm wrote. Short boots: each way to end a machine, a batch, a list, one image,
# a module that is missing; most of them with descriptors 0-2 closed, as /dev/console is taken away.
#
# Then `vmm batch` over all samples says what running them one by one says, in one boot.
#
#   pack.sh [--dir DIR]     take vmm and samples/ from DIR (made first: build/i686-counter)
#   PACK_TIMEOUT=400        seconds that a boot may take
#   VMM_MUST_RUN=1          what cannot run here is a failure and not a skip
#
# Output is TAP; status 0 when all that ran passed.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."
. tests/lab/machine.sh

limit=${PACK_TIMEOUT:-400}
dir=
tests_n=0
failed_n=0
qemu_pid=

cannot() {
    if [ "${VMM_MUST_RUN:-}" = 1 ]; then
        printf 'not ok 1 - pack: %s\n1..1\n' "$*"
        exit 1
    fi
    printf '1..0 # SKIP pack: %s\n' "$*"
    exit 0
}

clean_up() {
    [ -z "$qemu_pid" ] || kill "$qemu_pid" 2>/dev/null || true
    rm -rf "$tmp"
}

check() { # name, command...: one test; the log of the last boot is shown when it fails
    local name=$1

    shift
    tests_n=$((tests_n + 1))
    if "$@" >"$tmp/said" 2>&1; then
        printf 'ok %d - pack: %s\n' "$tests_n" "$name"
    else
        failed_n=$((failed_n + 1))
        cat "$tmp/said" "$tmp/log" | tail -n 60 | sed 's/^/# /'
        printf 'not ok %d - pack: %s\n' "$tests_n" "$name"
    fi
}

says() { grep -aqE -e "$1" "$tmp/log"; }
says_not() { ! grep -aE -e "$1" "$tmp/log"; }

# Boot $tmp/cpio until the machine ends, or says the text; the log is in $tmp/log.
boot() { # words behind --, text
    local words=$kernel_words start=$SECONDS

    [ -z "$1" ] || words+=" -- $1"
    timeout --kill-after=5 "$limit" qemu-system-x86_64 "${qemu_words[@]}" -serial "file:$tmp/serial" -monitor none \
        -kernel "$kernel" -initrd "$tmp/cpio" -append "$words" </dev/null >"$tmp/qemu.out" 2>&1 &
    qemu_pid=$!
    while kill -0 "$qemu_pid" 2>/dev/null; do
        if [ -n "${2-}" ] && grep -aqF -e "$2" "$tmp/serial" 2>/dev/null; then
            kill "$qemu_pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
    qemu_status=0
    wait "$qemu_pid" || qemu_status=$?
    qemu_pid=
    tr -d '\r\000' <"$tmp/serial" >"$tmp/log"
    cat "$tmp/qemu.out" >>"$tmp/log"
    printf '# %s: %d s\n' "${1:-no words}" $((SECONDS - start))
}

pack() { "$vmm" pack -o "$tmp/cpio" "$@"; }

# A link to nowhere in place of the node that every kernel brings along: init finds 0-2 closed.
close_console() {
    mkdir -p "$tmp/closed/dev"
    ln -sf /nowhere "$tmp/closed/dev/console"
    (cd "$tmp/closed" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) >>"$tmp/cpio"
}

while [ $# -gt 0 ]; do
    case $1 in
    --dir) dir=${2-} && shift ;;
    *)
        sed -n 's/^#   \(pack.sh .*\)/usage: \1/p' "$0" >&2
        exit 64
        ;;
    esac
    shift
done
for program in qemu-system-x86_64 cpio jq; do
    command -v "$program" >/dev/null || cannot "needs $program"
done
paths=$(tests/lab/kernel.sh) || cannot 'no kernel to boot'
kernel=${paths%%$'\n'*}
modules=${paths##*$'\n'}
if [ -z "$dir" ]; then
    dir=build/i686-counter
    env -u MAKEFLAGS -u MAKELEVEL make -s I686_GUEST=1 GUEST_COUNTER=1 SAN= all >&2
fi
vmm=$dir/vmm
samples=$dir/samples
mkdir -p build/lab
tmp=$(mktemp -d "$PWD/build/lab/pack.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

kmods=()
while read -r module; do
    kmods+=(--kmod "$modules/$module")
done <"$modules/order"

# --- a batch, and a power-off, which is what happens when nothing is said --------------------------

cat >"$tmp/three.batch" <<'LINES'
a paged guest prints | x | 0 | 50s | hello, world! (i686) | run hello-i686.elf
an identity guest prints | x | 0 | 50s | hello, world! (i686-identity) | run hello-i686-identity.elf
an amd64 guest prints | x | 0 | 50s | hello, world! (amd64) | run hello-amd64.elf
LINES
pack "${kmods[@]}" "$tmp/three.batch" "$samples"/hello-{i686,i686-identity,amd64}.elf -- batch --quiet three.batch
close_console
boot ''
check "a batch of three guests is run, with descriptors 0-2 closed" \
    diff <(grep -aE '^(ok|not ok|#|1\.\.|EXIT)' "$tmp/log") - <<'LINES'
1..3
ok 1 - a paged guest prints
ok 2 - an identity guest prints
ok 3 - an amd64 guest prints
# 3 passed, 0 failed, 0 skipped
EXIT 0
LINES
check "the machine is powered off" says 'reboot: Power down'
check "and QEMU has ended by itself" [ "$qemu_status" = 0 ]

# --- one image, and a reboot --------------------------------------------------------------------------

pack "${kmods[@]}" --on-exit reboot "$samples/abort-i686.elf" -- --log-level off
boot ''
check "one image is run, and its status is the last line" \
    sh -c "grep -av '] reboot: ' '$tmp/log' | grep -a . | tail -n 1 | grep -ax 'EXIT 134'"
check "nothing but the guest is heard" says_not 'BEGIN|END|^EXIT [^1]'
check "the machine is rebooted" says 'reboot: Restarting system'

# --- several images, and a panic ------------------------------------------------------------------------

pack "${kmods[@]}" "$samples"/hello-{i686,amd64}.elf "$samples/abort-i686-identity.elf"
close_console
boot --on-exit=panic
check "several images are run in order" \
    diff <(grep -aoE '(BEGIN|END|hello|EXIT).*' "$tmp/log") - <<'LINES'
BEGIN 1 run /hello-i686.elf
hello, world! (i686)
EXIT 1 0
BEGIN 2 run /hello-amd64.elf
hello, world! (amd64)
EXIT 2 0
BEGIN 3 run /abort-i686-identity.elf
EXIT 3 134
END 3
EXIT 134
LINES
check "the kernel panics because it was told to" says 'Kernel panic - not syncing: sysrq triggered crash'
check "and not because init was gone" says_not 'Attempted to kill init'

# --- a module that is missing, and a halt ----------------------------------------------------------------

pack "${kmods[@]:0:2}" "$samples/hello-amd64.elf"
close_console
boot '--kmod=/kmod/kvm-none.ko --on-exit=halt' 'System halted'
check "a missing module ends 77 and is named" \
    diff <(grep -aE '^(vmm|EXIT|BEGIN|hello)' "$tmp/log") - <<'LINES'
vmm: /kmod/kvm-none.ko: cannot open module: No such file or directory
EXIT 77
LINES
check "the machine is halted" says 'reboot: System halted'

# --- without the modules; words that mean nothing ---------------------------------------------------------

pack --on-exit reboot "$samples/hello-amd64.elf"
boot 'doctor'
check "without the modules a command says that there is no KVM" \
    sh -c "grep -aq 'cause: /dev/kvm: cannot open' '$tmp/log' && grep -aqx 'EXIT 77' '$tmp/log'"
boot '--frobnicate'
check "a word that is not known ends 64, and runs nothing" \
    sh -c "grep -aq 'unknown word \"--frobnicate\"' '$tmp/log' && grep -aqx 'EXIT 64' '$tmp/log'"
check "the machine still ends as it was packed to" says 'reboot: Restarting system'

# --- all samples, one by one and in a batch ---------------------------------------------------------------

images=("$samples"/*.elf)
for image in "${images[@]}"; do
    name=${image##*/}
    printf '%s | | 0 | 50s | | run --quiet --timeout 3s %s\n' "$name" "$name"
done >"$tmp/all.batch"
pack "${kmods[@]}" "$tmp/all.batch" "${images[@]}" -- batch --quiet --report fd:1 all.batch
mkdir -p "$tmp/more"
{
    sed 's/.*| *//' "$tmp/all.batch"
    echo 'batch --quiet --jobs 2 --report fd:1 all.batch'
} >"$tmp/more/vmm.list"
(cd "$tmp/more" && echo vmm.list | cpio --quiet -o -H newc -R 0:0) >>"$tmp/cpio"
boot '--limit=5m --list=/vmm.list'
one_by_one=$(grep -aoE 'EXIT [0-9]+ [0-9]+$' "$tmp/log" | head -n "${#images[@]}" | cut -d' ' -f3)
in_batch=$(grep -a '^{"version"' "$tmp/log" | jq -r '.tests[].status')
check "a batch of all samples ends each as running it by itself does" \
    diff <(printf '%s\n' "$one_by_one") <(printf '%s\n' "$in_batch")
check "and there are as many as there are samples, none of them skipped" \
    [ "$(printf '%s\n' "$in_batch" | grep -cvx 77)" = "${#images[@]}" ]

printf '1..%d\n' "$tests_n"
[ "$failed_n" = 0 ]
