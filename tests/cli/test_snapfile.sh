#!/bin/bash
# Snapshot files: what is in one, what restore makes of files that are none, of damaged ones and of ones
# that shrink under it, and what a save leaves behind that fails or is killed.
set -u
. "$(dirname "$0")/lib.sh"

py=tests/cli/snapfile.py
snap=$tmp/dir/guest.snap
identity=$tmp/identity.snap
bad=$tmp/bad.snap
mkdir "$tmp/dir"

run "$VMM" snapshot -o "$snap" "$SAMPLES/calls-amd64.elf"
if [ "$status" = 77 ]; then
    skip "snapshot files of guests that ran" "this host cannot run amd64 guests"
    done_testing
    exit
fi

# --- a good one ----------------------------------------------------------------------------------------
check "a snapshot is saved" [ "$status" = 0 ]
check "a snapshot file may be read by all and written by nobody" [ "$(stat -c %a "$snap")" = 444 ]
case_is "a program written from the description of the format finds every checksum right" 0 '^all right$' \
    $py check "$snap"
case_is "a guest goes on from a file" 0 '^42$' \
    "$VMM" restore --verify --call add --arg int:40 --arg int:2 "$snap"
run "$VMM" snapshot -o "$tmp/big.snap" --heap 64M "$SAMPLES/hello-amd64.elf"
run stat -c %s "$tmp/big.snap"
check "a file with 64M of empty heap has its length" [ "$out" -gt $((64 << 20)) ]
run du -k "$tmp/big.snap"
check "and takes less than 1M of the disk" [ "${out%%	*}" -lt 1024 ]
check "no path of the host is in a file" [ "$(grep -acF -e "$tmp" -e "$SAMPLES" -e calls-amd64 "$snap")" = 0 ]

# --- files that are none ---------------------------------------------------------------------------------
refused "a missing file ends 127" 127 'cannot open: No such file' "$VMM" restore "$tmp/none.snap"
ln -s "$snap" "$tmp/link"
refused "a symbolic link ends 126" 126 'not a regular file \(a symbolic link\)' "$VMM" restore "$tmp/link"
mkfifo "$tmp/fifo"
refused "a FIFO ends 126 and is not waited for" 126 'not a regular file' "$VMM" restore "$tmp/fifo"
refused "a directory ends 126" 126 'not a regular file' "$VMM" restore "$tmp"
refused "a device ends 126" 126 'not a regular file' "$VMM" restore /dev/zero
: >"$tmp/empty"
refused "an empty file ends 126" 126 'not a snapshot file' "$VMM" restore "$tmp/empty"
refused "an image ends 126" 126 'not a snapshot file' "$VMM" restore "$SAMPLES/calls-amd64.elf"

# --- damaged ones ------------------------------------------------------------------------------------------
# all_refused NAME COMMAND...: runs with 0, 1, 2 ... as an argument, which makes $bad or fails when there are no more
all_refused() {
    local name=$1 i wrong=''

    shift
    for ((i = 0; ; i++)); do
        rm -f "$bad"
        "$@" $i || break
        run "$VMM" restore --timeout 20s "$bad"
        if [ "$status" != 126 ] || [ -n "$out" ] || [ "$(printf '%s\n' "$err" | grep -vc '^hint: ')" != 1 ]; then
            wrong="$wrong
number $i: $(seen)"
        fi
    done
    if [ $i -gt 10 ] && [ -z "$wrong" ]; then ok "$name"; else not_ok "$name" "$i tried$wrong"; fi
}

