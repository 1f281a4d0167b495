#!/bin/bash
# The lab: a small machine in which i686 guests with paging can be tested on any host.
#
#   lab.sh [--shell] [--kernels|--kernels-pae] [--one COMMAND] [--keep-log FILE] [--dir DIR] [--catalogue FILE]
#
#   --shell          boot into an interactive shell instead of running the tests
#   --kernels        bring kernels from Debian packages along; the tests to run are tests/lab/kernels
#   --kernels-pae    the same without nested paging, for those that use PAE: tests/lab/kernels-pae
#   --one COMMAND    run this one command of the list instead ("run /guests/hello-i686.elf"), print
#                    what it prints and end with its status
#   --keep-log FILE  where the serial log goes afterwards (build/lab/serial.log, -kernels.log)
#   --dir DIR        take vmm, samples/ and tests/ from DIR as they are (made first: build/i686-counter)
#   --catalogue FILE the tests to run (tests/cli/catalogue)
#
#   LAB_TIMEOUT=1200 seconds that the whole boot may take
#   LAB_LIMIT=2m     how long each command may
#   LAB_MEMORY=1024  what the machine has, in MB
#   LAB_RCU=expedited  or default: how long its kernel waits when machines are made and destroyed
#   TEST_SCALE=1     how much more than usual the test programs do; beyond 1 nothing else limits their time
#   VMM_MUST_RUN=1   what cannot run here is a failure and not a skip
#
# Why. A host whose KVM works without VT-x or SVM (kvm-pvm) does not run i686 guests with paging on,
# and many CI hosts have no KVM at all. QEMU's own processor, without any KVM below it (TCG), has SVM
# for guests of its guest: in it boots Debian's amd64 kernel (kernel.sh), loads kvm-amd, and /dev/kvm
# in there has all the modes that hardware has. It is slow and its times mean nothing.
#
# It is also the honest test of vmm as the only program of a machine. The initramfs holds
#
#   /init            vmm, PID 1 (hv/pid1.h) and again the program of each command
#   /list            the commands, one a line
#   /m/*.ko          kvm-amd and what it needs, loaded by /init
#   /guests/*        the samples
#   /tests/kvm/*     static test programs that use /dev/kvm; all of them are run
#   /tests/unit/*    those that do not, for --shell
#   /tests/bench/*   the benchmark's, for --one
#   /tests/lab/*     programs that tests need in the lab
#   /bare/*          with --kernels: what bare.sh fetches, and what boots it
#   /tmp             empty; what a command leaves there is seen by those after it
#   /dev/console     a link to nowhere, in place of the node that every kernel brings along: /init is
#                    started with descriptors 0-2 closed and has to mount devtmpfs to be heard
#
# and nothing else: no shell, no library, no /proc, no /sys, no /etc. No part of building it needs root.
#
# All commands run in one boot, because the boot takes longer than most of them. The serial log is
# then cut at its BEGIN and EXIT lines and judged here, on the host. Output is TAP; status 0 when all
# that ran passed. Without qemu, cpio or a kernel the lab is skipped.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."
. tests/lab/machine.sh

lab=build/lab
install_line='apt-get install qemu-system-x86 cpio'
busybox_line='the shell needs a static busybox: apt-get install busybox-static'
limit=${LAB_TIMEOUT:-$((1200 * ${TEST_SCALE:-1}))}
must_run=${VMM_MUST_RUN:-}
shell=
kernels=
bare=
one=
log_kept=$lab/serial.log
dir=
catalogue=tests/cli/catalogue
qemu_pid=

tests_n=0
failed_n=0

die() {
    printf 'lab: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n 's/^#   \(lab.sh .*\)/usage: \1/p' "$0" >&2
    exit 64
}

# The lab cannot run on this machine.
cannot() {
    if [ "$must_run" = 1 ]; then
        printf 'not ok 1 - lab: %s\n1..1\n' "$*"
        exit 1
    fi
    printf '1..0 # SKIP lab: %s\n' "$*"
    exit 0
}

clean_up() {
    [ -z "$qemu_pid" ] || kill "$qemu_pid" 2>/dev/null || true
    rm -rf "$tmp"
}

# --- TAP ------------------------------------------------------------------------------------------

pass() { # name
    tests_n=$((tests_n + 1))
    printf 'ok %d - lab: %s\n' "$tests_n" "$1"
}

fail() { # name, reason; the output to show on stdin
    tests_n=$((tests_n + 1))
    failed_n=$((failed_n + 1))
    printf '# %s\n' "$2"
    tail -n 60 | sed 's/^/# /'
    printf 'not ok %d - lab: %s\n' "$tests_n" "$1"
}

