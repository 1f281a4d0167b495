#!/bin/bash
# The lab's kernel: Debian's own amd64 kernel and the modules that kvm-amd needs.
#
#   kernel.sh          prints the path of the kernel, then the folder of the modules
#
# The package is downloaded and unpacked under build/lab/kernel, never installed; /boot and
# /lib/modules stay as they are. Once it is there, nothing here needs the network. The folder of the
# modules holds plain .ko files and `order`, their names one a line in the order they load.
#
# The order comes from the modules themselves (the "depends=" word of their .modinfo): modules.dep
# is made by depmod on installation and is not in the package. The kernel is unpacked too, into the
# vmlinux that qemu can enter directly: unpacking itself is half of its boot on an emulated processor.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."
. tests/lab/fetch.sh

lab=build/lab
dest=$lab/kernel
top_module=kvm-amd

die() {
    printf 'lab: kernel: %s\n' "$*" >&2
    exit 1
}

find_package() {
    resolve_package linux-image-amd64 'linux-image-[0-9].*-amd64'
}

# Module name -> file below $tmp/root. The kernel takes - and _ in a module's name for the same.
find_module() {
    find "$tmp/root" -name "$(printf %s "$1" | sed 's/[-_]/[-_]/g').ko*" -print -quit
}

unpack_module() { # file, destination
    case $1 in
    *.ko) cp "$1" "$2" ;;
    *.ko.xz) xz -dc "$1" >"$2" ;;
    *.ko.zst) zstd -qdc "$1" >"$2" ;;
    *) die "$1: unknown compression" ;;
    esac
}

# Put a module behind everything it depends on.
take_module() { # name
    local file out dep deps

    file=$(find_module "$1")
    [ -n "$file" ] || die "$package has no module $1"
    out=$tmp/kernel/modules/$(basename "$file" | sed 's/\.ko\..*$/.ko/')
    [ ! -e "$out" ] || return 0
    unpack_module "$file" "$out"
    deps=$(tr '\0' '\n' <"$out" | sed -n 's/^depends=//p' | head -n 1)
    for dep in ${deps//,/ }; do
        take_module "$dep"
    done
    basename "$out" >>"$tmp/kernel/modules/order"
}

if [ ! -e "$dest/vmlinux" ]; then
    mkdir -p "$lab"
    tmp=$(mktemp -d "$lab/fetch.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT

    # A stale package list names a kernel that the mirror no longer has: that too is a failed lookup.
    package=$(find_package)
    if [ -z "$package" ] || ! download "$tmp" "$package"; then
        apt-get -q update >"$tmp/apt.log" 2>&1 ||
            die "apt-get update failed: $(tail -n 1 "$tmp/apt.log")"
        package=$(find_package)
        [ -n "$package" ] || die "apt knows no linux-image-amd64"
        download "$tmp" "$package" || die "cannot download $package: $(tail -n 1 "$tmp/apt.log")"
    fi

    dpkg -x "$tmp/$package"_*.deb "$tmp/root"
    mkdir -p "$tmp/kernel/modules"
    # qemu boots a bzImage as well, only slower.
    bzimage=$(echo "$tmp"/root/boot/vmlinuz-*)
    unpack_vmlinux "$bzimage" "$tmp/kernel/vmlinux" || cp "$bzimage" "$tmp/kernel/vmlinux"
    printf '%s\n' "$package" >"$tmp/kernel/package"
    take_module "$top_module"

    # Whoever finishes first wins; mv refuses to replace the other's folder.
    mv -T "$tmp/kernel" "$dest" 2>/dev/null || [ -e "$dest/vmlinux" ] || die "cannot make $dest"
fi

printf '%s\n' "$PWD/$dest/vmlinux" "$PWD/$dest/modules"
