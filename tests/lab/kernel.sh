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

lab=build/lab
dest=$lab/kernel
top_module=kvm-amd

die() {
    printf 'lab: kernel: %s\n' "$*" >&2
    exit 1
}

# The package that linux-image-amd64 stands for now, "linux-image-6.1.0-NN-amd64".
find_package() {
    apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1
}

download() { # folder package
    (cd "$1" && apt-get -q download "$2" >apt.log 2>&1 && ls "$2"_*.deb >/dev/null 2>&1)
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

# An unsigned number of $3 bytes at offset $2 of file $1.
number_at() {
    od -An -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# The payload of a bzImage, where its header says it is (Documentation/arch/x86/boot.rst: setup_sects,
# payload_offset, payload_length). The last 4 bytes are the length of what comes out. A payload of
# another compression is left as it is: qemu boots that as well, only slower.
unpack_kernel() { # bzImage, destination
    local offset length

    offset=$((($(number_at "$1" 0x1f1 1) + 1) * 512 + $(number_at "$1" 0x248 4)))
    length=$(($(number_at "$1" 0x24c 4) - 4))
    head -c "$((offset + length))" "$1" | tail -c "$length" >"$tmp/payload"
    xz -dc "$tmp/payload" >"$2" 2>/dev/null || cp "$1" "$2"
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
    unpack_kernel "$tmp"/root/boot/vmlinuz-* "$tmp/kernel/vmlinux"
    printf '%s\n' "$package" >"$tmp/kernel/package"
    take_module "$top_module"

    # Whoever finishes first wins; mv refuses to replace the other's folder.
    mv -T "$tmp/kernel" "$dest" 2>/dev/null || [ -e "$dest/vmlinux" ] || die "cannot make $dest"
fi

printf '%s\n' "$PWD/$dest/vmlinux" "$PWD/$dest/modules"