mapfile -t bounds < <($py bounds "$snap")
size=$(stat -c %s "$snap")
cut_at_bound() {
    [ "$1" -lt ${#bounds[@]} ] || return 1
    head -c $((bounds[$1] - ($1 & 1))) "$damaged" >"$bad"
}
cut_anywhere() {
    [ "$1" -lt 32 ] && head -c $(((RANDOM << 15 | RANDOM) % size)) "$damaged" >"$bad"
}
flip() { # file, offset
    local byte

    byte=$(od -An -tu1 -j"$2" -N1 "$1")
    # shellcheck disable=SC2059 # the format is the value
    printf "\\$(printf %03o $((byte ^ 1 << RANDOM % 8)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
flip_outside_pages() {
    local off=$(($1 * step))

    [ $off -lt "${bounds[7]}" ] || return 1
    cp --no-preserve=mode "$damaged" "$bad" && flip "$bad" $off
}
damaged=$snap step=173
all_refused "a file that ends within a section is refused with one line" cut_at_bound
all_refused "a file that ends anywhere is refused with one line" cut_anywhere
all_refused "a flipped bit in header, table or a small section is refused with one line" flip_outside_pages

cp --no-preserve=mode "$snap" "$bad" && flip "$bad" $(($($py start "$bad" MEMORY) + 5000))
refused "--verify finds a flipped bit in the pages" 126 'pages do not match their checksum \(at 0x' \
    "$VMM" restore --verify "$bad"
refused "inspect --verify finds it too" 126 'pages do not match their checksum \(at 0x' \
    "$VMM" inspect --verify "$bad"

# The same of a bare kernel.
bare=$tmp/bare.snap
run "$VMM" snapshot -o "$bare" --memory 1100K --at text:hello "$SAMPLES/bare_hello.elf"
check "a bare kernel is saved" [ "$status" = 0 ]
damaged=$bare step=331
mapfile -t bounds < <($py bounds "$bare")
size=$(stat -c %s "$bare")
all_refused "a bare kernel's file that ends within a section is refused with one line" cut_at_bound
all_refused "a bare kernel's file that ends anywhere is refused with one line" cut_anywhere
all_refused "a flipped bit in a bare kernel's head is refused with one line" flip_outside_pages
cp --no-preserve=mode "$bare" "$bad" && flip "$bad" $(($($py start "$bad" MEMORY) + 5000))
refused "--verify finds a flipped bit in a bare kernel's RAM" 126 'pages do not match their checksum \(at 0x' \
    "$VMM" restore --verify "$bad"
bare_poked() { # name, regex, where, value, length
    $py poke "$bare" "$bad" "$3" "$4" "$5"
    refused "$1" 126 "$2" "$VMM" restore --timeout 5s "$bad"
}
bare_poked "a state without a part is refused" 'section STATE: there is no XCR0' STATE+0 2 4
bare_poked "a part of another length is refused" 'section STATE: XCR0 of a wrong length \(8\)' STATE+4 8 4
bare_poked "a device in no state of its own is refused" 'section DEVICES: serial line: byte 0 is too large' DEVICES+0 0xff 1
bare_poked "registers that KVM refuses are the file's fault" 'snapshot: kvm: KVM_SET_SREGS' MACHINE+912 0x20000001 8
bare_poked "x2APIC is refused of a bare kernel too" 'x2APIC' MACHINE+960 0xfee00d00 8
$py poke "$bare" "$bad" STATE+0 2 4
refused "inspect refuses what restore does" 126 'section STATE: there is no XCR0' "$VMM" inspect "$bad"

# --- well made, and not for this reader: every checksum is right ----------------------------------------
poked() { # name, regex, where, value, length
    $py poke "$snap" "$bad" "$3" "$4" "$5"
    refused "$1" 126 "$2" "$VMM" restore "$bad"
}
poked "a later format is refused by its number" 'format 1 is for readers of format 2 \(this vmm reads 1\)' 12 2 4
poked "an unknown required section is refused by its number" 'does not know it \(type 65, version 1\)' 4096 65 4
poked "another vendor's CPU is refused, with both names" 'another vendor.s CPU \("Xen.*", this is "' COMPAT+0 0x6e6558 3
poked "an MSR that is no guest's is refused by its index" 'MSR 0x1b is not part of a guest' CPU+848 0x1b 8
poked "a CR3 that is not in the tables is refused" 'cr3 is not in the page tables \(0x1000,' CPU+752 0x1000 8
poked "x2APIC is refused" 'x2APIC' CPU+784 0xfee00d00 8
poked "a huge section is refused" 'section MEMORY: not inside the file' MEMORY@16 0x7ffffffffffff000 8
poked "overlapping sections are refused" 'section CPU: overlaps what is before it' 4136 4352 8
poked "sizes that do not belong together are refused" 'section PLAN: scratch' PLAN+40 0x49000 8
$py poke "$snap" "$bad" PLAN+0 0x36383669 5
refused "a kind of guest that is not in this binary is refused, by name" 126 'this vmm has no i686 guests \(kind "i686"\)' \
    build/amd64/vmm restore "$bad"

run "$VMM" snapshot -o "$identity" "$SAMPLES/calls-i686-identity.elf"
if [ "$status" = 0 ]; then
    refused "a binary without i686 guests refuses their files" 126 'no i686 guests' build/amd64/vmm restore "$identity"
    check "its hint names I686_GUEST=1" matches '^hint: .*I686_GUEST=1'
else
    skip "a binary without i686 guests refuses their files" "this host cannot run i686-identity guests (lab)"
fi

# --- shrinking while it is used: the guest itself has the host cut its file ---------------------------------
cp --no-preserve=mode "$snap" "$tmp/shrink.snap"
refused "a file that shrinks under a paged guest ends 125" 125 'KVM_RUN.*Bad address|shrank while it was in use' \
    "$VMM" restore --host-fn "cut=truncate -s 65536 $tmp/shrink.snap" --call ask_string --arg string:cut \
    --arg string:x "$tmp/shrink.snap"
if [ -e "$identity" ]; then
    cp --no-preserve=mode "$identity" "$tmp/shrink.snap"
    run "$VMM" restore --repeat 2 --host-fn "cut=truncate -s 65536 $tmp/shrink.snap" --call ask_string \
        --arg string:cut --arg string:x "$tmp/shrink.snap"
    check "a file that shrinks between two rounds ends 125" [ "$status" = 125 ]
    check "and says so in one line" [ "$err" = "vmm: $tmp/shrink.snap: shrank while it was in use" ]
fi

# A large one's pages stay in the file until the guest writes to them.
run "$VMM" snapshot -o "$tmp/large.snap" --heap 2M "$SAMPLES/calls-i686-identity.elf"
if [ "$status" = 0 ]; then
    run "$VMM" restore --repeat 3 --call count "$tmp/large.snap"
    check "a large identity guest starts from the same state each time" [ "$status:$out" = $'0:1\n1\n1' ]
    for repeat in 1 2; do
        cp --no-preserve=mode "$tmp/large.snap" "$tmp/shrink.snap"
        refused "a large file that shrinks under an identity guest ends 125 ($repeat)" 125 \
            'KVM_RUN.*Bad address|shrank while it was in use' "$VMM" restore --repeat $repeat \
            --host-fn "cut=truncate -s 65536 $tmp/shrink.snap" --call ask_string --arg string:cut \
            --arg string:x "$tmp/shrink.snap"
    done
else
    skip "a large file that shrinks under an identity guest ends 125" "this host cannot run i686-identity guests"
fi

# --- saves that fail ---------------------------------------------------------------------------------------
# Each write and each of the calls around them, as the kernel would fail them.
cp "$snap" "$tmp/old.snap"
new=(snapshot -o "$snap" --heap 64K "$SAMPLES/hello-amd64.elf")
only_old() {
    cmp -s "$snap" "$tmp/old.snap" && [ "$(ls -A "$tmp/dir")" = guest.snap ]
}
fails() { # calls, error, which of them
    run strace -f -o "$tmp/trace" -e trace="$1" -e inject="$1:error=$2:when=$3" "$VMM" "${new[@]}"
    grep -q INJECTED "$tmp/trace"
}
wrong='' n=0
for e in ENOSPC EIO; do
    for ((i = 1; i < 20; i++)); do
        fails pwrite64 $e $i || break
        n=$((n + 1))
        [ "$status" = 125 ] && [ "$(printf '%s\n' "$err" | wc -l)" = 1 ] && only_old || wrong="$wrong
write $i, $e: $(seen)"
    done
    cp --remove-destination "$tmp/old.snap" "$snap"
    for call in ftruncate fchmod fsync renameat,renameat2,rename flock; do
        n=$((n + 1))
        fails $call $e 1 && [ "$status" = 125 ] && only_old || wrong="$wrong
$call, $e: $(seen)"
    done
done
if [ -z "$wrong" ] && [ $n -gt 14 ]; then
    ok "a save that the disk fails ends 125 with one line, the old file and nothing else"
else
    not_ok "a save that the disk fails ends 125 with one line, the old file and nothing else" "$n tried$wrong"
fi
fails fsync EIO 2
check "a directory that cannot be synced is an error, with the new file there" [ "$status" = 125 ]
case_is "and the new file is whole" 0 '^all right$' $py check "$snap"
mkdir "$tmp/full"
(
    ulimit -f 64
    run "$VMM" snapshot -o "$tmp/full/a.snap" "$SAMPLES/calls-amd64.elf"
    printf '%s\n' "$status" "$err" >"$tmp/limited"
)
check "a file that may not grow is an error" grep -q 'a.snap: cannot write: File too large' "$tmp/limited"
check "and nothing of it is left" [ -z "$(ls -A "$tmp/full")" ]

# --- writers that are killed ---------------------------------------------------------------------------------
kill_saves() { # name
    local wrong='' i tracer

    for i in $(seq 1 12); do
        # Held up inside the save, so that most are caught there.
        strace -f -o "$tmp/trace" -e trace=pwrite64,fsync,renameat \
            -e inject=pwrite64,fsync,renameat:delay_enter=5000 "$VMM" "${new[@]}" >"$tmp/out" 2>&1 &
        tracer=$!
        sleep "0.$(printf %03d $((60 + RANDOM % 140)))"
        kill -9 "$(pgrep -P $tracer | head -n 1)" 2>/dev/null
        wait $tracer
        $py check "$snap" >/dev/null || wrong="$wrong
round $i: the file is damaged"
    done 2>/dev/null
    [ -z "$wrong" ] && run "$VMM" "${new[@]}" && [ "$status" = 0 ] && [ "$(ls -A "$tmp/dir")" = guest.snap ] ||
        wrong="$wrong
afterwards: $(ls -A "$tmp/dir")
$(seen)"
    if [ -z "$wrong" ]; then ok "$1"; else not_ok "$1" "$wrong"; fi
}
kill_saves "a save that is killed leaves a whole file, and the next save clears up"
new=(snapshot -o "$snap" --memory 1100K --at text:hello "$SAMPLES/bare_hello.elf")
kill_saves "so does a bare kernel's that is killed"
done_testing
