#!/bin/bash
# --core: a core that gdb reads, of a guest that faulted and of one that aborted; where it goes.
set -u
. "$(dirname "$0")/lib.sh"

frames=$SAMPLES/frames-i686-identity.elf

refused "a core in a folder that is not there is refused before the guest runs" 125 'core: .*/none/core: cannot open its directory' \
    "$VMM" run --core "$tmp/none/core" "$frames"
refused "a core in place of a folder is refused before the guest runs" 125 'not a regular file' \
    "$VMM" run --core "$tmp" "$frames"
refused "a core in place of a device is refused before the guest runs" 125 'not a regular file' \
    "$VMM" run --core /dev/null "$frames"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
    skip "cores of guests that ran" "no /dev/kvm here (lab)"
    done_testing
    exit
fi

gdb_says() { # name, image, regex over what gdb says on one line, gdb's command
    run gdb -nx -batch -ex "$4" "$2" "$tmp/core"
    if tr '\n' ' ' <"$tmp/out" | grep -aqE -e "$3"; then ok "$1"; else not_ok "$1" "$(seen)"; fi
}

for kind in amd64 i686-identity; do
    frames=$SAMPLES/frames-$kind.elf
    rm -f "$tmp/core"
    case_is "a fault ends 139 with a core, $kind" 139 '^vmm: guest: faulted: read of 4 bytes' \
        "$VMM" run --core "$tmp/core" "$frames"
    gdb_says "gdb finds the frames by their names, $kind" "$frames" \
        '#0 .*frames_inner .*#1 .*frames_middle .*#2 .*frames_outer .*#3 .*guest_main ' bt
    gdb_says "gdb finds the line, $kind" "$frames" 'frames\.c:[0-9]+' frame
    gdb_says "gdb shows the global as it was at the end, $kind" "$frames" 'after = 0x600dc0de' 'print/x frames_mark'
    gdb_says "gdb shows the registers, $kind" "$frames" 'ip +0x[0-9a-f]+ +0x[0-9a-f]+ <frames_inner\+' 'info registers'
    case_is "an abort ends 134 and replaces the core, $kind" 134 'aborted: code 15' \
        "$VMM" run --core "$tmp/core" "$SAMPLES/abort-$kind.elf"
    gdb_says "gdb shows who aborted, $kind" "$SAMPLES/abort-$kind.elf" 'guest_abort .*guest_main ' bt
    check "the core is its owner's only, $kind" [ "$(stat -c %a "$tmp/core")" = 600 ]
done

rm -f "$tmp/core"
run "$VMM" run --core "$tmp/core" "$SAMPLES/hello-amd64.elf"
check "a guest that ended by itself leaves no core" [ "$status-$(ls -A "$tmp/core" 2>/dev/null)" = 0- ]
check "nothing is left behind beside a core" [ -z "$(find "$tmp" -name '.vmm-*')" ]

# A limit of the file's size stands in for a full disk.
frames=$SAMPLES/frames-amd64.elf
mkdir "$tmp/full"
run sh -c "ulimit -f 16; exec '$VMM' run --core '$tmp/full/core' '$frames'"
check "a core that does not fit ends 125" [ "$status" = 125 ]
check "and is not left behind in part" [ -z "$(ls -A "$tmp/full")" ]
check "and it says so in words" grep -q 'core: .*: cannot write: File too large' "$tmp/err"
done_testing
