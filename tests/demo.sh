#!/bin/bash
# make demo: build vmm with every feature and show it run a paged 32-bit guest, here or in the lab.
#
# The last line is "status: N", N being how the guest ended; the demo ends with 0 only for 0.
set -u
cd "$(dirname "$0")/.." || exit 1
# What make was called with is not what the build below is to use.
unset MAKEFLAGS MAKELEVEL MFLAGS

vmm=build/i686-counter/vmm
guest=build/i686-counter/samples/hello-i686.elf

say() { printf '\n== %s\n' "$*"; }

finish() {
    echo "status: $1"
    [ "$1" = 0 ]
    exit
}

tests/setup.sh demo || exit 1

say "build: make I686_GUEST=1 GUEST_COUNTER=1"
make -s -j2 I686_GUEST=1 GUEST_COUNTER=1 || exit 1
ls -l $vmm

say "what can this host run? ($vmm doctor)"
$vmm doctor

say "a 32-bit guest with paging on ($vmm run $guest)"
timeout -k 5 60 $vmm run $guest
status=$?
[ $status = 77 ] || finish $status

say "this host cannot: the same guest in the lab, a QEMU machine that boots vmm from its initramfs"
timeout -k 5 600 tests/lab/lab.sh --dir build/i686-counter --one "run /guests/hello-i686.elf"
finish $?
