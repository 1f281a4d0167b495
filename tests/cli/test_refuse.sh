#!/bin/bash
# What is refused, and how: one line on stderr, the documented status, never a crash.
set -u
. "$(dirname "$0")/lib.sh"

hello=$SAMPLES/hello-i686-identity.elf
amd64=$SAMPLES/hello-amd64.elf

refused "a missing image ends 127" 127 'cannot open: No such file' "$VMM" run "$tmp/none.elf"
refused "a path through a file ends 127" 127 'cannot open: Not a directory' "$VMM" run "$hello/x"
: >"$tmp/empty"
refused "an empty image ends 126" 126 'empty file' "$VMM" run "$tmp/empty"
echo 'just some text that is longer than an ELF header would be, to be sure of it' >"$tmp/text"
refused "a text file ends 126" 126 'not an ELF file' "$VMM" run "$tmp/text"
refused "a directory ends 126" 126 'not a regular file' "$VMM" run "$tmp"
mkfifo "$tmp/fifo"
refused "a FIFO ends 126 and is not waited for" 126 'not a regular file' "$VMM" run "$tmp/fifo"
refused "a device ends 126" 126 'not a regular file' "$VMM" run /dev/zero

# An aarch64 ELF: the amd64 sample with another machine number (e_machine at 18, EM_AARCH64 = 183).
cp "$amd64" "$tmp/aarch64"
printf '\267\000' | dd of="$tmp/aarch64" bs=1 seek=18 conv=notrunc status=none
refused "an aarch64 ELF ends 126 and says so" 126 'aarch64|183' "$VMM" run "$tmp/aarch64"

# Truncations, 64 of them spread over the file.
size=$(stat -c %s "$hello")
bad=''
for i in $(seq 0 63); do
    head -c $((size * i / 64)) "$hello" >"$tmp/cut"
    run "$VMM" run --timeout 20s "$tmp/cut"
    if [ "$status" != 126 ] || [ "$(printf '%s\n' "$err" | wc -l)" != 1 ] || [ -n "$out" ]; then
        bad="$bad
length $((size * i / 64)): $(seen)"
    fi
done
if [ -z "$bad" ]; then ok "64 truncated images end 126 with one line"; else not_ok "64 truncated images end 126 with one line" "$bad"; fi

# Segments moved to where they cannot be: p_vaddr and p_paddr of the first program header.
poke() { # file, offset, bytes as printf wants them
    # shellcheck disable=SC2059 # the format is the value
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
phoff32=$(od -An -tu4 -j28 -N4 "$hello" | tr -d ' ')
cp "$hello" "$tmp/overlap" # vaddr 0xfedc0000: scratch starts at 0xfedb8000
poke "$tmp/overlap" $((phoff32 + 8)) '\000\000\334\376'
poke "$tmp/overlap" 24 '\000\000\334\376'
poke "$tmp/overlap" $((phoff32 + 32 + 8)) '\000\020\334\376'
refused "a segment that overlaps scratch ends 126, with both ranges" 126 \
    '0xfed[0-9a-f]+-0x.* overlaps scratch 0xfedb8000-0xfee00000 \(largest scratch that fits: [0-9]+K\)' \
    "$VMM" run "$tmp/overlap"
cp "$hello" "$tmp/wrap32"
poke "$tmp/wrap32" $((phoff32 + 8)) '\000\360\377\377'
poke "$tmp/wrap32" $((phoff32 + 20)) '\000\040\000\000' # p_memsz 0x2000
refused "a segment that wraps 2^32 ends 126" 126 'segment' "$VMM" run "$tmp/wrap32"
phoff64=$(od -An -tu4 -j32 -N4 "$amd64" | tr -d ' ')
cp "$amd64" "$tmp/wrap64"
poke "$tmp/wrap64" $((phoff64 + 16)) '\000\360\377\377\377\377\377\377'
poke "$tmp/wrap64" $((phoff64 + 40)) '\000\040\000\000'
refused "a segment that wraps 2^64 ends 126" 126 'segment' "$VMM" run "$tmp/wrap64"

refused "a base build refuses an i686 image and names the switch" 126 'no i686 guests' build/amd64/vmm run "$hello"
check "its hint names I686_GUEST=1" matches '^hint: .*I686_GUEST=1'
refused "amd64 has no mode without paging" 64 'paging off' "$VMM" run --paging=off "$amd64"

if [ "$(id -u)" = 0 ]; then
    cp "$hello" "$tmp/secret" && chmod 0600 "$tmp/secret" && chmod 0755 "$tmp"
    cp "$VMM" "$tmp/vmm"
    refused "an image that may not be read ends 126" 126 'cannot open: Permission denied' \
        setpriv --reuid=65534 --clear-groups "$tmp/vmm" run "$tmp/secret"
fi
done_testing
