#!/bin/sh
# Install what a target needs on Debian 12 (and what is close to it): tests/setup.sh [demo|check]
#
# "demo" is what it takes to build vmm and to run it in the lab; "check", the default, is that and
# every tool of the tests. What is missing is found by looking for the command or file itself; when
# nothing is, the network is not used. Root installs without asking; anybody else gets the one
# command to have run, and status 1.
set -u
what=${1:-check}

# WHAT | PACKAGE | a command, or an absolute path (a pattern) of a file, that the package brings
needs='
demo  | gcc              | gcc
demo  | make             | make
demo  | binutils         | readelf
demo  | libc6-dev        | /usr/include/stdio.h
demo  | linux-libc-dev   | /usr/include/linux/kvm.h
demo  | musl-tools       | musl-gcc
demo  | qemu-system-x86  | qemu-system-x86_64
demo  | cpio             | cpio
demo  | busybox-static   | /bin/busybox
demo  | xz-utils         | xz
check | clang-14         | clang-14
check | libclang-rt-14-dev | /usr/lib/llvm-14/lib/clang/14*/lib/linux/libclang_rt.fuzzer-x86_64.a
check | llvm-14          | llvm-symbolizer-14
check | clang-tidy-14    | clang-tidy-14
check | clang-format-14  | clang-format-14
check | cppcheck         | cppcheck
check | shellcheck       | shellcheck
check | strace           | strace
check | jq               | jq
check | gdb              | gdb
check | gcovr            | gcovr
check | python3          | python3
'

case $what in
demo | check) ;;
*)
    echo "setup: nothing is called '$what' (demo or check)" >&2
    exit 64
    ;;
esac

is_there() {
    case $1 in
    /*)
        # shellcheck disable=SC2086 # a pattern, to be expanded
        set -- $1
        [ -e "$1" ]
        ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

list_missing() {
    echo "$needs" | while IFS='| ' read -r kind package probe; do
        [ -n "$kind" ] || continue
        [ "$kind" = demo ] || [ "$what" = check ] || continue
        is_there "$probe" || echo "$package"
    done
}

missing=$(list_missing | tr '\n' ' ')
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "setup: missing: $missing" >&2
    echo "run this as root: apt-get update && apt-get install -y --no-install-recommends $missing" >&2
    exit 1
fi

if ! command -v apt-get >/dev/null; then
    echo "setup: missing: $missing(names of Debian 12; this host has no apt-get)" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $missing >&2
}

echo "setup: installing $missing" >&2
# The package lists of a fresh container are empty, those of an old one name files that are gone.
if ! install 2>/dev/null; then
    apt-get update -qq >&2 && install || exit 1
fi

missing=$(list_missing | tr '\n' ' ')
if [ -n "$missing" ]; then
    echo "setup: still missing after the installation: $missing" >&2
    exit 1
fi
