#!/bin/bash
# Kernels of other people that bare guests are tested with, from Debian's i386 packages as they are.
#
#   bare.sh            prints the path of the folder they are in
#
#   gnumach            GNU Mach: multiboot (unpacked, as GRUB would)
#   memtest86+.bin     memtest86+ for 32 bits: bzImage
#   vmlinuz-686        Linux 686: bzImage
#   vmlinux-686-pae    Linux 686-pae: the ELF file that its bzImage carries, with a PVH note
#   grub-xen-pvh.bin   GRUB for Xen: PVH
#   busybox            the static i386 busybox, for an initramfs
#   versions           a line "file package version" for each of them
#
# apt is told that this is an i386 machine by a configuration of its own under build/lab, with the
# host's package sources: neither root nor `dpkg --add-architecture` is needed and nothing of the host
# is changed. Packages are unpacked, never installed. Once the folder is there, nothing here needs
# the network.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."
. tests/lab/fetch.sh

lab=build/lab
dest=$lab/bare

die() {
    printf 'lab: bare kernels: %s\n' "$*" >&2
    exit 1
}

use_i386_apt() { # folder
    mkdir -p "$1"/{state/lists/partial,cache/archives/partial}
    : >"$1/status"
    cat >"$1/apt.conf" <<END
APT::Architecture "i386";
APT::Architectures "i386";
APT::Sandbox::User "";
Acquire::http::Timeout "30";
Acquire::Retries "1";
Dir::State "$1/state";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
END
    export APT_CONFIG=$1/apt.conf
}

# Take one file out of a package. Packages are kept as long as others of their files may be wanted.
take() { # package, pattern of a path in it, name of ours
    local file

    if ! [ -d "$tmp/root.$1" ]; then
        download "$tmp" "$1" || die "cannot download $1: $(tail -n 1 "$tmp/apt.log")"
        mkdir "$tmp/root.$1"
        # Not the modules, which are most of a Linux kernel's package.
        dpkg-deb --fsys-tarfile "$tmp/$1"_*.deb |
            tar -x -C "$tmp/root.$1" --exclude='./lib/modules' --exclude='./usr/share'
    fi
    file=$(find "$tmp/root.$1" -type f -path "$tmp/root.$1/$2" -print -quit)
    [ -n "$file" ] || die "$1 has no $2"
    cp "$file" "$tmp/bare/$3"
    printf '%s %s %s\n' "$3" "$1" "$(dpkg-deb -f "$tmp/$1"_*.deb Version)" >>"$tmp/bare/versions"
}

if [ ! -e "$dest/versions" ]; then
    mkdir -p "$lab"
    tmp=$(mktemp -d "$PWD/$lab/fetch.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    mkdir "$tmp/bare"
    use_i386_apt "$tmp/apt"

    # A source of the host may be out of order without being needed here: what counts is whether
    # the packages can be had.
    apt-get -q update >"$tmp/apt.log" 2>&1 || true
    linux=$(resolve_package linux-image-686 'linux-image-[0-9].*-686')
    pae=$(resolve_package linux-image-686-pae 'linux-image-[0-9].*-686-pae')
    if [ -z "$linux" ] || [ -z "$pae" ]; then
        die "apt knows no linux-image-686 or -686-pae: $(tail -n 1 "$tmp/apt.log")"
    fi

    take gnumach-image-1.8-486 'boot/gnumach-*.gz' gnumach.gz
    gunzip "$tmp/bare/gnumach.gz"
    take memtest86+ 'boot/memtest86+ia32.bin' memtest86+.bin
    take grub-xen-host 'usr/lib/grub-xen/grub-i386-xen_pvh.bin' grub-xen-pvh.bin
    take busybox-static 'bin/busybox' busybox
    take "$linux" 'boot/vmlinuz-*' vmlinuz-686
    take "$pae" 'boot/vmlinuz-*' vmlinux-686-pae
    mv "$tmp/bare/vmlinux-686-pae" "$tmp/vmlinuz"
    unpack_vmlinux "$tmp/vmlinuz" "$tmp/bare/vmlinux-686-pae" || die "$pae: unknown compression"
    sed -i 's/^gnumach\.gz /gnumach /' "$tmp/bare/versions"

    # Whoever finishes first wins; mv refuses to replace the other's folder.
    mv -T "$tmp/bare" "$dest" 2>/dev/null || [ -e "$dest/versions" ] || die "cannot make $dest"
fi

printf '%s\n' "$PWD/$dest"
