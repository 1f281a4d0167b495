#!/bin/bash
# vmm pack: what is in the initramfs, by cpio's reading. That it boots is told by tests/lab/pack.sh.
set -u
. "$(dirname "$0")/lib.sh"

hello=$SAMPLES/hello-i686-identity.elf
amd64=$SAMPLES/hello-amd64.elf
c=$tmp/some.cpio
mkdir -p "$tmp/a" "$tmp/b"
echo one >"$tmp/a/x.ko"
echo two >"$tmp/b/y.ko"
cp "$hello" "$tmp/a/x.elf"
cp "$hello" "$tmp/b/x.elf"
cp "$hello" "$tmp/a/init"

pack() { run "$VMM" pack -o "$c" "$@"; }
content() { cpio -i --quiet --to-stdout "$1" <"$c"; }
args_are() { content vmm.args | diff - <(printf '%s\n' "$@"); }

refused "an initramfs needs -o" 64 'no -o FILE' "$VMM" pack "$hello"
refused "and an image" 64 'no image given' "$VMM" pack -o "$c"
refused "two files of one name are a mistake" 64 'two files of one name' "$VMM" pack -o "$c" "$tmp/a/x.elf" "$tmp/b/x.elf"
refused "so are two modules" 64 'two files of one name' "$VMM" pack -o "$c" --kmod "$tmp/a/x.ko" --kmod "$tmp/a/x.ko" "$hello"
refused "a file in the place of init is a mistake" 64 'would take the place of /init' "$VMM" pack -o "$c" "$tmp/a/init"
refused "a folder ends 126" 126 'not a regular file' "$VMM" pack -o "$c" "$tmp/a"
refused "a name that is none is a mistake" 64 'not the name of a file' "$VMM" pack -o "$c" "$tmp/a/"
refused "an image that is not there ends 127" 127 'none.elf: cannot open' "$VMM" pack -o "$c" "$tmp/none.elf"
refused "a module that is not there ends 127" 127 'none.ko: cannot open' "$VMM" pack -o "$c" --kmod "$tmp/none.ko" "$hello"
refused "an end that is not known is a mistake" 64 'on-exit: unknown choice' "$VMM" pack -o "$c" --on-exit explode "$hello"
refused "a command that is not known is a mistake" 64 'unknown command fly behind --' "$VMM" pack -o "$c" "$hello" -- fly
refused "a word with both kinds of quotes is a mistake" 64 'cannot be quoted' "$VMM" pack -o "$c" "$hello" -- --call "'\""
refused "a binary that cannot be read is told, with a hint" 127 '/proc/self/exe: cannot open' \
    strace -o "$tmp/trace" -e trace=open -e inject=open:error=ENOENT:when=3 "$VMM" pack -o "$c" "$hello"
check "where to look" matches '^hint: .*/proc'
check "nothing is left of what was refused" [ -z "$(find "$tmp" -name '*some.cpio*')" ]

pack --kmod "$tmp/b/y.ko" --kmod "$tmp/a/x.ko" --on-exit=reboot "$amd64" "$hello" -- --timeout 5s --call "a b"
check "an initramfs is written without a word" [ "$status:$out$err" = 0: ]
cpio -it --quiet <"$c" >"$tmp/names" 2>&1
check "cpio finds all files, in order" diff "$tmp/names" - <<'END'
init
dev
vmm.args
vmm.list
kmod
kmod/y.ko
kmod/x.ko
hello-amd64.elf
hello-i686-identity.elf
END
check "modules are named in the order they are to be loaded, then the end and the list" \
    args_are "'--kmod=/kmod/y.ko'" "'--kmod=/kmod/x.ko'" --on-exit=reboot --list=/vmm.list
check "several images are a list, each with the options" diff <(content vmm.list) - <<'END'
run '--timeout' '5s' '--call' 'a b' '/hello-amd64.elf'
run '--timeout' '5s' '--call' 'a b' '/hello-i686-identity.elf'
END
mkdir "$tmp/root" && (cd "$tmp/root" && cpio -idm --quiet <"$c")
check "init is this program" cmp "$tmp/root/init" "$VMM"
check "and may be executed" sh -c "'$tmp/root/init' --version | grep -q '^vmm '"
check "images are what they were" cmp "$tmp/root/hello-amd64.elf" "$amd64"
check "and so are modules" cmp "$tmp/root/kmod/x.ko" "$tmp/a/x.ko"
check "/dev is an empty folder" [ "$(stat -c %A "$tmp/root/dev"):$(ls -A "$tmp/root/dev")" = drwxr-xr-x: ]
check "nothing has a time" [ "$(find "$tmp/root" -mindepth 1 -newermt 1970-01-02 ! -type d)" = '' ]
check "everything is root's" sh -c "! cpio -itv --quiet --numeric-uid-gid <'$c' | grep -v ' 0 \+0 '"

cp "$c" "$tmp/first.cpio"
touch "$hello"
pack --kmod "$tmp/b/y.ko" --kmod "$tmp/a/x.ko" --on-exit=reboot "$amd64" "$hello" -- --timeout 5s --call "a b"
check "the same files give the same bytes" cmp "$c" "$tmp/first.cpio"
check "an initramfs that was there is replaced, and nothing is left beside it" [ "$(find "$tmp" -name '*some.cpio*' | wc -l)" = 1 ]
run sh -c "ulimit -f 64; '$VMM' pack -o '$c' '$hello'"
check "one that does not fit ends 125" [ "$status" = 125 ]
check "and leaves the old one as it was" sh -c "cmp '$c' '$tmp/first.cpio' && [ \$(find '$tmp' -name '*some.cpio*' | wc -l) = 1 ]"

pack "$hello"
check "one image is a command by itself" args_are "run '/hello-i686-identity.elf'"
check "and makes no list" sh -c "! cpio -it --quiet <'$c' | grep -q list"
pack "$hello" "$amd64" -- batch --jobs 2 some.batch
check "a command behind -- is what is run, whatever the files are" args_are "'batch'" "'--jobs'" "'2'" "'some.batch'"
pack "$hello" -- --append "it's  two # words"
check "words are quoted as they need" args_are "run '--append' \"it's  two # words\" '/hello-i686-identity.elf'"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "a snapshot is restored" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi
run "$VMM" snapshot -o "$tmp/guest.snap" "$amd64"
pack "$tmp/guest.snap"
check "a snapshot is restored" args_are "restore '/guest.snap'"
done_testing