# --- what to run ----------------------------------------------------------------------------------

# One entry a command, in the order of the list. `want` is a status, or TAP for a program whose
# output is TAP itself.
names=() wants=() regexes=()

add() { # name, wanted status or TAP, regex, line of the list
    names+=("$1") wants+=("$2") regexes+=("$3")
    printf '%s\n' "$4" >>"$tmp/root/list"
}

trim() {
    local s=$1

    s=${s#"${s%%[![:blank:]]*}"}
    printf '%s' "${s%"${s##*[![:blank:]]}"}"
}

# Fields of a line of the catalogue: name | where | status | regex | arguments. The regex may hold a
# | of its own, the other fields may not.
add_catalogue() {
    local line number=0 name where want regex args

    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=$(trim "$line")
        case $line in '' | '#'*) continue ;; esac
        [[ $line =~ ^([^|]*)\|([^|]*)\|([^|]*)\|(.*)\|([^|]*)$ ]] ||
            die "$1:$number: not five fields: $line"
        name=$(trim "${BASH_REMATCH[1]}")
        where=$(trim "${BASH_REMATCH[2]}")
        want=$(trim "${BASH_REMATCH[3]}")
        regex=$(trim "${BASH_REMATCH[4]}")
        args=$(trim "${BASH_REMATCH[5]}")
        [ -n "$name" ] || die "$1:$number: no name"
        [[ $want =~ ^[0-9]+$ ]] || die "$1:$number: not a status: $want"
        case $where in
        native) continue ;;
        lab | both) ;;
        *) die "$1:$number: not native, lab or both: $where" ;;
        esac
        # No shell reads a command of the list, and a word with # would end it.
        [[ ! $args =~ [\'\"\\\$\`] && ! " $args" =~ [[:blank:]]'#' ]] ||
            die "$1:$number: quotes, \\, \$ and words with # in front mean nothing in the lab: $args"
        [ "$regex" != '""' ] || regex=
        args=$(printf '%s' "$args" | sed -E 's#(^|[[:blank:]=])%#\1/guests/#g')
        add "$name" "$want" "$regex" "${args:-/init}"
    done <"$1"
}

add_kvm_programs() {
    local program

    for program in "$tmp"/root/tests/kvm/test_*; do
        [ -e "$program" ] || continue
        add "${program##*/}" TAP '' "/tests/kvm/${program##*/}"
    done
}

# --- the machine ----------------------------------------------------------------------------------

make_root() {
    local kind program

    mkdir -p "$tmp"/root/{dev,m,tmp,guests,tests/{kvm,unit,bench,lab}}
    cp "$modules"/*.ko "$tmp/root/m/"
    find "$dir/samples" -maxdepth 1 -type f -name '*.elf' -exec cp -t "$tmp/root/guests" {} + 2>/dev/null || true
    cp tests/lab/echo.typed "$tmp/root/guests/"
    for kind in kvm unit bench lab; do
        for program in "$dir/tests/$kind"/*; do
            if [ -f "$program" ] && [ -x "$program" ]; then
                strip -o "$tmp/root/tests/$kind/${program##*/}" "$program"
            fi
        done
    done
}

make_archive() { # folder
    (cd "$1" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0)
}

make_initrd() {
    make_archive "$tmp/root" | gzip -1 >"$tmp/initrd"
}

# The kernels, and the initramfs of the Linux ones: a shell, and a program that powers off.
make_bare() {
    local root=$tmp/linux

    mkdir -p "$tmp/root/bare" "$root/bin"
    find "$bare" -maxdepth 1 -type f ! -name busybox ! -name versions -exec cp -t "$tmp/root/bare" {} +
    cp tests/lab/*.typed "$tmp/root/bare/"
    cp "$bare/busybox" "$dir/tests/lab/off" "$root/bin/"
    cat >"$root/init" <<'END'
#!/bin/busybox sh
export PATH=/bin PS1='ready> '
exec busybox sh -i
END
    chmod +x "$root/init"
    make_archive "$root" >"$tmp/root/bare/initramfs"
}

boot_list() {
    local words=$kernel_words' --' module

    while read -r module; do
        words+=" --kmod=/m/$module"
    done <"$modules/order"
    # What stands before the -- and means nothing to the kernel is the environment of /init.
    if [ "${TEST_SCALE:-1}" != 1 ]; then
        words="TEST_SCALE=$TEST_SCALE $words --limit=600m --list=/list"
    else
        words+=" --limit=${LAB_LIMIT:-2m} --list=/list"
    fi

    # In the background, so that a signal to this script is handled at once and not after the boot.
    timeout --kill-after=5 "$limit" qemu-system-x86_64 "${qemu_words[@]}" -serial stdio -monitor none -kernel "$kernel" \
        -initrd "$tmp/initrd" -append "$words" </dev/null >"$tmp/serial" 2>"$tmp/qemu.err" &
    qemu_pid=$!
    qemu_status=0
    wait "$qemu_pid" || qemu_status=$?
    qemu_pid=
    tr -d '\r\000' <"$tmp/serial" >"$tmp/log"
    mkdir -p "$(dirname "$log_kept")"
    cp "$tmp/log" "$tmp/kept"
    mv "$tmp/kept" "$log_kept"
}

boot_shell() {
    local busybox

    busybox=$(command -v busybox) || die "$busybox_line"
    if readelf -l "$busybox" | grep -q INTERP; then
        die "$busybox_line"
    fi
    mkdir -p "$tmp/root/bin" "$tmp/root/proc" "$tmp/root/sys"
    cp "$busybox" "$tmp/root/bin/busybox"
    cp "$dir/vmm" "$tmp/root/bin/vmm"
    cat >"$tmp/root/init" <<'END'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin
while read -r module; do insmod "/m/$module"; done </m/order
echo "vmm, /guests, /tests; exit or ^D powers off, ^A X kills the machine"
setsid cttyhack sh
poweroff -f
END
    chmod +x "$tmp/root/init"
    cp "$modules/order" "$tmp/root/m/order"
    make_initrd
    qemu-system-x86_64 "${qemu_words[@]}" -serial mon:stdio -kernel "$kernel" -initrd "$tmp/initrd" \
        -append "$kernel_words"
}

# --- the judgement --------------------------------------------------------------------------------

# Cut the log into out.N and status.N, and `end` with the number in the END line. A command may leave
# its last line open, so EXIT stands at the end of a line, not always at its start.
cut_log() {
    awk -v dir="$tmp" '
        running == 0 && $1 == "BEGIN" && $2 == begun + 1 {
            running = ++begun
            out = dir "/out." running
            printf "" >out
            next
        }
        running != 0 && match($0, "EXIT " running " [0-9]+$") {
            if (RSTART > 1)
                print substr($0, 1, RSTART - 1) >out
            close(out)
            print $NF >(dir "/status." running)
            close(dir "/status." running)
            running = 0
            next
        }
        running != 0 { print >out }
        running == 0 && $1 == "END" && NF == 2 { print $2 >(dir "/end") }
    ' "$tmp/log"
}

judge_command() { # number, name, wanted status, regex
    local status

    status=$(cat "$tmp/status.$1")
    if [ "$status" != "$3" ]; then
        fail "$2" "status $status, wanted $3" <"$tmp/out.$1"
    elif [ -n "$4" ] && ! grep -aqE -e "$4" "$tmp/out.$1"; then
        fail "$2" "the output has no line with $4" <"$tmp/out.$1"
    else
        pass "$2"
    fi
}

# A program that prints TAP: its cases become cases of ours, with what it said before a failed one.
judge_program() { # number, name
    local status cases bad skipped plan

    status=$(cat "$tmp/status.$1")
    awk -v n="$tests_n" -v name="$2" '
        /^(not )?ok [0-9]+/ {
            bad = $1 == "not"
            text = $0
            sub(/^(not )?ok [0-9]+( - )?/, "", text)
            if (bad)
                printf "%s", said
            said = ""
            printf "%sok %d - lab: %s: %s\n", bad ? "not " : "", ++n, name, text
            next
        }
        /^1\.\.[0-9]+/ { next }
        { sub(/^# ?/, ""); said = said "# " $0 "\n" }
    ' "$tmp/out.$1" >"$tmp/tap"
    cat "$tmp/tap"
    cases=$(grep -cE '^(not )?ok ' "$tmp/tap" || true)
    bad=$(grep -c '^not ok ' "$tmp/tap" || true)
    skipped=$(grep -c '^ok .*# SKIP' "$tmp/tap" || true)
    tests_n=$((tests_n + cases))
    failed_n=$((failed_n + bad))

    plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tmp/out.$1" | tail -n 1)
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
        fail "$2" "no case failed, but the status is $status" <"$tmp/out.$1"
    elif [ "$plan" != "$cases" ]; then
        fail "$2" "$cases cases, but the plan says ${plan:-nothing}" <"$tmp/out.$1"
    elif [ "$cases" = 0 ] || { [ "$must_run" = 1 ] && [ "$cases" = "$skipped" ]; }; then
        fail "$2" "no case was run" <"$tmp/out.$1"
    fi
}

# Why the boot as a whole did not go well; nothing when it did.
boot_trouble() {
    if [ "$qemu_status" = 124 ] || [ "$qemu_status" = 137 ]; then
        printf 'still running after %s s' "$limit"
    elif grep -aq 'Kernel panic' "$tmp/log"; then
        grep -ao 'Kernel panic.*' "$tmp/log" | head -n 1
    elif [ "$qemu_status" != 0 ]; then
        printf 'qemu ended with status %s' "$qemu_status"
    elif [ ! -e "$tmp/end" ]; then
        printf 'powered off without an END line'
    elif [ "$(cat "$tmp/end")" != "${#names[@]}" ]; then
        printf 'END %s, wanted %s' "$(cat "$tmp/end")" "${#names[@]}"
    fi
}

judge() {
    local i n trouble whole="one boot runs all ${#names[@]} commands and powers off"

    cut_log
    for i in "${!names[@]}"; do
        n=$((i + 1))
        if [ ! -e "$tmp/out.$n" ]; then
            fail "${names[i]}" 'did not run' </dev/null
        elif [ ! -e "$tmp/status.$n" ]; then
            fail "${names[i]}" 'did not end' <"$tmp/out.$n"
        elif [ "${wants[i]}" = TAP ]; then
            judge_program "$n" "${names[i]}"
        else
            judge_command "$n" "${names[i]}" "${wants[i]}" "${regexes[i]}"
        fi
    done
    trouble=$(boot_trouble)
    if [ -n "$trouble" ]; then
        fail "$whole" "$trouble" < <(cat "$tmp/qemu.err" && tail -n 40 "$tmp/log")
    else
        pass "$whole"
    fi
    printf '1..%d\n' "$tests_n"
}

# One command by itself; does not return.
run_one() {
    local trouble

    add one 0 '' "$one"
    make_initrd
    boot_list
    cut_log
    [ ! -e "$tmp/out.1" ] || cat "$tmp/out.1"
    trouble=$(boot_trouble)
    if [ -n "$trouble" ]; then
        cat "$tmp/qemu.err" >&2
        die "$trouble (log in $log_kept)"
    fi
    exit "$(cat "$tmp/status.1")"
}

# --- main -----------------------------------------------------------------------------------------

while [ $# -gt 0 ]; do
    case $1 in
    --shell) shell=1 ;;
    --kernels) kernels=1 catalogue=tests/lab/kernels log_kept=$lab/serial-kernels.log ;;
    --kernels-pae)
        kernels=1 catalogue=tests/lab/kernels-pae log_kept=$lab/serial-kernels-pae.log
        # QEMU's processor loses its way in a guest's three-level tables (PAE) under nested paging;
        # without that it is KVM that walks them.
        qemu_words+=(-cpu "$qemu_cpu,-npt")
        ;;
    --one | --keep-log | --dir | --catalogue)
        [ $# -ge 2 ] || usage
        case $1 in
        --one) one=$2 ;;
        --keep-log) log_kept=$2 ;;
        --dir) dir=$2 ;;
        --catalogue) catalogue=$2 ;;
        esac
        shift
        ;;
    *) usage ;;
    esac
    shift
done

for program in qemu-system-x86_64 cpio; do
    command -v "$program" >/dev/null || cannot "needs $program: $install_line"
done
paths=$(tests/lab/kernel.sh) || cannot 'no kernel to boot'
kernel=${paths%%$'\n'*}
modules=${paths##*$'\n'}
if [ -n "$kernels" ]; then
    bare=$(tests/lab/bare.sh 2>&1) || cannot "${bare##*lab: }"
    bare=${bare##*$'\n'}
fi

if [ -z "$dir" ]; then
    dir=build/i686-counter
    env -u MAKEFLAGS -u MAKELEVEL make -s I686_GUEST=1 GUEST_COUNTER=1 SAN= all tests >&2
fi
[ -x "$dir/vmm" ] || die "$dir/vmm: not there"

mkdir -p "$lab"
tmp=$(mktemp -d "$PWD/$lab/boot.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

make_root
if [ -n "$kernels" ]; then
    make_bare
fi
if [ -n "$shell" ]; then
    boot_shell
    exit 0
fi

cp "$dir/vmm" "$tmp/root/init"
ln -s /nowhere "$tmp/root/dev/console"
: >"$tmp/root/list"
if [ -n "$one" ]; then
    run_one
fi
[ -e "$catalogue" ] || die "$catalogue: not there"
add_catalogue "$catalogue"
[ -n "$kernels" ] || add_kvm_programs
[ "${#names[@]}" != 0 ] || die 'nothing to run'
make_initrd
SECONDS=0
boot_list
printf '# lab: %d commands in one boot, %d s; log in %s\n' "${#names[@]}" "$SECONDS" "$log_kept"
judge
[ "$failed_n" = 0 ]
